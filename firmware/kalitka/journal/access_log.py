"""The access log: every decision, in flash before it is signalled, until the server has it.

Promises: `append` never raises; when it returns the entry is in flash, or, while the flash fails
or is full, in memory, which keeps the newest 32 until the flash takes them; lost entries are
counted. Entries made before the clock was set get their time from a time record, appended once
it is set.
"""

import asyncio
import os
from binascii import hexlify

from kalitka.journal import entries
from kalitka.journal.log import LAST, Log, read
from kalitka.table.block import crc_ok, write_with_crc
from micropython import const

FOLDER = "journal"  # in the reader's flash; do not rename: entries would be left there
_PENDING_MAX = const(32)  # entries in memory
_RETRY_TICKS = const(10)  # ticks between two tries of a flash that failed
_ENOSPC = const(28)
_FAIR = const(16)  # records read between two chances for other tasks to run


class AccessLog:
    """The access log in `folder`, which takes at most `size` bytes of flash (see journal.log).

    clock: has `is_set`, `seconds()` and `uptime()`; see `system.clock`.
    report: a callable that takes a line of text (str).

    log: the Log, None while it cannot be opened. id: names the log at our hub, 8 hexadecimal
    digits. session: random bytes that stand for this start. dropped: entries since the start that
    neither flash nor memory could keep.
    """

    def __init__(self, folder: str, size: int, clock, report):
        self._folder = folder
        self._size = size
        self._clock = clock
        self._report = report
        self._pending = []
        self.session = os.urandom(entries.SESSION_SIZE)
        self._untimed = False  # there are entries of this session without a time
        self._fault = ""
        self._ticks = 0
        self.log = None
        self.id = ""
        self.dropped = 0
        self._flush()
        if self.log and self.log.damaged:
            report("log: %d pieces are damaged, their entries are lost" % self.log.damaged)

    def append(
        self, source: int, state: int, reason: int, code: bytes = b"", count: int = 0
    ) -> None:
        """Append an entry with the present time; see `entries.encode`. Signal only after that."""
        clock = self._clock
        try:
            if clock.is_set:
                self._add_time()
                seconds, session = clock.seconds(), b""
            else:
                self._untimed = True
                seconds, session = clock.uptime(), self.session
            record = entries.encode(source, state, reason, seconds, code, session, count)
            self._save(record)
        except MemoryError:  # not even enough for these few bytes, or for a report
            self.dropped += 1

    def free_space(self) -> bool:
        """Remove segments that the server has acknowledged, for a file system that is full.

        Returns whether anything was removed.
        """
        freed = False
        while self.log and self._evict(self.log.acked):
            freed = True
        return freed

    def tick(self) -> None:
        """Append a time record once the clock is set, and retry a flash that failed.

        Call this every second. Never raises.
        """
        try:
            if self._clock.is_set:
                self._add_time()
            self._ticks = (self._ticks + 1) % _RETRY_TICKS
            if not self._ticks and (self._pending or not self.log):
                self._flush()
        except MemoryError:  # not even enough for a report
            pass

    async def start_time(self, number: int, session: bytes) -> int | None:
        """Return when a session started, in seconds since 1970 UTC; its uptimes count from then.

        number: of a record of that session. None if the time of that start is not known (yet).
        Raises OSError.
        """
        clock = self._clock
        if session == self.session and clock.is_set:
            return clock.seconds() - clock.uptime()
        if session != self.session and self.log:
            for at, data in self.log.records(number):
                found = entries.time_in(data)
                if found and found[0] == session:
                    return found[2] - found[1]
                if entries.session_in(data) not in (b"", session):
                    break  # of a later start
                if not at % _FAIR:
                    await asyncio.sleep(0)
        return None

    def _add_time(self):
        if self._untimed:
            clock = self._clock
            self._save(entries.time_record(self.session, clock.uptime(), clock.seconds()))
            self._untimed = False

    def _save(self, record):
        pending = self._pending
        pending.append(record)
        try:
            self._flush()
            # Memory bound: the newest entries matter most, so the oldest segment is evicted if the
            # flash is full, and else the oldest entries in memory are dropped.
            if len(pending) > _PENDING_MAX and self._full and self._evict(LAST):
                self._flush()
            while len(pending) > _PENDING_MAX:
                if entries.time_in(pending[0]):
                    self._untimed = True  # the time record is appended anew
                else:
                    self.dropped += 1
                pending.pop(0)
        except MemoryError:  # the record waits in memory, so it is not dropped
            pass

    def _flush(self):
        # Appends the pending records to the log, as far as the flash takes them.
        self._full = False
        pending = self._pending
        try:
            log = self.log or self._open()
            while pending:
                try:
                    log.append(pending[0])
                except OSError as e:
                    if e.errno != _ENOSPC:
                        raise
                    self._full = True
                    # Acknowledged entries can be evicted without loss.
                    if not self._evict(log.acked):
                        raise
                    continue
                # Only now, when the record is durable.
                pending.pop(0)
        except (OSError, MemoryError) as e:
            words = "the flash is full" if self._full else str(e) or type(e).__name__
            # A lasting fault is reported once.
            if words != self._fault:
                self._report("log: cannot be kept in flash, only in memory: %s" % words)
                self._fault = words
            return
        if self._fault:
            self._fault = ""
            told = ", %d entries are lost" % self.dropped if self.dropped else ""
            self._report("log: kept in flash again%s" % told)

    def _evict(self, number):
        try:
            return bool(self.log and self.log.drop_oldest(number))
        except OSError:
            return False

    def _open(self):
        log = Log(self._folder, self._size)
        name = self._folder + "/id"
        data = memoryview(bytearray(9))
        n = read(name, 0, data)
        if n == 8 and crc_ok(data[:8]):
            data = bytes(data[:4])
        else:
            data = os.urandom(4)
            try:
                with open(name, "wb") as file:
                    write_with_crc(file, data)
            except OSError:
                # The next start makes another id, so entries sent but not answered until then may
                # be at the hub twice. That is better than no log at all.
                pass
        self.id = hexlify(data).decode()
        self.log = log
        return log
