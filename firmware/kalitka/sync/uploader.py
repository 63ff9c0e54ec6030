"""Sends the access log to the server: oldest first, in batches, streamed from flash.

Promises: an entry is sent until the server says `ok`, and counts as sent from then on, over a
power cut too; so it comes at least once, and again only where no answer came. What the server
refuses alone, before it takes a later one and after, is passed over: nothing is blocked for ever,
and a server that refuses everything for a while loses nothing. Source: protocol, "Access logs".
"""

import asyncio

from kalitka.journal import entries
from kalitka.journal.log import LAST
from kalitka.sync.client import Refused
from kalitka.sync.net import NetError, pause_after, words_of
from micropython import const

_SIZE_MAX = const(4096)  # bytes of a body
_FAIR = const(64)  # records looked at between two chances for others to run
_SPAN_MAX = const(256)  # records of one body, entries or not: they are read in one go
_PATIENCE_S = const(120)  # for an answer, however steadily it trickles
_TIME_WAIT_S = const(600)  # entries without a time wait so long for the clock to be set
_ASIDE_MAX = const(16)  # refused one after the other: then the server refuses everything
_HOUR = const(3600)
# Of the 4xx, what is not said of the batch but of this reader, this server or this moment.
_NOT_THE_BATCH = (401, 403, 404, 405, 407, 408, 425, 429)
# So many failures in a row while the same server answers polls, and it is the batch: there are
# servers that answer 500 to what they do not understand, and some on the way that hang up.
_PATIENT = const(8)


class Uploader:
    """Sends what is in `journal` (an AccessLog) by `client`.

    clock: as AccessLog has it. report: a callable that takes a line of text (str).
    seconds: that entries wait for others to be sent with.

    error: why the last batch was not taken, "" if it was. again: nothing is sent before, uptime
    in seconds; whoever knows that the network came back makes it 0.
    """

    def __init__(self, client, journal, clock, report, seconds: float):
        self._client = client
        self.journal = journal
        self._clock = clock
        self._report = report
        self._seconds = seconds
        self._first = 0  # number of the first record that was not sent or put aside
        self._done = 0  # all up to this number are sent or passed over
        self._due = -1  # uptime in seconds, -1 while there is nothing to send
        self.again = 0  # not before
        self._failures = 0  # in a row
        self._blamed = 0  # of these: with an answer to a poll since the one before
        self._most = _SPAN_MAX
        self._aside = 0  # entries refused since the server last took one, or while asked again
        self._aside_max = _ASIDE_MAX
        # Up to this number those aside are asked for again, one by one; 0 for nothing of that
        # kind. Behind it all up to `_taken` is sent.
        self._again_to = self._taken = 0
        self._missing = 0  # records that were passed over, for ever; not told to the log yet
        self._untimed_since = -1
        self._lost = journal.log.lost if journal.log else 0
        # The last session before this one that was asked for, and its offset.
        self._session = b""
        self._offset = 0
        self.error = ""

    def due(self, now: int) -> bool:
        """Tell whether there is something to send now (uptime in seconds)."""
        log = self.journal.log
        if not log or log.last < self._next(log):
            self._due = -1
            return False
        if self._due < 0:
            self._due = now + self._seconds
        return now >= max(self._due, self.again)

    async def send(self) -> None:
        """Send one batch, whatever comes of it."""
        journal = self.journal
        log = journal.log
        if log.lost > self._lost:
            self._report("log: up to %d entries in all are lost, the server had none" % log.lost)
        self._lost = log.lost
        plain = not self._client.at_hub
        batch = None
        try:
            batch = _Batch(self, log, self._next(log), plain)
            lost = log.lost
            if self._again_to:
                await batch.measure(1, self._again_to)
            else:
                await batch.measure(self._most, LAST)
            if log.lost != lost:
                # Some gave way meanwhile, and were counted.
                batch.missing = 0
            if batch.count:
                more = ()
                if not plain:
                    told = str(log.lost + self._missing + journal.dropped)
                    more = (("X-Kalitka-Log", journal.id), ("X-Kalitka-Lost", told))
                sending = self._client.upload(batch.size, batch.pieces, more)
                await asyncio.wait_for(sending, _PATIENCE_S)
        except (MemoryError, OSError, ValueError, asyncio.TimeoutError) as e:
            if batch and self._is_of_batch(e):
                self._refuse(batch, log, e)
            else:
                self._fail(words_of(e))
        else:
            self._accept(batch, log)

    async def offset(self, number: int, session: bytes) -> int:
        """Return what makes seconds since 1970 UTC of a session's uptimes; 0: nothing does.

        number: of a record of the session. -1: it may become known, this entry should wait.
        """
        if session == self._session:
            return self._offset
        found = await self.journal.offset(number, session)
        if session == self.journal.session:
            # It may be another one for the next batch, since the clock may be put right.
            if found is None:
                now = self._clock.uptime()
                if self._untimed_since < 0:
                    self._untimed_since = now
                return -1 if now < self._untimed_since + _TIME_WAIT_S else 0
            return found
        self._session = session
        self._offset = found or 0
        return self._offset

    def _next(self, log):
        # The number of the record to begin with.
        return max(log.mark + 1, self._done + 1, self._first)

    def _is_of_batch(self, e):
        # Whether the failure is said of these entries.
        if not isinstance(e, NetError):
            return False
        if isinstance(e, Refused) and 400 <= e.status < 500:
            return e.status not in _NOT_THE_BATCH
        if self._client.answered:
            self._client.answered = False
            self._blamed += 1
        return self._blamed >= _PATIENT

    def _accept(self, batch, log):
        if batch.count:
            if self.error:
                self._report("log: the server takes entries again")
            self.error = ""
            self._failures = self._blamed = 0
            self._most = min(self._most * 2, _SPAN_MAX)
            if self._aside and not self._again_to:
                # It takes others: was it those, or was it the server?
                self._aside = 0
                self._aside_max = _ASIDE_MAX
                self._again_to = batch.first - 1
                self._taken = batch.last
                self._missing += batch.missing
                self._first = 0
                return
        elif batch.last < batch.first and not self._again_to:
            # All that there is waits for the clock.
            self.again = self._clock.uptime() + 1
            return
        self._pass(batch, log)

    def _refuse(self, batch, log, e):
        self._failures = self._blamed = 0
        if batch.count > 1:
            # It may be one of them only.
            self._most = batch.count // 2
            return
        self._aside += 1
        if self._again_to:
            self._pass(batch, log)
            return
        shown = "".join(chr(b) if 32 <= b < 127 else "?" for b in batch.shown)
        self._report("log: the server refuses %s: %s" % (shown, words_of(e)))
        self._first = batch.last + 1
        self._most = 1
        if self._aside < self._aside_max:
            return
        self._report("log: the server refuses every entry; again in an hour")
        self.error = words_of(e)
        self._aside = 0
        self._aside_max *= 2
        self._first = 0
        self.again = self._clock.uptime() + _HOUR

    def _pass(self, batch, log):
        # The batch is sent or passed over.
        last = batch.last
        if self._again_to and last >= self._again_to:
            last = self._taken
            self._again_to = 0
            if self._aside:
                self._report("log: %d entries passed over, refused" % self._aside)
                self._missing += self._aside
                self._aside = 0
        self._first = last + 1
        if self._aside and not self._again_to:
            return
        self._missing += batch.missing
        # Even if the flash fails now, it is not sent again before the next start.
        self._done = last
        if batch.count:
            try:
                log.set_mark(last, self._missing)
                self._missing = 0
            except OSError as e:
                self._report("log: the mark cannot be kept in flash: %s" % words_of(e))

    def _fail(self, words):
        self._failures += 1
        self.again = self._clock.uptime() + pause_after(self._failures, self._seconds)
        # A fault that lasts is told once.
        if words != self.error:
            self._report("log: not sent: %s" % words)
        self.error = words


class _Batch:
    # What goes into one body: the records from `first` to `last`.

    def __init__(self, uploader, log, first, plain):
        self._uploader = uploader
        self._log = log
        self._plain = plain
        self._buf = bytearray(1024)
        # Of the entries without a time: they are of one session.
        self._session = b""
        self._offset = 0
        self.first = max(first, log.first)
        self.last = self.first - 1
        self.count = 0
        self.missing = 0  # records that were there once, and cannot be read
        self.size = 0
        self.shown = b""  # the last one

    async def measure(self, most, end):
        """Find out how far it goes, with at most so many entries and no record behind `end`."""
        end = min(end, self.first + _SPAN_MAX)
        for number, data in self._log.records(self.first, self._buf):
            if number > end:
                break
            if not number % _FAIR:
                await asyncio.sleep(0)
            fields = entries.fields(data)
            if fields:
                if self.count == most or not await self._may_have(number, fields[5]):
                    return
                text = self._text(number, fields)
                size = self.size + len(text) + (self.count > 0)
                if size > _SIZE_MAX and self.count:
                    return
                self.size = size
                self.count += 1
                self.shown = text
            self.missing += number - 1 - self.last
            self.last = number
        # Damage may have left numbers out at the end: nobody has to wait for them.
        end = min(self._log.last, end)
        if self.last < end:
            self.missing += end - self.last
            self.last = end

    async def _may_have(self, number, session):
        if session and session != self._session:
            if self._session:
                return False
            offset = await self._uploader.offset(number, session)
            if offset < 0:
                return False
            self._session = session
            self._offset = offset
        return True

    def pieces(self):
        """Yield the body (bytes)."""
        between = b""
        for number, data in self._log.records(self.first, self._buf):
            if number > self.last:
                return
            fields = entries.fields(data)
            if fields:
                yield between + self._text(number, fields)
                between = b","

    def _text(self, number, fields):
        source, state, reason, seconds, code, session = fields
        if session:
            seconds = self._offset + seconds if self._offset else 0
        code = entries.code_text(source, reason, code, self._plain)
        text = b"%d_%s_%d" % (seconds, code, state)
        if not self._plain:
            text += b"_%d_%d_%d" % (reason, source, number)
        return text
