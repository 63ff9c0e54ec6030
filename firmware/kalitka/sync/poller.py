"""The poll loop: asks the server for changes and applies them, for ever.

Follows the protocol's "Applying it": an answer is applied as a whole or not at all; a sync from
minute 0 (a full sync) replaces the table; an answer with minute 0 calls for a full sync at once;
an answer that changes nothing writes nothing; full syncs repeat as the settings say. A full sync
that fails in any way is put off with growing pauses, while changes go on; the server may take
longer each time to begin its answer. A full answer that does not fit, or is damaged, in the same
way twice is asked for again after hours: each try writes to flash. After a start changes come
first, and the full sync a few minutes later, at a time of the reader's own: after a power cut
readers do not ask a server for everything at once. Promises:
no fault of server or network ends the loop or touches the table; during a sync other tasks run
after every 1,024 bytes and every 64 records; a failing server is polled less and less often.
"""

import asyncio
import gc
from binascii import crc32

from kalitka import unload, within
from kalitka.sync import net
from kalitka.sync.client import StatusError
from kalitka.sync.net import BadCertificate, NoReply, backoff, describe, same_fault
from micropython import const

_ENOSPC = const(28)
_LOOK_S = const(0.25)  # between two checks of what is due
_HOUR = const(3600)
_NEVER = const(0x3FFFFFFF)  # uptime in seconds
_DAY_S = const(86400)
_LONGEST_S = const(1800)
_SILENT_MAX = const(3)  # exchanges in a row without a sign of life, before the link is reset
_SPREAD_S = const(300)  # within which the readers of a site begin their full syncs
_POSTPONED_S = const(600)  # by which a failed full sync is postponed; then twice as much each time
_POSTPONED_MAX_S = const(3600)
_MISFIT_MAX_S = const(21600)  # the same for an answer that failed in the same way before
# How many times as long as usual (15 s) a server may take to begin a full answer: it may need
# milliseconds a code, and has other readers to serve.
_PATIENCE = const(4)
_PATIENCE_MAX = const(60)
_PATIENCE_BYTES = const(6000)  # of the table that is there, for one more: some 750 codes
_PATIENCE_PAUSE_S = const(150)  # by which a full sync was postponed, for one more
_SAME_CARD_S = const(30)  # within which the same unknown card is not asked for again
# The modules that an answer needs, and those that a change of the table needs: unloaded after
# use. Native code is not listed: its memory is never given back, and each import takes it anew.
_PARSING = const(("sync.answer", "access.packing"))
_APPLYING = const(
    (
        "access.packing",
        "table.full_change",
        "table.incremental_change",
        "table.transaction",
        "table.writers",
        "table.sorter",
        "table.merge",
        "table.rule_sets",
    )
)


class Poller:
    """The poller that keeps `table` in step with the server behind `client`.

    clock: has `is_set` and `uptime()`. keeper: sets the clock; see `sync.timekeeper`.
    link: has `connected()`, `connects` and `reset()`; see `system.link`.
    report: a callable that takes a line of text (str) for the log.
    uploader: sends the access log over the same connection, between two polls; see
    `sync.uploader`.
    settings: the reader's settings, a dict, of which `reader`, `poll_seconds`, `codes`, `full_...`
    and `ask_...` are used.

    error: why the last poll failed, in words, "" if it did not. polls, failures, full_syncs: how
    many. succeeded: uptime in seconds of the last poll that worked; -1 for never. timeout: seconds
    that an answer may take, however steadily it trickles.
    """

    def __init__(self, client, table, clock, keeper, link, report, settings, uploader):
        self._client = client
        self._uploader = uploader
        self._table = table
        self._clock = clock
        self._keeper = keeper
        self._link = link
        self._report = report
        # Single values, so that the dict can be freed.
        self._seconds = settings["poll_seconds"]
        self._ask_cards = settings["ask_unknown_cards"]
        self._full_hours = settings["full_sync_hours"]
        self._full_after_403 = settings["full_sync_after_403"]
        self._full_after_changes = settings["full_sync_after_changes_minutes"]
        self._codes = [code.encode() for code in settings["codes"]] or None
        self._next = 0  # this and all `..._due` and `..._until`: uptime in seconds
        self._save_due = self._summary_due = clock.uptime() + _HOUR
        self._scrub_due = 0
        self._full_due = self._daily()
        self._spread = crc32(settings["reader"].encode()) % _SPREAD_S
        if settings["full_sync_at_start"]:
            self._full_due = clock.uptime() + self._spread
        self._card = None  # the code of the card to ask for
        self._asked = b""  # the last one asked for
        self._asked_until = 0
        self._failures = 0  # in a row
        self._silent = 0
        self._answers = net.answers
        self._misfit = ""  # why the last full answer did not fit or was damaged
        self._postponed = 0  # for how many seconds
        self.timeout = _LONGEST_S
        self.error = ""
        self.polls = self.failures = self.full_syncs = 0
        self.succeeded = -1

    async def run(self) -> None:
        """Poll for ever."""
        link = self._link
        uploader = self._uploader
        connects = 0
        while True:
            now = self._clock.uptime()
            if not link.connected():
                # The link reconnects by itself.
                self._keeper.offline()
            elif now >= self._next or link.connects != connects:
                # A new link ends every pause.
                if link.connects != connects:
                    uploader.retry_at = 0
                connects = link.connects
                await self.attempt()
                self._next = self._clock.uptime() + self._pause()
            elif self._card:
                await self.fetch_card()
            elif self._client.from_hub is not None and uploader.due(now):
                # Not before the first answer shows whether the server is our hub: the body and
                # headers depend on it.
                await uploader.send()
            elif self._client.expiring():
                await self._client.touch()
            if now >= self._scrub_due:
                self._scrub(now)
            if now >= self._summary_due:
                self._summary_due = now + _HOUR
                self._report("sync: " + self.summary())
            await asyncio.sleep(_LOOK_S)

    async def attempt(self) -> bool:
        """Poll once; return whether it worked. A failure is reported, not raised."""
        gc.collect()
        unload()  # what a poll left behind that found no memory
        self.polls += 1
        await self._keeper.sync()
        if not await self._guarded(self.poll()):
            return False
        if self.succeeded < 0:
            # Reported once; `deploy` waits for it. Over TLS the server has proved its identity.
            how = " over TLS" if self._client.secure else ""
            self._report("sync: works%s, table of minute %d" % (how, self._table.minute))
        elif self.error:
            self._report("sync: works again")
        self.error = ""
        self._failures = 0
        self.succeeded = self._clock.uptime()
        return True

    async def poll(self) -> None:
        """Sync once, applying the answer. If this raises, the table is as before."""
        if await self._sync() == 0:
            # Minute 0 in an answer calls for a full sync.
            self._report("sync: the server asks for a full sync")
            await self._sync()
        if self._clock.uptime() >= self._save_due:
            self._save_due = self._clock.uptime() + _HOUR
            self._table.save_minute()

    def request(self, code: bytes | bytearray, n: int) -> None:
        """Request the rules of the unknown card `code[:n]` soon, if the settings say so.

        A reader that is limited to a list of codes never asks for others.
        """
        if self._ask_cards and not self._codes and not self._card:
            wanted = bytes(code[:n])
            now = self._clock.uptime()
            if wanted != self._asked or now >= self._asked_until:
                self._card = self._asked = wanted
                self._asked_until = now + _SAME_CARD_S

    def summary(self) -> str:
        """Return the state in words: last poll that worked, counts, table, error."""
        ago = "never worked"
        if self.succeeded >= 0:
            ago = "last worked %d s ago" % (self._clock.uptime() - self.succeeded)
        counts = "%d polls, %d failed, %d full" % (self.polls, self.failures, self.full_syncs)
        table = "table of minute %d" % self._table.minute
        return ", ".join([ago, counts, table] + ([self.error] if self.error else []))

    def _scrub(self, now):
        # Reads one block of the table at a time, each block once a day, so that corruption is
        # reported and a full sync becomes due before a card meets the block.
        table = self._table
        fault = table.fault
        blocks = table.scrub()
        self._scrub_due = now + (_DAY_S // blocks if blocks else _HOUR)
        if table.fault != fault:
            self._report("table: %s" % table.fault)

    def _daily(self):
        hours = self._full_hours
        return self._clock.uptime() + int(hours * _HOUR) if hours else _NEVER

    def _pause(self):
        # Returns the seconds to the next poll.
        interval = self._seconds
        if not self._failures:
            return interval
        if self._misfit and self._postponed >= _HOUR and not self._table.minute:
            return self._postponed  # nothing but a full sync could be asked for
        return backoff(self._failures, interval)

    async def _guarded(self, work):
        # Awaits the work and reports a failure; returns whether there was none.
        try:
            await work
        except (MemoryError, OSError, ValueError, asyncio.TimeoutError) as e:
            words = describe(e)
            if e.args and e.args[0] == _ENOSPC:
                if self._uploader.journal.free_space():
                    words += ": entries of the log that were sent give way"
            elif isinstance(e, BadCertificate):
                words = self._keeper.doubt(e) + words
            elif isinstance(e, StatusError) and e.status == 403 and self._full_after_403:
                # The server may never send what changed while it refused this reader.
                self._full_due = 0
            self._fail(words)
            # Whatever came through shows that the link works.
            silent = isinstance(e, NoReply) and self._answers == net.answers
            self._answers = net.answers
            self._silent = self._silent + 1 if silent else 0
            if self._silent >= _SILENT_MAX:
                self._silent = 0
                self._link.reset()
        else:
            self._silent = 0
            return True
        return False

    async def _sync(self):
        # Syncs in one exchange, or in up to three. Returns the minute received by an incremental
        # sync, 1 after a full one.
        table = self._table
        # After a start changes come first: an answer in any order is then mostly the table, and is
        # fetched once.
        due = self._clock.uptime() >= self._full_due and self.polls > 1
        full = not table.minute or bool(table.fault) or due
        spoke_seconds = table.seconds
        minute = 0 if full else table.minute
        try:
            changes = await self._exchange(minute, self._codes, 0)
            # At most two more. A full sync first expects the answer to be the table that is
            # there, then to be in order, and an incremental one sometimes that it changes nothing;
            # where that proves wrong, the answer is needed again.
            while changes.retry:
                retry = changes.retry
                self._report("sync: the answer is not the table: asked for again")
                del changes  # the next exchange needs the memory
                changes = await self._exchange(minute, self._codes, retry)
        except Exception as e:
            if full:
                # It may be too large for a proxy or for this reader, or too slow: postponed, so
                # that incremental syncs go on meanwhile.
                self._postpone(e)
            raise
        self._show("full" if full else "incremental", changes)
        if table.seconds and not spoke_seconds:
            self._report(
                "sync: a day time above 1440: from now on all are taken as seconds; "
                "if that is wrong, set day_time_unit"
            )
        if full:
            self.full_syncs += 1
            self._misfit = ""
            self._postponed = 0
            self._full_due = self._daily()
            return 1
        if 0 < changes.received < minute:
            # What changed before that minute may be missing from now on, or come twice.
            self._report(
                "sync: the server's minute went back, from %d to %d: is it an older copy?"
                % (minute, changes.received)
            )
        after = self._full_after_changes
        if after and changes.came:
            # An incremental answer may lack rules; a full one brings them.
            due = self._clock.uptime() + int(after * 60) + self._spread
            self._full_due = min(self._full_due, due)
        if changes.came and self._misfit:
            # The next full answer is another one.
            self._misfit = ""
            self._full_due = min(self._full_due, self._clock.uptime() + _POSTPONED_S)
        return changes.received

    def _postpone(self, e):
        # The words of a damaged answer have its size, so another size is another fault.
        lasting = isinstance(e, (MemoryError, ValueError)) or e.args[:1] == (_ENOSPC,)
        words = str(e) if lasting else ""
        if words != self._misfit or not self._postponed:
            self._postponed = _POSTPONED_S
        elif lasting:
            self._postponed = min(max(2 * self._postponed, _HOUR), _MISFIT_MAX_S)
        else:
            self._postponed = min(2 * self._postponed, _POSTPONED_MAX_S)
        self._misfit = words
        if self._table.minute:
            self._full_due = self._clock.uptime() + self._postponed

    async def fetch_card(self) -> None:
        """Fetch the rules of the requested card only; the table's minute stays."""
        names = [self._card]
        self._card = None
        if names[0] and self._table.minute and not self._table.fault:
            await self._guarded(self._fetch(names))

    async def _fetch(self, names):
        self._show("unknown card", await self._exchange(None, names, 0))

    async def _exchange(self, minute, names, retry):
        # Asks once and applies the answer.
        table = self._table
        changes = _Changes(table, retry)
        patience = 1
        try:
            if minute == 0:
                # Before the request: the earlier, the larger the heap's free piece is.
                changes.begin(True)
                patience = _PATIENCE + table.size // _PATIENCE_BYTES
                patience = min(patience + self._postponed // _PATIENCE_PAUSE_S, _PATIENCE_MAX)
            answer = self._client.sync(minute, changes, names, patience)
            try:
                changes.count(await within(answer, self.timeout))
            finally:
                # The commit needs the memory.
                del answer
                unload(*_PARSING)
            if minute is not None:
                minute = changes.received
            # No deadline here, on purpose: the answer is complete and the commit has no wait for
            # the network in it.
            await changes.commit(table.minute if minute is None else minute)
        finally:
            changes.end()
        return changes

    def _show(self, kind, changes):
        if changes.changed or changes.lost or kind == "full":
            self._report(
                "sync: %s, %d rules, %d codes changed, minute %d"
                % (kind, changes.came, changes.changed, changes.received)
            )
        for reason in sorted(changes.reasons):
            self._report("sync: dropped %d: %s" % (changes.reasons[reason], reason))
        if changes.overflowed:
            self._report("sync: dropped %d: more rules than a code can hold" % changes.overflowed)

    def _fail(self, words):
        self.failures += 1
        self._failures += 1
        # A lasting fault is reported once, not every minute.
        if not same_fault(words, self.error):
            self._report("sync: failed: %s" % words)
        self.error = words


class _Changes:
    # The sink of an answer: passes all changes to a transaction, which begins with the first one.
    # An answer without changes begins none, so it writes nothing.

    changed = overflowed = 0

    def __init__(self, table, retry):
        self._table = table
        self.retry = retry  # of the change before; after `commit` of this one
        self._transaction = None
        self.received = 0  # the minute

    def count(self, parser):
        self.came = parser.rules
        self.lost = parser.dropped
        self.reasons = parser.reasons

    def begin(self, full):
        self._transaction = transaction = self._table.begin(full, self.retry)
        return transaction

    def minute(self, minute):
        self.received = minute

    def delete(self, code):
        (self._transaction or self.begin(False)).delete(code)

    def rules(self, text, at, n, marks):
        return (self._transaction or self.begin(False)).add_lines(text, at, n, marks)

    def drain(self):
        return self._transaction.drain() if self._transaction else ()

    def dropped(self, line, reason):
        # Counted by the parser and reported together at the end.
        pass

    async def commit(self, minute):
        transaction = self._transaction
        self.retry = 0
        if not transaction:
            self._table.set_minute(minute, self._table.seconds)
            return
        steps = transaction.commit(minute)
        try:
            for _ in steps:
                await asyncio.sleep(0)
        finally:
            # If this task is cancelled in the middle, this closes the files being written.
            steps.close()
        self.changed = transaction.changed
        self.overflowed = transaction.overflowed
        self.retry = transaction.retry

    def end(self):
        if self._transaction:
            self._transaction.abort()
            self._transaction = None
            unload(*_APPLYING)
            # Collect at once, before another allocation splits the freed memory.
            gc.collect()
