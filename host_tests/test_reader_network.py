"""The whole reader in the networks of sites: several, gone, slow, without names or time."""

import threading
import time

import pytest

from kalitka_sim import littlefs_image
from kalitka_sim.reader import VirtualReader
from kalitka_sim.timeouts import HANG_TIMEOUT_S
from kalitka_sim.virtual_chip import VirtualChip
from name_server import Answer, NameServer
from scripted_server import Script, ScriptedServer, reply
from time_server import Reply, TimeServer

MONDAY_0930_MSK = 1795415400
TIME = reply(b"5,MSK-3,%d" % MONDAY_0930_MSK)
OLD = reply(b"29921460%%\n04A1B2C3_/9_1\nDEADBEEF_/3_480_1200_1111100")
NOTHING = reply(b"29921460%%\n")


def site(tmp_path, scripts, pass_time=None, **settings):
    """Return a server, and its reader, which is still off."""
    server = ScriptedServer(scripts, pass_time=pass_time)
    where = ("127.0.0.1", server.port)
    return server, VirtualReader(tmp_path / "reader", settings, server=where)


def test_a_card_in_the_middle_of_a_sync_is_decided_from_the_old_table(tmp_path):
    lines = [f"{n:08X}_/9_1" for n in range(4000)]
    new = reply("\n".join(["29921461%04A1B2C3%", *lines]).encode())
    # The answer's second half comes when two cards have been decided.
    decided = threading.Event()
    slow = Script(new, piece=len(new) // 2 + 1, pause=1)
    settings = {"poll_seconds": 1, "zone": "MSK-3"}
    scripts = [Script(TIME), Script(OLD), slow]
    server, reader = site(
        tmp_path, scripts, lambda _pause: decided.wait(HANG_TIMEOUT_S), **settings
    )
    with server, reader:
        reader.power_on()
        reader.wait_line("sync: works")
        seen = len(reader.console)
        assert reader.relay
        before = reader.relay.bytes_down
        while reader.relay.bytes_down < before + len(new) // 4:
            time.sleep(0.02)
        assert reader.present("04A1B2C3").opened
        assert reader.present("00000001").reason == "unknown code"
        # Both cards were decided while the answer was arriving.
        assert reader.relay.bytes_down < before + len(new)
        assert not [line for line in reader.console[seen:] if "sync:" in line]
        decided.set()
        reader.wait_line("sync: incremental, 4000 rules", since=seen)
        assert reader.present("04A1B2C3").reason == "unknown code"
        assert reader.present("00000001").allowed


def test_of_several_networks_the_one_that_is_there_is_joined(tmp_path):
    wifi = [["home", "one-password"], ["site", "two-password"], ["yard", "three-password"]]
    server, reader = site(tmp_path, [Script(TIME), Script(OLD), Script(NOTHING)], wifi=wifi)
    with server, reader:
        # The first network is missing, the second one has another password.
        reader.power_on()
        VirtualChip.set_network(reader, True, {"site": "not-that", "yard": "three-password"})
        reader.wait_line("wifi: connected to yard")
        reader.wait_line("sync: full")
        told = "\n".join(reader.console)
        assert "wifi: site: wrong password" in told
        for password in ("one-password", "two-password", "three-password", "not-that"):
            assert password not in told


def test_a_reader_that_was_without_a_network_polls_as_soon_as_it_has_one(tmp_path):
    # By its interval alone the next poll would come in an hour.
    scripts = [Script(TIME), Script(OLD), Script(NOTHING)]
    server, reader = site(tmp_path, scripts, poll_seconds=3600)
    with server, reader:
        reader.power_on(wait_ready=False)
        reader.wait_line("ready")
        reader.set_network(False)
        time.sleep(2)
        assert reader.present("04A1B2C3").reason == "no table yet"
        reader.set_network(True)
        reader.wait_line("wifi: connected")
        reader.wait_line("sync: full")
        assert reader.present("04A1B2C3").opened


def test_a_server_with_a_name_is_found_at_its_address(tmp_path, monkeypatch):
    found = Answer(("127.0.0.1",), ttl=0)
    scripts = [Script(TIME), Script(OLD), Script(NOTHING)]
    with NameServer(found) as names, ScriptedServer(scripts) as server:
        monkeypatch.setenv("KALITKA_CHIP_DNS", f"127.0.0.1:{names.port}")
        url = f"http://hub.example:{server.port}"
        settings = {"server_url": url, "plain_http": True, "poll_seconds": 1}
        with VirtualReader(tmp_path / "reader", settings) as reader:
            reader.power_on()
            reader.wait_line("sync: full")
            assert set(names.names) == {"hub.example"}
            assert reader.present("04A1B2C3").opened


def test_a_reader_without_a_server_gets_its_time_from_a_time_server(tmp_path):
    with TimeServer(Reply(at=MONDAY_0930_MSK)) as times:
        settings = {"zone": "MSK-3", "ntp_server": f"127.0.0.1:{times.port}"}
        with VirtualReader(tmp_path / "reader", settings) as reader:
            reader.power_on()
            reader.wait_line("clock: set by a time server")
            assert reader.present("04A1B2C3").when == "Mon 09:30 MSK-3"


@pytest.mark.parametrize(("content", "when"), [("0", ""), ("stopped", "clock not set")])
def test_a_clock_chip_has_the_time_before_there_is_a_network(tmp_path, monkeypatch, content, when):
    chip = tmp_path / "ds3231"
    chip.write_text(content)
    monkeypatch.setenv("KALITKA_CHIP_DS3231", str(chip))
    settings = {"clock_chip": "ds3231", "zone": "UTC0", "wifi": []}
    with VirtualReader(tmp_path / "reader", settings) as reader:
        reader.power_on()
        before = time.gmtime()
        outcome = reader.present("04A1B2C3")
        minutes = {time.strftime("%a %H:%M UTC0", at) for at in (before, time.gmtime())}
        set_by_it = any("clock: set by the clock chip" in line for line in reader.console)
        assert set_by_it == (content == "0")
        assert outcome.when in ({when} if when else minutes)


OLIMEX = "OLIMEX_ESP32_POE"
FIXED = {"address": "192.168.9.20/24", "gateway": "192.168.9.1"}


def at_a_cable(tmp_path, scripts, **settings):
    """Return a server, and its reader with an Ethernet socket, which is still off."""
    server = ScriptedServer(scripts)
    where = ("127.0.0.1", server.port)
    return server, VirtualReader(tmp_path / "reader", settings, where, OLIMEX)


def test_a_reader_at_a_cable_gets_its_address_and_its_table_and_opens_the_door(tmp_path):
    server, reader = at_a_cable(tmp_path, [Script(TIME), Script(OLD), Script(NOTHING)])
    with server, reader:
        reader.power_on()
        reader.wait_line("ethernet: connected, address 127.0.0.1")
        reader.wait_line("sync: full")
        assert reader.present("04A1B2C3").opened
        assert not [line for line in reader.console if "wifi" in line]
        # The PHY has its power, which only the firmware switches.
        assert reader.pins[reader.board["ETHERNET"]["power"]] == 1


def test_a_reader_with_a_fixed_address_works_where_nobody_gives_any(tmp_path):
    scripts = [Script(TIME), Script(OLD), Script(NOTHING)]
    server, reader = at_a_cable(tmp_path, scripts, poll_seconds=1, **FIXED)
    with server, reader:
        reader.power_on()
        reader.set_network(False)
        reader.wait_line("ethernet: lost the link|ethernet: no link")
        # The cable is plugged in again, into a network without DHCP.
        seen = len(reader.console)
        assert reader.relay
        reader.relay.restore()
        VirtualChip.set_network(reader, True, dhcp=False)
        reader.wait_line("ethernet: connected, address 192.168.9.20", since=seen)
        reader.wait_line("sync: full")
        assert reader.present("04A1B2C3").opened


def test_a_cable_that_is_out_is_told_and_found_again_while_the_gate_decides(tmp_path):
    scripts = [Script(TIME), Script(OLD), Script(NOTHING)]
    server, reader = at_a_cable(tmp_path, scripts, poll_seconds=1)
    with server, reader:
        reader.power_on()
        reader.wait_line("sync: full")
        reader.set_network(False)
        reader.wait_line("ethernet: lost the link")
        assert reader.present("04A1B2C3").opened
        reader.wait_line("ethernet: no link: is the cable plugged in")
        seen = len(reader.console)
        reader.set_network(True)
        reader.wait_line("ethernet: connected", since=seen)


def test_the_hardware_of_the_network_is_on_before_the_firmware_is_imported(tmp_path):
    # boot.py switches the PHY's power on; the lock's pin is set after all imports.
    _, reader = at_a_cable(tmp_path, [])
    with reader:
        reader.power_on()
        order = [pin for pin, _, _ in reader.pin_changes]
        assert order.index(reader.board["ETHERNET"]["power"]) < order.index(reader.board["LOCK"])


@pytest.mark.parametrize("content", [b"", b"[]", b'{"wifi": 5}', b'{"wifi": [[1]]}', b"\xff\0"])
def test_settings_that_are_broken_keep_the_reader_from_nothing_but_the_network(tmp_path, content):
    with VirtualReader(tmp_path / "reader", {}, board_name=OLIMEX) as reader:
        littlefs_image.update(reader.flash_file, {"settings.json": content})
        reader.power_on()
        assert reader.present("04A1B2C3").reason == "no table yet"
