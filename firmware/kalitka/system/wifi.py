"""Wi-Fi: one task that owns the radio and brings the reader back onto a network, for ever.

Promises: nothing else waits for it, door and scanner run without a network; what the driver
raises never ends it; a failure is told once and not every round, a password never. Whoever uses
the network tells it when the link is up and nothing gets through, see `distrust`.
"""

import asyncio

import network

from micropython import const

_CONNECT_S = const(20)  # seconds given to one attempt
_PAUSE_MAX_S = const(30)  # between two rounds through the networks; it grows from 1
_RESTART = const(10)  # so many rounds without a network, and the radio is switched off and on
_TRUSTED_S = const(86400)  # a link this old starts with a clean slate
_TOLD_MAX = const(8)  # different failures remembered as told
_NO_ADDRESS = "0.0.0.0"
# IEEE 802.11 reason 15: the four-way handshake had no answer. With a wrong password the driver
# ends with this one; only if it tried a second time by itself would it say "wrong password".
_HANDSHAKE = const(15)
_REFUSED = "wrong password"
_ABSENT = "network not found"


class Wifi:
    """Keeps the reader on one of the networks that it knows.

    networks: a list of (ssid, password), both str, the preferred first; the one that worked last
    is tried before the others. Empty: the radio stays off.
    hostname: str, at most 32 characters, "" for the port's own.
    report: a callable that takes a line of text (str) for the log.
    `since` counts how often the link came up.
    """

    def __init__(self, networks, hostname: str, report):
        self._networks = networks
        self._hostname = hostname
        self._report = report
        # Made when it runs: a radio that cannot be had must not keep the door from working.
        self._wlan = None
        self._up = False
        self._told = []
        self.since = 0

    def connected(self) -> bool:
        """Tell whether the link is up and nobody distrusts it; it was looked at a second ago."""
        return self._up

    def distrust(self) -> None:
        """Say that the link is up but nothing gets through: it is left and made anew.

        If that is said of the next link, too, the radio is switched off and on.
        """
        self._up = False

    def dns(self) -> str:
        """Return the address of the network's name server, "" if it is not known."""
        address = _address(self._wlan, 3) if self._up else ""
        return "" if address == _NO_ADDRESS else address

    async def run(self) -> None:
        """Connect, and again whenever the link is lost."""
        networks = self._networks
        if not networks:
            self._report("wifi: no network in the settings")
            return
        last = rounds = doubts = 0
        while True:
            # -1 stands for the one that worked last.
            for i in range(-1, len(networks)):
                if i != last and await self._join(*networks[last if i < 0 else i]):
                    last = last if i < 0 else i
                    rounds = 0
                    doubts = await self._watch(doubts)
                    break
            else:
                rounds += 1
            if self._wlan:
                _quietly(self._wlan.disconnect)
                if doubts == 2 or rounds % _RESTART == _RESTART - 1:
                    doubts = 0
                    _quietly(self._wlan.active, False)
                    self._wlan = None
            await asyncio.sleep(min(1 << min(rounds, 5), _PAUSE_MAX_S))

    async def _watch(self, doubts):
        # Return, when the link is gone, how many in a row were distrusted.
        age = 0
        while True:
            await asyncio.sleep(1)
            if not self._up:
                doubts += 1
                what = "restarts the radio" if doubts == 2 else "joins anew"
                self._report("wifi: the link is up but nothing gets through, " + what)
                return doubts
            if not _alive(self._wlan):
                self._up = False
                self._report("wifi: lost the link")
                return 0
            age += 1
            if age == _TRUSTED_S:
                doubts = 0

    async def _join(self, ssid, password):
        # Return success. What failed is told, once until a network is found.
        try:
            wlan = self._wlan
            if wlan is None:
                wlan = self._wlan = _started(network.WLAN(network.STA_IF), self._hostname)
            # After a soft reset it may be on a network, and the driver may be at a try of its own
            # and then refuses another.
            _quietly(wlan.disconnect)
            # The driver hears of the end a little later, and must not take it for the next try's.
            await asyncio.sleep(0.3)
            wlan.connect(ssid, password)
            # May be the reason of an earlier failure until this try has one of its own.
            status = wlan.status()
            for _ in range(_CONNECT_S):
                await asyncio.sleep(1)
                if _alive(wlan):
                    self._told.clear()
                    self.since += 1
                    self._up = True
                    self._report("wifi: connected to %s, address %s" % (ssid, _address(wlan, 0)))
                    return True
                was, status = status, wlan.status()
                if status != was and _reason(status) in (_REFUSED, _ABSENT):
                    break  # with a reason of its own: nothing comes any more
            fault = _reason(status)
        except Exception as e:  # nothing that a driver does may end the reader
            fault = "error %s" % e
        fault = "wifi: %s: %s" % (ssid, fault)
        told = self._told
        if fault not in told:
            if len(told) == _TOLD_MAX:
                told.clear()
            told.append(fault)
            self._report(fault)
        return False


def _started(wlan, hostname):
    # Return the radio, switched on.
    # The driver is not to retry in the way of ours, nor to save power, which loses packets.
    options = [("reconnects", 0), ("pm", getattr(network.WLAN, "PM_NONE", None))]
    if not hasattr(network, "hostname"):
        options += [("hostname", hostname), ("dhcp_hostname", hostname)]
    elif hostname:
        _quietly(network.hostname, hostname)
    wlan.active(True)
    for name, value in options:
        if value not in ("", None):
            _quietly(wlan.config, **{name: value})
    return wlan


def _quietly(function, *arguments, **options):
    # Call what a version may not know, or what there may be nothing to do for: each says so with
    # an error of its own.
    try:
        function(*arguments, **options)
    except Exception:
        pass


def _alive(wlan):
    # The driver calls a link connected whose address was taken away.
    try:
        return wlan.isconnected() and _address(wlan, 0) != _NO_ADDRESS
    except Exception:
        return False


def _address(wlan, i):
    # Of the reader (0) or the name server (3), "" if it cannot be had.
    try:
        if hasattr(wlan, "ifconfig"):
            return wlan.ifconfig()[i]
        return network.ipconfig("dns") if i else wlan.ipconfig("addr4")[0]
    except Exception:
        return ""


def _reason(status):
    # The numbers differ between versions, and so do the names that there are for them.
    for name in dir(network):
        if name.startswith("STAT_") and getattr(network, name) == status:
            if "PASSWORD" in name or "HANDSHAKE" in name:
                return _REFUSED
            return _ABSENT if "NO_AP" in name else "no answer"
    return _REFUSED if status == _HANDSHAKE else "status %s" % status
