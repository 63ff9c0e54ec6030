"""The exchange log: the requests of clients and of this hub, their sizes, counts and errors.

The log is also what `export` knows of a client: the dates it asked from, and the times it was
answered. Entries are kept for 90 days, to look back at a festival when it is over, and at most
10,000 of them, a hundred days of a client that asks every quarter of an hour, so that a client
that asks all the time does not fill the database. The newest few of each client stay whatever
their age, since a client that comes back after a winter is answered by what it had last. Failed
logins are in the server's log.
"""

from typing import Literal, NamedTuple

from pydantic import BaseModel
from sqlalchemy import delete, func, null, or_, select
from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest
from kalitka_hub.kormitel.client_clock import DateAsked
from kalitka_hub.kormitel.dates import SECOND, utc_text
from kalitka_hub.kormitel.documents import Shape
from kalitka_hub.store.changes import change_context
from kalitka_hub.store.kormitel_models import KormitelExchange
from kalitka_hub.store.models import Site

Way = Literal["sync", "back-sync", "pull", "push"]  # do not change: stored
KEPT_MICROS = 90 * 24 * 60 * 60 * SECOND
KEPT_MAX = 10_000
_KEPT_OF_EACH = 10
_PRUNED_EVERY = 100  # entries; the log may exceed KEPT_MAX by as many
_ERROR_MAX = 1000  # characters


class Paused(InvalidRequest):
    """An operator has paused the exchange. seconds: the time to wait before another try."""

    def __init__(self) -> None:
        super().__init__("the exchange is paused by an operator of the hub: ask again later")
        self.seconds = 15 * 60


class ExchangeOutcome(NamedTuple):
    """The outcome of an exchange. counts: of objects by kind, or of items by kind or outcome.

    size: bytes of the body. took: microseconds. error: a sentence, None if nothing went wrong.
    """

    counts: dict[str, int]
    size: int | None
    took: int
    error: str | None = None


class ExchangeView(BaseModel):
    """An entry of the exchange log.

    at, from_date: UTC, as `2026-11-21T18:56:42.123456Z`. way: sync and back-sync are requests of
    `user` to this hub; pull and push are requests of this hub to the peer whose URL is `user`.
    bytes, seconds: null until the exchange ends. waiting: the number of deletions left for a later
    answer.
    """

    id: int
    at: str
    user: str
    way: Way
    shape: Shape | None
    from_date: str | None
    counts: dict[str, int]
    bytes: int | None
    seconds: float | None
    error: str | None
    waiting: int


def check_not_paused(session: Session) -> None:
    """Raise Paused while the exchange is paused."""
    if session.scalars(select(Site.kormitel_paused)).one() is not None:
        raise Paused()


def begin(
    session: Session,
    user: str,
    way: Way,
    *,
    shape: Shape | None = None,
    from_date: int | None = None,
    at: int | None = None,
    left_out: list[int] | None = None,
) -> int:
    """Add an exchange that begins to the log; return its number. See models.KormitelExchange.

    at: microseconds, None for now. Requires a session from `write_transaction`.
    """
    now = change_context(session).micros
    exchange = KormitelExchange(
        at=now if at is None else at,
        user=user,
        way=way,
        shape=shape,
        from_date=from_date,
        counts={},
        left_out=left_out or None,
    )
    session.add(exchange)
    session.flush()
    if exchange.id % _PRUNED_EVERY == 0:
        _prune(session, now)
    return exchange.id


def finish(session: Session, number: int, outcome: ExchangeOutcome) -> None:
    """Store the outcome of an exchange. Requires a session from `write_transaction`."""
    change_context(session)
    exchange = session.get(KormitelExchange, number)
    if exchange is None:
        return  # pruned before the exchange ended
    exchange.counts = outcome.counts
    exchange.bytes = outcome.size
    exchange.took = outcome.took
    exchange.error = outcome.error and outcome.error[:_ERROR_MAX]
    session.flush()


def record(
    session: Session,
    user: str,
    way: Way,
    outcome: ExchangeOutcome,
    *,
    shape: Shape | None = None,
    from_date: int | None = None,
) -> None:
    """Add an exchange that has ended to the log; see `begin` and `finish`."""
    finish(session, begin(session, user, way, shape=shape, from_date=from_date), outcome)


def list_exchanges(
    session: Session,
    after: int | None = None,
    limit: int = 100,
    *,
    user: str | None = None,
    way: Way | None = None,
    failed: bool = False,
) -> list[ExchangeView]:
    """Return up to `limit` exchanges, newest first, with numbers below `after`.

    user, way: only exchanges of these. failed: only exchanges with an error.
    """
    wanted = select(KormitelExchange).order_by(KormitelExchange.id.desc()).limit(limit)
    if after is not None:
        wanted = wanted.where(KormitelExchange.id < after)
    if user is not None:
        wanted = wanted.where(KormitelExchange.user == user)
    if way is not None:
        wanted = wanted.where(KormitelExchange.way == way)
    if failed:
        wanted = wanted.where(KormitelExchange.error.is_not(None))
    return [_view_of(exchange) for exchange in session.scalars(wanted)]


def _view_of(exchange: KormitelExchange) -> ExchangeView:
    return ExchangeView(
        id=exchange.id,
        at=utc_text(exchange.at),
        user=exchange.user,
        way=exchange.way,  # type: ignore[arg-type]
        shape=exchange.shape,  # type: ignore[arg-type]
        from_date=None if exchange.from_date is None else utc_text(exchange.from_date),
        counts=exchange.counts,
        bytes=exchange.bytes,
        seconds=None if exchange.took is None else exchange.took / SECOND,
        error=exchange.error,
        waiting=len(exchange.left_out or ()),
    )


# The history of a client


def dates_asked(session: Session, user: str, limit: int) -> list[DateAsked]:
    """Return the last `limit` different dates that a user asked from, oldest answer first."""
    last = func.max(KormitelExchange.at)
    wanted = (
        select(KormitelExchange.from_date, last)
        .where(*_syncs_of(user), KormitelExchange.from_date.is_not(None))
        .group_by(KormitelExchange.from_date)
        .order_by(last.desc())
        .limit(limit)
    )
    return [DateAsked(*row) for row in session.execute(wanted)][::-1]  # type: ignore[misc]


def left_out_since(session: Session, user: str, since: int) -> set[int]:
    """Return the ids of the objects left out of a user's answers at `since` or later."""
    wanted = select(KormitelExchange.left_out).where(
        *_syncs_of(user),
        KormitelExchange.at >= since,
        KormitelExchange.left_out.is_not(null()),
    )
    return {number for left_out in session.scalars(wanted) for number in left_out or ()}


def answered_between(
    session: Session, user: str, first: int, last: int, from_date: int
) -> list[int]:
    """Return the times of a user's answers to dates before `from_date`; both bounds inclusive."""
    wanted = select(KormitelExchange.at).where(
        *_syncs_of(user),
        KormitelExchange.at.between(first, last),
        or_(KormitelExchange.from_date.is_(None), KormitelExchange.from_date < from_date),
    )
    return list(session.scalars(wanted))


def _syncs_of(user: str):
    return KormitelExchange.user == user, KormitelExchange.way == "sync"


def _prune(session: Session, now: int) -> None:
    newest = (
        select(KormitelExchange.id).order_by(KormitelExchange.id.desc()).offset(KEPT_MAX).limit(1)
    )
    place = func.row_number().over(
        partition_by=(KormitelExchange.user, KormitelExchange.way),
        order_by=KormitelExchange.id.desc(),
    )
    placed = select(KormitelExchange.id, place.label("place")).subquery()
    kept = select(placed.c.id).where(placed.c.place <= _KEPT_OF_EACH)
    # The newest few of each client stay: `export` answers by them (see the module text).
    first_gone = session.scalars(newest).one_or_none() or 0
    session.execute(
        delete(KormitelExchange)
        .where(
            or_(KormitelExchange.at < now - KEPT_MICROS, KormitelExchange.id <= first_gone),
            KormitelExchange.id.not_in(kept),
        )
        .execution_options(synchronize_session=False)
    )
