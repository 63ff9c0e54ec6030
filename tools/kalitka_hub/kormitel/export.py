"""The export of changes since a date (`sync`), and why no change is ever missed.

A client asks from its own clock just before the last answer that it took (kormitel.md). The site
holds `kormitel_answered`, and three rules hold, as they do for readers in `store.changes`:

1. An answer first takes the site's lock, raises `kormitel_answered` to A, the computer's time if
   that is later, begins its snapshot, and only then gives the lock back.
2. A writer takes the same lock first, holds it to its commit, and stamps what it changes with
   max(computer's time, `kormitel_answered`).
3. The answer tells everything that changed at its bound L or later, as its snapshot has it. L is
   the date that was asked from, less what the client's clock is ahead (`client_clock`).

Let a change be missing from an answer that was given at A and taken. Its writer had the lock
either before that answer or after it. Before is impossible: it would have committed before the
snapshot began. So it was after, it read `kormitel_answered` >= A and stamped the change with A or
more. The client asks next from a time no later than A, so with L <= A, and gets it. Also, what an
answer has is stamped with at most its A: so it is known later what a client can have seen.

Whoever asks with L has therefore taken all that changed before L. The client cannot take the
deletion of a direction while it still has an engagement that refers to it. When an engagement last
ceased to, as it is told, the direction was stamped with that (`dropped`): the deletion is left out
as long as `dropped` >= L - 1 hour, since a clock may be ahead by that much before it is known, and
the exchange says so (`left_out`). With a later L what was left out
of this user's answers at L or later is told. None is lost: the answer that was taken last was
given at A >= L, and if it did not tell the deletion it has written down that it left it out, since
it was to tell it, by its stamp or by what was written down before in the same way. That is so of
dates only: who asks for everything has nothing yet that could be referred to, and is told it at
once. To another hub, which minds nothing of this, everything is told as it is (`SyncQuery.whole`).

The grouped shape tells what is inserted, updated and deleted as seen from L. Since L is earlier
than the last answer, the client may have an object that was made after L and is gone now. Its
deletion is told if this user was answered while the object was there, shortly after L and to an
earlier date: that may have been the answer that it took.

An answer is streamed, and takes the memory of a few hundred objects, however long it is.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, and_, exists, func, not_, null, or_, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from kalitka_hub import logs
from kalitka_hub.kormitel import exchange_log, wire
from kalitka_hub.kormitel.client_clock import AHEAD_MAX, LOOKED_BACK, lower_bound
from kalitka_hub.kormitel.dates import SECOND
from kalitka_hub.kormitel.documents import Shape
from kalitka_hub.kormitel.exchange_log import ExchangeOutcome
from kalitka_hub.kormitel.fields import (
    ARRIVALS,
    BADGES,
    DIRECTIONS,
    ENGAGEMENTS,
    KINDS,
    PERSONS,
    wire_id,
)
from kalitka_hub.store.changes import change_context, write_transaction
from kalitka_hub.store.database import Database
from kalitka_hub.store.kormitel_models import KormitelObject
from kalitka_hub.store.models import Site

PART_BYTES = 1 << 16  # about so much is sent at a time
_ROWS = 500  # objects in memory at a time
_EVERYTHING = -(1 << 62)  # a bound before every change
# What goes along with whom, by the name of the column.
_REFERRED = {
    BADGES: (ARRIVALS, "badge"),
    PERSONS: (ENGAGEMENTS, "person"),
    DIRECTIONS: (ENGAGEMENTS, "direction"),
}
_OVERLAP = 15 * 60 * SECOND  # how long after L an answer may be that was taken
# As the seed's example has them.
_GROUPED_KINDS = (BADGES, ARRIVALS, ENGAGEMENTS, PERSONS, DIRECTIONS)
_LOG = logging.getLogger(__name__)

_ROW = (
    KormitelObject.key,
    KormitelObject.fields,
    KormitelObject.born,
    KormitelObject.died,
    KormitelObject.lives,
)
# What was deleted before it was known is not told.
_WAS_THERE = or_(KormitelObject.born.is_not(None), KormitelObject.lives.is_not(null()))
_IS_THERE = and_(KormitelObject.born.is_not(None), KormitelObject.died.is_(None))


@dataclass(frozen=True)
class SyncQuery:
    """A request. from_date: microseconds, None for everything. whole: for another hub.

    With `whole` objects have Kormitel's own fields too, which its client must not be told.
    """

    user: str
    shape: Shape
    from_date: int | None = None
    whole: bool = False


class _View(NamedTuple):
    # What an answer sees. lower: L. whole: see `SyncQuery`. left_out_before: ids of
    # directions that were left out. seen: when the client may have been answered after L.
    session: Session
    lower: int
    whole: bool
    left_out_before: frozenset[int] = frozenset()
    seen: tuple[int, ...] = ()

    @property
    def is_everything(self) -> bool:
        return self.lower == _EVERYTHING

    @property
    def is_sent_flat(self) -> ColumnElement[bool]:
        return _WAS_THERE if self.whole else and_(_WAS_THERE, KormitelObject.held.is_(None))


class SyncAnswer:
    """An answer under way: its `parts`, in order, and then `close`, however it ended."""

    def __init__(self, database: Database, query: SyncQuery) -> None:
        """Begin it. Raises exchange_log.Paused."""
        self._database = database
        self._query = query
        self._begun = time.perf_counter_ns()
        self._counts: Counter[str] = Counter()
        self._size = 0
        self._error: str | None = None
        self._is_whole = False
        with ExitStack() as stack:
            session = stack.enter_context(database.snapshot())
            # Before the lock is taken, or all connections might be of those who wait for it.
            session.connection()
            with write_transaction(database, query.user) as writing:
                exchange_log.check_not_paused(writing)
                at = _raise_answered(writing)
                # With its first statement the snapshot begins.
                session.execute(select(Site.id)).all()
                self._view = _view_of(session, writing, query, at)
                self._number = exchange_log.begin(
                    writing,
                    query.user,
                    "sync",
                    shape=query.shape,
                    from_date=query.from_date,
                    at=at,
                    left_out=_left_out(self._view) if query.shape == "flat" else None,
                )
            self._snapshot = stack.pop_all()
        self.parts = self._parts()

    def close(self) -> None:
        """End the snapshot, and write down what became of the answer."""
        self.parts.close()
        self._snapshot.close()
        if not self._is_whole and self._error is None:
            self._error = f"broken off after {self._size} bytes"
        took = (time.perf_counter_ns() - self._begun) // 1000
        outcome = ExchangeOutcome(dict(self._counts), self._size, took, self._error)
        try:
            with write_transaction(self._database, self._query.user) as session:
                exchange_log.finish(session, self._number, outcome)
        except OperationalError as fault:
            # It was answered all the same: nothing but the log depends on this.
            logs.handled_error(_LOG, "an exchange was not written down", fault)

    def _parts(self) -> Generator[bytes, None, None]:
        shaped = _flat if self._query.shape == "flat" else _grouped
        part = bytearray()
        try:
            for piece in shaped(self._view, self._query.whole, self._counts):
                part += piece.encode()
                if len(part) >= PART_BYTES:
                    yield bytes(part)
                    self._size += len(part)
                    part.clear()
            yield bytes(part)
            self._size += len(part)
            self._is_whole = True
        except Exception as fault:
            self._error = f"the hub failed after {self._size} bytes: {type(fault).__name__}"
            raise


def _raise_answered(writing: Session) -> int:
    site = writing.scalars(select(Site)).one()
    site.kormitel_answered = at = max(change_context(writing).micros, site.kormitel_answered or 0)
    return at


def _view_of(session: Session, writing: Session, query: SyncQuery, at: int) -> _View:
    if query.from_date is None:
        return _View(session, _EVERYTHING, query.whole)
    before = exchange_log.dates_asked(writing, query.user, LOOKED_BACK)
    lower = lower_bound(query.from_date, at, before)
    left_out = exchange_log.left_out_since(writing, query.user, lower)
    until = max(lower, query.from_date) + _OVERLAP
    seen = exchange_log.answered_between(writing, query.user, lower, until, query.from_date)
    return _View(session, lower, query.whole, frozenset(left_out), tuple(seen))


# The flat shape


def _flat(view: _View, whole: bool, counts: Counter[str]) -> Iterator[str]:
    opening = "{"
    for kind in _kinds(view, KINDS):
        yield f"{opening}{_json(kind)}:"
        yield from _list(
            wire.flat_object(kind, row.key, row.fields, alive, whole=whole)
            for row, alive in _flat_rows(view, kind, counts)
        )
        opening = ","
    yield "}"


def _flat_rows(view: _View, kind: str, counts: Counter[str]) -> Iterator[tuple[Row, bool]]:
    """Yield the rows of a kind to send, and whether the client is to see each as alive."""
    for row in _counted(_changed(view, kind), kind, counts):
        yield row, row.died is None
    if kind == DIRECTIONS and not view.whole:
        for row in _counted(_still_there(view), kind, counts):
            yield row, True


def _still_there(view: _View) -> Iterator[Row]:
    # Deleted, but that is not told as yet. Who never had it, as everybody at first, cannot save an
    # engagement that refers to it: to them it is there, until its deletion is told.
    referred = select(KormitelObject.direction).where(
        KormitelObject.kind == ENGAGEMENTS,
        KormitelObject.changed >= view.lower,
        KormitelObject.direction.is_not(None),
        view.is_sent_flat,
    )
    is_later = KormitelObject.held.is_not(None)
    if not view.is_everything:
        is_later = or_(is_later, _is_left_out(view))
    key = KormitelObject.key.in_(referred.correlate(None))
    yield from _rows(view, DIRECTIONS, key, KormitelObject.died.is_not(None), is_later)


def _changed(view: _View, kind: str) -> Iterator[Row]:
    changed = KormitelObject.changed >= view.lower
    if kind == DIRECTIONS and not (view.whole or view.is_everything):
        changed = and_(or_(changed, _was_left_out(view)), not_(_is_left_out(view)))
    yield from _rows(view, kind, changed, view.is_sent_flat)
    if kind in _REFERRED:
        yield from _referred_unchanged(view, kind, view.is_sent_flat)


def _was_left_out(view: _View) -> ColumnElement[bool]:
    return and_(KormitelObject.id.in_(view.left_out_before), KormitelObject.died.is_not(None))


def _is_left_out(view: _View) -> ColumnElement[bool]:
    dropped = func.coalesce(KormitelObject.dropped, _EVERYTHING)
    return and_(KormitelObject.died.is_not(None), dropped >= view.lower - AHEAD_MAX)


def _left_out(view: _View) -> list[int]:
    if view.whole or view.is_everything:
        return []
    wanted = select(KormitelObject.id).where(
        KormitelObject.kind == DIRECTIONS,
        view.is_sent_flat,
        _is_left_out(view),
        or_(KormitelObject.changed >= view.lower, _was_left_out(view)),
    )
    return list(view.session.scalars(wanted.order_by(KormitelObject.id)))


# The grouped shape


def _grouped(view: _View, whole: bool, counts: Counter[str]) -> Iterator[str]:
    opening = "{"
    for kind in _kinds(view, _GROUPED_KINDS):
        yield f'{opening}{_json(kind)}:{{"inserted":'
        yield from _objects(kind, _counted(_inserted(view, kind), kind, counts), whole)
        yield ',"updated":'
        yield from _objects(kind, _counted(_updated(view, kind), kind, counts), whole)
        yield ',"deleted":'
        gone = _counted(_gone(view, kind), kind, counts)
        yield from _list(wire_id(row.key) for row in gone)
        yield "}"
        opening = ","
    yield "}"


def _objects(kind: str, rows: Iterable[Row], whole: bool) -> Iterator[str]:
    return _list(wire.grouped_object(kind, row.key, row.fields, whole=whole) for row in rows)


def _inserted(view: _View, kind: str) -> Iterator[Row]:
    since = and_(_IS_THERE, KormitelObject.born >= view.lower)
    rows = _rows(view, kind, KormitelObject.changed >= view.lower, since)
    return (row for row in rows if not _was_there_at(row, view.lower))


def _updated(view: _View, kind: str) -> Iterator[Row]:
    maybe = or_(KormitelObject.born < view.lower, KormitelObject.lives.is_not(null()))
    rows = _rows(view, kind, KormitelObject.changed >= view.lower, and_(_IS_THERE, maybe))
    yield from (row for row in rows if _was_there_at(row, view.lower))
    if kind == BADGES:
        yield from _referred_unchanged(view, kind, _IS_THERE)


def _gone(view: _View, kind: str) -> Iterator[Row]:
    was_there = and_(_WAS_THERE, KormitelObject.died.is_not(None))
    rows = _rows(view, kind, KormitelObject.changed >= view.lower, was_there)
    return (row for row in rows if _was_there_at(row, view.lower) or _was_seen(row, view.seen))


def _was_there_at(row: Row, lower: int) -> bool:
    # A change at the bound itself is one that comes after it.
    return any(born < lower and (died is None or died >= lower) for born, died in _lives_of(row))


def _was_seen(row: Row, seen: Iterable[int]) -> bool:
    return any(born <= at <= died for born, died in _lives_of(row) for at in seen if died)


def _lives_of(row: Row) -> Iterator[tuple[int, int | None]]:
    yield from row.lives or ()
    if row.born is not None:
        yield row.born, row.died


# Both


def _kinds(view: _View, first: tuple[str, ...]) -> list[str]:
    """Return the kinds of an answer: those that are always there, then others by name."""
    session = view.session
    others = []
    # From one to the next by the index: there are few kinds, and many objects of some.
    kind = session.scalar(select(func.min(KormitelObject.kind)))
    while kind is not None:
        changed = KormitelObject.kind == kind, KormitelObject.changed >= view.lower
        if kind not in first and session.scalar(select(exists().where(*changed))):
            others.append(kind)
        following = select(func.min(KormitelObject.kind)).where(KormitelObject.kind > kind)
        kind = session.scalar(following)
    return [*first, *others]


def _referred_unchanged(view: _View, kind: str, is_sent: ColumnElement[bool]) -> Iterator[Row]:
    # Unchanged objects that changed ones refer to. The scanners see arrivals with their
    # badges alone; and the client cannot save what refers to something that it was not told, as
    # it may be until it is known by how much its clock is ahead.
    if view.is_everything:
        return
    by_kind, name = _REFERRED[kind]
    key = getattr(KormitelObject, name)
    # The condition means those that refer within, and what they refer to around.
    referred = select(key).where(
        KormitelObject.kind == by_kind,
        KormitelObject.changed >= view.lower,
        key.is_not(None),
        is_sent,
    )
    wanted = and_(is_sent, KormitelObject.key.in_(referred.correlate(None)))
    if kind == DIRECTIONS:
        # Of the deletion of one `_is_left_out` decides.
        wanted = and_(wanted, _IS_THERE)
    # By the keys of a few, not by the dates of all: those no index is to find.
    unchanged = KormitelObject.changed + 0 < view.lower
    yield from _rows(view, kind, unchanged, wanted)


def _rows(view: _View, kind: str, *wanted: ColumnElement[bool]) -> Iterator[Row]:
    statement = select(*_ROW).where(KormitelObject.kind == kind, *wanted)
    ordered = statement.order_by(KormitelObject.id).execution_options(yield_per=_ROWS)
    yield from view.session.execute(ordered)


def _counted(rows: Iterable[Row], kind: str, counts: Counter[str]) -> Iterator[Row]:
    for row in rows:
        counts[kind] += 1
        yield row


def _list(things: Iterable[Any]) -> Iterator[str]:
    between = "["
    for thing in things:
        yield between + _json(thing)
        between = ","
    yield "[]" if between == "[" else "]"


def _json(thing: Any) -> str:
    return json.dumps(thing, ensure_ascii=False, separators=(",", ":"))
