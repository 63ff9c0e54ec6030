"""The access log: every decision, in flash before it is signalled, until the server has it.

Promises: `append` never raises; an entry is in flash when it returns, or else, while the flash
fails or is full, in memory, where the newest few are kept until it takes them; what is lost is
counted. Entries made before the clock was set get their time from a record appended when it is.
"""

import asyncio
import os
from binascii import hexlify

from kalitka.journal import entries
from kalitka.journal.log import LAST, Log, read
from kalitka.table.block import crc_ok, write_with_crc
from micropython import const

FOLDER = "journal"  # in the reader's flash
_PENDING_MAX = const(32)  # entries in memory
_RETRY_TICKS = const(10)  # ticks between two tries of a flash that failed
_ENOSPC = const(28)
_FAIR = const(64)  # records looked at between two chances for others to run


class AccessLog:
    """The log in `folder`, which takes at most `size` bytes of flash (see journal.log).

    clock: has `is_set`, `seconds()` and `uptime()`; see `system.clock`.
    report: a callable that takes a line of text (str).

    log: the Log, None as long as it cannot be opened. id: names it at our hub, 8 hexadecimal
    digits. session: of this start, whose time may become known yet (bytes). dropped: entries that
    neither flash nor memory could keep, since the start.
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

    def append(self, source: int, state: int, reason: int, code: bytes = b"") -> None:
        """Append an entry of what happened now; see `entries.encode`. Signal it afterwards."""
        clock = self._clock
        try:
            if clock.is_set:
                self._add_time()
                record = entries.encode(source, state, reason, clock.seconds(), code)
            else:
                self._untimed = True
                record = entries.encode(source, state, reason, clock.uptime(), code, self.session)
            self._store(record)
        except MemoryError:  # not even for these few bytes, or for words about it
            self.dropped += 1

    def free_space(self) -> bool:
        """Remove what the server has acknowledged, for a file system that is full.

        Returns whether anything was removed.
        """
        freed = False
        while self.log and self._evict(self.log.acked):
            freed = True
        return freed

    def tick(self) -> None:
        """Append the time once it is known, and retry a flash that failed; call every second.

        Never raises.
        """
        try:
            if self._clock.is_set:
                self._add_time()
            self._ticks = (self._ticks + 1) % _RETRY_TICKS
            if not self._ticks and (self._pending or not self.log):
                self._flush()
        except MemoryError:  # not even for words about it
            pass

    async def start_time(self, number: int, session: bytes) -> int | None:
        """Return when a session started, in seconds since 1970 UTC; its uptimes count from there.

        number: of a record of that session. None if the time of that start is not known, or not
        yet. Raises OSError.
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
            self._store(entries.time_record(self.session, clock.uptime(), clock.seconds()))
            self._untimed = False

    def _store(self, record):
        pending = self._pending
        pending.append(record)
        self._flush()
        # The newest matter most: the oldest give way, in flash if that is of use.
        if len(pending) > _PENDING_MAX and self._full and self._evict(LAST):
            self._flush()
        while len(pending) > _PENDING_MAX:
            if entries.time_in(pending.pop(0)):
                self._untimed = True  # it is appended anew
            else:
                self.dropped += 1

    def _flush(self):
        # Brings what is pending into flash, as far as it takes it.
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
                    # What the server has can go without loss.
                    if not self._evict(log.acked):
                        raise
                    continue
                pending.pop(0)
        except (OSError, MemoryError) as e:
            words = "the flash is full" if self._full else str(e) or type(e).__name__
            # A fault that lasts is told once.
            if words != self._fault:
                self._fault = words
                self._report("log: cannot be kept in flash, only in memory: %s" % words)
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
                # The next start makes another one: what is sent until then, and not answered,
                # may be there twice at the hub. That is less than no log at all.
                pass
        self.id = hexlify(data).decode()
        self.log = log
        return log
