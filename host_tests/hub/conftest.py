"""Fixtures: a hub on its own database, SQLite and PostgreSQL in turn, with a clock moved by hand.

A test that uses no database, or whose subject is not the database, runs once: it overrides
`dialect` (`hub_site.ON_SQLITE`).
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient

from hub.hub_site import SECRET, START, HandClock, Site
from hub_command import runner
from kalitka_hub.accounts import passwords
from kalitka_hub.server.app import create_app
from kalitka_hub.site.readers import add_or_update_reader
from kalitka_hub.site.site_secret import set_secret
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import Database, open_database
from kalitka_sim.postgresql_server import PostgresqlServer

NEW_SITE = "new_site"
# The files in which the database matters most always run on both. The others run on PostgreSQL
# only if KALITKA_EVERY_DATABASE is set, as `make test-long` does.
_ON_BOTH = {
    "test_bad_days.py",
    "test_hub_changes.py",
    "test_hub_database.py",
    "test_hub_sync.py",
    "test_point_13_pending_deletes.py",
    "test_point_18_unknown_readers.py",
    "test_hub_clock.py",
    "test_site_zone.py",
}
MADE = START - 24 * 60  # minutes; creation of the site, so the readers' configured minute is past


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that need not run on PostgreSQL each time; see _ON_BOTH."""
    if os.environ.get("KALITKA_EVERY_DATABASE"):
        return
    here = Path(__file__).parent
    left = [item for item in items if item.path.parent == here and _is_for_another_time(item)]
    items[:] = [item for item in items if item not in left]
    config.hook.pytest_deselected(items=left)


def _is_for_another_time(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    on = call.params.get("dialect") if call else None
    return on == "postgresql" and item.path.name not in _ON_BOTH and not _is_alone(item)


def _is_alone(item: pytest.Item) -> bool:
    # Marked for PostgreSQL only.
    marks = [mark.args for mark in item.iter_markers("parametrize")]
    return ("dialect", ["postgresql"]) in marks


@pytest.fixture(autouse=True)
def _hashes_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    # The real parameters cost 70 ms a hash. Tests of those use `hub_accounts.HASHER`.
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_HASHER", cheap)


@pytest.fixture
def clock() -> HandClock:
    return HandClock(START)


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    """The kind of database that a test runs on: each in turn."""
    return request.param


def make_site(where: str | Path) -> None:
    """Create a site with a secret and two readers; tests copy it, which is fast."""
    made = open_database(where, HandClock(MADE))
    with write_transaction(made) as session:
        set_secret(session, SECRET)
        add_or_update_reader(session, "GATE-1", "North gate")
        add_or_update_reader(session, "GATE-2")
    made.close()  # SQLite merges its write-ahead log, so that one file remains


@pytest.fixture(scope="session")
def new_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SQLite file of a new site."""
    path = tmp_path_factory.mktemp("hub") / "new.sqlite"
    make_site(path)
    return path


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL server with the database NEW_SITE of a new site."""
    # Not in pytest's folder: if root runs the tests, the server runs as another user, and pytest
    # makes its folder accessible to its own user only.
    with TemporaryDirectory(prefix="kalitka-postgresql-") as folder:
        server = PostgresqlServer(Path(folder) / "data")
        make_site(server.create(NEW_SITE))
        yield server
        server.stop()


@pytest.fixture
def where(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The path or URL of the database of a new site."""
    if dialect == "sqlite":
        yield str(shutil.copy(request.getfixturevalue("new_site"), tmp_path / "hub.sqlite"))
        return
    with request.getfixturevalue("postgresql").database(NEW_SITE) as url:
        yield url


@pytest.fixture
def run(where):
    """A function that runs `kalitka hub` on a new site with the readers GATE-1 and GATE-2."""
    return runner(where)


@pytest.fixture
def read(run):
    """A function that runs a command with --json and returns its parsed output."""
    return lambda *words, **how: json.loads(run(*words, "--json", **how).stdout)


@pytest.fixture
def nowhere(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The path of a database that does not exist yet, or the URL of an empty one."""
    if dialect == "sqlite":
        yield str(tmp_path / "nothing.sqlite")
        return
    with request.getfixturevalue("postgresql").database() as url:
        yield url


@pytest.fixture
def database(where: str, clock: HandClock) -> Iterator[Database]:
    opened = open_database(where, clock)
    yield opened
    opened.close()


@pytest.fixture
def site(database: Database, clock: HandClock) -> Iterator[Site]:
    with TestClient(create_app(database)) as client:
        yield Site(database, clock, client)
