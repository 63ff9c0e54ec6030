"""The access log in words, with the names of readers, tokens and people."""

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

    at: when it happened, seconds since 1970 UTC. timed: false if the reader's clock was not set;
    `at` then equals `received`, when the entry reached the hub. state: allowed or denied for a
    pass, on or off for a contact and for the reader itself. reason, source: null if the reader did
    not send them. count: of the cards that the entry stands for, 0 for one: a refusal that is
    repeated within a minute is counted.
    reader_name, token_name, person (an id) and person_name are current values, not those of the
    time of the entry; null if the hub does not know them.
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
    count: int


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
    """Return up to `limit` entries, newest first, older than the entry with the id `after`.

    The filters are those of `access_log.list_entries`. Entries that arrive late, from a reader
    that was offline, are ordered by their own time. Raises NotFound if there is no entry `after`.
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
                count=entry.count,
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
        # Readers also log texts that are not token codes. No token has an empty key.
        return b""


def _reason(entry: AccessEntry) -> str | None:
    if entry.source is None or entry.reason is None:
        return None
    return words.reason_text(entry.source, entry.reason) or None
