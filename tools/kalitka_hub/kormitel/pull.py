"""The hub as a client: it sends a peer the writes made here, then takes the changes made there.

A pull sends the fields that were written by others than the peer, each with its date.
`KormitelPeer` holds a mark, the stamp of a write and the object: every write up to the mark was
sent. Let a pull begin at A: it takes the site's lock, makes A later than every write so far,
raises `kormitel_answered` to A, and looks up the writes after the mark. Any other write takes the
lock later, and gets a stamp of A or more (`service.object_stamp`), whatever the clock says. So the
mark may advance, write by write, as the peer answers, and in the end to A itself, since every
later write is after that: none is lost, and an interrupted pull is resumed at the mark. If an
answer is lost, the same writes are sent again, which changes nothing.

The answer is applied as a whole, in one transaction, or not at all. It has the peer's state, and
overrides writes made here; but the peer has not been sent the writes at A or later, and these stay
(`state.Source.unsent`). The next pull asks from the peer's own clock at the time when it began to
answer, so the error of the clock here does not matter.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest
from kalitka_hub.kormitel import exchange_log, service
from kalitka_hub.kormitel.dates import SECOND, utc_text
from kalitka_hub.kormitel.documents import Document, parse_document
from kalitka_hub.kormitel.exchange_log import ExchangeOutcome, Way, check_not_paused
from kalitka_hub.kormitel.fields import ARRIVALS, BADGES, KINDS, wire_id
from kalitka_hub.kormitel.peer import READ_SECONDS, Peer, PeerAnswer, PeerFailed, normalize_url
from kalitka_hub.kormitel.service import Counts
from kalitka_hub.kormitel.state import DELETED, writes_by_field
from kalitka_hub.store.bulk import in_batches, in_values
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import Database
from kalitka_hub.store.kormitel_models import KormitelObject, KormitelPeer
from kalitka_hub.store.models import NAME_MAX, Site

BATCH_MAX = 100  # items, as in the batches of Kormitel's own client
_AT_ONCE = 500  # rows in memory
_GROUP_ORDER = (BADGES, *(kind for kind in KINDS if kind != BADGES))  # in the order of a batch

# Called with the writes sent, and their total; then with the bytes received, and None.
Progress = Callable[[int, int | None], None]


class PullResult(NamedTuple):
    """The result of a pull. sent: items; refused: how many the peer quarantined, if it says so.

    taken: the counts of its answer. ahead: seconds by which the peer's clock is ahead of the clock
    here, None if the peer sent no date.
    """

    sent: int
    refused: int
    taken: Counts
    ahead: int | None


class _Write(NamedTuple):
    # A write of an object's fields at one time. Ordered as writes are sent, and as the mark is.
    at: int
    object: int


class _PullStart(NamedTuple):
    # The state in which a pull begins. begun: A. unsent: the writes after the mark.
    begun: int
    from_date: int | None
    unsent: list[_Write]


class _PullAnswer(NamedTuple):
    # An answer. asked_at: the time of the request by the clock here; took: the time until the end
    # of the answer; both in microseconds.
    answer: PeerAnswer
    document: Document
    asked_at: int
    took: int

    @property
    def ahead(self) -> int | None:
        if self.answer.date is None:
            return None
        return round((self.answer.date - self.asked_at - self.answer.took) / SECOND)

    @property
    def next_date(self) -> int:
        # The peer read its data after the request, and before it sent its date: so asking from
        # the date less the time until the answer began misses nothing.
        date, took = self.answer.date, self.answer.took
        return (self.asked_at if date is None else date - took) - SECOND


def pull(
    database: Database,
    url: str,
    user: str,
    password: str,
    *,
    ca: Path | None = None,
    read_seconds: float = READ_SECONDS,
    progress: Progress = lambda *_: None,
) -> PullResult:
    """Exchange with the peer at `url` once, both ways. For the other arguments see `peer.Peer`.

    Raises InvalidRequest for an invalid argument, peer.PeerFailed, and exchange_log.Paused.
    """
    base = normalize_url(url)
    with Peer(base, user, password, ca, read_seconds) as peer:
        known = _begin(database, base)
        sent, refused = _send_all(database, peer, known, progress)
        got = _get(database, peer, known, progress)
    return PullResult(sent, refused, _apply_answer(database, base, known, got), got.ahead)


def _author(base: str) -> str:
    """Return the author of the writes that come from a peer."""
    return f"pull {base}"[:NAME_MAX]


def _begin(database: Database, base: str) -> _PullStart:
    with write_transaction(database, _author(base)) as session:
        check_not_paused(session)
        last = session.scalars(select(func.max(KormitelObject.changed))).one()
        # A is later than every write so far: a clock that was put back shows less than its own
        # earlier stamps.
        begun = max(service.object_stamp(session), (last or 0) + 1)
        session.scalars(select(Site)).one().kormitel_answered = begun
        peer = session.get(KormitelPeer, base)
        if peer is None:
            peer = KormitelPeer(url=base, from_date=None, sent=0, sent_id=0)
            session.add(peer)
        unsent = sorted(_unsent(session, _author(base), _Write(peer.sent, peer.sent_id)))
        if not unsent:
            peer.sent, peer.sent_id = begun, 0
        return _PullStart(begun, peer.from_date, unsent)


# Sending


def _unsent(session: Session, by: str, mark: _Write) -> set[_Write]:
    # Every write of a field has stamped its object too.
    wanted = select(KormitelObject.id, KormitelObject.writes).where(
        KormitelObject.changed >= mark.at
    )
    rows = session.execute(wanted.execution_options(yield_per=_AT_ONCE))
    found = {_Write(at, id) for id, writes in rows for _, at, whose, _ in writes if whose != by}
    return {write for write in found if write > mark}


def _send_all(
    database: Database, peer: Peer, known: _PullStart, progress: Progress
) -> tuple[int, int]:
    sent = refused = done = 0
    for writes in in_batches(known.unsent, BATCH_MAX):
        for items in in_batches(_items(database, _author(peer.base), writes), BATCH_MAX):
            sent += len(items)
            refused += _send(database, peer, items)
        done += len(writes)
        is_last = done == len(known.unsent)
        # Only after the peer has answered: an interrupted pull sends from the mark again.
        _advance_mark(database, peer.base, _Write(known.begun, 0) if is_last else writes[-1])
        progress(done, len(known.unsent))
    return sent, refused


def _items(database: Database, by: str, writes: Iterable[_Write]) -> Iterator[tuple[str, Any]]:
    """Yield the kinds and items of writes, without fields that were written again since."""
    with database.snapshot() as session:
        ids = {write.object for write in writes}
        wanted = select(KormitelObject).where(in_values(session, KormitelObject.id, ids))
        rows = {row.id: row for row in session.scalars(wanted)}
    for at, id in writes:
        row = rows[id]
        for write in row.writes:
            if write[1] == at and write[2] != by:
                yield row.kind, _item(row, write)


def _item(row: KormitelObject, write: list[Any]) -> dict[str, Any]:
    data: dict[str, Any] = {"id": wire_id(row.key)}
    for name, written in writes_by_field([write]).items():
        data[name] = row.died is not None if name == DELETED else row.fields[name]
        date = utc_text(written.date)
    if row.kind == ARRIVALS and write is row.writes[0] and row.fields.get("badge"):
        # The first write of an arrival: a peer takes none without a badge, which may have been
        # written later.
        data["badge"] = row.fields["badge"]
    return {"actor_badge": None, "date": date, "data": data}


def _send(database: Database, peer: Peer, items: list[tuple[str, Any]]) -> int:
    """Send a batch; return how many of its items the peer quarantined, 0 if it does not say."""
    groups: dict[str, list[Any]] = {kind: [] for kind in _GROUP_ORDER}
    for kind, item in items:
        groups.setdefault(kind, []).append(item)
    groups = {kind: found for kind, found in groups.items() if found}
    counts_sent = {kind: len(found) for kind, found in groups.items()}
    begun = time.perf_counter_ns()
    try:
        counts = peer.post(groups)
    except PeerFailed as fault:
        _record_exchange(database, peer.base, "push", counts_sent, begun, str(fault))
        raise
    _record_exchange(database, peer.base, "push", counts_sent, begun)
    return counts.get("set_aside", 0)


def _advance_mark(database: Database, base: str, mark: _Write) -> None:
    with write_transaction(database, _author(base)) as session:
        peer = _peer(session, base)
        # Never back: another pull at the same time may be further.
        peer.sent, peer.sent_id = max(mark, (peer.sent, peer.sent_id))


# Receiving


def _get(database: Database, peer: Peer, known: _PullStart, progress: Progress) -> _PullAnswer:
    begun = time.perf_counter_ns()
    asked = int(database.clock() * SECOND)
    try:
        answer = peer.get(known.from_date, progress)
        document = _document_of(peer, answer.body)
    except PeerFailed as fault:
        _record_exchange(database, peer.base, "pull", {}, begun, str(fault), known.from_date)
        raise
    return _PullAnswer(answer, document, asked, (time.perf_counter_ns() - begun) // 1000)


def _document_of(peer: Peer, body: bytes) -> Document:
    try:
        return parse_document(body)
    except InvalidRequest as fault:
        raise PeerFailed(
            f"{peer.base}sync answered {len(body)} bytes that are not a document of the exchange: "
            "check the address, and try again"
        ) from fault


def _apply_answer(database: Database, base: str, known: _PullStart, got: _PullAnswer) -> Counts:
    # An answer describes existing objects: an item without `deleted` is not deleted.
    items = (
        replace(item, deleted=False) if item.deleted is None else item
        for item in got.document.items
    )
    with write_transaction(database, _author(base)) as session:
        check_not_paused(session)
        counts = service.apply_items(session, items, _author(base), unsent=known.begun)
        # In the same transaction: a failure leaves the old date, and the next pull asks again.
        _peer(session, base).from_date = got.next_date
        exchange_log.record(
            session,
            base,
            "pull",
            ExchangeOutcome(counts._asdict(), len(got.answer.body), got.took),
            shape=got.document.shape,
            from_date=known.from_date,
        )
    return counts


# Both ways


def _peer(session: Session, base: str) -> KormitelPeer:
    return session.scalars(select(KormitelPeer).where(KormitelPeer.url == base)).one()


def _record_exchange(
    database: Database,
    base: str,
    way: Way,
    counts: dict[str, int],
    begun: int,
    error: str | None = None,
    from_date: int | None = None,
) -> None:
    took = (time.perf_counter_ns() - begun) // 1000
    with write_transaction(database, _author(base)) as session:
        outcome = ExchangeOutcome(counts, None, took, error)
        shape = "flat" if way == "push" else None
        exchange_log.record(session, base, way, outcome, shape=shape, from_date=from_date)
