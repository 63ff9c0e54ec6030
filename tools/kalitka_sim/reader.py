"""A virtual reader: one chip, its flash and its wires, and the hands that use them.

The chip is a MicroPython process with a heap as small as the ESP32's, running what lies in its
flash file. Everything here acts from outside: pulses on pins, levels read back, power, network
and time. What the firmware thinks is read from its console only, as a technician would.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kalitka_cli.build import board, compile_firmware

from . import image
from .link import Link

CHIP = Path(__file__).parent / "chip"
HEAP = "160K"
HOST_ARCH = "x64"  # what this computer's MicroPython takes as native code
_RESET = 3  # the chip's exit status for "restart me"
_CARD = re.compile(r"card (\S+) (allowed|denied)(?:: ([^(]+))? \(([^)]*)\)")


class ReaderError(Exception):
    """The virtual reader did not do what it was asked to; the message says what it did."""


@dataclass
class Outcome:
    """What came of a card: the lock's output, and what the console said."""

    code: str
    opened: bool
    allowed: bool
    reason: str
    when: str


def micropython() -> str:
    """Return the path of the MicroPython of this environment. Raises ReaderError."""
    path = shutil.which("micropython", path=str(Path(sys.executable).parent))
    if not path:
        raise ReaderError("no micropython beside this Python; run `make` for the set-up")
    return path


def wiegand_bits(code: str) -> str:
    """Return the frame of a code of 6 or 8 hexadecimal digits, as a string of 0 and 1."""
    if not re.fullmatch(r"[0-9A-Fa-f]{6}|[0-9A-Fa-f]{8}", code):
        raise ReaderError(f"a Wiegand card has 6 or 8 hexadecimal digits, not {code!r}")
    data = f"{int(code, 16):0{len(code) * 4}b}"
    half = len(data) // 2
    first = str(data[:half].count("1") % 2)
    last = str(1 - data[half:].count("1") % 2)
    return first + data + last


class VirtualReader:
    """A reader whose flash and NVS live in `folder`, so that it can be switched on again later.

    server: (host, port) of its hub; it is reached through `link`, which can be cut.
    settings: what goes into the settings file besides the server's address.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict | None = None,
        server: tuple[str, int] | None = None,
        board_name: str = "ESP32_GENERIC",
        heap: str = HEAP,
        on_line: Callable[[str], None] | None = None,
    ):
        self.folder = folder
        self.board = board(board_name)
        self.link = Link(server) if server else None
        self.console: list[str] = []
        self.pins: dict[int, int] = {}
        self.pin_changes: list[tuple[int, int, int]] = []  # (pin, level, the chip's ms)
        self._board_name = board_name
        self._heap = heap
        self._on_line = on_line
        self._settings = settings or {}
        self._process: subprocess.Popen | None = None
        self._wire: socket.socket | None = None
        self._answers: list[object] = []
        self._news = threading.Condition()
        self._meant_to_run = False
        self._shut = 0  # the lock's level while nobody passes
        folder.mkdir(parents=True, exist_ok=True)
        self.flash_file = folder / "flash.bin"
        if not self.flash_file.exists():
            files = compile_firmware(board_name, HOST_ARCH)
            image.create(self.flash_file, self.board["VFS_SIZE"], files)
        image.update(self.flash_file, {"settings.json": self._settings_file()})

    def _settings_file(self) -> bytes:
        values = {"wifi_ssid": "site", "wifi_password": "", **self._settings}
        if self.link:
            values["server_url"] = f"http://127.0.0.1:{self.link.port}"
        return json.dumps(values).encode()

    # Power

    def power_on(self, wait_ready: bool = True) -> None:
        """Give it power. `wait_ready`: return when the application says that it is ready."""
        (self.folder / "rtc").write_text("")
        nvs = self.folder / "nvs.json"
        if not nvs.exists():
            nvs.write_text("")
        self._meant_to_run = True
        seen = len(self.console)
        self._start()
        if wait_ready:
            self.wait_line(r" ready$", since=seen)
            self.ask({"do": "pins"})
            self._shut = self.pins[self.board["LOCK"]]

    def power_cut(self) -> None:
        """Take the power away, at whatever it is doing."""
        self._meant_to_run = False
        process = self._process
        if process and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        if self._wire:
            self._wire.close()
            self._wire = None

    def close(self) -> None:
        """Put it away."""
        self.power_cut()
        if self.link:
            self.link.close()

    def __enter__(self) -> "VirtualReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Hands

    def present(self, code: str, timeout: float = 10) -> Outcome:
        """Hold a card against the scanner and see what comes of it. Raises ReaderError."""
        seen, changes = len(self.console), len(self.pin_changes)
        self.pulses(wiegand_bits(code))
        line = self.wait_line(rf"card {code.upper()} ", since=seen, timeout=timeout)
        self.ask({"do": "pins"})  # every change of a pin before this answer has come, too
        match = _CARD.search(line)
        if not match:
            raise ReaderError(f"the console said {line!r}")
        lock = self.board["LOCK"]
        levels = [level for pin, level, _ in self.pin_changes[changes:] if pin == lock]
        # It may be open still from the card before, or shut again already.
        opened = any(level != self._shut for level in [*levels, self.pins[lock]])
        return Outcome(match[1], opened, match[2] == "allowed", (match[3] or "").strip(), match[4])

    def pulses(self, bits: str, gap_ms: int = 2) -> None:
        """Send bits over the Wiegand wires, in real time."""
        wires = [self.board["WIEGAND_D0"], self.board["WIEGAND_D1"]]
        self.ask({"do": "pulses", "pins": wires, "bits": bits, "gap_ms": gap_ms})

    def set_clock(self, utc: float) -> None:
        """Set the chip's clock: seconds since 1970 UTC. The firmware sees it within a second."""
        self.ask({"do": "clock", "utc": utc})

    def network(self, up: bool) -> None:
        """Switch the air and the cable behind it on or off."""
        self.ask({"do": "network", "up": up})
        if self.link:
            (self.link.mend if up else self.link.cut)()

    def flash_operations(self) -> dict[str, int]:
        """Return the counts of flash reads, programs, erases since power on."""
        return dict(self.ask({"do": "flash"}))  # type: ignore[call-overload]

    def memory(self) -> dict[str, int]:
        """Return the bytes of heap used and free, after a collection."""
        return dict(self.ask({"do": "memory"}))  # type: ignore[call-overload]

    def flash_files(self) -> dict[str, bytes]:
        """Return the files in the flash; only while it is off."""
        return image.read(self.flash_file)

    # Watching

    def wait_line(self, pattern: str, since: int = 0, timeout: float = 20) -> str:
        """Return the first console line from index `since` on that matches. Raises ReaderError."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        at = since
        with self._news:
            while True:
                for line in self.console[at:]:
                    if wanted.search(line):
                        return line
                at = len(self.console)
                left = deadline - time.monotonic()
                ended = self._process is None or self._process.poll() is not None
                if left <= 0 or (ended and not self._meant_to_run):
                    tail = "\n  ".join(self.console[-12:])
                    raise ReaderError(f"no line like {pattern!r}; the console's end:\n  {tail}")
                self._news.wait(min(left, 0.5))

    def wait_pin(self, number: int, level: int, timeout: float = 20) -> None:
        """Return when an output has this level. Raises ReaderError."""
        deadline = time.monotonic() + timeout
        with self._news:
            while self.pins.get(number) != level:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise ReaderError(f"pin {number} does not become {level}")
                self._news.wait(left)

    def ask(self, request: dict, timeout: float = 20) -> object:
        """Send a request to the chip's inside and return its answer. Raises ReaderError."""
        if not self._wire:
            raise ReaderError("the reader has no power")
        with self._news:
            before = len(self._answers)
        self._wire.sendall(json.dumps(request).encode() + b"\n")
        deadline = time.monotonic() + timeout
        with self._news:
            while len(self._answers) == before:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise ReaderError(f"the chip does not answer {request['do']!r}")
                self._news.wait(left)
            return self._answers[-1]

    # Inside

    def _start(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(10)
            environment = {
                **os.environ,
                "MICROPYPATH": f"{CHIP}:.frozen",
                "KALITKA_CHIP_WORLD": str(listener.getsockname()[1]),
                "KALITKA_CHIP_RTC": str(self.folder / "rtc"),
                "KALITKA_CHIP_NVS": str(self.folder / "nvs.json"),
            }
            command = [micropython(), "-X", f"heapsize={self._heap}", str(CHIP / "power.py")]
            self._process = subprocess.Popen(
                [*command, str(self.flash_file)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
            )
            threading.Thread(target=self._read_console, args=(self._process,), daemon=True).start()
            try:
                self._wire, _ = listener.accept()
            except TimeoutError:
                said = "\n  ".join(self.console[-12:])
                raise ReaderError(f"the chip did not start; it said:\n  {said}") from None
        self._wire.settimeout(None)
        threading.Thread(target=self._read_wire, args=(self._wire,), daemon=True).start()

    def _read_console(self, process: subprocess.Popen) -> None:
        assert process.stdout
        for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            with self._news:
                self.console.append(line)
                self._news.notify_all()
            if self._on_line:
                self._on_line(line)
        if process.wait() == _RESET and self._meant_to_run:
            self._start()

    def _read_wire(self, wire: socket.socket) -> None:
        try:
            with wire.makefile("rb") as lines:
                for line in lines:
                    message = json.loads(line)
                    with self._news:
                        if "done" in message:
                            self._answers.append(message["done"])
                        else:
                            change = message["pin"], message["level"], message["ms"]
                            self.pin_changes.append(change)
                            self.pins[change[0]] = change[1]
                        self._news.notify_all()
        except (OSError, ValueError):
            return
