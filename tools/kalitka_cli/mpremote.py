"""The `mpremote` process: runs commands on a device at a port and explains errors."""

import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import serial

# Longer than mpremote's own waits for a silent board, up to ten seconds each, several times, and
# than a file of 20 KiB over a serial line, some ten seconds.
_TIMEOUT_S = 60
_POLL_S = 0.2  # between two checks whether a wait is over


class DeviceError(Exception):
    """The device failed or is unreachable; the message says why and what to do."""


class Mpremote:
    """The `mpremote` process at one port."""

    def __init__(self, port: str):
        self.port = port

    def run(
        self,
        *commands: list[str],
        cwd: Path | None = None,
        on_line: Callable[[str], None] = lambda _: None,
    ) -> list[str]:
        """Run commands in one session, which begins with a soft reset.

        Returns the lines of stdout; `on_line` gets each line as it comes. Raises DeviceError.
        """
        output: list[str] = []
        errors: list[str] = []
        with self._process(commands, cwd) as process:
            try:
                lines = _Output(process)
                while item := lines.next(_TIMEOUT_S):
                    line, is_error = item
                    (errors if is_error else output).append(line)
                    if not is_error:
                        on_line(line)
            except queue.Empty:
                raise DeviceError(self._no_answer()) from None
        if process.returncode:
            raise DeviceError(self._explain(errors, output))
        return output

    def watch(
        self,
        *commands: list[str],
        until: Callable[[], bool],
        on_line: Callable[[str], None],
        cwd: Path | None = None,
    ) -> list[str]:
        """Run commands, the last of which leaves the device printing, as a reset does.

        Returns the lines of stdout once `until` returns true; it is called after each line and
        several times a second. The device is left running. Raises DeviceError if mpremote ends
        before that.
        """
        output: list[str] = []
        errors: list[str] = []
        with self._process(commands, cwd) as process:
            lines = _Output(process)
            while not until():
                try:
                    item = lines.next(_POLL_S)
                except queue.Empty:
                    continue
                if not item:
                    break
                line, is_error = item
                (errors if is_error else output).append(line)
                if not is_error:
                    on_line(line)
            else:
                return output
        raise DeviceError(self._explain(errors, output))

    @contextlib.contextmanager
    def _process(
        self, commands: tuple[list[str], ...], cwd: Path | None
    ) -> Iterator[subprocess.Popen]:
        words = ["connect", self.port]
        for command in commands:
            words += [*command, "+"]
        process = subprocess.Popen(
            [sys.executable, "-m", "mpremote", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()

    def _no_answer(self) -> str:
        return (
            f"no MicroPython answers at {self.port}: check that MicroPython is flashed and that "
            "the port is right; if the reader's console is locked (setting console), stop it with "
            "its password first"
        )

    def _explain(self, errors: list[str], output: list[str]) -> str:
        everything = "\n".join([*output, *errors])
        if "failed to access" in everything:
            return self._no_access()
        if "could not enter raw repl" in everything:
            return self._no_answer()
        if "ENOSPC" in everything or "OSError: 28" in everything:
            return "the device's flash is full; remove unneeded files from it"
        lost = ("SerialException", "Input/output error", "termios.error", "OSError: [Errno 5]")
        if any(sign in everything for sign in lost):
            return f"the connection at {self.port} was lost; plug the device in and try again"
        last = next((line for line in reversed([*output, *errors]) if line.strip()), "no message")
        return f"mpremote failed at {self.port}: {last.strip()}"

    def _no_access(self) -> str:
        if self.port.startswith("/"):
            if not Path(self.port).exists():
                return f"there is no port {self.port}; plug the board in"
            if not os.access(self.port, os.R_OK | os.W_OK):
                return (
                    f"no permission for {self.port}; join the group that owns it: "
                    f"sudo usermod -a -G {_group(self.port)} $USER, and log in again"
                )
        return f"{self.port} cannot be opened; close other programs on it, such as mpremote"


def read_console(port: str, until: Callable[[], bool], on_line: Callable[[str], None]) -> None:
    """Read a device's console without sending anything, until `until` returns true.

    Also waits for the port: a chip with built-in USB disappears while it restarts.
    """
    while not until():
        try:
            with serial.Serial(port, 115200, timeout=_POLL_S) as line_in:
                tail = b""
                while not until():
                    *lines, tail = (tail + line_in.read(256)).split(b"\n")
                    for line in lines:
                        on_line(line.decode(errors="replace").rstrip())
        except OSError:  # pyserial's errors are OSErrors, too
            time.sleep(_POLL_S)


def find_port() -> str:
    """Return the port of the only USB serial device. Raises DeviceError for none or several."""
    listing = subprocess.run(
        [sys.executable, "-m", "mpremote", "connect", "list"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    ports = re.findall(r"^(\S+) .*?\b([0-9a-f]{4}:[0-9a-f]{4})\b", listing, re.MULTILINE)
    boards = [port for port, ids in ports if ids != "0000:0000"]
    if len(boards) == 1:
        return boards[0]
    there = "\n".join("  " + line.rstrip() for line in listing.splitlines()) or "  none"
    which = "several USB serial devices are" if boards else "no USB serial device is"
    raise DeviceError(f"{which} plugged in; give the port: --port PORT. mpremote lists:\n{there}")


class _Output:
    """The merged stdout and stderr lines of a process, in order of arrival."""

    def __init__(self, process: subprocess.Popen):
        self._queue: queue.Queue[tuple[str, bool] | None] = queue.Queue()
        self._open = 2
        for stream, is_error in ((process.stdout, False), (process.stderr, True)):
            threading.Thread(target=self._read, args=(stream, is_error), daemon=True).start()

    def next(self, timeout: float) -> tuple[str, bool] | None:
        """Return (line, whether it is from stderr), or None at the end of both streams.

        Raises queue.Empty if no line comes within `timeout` seconds.
        """
        while self._open:
            line = self._queue.get(timeout=timeout)
            if line:
                return line
            self._open -= 1
        return None

    def _read(self, stream: IO[str] | None, is_error: bool) -> None:
        assert stream
        with stream:
            for line in stream:
                self._queue.put((line.rstrip("\r\n"), is_error))
        self._queue.put(None)


def exec_command(code: str, **values: object) -> list[str]:
    """Return the mpremote command that runs `code` on the device with these names set.

    The values are texts, numbers, lists and dicts: their repr must be an expression on the device.
    """
    given = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    return ["exec", given + code.strip() + "\n"]


def json_values(lines: list[str]) -> list:
    """Return the JSON objects and lists among the lines, one per line."""
    found = []
    for line in lines:
        if line.startswith(("{", "[")):
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return found


def _group(path: str) -> str:
    try:
        return Path(path).group()
    except (KeyError, OSError):
        return "dialout"
