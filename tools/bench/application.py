"""The whole application: the virtual reader with the largest table that it must hold.

Everything that runs on a board runs here, with the same heap: scanner, lock, network, HTTP, table.
The firmware runs from ROM, as on a board with a ROM partition or with frozen firmware.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.answers import Answers
from bench.runtime import BOARD
from bench.sync_server import SyncServer
from kalitka_sim.control_channel import ReaderError
from kalitka_sim.reader import VirtualReader

_SYNC_S = 240  # a longer sync counts as failed
_POLLS = 3  # polls whose flash operations are counted
_SYNCED = r"sync: (full|failed)"


@dataclass(frozen=True)
class ReaderFigures:
    """The figures of a reader with one table.

    fault: "" or why the reader failed. used: bytes of heap that the idle firmware uses, with the
    table that it has by then. poll_writes: flash programs and erases of a few polls without
    changes; erases: of one changed code; None if the reader failed before.
    """

    fault: str
    used: int
    poll_writes: int | None = None
    erases: int | None = None


def run(
    folder: Path,
    answers: Answers,
    flash: int,
    progress: Callable[[str], None],
    in_rom: bool = True,
) -> ReaderFigures:
    """Let a reader with `flash` bytes do a full sync, a second one, polls, and a change.

    in_rom: run its firmware from ROM, otherwise from .mpy files in its flash.
    """
    progress(f"virtual reader, {answers.tokens} tokens")
    settings = {"reader": "GATE-1", "server_token": "bench", "poll_seconds": 1}
    settings |= {"log_upload_seconds": 3600}  # an acknowledgement writes to the flash
    with (
        SyncServer(answers.first.read_bytes(), answers.nothing.read_bytes()) as server,
        VirtualReader(
            folder, settings, server.address, BOARD, in_rom=in_rom, flash_size=flash
        ) as reader,
    ):
        reader.power_on()
        fault = _sync_and_replace(reader, server, answers)
        if fault:
            return ReaderFigures(fault, _heap_in_use(reader))
        poll = _operations(reader, lambda: _wait_for_polls(server))
        used = _heap_in_use(reader)

        def change() -> None:
            seen = len(reader.console)
            server.pending = answers.one.read_bytes()
            reader.wait_line("sync: incremental", since=seen)

        one = _operations(reader, change)
        return ReaderFigures("", used, poll["programs"] + poll["erases"], one["erases"])


def _heap_in_use(reader: VirtualReader) -> int:
    # Without the fakes, which a board does not have.
    memory = reader.memory()
    return memory["used"] - memory["fakes"]


def _sync_and_replace(reader: VirtualReader, server: SyncServer, answers: Answers) -> str:
    # Return "" or why the reader failed.
    try:
        fault = _wait_for_sync(reader, 0)
        if fault:
            return fault
        seen = len(reader.console)
        server.replace_everything(answers.second.read_bytes())
        fault = _wait_for_sync(reader, seen)
        if fault:
            return fault
        for code in answers.codes.read_text().split()[:_POLLS]:
            if reader.present(code).reason == "unknown code":
                return f"does not know {code}"
        return ""
    except ReaderError as e:
        return str(e).splitlines()[0]


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
