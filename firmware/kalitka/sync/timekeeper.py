"""Keeps the clock right: from the server, else from a time server, else from a clock chip.

Promises: once a day the time is fetched anew, so that it is off by a second or so at most (the
chip's crystal loses one a day); every step of the clock is told with its size; who cannot prove
who they are may set a clock that is not set, but move one that is only by so much.
"""

import asyncio
import os

from kalitka.access.timezone import ZoneError
from kalitka.sync.net import NetError, ask, split_port, words_of
from micropython import const

_LOOK_S = const(1)
_MINUTE = const(60)
_HOUR = const(3600)
_DAY = const(86400)
_ANY = const(0x3FFFFFFF)
_NTP_PORT = const(123)
_NTP_SIZE = const(48)  # bytes of an answer
# By how many seconds a clock that is set may be moved: anybody can answer for a time server; a
# chip whose battery ends may be wrong by years.
_NTP_MOVES = _HOUR
_CHIP_MOVES = _MINUTE
_SERVER = "the server"
_NTP = "a time server"
_CHIP = "the clock chip"
_UNHEARD_OF = const(2)  # seconds; a step up to that is not told


class TimeKeeper:
    """Sets `clock` (see `system.clock`) when it is due.

    client: the server (see `sync.client`) or None. ntp_server: `HOST[:PORT]` or "". names: finds
    addresses. chip: has `read() -> seconds or -1` and `write(seconds)`, or None. keep_zone: is
    told the server's zone (str) once the clock has it; None to take none from there. report: takes
    a line of text (str) for the log.

    source: who set the clock last, in words.
    """

    def __init__(self, clock, client, ntp_server, names, chip, keep_zone, report):
        self._clock = clock
        self._client = client
        self._ntp_server = ntp_server
        self._names = names
        self._chip = chip
        self._keep_zone = keep_zone
        self._report = report
        self._due = self._chip_due = 0  # uptime in seconds
        self._faults = {}  # of each source, in words
        self.source = ""
        if chip and not clock.is_set:
            self._by_chip()

    async def run(self, wifi) -> None:
        """Do all this for ever, where nobody else does: at a reader without a server.

        wifi: has `connected()`.
        """
        while True:
            if wifi.connected():
                await self.keep()
            else:
                self.offline()
            await asyncio.sleep(_LOOK_S)

    async def keep(self) -> None:
        """Ask for the time over the network if it is due. A failure is only reported."""
        clock = self._clock
        if clock.uptime() < self._due:
            return
        by_ntp = False
        if self._client and self._client.secure and not clock.is_set:
            # A certificate can be checked only by somebody who knows the time.
            by_ntp = await self._by_ntp()
        taken = await self._by_server() or by_ntp or await self._by_ntp()
        if not taken:
            self.offline()
        # A clock that is not set keeps people out: asked for again at every occasion.
        again = _DAY if taken else _HOUR if clock.is_set else 0
        self._due = clock.uptime() + again

    def offline(self) -> None:
        """Without a network: once an hour the clock chip is asked, which drifts less."""
        if self._chip and self._clock.uptime() >= self._chip_due:
            self._chip_due = self._clock.uptime() + _HOUR
            self._by_chip()

    async def _by_server(self):
        if not self._client:
            return False
        try:
            seconds, zone = await self._client.time()
        except (OSError, ValueError) as e:
            self._fail(_SERVER, e)
            return False
        if not self._take(seconds, _SERVER, _ANY):
            return False
        if self._keep_zone:
            try:
                self._clock.set_zone(zone)
                self._keep_zone(zone)
            except ZoneError as e:
                self._report("clock: the server's zone is not taken: %s" % e)
        return True

    async def _by_ntp(self):
        if not self._ntp_server:
            return False
        try:
            seconds = await ntp_time(self._ntp_server, self._names)
        except (OSError, ValueError) as e:
            self._fail(_NTP, e)
            return False
        return self._take(seconds, _NTP, _NTP_MOVES)

    def _by_chip(self):
        seconds = self._chip.read()
        return seconds >= 0 and self._take(seconds, _CHIP, _CHIP_MOVES)

    def _take(self, seconds, source, moves):
        clock = self._clock
        try:
            step = clock.step_to(seconds) if clock.is_set else None
            if step is not None and abs(step) > moves:
                raise ValueError("its time is %d s off the clock's: not taken" % step)
            clock.set_utc(seconds)
        except ValueError as e:
            self._fail(source, e)
            return False
        self._faults.pop(source, None)
        if source != self.source or step is None or abs(step) > _UNHEARD_OF:
            self._report("clock: set by %s%s" % (source, _moved(step)))
        self.source = source
        if self._chip and moves != _CHIP_MOVES:
            self._chip.write(seconds)
        return True

    def _fail(self, source, error):
        words = words_of(error)
        # A fault that lasts is told once, not every minute.
        if words != self._faults.get(source):
            self._report("clock: not set by %s: %s" % (source, words))
        self._faults[source] = words


def _moved(step):
    if not step:
        return ""
    return ", %d s %s" % (abs(step), "forward" if step > 0 else "back")


async def ntp_time(where: str, names) -> int:
    """Return the seconds since 1970 UTC that the time server at `HOST[:PORT]` says (SNTP).

    Nobody vouches for the answer. Source: RFC 4330; its seconds wrap in 2036 and go on.
    names: finds the address of a name, and has `patience`. Raises NetError; ValueError if `where`
    is no host.
    """
    host, port = split_port(where, _NTP_PORT)
    doing = "asking %s for the time" % host
    address = await names.find(host)
    # What goes out as our time comes back as the origin: an answer to another question is none.
    ours = os.urandom(8)
    request = b"\x23" + bytes(39) + ours

    def is_answer(data):
        return len(data) >= _NTP_SIZE and data[24:32] == ours and data[0] & 7 == 4

    data = await ask(address, port, request, is_answer, names.patience, doing)
    if not 0 < data[1] < 16 or data[0] >> 6 == 3 or data[40:44] == bytes(4):
        raise NetError("the time server has no time while %s" % doing)
    seconds = int.from_bytes(data[40:44], "big") - 2208988800
    return seconds if seconds > 0 else seconds + 0x100000000
