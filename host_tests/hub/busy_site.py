"""A site under load: hubs, writers and gates in their own processes, on one database.

It runs in rounds. At the end of each round the writers stop, every gate polls once more, and its
table is compared with the truth in two ways: a separate SQL query, and a new reader's full sync.
"""

import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from sqlalchemy import text

from hub import busy_gates, busy_office, fast_hub
from hub.busy_gates import Report, Task
from hub.busy_office import GATES, NOISE, SOLD, Said
from hub.fast_hub import FastClock
from hub.plain_reader import PlainReader
from kalitka_hub.reader_api import sync_answer, sync_request
from kalitka_hub.site import rule_compiler
from kalitka_hub.site.site_secret import set_secret
from kalitka_hub.store.changes import acknowledge, write_transaction
from kalitka_hub.store.database import Database, open_database
from kalitka_hub.store.last_seen import LastSeen
from kalitka_sim.timeouts import HANG_TIMEOUT_S

# Clean processes, forked from a server process that has imported what they need.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    # Installed modules only: that process cannot import the tests.
    [
        "fastapi.testclient",
        "pytest",
        "kalitka_hub.site.grants",
        "kalitka_hub.server.app",
        "kalitka_hub.server.http_server",
    ]
)
MORNING = 29_921_880 * 60  # 2026-11-22, 02:00 UTC: no midnight comes within hours

_TOLD = text(
    "SELECT DISTINCT tokens.code, token_rules.text FROM token_rules"
    " JOIN tokens ON tokens.id = token_rules.token_id"
    " WHERE token_rules.group_id = 1 OR token_rules.group_id IN ("
    "SELECT reader_group_members.group_id FROM reader_group_members"
    " JOIN readers ON readers.id = reader_group_members.reader_id WHERE readers.code = :code)"
)
_READERS = text("SELECT id, code FROM readers")
_LOGGED = text("SELECT at, COUNT(*) FROM access_entries WHERE reader = :code GROUP BY at, code")


@dataclass
class _Worker:
    process: BaseProcess
    orders: Connection


class BusySite:
    """Two hubs, a number of writers, and two processes of gates, on a new database at `where`.

    killed: hubs will be killed, so gates tolerate unanswered polls. faults: problems, a line each.
    given_up: the database's errors for transactions that it gave up. counts: of what was done.
    """

    def __init__(
        self, where: str, secret: str, seed: int, writers: int = 3, killed: bool = False
    ) -> None:
        self.where = where
        self.faults: list[str] = []
        self.given_up: list[str] = []
        self.counts: Counter[str] = Counter()
        self.reports: dict[str, Report] = {}
        began = time.monotonic()
        self._clocks = [FastClock(began, MORNING, skew) for skew in (0, 75, -140, 20, 0, -40)]
        self.database = open_database(where, self._clocks[0])
        with write_transaction(self.database) as session:
            set_secret(session, secret)
        busy_office.furnish(self.database, writers)
        # Until a minute has been acknowledged, full syncs may be answered with minute 0: harmless,
        # but the gates count it as a fault.
        acknowledge(self.database, LastSeen())
        self._chance = random.Random(seed)
        self._codes = busy_office.versioned(writers)
        places = len(self._codes)
        self._said = Said(PROCESSES.RawArray("q", places), PROCESSES.RawArray("q", places))
        self._held = [fast_hub.reserved_port() for _ in range(2)]
        self.ports = [held.getsockname()[1] for held in self._held]
        self.hubs: list[BaseProcess | None] = [None, None]
        self._writers: list[_Worker] = []
        self._gates: list[_Worker] = []
        for number in range(2):
            self.start_hub(number)
        for number in range(writers):
            self._writers.append(self._new_writer(number))
        for part in range(2):
            readers = [*GATES, *SOLD][part::2]
            limited = [*self._codes[::2], *NOISE[::3]]
            task = Task(readers, self.ports, self._codes, limited, killed)
            self._gates.append(_started(busy_gates.poll, task, self._seed(), self._said))

    # Rounds

    def begin(self) -> None:
        """Let the writers write, and the gates poll."""
        for worker in (*self._writers, *self._gates):
            worker.orders.send(True)

    def end(self) -> None:
        """Stop the writers, and the gates after a last poll; compare the gates' tables."""
        for worker in self._writers:
            worker.orders.send(False)
        for worker in self._writers:
            done, given_up = self._answer_of(worker)
            self.counts += done
            self.given_up += given_up
        for worker in self._gates:
            worker.orders.send(False)
        for worker in self._gates:
            for report in self._answer_of(worker):
                self.reports[report.code] = report
        self.counts["rounds"] += 1
        self.counts["versions"] = sum(self._said.written)
        self._compare()

    def polls(self) -> int:
        """Return the number of answered polls."""
        forms = set(busy_gates.FORMS)
        return sum(report.counts[form] for report in self.reports.values() for form in forms)

    def start_hub(self, number: int) -> None:
        """Start one of the hubs; return once it accepts requests."""
        clock, port = self._clocks[number], self.ports[number]
        self.hubs[number] = _started(fast_hub.serve, self.where, clock, port).process

    def kill_hub(self, number: int) -> None:
        """Kill one of the hubs, whatever it is doing."""
        _kill(self.hubs[number])
        self.counts["hubs killed"] += 1

    def kill_writer(self, number: int) -> None:
        """Kill a writer, whatever it is doing; a new one takes its place."""
        _kill(self._writers[number].process)
        self.counts["writers killed"] += 1
        self._writers[number] = self._new_writer(number)
        self._writers[number].orders.send(True)

    def close(self) -> None:
        """End every process."""
        workers = [worker.process for worker in (*self._writers, *self._gates)]
        for process in (*workers, *self.hubs):
            _kill(process)
        for held in self._held:
            held.close()
        self.database.close()

    # Comparison

    def truth(self, code: str, limited: Collection[str] | None = None) -> dict[str, set[str]]:
        """Return the table that a reader must have: by SQL, not by the code that answers it."""
        with self.database.snapshot() as session:
            told: dict[str, set[str]] = {}
            for token, rule in session.execute(_TOLD, {"code": code}):
                if limited is None or token in limited:
                    told.setdefault(token, set()).add(rule)
            return told

    def _compare(self) -> None:
        for report in self.reports.values():
            self.faults += report.faults
            report.faults.clear()
        # Pooled connections may have died with their server.
        self.database.close()
        frozen = Database(self.database._engine, _stopped(self._clocks[1]))
        acknowledge(frozen, LastSeen())
        with frozen.snapshot() as session:
            ids = {row.code: row.id for row in session.execute(_READERS)}
        for code, report in self.reports.items():
            if code in ids:
                self._compare_reader(frozen, ids[code], report)
        # Every change has updated the rules incrementally: recomputing all must change nothing.
        with write_transaction(frozen) as session:
            stale = rule_compiler.recompute_all(session)
            if stale:
                self.faults.append(f"{stale} tokens had other rules than are set")

    def _compare_reader(self, database: Database, reader_id: int, report: Report) -> None:
        def asked(body: str) -> str:
            request = sync_request.parse(body.encode())
            return b"".join(sync_answer.stream_answer(database, reader_id, request)).decode()

        fresh = PlainReader(asked, report.limited)
        fresh.poll()
        truth = self.truth(report.code, report.limited)
        with database.snapshot() as session:
            found = session.execute(_LOGGED, {"code": report.code})
            logged = dict(found.all())
        if not report.table == truth == fresh.table:
            different = {
                code: (report.table.get(code), fresh.table.get(code), truth.get(code))
                for code in report.table | fresh.table | truth
                if not report.table.get(code) == fresh.table.get(code) == truth.get(code)
            }
            self.faults.append(f"{report.code} holds, of a fresh sync, and by SQL: {different}")
        wrong = [number for number in report.uploaded if logged.get(number) != 1]
        if wrong:
            self.faults.append(f"{report.code}: not once in the log: {wrong}")
        self.counts["tokens compared"] += len(truth)
        self.counts["entries compared"] += len(report.uploaded)

    # Processes

    def _new_writer(self, number: int) -> _Worker:
        clock = self._clocks[2 + number]
        return _started(busy_office.write, self.where, clock, number, self._seed(), self._said)

    def _answer_of(self, worker: _Worker) -> Any:
        if not worker.orders.poll(HANG_TIMEOUT_S):
            raise AssertionError("a writer or a process of gates does not end its round")
        return worker.orders.recv()

    def _seed(self) -> int:
        return self._chance.randrange(1 << 30)


@contextmanager
def busy_site(where: str, secret: str, seed: int, **options: Any) -> Iterator[BusySite]:
    """Yield a BusySite, and end its processes afterwards."""
    site = BusySite(where, secret, seed, **options)
    try:
        yield site
    finally:
        site.close()


def _started(work: Any, *arguments: Any) -> _Worker:
    """Start a process; return once it is ready."""
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(target=work, args=(*arguments, there), daemon=True)
    process.start()
    assert here.poll(HANG_TIMEOUT_S), "a process did not start"
    here.recv()
    return _Worker(process, here)


def _kill(process: BaseProcess | None) -> None:
    if process is not None:
        process.kill()
        process.join()


def _stopped(clock: FastClock) -> Any:
    now = clock()
    return lambda: now
