"""The change log: the minute as its clock, and why no change is ever acknowledged unseen.

A reader asks for what changed since a minute, and from the answer takes the minute to ask with
next. Were a change stamped with a minute below one that was answered without it, that reader
would never see it. A writing transaction can span the boundary of a minute, several processes
write, and the system clock can go backwards; so the computer's minute alone does not do.

The database holds `acknowledged`, the highest minute ever answered, and three rules hold:

1. A poll first raises `acknowledged` to the current minute, if it is below, in a short
   transaction of its own that holds the site's lock (SQLite: BEGIN IMMEDIATE; elsewhere the
   site's row, FOR UPDATE). Usually one poll a minute does.
2. A writer takes the same lock first, holds it to its commit, and stamps its change with
   max(current minute, `acknowledged`).
3. The answer is read in one snapshot. Its minute is the `acknowledged` of that snapshot, and it
   carries everything that changed at or after the minute of the request.

Let an answer say minute A, and let a change be missing from its snapshot. The writer of that
change committed after the snapshot was taken, and held the lock either before or after the
transaction that raised `acknowledged` to A. Before is impossible: it would have committed
before the raise, and the snapshot, which holds the raise, would hold the change. So it was
after: it read `acknowledged` >= A and stamped the change with A or more, and the next request,
with A, gets it. Within a minute changes are repeated, and applying them twice is harmless.

Minutes that nobody was ever answered are remembered as silences. A reader that asks with one of
them has it from elsewhere: from another server, or from this one before it was restored from an
older backup. What else it believes is unknown, so it is told to do a full sync. So is a reader
that was added or put into other groups after the answer that it asks on from. Such a change is
stamped, on the reader, with the highest minute answered before it: whoever asks with a higher one
has an answer that was read after rule 1 raised it, and so after the change.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.orm import Session

from kalitka_hub.clock import current_minute
from kalitka_hub.store.database import Database
from kalitka_hub.store.last_seen import LastSeen
from kalitka_hub.store.models import NAME_MAX, Reader, Site, Token, UnansweredRange

HISTORY_MINUTES = 366 * 24 * 60  # minutes; a reader that was away for longer does a full sync
COMMAND_LINE = "command line"  # who changes something at the hub's own computer
_CHANGE = "kalitka_change"
_IN_UNANSWERED_RANGE = (
    select(UnansweredRange.after)
    .where(
        UnansweredRange.after < bindparam("minute"), UnansweredRange.until > bindparam("minute")
    )
    .limit(1)
)


class ChangeContext(NamedTuple):
    """What is told of all that one transaction changes.

    stamp: the minute since 1970 UTC to stamp it with. answered: the highest one answered to a
    reader before it. at: the computer's time then, in seconds; micros: in microseconds. who: whose
    change it is, for the audit.
    """

    stamp: int
    answered: int
    at: int
    micros: int
    who: str


@contextmanager
def write_transaction(database: Database, who: str = COMMAND_LINE) -> Iterator[Session]:
    """Open the session in which data is changed, holding the site's lock.

    All of it is committed at the end, or nothing if an exception leaves the block. Keep it
    short: other writers, and the first poll of each minute, wait for it.
    """
    with database.write_session() as session:
        site = _lock(session)
        stamp = max(current_minute(database.clock), site.acknowledged)
        micros = int(database.clock() * 1_000_000)
        at = micros // 1_000_000
        session.info[_CHANGE] = ChangeContext(stamp, site.acknowledged, at, micros, who[:NAME_MAX])
        yield session


def change_context(session: Session) -> ChangeContext:
    """Return when and by whom this session changes data. Requires `write_transaction`."""
    if _CHANGE not in session.info:
        raise RuntimeError(
            "changes are written in `with changes.write_transaction(database)` only"
        )
    return session.info[_CHANGE]


def change_stamp(session: Session) -> int:
    """Return the minute to stamp a change with. Requires a session from `write_transaction`."""
    return change_context(session).stamp


def change_author(session: Session) -> str:
    """Return who changes data in this session. Requires `write_transaction`."""
    return change_context(session).who


def acknowledge(database: Database, last_seen: LastSeen) -> int:
    """Do rule 1 before a poll is answered; write down the sightings once a minute with it.

    Returns the minute that is acknowledged now.
    """
    if not last_seen.claim_write(current_minute(database.clock)):
        with database.snapshot() as session:
            acknowledged = acknowledged_minute(session)
            if _next_minute(session, acknowledged, current_minute(database.clock)) == acknowledged:
                return acknowledged
    with database.write_session() as session:
        site = _lock(session)
        _advance_minute(session, site, current_minute(database.clock))
        last_seen.write(session)
        return site.acknowledged


def acknowledged_minute(session: Session) -> int:
    """Return the highest minute ever answered, as this session sees it."""
    return session.execute(select(Site.acknowledged)).scalar_one()


def was_answered(session: Session, minute: int, acknowledged: int) -> bool:
    """Tell whether `minute` can be one that this database's history answered to a reader.

    acknowledged: the highest minute ever answered, as this session sees it.
    """
    if not acknowledged - HISTORY_MINUTES <= minute <= acknowledged:
        return False
    return session.execute(_IN_UNANSWERED_RANGE, {"minute": minute}).first() is None


def _lock(session: Session) -> Site:
    # SQLite has no FOR UPDATE and ignores it here: BEGIN IMMEDIATE has the lock already.
    return session.scalars(select(Site).with_for_update()).one()


def _next_minute(session: Session, acknowledged: int, current: int) -> int:
    if current >= acknowledged:
        return current
    # The system clock went backwards, or had been ahead once. Until it catches up the minute
    # is a mere counter: it steps past the changes stamped with it, or every poll until then
    # would repeat them all.
    tokens = select(func.max(Token.changed)).scalar_subquery()
    readers = select(func.max(Reader.configured_minute)).scalar_subquery()
    latest = max(minute or 0 for minute in session.execute(select(tokens, readers)).one())
    return max(acknowledged, latest + 1) if latest >= acknowledged else acknowledged


def _advance_minute(session: Session, site: Site, current: int) -> None:
    acknowledged = site.acknowledged
    minute = _next_minute(session, acknowledged, current)
    if minute == acknowledged:
        return
    site.acknowledged = minute
    if minute > acknowledged + 1:
        session.add(UnansweredRange(after=acknowledged, until=minute))
        session.execute(
            delete(UnansweredRange).where(UnansweredRange.until < minute - HISTORY_MINUTES)
        )
