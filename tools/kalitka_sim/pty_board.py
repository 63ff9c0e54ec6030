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
import threading
import tty
from collections.abc import Callable
from pathlib import Path

from kalitka_build import rom_image
from kalitka_build.compiler import compile_frozen

from .console import CHUNK, Console
from .control_channel import ReaderError
from .memory_classes import PSRAM, MemoryClass
from .virtual_chip import HOST_ARCH, SOFT_RESET, VirtualChip

_ENTER_RAW = b"\r\x01"
_SOFT_RESET = b"\r\nMPY: soft reboot\r\n"
_LISTENER_TIMEOUT_S = (
    1  # output that nobody reads for so long: check whether a program has the port open
)


class PtyBoard(VirtualChip):
    """A board whose flash lies in `folder`; blank, without MicroPython's files, when new.

    `port` is the path for mpremote, a new one after each `power_on`.
    board_name: a folder of boards/, "" for the memory class's own. memory: the chip's memory
    class; in a class for frozen firmware a new board has the firmware in its MicroPython.
    on_input: called with the bytes from the cable before the chip gets them. The cable carries
    nothing during the call, and an OSError raised there pulls it out. on_fault: called with the
    cause when the board dies, that is, when its process does.
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
        self.on_fault: Callable[[str], None] = _ignore
        self._fault: ReaderError | None = None
        self._cable: _Cable | None = None
        self._serving: threading.Thread | None = None
        self._raw = False
        if not self.flash_file.exists():
            self.flash_file.write_bytes(b"\xff" * (self.board["VFS_SIZE"] - rom))
            if rom:
                self.rom_file.write_bytes(b"\xff" * rom)
            if memory.frozen:
                frozen = compile_frozen(board_name, HOST_ARCH)
                self.frozen_file.write_bytes(rom_image.build_image(frozen))

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

    def _boot(self) -> "Console":
        console = self._start_chip(**{"KALITKA_CHIP_RAW": "1"} if self._raw else {})
        if self._raw:
            console.send(_ENTER_RAW)
        return console

    def _serve(self, console: "Console") -> None:
        assert self._cable
        try:
            while self._run_until_exit(console, self._cable):
                cause = self._next_start(console.process)
                if not cause:
                    return
                if cause == SOFT_RESET:
                    self._cable.send(_SOFT_RESET)
                else:
                    self._raw = False
                console = self._boot()
        except ReaderError as fault:
            if self._powered:
                self._fault = fault
                self.on_fault(str(fault))
                self._cable.close()
        except OSError:
            pass  # the cable was pulled

    def _run_until_exit(self, console: "Console", cable: "_Cable") -> bool:
        # Return True when the chip ends, False when the cable is pulled.
        line = b""
        try:
            while self._powered:
                ready = select.select([cable.near, cable.pulled, console.output], [], [])[0]
                if cable.pulled in ready:
                    return False
                if cable.near in ready:
                    data_in = os.read(cable.near, CHUNK)
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


def _ignore(_: bytes | str) -> None:
    pass


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
        if self._open:
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
