"""The quarantine of items that were sent and could not be applied: each once, for an operator.

The sender gets no error, since it could only send the items again for ever. An item that waits for
an unknown object is retried by itself once the object becomes known. `service` applies items.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel.dates import utc_text
from kalitka_hub.kormitel.documents import Item, parse_item
from kalitka_hub.store import audit
from kalitka_hub.store.bulk import in_values
from kalitka_hub.store.changes import change_author
from kalitka_hub.store.kormitel_models import KormitelQuarantined

KIND = "kormitel set aside"  # in the audit log; do not change: stored
THE_HUB = "the hub: what it waited for came"
QuarantineState = Literal["open", "applied", "dismissed"]  # do not change: stored
_FLAT, _CHANGED = "flat", "changed"


class Rejected(NamedTuple):
    """An item that was not applied. waits: the object that the item waits for, as kind/key."""

    item: Item
    reason: str
    waits: str | None = None


class SetAsideView(BaseModel):
    """A quarantined item. at, settled: UTC, as in the exchange. item: as it was sent."""

    id: int
    at: str
    by: str
    group: str
    verb: str
    item: Any
    reason: str
    state: QuarantineState
    settled: str | None
    settled_by: str | None


def store_rejected(session: Session, rejected: Iterable[Rejected], by: str, at: int) -> int:
    """Quarantine items; return how many of them are new. at: microseconds since 1970 UTC."""
    by_digest = {one.item.digest: one for one in rejected}
    known = set(
        session.scalars(
            select(KormitelQuarantined.sha256).where(
                in_values(session, KormitelQuarantined.sha256, by_digest)
            )
        )
    )
    for digest, one in by_digest.items():
        if digest not in known:
            session.add(
                KormitelQuarantined(
                    at=at,
                    by=by,
                    kind=one.item.kind,
                    item=one.item.sent,
                    reason=one.reason,
                    sha256=digest,
                    waits=one.waits,
                    key=one.item.key or None,
                    state="open",
                )
            )
    session.flush()
    return len(by_digest.keys() - known)


def waiting_for(session: Session, known: Collection[str]) -> list[KormitelQuarantined]:
    """Return the open items that wait for these objects, kind/key, oldest first."""
    wanted = select(KormitelQuarantined).where(
        KormitelQuarantined.state == "open", in_values(session, KormitelQuarantined.waits, known)
    )
    return list(session.scalars(wanted.order_by(KormitelQuarantined.id))) if known else []


def resolve(row: KormitelQuarantined, state: QuarantineState, who: str, at: int) -> None:
    """Close an item. at: microseconds since 1970 UTC."""
    row.state, row.settled, row.settled_by, row.waits = state, at, who, None


def find_item(session: Session, number: int) -> KormitelQuarantined:
    """Return an item in any state. Raises NotFound."""
    row = session.get(KormitelQuarantined, number)
    if row is None:
        raise NotFound(
            f"there is no quarantined item {number}: `kalitka hub kormitel aside list` shows all"
        )
    return row


def find_open_item(session: Session, number: int) -> KormitelQuarantined:
    """Return an open item. Raises NotFound, and InvalidRequest if the item is settled."""
    row = find_item(session, number)
    if row.state != "open":
        raise InvalidRequest(f"item {number} is {row.state} already: there is nothing left to do")
    return row


def dismiss(session: Session, number: int, at: int) -> None:
    """Dismiss an item for good, even if it is sent again. Raises NotFound, InvalidRequest."""
    row = find_open_item(session, number)
    resolve(row, "dismissed", change_author(session), at)
    audit.record(session, "dismiss", KIND, str(number), {"reason": row.reason}, None)


def list_items(
    session: Session,
    after: int | None = None,
    limit: int = 100,
    *,
    state: QuarantineState | None = "open",
) -> list[SetAsideView]:
    """Return at most `limit` quarantined items, newest first, with numbers below `after`.

    state: only items in this state; None: all.
    """
    wanted = select(KormitelQuarantined).order_by(KormitelQuarantined.id.desc()).limit(limit)
    if after is not None:
        wanted = wanted.where(KormitelQuarantined.id < after)
    if state is not None:
        wanted = wanted.where(KormitelQuarantined.state == state)
    return [view_of(row) for row in session.scalars(wanted)]


def count_open(session: Session) -> int:
    """Return the number of open items."""
    wanted = select(func.count()).where(KormitelQuarantined.state == "open")
    return session.execute(wanted).scalar_one()


def view_of(row: KormitelQuarantined) -> SetAsideView:
    """Return the view of an item."""
    verb, sent = row.item
    return SetAsideView(
        id=row.id,
        at=utc_text(row.at),
        by=row.by,
        group=row.kind,
        verb=_CHANGED if verb == _FLAT else verb,
        item=sent,
        reason=row.reason,
        state=row.state,  # type: ignore[arg-type]
        settled=None if row.settled is None else utc_text(row.settled),
        settled_by=row.settled_by,
    )


def parse_again(row: KormitelQuarantined, edits: Mapping[str, Any] | None = None) -> Item:
    """Return the item of a row, parsed again with these edits of its fields or its id."""
    return parse_item(row.kind, row.item, **(edits or {}))
