"""`network` of the virtual chip: one radio, whose air the world switches on and off."""

import state
import utime as ticks

STA_IF = 0
AP_IF = 1
STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_NO_AP_FOUND = 201
_JOIN_MS = 100


class WLAN:
    """The station interface. Any network name is there while the air is on."""

    def __init__(self, interface=STA_IF):
        self._active = False
        self._joined = None  # since when (ticks), None if no network was asked for

    def active(self, on=None):
        """Read or switch the radio."""
        if on is not None:
            self._active = bool(on)
            if not on:
                self._joined = None
        return self._active

    def connect(self, ssid, key=None):
        """Begin to join a network."""
        if not self._active:
            raise OSError("Wifi Not Started")
        if self._joined is not None:
            # As the chip: a try that has not been ended is in the way of the next.
            raise OSError("Wifi Internal State Error")
        self._joined = ticks.ticks_ms()

    def disconnect(self):
        """Leave the network."""
        self._joined = None

    def isconnected(self):
        """Tell whether the link is up."""
        if self._joined is None or not state.network_up:
            return False
        return ticks.ticks_diff(ticks.ticks_ms(), self._joined) >= _JOIN_MS

    def status(self):
        """Return the state of the link."""
        if self.isconnected():
            return STAT_GOT_IP
        if self._joined is None:
            return STAT_IDLE
        return STAT_CONNECTING if state.network_up else STAT_NO_AP_FOUND
