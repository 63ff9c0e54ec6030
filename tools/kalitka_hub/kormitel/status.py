"""The status of the exchange, for an operator: objects, problems, and the last exchanges."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from kalitka_hub.accounts.users import INTEGRATION
from kalitka_hub.kormitel import exchange_log, quarantine, service
from kalitka_hub.kormitel.badge_rules import badge_name
from kalitka_hub.kormitel.canteen import Kitchens, is_alive
from kalitka_hub.kormitel.dates import SECOND, utc_text
from kalitka_hub.kormitel.exchange_log import ExchangeView
from kalitka_hub.kormitel.fields import BADGES
from kalitka_hub.kormitel.service import StoredObject
from kalitka_hub.kormitel.settings import paused_since
from kalitka_hub.store.kormitel_models import KormitelExchange, KormitelObject
from kalitka_hub.store.models import User


class LastExchange(ExchangeView):
    """The last exchange of a way with a user or peer. ago: seconds since its beginning."""

    ago: int


class Unserved(BaseModel):
    """The number of badges that open nothing, since their kitchen has no readers.

    kitchen: as the badges name it; null: badges without a kitchen.
    """

    kitchen: str | None
    badges: int


class Status(BaseModel):
    """The status of the exchange.

    paused: since when the exchange is paused, UTC; null: not paused. objects: by group, the number
    that is not deleted. held: the number of objects that are withheld from today's client, as a
    whole or in part. set_aside: the number of quarantined items that wait for an operator. last:
    the last exchange of each user and way. silent: users of the role integration that never asked.
    unserved: badges that open nothing for want of a reader.
    """

    paused: str | None
    objects: dict[str, int]
    held: int
    set_aside: int
    last: list[LastExchange]
    silent: list[str]
    unserved: list[Unserved]


class HeldView(BaseModel):
    """An object that is withheld, or fields of it, from today's client, which cannot save them."""

    group: str
    id: str
    name: str | None
    deleted: bool
    reason: str

    @property
    def place(self) -> str:
        """The place of the object in the list."""
        return f"{self.group}/{self.id}"


class ObjectView(BaseModel):
    """An object of any group. created, changed: UTC. by: the author of the last change."""

    group: str
    id: str
    deleted: bool
    fields: dict[str, Any]
    created: str
    changed: str
    by: str
    held: str | None


def status_of(session: Session, now: int) -> Status:
    """Return the status of the exchange. now: microseconds since 1970 UTC."""
    paused = paused_since(session)
    counts = select(KormitelObject.kind, func.count()).where(is_alive())
    held = select(func.count()).where(service.is_held(), KormitelObject.born.is_not(None))
    counted = session.execute(counts.group_by(KormitelObject.kind).order_by(KormitelObject.kind))
    last = [*_last_exchanges(session, now)]
    heard = {one.user for one in last}
    users = select(User.name).where(User.role == INTEGRATION).order_by(User.name)
    return Status(
        paused=None if paused is None else utc_text(paused),
        objects=dict(row for row in counted),  # type: ignore[arg-type]
        held=session.execute(held).scalar_one(),
        set_aside=quarantine.count_open(session),
        last=last,
        silent=[name for name in session.scalars(users) if name not in heard],
        unserved=[*_unserved_kitchens(session)],
    )


def list_held(session: Session, after: str = "", limit: int = 100) -> list[HeldView]:
    """Return at most `limit` withheld objects, deleted or not, after the place `after`."""
    first, _, key = after.partition("/")
    kinds = select(KormitelObject.kind).where(service.is_held(), KormitelObject.kind >= first)
    found: list[StoredObject] = []
    for kind in session.scalars(kinds.distinct().order_by(KormitelObject.kind)).all():
        behind = key if kind == first else ""
        wanted = limit - len(found)
        found += service.list_objects(session, kind, behind, wanted, deleted=None, held=True)
        if len(found) == limit:
            break
    return [_held_view(known) for known in found]


def object_view(known: StoredObject) -> ObjectView:
    """Return the view of an object."""
    return ObjectView(
        group=known.kind,
        id=known.key,
        deleted=known.deleted,
        fields=known.fields,
        created=utc_text(known.created),
        changed=utc_text(known.changed),
        by=known.by,
        held=known.held,
    )


def _held_view(known: StoredObject) -> HeldView:
    name = badge_name(known.key, known.fields)
    return HeldView(
        group=known.kind,
        id=known.key,
        name=None if name == known.key else name,
        deleted=known.deleted,
        reason=known.held or "",
    )


def _last_exchanges(session: Session, now: int) -> Iterator[LastExchange]:
    pairs = select(KormitelExchange.user, KormitelExchange.way).distinct()
    for user, way in session.execute(pairs.order_by(*pairs.selected_columns)).all():
        newest = select(KormitelExchange.at).where(
            KormitelExchange.user == user, KormitelExchange.way == way
        )
        at = session.scalars(newest.order_by(KormitelExchange.id.desc()).limit(1)).one()
        (view,) = exchange_log.list_exchanges(session, limit=1, user=user, way=way)  # type: ignore[arg-type]
        yield LastExchange(**view.model_dump(), ago=max(0, now - at) // SECOND)


def _unserved_kitchens(session: Session) -> Iterator[Unserved]:
    kitchens = Kitchens(session)
    named = KormitelObject.fields["kitchen"].as_string().label("kitchen")
    counts = select(named, func.count()).where(KormitelObject.kind == BADGES, is_alive())
    unserved: Counter[str | None] = Counter()
    for kitchen, badges in session.execute(counts.group_by(named)):
        if not kitchens.groups_of({"kitchen": kitchen}):
            # SQLite groups a number and a text apart, but both name the same kitchen.
            unserved[None if kitchen is None else str(kitchen)] += badges
    for kitchen in sorted(unserved, key=lambda one: one or ""):
        yield Unserved(kitchen=kitchen, badges=unserved[kitchen])
