"""Ethernet as a driver of the link (see `link`): the chip's own MAC and the board's PHY."""

# `nic` is there whenever the link asks for what needs it, and the stubs lack half of LAN.
# pyright: reportOptionalMemberAccess=false, reportAttributeAccessIssue=false

import machine
import network

_PINS = ("mdc", "mdio", "power", "reset", "ref_clk")
# What became of the only try to have it, in words; boot.py and the reader make a driver each.
_failed = ""


class Ethernet:
    """The socket. phy: what `network.LAN` is told, by its names: pins as their numbers, phy_type
    and ref_clk_mode as the names of the constants, such as "PHY_LAN8720" and "OUT".

    hostname: str, at most 32 characters, "" for the port's own.
    """

    name = "ethernet"
    names = ("",)
    # While the cable is out, nothing is disturbed by looking again; switching it off and on would
    # stop the loop for four seconds each time, since the PHY is waited for.
    pause_max = 1
    restart_after = 0

    def __init__(self, phy: dict, hostname: str):
        self._phy = phy
        self._hostname = hostname
        self.nic = None

    def on(self) -> None:
        """Switch it on, unless it is. Blocks for up to four seconds, the longer without a cable.

        A PHY that does not answer is asked once only: the port keeps the memory of a try that
        failed (some 15 KB), and what it gives the next time is an interface that does not work.
        """
        global _failed
        if _failed:
            raise OSError(_failed)
        if not self.nic:
            try:
                self.nic = self._made()
            except Exception as e:
                _failed = "%s: switch the reader off and on, it is tried once after a start" % e
                raise OSError(_failed)
        if not self.nic.active():
            if self._hostname:
                network.hostname(self._hostname)
            self.nic.active(True)

    def off(self) -> None:
        """Switch it off."""
        self.nic.active(False)

    async def join(self, i: int) -> None:
        """Do nothing: the cable is plugged in or not."""

    def leave(self) -> None:
        """Ask for an address anew, if it was given by DHCP: all that can be left of a cable."""
        if self.nic.ipconfig("dhcp4"):
            self.nic.ipconfig(dhcp4=False)
            self.nic.ipconfig(dhcp4=True)

    def failed(self) -> bool:
        """Return False: the cable may still be plugged in."""
        return False

    def fault(self) -> str:
        """Return why there is no link, in words."""
        if self.nic.status() == network.ETH_CONNECTED:
            return "the cable is plugged in, but no address came by DHCP"
        return "no link: is the cable plugged in?"

    def _made(self):
        options = dict(self._phy)
        for name in _PINS:
            if name in options:
                options[name] = machine.Pin(options[name])
        options["phy_type"] = getattr(network, options["phy_type"])
        if "ref_clk_mode" in options:
            options["ref_clk_mode"] = getattr(machine.Pin, options["ref_clk_mode"])
        return network.LAN(**options)
