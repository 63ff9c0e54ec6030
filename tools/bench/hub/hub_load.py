"""The load on each server, and its results.

Polls without changes, as fast as they are answered and at a given rate; polls after a change of
one token; full syncs; uploads of the access log. Rates are medians of RUNS; times are those of
all answers of all runs.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from statistics import median

from bench.hub.load import LoadResult
from bench.hub.servers import SECRET, WithTokens

CONNECTIONS = 32
RUNS = 3
SECONDS = 3
A_MINUTE = 10_000  # the given rate, polls per minute: of so many readers with a poll each minute
BATCH = 60  # entries of an upload: about as many as our firmware sends in 4096 bytes
_SYNC = "POST /api/v1/token-reader/access-tokens/sync"
_LOGS = "POST /api/v1/token-reader/access-logs"


@dataclass
class ResponseStats:
    """The statistics of one kind of answers.

    rates: answers per second, of each run. cpu: the server's processor time per answer in
    microseconds, of each run. first, last: milliseconds to the first and the last byte, of each
    answer. bad: answers with another status than 200.
    """

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    bad: int = 0

    def add(self, result: LoadResult, cpu: float) -> None:
        """Add the answers of a run. cpu: the server's processor time in seconds."""
        self.rates.append(result.rate)
        if result.last:
            self.cpu.append(cpu / len(result.last) * 1e6)
        self.first += result.first
        self.last += result.last
        self.bad += result.bad

    @property
    def rate(self) -> float:
        """The median answers per second."""
        return median(self.rates)

    def percentile(self, share: float, times: str = "last") -> float:
        """Return the milliseconds within which this share of the answers came."""
        found = sorted(getattr(self, times))
        return found[min(len(found) - 1, int(share * len(found)))]


@dataclass
class Load:
    """The results of one server.

    polls: without changes, by the number of readers that take turns. steady: the same at
    A_MINUTE. changed: polls that return one change. fulls: full syncs, by their number at once.
    memory: bytes by which the server grew at its peak during these. logs: uploads of BATCH
    entries.
    """

    polls: dict[int, ResponseStats] = field(default_factory=dict)
    steady: ResponseStats = field(default_factory=ResponseStats)
    changed: ResponseStats = field(default_factory=ResponseStats)
    fulls: dict[int, ResponseStats] = field(default_factory=dict)
    memory: dict[int, int] = field(default_factory=dict)
    logs: ResponseStats = field(default_factory=ResponseStats)


def measure_polls(server: WithTokens, readers: int, load: Load) -> None:
    """Measure polls without changes of `readers` readers that take turns."""
    found = load.polls.setdefault(readers, ResponseStats())
    for _ in range(RUNS):
        _run(server, found, [_poll(i, _minute()) for i in range(readers)])


def measure_the_rest(server: WithTokens, readers: int, code: str, load: Load) -> None:
    """Measure everything else. code: of the token to change."""
    minute = _minute()
    polls = [_poll(i, minute) for i in range(readers)]
    _run(server, load.steady, polls, rate=A_MINUTE / 60, seconds=2 * SECONDS)
    for at_once in (1, 8):
        server.reset_peak()
        before = server.memory
        full = [_poll(i, 0) for i in range(at_once)]
        for _ in range(RUNS):
            found = load.fulls.setdefault(at_once, ResponseStats())
            _run(server, found, full, once=True, connections=at_once)
        load.memory[at_once] = server.peak - before
    for run in range(RUNS):
        uploads = [_upload(run * 10_000 + i, i % readers) for i in range(600)]
        _run(server, load.logs, uploads, once=True, connections=8)
    server.change(code)
    for _ in range(RUNS):
        _run(server, load.changed, [_poll(i, minute) for i in range(readers)])


def warm_up(server: WithTokens) -> None:
    """Warm the server up with two full syncs: its first answers are slower."""
    _run(server, ResponseStats(), [_poll(0, 0)] * 2, once=True, connections=1)


def _run(
    server: WithTokens, found: ResponseStats, requests: list[str], **plan: float | bool
) -> None:
    asked = {
        "host": server.host,
        "port": server.port,
        "requests": requests,
        "connections": CONNECTIONS,
        "seconds": SECONDS,
        **plan,
    }
    before = server.cpu
    done = subprocess.run(
        [sys.executable, "-m", "bench.hub.load"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
    )
    result = LoadResult(**json.loads(done.stdout))
    if result.bad:
        raise RuntimeError(f"{result.bad} answers were not 200, the first of them {result.fault}")
    # The processor time includes the warm-up, whose answers come at the same rate.
    whole = 1.0 if plan.get("once") else result.seconds / (result.seconds + 1)
    found.add(result, (server.cpu - before) * whole)


def _minute() -> int:
    return int(time.time() // 60)


def _poll(reader: int, since: int) -> str:
    return _request(_SYNC, reader, str(since))


def _upload(number: int, reader: int) -> str:
    at = 1_795_000_000 + number
    return _request(_LOGS, reader, ",".join(f"{at}_{i * 7919:08X}_1" for i in range(BATCH)))


def _request(head: str, reader: int, body: str) -> str:
    return (
        f"{head} HTTP/1.1\r\nHost: hub\r\nX-AuthToken: {SECRET}\r\nX-AuthReader: GATE-{reader}\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
