"""The change log: minutes as its clock, and the proof that no change is acknowledged unseen.

A reader polls for the changes since a minute, and the answer gives the minute of its next poll.
If a change were stamped with a minute below one that was already answered without it, that reader
would never see it. The system clock alone cannot prevent this: a writing transaction can span the
boundary of a minute, several processes write, and the clock can go backwards.

The database holds `acknowledged`, the highest minute ever answered, and three rules hold:

1. A poll first raises `acknowledged` to the current minute, if it is below that, in a short
   transaction of its own that holds the site's lock (SQLite: BEGIN IMMEDIATE; PostgreSQL: the
   site's row, FOR UPDATE). Usually only the first poll of a minute has to.
2. A writer takes the same lock first, holds it until it commits, and stamps its change with
   max(current minute, `acknowledged`).
3. The answer is read in one snapshot. Its minute is the `acknowledged` of that snapshot, and it
   carries every change stamped at or after the minute of the request.

Proof. Let an answer carry minute A, and let a change be missing from its snapshot. The writer of
that change committed after the snapshot was taken, and held the lock either before or after the
transaction that raised `acknowledged` to A. Before is impossible: the writer would have committed
before the raise, and the snapshot, which contains the raise, would contain the change. So it was
after: the writer read `acknowledged` >= A and stamped the change with A or more, and the next
request, with A, gets it. Changes within a minute may be sent twice; applying them twice is
harmless.

Minutes that no reader was ever answered with are stored as unanswered ranges. A reader that polls
with such a minute has it from elsewhere: from another server, or from this one before an older
backup was restored. Its table is unknown, so it is told to do a full sync. The same holds for a
reader that was added or moved to other groups after the answer it polls from. That change stamps
the reader with the highest minute answered before it: a poll with a higher minute comes from an
answer that was read after rule 1 raised `acknowledged`, and so after the change.
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

HISTORY_MINUTES = 366 * 24 * 60  # a reader that was away for longer does a full sync
COMMAND_LINE = "command line"  # the author of changes made at the hub's own computer
_CHANGE = "kalitka_change"
_IN_UNANSWERED_RANGE = (
    select(UnansweredRange.after)
    .where(
        UnansweredRange.after < bindparam("minute"), UnansweredRange.until > bindparam("minute")
    )
    .limit(1)
)


class ChangeContext(NamedTuple):
    """The stamp, time and author of every change in one transaction.

    stamp: the minute since 1970 UTC that changes are stamped with. answered: the highest minute
    answered to a reader before. at: the computer's time in seconds; micros: in microseconds. who:
    the author, for the audit.
    """

    stamp: int
    answered: int
    at: int
    micros: int
    who: str


@contextmanager
def write_transaction(database: Database, who: str = COMMAND_LINE) -> Iterator[Session]:
    """Open a session that changes data and holds the site's lock.

    Everything is committed at the end of the block, or nothing if an exception leaves it. Keep
    the block short: other writers and the first poll of each minute wait for it.
    """
    with database.write_session() as session:
        # Rule 2: the lock comes first, and `acknowledged` is read under it.
        site = _lock(session)
        stamp = max(current_minute(database.clock), site.acknowledged)
        micros = int(database.clock() * 1_000_000)
        at = micros // 1_000_000
        session.info[_CHANGE] = ChangeContext(stamp, site.acknowledged, at, micros, who[:NAME_MAX])
        yield session


def change_context(session: Session) -> ChangeContext:
    """Return this session's ChangeContext. Requires a session from `write_transaction`."""
    if _CHANGE not in session.info:
        raise RuntimeError(
            "changes are written in `with changes.write_transaction(database)` only"
        )
    return session.info[_CHANGE]


def change_stamp(session: Session) -> int:
    """Return the minute to stamp a change with. Requires a session from `write_transaction`."""
    return change_context(session).stamp


def change_author(session: Session) -> str:
    """Return the author of this session's changes. Requires a session from `write_transaction`."""
    return change_context(session).who


def acknowledge(database: Database, last_seen: LastSeen) -> int:
    """Apply rule 1 before a poll is answered; once a minute write `last_seen` with it.

    Returns the minute that is acknowledged now.
    """
    # The claim is made before the write succeeds. If the transaction fails, so does this poll, and
    # the next one raises `acknowledged` by the check below: only last-seen values are lost.
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
    """Return whether this database can have answered a reader with `minute`.

    acknowledged: the highest minute ever answered, as this session sees it.
    """
    if not acknowledged - HISTORY_MINUTES <= minute <= acknowledged:
        return False
    return session.execute(_IN_UNANSWERED_RANGE, {"minute": minute}).first() is None


def _lock(session: Session) -> Site:
    # SQLite has no FOR UPDATE, and SQLAlchemy omits it: BEGIN IMMEDIATE already took the lock.
    return session.scalars(select(Site).with_for_update()).one()


def _next_minute(session: Session, acknowledged: int, current: int) -> int:
    if current >= acknowledged:
        return current
    # The system clock went backwards, or had once been ahead. Until it catches up the minute is
    # only a counter: it steps past the changes stamped with it, or every poll until then would
    # repeat them all.
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
