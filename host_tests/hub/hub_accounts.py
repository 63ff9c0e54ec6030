"""Test helpers for users of a hub, and for requests of a browser and of a program."""

from fastapi.testclient import TestClient
from pydantic import SecretStr

from kalitka_hub.accounts import api_tokens, passwords, users
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import Database
from kalitka_hub.store.models import Base

API = "/api/v1/hub"
PASSWORD = "correct horse battery staple"
# The hasher with the product's parameters; `conftest` replaces it by a cheap one.
HASHER = passwords._HASHER
OWN_PAGE = {"X-Kalitka-CSRF": "1"}


def add_user(database: Database, name: str, role: users.Role, password: str = PASSWORD) -> None:
    with write_transaction(database, "the test") as session:
        data = users.NewUser(name=name, role=role, password=SecretStr(password))
        users.add_user(session, data)


def program(database: Database, name: str, role: users.Role) -> dict[str, str]:
    """Create a user with an API token; return the headers for its program's requests."""
    with write_transaction(database, "the test") as session:
        users.add_user(session, users.NewUser(name=name, role=role))
        _, secret = api_tokens.add_token(session, name, "a program")
    return {"Authorization": f"Bearer {secret}"}


def log_in(client: TestClient, name: str, password: str = PASSWORD):
    return client.post(f"{API}/login", json={"name": name, "password": password})


def error_of(answer) -> str:
    """Return the sentence of a JSON error, asserting that the body has nothing else."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["error"]
    assert "\n" not in body["error"]
    return body["error"]


def everything_in(database: Database) -> str:
    """Return all rows of all tables as text."""
    with database.snapshot() as session:
        return "\n".join(
            str(tuple(row))
            for table in Base.metadata.sorted_tables
            for row in session.execute(table.select())
        )
