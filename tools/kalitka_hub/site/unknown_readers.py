"""Readers that asked the hub without being readers of the site: for the person who adds them.

The header with a reader's code is sent by anybody, and may hold anything, such as a secret in the
wrong place. So the list has a bound: the NAMES_MAX that asked last, of what has the form of a code
and is not a secret of this site, and of a long code its beginning (`readers.listed_code`). Adding
the reader takes it off the list.
"""

from threading import Lock

from pydantic import BaseModel
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from kalitka_hub.clock import current_minute
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site.reader_secrets import is_secret
from kalitka_hub.site.readers import CUT, check_reader_code, find_reader, listed_code
from kalitka_hub.store.changes import change_context, write_transaction
from kalitka_hub.store.database import Database
from kalitka_hub.store.models import UnknownReader

NAMES_MAX = 20
_LOOKED_UP_MAX = 100  # codes a minute that a process looks up; others are only counted elsewhere


class UnknownReaderView(BaseModel):
    """A reader that asked and is unknown. requests: how many; last: seconds since 1970 UTC.

    code: as it was sent; ends with `...` if it was cut.
    """

    code: str
    requests: int
    last: int

    @property
    def hint(self) -> str:
        """What to do about it."""
        code = "CODE" if self.code.endswith(CUT) else self.code
        return f"kalitka hub reader add {code}"


def list_unknown(session: Session) -> list[UnknownReaderView]:
    """Return the unknown readers, the one that asked last first."""
    found = session.scalars(
        select(UnknownReader).order_by(UnknownReader.last.desc(), UnknownReader.code)
    )
    return [
        UnknownReaderView(code=row.code, requests=row.requests, last=row.last) for row in found
    ]


class UnknownReaderRecorder:
    """The recorder of one server process. Thread-safe; it writes once a minute for each code."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()
        self._minute = -1
        self._looked_up: set[str] = set()  # in this minute
        self._pending: dict[str, int] = {}  # requests not yet written, of NAMES_MAX codes
        self._writing = Lock()

    def claim_write(self, code: str) -> bool:
        """Count a refused request; return whether to `write` it and those before it now."""
        with self._lock:
            minute = current_minute(self._database.clock)
            if minute != self._minute:
                self._minute = minute
                self._looked_up.clear()
            if code not in self._looked_up and len(self._looked_up) >= _LOOKED_UP_MAX:
                return False
            if code not in self._pending and len(self._pending) >= NAMES_MAX:
                del self._pending[next(iter(self._pending))]
            self._pending[code] = self._pending.get(code, 0) + 1
            if code in self._looked_up:
                return False
            self._looked_up.add(code)
            return True

    def write(self, code: str) -> None:
        """Write the requests of a code, unless it is a reader's of the site or a secret.

        Never fails: what the database does not take is forgotten.
        """
        # While a long write holds the site's lock, at most one thread waits here for it: the
        # readers need the other threads.
        if not self._writing.acquire(blocking=False):
            return
        try:
            with self._lock:
                requests = self._pending.pop(code, 0)
            if self._is_to_be_listed(code):
                _add(self._database, listed_code(code), requests)
        except SQLAlchemyError:
            pass
        finally:
            self._writing.release()

    def _is_to_be_listed(self, code: str) -> bool:
        try:
            check_reader_code(code)
        except InvalidRequest:
            return False
        with self._database.snapshot() as session:
            return find_reader(session, code) is None and not is_secret(session, code)


def _add(database: Database, code: str, requests: int) -> None:
    with write_transaction(database) as session:
        now = change_context(session).at
        row = session.get(UnknownReader, code)
        if row is None:
            session.add(UnknownReader(code=code, requests=requests, last=now))
        else:
            row.requests += requests
            row.last = now
        session.flush()
        last = select(UnknownReader.code).order_by(UnknownReader.last.desc(), UnknownReader.code)
        over = session.scalars(last.offset(NAMES_MAX)).all()
        session.execute(delete(UnknownReader).where(UnknownReader.code.in_(over)))
