"""Objects owed to a client: it posted them, and passes over them in the answer that follows.

In each run today's client posts its changes, then asks, and takes nothing of what it posted from
that answer. Its next date is later than what was changed here in these objects, so `export` would
never send that again. So each posted object is noted. The answer that follows keeps the notes of
objects in which this hub has something that the client does not know: somebody else's write since
the client's date, a newer value than the client's, what was withheld until then, or what came
back from its deletion, since of a deleted object only the id is sent.

Let that answer be given at A. The objects are sent in every answer after A, until an answer whose
bound is A or later, if an answer after A was given for an earlier date. The client has then moved
its date on with an answer that it did not pass over: it has the objects. An object that is posted
again meanwhile is owed anew. A repeated back-sync, and one that changed nothing, count alike.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.orm import Session

from kalitka_hub.store.bulk import in_batches, in_values, insert_rows
from kalitka_hub.store.kormitel_models import KormitelExchange, KormitelObject, KormitelOwed

# Today's client posts 100 items a run. A larger body comes from another one, which passes over
# nothing, and is not worth the rows.
ITEMS_MAX = 1000

_COLUMNS = (
    KormitelObject.id,
    KormitelObject.kind,
    KormitelObject.key,
    KormitelObject.writes,
    KormitelObject.released,
)

Posted = Mapping[tuple[str, str], bool]


def note_posted(session: Session, user: str, posted: Posted) -> None:
    """Note the objects that a client has just posted, each with whether it is surely owed.

    posted: by kind and key. An object that was owed before stays so.
    """
    keys = [key for _, key in posted]
    known = {
        (row.kind, row.key): row
        for batch in in_batches(keys)
        for row in session.scalars(
            select(KormitelOwed).where(
                KormitelOwed.user == user, in_values(session, KormitelOwed.key, batch)
            )
        )
    }
    for place, is_sure in posted.items():
        row = known.get(place)
        if row is not None:
            row.sure = row.sure or is_sure or row.followed is not None
            row.followed = None
    session.flush()
    insert_rows(
        session,
        KormitelOwed,
        [
            {"user": user, "kind": kind, "key": key, "sure": is_sure, "followed": None}
            for (kind, key), is_sure in posted.items()
            if (kind, key) not in known
        ],
    )


def ids_owed(session: Session, user: str, from_date: int, lower: int, at: int) -> frozenset[int]:
    """Return the ids of the objects to send in an answer whatever their stamps, and note it.

    from_date, lower: the date asked from, and the bound (see `export`). at: the time of the
    answer. Requires a session from `write_transaction`.
    """
    _settle(session, user, from_date, lower)
    columns = KormitelOwed.kind, KormitelOwed.key, KormitelOwed.sure, KormitelOwed.followed
    noted = session.execute(select(*columns).where(KormitelOwed.user == user)).all()
    owed: set[int] = set()
    for batch in in_batches(noted):
        keys = in_values(session, KormitelObject.key, {row.key for row in batch})
        objects = {
            (row.kind, row.key): row for row in session.execute(select(*_COLUMNS).where(keys))
        }
        forgotten: dict[str, list[str]] = defaultdict(list)
        for row in batch:
            found = objects.get((row.kind, row.key))
            is_new = row.followed is None
            if found and (row.sure or (is_new and _has_news(found, user, lower))):
                owed.add(found.id)
            else:
                forgotten[row.kind].append(row.key)
        for kind, listed in forgotten.items():
            of_kind = KormitelOwed.user == user, KormitelOwed.kind == kind
            session.execute(
                delete(KormitelOwed)
                .where(*of_kind, in_values(session, KormitelOwed.key, listed))
                .execution_options(synchronize_session=False)
            )
    if owed:
        session.execute(
            update(KormitelOwed)
            .where(KormitelOwed.user == user, KormitelOwed.followed.is_(None))
            .values(followed=at, sure=True)
            .execution_options(synchronize_session=False)
        )
    return frozenset(owed)


def _settle(session: Session, user: str, from_date: int, lower: int) -> None:
    """Forget what the client took with an answer after the one that it passed over."""
    last = session.scalar(
        select(func.max(KormitelExchange.at)).where(
            KormitelExchange.user == user,
            KormitelExchange.way == "sync",
            KormitelExchange.from_date < from_date,
        )
    )
    if last is not None:
        session.execute(
            delete(KormitelOwed).where(
                KormitelOwed.user == user,
                KormitelOwed.followed <= lower,
                KormitelOwed.followed < last,
            )
        )


def _has_news(found: Row[*tuple[Any, ...]], user: str, lower: int) -> bool:
    """Tell whether anybody but the user wrote, or something was released, at `lower` or later."""
    if found.released is not None and found.released >= lower:
        return True
    return any(
        at >= lower and not (by == user or by.startswith(f"{user} (badge "))
        for _, at, by, _ in found.writes
    )
