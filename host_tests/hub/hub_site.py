"""A hub in this process, driven as by its operators and readers, and a clock moved by hand."""

from collections.abc import Iterable
from typing import NamedTuple

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from hub.plain_reader import MergingReader, PlainReader
from kalitka_hub.site.tokens import (
    TokenChange,
    TokenOwner,
    TokenSetting,
    list_records,
    remove_token,
    set_tokens,
    write_tokens,
)
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import Database

SECRET = "the-secret-of-this-site"
START = 29921459  # minutes; the minute of the recorded vectors
# Mark a test for one kind of database. Tests that are the same on both use SQLite, the faster.
ON_SQLITE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
SYNC = "/api/v1/token-reader/access-tokens/sync"


class HandClock:
    """A clock in Unix seconds, moved by hand."""

    def __init__(self, minute: int) -> None:
        self.minute = minute
        self.second = 38

    def __call__(self) -> float:
        return self.minute * 60 + self.second + 0.25


class Site:
    """A hub in this process, with the actions of its operators and readers."""

    def __init__(self, database: Database, clock: HandClock, client: TestClient) -> None:
        self.database = database
        self.clock = clock
        self.client = client

    @property
    def where(self) -> str:
        """The database's URL, for `--db`."""
        return self.database._engine.url.render_as_string(hide_password=False)

    def set(self, code: str, *rules: str, readers: tuple[str, ...] | None = None) -> None:
        with write_transaction(self.database) as session:
            set_tokens(session, [TokenSetting(code, rules, readers)])

    def remove(self, code: str) -> None:
        with write_transaction(self.database) as session:
            remove_token(session, code)

    def ask(self, body: str | bytes, reader: str = "GATE-1") -> str:
        """Return the answer to a valid sync request."""
        response = self.client.post(SYNC, content=body, headers=headers(reader))
        assert response.status_code == 200, response.text
        return response.content.decode()

    def reader(self, code: str = "GATE-1") -> PlainReader:
        return PlainReader(lambda body: self.ask(body, code))

    def merging_reader(self, code: str = "GATE-1") -> MergingReader:
        return MergingReader(lambda body: self.ask(body, code))


def headers(reader: str = "GATE-1") -> dict[str, str]:
    return {"X-AuthToken": SECRET, "X-AuthReader": reader, "Content-Type": "text/plain"}


def list_tokens(session: Session) -> list[TokenSetting]:
    """Return the manual rules of all tokens; without any, both `rules` and `readers` are empty."""
    return [
        TokenSetting(
            view.code,
            tuple(view.rules),
            None if view.rules and view.readers is None else tuple(view.readers or ()),
        )
        for view in list_records(session, limit=1_000_000)
    ]


class TokenAssignment(NamedTuple):
    """The assignment of a token to a person (id; None: to nobody). blocked: it opens no door."""

    code: str
    person: int | None
    name: str | None = None
    blocked: bool = False


def assign_tokens(session: Session, assignments: Iterable[TokenAssignment]) -> int:
    """Assign tokens to people; return how many changed.

    Manual rules stay as they are; otherwise like `tokens.write_tokens`.
    """
    return write_tokens(
        session,
        (
            TokenChange(holding.code, TokenOwner(holding.person, holding.name, holding.blocked))
            for holding in assignments
        ),
    )
