"""What is asked of each server, and what came of it.

Polls without changes by as many readers as connections have room for, at a rate that is given and
as fast as they are answered; polls after which one token of all has changed; full syncs; uploads
of the access log. Rates are medians of RUNS; times are of all the answers of all runs.
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
A_MINUTE = 10_000  # polls a minute of the given rate: so many readers that ask once a minute
BATCH = 60  # entries of an upload: about as many as our firmware sends in its 4096 bytes
_SYNC = "POST /api/v1/token-reader/access-tokens/sync"
_LOGS = "POST /api/v1/token-reader/access-logs"


@dataclass
class ResponseStats:
    """Answers of one kind. rates: a second, of each run; cpu: microseconds of the server each."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    bad: int = 0

    def add(self, result: LoadResult, cpu: float) -> None:
        """Count the answers of a run in."""
        self.rates.append(result.rate)
        if result.last:
            self.cpu.append(cpu / len(result.last) * 1e6)
        self.first += result.first
        self.last += result.last
        self.bad += result.bad

    @property
    def rate(self) -> float:
        """Answers a second."""
        return median(self.rates)

    def percentile(self, share: float, times: str = "last") -> float:
        """Return the milliseconds that this share of the answers took at most."""
        found = sorted(getattr(self, times))
        return found[min(len(found) - 1, int(share * len(found)))]


@dataclass
class Load:
    """What one server did.

    polls: without changes, by how many readers asked in turn. steady: at A_MINUTE. changed: polls
    that one change is told. fulls: by how many were asked for at once. memory: bytes that the
    server had more at its peak during these than before them. logs: uploads of BATCH entries.
    """

    polls: dict[int, ResponseStats] = field(default_factory=dict)
    steady: ResponseStats = field(default_factory=ResponseStats)
    changed: ResponseStats = field(default_factory=ResponseStats)
    fulls: dict[int, ResponseStats] = field(default_factory=dict)
    memory: dict[int, int] = field(default_factory=dict)
    logs: ResponseStats = field(default_factory=ResponseStats)


def measure_polls(server: WithTokens, readers: int, load: Load) -> None:
    """Measure polls without changes of so many readers, taking turns."""
    found = load.polls.setdefault(readers, ResponseStats())
    for _ in range(RUNS):
        _run(server, found, [_poll(i, _minute()) for i in range(readers)])


def measure_the_rest(server: WithTokens, readers: int, code: str, load: Load) -> None:
    """Measure everything else. code: a token that is changed."""
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
    """Let the server answer what it answers for the first time more slowly."""
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
    # That of the warm-up, too: the answers in it are as many a second.
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
