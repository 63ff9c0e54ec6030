"""`network` of the virtual chip: one radio, in a Wi-Fi environment that the world controls.

A board with Ethernet has the names of lan.py as well.

`state.air` is the world's last "network" request. "up": there is a router; "networks": {name:
password}, without it every name exists and takes any password; "deaf": a link that is up stays up
until the firmware leaves it, even if the router is gone.
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
    """Return the chip's name; a new one is ignored."""
    return "mpy-esp32"


def country(code=None):
    """Return the radio's country; a new one is ignored, as on the chip."""
    return "XX"


class WLAN:
    """The station interface, always the same one."""

    PM_NONE = 0

    def __new__(cls, interface=STA_IF):
        """Return the radio."""
        return _radio


class _Radio:
    def __init__(self):
        self._active = False
        self._fixed = None  # address, mask, gateway, name server
        self._wanted = None  # name, password and start (ticks) of the attempt to join
        self._up = False

    def active(self, on=None):
        """Return whether the radio is on, or switch it."""
        if on is not None:
            self._active = bool(on)
            if not on:
                self._wanted = self._fixed = None
        return self._active

    def config(self, reconnects=-1, pm=1):
        """Accept the settings that the firmware makes, without effect."""

    def connect(self, ssid, key=None):
        """Begin to join a network."""
        if not self._active:
            raise OSError("Wifi Not Started")
        if self._wanted:
            # As on the chip: an attempt that has not been ended blocks the next one.
            raise OSError("Wifi Internal State Error")
        self._wanted = ssid, key, ticks.ticks_ms()
        self._up = False

    def disconnect(self):
        """Leave the network."""
        self._wanted = None

    def isconnected(self):
        """Return whether the link is up."""
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
