"""Wi-Fi as a driver of the link (see `link`): the radio, and the networks that it may join."""

# `nic` is there whenever the link asks for what needs it.
# pyright: reportOptionalMemberAccess=false

import asyncio

import network

from kalitka.system.link import quietly
from micropython import const

# IEEE 802.11 reason 15: the four-way handshake had no answer. With a wrong password the driver
# ends with this one; only if it tried a second time by itself would it say "wrong password".
_HANDSHAKE = const(15)
_REFUSED = "wrong password"
_ABSENT = "network not found"


class Wifi:
    """The radio. networks: a list of (ssid, password), both str.

    hostname: str, at most 32 characters, "" for the port's own. country: two letters, "" for the
    port's own.
    """

    name = "wifi"
    pause_max = 30
    restart_after = 10

    def __init__(self, networks, hostname: str, country: str):
        self._networks = networks
        self._hostname = hostname
        self._country = country
        self._status = 0
        self.names = [ssid for ssid, _ in networks]
        self.nic = None

    def on(self) -> None:
        """Switch the radio on, unless it is. Blocks for some tenths of a second."""
        if self.nic:
            return
        wlan = network.WLAN(network.STA_IF)
        # The driver is not to retry in the way of the link's tries, nor to save power, which
        # loses packets.
        options = [("reconnects", 0), ("pm", getattr(network.WLAN, "PM_NONE", None))]
        if not hasattr(network, "hostname"):
            options += [("hostname", self._hostname), ("dhcp_hostname", self._hostname)]
        elif self._hostname:
            quietly(network.hostname, self._hostname)
        if self._country:
            quietly(network.country, self._country)
        wlan.active(True)
        for name, value in options:
            if value not in ("", None):
                quietly(wlan.config, **{name: value})
        self.nic = wlan

    def off(self) -> None:
        """Switch it off."""
        wlan = self.nic
        self.nic = None
        wlan.active(False)

    async def join(self, i: int) -> None:
        """Begin to join the network `i`."""
        # After a soft reset it may be on a network, and the driver may be at a try of its own
        # and then refuses another.
        quietly(self.leave)
        # The driver hears of the end a little later, and must not take it for the next try's.
        await asyncio.sleep(0.3)
        self.nic.connect(*self._networks[i])
        # May be the reason of an earlier failure until this try has one of its own.
        self._status = self.nic.status()

    def leave(self) -> None:
        """Leave the network."""
        self.nic.disconnect()

    def failed(self) -> bool:
        """Return whether this try has failed for a reason after which nothing comes."""
        was, self._status = self._status, self.nic.status()
        return self._status != was and self.fault() in (_REFUSED, _ABSENT)

    def fault(self) -> str:
        """Return why it failed, in words."""
        # The numbers differ between versions, and so do the names that there are for them.
        status = self._status
        for name in dir(network):
            if name.startswith("STAT_") and getattr(network, name) == status:
                if "PASSWORD" in name or "HANDSHAKE" in name:
                    return _REFUSED
                return _ABSENT if "NO_AP" in name else "no answer"
        return _REFUSED if status == _HANDSHAKE else "status %s" % status
