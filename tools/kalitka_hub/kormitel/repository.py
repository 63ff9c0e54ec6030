"""Objects in the database, hundreds at a time, and which of them are held back.

What may be told of an object depends on what it refers to. So whoever saves objects has those
looked at again that refer to them (`look_again`), and the directions that engagements no longer
refer to (`drop_directions`). An object that is released is stamped: it was not told before. Of an
engagement that is held back each client may know another of its older states: while it is held
back, no direction that any of them had is told to be deleted.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, null, or_, select
from sqlalchemy.orm import Session

from kalitka_hub.kormitel import wire
from kalitka_hub.kormitel.fields import BADGES, DIRECTIONS, ENGAGEMENTS, PERSONS, reference
from kalitka_hub.kormitel.state import Source, State, writes_of, written_in
from kalitka_hub.store.bulk import in_batches, insert_rows, one_of, update_rows
from kalitka_hub.store.kormitel_models import KormitelObject, KormitelToldDirection

# What each kind that others refer to is called in their fields.
_REFERRED = {BADGES: "badge", PERSONS: "person", DIRECTIONS: "direction"}
_PLAIN = (
    *("created", "born", "died", "lives", "changed", "by", "held", "told_direction", "dropped"),
    "taken",
)
_STATE = select(
    KormitelObject.id,
    KormitelObject.kind,
    KormitelObject.key,
    KormitelObject.fields,
    KormitelObject.writes,
    *(getattr(KormitelObject, name) for name in _PLAIN),
)


def load(session: Session, kind: str, keys: Collection[str]) -> dict[str, State]:
    """Return those of these objects of a kind that are known, by key."""
    found = _states(
        session, KormitelObject.kind == kind, one_of(session, KormitelObject.key, keys)
    )
    return {state.key: state for state in found}


def known_keys(session: Session, kind: str, keys: Collection[str]) -> set[str]:
    """Return those of these keys that are of a known object of the kind."""
    wanted = select(KormitelObject.key).where(KormitelObject.kind == kind)
    return {
        key
        for batch in in_batches(keys)
        for key in session.scalars(wanted.where(one_of(session, KormitelObject.key, batch)))
    }


def save(session: Session, states: Collection[State]) -> None:
    """Write objects of one kind as they are."""
    new = [_row(state) for state in states if state.id is None]
    insert_rows(session, KormitelObject, new)
    known = [{"id": state.id, **_row(state)} for state in states if state.id is not None]
    update_rows(session, KormitelObject, known)


def hold_back(
    session: Session, states: Collection[State], source: Source
) -> dict[str, int | None]:
    """Say of objects of one kind why they are held back, or that they no longer are.

    Returns, for `drop_directions`, the directions of which it matters.
    """
    if not states:
        return {}
    missing = _Missing(session, states)
    freed = _Freed(session, states)
    for state in states:
        was_held = state.held is not None
        state.held = wire.fault_of(state.kind, state.key, state.fields, state.alive, missing)
        if state.kind == DIRECTIONS and not state.alive and state.held is None:
            state.held = missing.reason_to_stay(state)
        if was_held and state.held is None:
            state.changed = max(source.at, state.changed)
        if state.kind == ENGAGEMENTS:
            freed.look_at(state, was_held)
    return freed.directions()


def look_again(session: Session, kind: str, keys: Iterable[str], source: Source) -> None:
    """See which of those that refer to these objects of a kind are held back now."""
    name = _REFERRED.get(kind)
    if name is None:
        return
    column = getattr(KormitelObject, name)
    # A badge refers to a person without harm.
    of_kind = KormitelObject.kind != BADGES
    for batch in in_batches(keys):
        ids = session.scalars(
            select(KormitelObject.id).where(of_kind, one_of(session, column, batch))
        ).all()
        _hold_anew(session, ids, source)


def drop_directions(session: Session, dropped: Mapping[str, int | None], source: Source) -> None:
    """Note when engagements ceased to refer to these directions; None: see only what waits."""
    for batch in in_batches(dropped):
        states = [*load(session, DIRECTIONS, batch).values()]
        for state in states:
            state.dropped = max(state.dropped or 0, dropped[state.key] or 0) or None
        hold_back(session, states, source)
        save(session, states)


def reference_state(state: State) -> tuple[bool, ...]:
    """Return what matters to those that refer to an object: if it changes, look again."""
    return state.born is not None, state.held is None, state.alive or state.kind != DIRECTIONS


def _hold_anew(session: Session, ids: Collection[int], source: Source) -> None:
    for batch in in_batches(ids):
        by_kind: dict[str, list[State]] = {}
        for state in _states(session, one_of(session, KormitelObject.id, batch)):
            by_kind.setdefault(state.kind, []).append(state)
        for states in by_kind.values():
            before = [state.held for state in states]
            dropped = hold_back(session, states, source)
            differ = [
                state for state, held in zip(states, before, strict=True) if state.held != held
            ]
            save(session, differ)
            drop_directions(session, dropped, source)


def _states(session: Session, *conditions: ColumnElement[bool]) -> Iterator[State]:
    for row in session.execute(_STATE.where(*conditions)):
        written = written_in(row.writes)
        plain = {name: getattr(row, name) for name in _PLAIN}
        yield State(
            row.kind,
            row.key,
            id=row.id,
            fields=row.fields,
            written=written,
            deleted=row.died is not None,
            **plain,
        )


def _row(state: State) -> dict[str, Any]:
    return {
        "kind": state.kind,
        "key": state.key,
        "fields": state.fields,
        "writes": writes_of(state),
        **{name: getattr(state, name) for name in _PLAIN},
        **{name: reference(state.fields, name) for name in _REFERRED.values()},
    }


class _Freed:
    """The directions that engagements had while they were told, and have no longer."""

    def __init__(self, session: Session, states: Collection[State]) -> None:
        self._session = session
        self._had: dict[str, set[str]] = defaultdict(set)
        self._new: list[dict[str, str]] = []
        self._found: dict[str, int | None] = {}
        keys = [state.key for state in states if state.kind == ENGAGEMENTS]
        if keys:
            of_them = one_of(session, KormitelToldDirection.engagement, keys)
            for row in session.scalars(select(KormitelToldDirection).where(of_them)):
                self._had[row.engagement].add(row.direction)

    def look_at(self, state: State, was_held: bool) -> None:
        """Note what becomes of an engagement."""
        had = self._had[state.key]
        if state.held is not None:
            # From now on, whatever is told, some client may stay with any of them.
            self._found |= {} if was_held else dict.fromkeys(had)
            return
        before = state.told_direction
        state.told_direction = reference(state.fields, "direction") if state.alive else None
        dropped = had if was_held else had & {before or ""}
        for direction in dropped - {state.told_direction}:
            self._found[direction] = max(self._found.get(direction) or 0, state.changed)
        if state.told_direction is not None and state.told_direction not in had:
            pair = {"engagement": state.key, "direction": state.told_direction}
            self._new.append(pair)

    def directions(self) -> dict[str, int | None]:
        """Return when they were dropped last; None of those to which an engagement clings now."""
        insert_rows(self._session, KormitelToldDirection, self._new)
        return self._found


class _Missing:
    """What objects of one kind refer to, and why it cannot be referred to (`wire.Missing`)."""

    def __init__(self, session: Session, states: Collection[State]) -> None:
        self._reasons: dict[tuple[str, str], str | None] = {}
        self._staying: Mapping[str, str] = {}
        for kind, name in _REFERRED.items():
            keys = {key for state in states if (key := reference(state.fields, name))}
            if keys:
                self._look_up(session, kind, keys)
        gone = {state.key for state in states if state.kind == DIRECTIONS and not state.alive}
        if gone:
            self._staying = _referring(session, gone)

    def __call__(self, kind: str, key: str) -> str | None:
        absent = f"its {_REFERRED[kind]} {key} is not known"
        return self._reasons.get((kind, key), absent)

    def reason_to_stay(self, direction: State) -> str | None:
        """Return why the deletion of a direction must not be told, None if it may."""
        engagement = self._staying.get(direction.key)
        if engagement is None:
            return None
        return (
            f"it is deleted, but engagement {engagement} still refers to it, or did when it was "
            "last told: change that one, or complete it, first"
        )

    def _look_up(self, session: Session, kind: str, keys: Collection[str]) -> None:
        # Of directions, which are few, it matters what they are.
        fields = KormitelObject.fields if kind == DIRECTIONS else null()
        wanted = select(
            KormitelObject.key,
            KormitelObject.born,
            KormitelObject.died,
            KormitelObject.held,
            fields.label("fields"),
        ).where(KormitelObject.kind == kind, one_of(session, KormitelObject.key, keys))
        for row in session.execute(wanted):
            self._reasons[kind, row.key] = _why_not(kind, row)


def _why_not(kind: str, row: Row[*tuple[Any, ...]]) -> str | None:
    what = f"its {_REFERRED[kind]} {row.key}"
    if row.born is None:
        return f"{what} is deleted, and was never told"
    if kind != DIRECTIONS or row.died is None:
        return None if row.held is None else f"{what} is held back: {row.held}"
    if row.held is None:
        return f"{what} is deleted"
    # It is still there to the client, unless it never was.
    why = wire.fault_of(kind, row.key, row.fields, True, lambda *_: None)
    return None if why is None else f"{what} is held back: {why}"


def _referring(session: Session, directions: Collection[str]) -> dict[str, str]:
    """Return by direction an engagement that a client may have with it, and will keep so."""
    had = KormitelToldDirection
    wanted = (
        select(had.direction, had.engagement)
        .join(KormitelObject, KormitelObject.key == had.engagement)
        .where(
            KormitelObject.kind == ENGAGEMENTS,
            one_of(session, had.direction, directions),
            or_(
                KormitelObject.held.is_not(None),
                and_(KormitelObject.died.is_(None), KormitelObject.direction == had.direction),
            ),
        )
    )
    return {row.direction: row.engagement for row in session.execute(wanted)}
