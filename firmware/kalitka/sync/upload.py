"""Sends the access log to the server: oldest first, in batches, streamed from flash.

Promises: an entry is sent until the server says `ok`, and counts as sent from then on, over a
power cut too; so it comes at least once, and again only where no answer came. What the server
refuses alone, before it takes a later one and after, is passed over: nothing is blocked for ever,
and a server that refuses everything for a while loses nothing. Source: protocol, "Access logs".

Loaded for a batch: see `sync.uploader`, whose Uploader keeps what is known in between. Here it is
`up`.
"""

import asyncio

from kalitka.journal import entries
from kalitka.journal.log import LAST
from kalitka.sync.client import Refused
from kalitka.sync.net import NetError, words_of
from kalitka.sync.uploader import ASIDE_MAX, SPAN_MAX
from micropython import const

_SIZE_MAX = const(4096)  # bytes of a body
_FAIR = const(64)  # records looked at between two chances for others to run
_PATIENCE_S = const(120)  # for an answer, however steadily it trickles
_TIME_WAIT_S = const(600)  # entries without a time wait so long for the clock to be set
_HOUR = const(3600)
# Of the 4xx, what is not said of the batch but of this reader, this server or this moment.
_NOT_THE_BATCH = (401, 403, 404, 405, 407, 408, 425, 429)
# So many failures in a row while the same server answers polls, and it is the batch: there are
# servers that answer 500 to what they do not understand, and some on the way that hang up.
_PATIENT = const(8)


async def send(up) -> None:
    """Send one batch, whatever comes of it. up: an Uploader, which knows what to send."""
    journal = up.journal
    log = journal.log
    if log.lost > up.lost:
        up.report("log: up to %d entries in all are lost, the server had none" % log.lost)
    up.lost = log.lost
    plain = not up.client.at_hub
    batch = None
    try:
        batch = _Batch(up, log, up.next(), plain)
        lost = log.lost
        if up.again_to:
            await batch.measure(1, up.again_to)
        else:
            await batch.measure(up.most, LAST)
        if log.lost != lost:
            # Some gave way meanwhile, and were counted.
            batch.missing = 0
        if batch.count:
            more = ()
            if not plain:
                told = str(log.lost + up.missing + journal.dropped)
                more = (("X-Kalitka-Log", journal.id), ("X-Kalitka-Lost", told))
            sending = up.client.upload(batch.size, batch.pieces, more)
            await asyncio.wait_for(sending, _PATIENCE_S)
    except (MemoryError, OSError, ValueError, asyncio.TimeoutError) as e:
        if batch and _is_of_batch(up, e):
            _refuse(up, batch, log, e)
        else:
            up.fail(e)
    else:
        _accept(up, batch, log)


async def _offset(up, number, session):
    # What makes seconds since 1970 UTC of a session's uptimes; 0: nothing does; -1: it may become
    # known, this entry should wait. number: of a record of the session.
    if session == up.known_session:
        return up.known_offset
    found = await up.journal.offset(number, session)
    if session == up.journal.session:
        # It may be another one for the next batch, since the clock may be put right.
        if found is None:
            now = up.clock.uptime()
            if up.untimed_since < 0:
                up.untimed_since = now
            return -1 if now < up.untimed_since + _TIME_WAIT_S else 0
        return found
    up.known_session = session
    up.known_offset = found or 0
    return up.known_offset


def _is_of_batch(up, e):
    # Whether the failure is said of these entries.
    if not isinstance(e, NetError):
        return False
    if isinstance(e, Refused) and 400 <= e.status < 500:
        return e.status not in _NOT_THE_BATCH
    if up.client.answered:
        up.client.answered = False
        up.blamed += 1
    return up.blamed >= _PATIENT


def _accept(up, batch, log):
    if batch.count:
        if up.error:
            up.report("log: the server takes entries again")
        up.error = ""
        up.failures = up.blamed = 0
        up.most = min(up.most * 2, SPAN_MAX)
        if up.aside and not up.again_to:
            # It takes others: was it those, or was it the server?
            up.aside = 0
            up.aside_max = ASIDE_MAX
            up.again_to = batch.first - 1
            up.taken = batch.last
            up.missing += batch.missing
            up.first = 0
            return
    elif batch.last < batch.first and not up.again_to:
        # All that there is waits for the clock.
        up.again = up.clock.uptime() + 1
        return
    _pass(up, batch, log)


def _refuse(up, batch, log, e):
    up.failures = up.blamed = 0
    if batch.count > 1:
        # It may be one of them only.
        up.most = batch.count // 2
        return
    up.aside += 1
    if up.again_to:
        _pass(up, batch, log)
        return
    shown = "".join(chr(b) if 32 <= b < 127 else "?" for b in batch.shown)
    up.report("log: the server refuses %s: %s" % (shown, words_of(e)))
    up.first = batch.last + 1
    up.most = 1
    if up.aside < up.aside_max:
        return
    up.report("log: the server refuses every entry; again in an hour")
    up.error = words_of(e)
    up.aside = 0
    up.aside_max *= 2
    up.first = 0
    up.again = up.clock.uptime() + _HOUR


def _pass(up, batch, log):
    # The batch is sent or passed over.
    last = batch.last
    if up.again_to and last >= up.again_to:
        last = up.taken
        up.again_to = 0
        if up.aside:
            up.report("log: %d entries passed over, refused" % up.aside)
            up.missing += up.aside
            up.aside = 0
    up.first = last + 1
    if up.aside and not up.again_to:
        return
    up.missing += batch.missing
    # Even if the flash fails now, it is not sent again before the next start.
    up.done = last
    if batch.count:
        try:
            log.ack(last, up.missing)
            up.missing = 0
        except OSError as e:
            up.report("log: the mark cannot be kept in flash: %s" % words_of(e))


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
        end = min(end, self.first + SPAN_MAX)
        for number, data in self._log.records(self.first, self._buf):
            if number > end:
                break
            if not number % _FAIR:
                await asyncio.sleep(0)
            fields = entries.decode(data)
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
            offset = await _offset(self._uploader, number, session)
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
            fields = entries.decode(data)
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
