"""`network` of the virtual chip: one radio, and an air that the world changes.

A board with Ethernet has that as well, see lan.py.

`state.air` is the world's last request: "up": whether there is a router at all; "networks":
{name: password}, without it every name is there and takes any password; "deaf": a link that is
up stays up, whatever becomes of the router, until it is left.
"""

import os

import state
import utime as ticks

STA_IF = 0
STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202
_JOIN_MS = 100

lease = "127.0.0.1", "255.0.0.0", "127.0.0.1", os.getenv("KALITKA_CHIP_DNS") or "127.0.0.1"


def hostname(name=None):
    """Return the chip's name; another is taken and forgotten."""
    return "mpy-esp32"


def country(code=None):
    """Return the radio's country; another is taken and, as the chip does, forgotten."""
    return "XX"


class WLAN:
    """The station interface, the same each time."""

    PM_NONE = 0

    def __new__(cls, interface=STA_IF):
        """Return it."""
        return _radio


class _Radio:
    def __init__(self):
        self._active = False
        self._fixed = None  # address, mask, gateway, name server
        self._wanted = None  # name, password and since when (ticks)
        self._up = False

    def active(self, on=None):
        """Read or switch the radio."""
        if on is not None:
            self._active = bool(on)
            if not on:
                self._wanted = self._fixed = None
        return self._active

    def config(self, reconnects=-1, pm=1):
        """Take the settings that the firmware makes."""

    def connect(self, ssid, key=None):
        """Begin to join a network."""
        if not self._active:
            raise OSError("Wifi Not Started")
        if self._wanted:
            # As the chip: a try that has not been ended is in the way of the next.
            raise OSError("Wifi Internal State Error")
        self._wanted = ssid, key, ticks.ticks_ms()
        self._up = False

    def disconnect(self):
        """Leave the network."""
        self._wanted = None

    def isconnected(self):
        """Tell whether the link is up."""
        return self.status() == STAT_GOT_IP

    def ifconfig(self, values=None):
        """Read or set the address, the mask, the gateway and the name server."""
        if values:
            self._fixed = values
        return self._fixed or (lease if self.isconnected() else ("0.0.0.0",) * 4)

    def status(self):
        """Return the state of the link."""
        if not self._wanted:
            return STAT_IDLE
        ssid, key, began = self._wanted
        if ticks.ticks_diff(ticks.ticks_ms(), began) < _JOIN_MS:
            return STAT_CONNECTING
        air = state.air
        if not (self._up and air.get("deaf")):
            self._up = False
            networks = air.get("networks", {ssid: key})
            if not air["up"] or ssid not in networks:
                return STAT_NO_AP_FOUND
            if networks[ssid] != key:
                return STAT_WRONG_PASSWORD
            self._up = True
        return STAT_GOT_IP


_radio = _Radio()
if os.getenv("KALITKA_CHIP_LAN"):
    from lan import (
        ETH_CONNECTED,
        ETH_DISCONNECTED,
        ETH_GOT_IP,
        ETH_INITIALIZED,
        ETH_STARTED,
        ETH_STOPPED,
        LAN,
        PHY_LAN8720,
    )
