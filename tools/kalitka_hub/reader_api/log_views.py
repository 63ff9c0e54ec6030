"""The access log as people read it: in words, and with the names of readers, tokens, people."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from kalitka.journal import words
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.reader_api.access_log import EntryState, existing_entry, list_entries, state_text
from kalitka_hub.site.tokens import token_key
from kalitka_hub.store.models import AccessEntry, Person, Reader, Token


class LogView(BaseModel):
    """An entry of the access log.

    at: seconds since 1970 UTC; not timed: the reader's clock was not set, it is `received`, when
    the hub heard of it. state: of a contact it is on or off. reason, source: null if the reader
    did not say. What the reader and the token are called, and whose the token is (person: the
    number), is as it is now; null if the hub does not know.
    """

    id: int
    at: int
    timed: bool
    received: int
    reader: str
    reader_name: str | None
    code: str
    token_name: str | None
    person: int | None
    person_name: str | None
    state: EntryState
    reason: str | None
    source: str | None


class _Token(NamedTuple):
    name: str | None
    person: int | None
    person_name: str | None


_UNKNOWN = _Token(None, None, None)


def list_log(
    session: Session,
    after: int | None = None,
    limit: int = 100,
    *,
    reader: str | None = None,
    code: str | None = None,
    since: int | None = None,
    until: int | None = None,
    denied: bool = False,
) -> list[LogView]:
    """Return up to `limit` entries, newest first, those older than the one numbered `after`.

    The rest is as of `access_log.list_entries`. What comes late, of a reader that was cut off,
    stands where its time belongs. Raises NotFound if there is no entry `after`.
    """
    found = list_entries(
        session,
        limit,
        reader=reader,
        code=code,
        since=since,
        until=until,
        denied=denied,
        before=after,
    )
    return _views(session, found[::-1])


def find_log(session: Session, entry_id: int) -> LogView:
    """Return an entry. Raises NotFound."""
    return _views(session, [existing_entry(session, entry_id)])[0]


def _views(session: Session, entries: Sequence[AccessEntry]) -> list[LogView]:
    readers = _reader_names(session, {entry.reader for entry in entries})
    tokens = _tokens(session, {entry.code for entry in entries})
    views = []
    for entry in entries:
        token = tokens.get(entry.code, _UNKNOWN)
        views.append(
            LogView(
                id=entry.id,
                at=entry.at,
                timed=entry.timed,
                received=entry.received,
                reader=entry.reader,
                reader_name=readers.get(entry.reader),
                code=entry.code,
                token_name=token.name,
                person=token.person,
                person_name=token.person_name,
                state=state_text(entry),
                reason=_reason(entry),
                source=None if entry.source is None else words.SOURCES[entry.source],
            )
        )
    return views


def _reader_names(session: Session, codes: Collection[str]) -> dict[str, str | None]:
    found = session.execute(select(Reader.code, Reader.name).where(Reader.code.in_(codes)))
    return {row.code: row.name for row in found}


def _tokens(session: Session, codes: Collection[str]) -> dict[str, _Token]:
    keys = {code: _token_key(code) for code in codes}
    known = {
        key: _Token(name, person, person_name)
        for key, name, person, person_name in session.execute(
            select(Token.key, Token.name, Token.person_id, Person.name)
            .outerjoin(Person, Person.id == Token.person_id)
            .where(Token.key.in_(keys.values()), Token.deleted.is_(False))
        )
    }
    return {code: known[key] for code, key in keys.items() if key in known}


def _token_key(code: str) -> bytes:
    try:
        return token_key(code)
    except InvalidRequest:
        # A reader may write of its own what is no token's, and no key is empty.
        return b""


def _reason(entry: AccessEntry) -> str | None:
    if entry.source is None or entry.reason is None:
        return None
    return words.reason_text(entry.source, entry.reason) or None
