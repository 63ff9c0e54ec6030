r"""The answer to a sync request, as a stream read from one snapshot of the database.

`MINUTE%code,code%\n`, then rule lines `CODE_/RULE` with `\n` between and none after the last,
all in code order. Every code whose rules are sent is also named among the deletes: applying an
answer replaces what the reader had of it. Memory is bounded: rows come in batches, bytes go out
in chunks. See `changes` for the minute.
"""

from collections.abc import Generator, Iterable, Iterator
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, or_, select, true
from sqlalchemy.orm import Session, aliased

from kalitka.table import codes

from .changes import acknowledged_in, was_answered
from .database import Database
from .models import Token, TokenReader, TokenRule
from .sync_request import SyncRequest

CHUNK_BYTES = 8192  # of body sent at a time; also the longest answer with a Content-Length
_ROWS = 500  # rows, or asked codes, fetched at a time


def answer(database: Database, reader_id: int, request: SyncRequest) -> Generator[bytes]:
    """Yield the body of an answer, in chunks of about CHUNK_BYTES.

    The snapshot is open from the first chunk until the generator ends or is closed: close it.
    """
    with database.snapshot() as session:
        yield from _chunks(_pieces(session, reader_id, request))


def _pieces(session: Session, reader_id: int, request: SyncRequest) -> Iterator[bytes]:
    minute = acknowledged_in(session)
    since = request.since or 0
    if since > minute:
        # Not a minute of ours. Minute 0 asks for a full sync.
        yield b"0%%\n"
        return
    if since and not was_answered(session, since):
        minute = 0
    yield b"%d%%" % minute
    yield from _joined(b",", _deletes(session, reader_id, request))
    yield b"%\n"
    yield from _joined(b"\n", _rule_lines(session, reader_id, request))


def _deletes(session: Session, reader_id: int, request: SyncRequest) -> Iterator[bytes]:
    if request.since:
        # To every reader, whoever the token is for: who it is for may be what changed.
        wanted = select(Token.code).where(_changed_since(request.since))
    elif request.keys is not None:
        # Also the codes that nobody knows: the reader asks what it is to have of them.
        yield from map(codes.unpack, request.keys)
        return
    else:
        wanted = select(Token.code).where(Token.deleted.is_(False), _visible_to(reader_id))
    for (code,) in _rows(session, wanted.order_by(Token.key), request):
        yield code.encode()


def _rule_lines(session: Session, reader_id: int, request: SyncRequest) -> Iterator[bytes]:
    wanted = (
        select(Token.code, TokenRule.text)
        .join(TokenRule, TokenRule.token_id == Token.id)
        .where(Token.deleted.is_(False), _visible_to(reader_id))
        .order_by(Token.key, TokenRule.text)
    )
    if request.since:
        wanted = wanted.where(_changed_since(request.since))
    for code, text in _rows(session, wanted, request):
        yield f"{code}_/{text}".encode()


def _visible_to(reader_id: int) -> ColumnElement[bool]:
    named = exists().where(TokenReader.token_id == Token.id, TokenReader.reader_id == reader_id)
    return or_(Token.restricted.is_(False), named)


def _changed_since(minute: int) -> ColumnElement[bool]:
    # As a set of its own: otherwise SQLite walks through all tokens in code order, to save the
    # sorting of the few that changed.
    changed = aliased(Token)
    return Token.id.in_(select(changed.id).where(changed.changed >= minute))


def _rows(
    session: Session, wanted: Select[*tuple[Any, ...]], request: SyncRequest
) -> Iterator[Any]:
    for part in _parts(request):
        yield from session.execute(wanted.where(part), execution_options={"yield_per": _ROWS})


def _parts(request: SyncRequest) -> Iterator[ColumnElement[bool]]:
    # A database takes so many parameters in one statement, so a long list of codes goes in
    # several. The keys are sorted, so that the rows stay in code order.
    if request.keys is None:
        yield true()
        return
    for at in range(0, len(request.keys), _ROWS):
        yield Token.key.in_(request.keys[at : at + _ROWS])


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
