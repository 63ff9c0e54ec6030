"""Wi-Fi: one task that owns the radio and brings the reader back onto its network, for ever.

Nothing else waits for it: door and scanner run before there is a network and without one.
"""

import asyncio

import network

from micropython import const

_CONNECT_S = const(20)  # seconds given to one attempt
_PAUSE_S = const(5)  # between two attempts
_LOOK_S = const(1)  # between two looks at the link


class Wifi:
    """Keeps the reader on the network `ssid`. An empty ssid leaves the radio off.

    report: a callable that takes a line of text (str) for the log.
    """

    def __init__(self, ssid: str, password: str, report):
        self._ssid = ssid
        self._password = password
        self._report = report
        # Made when it runs: a radio that cannot be had must not keep the door from working.
        self._wlan = None

    def connected(self) -> bool:
        """Tell whether the link is up."""
        return self._wlan is not None and self._wlan.isconnected()

    async def run(self) -> None:
        """Connect, and again whenever the link is lost."""
        if not self._ssid:
            self._report("wifi: no network in the settings")
            return
        wlan = self._wlan = network.WLAN(network.STA_IF)
        while True:
            if await self._connect(wlan):
                self._report("wifi: connected to %s" % self._ssid)
                while self.connected():
                    await asyncio.sleep(_LOOK_S)
                self._report("wifi: lost the link")
            await asyncio.sleep(_PAUSE_S)

    async def _connect(self, wlan):
        try:
            wlan.active(True)
            if not self.connected():
                self._rest(wlan)
                wlan.connect(self._ssid, self._password)
            for _ in range(_CONNECT_S // _LOOK_S):
                if self.connected():
                    return True
                await asyncio.sleep(_LOOK_S)
        except OSError as e:
            self._report("wifi: error %s" % e)
        return False

    def _rest(self, wlan):
        # The driver may be at a try of its own, and then refuses another.
        try:
            wlan.disconnect()
        except OSError:  # there was nothing to end
            pass
