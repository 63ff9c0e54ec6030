"""A stock reader whose flash is damaged while it is off, and the verdict on what it does then.

The reader loads .mpy files from its LittleFS, as `deploy` and the first starts leave it: with
copies of the firmware, a table, entries in its log, and its hub within reach. One damage at a
time; each verdict is one of WORDS, "decides" before all.
"""

import os
import random
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hub_command import Hub
from kalitka_hub.site.tokens import TokenSetting
from kalitka_sim.control_channel import ReaderError
from kalitka_sim.reader import VirtualReader

BLOCK = 4096
GUEST, STRANGER = "04A1B2C3", "0BADC0DE"
DECIDES, SYNCS, RESTARTS, DENIES, HAND, WRONG = WORDS = (
    "decides",
    "decides after a sync",
    "decides after a restart",
    "denies everybody",
    "needs a hand",
    "let in whom it must not",
)
_STEP = 77_777  # between two codes of the table
_REST = 1  # the level at which a fail-safe lock is shut
_STARTED = r" ready$|appears to be corrupted"
_SYNCED = r"sync: (full|changes|nothing)"


def noise(block, seed):
    """A block full of something else."""
    return random.Random(seed).randbytes(len(block))


def erased(block, seed):
    """A block as an erase leaves it."""
    return b"\xff" * len(block)


def zeros(block, seed):
    """A block as some flash chips leave it at their end."""
    return bytes(len(block))


def flip(block, seed):
    """One bit of what the block holds."""
    at = random.Random(seed).randrange(len(block.rstrip(b"\xff")) * 8)
    damaged = bytearray(block)
    damaged[at // 8] ^= 1 << at % 8
    return bytes(damaged)


DAMAGES = (noise, erased, zeros, flip)


class DamagedReader:
    """The reader in `folder`, whole; `verdict` damages copies of it.

    flash: the bytes of its flash. files: {path: contents} in it.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._hub = Hub(folder / "hub", zone="MSK-3")
        self._hub.add_reader("GATE-1")
        # A table of several blocks: a damaged one keeps LittleFS from finding free ones.
        codes = [GUEST, *(f"{n:08X}" for n in range(0, 3000 * _STEP, _STEP))]
        self._hub.set_tokens([TokenSetting(code, ("9_1",)) for code in codes])
        self._hub.start()
        with self._open("whole") as reader:
            for _ in range(2):
                reader.power_on()
                reader.wait_line(_SYNCED)
                assert reader.present(GUEST).opened
                reader.power_cut()
            self.files = reader.flash_files()
        self.flash = (folder / "whole" / "flash.bin").read_bytes()

    def _open(self, name):
        host, port = self._hub.address
        settings = {
            "reader": "GATE-1",
            "server_token": self._hub.secrets["GATE-1"],
            "lock_kind": "fail-safe",
            "poll_seconds": 1,
            # No relay, whose port would be another one each time.
            "server_url": f"http://{host}:{port}",
            "plain_http": True,
        }
        return VirtualReader(self._folder / name, settings, in_rom=False)

    def used_blocks(self) -> list[int]:
        """The numbers of the blocks that are not erased."""
        count = len(self.flash) // BLOCK
        return [n for n in range(count) if self.block(n) != b"\xff" * BLOCK]

    def block(self, number: int) -> bytes:
        """The contents of a block."""
        return self.flash[number * BLOCK : (number + 1) * BLOCK]

    def first_blocks(self, path: str) -> list[int]:
        """The numbers of the blocks that hold the beginning of the file at `path`.

        Several, if copies begin alike.
        """
        data = self.files[path][:BLOCK]
        return [n for n in self.used_blocks() if self.block(n).startswith(data)]

    def verdict(self, name: str, number: int, contents: bytes) -> str:
        """Start a copy of the reader with another block `number`; return one of WORDS.

        name: of the copy's folder, which is removed.
        """
        folder = Path(shutil.copytree(self._folder / "whole", self._folder / name))
        at = number * BLOCK
        try:
            with self._open(name) as reader:
                # Opening it wrote its settings.
                damaged = self.flash[:at] + contents + self.flash[at + BLOCK :]
                reader.flash_file.write_bytes(damaged)
                verdict = _verdict_on(reader)
                if verdict not in (DECIDES, SYNCS, RESTARTS):
                    print(f"# {name}: {verdict}:", *reader.console[-30:], sep="\n#   ")
                return verdict
        finally:
            shutil.rmtree(folder)

    def verdicts(self, damages: list[tuple[str, int, bytes]]) -> list[str]:
        """Return the verdict on each of `damages`, (name, block, its contents), in their order."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda damage: self.verdict(*damage), damages))

    def close(self) -> None:
        """Stop the hub."""
        self._hub.stop()


def _verdict_on(reader):
    reader.restarts_after_panic = True
    reader.power_on(wait_ready=False)
    if not reader.wait_line(_STARTED).endswith(" ready"):
        return HAND
    try:
        reader.wait_ready()
        verdict = _verdict_on_cards(reader)
    except ReaderError:
        return HAND
    restarted = any(re.search("Task watchdog|Guru", line) for line in reader.console)
    return RESTARTS if verdict == DECIDES and restarted else verdict


def _verdict_on_cards(reader):
    seen = len(reader.console)
    for word in (DECIDES, SYNCS):
        if reader.present(STRANGER).opened or reader.pins[reader.board["LOCK"]] != _REST:
            return WRONG
        if reader.present(GUEST).opened:
            return word
        reader.wait_line(_SYNCED, since=seen)
    return DENIES
