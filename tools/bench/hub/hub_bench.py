"""`kalitka bench hub`: the hub under load, beside a plain one, on this computer.

Server and load share the processors: all rates would be higher with the load on another computer.
Writes build/bench-hub.md, and the plot for the README.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console

from bench.hub.hub_load import Load, measure_polls, measure_the_rest, warm_up
from bench.hub.hub_plot import draw
from bench.hub.hub_sheets import hub_sheets
from bench.hub.servers import KalitkaServer, PlainHubServer, WithTokens
from bench.sheet import markdown, show
from kalitka_build.paths import ROOT
from kalitka_sim.postgresql_server import PostgresqlServer

PICTURE = Path(__file__).parent / "load.svg"
READERS = (100, 1_000, 10_000)
TOKENS = 50_000
SQLITE, POSTGRESQL, PLAIN = "Kalitka, SQLite", "Kalitka, PostgreSQL", "plain, SQLite"


def run(console: Console | None = None) -> None:
    """Measure, print the tables and write the files."""
    console = console or Console(highlight=False)
    began = time.monotonic()
    codes = [f"{number * 7919:08X}" for number in range(TOKENS)]
    with (
        tempfile.TemporaryDirectory(prefix="kalitka-bench-") as folder,
        console.status("a hub") as status,
    ):
        loads = {}
        for name, server in _servers(Path(folder)).items():
            progress = partial(_show_progress, status.update, name)
            loads[name] = _measure_load(server, codes, progress)
    sheets = hub_sheets(loads, TOKENS)
    show(sheets, console)
    tables = ROOT / "build" / "bench-hub.md"
    tables.parent.mkdir(exist_ok=True)
    tables.write_text(markdown("The hub under load", sheets))
    draw(loads, PICTURE)
    written = " and ".join(str(path.relative_to(ROOT)) for path in (tables, PICTURE))
    console.print(f"written to {written}, after {time.monotonic() - began:.0f} s")


def _show_progress(update: Callable[[str], None], name: str, what: str) -> None:
    update(f"{name}: {what}")


def _servers(folder: Path) -> dict[str, Callable]:
    @contextmanager
    def sqlite(readers: int, codes: list[str]) -> Iterator[WithTokens]:
        with _stopped(KalitkaServer(str(folder / f"{readers}.sqlite"), readers, codes)) as server:
            yield server

    @contextmanager
    def postgresql(readers: int, codes: list[str]) -> Iterator[WithTokens]:
        cluster = PostgresqlServer(folder / f"postgresql-{readers}", no_fsync=False)
        try:
            with (
                cluster.database() as url,
                _stopped(KalitkaServer(url, readers, codes)) as server,
            ):
                yield server
        finally:
            cluster.stop()

    @contextmanager
    def plain(readers: int, codes: list[str]) -> Iterator[WithTokens]:
        with _stopped(
            PlainHubServer(str(folder / f"plain-{readers}.sqlite"), readers, codes)
        ) as server:
            yield server

    return {SQLITE: sqlite, POSTGRESQL: postgresql, PLAIN: plain}


@contextmanager
def _stopped(server: WithTokens) -> Iterator[WithTokens]:
    try:
        yield server
    finally:
        server.stop()


def _measure_load(start: Callable, codes: list[str], progress: Callable[[str], None]) -> Load:
    load = Load()
    for readers in READERS:
        progress(f"{readers} readers, {len(codes)} tokens")
        with start(readers, codes) as server:
            warm_up(server)
            measure_polls(server, readers, load)
            if readers == READERS[0]:
                progress("changes, full syncs, logs")
                measure_the_rest(server, readers, codes[len(codes) // 2], load)
    return load
