"""The Wi-Fi driver of the link (see `link`): the radio, and the networks that it may join."""

# The link uses `nic` only after `on`.
# pyright: reportOptionalMemberAccess=false

import asyncio

import network

from kalitka.system.link import quietly
from micropython import const

# IEEE 802.11 reason 15: the four-way handshake timed out. With a wrong password the port's driver
# ends with this reason; "wrong password" would come only after a second try of its own.
_HANDSHAKE = const(15)
_REFUSED = const("wrong password")
_ABSENT = const("network not found")


class Wifi:
    """The Wi-Fi station.

    networks: a list of (ssid, password), both str, the preferred one first. hostname: str, at most
    32 characters, "" for the port's default. country: two letters, "" for the port's default.
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
        """Switch the radio on, unless it is on. Blocks for some tenths of a second."""
        if self.nic:
            return
        wlan = network.WLAN(network.STA_IF)
        # No retries by the port's driver, which would collide with the link's own, and no power
        # saving, which loses packets.
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
        """Switch the radio off."""
        wlan = self.nic
        self.nic = None
        wlan.active(False)

    async def join(self, i: int) -> None:
        """Begin to join the network `i`."""
        # After a soft reset the radio may be on a network, or the port's driver may be busy with a
        # try of its own, and would refuse this one.
        quietly(self.leave)
        # The end of the old connection is reported a little later; it must not count for this try.
        await asyncio.sleep(0.3)
        self.nic.connect(*self._networks[i])
        # Still the reason of an earlier failure until this try has one of its own.
        self._status = self.nic.status()

    def leave(self) -> None:
        """Leave the network."""
        self.nic.disconnect()

    def failed(self) -> bool:
        """Return whether this try has failed for good: wrong password, or network not found."""
        was, self._status = self._status, self.nic.status()
        return self._status != was and self.fault() in (_REFUSED, _ABSENT)

    def fault(self) -> str:
        """Return why the try failed, in words."""
        # The numbers differ between versions of the port, and so do the names for them.
        status = self._status
        for name in dir(network):
            if name.startswith("STAT_") and getattr(network, name) == status:
                if "PASSWORD" in name or "HANDSHAKE" in name:
                    return _REFUSED
                return _ABSENT if "NO_AP" in name else "no answer"
        return _REFUSED if status == _HANDSHAKE else "status %s" % status
