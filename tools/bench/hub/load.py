"""A load for a hub: connections that each send a request, wait for the answer, and repeat.

Runs in a process of its own, `python -m bench.hub.load` with a plan in JSON on standard input, so
that it takes no time of the server's except a processor. Prints the result as JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import cycle

import uvloop

_HEAD_END = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True)
class LoadPlan:
    """A plan of requests, with the server's address.

    requests: whole HTTP requests, sent in turn by the free connections. rate: requests per second,
    begun at even times whether or not the earlier ones are answered; 0: as fast as the answers
    come. once: send each request once; otherwise go on for `warm_up` and then `seconds` seconds.
    """

    host: str
    port: int
    requests: list[str]
    connections: int = 32
    seconds: float = 5
    warm_up: float = 1
    rate: float = 0
    once: bool = False


@dataclass
class LoadResult:
    """The answers of a run, without those of the warm-up.

    first, last: milliseconds from the request to the first and the last byte, of each answer.
    bytes: the size of all answers. bad: answers with another status than 200, in the warm-up as
    well; fault: the first such status.
    """

    seconds: float = 0
    first: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    bytes: int = 0
    bad: int = 0
    fault: str = ""

    @property
    def rate(self) -> float:
        """The answers per second."""
        return len(self.last) / self.seconds if self.seconds else 0.0

    def percentile(self, share: float, times: str = "last") -> float:
        """Return the milliseconds that this share of the answers took at most."""
        found = sorted(getattr(self, times))
        return found[min(len(found) - 1, int(share * len(found)))] if found else float("nan")


class _Connection(asyncio.Protocol):
    """One connection: `request` returns when the answer to it has been read."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._left: int | None = None  # of the body; None before the head, -1 for chunks
        self._begun = self.first = 0.0
        self._answered: asyncio.Future[None] | None = None
        self.status = b""
        self.size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered and not self._answered.done():
            self._answered.set_exception(exc or ConnectionResetError("closed by the hub"))

    async def request(self, request: bytes) -> tuple[float, float]:
        self._answered = asyncio.get_running_loop().create_future()
        self._buffer.clear()
        self._left, self.first, self.size, self._tail = None, 0.0, 0, b""
        self._begun = time.perf_counter()
        assert self._transport
        self._transport.write(request)
        await self._answered
        return self.first - self._begun, time.perf_counter() - self._begun

    def data_received(self, data: bytes) -> None:
        if not self.first:
            self.first = time.perf_counter()
        self.size += len(data)
        if self._left is None:
            self._buffer += data
            end = self._buffer.find(_HEAD_END)
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            self.status = head[9:12]
            data = bytes(self._buffer[end + len(_HEAD_END) :])
            at = head.find(_LENGTH)
            self._left = -1 if at < 0 else int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
        if self._left >= 0:
            self._left -= len(data)
            ended = self._left <= 0
        else:
            # The last chunk's bytes cannot occur earlier in the body: there is no CR in an answer.
            self._tail = (self._tail + data)[-len(_LAST_CHUNK) - 2 :]
            ended = self._tail.endswith(b"\r\n" + _LAST_CHUNK)
        if ended and self._answered and not self._answered.done():
            self._answered.set_result(None)


async def _run(plan: LoadPlan) -> LoadResult:
    loop = asyncio.get_running_loop()
    requests = [request.encode("latin-1") for request in plan.requests]
    made = [
        (await loop.create_connection(_Connection, plan.host, plan.port))[1]
        for _ in range(plan.connections)
    ]
    result = LoadResult()
    source: Iterator[bytes] = iter(requests) if plan.once else cycle(requests)
    begun = time.perf_counter()
    counted_from = begun + (0 if plan.once else plan.warm_up)
    end = float("inf") if plan.once else counted_from + plan.seconds
    if plan.rate:
        await _at_a_rate(plan, made, source, result, counted_from, end)
    else:
        work = [_at_full_speed(one, source, result, counted_from, end) for one in made]
        await asyncio.gather(*work)
    result.seconds = min(time.perf_counter(), end) - counted_from
    return result


async def _at_full_speed(
    connection: _Connection,
    source: Iterator[bytes],
    result: LoadResult,
    counted_from: float,
    end: float,
) -> None:
    for request in source:
        if time.perf_counter() >= end:
            return
        await _send_request(connection, request, result, counted_from, end)


async def _at_a_rate(
    plan: LoadPlan,
    connections: list[_Connection],
    source: Iterator[bytes],
    result: LoadResult,
    counted_from: float,
    end: float,
) -> None:
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    for connection in connections:
        free.put_nowait(connection)
    under_way: set[asyncio.Task[None]] = set()

    async def send(connection: _Connection, request: bytes) -> None:
        await _send_request(connection, request, result, counted_from, end)
        free.put_nowait(connection)

    due = time.perf_counter()
    while due < end:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(send(await free.get(), next(source)))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        due += 1 / plan.rate
    await asyncio.gather(*under_way)


async def _send_request(
    connection: _Connection, request: bytes, result: LoadResult, counted_from: float, end: float
) -> None:
    first, last = await connection.request(request)
    if connection.status != b"200":
        result.bad += 1
        result.fault = result.fault or connection.status.decode("latin-1")
    if counted_from <= time.perf_counter() <= end:
        result.first.append(first * 1000)
        result.last.append(last * 1000)
        result.bytes += connection.size


if __name__ == "__main__":
    measured = uvloop.run(_run(LoadPlan(**json.load(sys.stdin))))
    json.dump(asdict(measured), sys.stdout)
