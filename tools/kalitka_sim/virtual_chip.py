"""A virtual chip: a MicroPython process with its flash, ROM and NVS in a folder.

The base of every kind of virtual reader, and the controls to use one: present a card, set the
clock, read the console. All of them act from outside, on pins and levels. Subclasses say how
power comes and goes, and where the console is connected.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from kalitka_build.boards import load_board

from . import littlefs_image
from .console import Console
from .control_channel import ControlChannel, ReaderError
from .memory_classes import FROZEN_80K, MemoryClass
from .timeouts import HANG_TIMEOUT_S
from .watchdog import Watchdog

CHIP = Path(__file__).parent / "chip"
FIRMWARE_HEAP = FROZEN_80K.process  # bytes of heap for the firmware, in most tests' memory class
# Bytes of heap held by the fakes of pins, radio, flash, memory and clock, and by the control
# channel: on a chip these are machine code and take none of the heap. A test measures them.
FAKES = 46 * 1024
ROM_FAKE = 1536  # and by the fake of a writable ROM on top of that
HOST_ARCH = "x64"  # the native code that this computer's MicroPython runs
# The causes of a start, as `machine.reset_cause` returns them.
POWER_ON, HARD_RESET, WATCHDOG_RESET, SOFT_RESET = 1, 2, 3, 5
# The signals by which a process ends where a chip panics, and restarts.
_PANICS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)
_CARD = re.compile(r"card (\S+) (allowed|denied)(?:: ([^(]+))? \(([^)]*)\)")


@dataclass
class ScanResult:
    """The outcome of a scan: the lock's output, and the verdict on the console."""

    code: str
    opened: bool
    allowed: bool
    reason: str
    when: str


def micropython() -> str:
    """Return the path of this environment's MicroPython. Raises ReaderError."""
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


def heap_with_rom(heap: int, rom: int) -> int:
    """Return the heap of a process in which `rom` bytes are ROM and `heap` those of a chip.

    A chip maps its flash into memory, which costs no heap. This process can only hold the ROM in
    its heap, so the heap is larger by the ROM and by MicroPython's tables for it (three bits for
    each 32 bytes).
    """
    return heap + rom + rom * 3 // 256


class VirtualChip:
    """A chip whose flash and NVS live in `folder`, so that it can be switched on again later.

    The chip has a ROM, perhaps a blank one, if `rom_file` exists, and modules frozen into its
    MicroPython if `frozen_file` exists. memory: the chip's memory class.
    console: the lines that the chip printed. channel: the control channel to its pins.
    restarts_after_panic: whether it goes on, as a chip does, if its MicroPython crashes; without,
    that is an error of the test.
    """

    def __init__(self, folder: Path, board_name: str, memory: MemoryClass):
        self.folder = folder
        self.board = load_board(board_name)
        self.flash_file = folder / "flash.bin"
        self.rom_file = folder / "rom.img"
        self.frozen_file = folder / "frozen.img"
        self.console: list[str] = []
        self.channel = ControlChannel()
        self.channel.on_reset = self._reset
        self._watchdog = Watchdog(self._bite)
        self.channel.on_watchdog = self._watchdog.feed
        self._memory = memory
        self._process: subprocess.Popen | None = None
        self._chip_console: Console | None = None
        self._reset_process: subprocess.Popen | None = None
        self._cause = POWER_ON
        self._powered = False
        self.restarts_after_panic = False
        # The lock output's level while the door is locked; None if it drives no level.
        self._locked_level: int | None = 0
        self._console_changed = threading.Condition()
        folder.mkdir(parents=True, exist_ok=True)

    # Controls

    def present(self, code: str, timeout: float = HANG_TIMEOUT_S) -> ScanResult:
        """Present a card to the scanner; return the outcome. Raises ReaderError."""
        seen, changes = len(self.console), len(self.pin_changes)
        self.send_pulses(wiegand_bits(code))
        line = self.wait_line(rf"card {code.upper()} ", since=seen, timeout=timeout)
        # The channel keeps the order: after this answer every earlier pin change has come, too.
        self.request({"do": "pins"})
        match = _CARD.search(line)
        if not match:
            raise ReaderError(f"the console said {line!r}")
        lock = self.board["LOCK"]
        levels = [level for pin, level, _ in self.pin_changes[changes:] if pin == lock]
        # The lock may still be open from the card before, or already shut again.
        opened = any(level != self._locked_level for level in [*levels, self.pins.get(lock)])
        allowed, reason = match[2] == "allowed", (match[3] or "").strip()
        return ScanResult(match[1], opened, allowed, reason, match[4])

    def send_pulses(
        self,
        bits: str,
        gap_ms: int = 2,
        busy: tuple[int, int] = (-1, -1),
        erase: tuple[int, int] = (-1, -1),
        timeout: float = HANG_TIMEOUT_S,
    ) -> None:
        """Send bits over the Wiegand wires.

        busy, erase: (first, end), counted from 0: from before bit `first` until before bit `end`
        the chip is busy in C and runs no bytecode, or erases flash and serves no interrupt (see
        `chip/state.py`).
        """
        request = {"do": "pulses", "busy": busy, "erase": erase, **self._wiegand(bits, gap_ms)}
        self.request(request, timeout)

    def delay_handshake(self, bits: str, gap_ms: int = 2, after_ms: int = 300) -> None:
        """Delay the next TLS handshake by `after_ms`, then send these bits during it."""
        self.request({"do": "handshake", "after_ms": after_ms, **self._wiegand(bits, gap_ms)})

    def freeze_time(self) -> None:
        """Stop the chip's ticks; from now on only `advance_time` and pulses move them."""
        self.request({"do": "stand still"})

    def advance_time(self, seconds: int) -> None:
        """Advance the chip's ticks and clock by `seconds` at once, at most six days."""
        self.request({"do": "later", "seconds": seconds})

    def stall(self, millis: int) -> None:
        """Let Python's loop hang for so many of the chip's milliseconds.

        Only afterwards the watchdog learns how long that was.
        """
        self._watchdog.pause()
        try:
            self.request({"do": "stall", "ms": millis})
        finally:
            self._watchdog.spend(millis / 1000)

    def hang(self) -> None:
        """Let the chip hang for ever, in the middle of whatever it does."""
        if not self._process:
            raise ReaderError("the reader has no power")
        os.kill(self._process.pid, signal.SIGSTOP)

    def hurry_watchdog(self, speed: float) -> None:
        """Let the watchdog's time pass faster by `speed` until the chip restarts."""
        self._watchdog.speed = speed

    def _wiegand(self, bits: str, gap_ms: int) -> dict:
        wires = [self.board["WIEGAND_D0"], self.board["WIEGAND_D1"]]
        return {"pins": wires, "bits": bits, "gap_ms": gap_ms}

    def set_switch(self, role: str, closed: bool) -> None:
        """Close or open the switch at a pin (open at first). role: such as DOOR_CONTACT."""
        self.request({"do": "level", "pin": self.board[role], "level": 0 if closed else 1})

    def set_clock(self, utc: float) -> None:
        """Set the chip's clock: seconds since 1970 UTC. The firmware sees it within a second."""
        self.request({"do": "clock", "utc": utc})

    def set_certificate_dates(self, first: float, last: float) -> None:
        """Tell the chip's TLS when the server's certificate is valid: seconds since 1970 UTC.

        A handshake fails while the chip's clock is not between them. Without these dates only the
        CA's are judged by the chip's clock.
        """
        self.request({"do": "certificate", "from": int(first), "until": int(last)})

    def set_network(
        self,
        up: bool,
        networks: dict[str, str] | None = None,
        deaf: bool = False,
        dhcp: bool = True,
    ) -> None:
        """Switch the Wi-Fi network on or off, or plug or pull the cable of a board with Ethernet.

        networks: {name: password}; without it every network exists and takes any password.
        deaf: a link that is up keeps reporting so until the firmware leaves it, even though the
        network is gone. dhcp: whether the cable's network gives addresses.
        """
        only = {} if networks is None else {"networks": networks}
        self.request({"do": "network", "up": up, "deaf": deaf, "dhcp": dhcp, **only})

    def type(self, data: bytes) -> None:
        """Send bytes to the console's input. Ctrl-C (3) interrupts a program that allows it."""
        if not self._chip_console:
            raise ReaderError("the reader has no power")
        self._chip_console.send(data)

    def flash_operations(self) -> dict[str, int]:
        """Return the counts of flash reads, programs and erases since power on."""
        return dict(self.request({"do": "flash"}))  # type: ignore[call-overload]

    def memory(self) -> dict[str, int]:
        """Return the bytes of heap "used" and "free" after a collection, without the ROM.

        "fakes": the bytes in use before the firmware ran, by the fakes and by MicroPython.
        """
        return dict(self.request({"do": "memory"}))  # type: ignore[call-overload]

    def flash_files(self) -> dict[str, bytes]:
        """Return {path: contents} of the files in flash. Only while the chip is off."""
        return littlefs_image.read(self.flash_file)

    # Watching

    @property
    def powered(self) -> bool:
        """Whether the chip has power."""
        return self._powered

    def wait_ready(self, since: int = 0) -> None:
        """Wait until the application reports that it is ready. `since` as in `wait_line`."""
        self.wait_line(r" ready$", since=since)
        self.request({"do": "pins"})
        self._locked_level = self.pins.get(self.board["LOCK"])

    @property
    def pins(self) -> dict[int, int | None]:
        """The levels of the outputs by their pin; None: a reset or a power cut let go of it."""
        return self.channel.pins

    @property
    def pin_changes(self) -> list[tuple[int, int | None, int]]:
        """Every change of an output: (pin, level, the chip's milliseconds)."""
        return self.channel.pin_changes

    def request(self, message: dict, timeout: float = HANG_TIMEOUT_S) -> object:
        """Send a request over the control channel; return the answer. Raises ReaderError."""
        return self.channel.request(message, timeout)

    def wait_pin(self, number: int, level: int | None, timeout: float = HANG_TIMEOUT_S) -> None:
        """Wait until an output has this level. Raises ReaderError."""
        self.channel.wait_pin(number, level, timeout)

    def wait_line(self, pattern: str, since: int = 0, timeout: float = HANG_TIMEOUT_S) -> str:
        """Return the first console line from index `since` on that matches. Raises ReaderError."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        at = since
        with self._console_changed:
            while True:
                for line in self.console[at:]:
                    if wanted.search(line):
                        return line
                at = len(self.console)
                left = deadline - time.monotonic()
                ended = self._process is None or self._process.poll() is not None
                if left <= 0 or (ended and not self._powered):
                    end = self._console_end()
                    raise ReaderError(f"no line like {pattern!r}; the console's end:\n  {end}")
                self._console_changed.wait(min(left, 0.5))

    # For subclasses

    def _begin_power(self) -> None:
        # The clock is lost with the power; the NVS is not.
        (self.folder / "rtc").write_text("")
        nvs = self.folder / "nvs.json"
        if not nvs.exists():
            nvs.write_text("")
        self._cause = POWER_ON
        self._powered = True

    def _end_power(self) -> None:
        self._powered = False
        process, self._process = self._process, None
        self._chip_console = None
        if process and process.poll() is None:
            process.kill()
            process.wait()
        self.channel.disconnect()
        self._watchdog.stop()
        self.channel.release_pins()

    def _reset(self, cause: int = HARD_RESET) -> None:
        # A chip that resets itself prints nothing more; a process that ended by itself would.
        self._cause = cause
        self._watchdog.speed = 1.0
        self._reset_process = self._process
        if self._process:
            self._process.kill()

    def _bite(self, pid: int) -> None:
        if self._process and self._process.pid == pid:
            self._add_line("task_wdt: Task watchdog got triggered.")
            self._reset(WATCHDOG_RESET)

    def _next_start(self, process: subprocess.Popen) -> int:
        # Wait for the end of the process; return the cause of the start that has to follow, 0 if
        # the power is cut. A soft reset leaves the outputs and the watchdog as they are. Raises
        # ReaderError if the process died.
        status = process.wait()
        if process is not self._process or not self._powered:
            return 0
        if process is self._reset_process:
            self._watchdog.stop()
            self.channel.release_pins()
        elif self.restarts_after_panic and self._is_panic(status):
            self._add_line(f"Guru Meditation Error: exit status {status}")
            self._watchdog.stop()
            self.channel.release_pins()
            self._cause = HARD_RESET
        elif status not in (0, -signal.SIGINT):
            # A Ctrl-C that was meant for a program, and found it at its end and the prompt not
            # yet there, ends the process: a soft reset is the nearest that a chip has to it.
            raise ReaderError(f"the chip's MicroPython died: exit status {status}")
        else:
            self._cause = SOFT_RESET
        return self._cause

    def _is_panic(self, status: int) -> bool:
        # MicroPython restarts a chip where it ends this process for an exception without a place
        # to go (nlr_jump_fail).
        lost = status == 1 and any(line.startswith("FATAL:") for line in self.console[-3:])
        return -status in _PANICS or lost

    def _start_chip(self, **environment: str) -> Console:
        # Start the chip, wait for its control channel, and return its console.
        heap = self._memory.process + FAKES
        if self.rom_file.exists():
            heap = heap_with_rom(heap + ROM_FAKE, self.rom_file.stat().st_size)
        if self.frozen_file.exists():
            heap = heap_with_rom(heap, self.frozen_file.stat().st_size)
        command = [micropython(), "-X", f"heapsize={heap}", str(CHIP / "power.py")]

        def start(port: int) -> subprocess.Popen:
            self._process = subprocess.Popen(
                [*command, str(self.flash_file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # A Ctrl-C in the terminal is for the tool, not for the chip.
                start_new_session=True,
                env={**self._environment(port), **environment},
            )
            self._watchdog.attach(self._process.pid)
            return self._process

        self._chip_console = Console(self.channel.connect(start))
        return self._chip_console

    def _environment(self, port: int) -> dict[str, str]:
        # Without HOME the REPL writes no history into the user's home.
        own = {name: value for name, value in os.environ.items() if name != "HOME"}
        return {
            **own,
            "MICROPYPATH": f"{CHIP}:.frozen",
            "KALITKA_CHIP_CAUSE": str(self._cause),
            "KALITKA_CHIP_WORLD": str(port),
            "KALITKA_CHIP_RTC": str(self.folder / "rtc"),
            "KALITKA_CHIP_NVS": str(self.folder / "nvs.json"),
            "KALITKA_CHIP_LAN": "1" if "ETHERNET" in self.board else "",
            "KALITKA_CHIP_ROM": str(self.rom_file) if self.rom_file.exists() else "",
            "KALITKA_CHIP_FROZEN": str(self.frozen_file) if self.frozen_file.exists() else "",
            "KALITKA_CHIP_MEMORY": json.dumps(self._memory.as_dict()),
        }

    def _add_line(self, line: str) -> None:
        with self._console_changed:
            self.console.append(line)
            self._console_changed.notify_all()

    def _console_end(self) -> str:
        return "\n  ".join(self.console[-12:])
