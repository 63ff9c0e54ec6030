"""The link over Wi-Fi, in virtual time, with misbehaving routers and drivers."""

import asyncio

from device import fake_air
from device.fake_air import Air
from device.fake_time import now, run
from kalitka.system import link, wifi

SITE = ("site", "right-secret")
YARD = ("yard", "other-secret")
HOUR = 3600
# Versions of the port's driver: the first is today's, the last the oldest.
VERSIONS = (
    {},
    {"ifconfig": False},
    {"names": False},
    {"reconnects": False},
    {"stale": False, "ifconfig": True, "reconnects": False, "hostname": False},
)


def supervise(air, networks, scenario, hostname="", country="", address=None, servers=()):
    """Run the coroutine function `scenario(link, lines)` beside a link over this air.

    Returns the reported lines. Checks that nothing ends the link, and no line has a password.
    """
    lines = []

    async def main():
        driver = wifi.Wifi(networks, hostname, country)
        watched = link.Link(driver, address, list(servers), lines.append)
        job = asyncio.create_task(watched.run())
        await scenario(watched, lines)
        assert not job.done(), "the supervisor has ended"
        job.cancel()
        await asyncio.sleep(0)

    wifi.network = link.network = air
    run(main)
    for line in lines:
        for _, password in networks:
            assert not password or password not in line, line
    return lines


async def until(condition, seconds):
    """Return the seconds until `condition()` is true, which must be at most `seconds`."""
    began = now()
    while not condition():
        assert now() - began <= seconds, "not within %d s" % seconds
        await asyncio.sleep(0.5)
    return now() - began


def only(lines, text):
    """Return the number of lines with this text."""
    return sum(text in line for line in lines)


def pauses(air):
    """Return the whole seconds between tries to join."""
    times = [at for at, name, _ in air.calls if name == "connect"]
    return [round(times[i + 1] - times[i]) for i in range(len(times) - 1)]


def test_it_joins_tells_and_knows_the_name_server():
    async def scenario(wlan, lines):
        assert not wlan.connected() and wlan.dns() == "" and wlan.connects == 0
        await until(wlan.connected, 10)
        assert wlan.connects == 1
        assert wlan.dns() == "192.168.7.1"
        await asyncio.sleep(HOUR)
        assert wlan.connected() and wlan.connects == 1

    for version in VERSIONS:
        lines = supervise(Air(dict([SITE]), **version), [SITE], scenario)
        assert lines == ["wifi: connected to site, address 192.168.7.5"], lines


def test_the_driver_does_not_retry_by_itself_and_saves_no_power():
    async def scenario(wlan, lines):
        await until(wlan.connected, 10)

    air = Air(dict([SITE]))
    supervise(air, [SITE], scenario, "gate-1")
    assert air.asked("config") == [({"reconnects": 0},), ({"pm": 0},)]
    assert air.told_name == "gate-1"
    old = Air(dict([SITE]), hostname=False, reconnects=False)
    supervise(old, [SITE], scenario, "gate-1")
    assert old.options == {"pm": 0, "hostname": "gate-1", "dhcp_hostname": "gate-1"}
    # A host name that the port refuses does not keep the reader off the network.
    supervise(air, [SITE], scenario, "g" * 40)


def test_a_router_that_restarts_after_hours_is_found_again():
    async def scenario(wlan, lines):
        await until(wlan.connected, 10)
        for times in (2, 3):
            await asyncio.sleep(2 * HOUR)
            wlan_air.networks = {}
            await until(lambda: not wlan.connected(), 2)
            assert wlan.dns() == ""
            await asyncio.sleep(120)
            wlan_air.networks = dict([SITE])
            await until(wlan.connected, 60)
            assert wlan.connects == times

    for version in VERSIONS:
        wlan_air = Air(dict([SITE]), **version)
        lines = supervise(wlan_air, [SITE], scenario)
        assert only(lines, "wifi: lost the link") == 2
        assert only(lines, "wifi: connected to site") == 3


def test_a_router_away_for_a_day_costs_few_lines_and_is_found():
    async def scenario(wlan, lines):
        await until(wlan.connected, 10)
        air.networks = {}
        await asyncio.sleep(24 * HOUR)
        assert lines[1:] == ["wifi: lost the link", "wifi: site: network not found"], lines
        air.networks = dict([SITE])
        await until(wlan.connected, 60)
        # After a connection the same failure is reported again.
        air.networks = {}
        await asyncio.sleep(HOUR)
        assert only(lines, "network not found") == 2

    air = Air(dict([SITE]), stale=False)
    supervise(air, [SITE], scenario)
    # At most every 30 s plus the duration of a try, and the radio was switched off at times.
    assert air.counts["connect"] < 24 * HOUR / 30 + 100
    assert air.counts["active"] > 400


def test_the_pauses_grow_from_one_second_to_thirty():
    async def scenario(wlan, lines):
        await asyncio.sleep(600)

    air = Air({}, stale=False)
    supervise(air, [SITE], scenario)
    between = pauses(air)
    # A try that fails by itself takes three seconds.
    assert between[0] == 5, between
    assert between[:6] == sorted(between[:6]), between
    assert max(between) == 33, between


def test_a_wrong_password_is_told_once_and_tried_until_it_is_right():
    async def scenario(wlan, lines):
        await asyncio.sleep(HOUR)
        assert lines == ["wifi: site: wrong password"], lines
        air.networks["site"] = SITE[1]
        await until(wlan.connected, 60)

    for version in ({}, {"ifconfig": False}, {"stale": False}):
        for refusal in (fake_air.REFUSED, fake_air.HANDSHAKE, 204):
            air = Air({"site": "another"}, **version)
            air.refusal = refusal
            supervise(air, [SITE], scenario)


def test_numbers_without_a_name_are_told_as_numbers():
    async def scenario(wlan, lines):
        await asyncio.sleep(HOUR)
        assert lines == ["wifi: site: status 201"], lines

    supervise(Air({}, names=False), [SITE], scenario)

    async def unheard(wlan, lines):
        await asyncio.sleep(HOUR)
        assert lines == ["wifi: site: status 77"], lines

    air = Air({"site": "another"})
    air.refusal = 77
    supervise(air, [SITE], unheard)


def test_a_driver_that_says_nothing_gets_twenty_seconds():
    async def scenario(wlan, lines):
        await asyncio.sleep(HOUR)
        assert lines == ["wifi: site: no answer"], lines

    air = Air(dict([SITE]))
    air.join_s = 25
    supervise(air, [SITE], scenario)
    assert 20 < pauses(air)[0] < 24

    async def slow(wlan, lines):
        await until(wlan.connected, 22)

    # The link waits for a slow router, even if the driver still reports the try before.
    for version in VERSIONS:
        air = Air(dict([YARD]), **version)
        air.join_s = 18
        supervise(air, [YARD], slow)


def test_the_second_network_is_taken_when_the_first_is_not_there_or_refuses():
    async def scenario(wlan, lines):
        await until(wlan.connected, 50)
        assert only(lines, "connected to yard") == 1

    for version in VERSIONS:
        supervise(Air(dict([YARD]), **version), [SITE, YARD], scenario)
        supervise(Air({"site": "another", "yard": YARD[1]}, **version), [SITE, YARD], scenario)


def test_the_network_that_worked_last_is_tried_first():
    async def scenario(wlan, lines):
        await until(wlan.connected, 50)
        air.networks = {}
        await asyncio.sleep(HOUR)
        air.networks = dict([SITE, YARD, ("shed", "")])
        before = len(air.calls)
        await until(wlan.connected, 120)
        tried = [call[2][0] for call in air.calls[before:] if call[1] == "connect"]
        assert tried[-1] == "yard", tried
        # Then the others in the order of the settings.
        air.networks = {}
        before = len(air.calls)
        await asyncio.sleep(70)
        tried = [call[2][0] for call in air.calls[before:] if call[1] == "connect"]
        assert tried[:3] == ["yard", "site", "shed"], tried

    air = Air(dict([YARD]), stale=False)
    supervise(air, [SITE, YARD, ("shed", "")], scenario)


def test_a_deaf_link_is_left_when_it_is_distrusted():
    async def scenario(wlan, lines):
        await until(wlan.connected, 10)
        await asyncio.sleep(HOUR)
        air.deaf = True
        await asyncio.sleep(HOUR)
        assert wlan.connected()
        wlan.reset()
        assert not wlan.connected() and wlan.dns() == ""
        await until(wlan.connected, 10)
        assert not air.deaf and wlan.connects == 2
        # A second time in a row: the radio is switched off and on.
        assert (False,) not in air.asked("active")
        await asyncio.sleep(HOUR)
        wlan.reset()
        wlan.reset()
        await until(wlan.connected, 10)
        assert air.asked("active") == [(True,), (False,), (True,)]
        assert wlan.connects == 3
        # The count starts again: the next reset is a first one, and so is one after a day without.
        wlan.reset()
        await until(wlan.connected, 10)
        await asyncio.sleep(25 * HOUR)
        wlan.reset()
        await until(wlan.connected, 10)
        assert len(air.asked("active")) == 3
        assert wlan.connects == 5

    air = Air(dict([SITE]))
    lines = supervise(air, [SITE], scenario)
    assert only(lines, "nothing gets through, joins anew") == 3
    assert only(lines, "nothing gets through, switches it off and on") == 1
    assert only(lines, "lost the link") == 0


def test_distrust_without_a_link_is_nothing():
    async def scenario(wlan, lines):
        for _ in range(100):
            wlan.reset()
            await asyncio.sleep(1)
        air.networks = dict([SITE])
        await until(wlan.connected, 60)

    air = Air({})
    lines = supervise(air, [SITE], scenario)
    assert only(lines, "nothing gets through") == 0


def test_a_link_without_an_address_is_none():
    async def scenario(wlan, lines):
        await asyncio.sleep(HOUR)
        assert not wlan.connected() and lines == ["wifi: site: no answer"], lines
        air.address = "192.168.7.9"
        await until(wlan.connected, 60)
        # The lease ends, and the driver still reports a connection.
        air.address = "0.0.0.0"
        await until(lambda: not wlan.connected(), 2)
        assert lines[-1] == "wifi: lost the link"
        air.address = "192.168.7.5"
        await until(wlan.connected, 60)

    for ifconfig in (True, False):
        air = Air(dict([SITE]), ifconfig=ifconfig)
        air.address = "0.0.0.0"
        supervise(air, [SITE], scenario)


def test_whatever_the_driver_raises_it_goes_on_trying():
    errors = (
        OSError("Wifi Internal State Error"),
        OSError(-1, "ESP_FAIL"),
        RuntimeError("Wifi Unknown Error 0x0101"),
        MemoryError(),
        ValueError("unknown config param"),
    )

    async def scenario(wlan, lines):
        air.raising = raising
        await asyncio.sleep(HOUR)
        assert not wlan.connected()
        assert len(lines) == 1, lines
        words = "wifi: site: not enough" if "emory" in repr(error) or "0101" in str(error) else ""
        assert lines[0].startswith(words or "wifi: site: error"), lines
        air.raising = {}
        await until(wlan.connected, 60)

    for name in ("WLAN", "active", "connect"):
        for error in errors:
            air = Air(dict([SITE]))
            raising = {name: error}
            supervise(air, [SITE], scenario)

    async def harmless(wlan, lines):
        air.raising = {"config": errors[0], "disconnect": errors[2]}
        await until(wlan.connected, 10)
        air.networks = {}
        await until(lambda: not wlan.connected(), 2)
        air.raising["active"] = errors[1]  # switching it off as well
        await asyncio.sleep(HOUR)
        air.raising = {}
        air.networks = dict([SITE])
        await until(wlan.connected, 60)

    air = Air(dict([SITE]))
    supervise(air, [SITE], harmless)


def test_a_network_left_over_from_before_a_soft_reset_is_not_taken():
    async def scenario(wlan, lines):
        radio = air.WLAN(0)
        radio.active(True)
        radio.connect(*YARD)
        await asyncio.sleep(1)
        await until(wlan.connected, 20)
        assert lines == ["wifi: connected to site, address 192.168.7.5"], lines

    air = Air(dict([SITE, YARD]))
    supervise(air, [SITE], scenario)


FIXED = ("192.168.7.20", "255.255.255.0", "192.168.7.254")


def test_a_fixed_address_is_taken_in_every_network_and_after_every_rest_of_the_radio():
    async def scenario(net, lines):
        await until(net.connected, 10)
        assert lines == ["wifi: connected to site, address 192.168.7.20"], lines
        for _ in range(2):
            net.reset()
            await until(lambda: not net.connected(), 2)
            await until(net.connected, 10)
        # At the second reset the radio was switched off, and had forgotten the address.
        assert (False,) in air.asked("active")
        assert lines[-1] == lines[0], lines

    for version in ({}, {"ifconfig": False}):
        air = Air(dict([SITE]), **version)
        air.address = "0.0.0.0"  # no DHCP server there
        supervise(air, [SITE], scenario, address=FIXED)


def test_a_fixed_address_needs_no_gateway():
    async def scenario(net, lines):
        await until(net.connected, 10)
        assert lines == ["wifi: connected to site, address 192.168.7.20"], lines

    for version in ({}, {"ifconfig": False}):
        supervise(Air(dict([SITE]), **version), [SITE], scenario, address=FIXED[:2] + ("",))


def test_an_address_of_earlier_settings_is_not_kept_over_a_soft_reset():
    async def scenario(net, lines):
        # The link has not started yet.
        radio = air.WLAN(0)
        radio.active(True)
        radio.ipconfig(addr4=FIXED[:2], gw4=FIXED[2])
        await until(net.connected, 10)
        assert lines == ["wifi: connected to site, address 192.168.7.5"], lines

    for version in ({}, {"ifconfig": False}):
        air = Air(dict([SITE]), **version)
        supervise(air, [SITE], scenario)


def test_the_name_servers_of_the_settings_are_given_in_turn():
    async def scenario(net, lines):
        assert net.dns() == ""
        await until(net.connected, 10)
        assert [net.dns() for _ in range(3)] == ["10.0.0.1", "10.0.0.2", "10.0.0.1"]
        net.reset()
        assert net.dns() == ""

    supervise(Air(dict([SITE])), [SITE], scenario, servers=("10.0.0.1", "10.0.0.2"))


def test_the_radio_is_told_its_country_before_it_sends():
    async def scenario(net, lines):
        await until(net.connected, 10)
        assert air.code == "DE"

    air = Air(dict([SITE]))
    supervise(air, [SITE], scenario, country="DE")
    air.country = None  # a version without `country`
    supervise(air, [SITE], scenario, country="DE")


def test_a_radio_that_was_switched_on_before_is_taken_as_it_is():
    async def scenario(net, lines):
        # As boot.py does; the link has not started yet.
        wifi.Wifi([SITE], "gate-1", "").on()
        await until(net.connected, 10)
        assert air.told_name == "gate-1"
        assert air.asked("active") == [(True,), (True,)]

    air = Air(dict([SITE]))
    supervise(air, [SITE], scenario, "gate-1")


def test_the_want_of_memory_for_the_radio_says_whose_and_what_helps():
    errors = (
        OSError("WiFi Out of Memory"),
        RuntimeError("Wifi Unknown Error 0x0101"),
        OSError(-0x101, "ESP_ERR_NO_MEM"),
    )

    async def scenario(net, lines):
        await asyncio.sleep(60)
        assert len(lines) == 1, lines
        assert lines[0].startswith("wifi: site: not enough memory outside of Python's heap"), lines
        assert lines[0].endswith("a board with PSRAM, or the firmware frozen in, has more"), lines

    async def own(net, lines):
        await asyncio.sleep(60)
        assert len(lines) == 1, lines
        assert lines[0].startswith("wifi: site: not enough memory in Python's heap"), lines
        assert lines[0].endswith("a board with PSRAM, or the firmware frozen in, has more"), lines

    for error in errors:
        air = Air(dict([SITE]))
        air.raising = {"active": error}
        supervise(air, [SITE], scenario)
    air.raising = {"WLAN": MemoryError()}
    supervise(air, [SITE], own)
