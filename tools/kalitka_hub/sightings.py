"""When each reader was last heard of: kept in memory, written down once a minute.

A process writes at its first poll of a minute, in the transaction that raises the minute
anyway, so that a site of a hundred readers costs one write a minute. What a crash loses is the
last minute of "last seen", nothing else.
"""

from threading import Lock

from sqlalchemy import update
from sqlalchemy.orm import Session

from .models import Reader


class Sightings:
    """The sightings of one server process. Safe to share by threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._seen: dict[int, int] = {}
        self._written = -1

    def note(self, reader_id: int, minute: int) -> None:
        """Remember that the reader was heard of in this minute."""
        with self._lock:
            self._seen[reader_id] = minute

    def is_due(self, minute: int) -> bool:
        """Tell, once a minute, the first to ask that it is time to write."""
        with self._lock:
            due = bool(self._seen) and minute != self._written
            if due:
                self._written = minute
            return due

    def write(self, session: Session) -> None:
        """Write down what was noted since the last time, in the session's transaction."""
        with self._lock:
            seen, self._seen = self._seen, {}
        for reader_id, minute in seen.items():
            # By statement, not by object: the reader may have been removed meanwhile.
            session.execute(update(Reader).where(Reader.id == reader_id).values(last_seen=minute))
