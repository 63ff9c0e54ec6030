"""The service of badges, arrivals and all other shared objects: every change goes through it.

A change of a field has a date, and an older change never undoes a newer one, whichever comes
first: so a repeated change has no effect. A date in the future is cut to now. A change without a
date is dated at its arrival, and counts once if the same comes again. A change made at this hub is
newer than every change before it. The deletion of an object is dated like a field.

A deleted object stays, so that its deletion can be sent. Every change of the sent form of an
object stamps the object with `object_stamp`; `export` proves why no change is then ever missed. An
object that is no longer withheld (see `wire`) is stamped too, since it was not sent until then. At
the end `canteen` recompiles the readers' rules. Sessions come from `changes.write_transaction`.
"""

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, null, or_, select
from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel import owed, quarantine, wire
from kalitka_hub.kormitel.documents import Item
from kalitka_hub.kormitel.fields import (
    DIRECTIONS,
    ENGAGEMENTS,
    check_fields,
    check_kind,
    object_key,
)
from kalitka_hub.kormitel.ingest import Ingest
from kalitka_hub.kormitel.repository import load, recheck_all, recheck_objects
from kalitka_hub.kormitel.state import Source, State
from kalitka_hub.store import audit
from kalitka_hub.store.bulk import in_batches, in_values
from kalitka_hub.store.changes import change_author, change_context
from kalitka_hub.store.kormitel_models import KormitelObject
from kalitka_hub.store.models import Site


class Counts(NamedTuple):
    """The outcome of items. unchanged: the same as stored, older than stored, or repeated.

    set_aside: newly quarantined for an operator; the same item counts once. An item of which only
    some fields can be applied counts as two.
    """

    received: int
    applied: int
    unchanged: int
    set_aside: int


class StoredObject(NamedTuple):
    """A stored object; see models.KormitelObject. held: why all or some of it is withheld."""

    kind: str
    key: str
    fields: dict[str, Any]
    deleted: bool
    created: int
    changed: int
    by: str
    held: str | None


def is_held() -> ColumnElement[bool]:
    """Return the condition that an object, or a part of it, is withheld from today's client."""
    return or_(KormitelObject.held.is_not(None), KormitelObject.held_fields.is_not(null()))


def object_stamp(session: Session) -> int:
    """Return the stamp for a change of objects: microseconds, not before any answer.

    Rule 2 of `export`.
    """
    answered = session.execute(select(Site.kormitel_answered)).scalar_one()
    return max(change_context(session).micros, answered or 0)


def apply_items(
    session: Session,
    items: Iterable[Item],
    by: str,
    *,
    since: int | None = None,
    unsent: int | None = None,
    owes: bool = False,
) -> Counts:
    """Apply items, and quarantine the ones that cannot be applied; no item is an error.

    by: the sender. since: the date of the whole document: a repeated item without a date of its
    own counts once per date. unsent: see `state.Source`. owes: the sender is a client that passes
    over these objects in its next answer: see `owed`.
    """
    source = Source(by, object_stamp(session), unsent=unsent)
    recheck_all(session, source)
    run = Ingest(session, source, since)
    rejected = run.apply_all(items)
    received = run.received
    new = sum(
        quarantine.store_rejected(session, batch, by, source.at) for batch in in_batches(rejected)
    )
    places = [(one.item.kind, one.item.key) for one in rejected]
    recheck_objects(session, places, source)
    applied = run.applied
    if owes and received <= owed.ITEMS_MAX:
        owed.note_posted(session, by, run.posted)
    _retry_quarantined(session, run, source.at)
    run.finish()
    return Counts(received, applied, received - applied - new, new)


def apply_quarantined(session: Session, number: int, edits: Mapping[str, Any]) -> Counts:
    """Apply a quarantined item, with these edits of its fields and its id.

    Raises NotFound, and InvalidRequest with the reason if the item still cannot be applied.
    """
    row = quarantine.find_open_item(session, number)
    stamp = object_stamp(session)
    recheck_all(session, Source(row.by, stamp))
    run = Ingest(session, Source(row.by, stamp))
    for one in run.apply_all([quarantine.parse_again(row, edits)]):
        raise InvalidRequest(f"item {number} cannot be applied: {one.reason}")
    applied = run.applied
    quarantine.resolve(row, "applied", change_author(session), stamp)
    audit_fields = {"reason": row.reason}, {"edits": dict(edits)} if edits else None
    audit.record(session, "apply", quarantine.KIND, str(number), *audit_fields)
    recheck_objects(session, [(row.kind, row.key)], Source(row.by, stamp))
    _retry_quarantined(session, run, stamp)
    run.finish()
    return Counts(1, applied, 1 - applied, 0)


def dismiss_quarantined(session: Session, number: int) -> None:
    """Dismiss a quarantined item for good, even if it is sent again, and tell what is here.

    Raises NotFound, InvalidRequest.
    """
    stamp = object_stamp(session)
    quarantine.dismiss(session, number, stamp)
    row = quarantine.find_item(session, number)
    recheck_objects(session, [(row.kind, row.key)], Source(change_author(session), stamp))


def put_object(
    session: Session, kind: str, key: object, fields: Mapping[str, Any], *, new: bool = False
) -> str:
    """Set fields of an object as an operator; return its key. Its other fields stay.

    new: add the object, which must not exist; else change it. key: None for a new uuid. Raises
    InvalidRequest for a wrong value, and NotFound for an object to change that does not exist.
    """
    key = str(uuid.uuid4()) if key is None and new else object_key(key)
    put_objects(session, kind, {key: fields}, new=new)
    return key


def put_objects(
    session: Session,
    kind: str,
    fields: Mapping[str, Mapping[str, Any]],
    *,
    new: bool | None = None,
) -> int:
    """Set fields of objects by key, as `put_object` does; return how many objects changed.

    new: None to add or change each, whether it exists or not.
    """
    check_kind(kind)
    items = [
        Item(kind, object_key(key), check_fields(kind, given), False)
        for key, given in fields.items()
    ]
    return _apply_own_changes(session, kind, items, new)


def remove_object(session: Session, kind: str, key: str) -> None:
    """Delete an object as an operator.

    Raises NotFound, and InvalidRequest for a direction while an engagement refers to it.
    """
    remove_objects(session, kind, [key])


def remove_objects(session: Session, kind: str, keys: Iterable[str]) -> int:
    """Delete objects as `remove_object` does; return how many."""
    items = [Item(kind, object_key(key), {}, True) for key in keys]
    if kind == DIRECTIONS:
        _check_unreferred(session, [item.key for item in items])
    return _apply_own_changes(session, kind, items, False)


def find_object(session: Session, kind: str, key: object) -> StoredObject:
    """Return an object, even a deleted one. Raises NotFound."""
    wanted = _OBJECTS.where(KormitelObject.kind == kind, KormitelObject.key == object_key(key))
    row = session.execute(wanted).one_or_none()
    if row is None:
        raise _not_found(kind, key)
    return _stored_object(row)


def list_objects(
    session: Session,
    kind: str | None,
    after: str = "",
    limit: int = 100,
    *,
    deleted: bool | None = False,
    held: bool | None = None,
    badge: str | None = None,
    where: Iterable[ColumnElement[bool]] = (),
) -> list[StoredObject]:
    """Return at most `limit` objects of a kind with keys after `after`, by key.

    kind: None for all kinds. deleted, held: only objects that are deleted or withheld, or that are
    not; None for all. badge: only objects that refer to this badge. where: further conditions on
    `KormitelObject`.
    """
    wanted = _OBJECTS.where(KormitelObject.key > after).limit(limit)
    if kind is not None:
        wanted = wanted.where(KormitelObject.kind == kind)
    if deleted is not None:
        wanted = wanted.where(KormitelObject.died.is_not(None) == deleted)
    if held is not None:
        wanted = wanted.where(is_held() if held else ~is_held())
    if badge is not None:
        wanted = wanted.where(KormitelObject.badge == badge)
    wanted = wanted.where(*where).order_by(KormitelObject.key, KormitelObject.kind)
    found = session.execute(wanted)
    return [_stored_object(row) for row in found]


# Without objects that were deleted before they were known: nobody has ever seen those.
_OBJECTS = select(
    KormitelObject.kind,
    KormitelObject.key,
    KormitelObject.fields,
    KormitelObject.died,
    KormitelObject.created,
    KormitelObject.changed,
    KormitelObject.by,
    KormitelObject.held,
    KormitelObject.held_fields,
).where(KormitelObject.born.is_not(None))


def _stored_object(row: Row[*tuple[Any, ...]]) -> StoredObject:
    return StoredObject(
        row.kind,
        row.key,
        row.fields,
        row.died is not None,
        row.created,
        row.changed,
        row.by,
        row.held or (row.held_fields and wire.withheld_in_part(row.held_fields)),
    )


def _not_found(kind: str, key: object) -> NotFound:
    return NotFound(
        f"there is no {str(key)[:40]} in {kind}: `kalitka hub kormitel list` shows all"
    )


def _retry_quarantined(session: Session, run: Ingest, at: int) -> None:
    """Retry the quarantined items that waited for the new objects of this ingest."""
    settled: set[tuple[str, str | None]] = set()
    while run.new_objects:
        new, run.new_objects = run.new_objects, set()
        for batch in in_batches(sorted(new)):
            rows = {row.sha256: row for row in quarantine.waiting_for(session, batch)}
            by_whom: dict[str, list[Item]] = {}
            for row in rows.values():
                by_whom.setdefault(row.by, []).append(quarantine.parse_again(row))
            for by, items in by_whom.items():
                ingest = run.for_sender(by)
                rejected = {one.item.digest: one for one in ingest.apply_all(items)}
                for item in items:
                    row, one = rows[item.digest], rejected.get(item.digest)
                    if one is None:
                        quarantine.resolve(row, "applied", quarantine.THE_HUB, at)
                        settled.add((row.kind, row.key))
                    else:
                        row.reason, row.waits = one.reason, one.waits
    session.flush()
    recheck_objects(session, settled, Source(quarantine.THE_HUB, at))


def _apply_own_changes(session: Session, kind: str, items: list[Item], new: bool | None) -> int:
    """Apply changes made at this hub, all or none; return how many objects changed."""
    source = Source(change_author(session), object_stamp(session), own=True)
    recheck_all(session, source)
    run = Ingest(session, source)
    changed = 0
    for batch in in_batches(items):
        before = load(session, kind, [item.key for item in batch])
        for item in batch:
            _check_exists(item, before.get(item.key), new)
        for one in run.apply_all(batch):
            raise InvalidRequest(f"{kind} {one.item.key}: {one.reason}")
        after = load(session, kind, [item.key for item in batch])
        records = [*_records(before, after)]
        audit.record_all(session, f"kormitel {kind}"[:40], records)
        changed += len(records)
    _retry_quarantined(session, run, source.at)
    run.finish()
    return changed


def _check_exists(item: Item, state: State | None, new: bool | None) -> None:
    is_there = state is not None and state.alive
    if new and is_there:
        raise InvalidRequest(f"there is {item.key} in {item.kind} already: change that one")
    if new is False and not is_there:
        raise _not_found(item.kind, item.key)


def _check_unreferred(session: Session, directions: Collection[str]) -> None:
    for batch in in_batches(directions):
        wanted = select(KormitelObject.direction, KormitelObject.key).where(
            KormitelObject.kind == ENGAGEMENTS,
            KormitelObject.died.is_(None),
            in_values(session, KormitelObject.direction, batch),
        )
        for direction, engagement in session.execute(wanted.limit(1)):
            raise InvalidRequest(
                f"engagement {engagement} refers to direction {direction}: delete or change it "
                "first"
            )


def _records(
    before: Mapping[str, State], after: Mapping[str, State]
) -> Iterator[audit.AuditRecord]:
    for key, new in after.items():
        old = before.get(key)
        was = old.fields if old is not None and old.alive else None
        now = new.fields if new.alive else None
        if was == now:
            continue
        action = "add" if was is None else "remove" if now is None else "change"
        yield audit.AuditRecord(action, key, was, now)
