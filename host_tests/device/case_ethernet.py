"""The link over Ethernet, in virtual time, with misbehaving cables, routers and PHYs."""

import asyncio

from device.case_wifi import only, until
from device.fake_cable import Cable
from device.fake_time import run
from kalitka.system import ethernet, link

PHY = {
    "mdc": 23,
    "mdio": 18,
    "power": 12,
    "phy_addr": 0,
    "phy_type": "PHY_LAN8720",
    "ref_clk": 17,
    "ref_clk_mode": "OUT",
}
FIXED = ("192.168.7.20", "255.255.255.0", "192.168.7.254")
HOUR = 3600


def supervise(cable, scenario, hostname="", address=None, soft_reset=False):
    """Run the coroutine function `scenario(link, lines)` beside a link over this cable.

    soft_reset: whether the chip, and its Ethernet, have run before. Returns the reported lines.
    """
    lines = []

    async def main():
        watched = link.Link(ethernet.Ethernet(PHY, hostname), address, [], lines.append)
        job = asyncio.create_task(watched.run())
        await scenario(watched, lines)
        assert not job.done(), "the supervisor has ended"
        job.cancel()
        await asyncio.sleep(0)

    kept = ethernet.network, ethernet.machine, link.network
    ethernet.network = ethernet.machine = link.network = cable
    ethernet._failed = ""
    try:
        run(main)
    finally:
        ethernet.network, ethernet.machine, link.network = kept
    return lines


def test_it_gets_an_address_tells_it_and_knows_the_name_server():
    async def scenario(net, lines):
        assert not net.connected() and net.dns() == "" and net.connects == 0
        await until(net.connected, 5)
        assert net.dns() == "192.168.7.1" and net.connects == 1
        await asyncio.sleep(HOUR)
        assert net.connected() and net.connects == 1

    cable = Cable()
    lines = supervise(cable, scenario, "gate-1")
    assert lines == ["ethernet: connected, address 192.168.7.5"], lines
    assert cable.told_name == "gate-1"
    assert cable.switched == [True]


def test_a_cable_that_is_out_for_a_day_costs_one_line_and_no_pause_of_the_loop():
    async def scenario(net, lines):
        await until(net.connected, 5)
        blocked = cable.blocked
        cable.plugged = False
        await until(lambda: not net.connected(), 2)
        await asyncio.sleep(24 * HOUR)
        assert lines[1:] == [
            "ethernet: lost the link",
            "ethernet: no link: is the cable plugged in?",
        ], lines
        cable.plugged = True
        assert await until(net.connected, 5) <= 5
        assert net.connects == 2 and cable.blocked == blocked and cable.switched == [True]

    cable = Cable()
    supervise(cable, scenario)


def test_a_cable_that_is_plugged_in_late_is_found_at_once():
    async def scenario(net, lines):
        await asyncio.sleep(HOUR)
        assert lines == ["ethernet: no link: is the cable plugged in?"], lines
        cable.plugged = True
        await until(net.connected, 5)

    cable = Cable()
    cable.plugged = False
    supervise(cable, scenario)


def test_a_network_without_dhcp_is_told_as_that():
    async def scenario(net, lines):
        await asyncio.sleep(HOUR)
        words = "ethernet: the cable is plugged in, but no address came by DHCP"
        assert lines == [words] and not net.connected(), lines
        cable.dhcp = True
        await until(net.connected, 25)

    cable = Cable()
    cable.dhcp = False
    supervise(cable, scenario)


def test_a_fixed_address_needs_no_dhcp():
    async def scenario(net, lines):
        await until(net.connected, 2)
        assert lines == ["ethernet: connected, address 192.168.7.20"], lines
        for _ in range(2):
            net.reset()
            await until(lambda: not net.connected(), 2)
            await until(net.connected, 5)
        # At the second reset the interface was switched off, and had forgotten the address.
        assert cable.switched == [True, False, True]
        assert lines[-1] == lines[0]

    for gateway in (FIXED[2], ""):
        cable = Cable()
        cable.dhcp = False
        supervise(cable, scenario, address=FIXED[:2] + (gateway,))


def test_an_address_that_is_taken_away_is_seen_and_asked_for_anew():
    async def scenario(net, lines):
        await until(net.connected, 5)
        cable.address = "0.0.0.0"
        await until(lambda: not net.connected(), 2)
        assert net.dns() == ""
        cable.address = "192.168.7.6"
        await until(net.connected, 5)
        assert lines[-1] == "ethernet: connected, address 192.168.7.6"

    cable = Cable()
    supervise(cable, scenario)


def test_a_deaf_link_gets_a_new_address_and_then_is_switched_off_and_on():
    async def scenario(net, lines):
        await until(net.connected, 5)
        await asyncio.sleep(HOUR)
        cable.deaf = True
        net.reset()
        await until(lambda: not net.connected(), 2)
        await until(net.connected, 10)
        assert cable.deaf and cable.switched == [True] and net.connects == 2
        net.reset()
        await until(lambda: not net.connected(), 2)
        await until(net.connected, 10)
        assert not cable.deaf and cable.switched == [True, False, True] and net.connects == 3

    cable = Cable()
    lines = supervise(cable, scenario)
    assert only(lines, "nothing gets through, joins anew") == 1
    assert only(lines, "nothing gets through, switches it off and on") == 1


def test_what_is_up_already_after_a_soft_reset_is_taken_as_it_is():
    async def scenario(net, lines):
        await until(net.connected, 5)

    cable = Cable()
    supervise(cable, scenario)
    blocked = cable.blocked
    supervise(cable, scenario)
    assert cable.switched == [True] and cable.blocked == blocked and cable.tries == 1


def test_a_phy_that_does_not_answer_is_tried_once_and_told_once():
    async def scenario(net, lines):
        # boot.py creates a driver of its own, before the link's.
        try:
            ethernet.Ethernet(PHY, "").on()
            raise AssertionError("it answers")
        except OSError:
            pass
        await asyncio.sleep(24 * HOUR)
        assert len(lines) == 1 and not net.connected(), lines
        assert lines[0].startswith("ethernet: error esp_eth_driver_install failed: "), lines
        assert "switch the reader off and on" in lines[0], lines
        assert cable.tries == 1

    cable = Cable()
    cable.fault = OSError("esp_eth_driver_install failed")
    supervise(cable, scenario)


def test_the_want_of_memory_says_whose_it_is():
    async def scenario(net, lines):
        await asyncio.sleep(HOUR)
        assert len(lines) == 1, lines
        assert lines[0].startswith("ethernet: not enough memory outside of Python's heap"), lines

    cable = Cable()
    cable.fault = OSError("esp_eth_driver_install failed with no memory for driver")
    supervise(cable, scenario)
