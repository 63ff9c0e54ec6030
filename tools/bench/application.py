"""The whole application: the virtual reader with a table as large as it must hold.

Everything that runs on a board runs here, with the same heap: scanner, lock, network, HTTP, table.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.answers import Answers
from bench.runtime import BOARD
from bench.sync_server import SyncServer
from kalitka_cli.build import compile_firmware
from kalitka_sim import image
from kalitka_sim.reader import VirtualReader
from kalitka_sim.virtual_chip import HOST_ARCH
from kalitka_sim.wire import ReaderError

_SYNC_S = 120  # what takes longer has failed
_POLLS = 3  # that are watched
_SYNCED = r"sync: (full|failed)"
# Serves the world's questions and nothing else.
_NO_APPLICATION = b"import asyncio\nasyncio.get_event_loop().run_forever()\n"


@dataclass(frozen=True)
class Reader:
    """What a reader did with one table.

    fault: "" or what stood in the way; then the other figures are missing. used: bytes of heap
    in use, idle, with the table. poll, one: flash operations of some polls without changes, and
    of one changed code.
    """

    fault: str
    used: int = 0
    poll: dict | None = None
    one: dict | None = None


def run(folder: Path, answers: Answers, flash: int, tell: Callable[[str], None]) -> Reader:
    """Let a reader with `flash` bytes take a full sync, replace it, poll, and take a change."""
    tell(f"virtual reader, {answers.tokens} tokens")
    folder.mkdir(parents=True)
    image.create(folder / "flash.bin", flash, compile_firmware(BOARD, HOST_ARCH))
    settings = {"reader": "GATE-1", "server_token": "bench", "poll_seconds": 1}
    with (
        SyncServer(answers.first.read_bytes(), answers.nothing.read_bytes()) as server,
        VirtualReader(folder, settings, server.address) as reader,
    ):
        try:
            return _watched(reader, server, answers)
        except ReaderError as e:
            return Reader(str(e).splitlines()[0])


def idle_of_the_fakes(folder: Path) -> int:
    """Return the bytes of heap in use in a chip whose firmware does nothing."""
    folder.mkdir(parents=True)
    image.create(folder / "flash.bin", 1 << 20, {"main.py": _NO_APPLICATION})
    with VirtualReader(folder) as reader:
        reader.power_on(wait_ready=False)
        return reader.memory()["used"]


def _watched(reader: VirtualReader, server: SyncServer, answers: Answers) -> Reader:
    reader.power_on()
    fault = _wait_for_sync(reader, 0)
    if fault:
        return Reader(fault)
    seen = len(reader.console)
    server.replace_everything(answers.second.read_bytes())
    fault = _wait_for_sync(reader, seen)
    if fault:
        return Reader(fault)
    for code in answers.codes.read_text().split()[:_POLLS]:
        if reader.present(code).reason == "unknown code":
            return Reader(f"does not know {code}")
    poll = _operations(reader, lambda: _wait_for_polls(server))
    used = reader.memory()["used"]
    seen = len(reader.console)

    def change() -> None:
        server.pending = answers.one.read_bytes()
        reader.wait_line("sync: incremental", since=seen)

    return Reader("", used, poll, _operations(reader, change))


def _operations(reader: VirtualReader, work: Callable[[], None]) -> dict:
    before = reader.flash_operations()
    work()
    after = reader.flash_operations()
    return {name: after[name] - before[name] for name in before}


def _wait_for_sync(reader: VirtualReader, since: int) -> str:
    line = reader.wait_line(_SYNCED, since=since, timeout=_SYNC_S)
    return line.split("failed: ")[1] if "failed: " in line else ""


def _wait_for_polls(server: SyncServer) -> None:
    wanted = server.polls + _POLLS
    deadline = time.monotonic() + _SYNC_S
    while server.polls < wanted:
        if time.monotonic() > deadline:
            raise ReaderError("the reader does not poll")
        time.sleep(0.1)
