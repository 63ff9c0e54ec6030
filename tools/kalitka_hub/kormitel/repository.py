"""Loads and saves objects, hundreds at a time, and decides which of them are withheld.

Whether an object may be sent depends on the objects that it refers to. So after a save its
dependents are rechecked (`recheck_dependents`), and so are the directions that engagements no
longer refer to (`record_dropped_directions`). An object that is released is stamped, since it was
not sent before. Each client may have a different older state of a withheld engagement: as long as
the engagement is withheld, no direction of any of these states is sent as deleted.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, null, or_, select
from sqlalchemy.orm import Session

from kalitka_hub.kormitel import wire
from kalitka_hub.kormitel.documents import named_fields
from kalitka_hub.kormitel.fields import (
    BADGES,
    DIRECTIONS,
    ENGAGEMENTS,
    KINDS,
    PERSONS,
    reference_key,
)
from kalitka_hub.kormitel.state import Source, State, stored_writes, writes_by_field
from kalitka_hub.store.bulk import in_batches, in_values, insert_rows, update_rows
from kalitka_hub.store.kormitel_models import (
    KormitelObject,
    KormitelQuarantined,
    KormitelSentDirection,
)
from kalitka_hub.store.models import Site

# Of each kind that others refer to: the name of the referring field.
_REFERENCE_FIELDS = {BADGES: "badge", PERSONS: "person", DIRECTIONS: "direction"}
_PLAIN_COLUMNS = (
    *("created", "born", "died", "lives", "changed", "by", "held", "held_fields", "released"),
    *("told_direction", "dropped", "taken"),
)
_STATE = select(
    KormitelObject.id,
    KormitelObject.kind,
    KormitelObject.key,
    KormitelObject.fields,
    KormitelObject.writes,
    *(getattr(KormitelObject, name) for name in _PLAIN_COLUMNS),
)


def load(session: Session, kind: str, keys: Collection[str]) -> dict[str, State]:
    """Return the known objects of a kind with these keys, by key."""
    found = _states(
        session, KormitelObject.kind == kind, in_values(session, KormitelObject.key, keys)
    )
    return {state.key: state for state in found}


def known_keys(session: Session, kind: str, keys: Collection[str]) -> set[str]:
    """Return the keys among these that belong to a known object of the kind."""
    wanted = select(KormitelObject.key).where(KormitelObject.kind == kind)
    return {
        key
        for batch in in_batches(keys)
        for key in session.scalars(wanted.where(in_values(session, KormitelObject.key, batch)))
    }


def save(session: Session, states: Collection[State]) -> None:
    """Insert or update objects of one kind."""
    new = [_row(state) for state in states if state.id is None]
    insert_rows(session, KormitelObject, new)
    known = [{"id": state.id, **_row(state)} for state in states if state.id is not None]
    update_rows(session, KormitelObject, known)


def update_holds(
    session: Session, states: Collection[State], source: Source
) -> dict[str, int | None]:
    """Set or clear the reasons for which each of these objects of one kind is withheld.

    Returns the directions to pass to `record_dropped_directions`, after a save.
    """
    if not states:
        return {}
    missing = _References(session, states)
    freed = _DroppedDirections(session, states)
    set_aside = _set_aside(session, states)
    for state in states:
        was_held = state.held is not None
        were_held = (state.held_fields or {}).keys()
        state.held = wire.why_held(state.kind, state.key, state.fields, state.alive, missing)
        if state.kind == DIRECTIONS and not state.alive and state.held is None:
            state.held = missing.reason_to_stay(state)
        withheld = wire.withheld_fields(state.kind, state.fields, state.alive, missing)
        for number, names in set_aside.get(state.key, ()):
            why = wire.hold_set_aside(state.kind, number, names, withheld)
            state.held = state.held or why
        state.held_fields = withheld or None
        if state.held is None and (was_held or were_held - withheld.keys()):
            # Never sent until now: without a stamp a client's next date would miss it.
            state.changed = state.released = max(source.at, state.changed)
        if state.kind == ENGAGEMENTS:
            freed.add(state, was_held)
    return freed.directions()


def recheck_dependents(session: Session, kind: str, keys: Iterable[str], source: Source) -> None:
    """Update the holds of the objects that refer to these objects of a kind, and save them."""
    name = _REFERENCE_FIELDS.get(kind)
    if name is None:
        return
    column = getattr(KormitelObject, name)
    for batch in in_batches(keys):
        ids = session.scalars(
            select(KormitelObject.id).where(in_values(session, column, batch))
        ).all()
        _recheck(session, ids, source)


def recheck_all(session: Session, source: Source) -> None:
    """Update the holds of all objects after another release withheld others; else do nothing."""
    site = session.scalars(select(Site)).one()
    if not site.kormitel_recheck:
        return
    site.kormitel_recheck = False
    kinds = session.scalars(select(KormitelObject.kind).distinct().order_by(KormitelObject.kind))
    # Referred kinds first.
    for kind in sorted(kinds, key=lambda one: KINDS.index(one) if one in KINDS else len(KINDS)):
        ids = session.scalars(select(KormitelObject.id).where(KormitelObject.kind == kind)).all()
        _recheck(session, ids, source)


def recheck_objects(
    session: Session, places: Iterable[tuple[str, str | None]], source: Source
) -> None:
    """Update the holds of objects, by kind and key, of which items were set aside or settled."""
    keys_of: dict[str, set[str]] = defaultdict(set)
    for kind, key in places:
        if key:
            keys_of[kind].add(key)
    for kind, keys in keys_of.items():
        for batch in in_batches(sorted(keys)):
            states = load(session, kind, batch)
            before = {key: reference_state(state) for key, state in states.items()}
            _recheck(session, [state.id for state in states.values() if state.id], source)
            after = load(session, kind, batch)
            moved = [key for key, state in after.items() if reference_state(state) != before[key]]
            recheck_dependents(session, kind, moved, source)


def record_dropped_directions(
    session: Session, dropped: Mapping[str, int | None], source: Source
) -> None:
    """Store when directions lost an engagement, and update their holds; None: holds only."""
    for batch in in_batches(dropped):
        states = [*load(session, DIRECTIONS, batch).values()]
        for state in states:
            state.dropped = max(state.dropped or 0, dropped[state.key] or 0) or None
        update_holds(session, states, source)
        save(session, states)


def reference_state(state: State) -> tuple[bool, ...]:
    """Return the part of an object that decides its dependents: if changed, recheck them."""
    return state.born is not None, state.held is None, state.alive or state.kind != DIRECTIONS


def _recheck(session: Session, ids: Collection[int], source: Source) -> None:
    for batch in in_batches(ids):
        by_kind: dict[str, list[State]] = {}
        for state in _states(session, in_values(session, KormitelObject.id, batch)):
            by_kind.setdefault(state.kind, []).append(state)
        for states in by_kind.values():
            before = [(state.held, state.held_fields) for state in states]
            dropped = update_holds(session, states, source)
            differ = [
                state
                for state, holds in zip(states, before, strict=True)
                if (state.held, state.held_fields) != holds
            ]
            save(session, differ)
            record_dropped_directions(session, dropped, source)


def _set_aside(
    session: Session, states: Collection[State]
) -> dict[str, list[tuple[int, frozenset[str] | None]]]:
    """Return by key the numbers of open quarantined items, with the names of their fields."""
    kinds = {state.kind for state in states}
    found = defaultdict(list)
    for batch in in_batches({state.key for state in states}):
        mine = in_values(session, KormitelQuarantined.key, batch)
        rows = session.scalars(
            select(KormitelQuarantined)
            .where(mine, KormitelQuarantined.state == "open", KormitelQuarantined.kind.in_(kinds))
            .order_by(KormitelQuarantined.id)
        )
        for row in rows:
            found[row.key].append((row.id, named_fields(row.kind, row.item)))
    return found


def _states(session: Session, *conditions: ColumnElement[bool]) -> Iterator[State]:
    for row in session.execute(_STATE.where(*conditions)):
        written = writes_by_field(row.writes)
        plain = {name: getattr(row, name) for name in _PLAIN_COLUMNS}
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
        "writes": stored_writes(state),
        **{name: getattr(state, name) for name in _PLAIN_COLUMNS},
        **{name: reference_key(state.fields, name) for name in _REFERENCE_FIELDS.values()},
    }


class _DroppedDirections:
    """A collector of the directions that engagements had as they were sent and have no longer."""

    def __init__(self, session: Session, states: Collection[State]) -> None:
        self._session = session
        self._directions_of: dict[str, set[str]] = defaultdict(set)
        self._new_pairs: list[dict[str, str]] = []
        self._dropped_at: dict[str, int | None] = {}
        keys = [state.key for state in states if state.kind == ENGAGEMENTS]
        if keys:
            of_them = in_values(session, KormitelSentDirection.engagement, keys)
            for row in session.scalars(select(KormitelSentDirection).where(of_them)):
                self._directions_of[row.engagement].add(row.direction)

    def add(self, state: State, was_held: bool) -> None:
        """Add the directions that an engagement has lost."""
        had = self._directions_of[state.key]
        if state.held is not None:
            # As long as the engagement is withheld, some client may have it with any of these.
            self._dropped_at |= {} if was_held else dict.fromkeys(had)
            return
        before = state.told_direction
        state.told_direction = reference_key(state.fields, "direction") if state.alive else None
        dropped = had if was_held else had & {before or ""}
        for direction in dropped - {state.told_direction}:
            self._dropped_at[direction] = max(self._dropped_at.get(direction) or 0, state.changed)
        if state.told_direction is not None and state.told_direction not in had:
            pair = {"engagement": state.key, "direction": state.told_direction}
            self._new_pairs.append(pair)

    def directions(self) -> dict[str, int | None]:
        """Return when each direction was last dropped; None: now had by a withheld engagement.

        Stores the directions with which the engagements are sent from now on.
        """
        insert_rows(self._session, KormitelSentDirection, self._new_pairs)
        return self._dropped_at


class _References:
    """The objects to which objects of one kind refer, as a `wire.MissingReason`."""

    def __init__(self, session: Session, states: Collection[State]) -> None:
        self._reasons: dict[tuple[str, str], str | None] = {}
        self._engagement_of: Mapping[str, str] = {}
        for kind, name in _REFERENCE_FIELDS.items():
            keys = {key for state in states if (key := reference_key(state.fields, name))}
            if keys:
                self._look_up(session, kind, keys)
        gone = {state.key for state in states if state.kind == DIRECTIONS and not state.alive}
        if gone:
            self._engagement_of = _referring(session, gone)

    def __call__(self, kind: str, key: str) -> str | None:
        absent = f"its {_REFERENCE_FIELDS[kind]} {key} is not known"
        return self._reasons.get((kind, key), absent)

    def reason_to_stay(self, direction: State) -> str | None:
        """Return why the deletion of a direction must not be sent, None if it may."""
        engagement = self._engagement_of.get(direction.key)
        if engagement is None:
            return None
        return (
            f"it is deleted, but engagement {engagement} still refers to it, or did when that was "
            "last sent: change or complete the engagement first"
        )

    def _look_up(self, session: Session, kind: str, keys: Collection[str]) -> None:
        # Only directions, which are few, need their fields here: see `_why_unreferable`.
        fields = KormitelObject.fields if kind == DIRECTIONS else null()
        wanted = select(
            KormitelObject.key,
            KormitelObject.born,
            KormitelObject.died,
            KormitelObject.held,
            fields.label("fields"),
        ).where(KormitelObject.kind == kind, in_values(session, KormitelObject.key, keys))
        for row in session.execute(wanted):
            self._reasons[kind, row.key] = _why_unreferable(kind, row)


def _why_unreferable(kind: str, row: Row[*tuple[Any, ...]]) -> str | None:
    what = f"its {_REFERENCE_FIELDS[kind]} {row.key}"
    if row.born is None:
        return f"{what} is deleted, and was never sent"
    if kind != DIRECTIONS or row.died is None:
        return None if row.held is None else f"{what} is withheld: {row.held}"
    if row.held is None:
        return f"{what} is deleted"
    # A withheld deletion: the client still has the direction, if it could ever take it.
    why = wire.why_held(kind, row.key, row.fields, True, lambda *_: None)
    return None if why is None else f"{what} is withheld: {why}"


def _referring(session: Session, directions: Collection[str]) -> dict[str, str]:
    """Return by direction an engagement with which a client may have it, now and later."""
    had = KormitelSentDirection
    wanted = (
        select(had.direction, had.engagement)
        .join(KormitelObject, KormitelObject.key == had.engagement)
        .where(
            KormitelObject.kind == ENGAGEMENTS,
            in_values(session, had.direction, directions),
            or_(
                KormitelObject.held.is_not(None),
                and_(KormitelObject.died.is_(None), KormitelObject.direction == had.direction),
            ),
        )
    )
    return {row.direction: row.engagement for row in session.execute(wanted)}
