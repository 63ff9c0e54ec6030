"""When each reader was last heard of, and with what: kept in memory, written down once a minute.

A process writes at its first poll of a minute, in the transaction that raises the minute
anyway, so that a site of a hundred readers costs one write a minute. What a crash loses is the
last minute of it, nothing else.
"""

from threading import Lock

from sqlalchemy import bindparam, func, update
from sqlalchemy.orm import Session

from kalitka_hub.store.models import Reader

_NOTHING = {"seen": None, "asked": None, "sent_log": None, "said_lost": None}


class Sightings:
    """The sightings of one server process. Safe to share by threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._noted: dict[int, dict[str, int | None]] = {}
        self._written = -1

    def note(self, reader_id: int, minute: int) -> None:
        """Remember that the reader was heard of in this minute."""
        self._note(reader_id, seen=minute)

    def note_asked(self, reader_id: int, since: int) -> None:
        """Remember the minute that the reader asked with: 0 for everything."""
        self._note(reader_id, asked=since)

    def note_log(self, reader_id: int, seconds: int, lost: int | None) -> None:
        """Remember that the reader sent entries of its log at this time.

        lost: how many its log lost before, None if it did not say.
        """
        self._note(reader_id, sent_log=seconds)
        if lost is not None:
            self._note(reader_id, said_lost=lost)

    def is_due(self, minute: int) -> bool:
        """Tell, once a minute, the first to ask that it is time to write."""
        with self._lock:
            due = bool(self._noted) and minute != self._written
            if due:
                self._written = minute
            return due

    def write(self, session: Session) -> None:
        """Write down what was noted since the last time, in the session's transaction."""
        with self._lock:
            noted, self._noted = self._noted, {}
        if not noted:
            return
        # By statement, not by object: the reader may have been removed meanwhile. On the
        # connection, so that those of thousands of readers are one call.
        session.connection().execute(
            update(Reader)
            .where(Reader.id == bindparam("reader"))
            .values(
                last_seen=func.coalesce(bindparam("seen"), Reader.last_seen),
                asked_minute=func.coalesce(bindparam("asked"), Reader.asked_minute),
                logged=func.coalesce(bindparam("sent_log"), Reader.logged),
                lost=func.coalesce(bindparam("said_lost"), Reader.lost),
            ),
            [{"reader": reader_id, **values} for reader_id, values in noted.items()],
        )

    def _note(self, reader_id: int, **values: int) -> None:
        with self._lock:
            self._noted.setdefault(reader_id, dict(_NOTHING)).update(values)
