"""The real `mpremote` as a process: commands run on a device at a port, its faults in words."""

import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

# mpremote itself waits up to ten seconds, several times, for a board that does not answer. A
# file of 20 KiB takes some ten seconds over a serial line.
_SILENCE_S = 60


class DeployError(Exception):
    """The device could not be served; the message says why and what to do."""


class Mpremote:
    """The real `mpremote`, as a process, at one port."""

    def __init__(self, port: str):
        self.port = port

    def run(
        self,
        *commands: list[str],
        cwd: Path | None = None,
        on_line: Callable[[str], None] = lambda _: None,
    ) -> list[str]:
        """Run commands one after the other in one session, which begins with a soft reset.

        Returns the lines it printed; `on_line` is told each as it comes. Raises DeployError.
        """
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
        said: list[str] = []
        faults: list[str] = []
        try:
            for line, is_fault in _lines(process):
                (faults if is_fault else said).append(line)
                if not is_fault:
                    on_line(line)
        except queue.Empty:
            raise DeployError(self._no_answer()) from None
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()
        if process.returncode:
            raise DeployError(self._explain(faults, said))
        return said

    def _no_answer(self) -> str:
        return (
            f"nothing at {self.port} answers as MicroPython does: is MicroPython flashed, "
            "and is it the right port?"
        )

    def _explain(self, faults: list[str], said: list[str]) -> str:
        everything = "\n".join([*said, *faults])
        if "failed to access" in everything:
            return self._no_access()
        if "could not enter raw repl" in everything:
            return self._no_answer()
        if "ENOSPC" in everything or "OSError: 28" in everything:
            return "the device's flash is full; remove what is not needed there"
        lost = ("SerialException", "Input/output error", "termios.error", "OSError: [Errno 5]")
        if any(sign in everything for sign in lost):
            return f"the connection at {self.port} was lost; plug it in and try again"
        last = next((line for line in reversed([*said, *faults]) if line.strip()), "no reason")
        return f"mpremote failed at {self.port}: {last.strip()}"

    def _no_access(self) -> str:
        if self.port.startswith("/"):
            if not Path(self.port).exists():
                return f"there is no {self.port}; is the board plugged in?"
            if not os.access(self.port, os.R_OK | os.W_OK):
                return (
                    f"no permission for {self.port}; join the group that owns it: "
                    f"sudo usermod -a -G {_group(self.port)} $USER, and log in again"
                )
        return f"{self.port} cannot be opened; close what uses it, such as another mpremote"


def find_port() -> str:
    """Return the port of the only USB serial device. Raises DeployError if it is not one."""
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
    there = "\n".join("  " + line.rstrip() for line in listing.splitlines()) or "  none at all"
    which = "several USB serial devices are" if boards else "no USB serial device is"
    raise DeployError(
        f"{which} plugged in; say which port it is: --port PORT. mpremote lists:\n{there}"
    )


def _lines(process: subprocess.Popen) -> Iterator[tuple[str, bool]]:
    # (line, whether it came from stderr), as they come. Raises queue.Empty after a long silence.
    news: queue.Queue[tuple[str, bool] | None] = queue.Queue()

    def read(stream: IO[str] | None, is_fault: bool) -> None:
        assert stream
        with stream:
            for line in stream:
                news.put((line.rstrip("\r\n"), is_fault))
        news.put(None)

    for stream, is_fault in ((process.stdout, False), (process.stderr, True)):
        threading.Thread(target=read, args=(stream, is_fault), daemon=True).start()
    ended = 0
    while ended < 2:
        line = news.get(timeout=_SILENCE_S)
        if line:
            yield line
        else:
            ended += 1


def snippet(code: str, **values: object) -> list[str]:
    """Return the command that runs `code` on the device with these names set.

    Their values are texts, lists and dicts of texts: what repr makes of them is an expression
    there, too.
    """
    given = "".join(f"{name} = {value!r}\n" for name, value in values.items())
    return ["exec", given + code.strip() + "\n"]


def objects(lines: list[str]) -> list:
    """Return the JSON objects and lists that stand in lines of their own."""
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
