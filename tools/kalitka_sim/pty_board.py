"""A virtual chip as a serial board on a PTY: for an unchanged `mpremote`, and for a terminal.

Behaves as a board does: Ctrl-C stops the running program; Ctrl-D at a prompt is a soft reset,
over which a board in the raw REPL stays there without running main.py; `machine.reset()` starts
as after power on, but with the clock kept. The flash is a file in a folder: a power cut at any
moment loses nothing that LittleFS promises to keep. Needs Linux (PTYs, /proc).
"""

import contextlib
import os
import pty
import select
import signal
import subprocess
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path

from kalitka_build import rom_image
from kalitka_build.compiler import compile_firmware

from .control_channel import ReaderError
from .memory_classes import PSRAM, MemoryClass
from .virtual_chip import HOST_ARCH, VirtualChip

_INTERRUPT = b"\x03"
_ENTER_RAW = b"\r\x01"
_IN_RAW = b"raw REPL; CTRL-B to exit\r\n>"
_IN_FRIENDLY = b"for more information.\r\n>>> "
_SOFT_RESET = b"\r\nMPY: soft reboot\r\n"
_CHUNK = 4096
_LISTENER_TIMEOUT_S = (
    1  # output that nobody reads for so long: check whether a program has the port open
)
_TICK_S = 0.01  # between two attempts to deliver an interrupt
_DOUBLE_INTERRUPT_S = 0.1  # a second Ctrl-C so soon would end the process, not its program


class PtyBoard(VirtualChip):
    """A board whose flash lies in `folder`; blank, without MicroPython's files, when new.

    `port` is the path for mpremote, a new one after each `power_on`.
    board_name: a folder of boards/, "" for the memory class's own. memory: the chip's memory
    class; in a class for frozen firmware a new board has the firmware in its MicroPython.
    on_input: called with the bytes from the cable before the chip gets them. The cable carries
    nothing during the call, and an OSError raised there pulls it out.
    rom: bytes of a new board's ROM partition, blank as well; 0: none, as a stock board has.
    """

    def __init__(
        self,
        folder: Path,
        board_name: str = "",
        memory: MemoryClass = PSRAM,
        rom: int = 0,
    ):
        board_name = board_name or memory.board
        super().__init__(folder, board_name, memory)
        self.port = ""
        self.on_input: Callable[[bytes], None] = _ignore
        self._fault: ReaderError | None = None
        self._cable: _Cable | None = None
        self._serving: threading.Thread | None = None
        self._raw = False
        if not self.flash_file.exists():
            self.flash_file.write_bytes(b"\xff" * (self.board["VFS_SIZE"] - rom))
            if rom:
                self.rom_file.write_bytes(b"\xff" * rom)
            if memory.frozen:
                firmware = compile_firmware(board_name, HOST_ARCH)
                self.frozen_file.write_bytes(rom_image.build_image(firmware))

    def power_on(self) -> None:
        """Plug the board in. Raises ReaderError if it does not start."""
        self._begin_power()
        self._raw = False
        self._cable = _Cable()
        self.port = self._cable.path
        first = self._boot()
        self._serving = threading.Thread(target=self._serve, args=(first,), daemon=True)
        self._serving.start()

    def power_cut(self) -> None:
        """Pull the cable, whatever the board is doing: power and port are gone."""
        self._powered = False
        if self._cable:
            self._cable.pull()
        self._end_power()
        if self._serving:
            self._serving.join()
            self._serving = None
        # The thread may have started the chip again after the first call.
        self._end_power()
        if self._cable:
            self._cable.close()
            self._cable = None

    def wait_end(self) -> None:
        """Wait until the board's power is cut. Raises ReaderError if the board fails."""
        if self._serving:
            self._serving.join()
        if self._fault:
            raise self._fault

    def __enter__(self) -> "PtyBoard":
        return self

    def __exit__(self, *_: object) -> None:
        self.power_cut()

    # The thread between the cable and the chip

    def _boot(self) -> "_Console":
        raw = {"KALITKA_CHIP_RAW": "1"} if self._raw else {}
        process = self._start_chip(subprocess.PIPE, MICROPYINSPECT="1", **raw)
        console = _Console(process)
        if self._raw:
            console.send(_ENTER_RAW)
        return console

    def _serve(self, console: "_Console") -> None:
        assert self._cable
        try:
            while self._run_until_exit(console, self._cable):
                if self._was_reset(console.process):
                    self._raw = False
                else:
                    self._cable.send(_SOFT_RESET)
                console = self._boot()
        except ReaderError as fault:
            if self._powered:
                self._fault = fault
                self._cable.close()
        except OSError:
            pass  # the cable was pulled

    def _run_until_exit(self, console: "_Console", cable: "_Cable") -> bool:
        # Return True when the chip ends, False when the cable is pulled.
        line = b""
        try:
            while self._powered:
                ready = select.select(
                    [cable.near, cable.pulled, console.output],
                    [],
                    [],
                    _TICK_S if console.interrupt_due else None,
                )[0]
                if cable.pulled in ready:
                    return False
                console.interrupt_if_due()
                if cable.near in ready:
                    data_in = os.read(cable.near, _CHUNK)
                    self.on_input(data_in)
                    console.send(data_in)
                if console.output in ready:
                    data = console.read()
                    if not data:
                        return self._powered
                    self._raw = console.raw
                    # A board ends a program's lines with \r\n. In raw mode mpremote reads either.
                    cable.send(data if self._raw else _with_crlf(data))
                    *lines, line = (line + data).split(b"\n")
                    for one in lines:
                        self._add_line(one.decode(errors="replace").rstrip())
            return False
        finally:
            console.close()


def _ignore(data_in: bytes) -> None:
    pass


class _Console:
    """The chip's REPL behind two pipes, with its mode: raw or not."""

    def __init__(self, process: subprocess.Popen):
        assert process.stdin and process.stdout
        self.process = process
        self._input = process.stdin.fileno()
        self.output = process.stdout.fileno()
        self.raw = False
        self.interrupt_due = False
        self._prompted = False  # whether the REPL has been reached since the start
        self._tail = b""
        self._interrupted = 0.0

    def read(self) -> bytes:
        """Return the bytes that the chip printed, b"" if the chip has ended."""
        data = os.read(self.output, _CHUNK)
        seen = self._tail + data
        if max(seen.rfind(_IN_RAW), seen.rfind(_IN_FRIENDLY)) >= 0:
            self.raw = seen.rfind(_IN_RAW) > seen.rfind(_IN_FRIENDLY)
            self._prompted = True
            self.interrupt_due = False
        self._tail = seen[-len(_IN_RAW) :]
        return data

    def send(self, data: bytes) -> None:
        """Pass bytes from the cable on; Ctrl-C goes to the running program or to the prompt."""
        before, *after = data.split(_INTERRUPT)
        self._write(before)
        for part in after:
            if not self._prompted:
                self.interrupt_due = True
                self.interrupt_if_due()
            elif not self._interrupt():
                self._write(_INTERRUPT)
            self._write(part)

    def interrupt_if_due(self) -> None:
        """Deliver a Ctrl-C that came while the chip was still starting."""
        if self.interrupt_due and self._interrupt():
            self.interrupt_due = False

    def close(self) -> None:
        """Close the pipes, which ends the chip."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()

    def _interrupt(self) -> bool:
        # A program gets Ctrl-C as a signal, a prompt as a character: there the signal would end
        # the process. A program is running if MicroPython catches the signal.
        if not _handles_sigint(self.process.pid):
            return False
        if time.monotonic() - self._interrupted > _DOUBLE_INTERRUPT_S:
            self._interrupted = time.monotonic()
            self.process.send_signal(signal.SIGINT)
        return True

    def _write(self, data: bytes) -> None:
        # The chip may have ended just now: then the input is lost, as on a board.
        with contextlib.suppress(BrokenPipeError):
            while data:
                data = data[os.write(self._input, data) :]


class _Cable:
    """A PTY, and a pipe that tells the board's thread when the cable is pulled.

    near: the board's end of the PTY. path: the computer's end.
    """

    def __init__(self) -> None:
        self.near, self._far = pty.openpty()
        # Kept open at both ends: otherwise it would hang up whenever a program closes its end.
        tty.setraw(self._far)
        os.set_blocking(self.near, False)
        self.path = os.ttyname(self._far)
        self.pulled, self._pull = os.pipe()
        self._has_listener = True
        self._open = True

    def send(self, data: bytes) -> None:
        """Send to the computer; data that no program reads is lost, as on a board."""
        while data:
            patience = _LISTENER_TIMEOUT_S if self._has_listener else 0
            ready = select.select([self.pulled], [self.near], [], patience)
            if not any(ready) and self._has_listener and _is_open_elsewhere(self.path):
                continue  # the program is only slow
            if ready[0] or not ready[1]:
                self._has_listener = False
                return
            data = data[os.write(self.near, data) :]
            self._has_listener = True

    def pull(self) -> None:
        """Tell the board's thread to end."""
        os.write(self._pull, b"!")

    def close(self) -> None:
        """Close the PTY: a program at the far end gets an error."""
        if self._open:
            self._open = False
            for end in (self.near, self._far, self.pulled, self._pull):
                os.close(end)


def _with_crlf(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _is_open_elsewhere(path: str) -> bool:
    # Whether another process of the same user has a file open.
    for opened in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(opened) == path and opened.parts[2] != str(os.getpid()):
                return True
    return False


def _handles_sigint(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = status.partition("SigCgt:")[2].split(maxsplit=1)
    return bool(caught) and bool(int(caught[0], 16) >> (signal.SIGINT - 1) & 1)
