"""Checks this computer's clock: it is wrong if the database has later timestamps.

Readers set their clocks by the hub, so a hub whose computer lost its clock would spoil all of
them. The stamps are the hub's own, in its audit of changes and on the entries of the access log
as they arrived: not a reader's time, which proves nothing about the hub, and not the minutes of
tokens, which are counters (see `changes`). Stamps made while the clock was ahead would condemn a
right one, so a person can confirm it: then only later changes and entries count.
"""

from datetime import UTC, datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from kalitka_hub.store import audit
from kalitka_hub.store.changes import change_stamp
from kalitka_hub.store.models import AccessEntry, Audit, Site

SLACK_SECONDS = 60  # between the clocks of two computers with one database
# Entries looked at, the newest in order of arrival: those of a clock set back in between are few.
_ENTRIES = 1000


def clock_problem(session: Session, now: float) -> str | None:
    """Return why the clock must be wrong at `now` (Unix seconds), in a sentence; None if not."""
    newest = newest_stamp(session)
    if newest is None or newest - now <= SLACK_SECONDS:
        return None
    return (
        f"the hub's clock is wrong: it says {_text(now)}, but its database has entries of "
        f"{_text(newest)}; set the clock of the hub's computer, or if it is right, run `kalitka "
        "hub site confirm-clock`"
    )


def newest_stamp(session: Session) -> int | None:
    """Return the newest stamp of a change or a log entry, in Unix seconds; None without any."""
    confirmed = session.execute(select(Site.confirmed_audit, Site.confirmed_entry)).one()
    changed = (
        select(Audit.at).where(Audit.id > (confirmed[0] or 0)).order_by(Audit.at.desc()).limit(1)
    )
    latest = (
        select(AccessEntry.received)
        .where(AccessEntry.id > (confirmed[1] or 0))
        .order_by(AccessEntry.id.desc())
        .limit(_ENTRIES)
        .subquery()
    )
    stamps = session.scalar(changed), session.scalar(select(func.max(latest.c.received)))
    return max((stamp for stamp in stamps if stamp is not None), default=None)


def confirm_clock(session: Session) -> None:
    """Take the clock for right, whatever stamps the database has so far.

    Requires a session from `write_transaction`.
    """
    change_stamp(session)
    newest = newest_stamp(session)
    confirmed = {
        "confirmed_audit": session.scalar(select(func.max(Audit.id))),
        "confirmed_entry": session.scalar(select(func.max(AccessEntry.id))),
    }
    session.execute(update(Site).values(**confirmed))
    audit.record(session, "confirm", "site", "clock", {"newest": newest}, None)


def _text(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
