"""A hub on a database file of its own, with a clock that only the test moves."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from hub.hub_site import SECRET, START, HandClock, Site
from kalitka_hub.app import create_app
from kalitka_hub.changes import changing
from kalitka_hub.database import Database, open_database
from kalitka_hub.readers import add_reader
from kalitka_hub.site_secret import set_secret


@pytest.fixture
def clock() -> HandClock:
    return HandClock(START)


@pytest.fixture(scope="session")
def new_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the file of a site with a secret and two readers: copying it is fast."""
    path = tmp_path_factory.mktemp("hub") / "new.sqlite"
    made = open_database(path, HandClock(START))
    with changing(made) as session:
        set_secret(session, SECRET)
        add_reader(session, "GATE-1", "North gate")
        add_reader(session, "GATE-2")
    made.close()  # leaves one file: the log is merged into it
    return path


@pytest.fixture
def database(tmp_path: Path, new_site: Path, clock: HandClock) -> Iterator[Database]:
    opened = open_database(shutil.copy(new_site, tmp_path / "hub.sqlite"), clock)
    yield opened
    opened.close()


@pytest.fixture
def site(database: Database, clock: HandClock) -> Iterator[Site]:
    with TestClient(create_app(database, "MSK-3")) as client:
        yield Site(database, clock, client)
