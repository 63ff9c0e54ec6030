"""When each reader was last seen, and its last requests: in memory, written once a minute.

A process writes at its first poll of a minute, in the transaction that raises the minute anyway,
so a site of a hundred readers costs one write a minute. A crash loses at most the last minute of
these values, nothing else.
"""

from threading import Lock

from sqlalchemy import bindparam, func, update
from sqlalchemy.orm import Session

from kalitka_hub.store.models import Reader

_EMPTY = {"seen": None, "asked": None, "held": None, "sent_log": None, "said_lost": None}


class LastSeen:
    """The readers' last requests to one server process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._pending: dict[int, dict[str, int | None]] = {}
        self._written_minute = -1

    def record_seen(self, reader_id: int, minute: int) -> None:
        """Record that the reader sent a request in this minute."""
        self._record(reader_id, seen=minute)

    def record_poll(self, reader_id: int, since: int) -> None:
        """Record the minute that the reader polled with: 0 for everything."""
        self._record(reader_id, asked=since)

    def record_held(self, reader_id: int, minute: int) -> None:
        """Record that the reader has every change before this minute, not 0."""
        self._record(reader_id, held=minute)

    def record_log(self, reader_id: int, seconds: int, lost: int | None) -> None:
        """Record that the reader sent entries of its access log at `seconds` since 1970 UTC.

        lost: how many entries it lost before it could send them, None if it did not say.
        """
        self._record(reader_id, sent_log=seconds)
        if lost is not None:
            self._record(reader_id, said_lost=lost)

    def claim_write(self, minute: int) -> bool:
        """Claim this minute's write: true for one caller only, and only if values are pending."""
        with self._lock:
            # Marked as written before the write: see `changes.acknowledge`.
            due = bool(self._pending) and minute != self._written_minute
            if due:
                self._written_minute = minute
            return due

    def write(self, session: Session) -> None:
        """Write the pending values in the session's transaction. If it fails, they are lost."""
        with self._lock:
            noted, self._pending = self._pending, {}
        if not noted:
            return
        # A statement instead of objects: a reader may have been removed meanwhile. On the
        # connection: one call for thousands of readers.
        session.connection().execute(
            update(Reader)
            .where(Reader.id == bindparam("reader"))
            .values(
                last_seen=func.coalesce(bindparam("seen"), Reader.last_seen),
                asked_minute=func.coalesce(bindparam("asked"), Reader.asked_minute),
                held_minute=func.coalesce(bindparam("held"), Reader.held_minute),
                logged=func.coalesce(bindparam("sent_log"), Reader.logged),
                lost=func.coalesce(bindparam("said_lost"), Reader.lost),
            ),
            [{"reader": reader_id, **values} for reader_id, values in noted.items()],
        )

    def _record(self, reader_id: int, **values: int) -> None:
        with self._lock:
            self._pending.setdefault(reader_id, dict(_EMPTY)).update(values)
