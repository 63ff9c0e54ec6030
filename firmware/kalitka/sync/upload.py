"""Sends the access log to the server: oldest first, in batches, streamed from flash.

Promises: an entry is sent until the server says `ok`, and is then acknowledged in flash, which
outlasts a power cut: so an entry arrives at least once, and again only if no answer came. An
entry that is refused by itself, both before and after the server takes a later one, is given up:
no entry blocks the others for ever, and a server that refuses everything for a while loses
nothing. Source: protocol, "Access logs", and journal/FORMAT.md, "Upload to a server".

Loaded for a batch: see `sync.uploader`, whose Uploader holds the state between batches.
"""

import asyncio

from kalitka import within
from kalitka.journal import entries
from kalitka.journal.log import LAST
from kalitka.sync.client import StatusError
from kalitka.sync.net import NetError, describe
from kalitka.sync.uploader import REFUSED_MAX, SPAN_MAX
from micropython import const

_SIZE_MAX = const(4096)  # bytes of a body
_FAIR = const(4)  # records read between two chances for other tasks to run
_PATIENCE_S = const(240)  # for a whole answer, however steadily it trickles
# How many times as long as usual its beginning may take, doubled with each failure in a row: a
# slow server has the entries already, and takes them for others if they are sent again.
_SLOW = const(2)
_TIME_WAIT_S = const(600)  # for how long entries without a time wait for the clock to be set
_HOUR = const(3600)
# The 4xx that are not about the batch but about this reader, this server or this moment.
_TRANSIENT = const((401, 403, 404, 405, 407, 408, 425, 429))
# After this many failures in a row, while the same server answers polls, the batch counts as
# refused: some servers answer 500 to what they do not understand, and some proxies hang up.
_PATIENT = const(8)


async def send(uploader) -> None:
    """Send the next batch of `uploader` (an Uploader). A failure is reported, not raised."""
    journal = uploader.journal
    log = journal.log
    if log.lost > uploader.lost:
        uploader.report("log: up to %d entries in all are lost, the server had none" % log.lost)
    uploader.lost = log.lost
    plain = not uploader.client.from_hub
    batch = None
    try:
        batch = _Batch(uploader, log, uploader.next(), plain)
        lost = log.lost
        if uploader.retry_to:
            await batch.measure(1, uploader.retry_to)
        else:
            await batch.measure(uploader.most, LAST)
        if log.lost != lost:
            # Records were evicted meanwhile, and the log has counted them: not twice.
            batch.missing = 0
        if batch.count:
            more = ()
            if not plain:
                told = str(log.lost + uploader.missing + journal.dropped)
                more = (("X-Kalitka-Log", journal.id), ("X-Kalitka-Lost", told))
            patience = _SLOW << min(uploader.failures, 3)
            sending = uploader.client.upload(batch.size, batch.pieces, more, patience)
            await within(sending, _PATIENCE_S)
    except (MemoryError, OSError, ValueError, asyncio.TimeoutError) as e:
        if batch and _is_of_batch(uploader, e):
            _refuse(uploader, batch, log, e)
        else:
            uploader.fail(e)
    else:
        _accept(uploader, batch, log)


async def _start_time(uploader, number, session):
    # Returns when a session started, in seconds since 1970 UTC; 0 if unknown; -1 if it may yet
    # become known, so that the entry should wait. number: of a record of the session.
    if session == uploader.known_session:
        return uploader.known_start
    found = await uploader.journal.start_time(number, session)
    if session == uploader.journal.session:
        # Not cached: the clock may be corrected before the next batch.
        if found is None:
            now = uploader.clock.uptime()
            if uploader.untimed < 0:
                uploader.untimed = now
            return -1 if now < uploader.untimed + _TIME_WAIT_S else 0
        return found
    uploader.known_session = session
    uploader.known_start = found or 0
    return uploader.known_start


def _is_of_batch(uploader, e):
    # Returns whether the failure is about these entries.
    if not isinstance(e, NetError):
        return False
    if isinstance(e, StatusError) and 400 <= e.status < 500:
        return e.status not in _TRANSIENT
    if uploader.client.answered:
        uploader.client.answered = False
        uploader.blamed += 1
    return uploader.blamed >= _PATIENT


def _accept(uploader, batch, log):
    if batch.count:
        if uploader.error:
            uploader.report("log: the server takes entries again")
        uploader.error = ""
        uploader.failures = uploader.blamed = 0
        uploader.most = min(uploader.most * 2, SPAN_MAX)
        if uploader.refused and not uploader.retry_to:
            # The server takes other entries: retry the quarantined ones, to learn whether it
            # refused them or everything. The acknowledgement waits for that, so a cut during the
            # retry sends this batch once more.
            uploader.refused = 0
            uploader.refused_max = REFUSED_MAX
            uploader.retry_to = batch.first - 1
            uploader.taken = batch.last
            uploader.missing += batch.missing
            uploader.first = 0
            return
    elif batch.last < batch.first and not uploader.retry_to:
        # All entries wait for the clock.
        uploader.retry_at = uploader.clock.uptime() + 1
        return
    _pass(uploader, batch, log)


def _refuse(uploader, batch, log, e):
    uploader.failures = uploader.blamed = 0
    if batch.count > 1:
        # Only one of them may be at fault: halve the batch until one entry is left.
        uploader.most = batch.count // 2
        return
    uploader.refused += 1
    if uploader.retry_to:
        _pass(uploader, batch, log)
        return
    shown = "".join(chr(b) if 32 <= b < 127 else "?" for b in batch.text)
    uploader.report("log: the server refuses %s: %s" % (shown, describe(e)))
    uploader.first = batch.last + 1
    uploader.most = 1
    if uploader.refused < uploader.refused_max:
        return
    uploader.report("log: the server refuses every entry; again in an hour")
    uploader.error = describe(e)
    uploader.refused = 0
    uploader.refused_max *= 2
    uploader.first = 0
    uploader.retry_at = uploader.clock.uptime() + _HOUR


def _pass(uploader, batch, log):
    # Moves on behind a batch that is sent or given up, and acknowledges it unless entries are
    # quarantined.
    last = batch.last
    if uploader.retry_to and last >= uploader.retry_to:
        last = uploader.taken
        uploader.retry_to = 0
        if uploader.refused:
            uploader.report("log: %d entries passed over, refused" % uploader.refused)
            uploader.missing += uploader.refused
            uploader.refused = 0
    uploader.first = last + 1
    if uploader.refused and not uploader.retry_to:
        return
    uploader.missing += batch.missing
    # Set before `ack`: even if the flash fails, the batch is not sent again before the next start.
    uploader.done = last
    if batch.count:
        try:
            log.ack(last, uploader.missing)
            uploader.missing = 0
        except (OSError, MemoryError) as e:
            uploader.report("log: the mark cannot be kept in flash: %s" % describe(e))


class _Batch:
    # The contents of one body: the records from `first` to `last`.

    def __init__(self, uploader, log, first, plain):
        self._uploader = uploader
        self._log = log
        self._plain = plain
        self._buf = bytearray(1024)
        # The session and start of the entries without a time; a batch has only one session.
        self._session = b""
        self._start = 0
        self.first = max(first, log.first)
        self.last = self.first - 1
        self.count = 0
        self.missing = 0  # records that were appended but cannot be read
        self.size = 0
        self.text = b""  # of the last entry

    async def measure(self, most, end):
        """Extend the batch, to at most `most` entries and no record behind `end`."""
        end = min(end, self.first + SPAN_MAX)
        for number, data in self._log.records(self.first, self._buf):
            if number > end:
                break
            if not number % _FAIR:
                await asyncio.sleep(0)
            fields = entries.decode(data, self._plain)
            if fields:
                if self.count == most or not await self._can_date(number, fields[5]):
                    return
                text = self._text(number, fields)
                size = self.size + len(text) + (self.count > 0)
                if size > _SIZE_MAX and self.count:
                    return
                self.size = size
                self.count += 1
                self.text = text
            self.missing += number - 1 - self.last
            self.last = number
        # Damage may have left numbers out at the end; they will never come.
        end = min(self._log.last, end)
        if self.last < end:
            self.missing += end - self.last
            self.last = end

    async def _can_date(self, number, session):
        if session and session != self._session:
            if self._session:
                return False
            start = await _start_time(self._uploader, number, session)
            if start < 0:
                return False
            self._session = session
            self._start = start
        return True

    def pieces(self):
        """Yield the body (bytes)."""
        between = b""
        for number, data in self._log.records(self.first, self._buf):
            if number > self.last:
                return
            fields = entries.decode(data, self._plain)
            if fields:
                yield between + self._text(number, fields)
                between = b","

    def _text(self, number, fields):
        source, state, reason, seconds, code, session, count = fields
        if session:
            seconds = self._start + seconds if self._start else 0
        code = entries.code_text(source, reason, code, self._plain)
        text = b"%d_%s_%d" % (seconds, code, state)
        if not self._plain:
            text += b"_%d_%d_%d" % (reason, source, number)
            if count:
                text += b"x%d" % count
        return text
