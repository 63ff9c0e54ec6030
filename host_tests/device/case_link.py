"""The choice of the link's driver by settings and board; no other driver is imported."""

import io
import json
import sys

from device.case_ethernet import PHY
from device.fake_time import run
from kalitka import settings
from kalitka.system import link, uplink

WIFI = "kalitka.system.wifi"
ETHERNET = "kalitka.system.ethernet"


class Board:
    """A stand-in for the module `board`."""


class WithSocket(Board):
    """A board with Ethernet."""

    ETHERNET = PHY


def chosen(board, **values):
    """Return (driver, modules of drivers imported for it) of these settings on this board."""
    kept = sys.modules.pop("board", None)
    drivers = {name: sys.modules.pop(name, None) for name in (WIFI, ETHERNET)}
    sys.modules["board"] = board
    try:
        found, faults = settings.with_defaults(values)
        assert not faults, faults
        return uplink.driver_of(found), [name for name in drivers if name in sys.modules]
    finally:
        for name, module in [("board", kept)] + list(drivers.items()):
            sys.modules.pop(name, None)
            if module:
                sys.modules[name] = module


def test_a_board_without_a_socket_has_the_radio_and_loads_no_other_driver():
    driver, loaded = chosen(Board(), wifi=[["site", "a secret"], ["yard", ""]], country="DE")
    assert loaded == [WIFI]
    assert (driver.name, driver.names) == ("wifi", ["site", "yard"])


def test_a_board_with_a_socket_has_the_cable_unless_wifi_is_named():
    driver, loaded = chosen(WithSocket(), reader="GATE-1")
    assert loaded == [ETHERNET] and driver.name == "ethernet"
    driver, loaded = chosen(WithSocket(), wifi=[["site", "a secret"]])
    assert loaded == [WIFI] and driver.name == "wifi"


def test_without_a_network_no_driver_is_loaded_and_the_link_says_so():
    driver, loaded = chosen(Board())
    assert driver is None and not loaded
    lines = []
    net = link.Link(driver, None, [], lines.append)
    run(net.run)
    net.reset()
    assert lines == ["network: there is none in the settings"]
    assert not net.connected() and net.dns() == "" and net.connects == 0


class Stubborn:
    """A driver whose hardware comes on at the second try, which then ends the link."""

    name = "wifi"
    names = ("site",)
    nic = None
    pause_max = 1
    restart_after = 0

    def __init__(self, happened):
        self._happened = happened

    def on(self):
        self._happened.append("on")
        if self._happened.count("on") == 1:
            raise OSError("no")

    def leave(self):
        pass

    async def join(self, i):
        raise KeyboardInterrupt


def test_the_hardware_is_switched_on_while_no_card_is_held_up():
    happened = []

    class Scanner:
        async def suspend(self, doing):
            happened.append(doing)

        def resume(self):
            happened.append("back")

    net = link.Link(Stubborn(happened), None, [], lambda line: None, Scanner())
    try:
        run(net.run)
    except KeyboardInterrupt:
        pass
    assert happened == ["wifi", "on", "back", "wifi", "on", "back"]


def test_the_name_in_the_network_is_the_readers_unless_it_is_given():
    for values, name in (
        ({"reader": "HALL_2:LEFT"}, "HALL-2-LEFT"),
        ({"reader": "GATE-1", "hostname": "left-gate"}, "left-gate"),
        ({"reader": "G" * 40}, "G" * 32),
        ({}, ""),
    ):
        for more in ({}, {"wifi": [["site", ""]]}):
            driver, _ = chosen(WithSocket(), **values, **more)
            assert driver._hostname == name


def test_a_fixed_address_comes_with_its_mask():
    for text, mask in (
        ("10.1.2.3/8", "255.0.0.0"),
        ("10.1.2.3/9", "255.128.0.0"),
        ("192.168.1.20/24", "255.255.255.0"),
        ("192.168.1.20/30", "255.255.255.252"),
        ("128.1.2.3/1", "128.0.0.0"),
    ):
        found = {"address": text, "gateway": "10.0.0.1"}
        assert uplink.address_of(found) == (text.split("/")[0], mask, "10.0.0.1")
    assert uplink.address_of({"address": "", "gateway": ""}) is None


def test_what_is_switched_on_first_is_what_the_settings_file_names():
    switched = []

    class Driver:
        def on(self):
            switched.append(True)

    def made(found):
        assert found == {"wifi": [["site", ""]]}
        return Driver()

    def opened(path):
        assert path == settings.FILE
        return io.StringIO(json.dumps({"wifi": [["site", ""]]}))

    kept = uplink.driver_of
    uplink.driver_of = made
    uplink.open = opened
    try:
        uplink.switch_on()
        assert switched == [True]
        uplink.driver_of = lambda found: None
        uplink.switch_on()
    finally:
        uplink.driver_of = kept
        del uplink.open
