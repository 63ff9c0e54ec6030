"""`kalitka bench canteen`: the exchange with Kormitel, measured against a plain integrator.

The benchmark sends a festival to each server, then asks for all of it and for changes, in both
shapes. Client and server share this computer's processors. Writes build/bench-canteen.md.
"""

import base64
import gzip
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import SecretStr
from rich.console import Console

from bench.canteen import festival
from bench.hub.servers import SECRET, HubServer, PlainServer, Server
from bench.sheet import Sheet, markdown, show
from kalitka_build.paths import ROOT
from kalitka_hub.accounts.users import NewUser, add_user
from kalitka_hub.kormitel.settings import CanteenSetting, change_settings
from kalitka_hub.site.readers import add_or_update_reader
from kalitka_hub.site.site_secret import set_secret
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database
from kalitka_sim.postgresql_server import PostgresqlServer

RUNS = 5
SMALL_RUNS = 20
_USER = "kormitel"
_FLAT = "/api/v1/feeder/sync"
_GROUPED = "/sync"
_POST = "/api/v1/feeder/back-sync"
_SECONDS = 600
_MIB = 1 << 20


@dataclass
class Times:
    """Answers of one kind: seconds to the first and last byte of each; size: bytes of the last."""

    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    size: int = 0


@dataclass
class ExchangeTimes:
    """The times of one server. filling: seconds of the POST with everything.

    memory: bytes by which the server grew during its first full sync.
    """

    filling: float = 0
    full: dict[str, Times] = field(default_factory=dict)
    incremental: dict[str, Times] = field(default_factory=dict)
    back_sync: Times = field(default_factory=Times)
    memory: int = 0


def run(console: Console | None = None) -> None:
    """Measure the servers, print the sheets, and write the file."""
    console = console or Console(highlight=False)
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="kalitka-bench-") as folder,
        console.status("a festival") as status,
    ):
        found = {
            name: _measure_exchange(server, partial(_show_progress, status.update, name))
            for name, server in _servers(Path(folder)).items()
        }
    sheets = [_full_sheet(found), _small_sheet(found)]
    show(sheets, console)
    tables = ROOT / "build" / "bench-canteen.md"
    tables.parent.mkdir(exist_ok=True)
    tables.write_text(markdown("The exchange with Kormitel", sheets))
    written = tables.relative_to(ROOT)
    console.print(f"written to {written}, after {time.monotonic() - began:.0f} s")


def _show_progress(update: Callable[[str], None], name: str, what: str) -> None:
    update(f"{name}: {what}")


# The servers


def _servers(folder: Path) -> dict[str, Callable]:
    @contextmanager
    def sqlite() -> Iterator[Server]:
        with _kalitka_hub(str(folder / "hub.sqlite")) as server:
            yield server

    @contextmanager
    def postgresql() -> Iterator[Server]:
        cluster = PostgresqlServer(folder / "postgresql", no_fsync=False)
        try:
            with cluster.database() as url, _kalitka_hub(url) as server:
                yield server
        finally:
            cluster.stop()

    @contextmanager
    def plain() -> Iterator[Server]:
        server = PlainServer("bench.canteen.plain_integrator", str(folder / "plain.sqlite"))
        try:
            yield server
        finally:
            server.stop()

    return {"Kalitka, SQLite": sqlite, "Kalitka, PostgreSQL": postgresql, "plain, SQLite": plain}


@contextmanager
def _kalitka_hub(where: str) -> Iterator[Server]:
    database = open_database(where)
    with write_transaction(database) as session:
        set_secret(session, SECRET)
        add_user(session, NewUser(name=_USER, role="integration", password=SecretStr(_password())))
        kitchens = {}
        for kitchen in ("1", "2"):
            add_or_update_reader(session, f"CANTEEN-{kitchen}")
            kitchens[kitchen] = [f"CANTEEN-{kitchen}"]
        change_settings(session, CanteenSetting(kitchens=kitchens, meals=[]))
    database.close()
    server = HubServer(where)
    try:
        yield server
    finally:
        server.stop()


def _password() -> str:
    # The plain integrator takes SECRET itself, which is too short for a password of the hub.
    return SECRET * 3


# The requests


def _measure_exchange(start: Callable, progress: Callable[[str], None]) -> ExchangeTimes:
    found = ExchangeTimes()
    with start() as server:
        progress(f"sending {festival.BADGES} badges and {festival.ARRIVALS} arrivals")
        body = {"badges": [*festival.badges()], "arrivals": [*festival.arrivals()]}
        found.filling = _time_post(server, body).last[0]
        progress("asking for everything")
        # The first sync: memory that it takes may be reused by the next.
        found.memory = _growth(server, _FLAT)
        for shape, path in (("flat", _FLAT), ("grouped", _GROUPED)):
            found.full[shape] = _time_get(server, path, RUNS)
            found.full[f"{shape}, gzip"] = _time_get(server, path, RUNS, packed=True)
        progress("sending changes, and asking for them")
        for run in range(SMALL_RUNS):
            _add_sample(found.back_sync, _time_post(server, {"arrivals": festival.changes(run)}))
        since = _now()
        time.sleep(1)
        _time_post(server, {"arrivals": festival.changes(SMALL_RUNS)})
        for shape, path in (("flat", _FLAT), ("grouped", _GROUPED)):
            asked = f"{path}?from_date={since}"
            found.incremental[shape] = _time_get(server, asked, SMALL_RUNS)
    return found


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 1))


def _time_post(server: Server, groups: dict[str, Any]) -> Times:
    return _request(server, "POST", _POST, json.dumps(groups).encode())


def _time_get(server: Server, path: str, runs: int, *, packed: bool = False) -> Times:
    times = Times()
    for _ in range(runs):
        _add_sample(times, _request(server, "GET", path, packed=packed))
    return times


def _add_sample(times: Times, one: Times) -> None:
    times.first += one.first
    times.last += one.last
    times.size = one.size


def _growth(server: Server, path: str) -> int:
    server.reset_peak()
    before = server.memory
    _request(server, "GET", path)
    return max(0, server.peak - before)


def _request(
    server: Server, method: str, path: str, body: bytes | None = None, *, packed: bool = False
) -> Times:
    password = _password() if isinstance(server, HubServer) else SECRET
    login = base64.b64encode(f"{_USER}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    if packed:
        headers["Accept-Encoding"] = "gzip"
    connection = HTTPConnection(server.host, server.port, timeout=_SECONDS)
    began = time.monotonic()
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    first = answer.read(1)
    first_at = time.monotonic() - began
    whole = first + answer.read()
    last_at = time.monotonic() - began
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{method} {path} was answered {answer.status}: {whole[:300]!r}")
    size = len(whole)
    if answer.getheader("content-encoding") == "gzip":
        whole = gzip.decompress(whole)
    json.loads(whole)
    return Times([first_at], [last_at], size)


# The sheets


def _full_sheet(found: dict[str, ExchangeTimes]) -> Sheet:
    rows = []
    for name, one in found.items():
        rows.append((name, "all sent, one POST", f"{one.filling:,.1f}", "", ""))
        for shape, times in one.full.items():
            first, last = (f"{median(of):,.2f}" for of in (times.first, times.last))
            rows.append(
                (name, f"all asked for, {shape}", last, first, f"{times.size / _MIB:,.1f}")
            )
        rows.append((name, "memory growth, MiB", f"{one.memory / _MIB:,.1f}", "", ""))
    note = (
        f"{festival.BADGES:,} badges with {festival.ARRIVALS:,} arrivals; medians of {RUNS} runs. "
        "Kalitka also compiles the readers' rules, for two kitchens. gzip: the client accepts it; "
        "a server without it answers uncompressed."
    )
    columns = ("server", "what", "seconds", "to the first byte", "MiB")
    return Sheet("Everything", note, columns, rows, text_columns=2)


def _small_sheet(found: dict[str, ExchangeTimes]) -> Sheet:
    rows = []
    for name, one in found.items():
        rows.append((name, f"back-sync of {festival.CHANGED}", *_milliseconds(one.back_sync)))
        for shape, times in one.incremental.items():
            rows.append((name, f"sync of {festival.CHANGED}, {shape}", *_milliseconds(times)))
    note = (
        f"{festival.CHANGED} arrivals of a festival as above have changed; medians of "
        f"{SMALL_RUNS} runs. Kalitka also sends their badges, and a back-sync changes the "
        "readers' rules."
    )
    columns = ("server", "what", "milliseconds", "KiB")
    return Sheet("Changes", note, columns, rows, text_columns=2)


def _milliseconds(times: Times) -> tuple[str, str]:
    return f"{median(times.last) * 1000:,.1f}", f"{times.size / 1024:,.1f}"
