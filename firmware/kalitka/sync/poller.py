"""The poll loop: asks the server for changes and applies them, for ever.

Follows the protocol's "Applying it", rules 1 to 8: all of an answer or nothing; minute 0 asks
for everything and replaces the table; an answer with minute 0 asks for that at once; what
changes nothing writes nothing. Promises: no fault of server or network ends the loop or touches
the table; while it works, others run after every 512 bytes and every 64 records.
"""

import asyncio
import gc

from kalitka.access.timezone import ZoneError
from micropython import const

_HOUR = const(3600)
_DAY = const(86400)
# Seconds that an answer may take, however steadily it trickles.
_SYNC_MAX = const(1800)
_TIME_MAX = const(60)


class Poller:
    """Keeps `table` in step with the server that `client` talks to.

    clock: set from the server; has `is_set`, `uptime()`, `set_utc()`, `set_zone()`.
    online: a callable that tells whether there is a network to poll over.
    report: a callable that takes a line of text (str) for the log.
    interval: seconds from poll to poll.
    zone: the technician's zone (str), or "" to take the server's.

    error: why the last poll failed, in words, "" if it did not. polls, failures: how many.
    """

    def __init__(self, client, table, clock, online, report, interval, zone):
        self._client = client
        self._table = table
        self._clock = clock
        self._online = online
        self._report = report
        self._interval = interval
        self._zone = zone
        self._clock_due = 0  # uptime in seconds
        self._clock_error = ""
        self._save_due = _HOUR
        self.error = ""
        self.polls = 0
        self.failures = 0

    async def run(self) -> None:
        """Poll for ever."""
        while True:
            if self._online():
                await self.attempt()
                await asyncio.sleep(self._interval)
            else:
                # The network is looked for by others; here it is only waited for.
                await asyncio.sleep(1)

    async def attempt(self) -> bool:
        """Poll once, whatever comes of it; returns whether it worked."""
        gc.collect()
        self.polls += 1
        try:
            await self.set_clock()
            await self.poll()
        except (OSError, ValueError, asyncio.TimeoutError) as e:
            self._fail(_words(e))
        except MemoryError:
            self._fail("not enough memory for the sync")
        else:
            if self.error:
                self._report("sync: works again")
            self.error = ""
        return not self.error

    async def poll(self) -> None:
        """Ask once and apply the answer. Raises what went wrong; the table is then as before."""
        if await self._ask() == 0:
            # The server wants this reader to take everything anew.
            self._report("sync: the server asks for a full sync")
            await self._ask()
        if self._clock.uptime() >= self._save_due:
            self._save_due = self._clock.uptime() + _HOUR
            self._table.save_minute()

    async def set_clock(self) -> None:
        """Set the clock if it is due: at the start and once a day. A failure is only reported."""
        if self._clock.is_set and self._clock.uptime() < self._clock_due:
            return
        try:
            seconds, zone = await asyncio.wait_for(self._client.time(), _TIME_MAX)
            self._clock.set_utc(seconds)
        except (OSError, ValueError, asyncio.TimeoutError) as e:
            words = _words(e)
            if words != self._clock_error:
                self._report("clock: not set: %s" % words)
            self._clock_error = words
            return
        self._clock_error = ""
        self._report("clock: set by the server")
        self._clock_due = self._clock.uptime() + _DAY
        if self._zone:
            return
        try:
            self._clock.set_zone(zone)
        except ZoneError as e:
            self._report("clock: the server's zone is not taken: %s" % e)

    async def _ask(self):
        # One exchange, or two. Returns the minute that came of a change asked for, else a true
        # value.
        table = self._table
        full = not table.minute or bool(table.fault)
        spoke_seconds = table.seconds
        changes, parser = await self._exchange(full, False)
        if changes.transaction.again:
            self._report("sync: the answer is out of order and not the table: asked for again")
            changes, parser = await self._exchange(full, True)
        self._tell(full, changes, parser)
        if table.seconds and not spoke_seconds:
            self._report(
                "sync: a day time above 1440: from now on all are taken as seconds; "
                "if that is wrong, set day_time_unit"
            )
        return 1 if full else changes.received

    async def _exchange(self, full, unsorted):
        # Asks once and applies what comes.
        transaction = self._table.begin(full, unsorted)
        try:
            changes = _Changes(transaction)
            answer = self._client.sync(0 if full else self._table.minute, changes)
            parser = await asyncio.wait_for(answer, _SYNC_MAX)
            commit = transaction.commit(changes.received)
            try:
                for _ in commit:
                    await asyncio.sleep(0)
            finally:
                # If this task was ended in the middle: closes the files that are being written.
                commit.close()
        finally:
            transaction.abort()
        return changes, parser

    def _tell(self, full, changes, parser):
        changed = changes.transaction.changed
        if full or changed or parser.dropped:
            kind = "full" if full else "incremental"
            self._report(
                "sync: %s, %d rules, %d codes changed, minute %d"
                % (kind, parser.rules, changed, changes.received)
            )
        for reason in sorted(parser.reasons):
            self._report("sync: dropped %d: %s" % (parser.reasons[reason], reason))
        if changes.transaction.overflowed:
            self._report(
                "sync: dropped %d: more rules than a code can hold"
                % changes.transaction.overflowed
            )

    def _fail(self, words):
        self.failures += 1
        # A fault that lasts is told once, not every minute.
        if words != self.error:
            self._report("sync: failed: %s" % words)
        self.error = words


class _Changes:
    # The answer's sink: everything goes into the transaction.

    def __init__(self, transaction):
        self.transaction = transaction
        self.delete = transaction.delete
        self.rules = transaction.take
        self.settle = transaction.settle
        self.received = 0

    def minute(self, minute):
        self.received = minute

    def dropped(self, line, reason):
        # Counted by the parser and told together at the end.
        pass


def _words(error):
    # Our own errors are words; the system's are a number.
    if isinstance(error, asyncio.TimeoutError):
        return "the answer trickled for too long"
    if len(error.args) == 1 and isinstance(error.args[0], str):
        return error.args[0]
    return "error %s" % (error.args[0] if error.args else error)
