"""Anti-passback, for canteens: each code passes once a window; kept in flash, in its own log.

The order is record, access log entry, seal (the log's `ack`, a single program of the flash), door:
FORMAT.md, "The log of passes", shows what a power cut after each of them leaves. So no window has
two signalled passes of one code, whatever the power does; a cut before the seal costs nobody a
pass, and a cut between seal and signal, a moment of computing, costs that person this one. With
`interval` a code is refused for that many minutes after its last pass instead.
Promises: memory is fixed; more passes than it holds only make an answer slower; a pass that
cannot be kept is refused. The rules have been evaluated before.
"""

from array import array
from binascii import crc32

from kalitka.access import decision, rules
from kalitka.journal.log import Log
from micropython import const

_DAY = const(1440)
# Minutes: a pass that far from a window does not matter to it. A window lasts a day at most, and
# the rest is room for an inexact clock.
_SPAN = const(1500)
# Kinds of records. Do not renumber: stored in flash.
_ONCE = const(1)
_INTERVAL = const(2)
_VOID = const(3)  # the pass whose number stands in place of the window does not count
_HEAD = const(5)  # bytes of a record before the code: the kind and the window
_BUFFER = const(1024)


def window_of(
    buf: bytes | bytearray, at: int, unit_seconds: bool, minute: int, day_minute: int, weekday: int
) -> int:
    """Return the window in which the packed rule at `buf[at]` permits this moment.

    The arguments are those of `rules.evaluate`, which has returned PERMITTED; the clock and zone
    are set. A window is identified by the local minute, counted from 1970 (below 2**30), at which
    it began: the rule's START on the day on which the window began, for kinds 1 and 9 midnight of
    this day. So two rules with the same START are one meal, whatever codes they are of and
    whenever they end. When the clocks go back an hour the window stays the same.
    """
    day = minute // _DAY
    # The local day is the UTC day or one next to it: the weekday decides.
    day += (weekday - day) % 7 - 3
    if buf[at] not in (3, 7):
        return day * _DAY
    at += 1
    start = rules.number_at(buf, at)
    at = rules.skip_varint(buf, at)
    over_midnight = start > rules.number_at(buf, at)
    mask = buf[rules.skip_varint(buf, at)]
    if unit_seconds:
        start //= 60
    if over_midnight and not (mask >> weekday & 1 and day_minute >= start):
        day -= 1
    return day * _DAY + start


class AntiPassback:
    """The store of passes in `folder`, in at most `size` bytes of flash (see journal.log).

    interval: minutes, or 0 for once a window. room: the number of passes held in memory, two
    bytes each. fault: why passes cannot be kept, in words, else "".
    log: the Log, None while it cannot be opened.
    """

    def __init__(self, folder: str, size: int, interval: int = 0, room: int = 1024):
        self._folder = folder
        self._size = size
        self._interval = interval
        self._kind = _INTERVAL if interval else _ONCE
        self._span = interval or _SPAN
        self._room = room
        # A ring: the hash of pass number N is at N modulo `room`, 0 for none.
        self._hashes = array("H", [0] * room)
        self._buf = bytearray(_BUFFER)
        self._refused = 0  # the number of the last pass that was refused for want of a seal
        self.fault = ""
        self.log = None
        try:
            self._open()
        except OSError as e:
            self._fail(e)

    def claim(
        self,
        code: bytes,
        buf: bytes | bytearray,
        at: int,
        end: int,
        unit_seconds: bool,
        minute: int,
        day_minute: int,
        weekday: int,
        callback=None,
    ) -> int:
        """Claim a pass for a code whose rule set `buf[at:end]` permits this moment.

        The other arguments are those of `Verdict.decide`, which has returned ALLOWED. Returns
        ALLOWED: the pass is kept, signal it at once. Or ALREADY_USED, NOT_KEPT, CLOCK_NOT_SET
        or ZONE_NOT_SET: rule 9 permits without a clock, but then there is no window. Of several
        rules that permit now, the first whose window is not used is taken.

        callback: called right before the seal, so that slow work, such as the access log entry,
        does not stand between seal and signal.
        """
        if minute < 0:
            return rules.CLOCK_NOT_SET
        if day_minute < 0 and not self._interval:
            return rules.ZONE_NOT_SET
        try:
            while at < end:
                window = minute
                if not self._interval:
                    moment = (buf, at, unit_seconds, minute, day_minute, weekday)
                    window = (
                        window_of(*moment) if rules.evaluate(*moment) == rules.PERMITTED else 0
                    )
                if window and self.allowed(code, window):
                    self.record(code, window, callback)
                    return decision.ALLOWED
                at = end if self._interval else rules.end_of(buf, at)
        except rules.RuleError:
            pass  # a rule of a later firmware: the rules behind it cannot be found
        except OSError as e:
            self._fail(e)
            return decision.NOT_KEPT
        except MemoryError as e:  # by itself: the tuple of the two would need some
            self._fail(e)
            return decision.NOT_KEPT
        return decision.ALREADY_USED

    def allowed(self, code: bytes, window: int) -> bool:
        """Return whether the code (bytes) may still pass in this window. Raises OSError.

        window: as of `window_of`; with `interval` the minute since 1970 UTC.
        """
        log = self._open()
        self._on_clock(window, log.last)
        wanted = self._sum(code, window)
        slot = 0
        for found in self._hashes:
            if found == wanted:
                number = self._from + (slot - self._from) % self._room
                if log.first <= number <= log.last and self._is_pass(number, code, window):
                    return False
            slot += 1  # noqa: SIM113 - enumerate would make a tuple of each
        # Passes not held in memory are read only if one of them may be of this window.
        return not self._may_match(self._evicted, window) or not self._in_evicted(code, window)

    def record(self, code: bytes, window: int, callback=None) -> None:
        """Record a pass: durable and sealed on return. If it raises OSError, do not signal it.

        callback: see `claim`.
        """
        log = self._open()
        self._on_clock(window, log.last)
        data = bytes((self._kind,)) + window.to_bytes(4, "little") + code
        try:
            number = log.append(data)
        except OSError:
            # Allow the log to evict the oldest passes, which no longer matter.
            log = self._open()
            first = self._needed(window)
            if first <= log.keep_from:
                raise
            log.keep_from = first
            number = log.append(data)
        # FORMAT.md, "The log of passes": nothing slow from the seal to the door, so the entry of
        # the access log comes first.
        if callback:
            callback()
        try:
            log.ack(number)
        except BaseException:
            # Reopening the log before the next pass voids this one, sealed or not.
            self.log = None
            self._refused = number
            raise
        while number - self._from >= self._room:
            self._evict(self._from + self._room // 8 + 1)
        self._add(number, data)
        self.fault = ""

    def _fail(self, e):
        if isinstance(e, MemoryError):
            self.fault = "not enough memory"  # nor for other words
        else:
            self.fault = str(e) or "no error was told"

    def _open(self):
        log = self.log
        if log:
            log.refresh()
            if log.last == log.acked:
                return log
            # An append that was reported as failed is in flash: the next seal would seal it, too.
            self.log = None
        log = Log(self._folder, self._size)
        # The log must not evict passes by itself; `record` moves this on.
        log.keep_from = log.first
        self._last = self._jump = self._jumped = 0
        self._evicted = -1
        self._from = max(log.first, log.last - self._room + 1)
        newest = 0
        for number, data in log.records(0, self._buf):
            if data[0] == _VOID:
                newest = 0
                if _window(data) >= self._from:
                    self._hashes[_window(data) % self._room] = 0
                continue
            newest = number
            if data[0] == self._kind:
                # The clock may have been put back here: see `_when`.
                self._on_clock(_window(data), number - 1)
            if number >= self._from:
                self._add(number, data)
            else:
                self._evicted = max(self._evicted, self._when(number, data))
        if newest > log.acked or newest == self._refused > 0:
            # A power cut or a failure came before the seal; of `_refused` nobody knows.
            if newest >= self._from:
                self._hashes[newest % self._room] = 0
            # Before the `ack` below, which seals all records: without the void behind it the pass
            # would count.
            log.append(bytes((_VOID,)) + newest.to_bytes(4, "little"))
        if log.last > log.acked:
            log.ack(log.last)
        self.log = log
        return log

    def _add(self, number, data):
        when = self._when(number, data)
        self._last = max(self._last, when)
        if when >= 0:
            self._hashes[number % self._room] = self._sum(data[_HEAD:], when)

    def _sum(self, code, window):
        return crc32(code, 0 if self._interval else window) & 0xFFFF or 1

    def _on_clock(self, minute, last):
        # A clock that was put back must not refuse anybody for longer than the interval: all
        # passes before that count as no later than the time to which it was put back.
        if self._interval and minute < self._last:
            self._last = self._jump = minute
            self._jumped = last

    def _when(self, number, data):
        # Returns the window of a pass, -1 if the pass was recorded under the other setting.
        if data[0] != self._kind:
            return -1
        window = _window(data)
        return min(window, self._jump) if number <= self._jumped else window

    def _may_match(self, when, window):
        return when > window - self._interval if self._interval else when >= window

    def _matches(self, number, data, code, window):
        when = self._when(number, data)
        if data[_HEAD:] != code:
            return False
        return self._may_match(when, window) if self._interval else when == window

    def _is_pass(self, number, code, window):
        for found, data in self._open().records(number, self._buf):
            if found == number:
                return self._matches(number, data, code, window)
            break
        return True  # the record cannot be read, but its hash is that of this pass

    def _in_evicted(self, code, window):
        # Returns whether the pass is among those not held in memory. Passes in the future, left
        # there by a wrong clock, do not count towards `_evicted`: they need no further search.
        self._evicted = -1
        found = before = 0
        for number, data in self._open().records(0, self._buf):
            if data[0] == _VOID:
                found -= before
            if number >= self._from:
                break
            when = self._when(number, data)
            if when < window + self._span:
                self._evicted = max(self._evicted, when)
            before = self._matches(number, data, code, window)
            found += before
        return found > 0

    def _evict(self, end):
        # Drops the passes below number `end` from memory; they stay in the log.
        for number, data in self._open().records(self._from, self._buf):
            if number >= end:
                break
            self._evicted = max(self._evicted, self._when(number, data))
        for number in range(self._from, end):
            self._hashes[number % self._room] = 0
        self._from = end

    def _needed(self, window):
        # Returns the number of the oldest pass that still matters to this window.
        for number, data in self._open().records(0, self._buf):
            if abs(self._when(number, data) - window) < self._span:
                return number
        return self._open().last + 1


def _window(data):
    return int.from_bytes(data[1:_HEAD], "little")
