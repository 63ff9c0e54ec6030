"""The Ethernet driver of the link (see `link`): the chip's own MAC and the board's PHY."""

# The link uses `nic` only after `on`, and the stubs lack half of LAN.
# pyright: reportOptionalMemberAccess=false, reportAttributeAccessIssue=false

import machine
import network

from micropython import const

_PINS = const(("mdc", "mdio", "power", "reset", "ref_clk"))
# Why the only try to create the interface failed, "" if it did not. Of the module, because boot.py
# and the reader create a driver each.
_failed = ""


class Ethernet:
    """The Ethernet interface.

    phy: the keyword arguments of `network.LAN`, with pins as numbers, and phy_type and
    ref_clk_mode as the names of constants, such as "PHY_LAN8720" and "OUT".
    hostname: str, at most 32 characters, "" for the port's default.
    """

    name = "ethernet"
    names = ("",)
    # Checking for a cable disturbs nothing. Switching the interface off and on would block the
    # loop for four seconds each time, since the port waits for the PHY.
    pause_max = 1
    restart_after = 0

    def __init__(self, phy: dict, hostname: str):
        self._phy = phy
        self._hostname = hostname
        self.nic = None

    def on(self) -> None:
        """Switch it on, unless it is on. Blocks for up to four seconds, longest without a cable.

        A PHY that does not answer is tried only once: the port leaks the memory of a failed try
        (some 15 KB), and the next try returns an interface that does not work. Raises OSError.
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
        """Switch the interface off."""
        self.nic.active(False)

    async def join(self, i: int) -> None:
        """Do nothing: the cable is plugged in or not."""

    def leave(self) -> None:
        """Request a new address, if it came by DHCP: a cable cannot be left otherwise."""
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
