"""This hub plays the client: it sends a peer what is written here, then takes what is new there.

What is sent are the fields that others than the peer wrote, each with its date. `KormitelPeer`
holds a mark: the stamp of a write, and the object. Up to it everything was sent. Let a pull begin
at A: it takes the site's lock, makes A later than every write there is, raises
`kormitel_answered` to it, and looks up what is behind the mark. A write that is not among that
takes the lock later, and gets a stamp of A or more (`service.object_stamp`), whatever the clock
says. So the mark may go forward, write by write, as the peer answers, and in the end to A itself,
where every later write is behind it: none is lost, and a pull that is broken off is taken up
there. If an answer is lost, what it was to is sent again, which changes nothing.

The answer is taken whole and in one transaction, or not at all. It is what the peer knows, and
undoes what is written here; but what is written at A or later was not told to the peer yet, and
stays (`state.Source.unsent`). Next time is asked from the peer's own clock as it was when it began
to answer, so it does not matter how wrong the clock here is.
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

BATCH_MAX = 100  # items, as of Kormitel's own client
_AT_ONCE = 500  # rows in memory
_GROUP_ORDER = (BADGES, *(kind for kind in KINDS if kind != BADGES))  # in the order of a batch

# Told of changes that were sent, and of how many; then of bytes that came, and None.
Progress = Callable[[int, int | None], None]


class PullResult(NamedTuple):
    """What a pull did. sent: items; refused: how many of them the peer set aside, if it says so.

    taken: of its answer. ahead: seconds that the peer's clock is ahead of the one here, None if
    it does not say what it shows.
    """

    sent: int
    refused: int
    taken: Counts
    ahead: int | None


class _Write(NamedTuple):
    # Fields of an object that were written at one time; in the order in which they are sent.
    at: int
    object: int


class _PullStart(NamedTuple):
    # What a pull begins with. begun: A. unsent: what is behind the mark.
    begun: int
    from_date: int | None
    unsent: list[_Write]


class _PullAnswer(NamedTuple):
    # An answer. asked: when it was asked for, microseconds of the clock here. took: all of it.
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
        # The peer looked after it was asked, and before it said what its clock shows.
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
    """Exchange with the peer at `url` once, both ways. See `peer.Peer` for what is not said here.

    Raises InvalidRequest for what is wrong with what is given, peer.PeerFailed, and
    exchange_log.Paused.
    """
    base = normalize_url(url)
    with Peer(base, user, password, ca, read_seconds) as peer:
        known = _begin(database, base)
        sent, refused = _send_all(database, peer, known, progress)
        got = _get(database, peer, known, progress)
    return PullResult(sent, refused, _apply_answer(database, base, known, got), got.ahead)


def _author(base: str) -> str:
    """Return who writes what comes from a peer."""
    return f"pull {base}"[:NAME_MAX]


def _begin(database: Database, base: str) -> _PullStart:
    with write_transaction(database, _author(base)) as session:
        check_not_paused(session)
        last = session.scalars(select(func.max(KormitelObject.changed))).one()
        # A clock that was put back shows less than what it stamped before.
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


# What is sent


def _unsent(session: Session, by: str, mark: _Write) -> set[_Write]:
    # What changed a field has stamped the object too.
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
        _advance_mark(database, peer.base, _Write(known.begun, 0) if is_last else writes[-1])
        progress(done, len(known.unsent))
    return sent, refused


def _items(database: Database, by: str, writes: Iterable[_Write]) -> Iterator[tuple[str, Any]]:
    """Yield the kinds and items of writes. What was written again since is not among them."""
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
        # Its first, and nobody takes one of nobody; its badge may have been written later.
        data["badge"] = row.fields["badge"]
    return {"actor_badge": None, "date": date, "data": data}


def _send(database: Database, peer: Peer, items: list[tuple[str, Any]]) -> int:
    """Send a batch; return how many of it the peer set aside, as far as it says so."""
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
        # Another pull at the same time may be further.
        peer.sent, peer.sent_id = max(mark, (peer.sent, peer.sent_id))


# What is taken


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
            f"{peer.base}sync answered {len(body)} bytes that are no document of the exchange: "
            "check the address, and try again"
        ) from fault


def _apply_answer(database: Database, base: str, known: _PullStart, got: _PullAnswer) -> Counts:
    # An answer tells what there is: what it has without a word on that is not deleted.
    items = (
        replace(item, deleted=False) if item.deleted is None else item
        for item in got.document.items
    )
    with write_transaction(database, _author(base)) as session:
        check_not_paused(session)
        counts = service.apply_items(session, items, _author(base), unsent=known.begun)
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


# Both


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
