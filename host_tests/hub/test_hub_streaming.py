"""Long answers: streamed from one snapshot, which is closed however the stream ends.

The tests call the application as a server does (ASGI), to see every message that it sends.
"""

import asyncio
import tracemalloc

import pytest

from hub.hub_site import START, SYNC, headers
from hub.plain_reader import parse
from kalitka_hub.reader_api import sync_answer
from kalitka_hub.reader_api.sync_request import SyncRequest
from kalitka_hub.server.app import create_app
from kalitka_hub.site.tokens import TokenSetting, set_tokens
from kalitka_hub.store.changes import acknowledge, write_transaction
from kalitka_hub.store.last_seen import LastSeen
from kalitka_hub.web.snapshot_response import SnapshotResponse

MANY = 3000


def fill(database, count=MANY):
    with write_transaction(database) as session:
        set_tokens(session, (TokenSetting(f"{i:08X}", ("9_1",)) for i in range(count)))


class Exchange:
    """One request to the application; `on_send` sees each message that it sends."""

    def __init__(self, database, on_send):
        self._app = create_app(database)
        self._on_send = on_send
        self._body = [{"type": "http.request", "body": b"0", "more_body": False}]
        self._gone = asyncio.Event()
        self.sent = []

    def disconnect(self):
        self._gone.set()

    async def run(self):
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": SYNC,
            "raw_path": SYNC.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers().items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        await self._app(scope, self._receive, self._send)

    async def _receive(self):
        if self._body:
            return self._body.pop()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        self.sent.append(message)
        await self._on_send(self, message)

    def chunks(self):
        return [sent["body"] for sent in self.sent if sent.get("body")]


def test_the_first_line_is_sent_while_the_rest_is_still_in_the_database(database):
    fill(database)
    open_at_first = []

    async def on_message(exchange, _message):
        if len(exchange.chunks()) == 1:
            open_at_first.append(database.open_connections())

    exchange = Exchange(database, on_message)
    asyncio.run(exchange.run())
    assert open_at_first[0] == 1
    chunks = exchange.chunks()
    assert len(chunks) > 5
    assert chunks[0].startswith(b"%d%%00000000,00000001," % START)
    assert max(map(len, chunks)) < 2 * sync_answer.CHUNK_BYTES
    minute, deletes, lines = parse(b"".join(chunks).decode())
    assert minute == START
    assert deletes == [code for code, _ in lines] == [f"{i:08X}" for i in range(MANY)]
    assert database.open_connections() == 0


def test_a_reader_that_goes_away_ends_the_snapshot(database):
    fill(database)

    async def leave(exchange, _message):
        if len(exchange.chunks()) == 2:
            exchange.disconnect()
            await asyncio.sleep(60)  # a socket that accepts no more data

    exchange = Exchange(database, leave)
    asyncio.run(exchange.run())
    assert len(exchange.chunks()) == 2
    assert database.open_connections() == 0


def test_a_reader_that_stands_still_is_cut_off_and_its_source_closed():
    closed = []

    async def run():
        sent = []

        async def receive():
            await asyncio.Event().wait()

        async def send(message):
            sent.append(message)
            if message.get("body"):
                await asyncio.Event().wait()

        response = SnapshotResponse(iter([b"a", b"b"]), lambda: closed.append(True), 0.05)
        await response({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send)
        return sent

    sent = asyncio.run(run())
    assert closed == [True]
    # The end of the body was never sent, so the reader can tell that it is incomplete.
    assert sent[-1]["more_body"] is True


def test_a_fault_in_the_middle_leaves_the_answer_without_an_end(database, monkeypatch):
    fill(database)
    lines = sync_answer._lines

    def broken(*arguments):
        for number, line in enumerate(lines(*arguments)):
            if number == 1000:
                raise OSError("the disk is gone")
            yield line

    monkeypatch.setattr(sync_answer, "_lines", broken)

    async def nothing(_exchange, _message):
        pass

    exchange = Exchange(database, nothing)
    with pytest.raises(Exception, match="disk is gone"):
        asyncio.run(exchange.run())
    assert all(sent.get("more_body", True) for sent in exchange.sent)
    assert database.open_connections() == 0


def test_an_answer_is_of_one_moment_whatever_is_written_while_it_is_read(database, clock):
    fill(database)
    acknowledge(database, LastSeen())
    chunks = sync_answer.stream_answer(database, 1, SyncRequest(0, None))
    answer = next(chunks)
    clock.minute += 1
    with write_transaction(database) as session:
        set_tokens(session, (TokenSetting(f"{i:08X}", ("9_0",)) for i in range(MANY + 50)))
    acknowledge(database, LastSeen())
    answer += b"".join(chunks)
    minute, deletes, lines = parse(answer.decode())
    assert minute == START
    assert deletes == [f"{i:08X}" for i in range(MANY)]
    assert {rule for _, rule in lines} == {"9_1"}


def test_memory_does_not_grow_with_the_number_of_tokens(database):
    def peak_of(count):
        fill(database, count)
        acknowledge(database, LastSeen())
        tracemalloc.start()
        try:
            size = sum(map(len, sync_answer.stream_answer(database, 1, SyncRequest(0, None))))
            return size, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small_size, _ = peak_of(1500)  # also warms up the caches
    small_size, small = peak_of(1500)
    large_size, large = peak_of(18_000)
    assert large_size > 10 * small_size
    # Rows are fetched in batches: the peak does not grow with the number of tokens.
    assert large < small + 200_000
