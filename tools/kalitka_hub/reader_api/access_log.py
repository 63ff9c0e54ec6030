"""The access log: the entries that readers send, each stored once.

A reader resends its entries until it gets an answer, so a body may arrive any number of times. An
entry of our firmware is identified by its log and its number there, an entry of other firmware by
reader, time, code and state. An entry without a time has no such identity: a plain body equal to
the reader's last one counts as a repeat for REPEAT_SECONDS after that one was stored. A reader
whose flash was restored to an older state reuses numbers: an entry that differs from the stored
one with its number is kept without the number, and identified by its time.

Entries are committed before the answer. They change no rules and no poll depends on them, so they
are written without the site's lock: on PostgreSQL, where writers work side by side, neither polls
nor changes of tokens wait for a log. SQLite has one writer, whose lock is held for the insert
alone: the body is parsed before.
Source: the protocol's "Access logs".
"""

import hashlib
import logging
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, func, or_, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from kalitka.journal import entries, words
from kalitka.table import codes
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.store.bulk import in_batches
from kalitka_hub.store.database import Database
from kalitka_hub.store.models import AccessBatch, AccessEntry

REPEAT_SECONDS = 15 * 60
NUMBER_MAX = (1 << 30) - 1  # of an entry in its log; see the firmware's journal/FORMAT.md
REASON_MAX = 255  # later firmware may have reasons that this hub does not know
_DIGITS_MAX = 10
BATCHES_MAX = 32  # batches in one transaction
# An entry recorded before the reader's clock was set may be resent with a different time, if the
# clock was corrected in between.
_SAME_SECONDS = 24 * 3600
_ROWS = 1000  # entries in one statement

_LOG = re.compile(r"[0-9a-f]{8}")
_PLAIN_FORM = "SEC_CODE_STATE"
_LONG_FORM = "SEC_CODE_STATE_REASON_SOURCE_NUMBER[xCOUNT]"
COUNT_MAX = 65535  # two bytes in the reader's flash
_SOURCES = {"btn-exit": entries.EXIT_BUTTON, "alarm": entries.ALARM}
_CONTACT_SOURCES = (entries.DOOR, entries.ALARM, entries.READER)
EntryState = Literal["allowed", "denied", "on", "off"]

_logger = logging.getLogger(__name__)


class LogEntry(NamedTuple):
    """One entry of a body. Fields missing from the plain form are None.

    seconds: Unix time in UTC, 0 if the reader's clock was not set. state: 1 allowed or on, 0
    denied or off. source, reason: numbers of `kalitka.journal.entries`. count: of the cards that
    the entry stands for, 0 for one.
    """

    seconds: int
    code: str
    state: int
    reason: int | None
    source: int | None
    number: int | None
    count: int


class EntryBatch(NamedTuple):
    """The entries of one body, oldest first.

    log: the id of the reader's log, 8 hex digits; None for the plain form. sha256: of the body,
    in hex.
    """

    log: str | None
    entries: tuple[LogEntry, ...]
    sha256: str


def parse(body: bytes, log: str | None = None) -> EntryBatch:
    """Parse the entries of a body: in the long form with a `log`, else in the plain form.

    Blanks and line ends after the last entry are ignored. Raises InvalidRequest for a body without
    entries, and for the first invalid entry.
    """
    if log is not None and not _LOG.fullmatch(log):
        raise InvalidRequest("invalid header X-Kalitka-Log: send 8 lower-case hex digits")
    text = body.rstrip(b" \t\r\n")
    form = _LONG_FORM if log else _PLAIN_FORM
    if not text:
        raise InvalidRequest(f"the body has no entry: send {form}, entries separated by commas")
    read = _parse_long if log else _parse_plain
    found = []
    for position, piece in enumerate(text.split(b","), 1):
        try:
            found.append(read(piece))
        except ValueError as fault:
            raise InvalidRequest(
                f"invalid entry {position}, {_excerpt(piece)}: {fault}; send {form}; no entry of "
                "this body was stored"
            ) from fault
    return EntryBatch(log, tuple(found), hashlib.sha256(body).hexdigest())


class ReceivedBatch(NamedTuple):
    """A batch, and the code of the reader that sent it."""

    reader: str
    batch: EntryBatch


def store_batches(database: Database, batches: Sequence[ReceivedBatch]) -> list[int | Exception]:
    """Store the new entries of these batches, and commit them.

    Returns for each batch the number of new entries, or the error that kept all of them out.
    """
    try:
        return _store_in_reader_order(database, batches)
    except OperationalError as fault:
        # The database is busy, full or unreachable, which no batch caused. Storing them one by
        # one would wait for it once per batch.
        return [fault] * len(batches)
    except DBAPIError as fault:
        if len(batches) == 1:
            return [fault]
    # The database may have rejected one batch: storing each alone saves the others.
    return [one for each in batches for one in store_batches(database, [each])]


def _store_in_reader_order(
    database: Database, batches: Sequence[ReceivedBatch]
) -> list[int | Exception]:
    # Lock order: every process takes PostgreSQL's row locks in the order of the readers' codes,
    # so that no two deadlock. The sort is stable: a reader's batches stay in order of arrival.
    order = sorted(range(len(batches)), key=lambda at: batches[at].reader)
    counts: list[int | Exception] = [0] * len(batches)
    with database.write_session() as session:
        now = int(database.clock())
        for at in order:
            counts[at] = _store_batch(session, *batches[at], now)
    return counts


def _store_batch(session: Session, reader: str, batch: EntryBatch, now: int) -> int:
    if batch.log is None and not _is_new_body(session, reader, batch.sha256, now):
        return 0
    stored = 0
    for some in in_batches(batch.entries, _ROWS):
        rows = [_row(reader, batch.log, entry, now) for entry in some]
        new = _insert_new(session, rows)
        stored += len(new)
        if batch.log is not None and len(new) < len(rows):
            there = set(new)
            others = _conflicting_rows(
                session, [row for row in rows if row["number"] not in there]
            )
            stored += len(_insert_new(session, others)) if others else 0
    return stored


def _insert_new(session: Session, rows: list[dict[str, Any]]) -> list[int | None]:
    # Returns the numbers of the new entries. Inserting into the table instead of through ORM
    # objects takes a third of the time.
    table = AccessEntry.__table__
    insert_new = _dialect_insert(session)(table).on_conflict_do_nothing().returning(table.c.number)
    return list(session.scalars(insert_new, rows))


def _conflicting_rows(session: Session, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # Of these rows, whose numbers were already there, returns those that differ from the stored
    # entry, without log and number.
    reader, log = rows[0]["reader"], rows[0]["log"]
    taken = select(AccessEntry).where(
        AccessEntry.reader == reader,
        AccessEntry.log == log,
        AccessEntry.number.in_([row["number"] for row in rows]),
    )
    there = {entry.number: entry for entry in session.scalars(taken)}
    others = [
        row | {"log": None, "number": None}
        for row in rows
        if row["number"] in there and not _is_same_entry(there[row["number"]], row)
    ]
    if others:
        _logger.warning(
            "reader %s: %d entries reuse the numbers of other entries: was its flash restored to "
            "an older state?",
            reader,
            len(others),
        )
    return others


def _is_same_entry(entry: AccessEntry, row: dict[str, Any]) -> bool:
    if any(getattr(entry, name) != row[name] for name in ("code", "state", "source", "reason")):
        return False
    return not (entry.timed and row["timed"]) or abs(entry.at - row["at"]) <= _SAME_SECONDS


def list_entries(
    session: Session,
    limit: int,
    *,
    reader: str | None = None,
    code: str | None = None,
    since: int | None = None,
    until: int | None = None,
    denied: bool = False,
    before: int | None = None,
) -> list[AccessEntry]:
    """Return the newest `limit` matching entries, newest last.

    since: inclusive, until: exclusive; Unix seconds. denied: only denied passes. before: only
    entries older than the entry with this id. Raises NotFound if there is no such entry.
    """
    wanted: list[ColumnElement[bool]] = []
    if before is not None:
        edge = existing_entry(session, before)
        wanted.append(tuple_(AccessEntry.at, AccessEntry.id) < (edge.at, edge.id))
    if reader is not None:
        wanted.append(AccessEntry.reader == reader)
    if code is not None:
        wanted.append(AccessEntry.code == code)
    if since is not None:
        wanted.append(AccessEntry.at >= since)
    if until is not None:
        wanted.append(AccessEntry.at < until)
    if denied:
        contact = AccessEntry.source.in_(_CONTACT_SOURCES)
        wanted.append((AccessEntry.state == 0) & or_(AccessEntry.source.is_(None), ~contact))
    newest = select(AccessEntry).where(*wanted)
    newest = newest.order_by(AccessEntry.at.desc(), AccessEntry.id.desc()).limit(limit)
    return list(session.scalars(newest))[::-1]


def existing_entry(session: Session, entry_id: int) -> AccessEntry:
    """Return the entry with this id. Raises NotFound."""
    entry = session.get(AccessEntry, entry_id)
    if entry is None:
        raise NotFound(f"there is no log entry {entry_id}: take an id from the list")
    return entry


def reader_alarms(batch: EntryBatch) -> list[tuple[str, int]]:
    """Return what a reader reports of itself that people should hear of: (words, count)."""
    return [
        (words.reason_text(entries.READER, entry.reason or 0), entry.count)
        for entry in batch.entries
        if entry.source == entries.READER and entry.state
    ]


def state_text(entry: AccessEntry) -> EntryState:
    """Return an entry's state as a word: allowed or denied; on or off for a contact."""
    if entry.source in _CONTACT_SOURCES:
        return "on" if entry.state else "off"
    return "allowed" if entry.state else "denied"


def _parse_plain(piece: bytes) -> LogEntry:
    seconds, _, rest = piece.partition(b"_")
    code, *fields = rest.rsplit(b"_", 1)
    if len(fields) != 1:
        raise InvalidRequest("it has too few fields")
    name = _parse_code(code)
    return LogEntry(
        _parse_seconds(seconds), name, _parse_state(fields[0]), None, _SOURCES.get(name), None, 0
    )


def _parse_long(piece: bytes) -> LogEntry:
    seconds, _, rest = piece.partition(b"_")
    code, *fields = rest.rsplit(b"_", 4)
    if len(fields) != 4:
        raise InvalidRequest("it has too few fields")
    state, reason, source, number = fields
    number, counted, count = number.partition(b"x")
    return LogEntry(
        _parse_seconds(seconds),
        _parse_code(code),
        _parse_state(state),
        _parse_number(reason, 0, REASON_MAX, "the reason"),
        _parse_number(source, 0, len(words.SOURCES) - 1, "the source"),
        _parse_number(number, 1, NUMBER_MAX, "the number"),
        _parse_number(count, 1, COUNT_MAX, "the count") if counted else 0,
    )


def _parse_seconds(text: bytes) -> int:
    if not text.isdigit() or len(text) > _DIGITS_MAX:
        raise InvalidRequest(f"the time must be 1 to {_DIGITS_MAX} digits, 0 without a clock")
    return int(text)


def _parse_state(text: bytes) -> int:
    if text not in (b"0", b"1"):
        raise InvalidRequest("the state must be 0 or 1")
    return int(text)


def _parse_number(text: bytes, least: int, most: int, name: str) -> int:
    if not text.isdigit() or len(text) > _DIGITS_MAX or not least <= int(text) <= most:
        raise InvalidRequest(f"{name} must be {least} to {most}")
    return int(text)


@lru_cache(maxsize=1024)
def _parse_code(code: bytes) -> str:
    # Cached: checking a code is slow, and a site sees few different codes a day.
    fault = codes.check(code)
    if fault:
        raise InvalidRequest(fault)
    return code.decode(errors="backslashreplace")


def _is_new_body(session: Session, reader: str, sha256: str, now: int) -> bool:
    # One statement, which locks the reader's row: of two equal bodies that arrive at the same
    # time, the second sees the first.
    last = _dialect_insert(session)(AccessBatch).values(reader=reader, sha256=sha256, at=now)
    different = (AccessBatch.sha256 != sha256) | (func.abs(AccessBatch.at - now) > REPEAT_SECONDS)
    last = last.on_conflict_do_update(
        index_elements=[AccessBatch.reader],
        set_={"sha256": sha256, "at": now},
        where=different,
    )
    return session.execute(last.returning(AccessBatch.reader)).first() is not None


def _row(reader: str, log: str | None, entry: LogEntry, now: int) -> dict[str, Any]:
    return {
        "reader": reader,
        "at": entry.seconds or now,
        "timed": entry.seconds != 0,
        "code": entry.code,
        "state": entry.state,
        "source": entry.source,
        "reason": entry.reason,
        "log": log,
        "number": entry.number,
        "count": entry.count,
        "received": now,
    }


def _dialect_insert(session: Session) -> Any:
    # Both dialects spell ON CONFLICT alike, but SQLAlchemy has no common construct for it.
    name = session.get_bind().dialect.name
    return sqlite.insert if name == "sqlite" else postgresql.insert


def _excerpt(text: bytes) -> str:
    # Always short and pure ASCII, whatever bytes were sent.
    return repr(text[:40])[1:] + ("..." if len(text) > 40 else "")
