"""The export of changes since a date (`sync`), and why no change is ever missed.

A client asks from its own clock just before the last answer that it took (kormitel.md). The site
stores `kormitel_answered`, and three rules hold, as they do for readers in `store.changes`:

1. An answer first takes the site's lock, raises `kormitel_answered` to A, the computer's time if
   that is later, begins its snapshot, and only then releases the lock.
2. A writer takes the same lock first, holds it until its commit, and stamps every changed object
   with max(computer's time, `kormitel_answered`).
3. The answer sends every object that changed at its bound L or later, as its snapshot has it. L is
   the date that the client asked from, less the time by which its clock is ahead (`client_clock`).

Suppose that a change is missing from an answer that was given at A and taken. Its writer had the
lock either before that answer or after it. Before is impossible: the writer would have committed
before the snapshot began. So the writer came after, read `kormitel_answered` >= A, and stamped the
change with A or more. The client asks next from a time no later than A, so with L <= A, and gets
the change. Also, every stamp in an answer is at most the answer's A: so it is known later what a
client can have seen.

A client that asks with L has therefore taken every change before L. The client cannot take the
deletion of a direction while the client has an engagement that refers to that direction. `dropped`
of a direction is the stamp with which an engagement, as sent, last ceased to refer to it.
The deletion is left out as long as `dropped` >= L - 1 hour, since a clock may be ahead by that
much before this is known, and the exchange log says so (`left_out`). An answer with a later L
sends the deletions that were left out of this user's answers at L or later. None is lost: the
answer that was taken last was given at A >= L. If that answer did not send the deletion, the log
says that the deletion was left out, because it was due in that answer, either by its stamp or by
an earlier `left_out`. This applies to answers from a date only: a client that asks for everything
has no engagement yet, and gets the deletion at once. Another hub has no such restriction, and is
sent everything as it is (`SyncQuery.whole`).

Today's client passes over what it posted just before it asked. What it then misses is owed to it
(`owed`), and sent as if it had changed again. Nothing is owed to the grouped shape and other hubs.

The grouped shape sends inserted, updated and deleted objects as seen from L. Since L is earlier
than the last answer, the client may have an object that was created after L and is deleted now.
Its deletion is sent if this user was answered while the object existed, shortly after L and for an
earlier date: that may have been the answer that the client took.

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
from kalitka_hub.kormitel.owed import ids_owed
from kalitka_hub.kormitel.repository import recheck_all
from kalitka_hub.kormitel.service import object_stamp
from kalitka_hub.kormitel.state import Source
from kalitka_hub.store.bulk import in_values
from kalitka_hub.store.changes import change_context, write_transaction
from kalitka_hub.store.database import Database
from kalitka_hub.store.kormitel_models import KormitelObject
from kalitka_hub.store.models import Site

PART_BYTES = 1 << 16  # approximate size of a sent part
_ROWS = 500  # objects in memory at a time
_EVERYTHING = -(1 << 62)  # a bound before every change
# Kinds whose unchanged objects are sent along with changed ones that refer to them: those kinds,
# each with its column.
_REFERRED = {
    BADGES: ((ARRIVALS, "badge"),),
    PERSONS: ((ENGAGEMENTS, "person"), (BADGES, "person")),
    DIRECTIONS: ((ENGAGEMENTS, "direction"),),
}
_OVERLAP = 15 * 60 * SECOND  # the answer that was taken is at most this long after L
# In the order of the seed's example.
_GROUPED_KINDS = (BADGES, ARRIVALS, ENGAGEMENTS, PERSONS, DIRECTIONS)
_LOG = logging.getLogger(__name__)

_ROW = (
    KormitelObject.key,
    KormitelObject.fields,
    KormitelObject.born,
    KormitelObject.died,
    KormitelObject.lives,
    KormitelObject.held_fields,
)
# An object that was deleted before it was known here is never sent.
_WAS_THERE = or_(KormitelObject.born.is_not(None), KormitelObject.lives.is_not(null()))
_IS_THERE = and_(KormitelObject.born.is_not(None), KormitelObject.died.is_(None))


@dataclass(frozen=True)
class SyncQuery:
    """A request of `sync`. from_date: microseconds, None for everything. whole: for another hub.

    With `whole` objects have Kormitel's own fields too, which its client must not be sent.
    """

    user: str
    shape: Shape
    from_date: int | None = None
    whole: bool = False


class _View(NamedTuple):
    # The data of one answer. lower: L. whole: see `SyncQuery`. left_out_before: ids of directions
    # left out of earlier answers. seen: times of answers after L that the client may have taken.
    # owed: ids of the objects to send whatever their stamps.
    session: Session
    lower: int
    whole: bool
    left_out_before: frozenset[int] = frozenset()
    seen: tuple[int, ...] = ()
    owed: frozenset[int] = frozenset()

    @property
    def is_everything(self) -> bool:
        return self.lower == _EVERYTHING

    @property
    def is_due(self) -> ColumnElement[bool]:
        """The condition that an object changed at the bound or later, or is owed."""
        is_changed = KormitelObject.changed >= self.lower
        if not self.owed:
            return is_changed
        return or_(is_changed, in_values(self.session, KormitelObject.id, self.owed))

    @property
    def is_sent_flat(self) -> ColumnElement[bool]:
        return _WAS_THERE if self.whole else and_(_WAS_THERE, KormitelObject.held.is_(None))


class SyncAnswer:
    """An answer in progress: send its `parts` in order, then call `close`, however it ends."""

    def __init__(self, database: Database, query: SyncQuery) -> None:
        """Begin the answer. Raises exchange_log.Paused."""
        self._database = database
        self._query = query
        self._begun = time.perf_counter_ns()
        self._counts: Counter[str] = Counter()
        self._size = 0
        self._error: str | None = None
        self._is_whole = False
        # In a transaction of its own: the snapshot must see it.
        _recheck_all(database, query.user)
        with ExitStack() as stack:
            session = stack.enter_context(database.snapshot())
            # A connection before the lock: otherwise those that wait for the lock might hold all
            # connections.
            session.connection()
            with write_transaction(database, query.user) as writing:
                exchange_log.check_not_paused(writing)
                # Rule 1: this order, all under the site's lock. The snapshot begins with its first
                # statement.
                at = _raise_answered(writing)
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
        """End the snapshot, and log the outcome of the answer."""
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
            # The answer stands: its entry in the log has lost only the outcome.
            logs.handled_error(_LOG, "the outcome of an exchange was not stored", fault)

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


def _recheck_all(database: Database, user: str) -> None:
    with database.snapshot() as session:
        if not session.scalar(select(Site.kormitel_recheck)):
            return
    with write_transaction(database, user) as session:
        recheck_all(session, Source(user, object_stamp(session)))


# Requires the site's lock (rule 1). Never back, even if the clock here is put back.
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
    owed = frozenset()
    if query.shape == "flat" and not query.whole:
        owed = ids_owed(writing, query.user, query.from_date, lower, at)
    return _View(session, lower, query.whole, frozenset(left_out), tuple(seen), owed)


# The flat shape


def _flat(view: _View, whole: bool, counts: Counter[str]) -> Iterator[str]:
    opening = "{"
    for kind in _kinds(view, KINDS):
        yield f"{opening}{_json(kind)}:"
        yield from _list(_flat_objects(view, kind, whole, counts))
        opening = ","
    yield "}"


def _flat_objects(
    view: _View, kind: str, whole: bool, counts: Counter[str]
) -> Iterator[dict[str, Any]]:
    def flat(row: Row, alive: bool) -> dict[str, Any]:
        withheld = row.held_fields or ()
        return wire.flat_object(kind, row.key, row.fields, alive, without=withheld, whole=whole)

    for row in _counted(_changed(view, kind), kind, counts):
        yield flat(row, row.died is None)
    if kind in _REFERRED:
        along = _referred_unchanged(view, kind, view.is_sent_flat)
        for row in _counted(along, kind, counts):
            is_bare = kind == BADGES and not whole
            alive = row.died is None
            yield wire.companion(row.key, alive) if is_bare else flat(row, alive)
    if kind == DIRECTIONS and not view.whole:
        # Seen as alive by the client, as long as their deletion is not sent.
        for row in _counted(_still_there(view), kind, counts):
            yield flat(row, True)


def _still_there(view: _View) -> Iterator[Row]:
    # Deleted directions whose deletion is not sent yet. A client that never had one, as every
    # client at first, cannot save an engagement that refers to it: so it is sent as alive, until
    # its deletion is sent.
    referred = select(KormitelObject.direction).where(
        KormitelObject.kind == ENGAGEMENTS,
        view.is_due,
        KormitelObject.direction.is_not(None),
        view.is_sent_flat,
    )
    is_later = KormitelObject.held.is_not(None)
    if not view.is_everything:
        is_later = or_(is_later, _is_left_out(view))
    key = KormitelObject.key.in_(referred.correlate(None))
    yield from _rows(view, DIRECTIONS, key, KormitelObject.died.is_not(None), is_later)


def _changed(view: _View, kind: str) -> Iterator[Row]:
    changed = view.is_due
    if kind == DIRECTIONS and not (view.whole or view.is_everything):
        changed = and_(or_(changed, _was_left_out(view)), not_(_is_left_out(view)))
    yield from _rows(view, kind, changed, view.is_sent_flat)


def _was_left_out(view: _View) -> ColumnElement[bool]:
    return and_(KormitelObject.id.in_(view.left_out_before), KormitelObject.died.is_not(None))


def _is_left_out(view: _View) -> ColumnElement[bool]:
    dropped = func.coalesce(KormitelObject.dropped, _EVERYTHING)
    # AHEAD_MAX: a clock may be ahead by an hour before that is known (see the module text).
    return and_(KormitelObject.died.is_not(None), dropped >= view.lower - AHEAD_MAX)


def _left_out(view: _View) -> list[int]:
    if view.whole or view.is_everything:
        return []
    wanted = select(KormitelObject.id).where(
        KormitelObject.kind == DIRECTIONS,
        view.is_sent_flat,
        _is_left_out(view),
        or_(view.is_due, _was_left_out(view)),
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
    # A change at the bound itself counts as after it.
    return any(born < lower and (died is None or died >= lower) for born, died in _lives_of(row))


def _was_seen(row: Row, seen: Iterable[int]) -> bool:
    return any(born <= at <= died for born, died in _lives_of(row) for at in seen if died)


def _lives_of(row: Row) -> Iterator[tuple[int, int | None]]:
    yield from row.lives or ()
    if row.born is not None:
        yield row.born, row.died


# Both shapes


def _kinds(view: _View, first: tuple[str, ...]) -> list[str]:
    """Return the kinds of an answer: the fixed ones first, then others that changed, by name."""
    session = view.session
    others = []
    # From one kind to the next by the index: there are few kinds, and many objects of some.
    kind = session.scalar(select(func.min(KormitelObject.kind)))
    while kind is not None:
        changed = KormitelObject.kind == kind, view.is_due
        if kind not in first and session.scalar(select(exists().where(*changed))):
            others.append(kind)
        following = select(func.min(KormitelObject.kind)).where(KormitelObject.kind > kind)
        kind = session.scalar(following)
    return [*first, *others]


def _referred_unchanged(view: _View, kind: str, is_sent: ColumnElement[bool]) -> Iterator[Row]:
    # Unchanged objects that changed ones refer to. The scanners see arrivals only with their
    # badges. And the client cannot save an object that refers to one it was not sent, which may
    # happen until the lead of its clock is known.
    if view.is_everything:
        return
    # `is_sent` applies twice: to the referring objects here, and to the referred ones below.
    is_referred = []
    for by_kind, name in _REFERRED[kind]:
        key = getattr(KormitelObject, name)
        referred = select(key).where(
            KormitelObject.kind == by_kind,
            view.is_due,
            key.is_not(None),
            is_sent,
        )
        is_referred.append(KormitelObject.key.in_(referred.correlate(None)))
    wanted = and_(is_sent, or_(*is_referred))
    if kind == DIRECTIONS:
        # Whether to send the deletion of a direction is up to `_is_left_out`.
        wanted = and_(wanted, _IS_THERE)
    # `+ 0` keeps the planner off the index of `changed`: a few keys are faster than all dates.
    unchanged = KormitelObject.changed + 0 < view.lower
    if view.owed:
        unchanged = and_(unchanged, not_(in_values(view.session, KormitelObject.id, view.owed)))
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
