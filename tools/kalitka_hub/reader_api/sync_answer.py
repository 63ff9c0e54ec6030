r"""The answer to a sync request, as a stream read from one snapshot of the database.

`MINUTE%code,code%\n`, then rule lines `CODE_/RULE` with `\n` between and none after the last,
all in code order. The list of codes to delete includes every code whose rules follow: applying an
answer replaces the reader's rules of that code. A full answer also lists the codes without rules
that changed since the minute that the reader has shown to hold: a reader that merges a full
answer into its table, where ours replaces it, drops them too. They are pending until it polls with
a later minute. Memory is bounded: rows are fetched in batches, bytes are sent in chunks. A reader
gets the rules of all its groups. For the minute see `store.changes`.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, exists, select
from sqlalchemy.orm import Session

from kalitka.table import codes
from kalitka_hub.reader_api.sync_request import SyncRequest
from kalitka_hub.store.changes import was_answered
from kalitka_hub.store.database import Database
from kalitka_hub.store.models import (
    EVERY_READER,
    Reader,
    ReaderGroupMember,
    Site,
    Token,
    TokenRule,
)

CHUNK_BYTES = 8192  # of body sent at a time; also the longest answer with a Content-Length
_ROWS = 500  # rows fetched, or requested codes looked up, at a time
_IN_BATCHES = {"yield_per": _ROWS}


def stream_answer(database: Database, reader_id: int, request: SyncRequest) -> Generator[bytes]:
    """Yield the body of an answer, in chunks of about CHUNK_BYTES.

    The snapshot is open from the first chunk until the generator ends or is closed: close it.
    """
    with database.snapshot() as session:
        yield from _chunks(_pieces(session, reader_id, request))


def unchanged_answer(minute: int) -> bytes:
    """Return the body of an answer that says that nothing has changed up to `minute`."""
    return b"%d%%%%\n" % minute


def _pieces(session: Session, reader_id: int, request: SyncRequest) -> Iterator[bytes]:
    since = request.since or 0
    reader = _sync_state(session, reader_id)
    groups, acknowledged = reader.groups, reader.acknowledged
    if since > acknowledged:
        # This database never answered that minute. Minute 0 tells the reader to do a full sync.
        yield unchanged_answer(0)
        return
    known = not since or _can_catch_up(session, reader, since)
    yield b"%d%%" % (acknowledged if known else 0)
    if since:
        changed = _changed(session, since, request.keys)
        # Every reader is told of every changed token: the change may be that it no longer opens
        # this reader.
        yield from _joined(b",", (token.code.encode() for some in changed() for token in some))
        yield b"%\n"
        lines = (_rules_of(session, groups, some) for some in changed())
        yield from _joined(b"\n", _lines(chain.from_iterable(lines)))
        return
    if request.keys is None:
        yield from _joined(b",", _codes(session, groups, _pending_since(session, reader)))
    else:
        # Unknown codes too: the reader must delete whatever rules it has of them.
        yield from _joined(b",", map(codes.unpack, request.keys))
    yield b"%\n"
    yield from _joined(b"\n", _lines(_all_rules(session, groups, request.keys)))


class _SyncState(NamedTuple):
    # configured, held: see `Reader`. groups: ids.
    acknowledged: int
    configured: int
    held: int | None
    groups: list[int]


_SYNC_STATE = (
    select(
        Site.acknowledged,
        Reader.configured_minute,
        Reader.held_minute,
        ReaderGroupMember.group_id,
    )
    .select_from(Site)
    .outerjoin(Reader, Reader.id == bindparam("reader"))
    .outerjoin(ReaderGroupMember, ReaderGroupMember.reader_id == Reader.id)
)


def _sync_state(session: Session, reader_id: int) -> _SyncState:
    rows = session.execute(_SYNC_STATE, {"reader": reader_id}).all()
    groups = [row.group_id for row in rows if row.group_id is not None]
    # A reader removed since its authentication gets the rules that every reader gets.
    first = rows[0]
    return _SyncState(
        first.acknowledged,
        first.configured_minute or 0,
        first.held_minute,
        [EVERY_READER, *groups],
    )


def _can_catch_up(session: Session, reader: _SyncState, minute: int) -> bool:
    """Return whether the changes since a minute are all that a reader with its answer lacks."""
    # A reader whose groups changed after it cannot catch up from changed tokens alone. The
    # comparison is strict: `store.changes` stamps the reader with the highest minute answered
    # before its change.
    return reader.configured < minute and was_answered(session, minute, reader.acknowledged)


def _pending_since(session: Session, reader: _SyncState) -> int:
    """Return the minute from which on deletes are pending for a reader; 0: since ever."""
    if reader.held is None:
        return reader.configured  # it was added then
    # The held minute is stored up to a minute late: what was applied meanwhile is repeated.
    return reader.held if _can_catch_up(session, reader, reader.held) else 0


# Materialized and then sorted: otherwise databases walk through all tokens in code order to avoid
# sorting the few that changed.
_CHANGED_TOKENS = (
    select(Token.id, Token.code, Token.key)
    .where(Token.changed >= bindparam("minute"))
    .cte("changed")
    .prefix_with("MATERIALIZED")
)
_CHANGED_IN_ORDER = select(_CHANGED_TOKENS.c.id, _CHANGED_TOKENS.c.code).order_by(
    _CHANGED_TOKENS.c.key
)
_FIRST_CHANGED = _CHANGED_IN_ORDER.limit(_ROWS + 1)
_CHANGED_OF_SOME = (
    select(Token.id, Token.code)
    .where(Token.key.in_(bindparam("keys", expanding=True)), Token.changed >= bindparam("minute"))
    .order_by(Token.key)
)

TokenRows = Sequence[Row[*tuple[Any, ...]]]  # rows with `id` and `code`, in code order


def _changed(
    session: Session, minute: int, keys: tuple[bytes, ...] | None
) -> Callable[[], Iterable[TokenRows]]:
    """Return a function that yields the tokens changed since a minute, anew at each call."""
    if keys is not None:
        found = [
            session.execute(_CHANGED_OF_SOME, {"keys": some, "minute": minute}).all()
            for some in _key_batches(keys)
        ]
        return lambda: found
    # Mostly they are few, and fit into one fetch without a server-side cursor.
    few = session.execute(_FIRST_CHANGED, {"minute": minute}).all()
    if len(few) <= _ROWS:
        return lambda: [few] if few else []
    return lambda: session.execute(
        _CHANGED_IN_ORDER, {"minute": minute}, execution_options=_IN_BATCHES
    ).partitions()


_RULES_OF = select(TokenRule.token_id, TokenRule.text).where(
    TokenRule.token_id.in_(bindparam("tokens", expanding=True)),
    TokenRule.group_id.in_(bindparam("groups", expanding=True)),
)


def _rules_of(session: Session, groups: list[int], tokens: TokenRows) -> Iterator[tuple[str, str]]:
    """Yield (code, rule text) of these tokens in their order, sorted by text for each token."""
    ids = [token.id for token in tokens]
    texts: dict[int, list[str]] = defaultdict(list)
    for token_id, text in session.execute(_RULES_OF, {"tokens": ids, "groups": groups}):
        texts[token_id].append(text)
    for token in tokens:
        for text in sorted(texts[token.id]):
            yield token.code, text


def _codes(session: Session, groups: list[int], pending_since: int) -> Iterator[bytes]:
    has_rules = exists().where(TokenRule.token_id == Token.id, TokenRule.group_id.in_(groups))
    wanted = select(Token.code).where(has_rules | (Token.changed >= pending_since))
    wanted = wanted.order_by(Token.key)
    for (code,) in session.execute(wanted, execution_options=_IN_BATCHES):
        yield code.encode()


def _all_rules(
    session: Session, groups: list[int], keys: tuple[bytes, ...] | None
) -> Iterator[Any]:
    wanted = (
        select(Token.code, TokenRule.text)
        .join(TokenRule, TokenRule.token_id == Token.id)
        .where(TokenRule.group_id.in_(groups))
        .order_by(Token.key, TokenRule.text)
    )
    if keys is None:
        yield from session.execute(wanted, execution_options=_IN_BATCHES)
        return
    for some in _key_batches(keys):
        yield from session.execute(wanted.where(Token.key.in_(some)))


def _lines(rules: Iterable[Any]) -> Iterator[bytes]:
    # A token may have the same rule in several groups. Equal rows are adjacent.
    for (code, text), _ in groupby(rules):
        yield f"{code}_/{text}".encode()


def _key_batches(keys: tuple[bytes, ...]) -> Iterator[tuple[bytes, ...]]:
    # Databases limit the parameters of one statement, so a long list of codes takes several. The
    # keys are sorted, so the rows stay in code order.
    for at in range(0, len(keys), _ROWS):
        yield keys[at : at + _ROWS]


def _joined(separator: bytes, items: Iterable[bytes]) -> Iterator[bytes]:
    before = b""
    for item in items:
        yield before + item
        before = separator


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    chunk = bytearray()
    for piece in pieces:
        chunk += piece
        if len(chunk) >= CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)
