"""The console of a virtual chip: two pipes, and Ctrl-C, which a pipe cannot carry."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

CHUNK = 4096  # bytes read at once
_INTERRUPT = b"\x03"
_IN_RAW = b"raw REPL; CTRL-B to exit\r\n>"
_IN_FRIENDLY = b"for more information.\r\n>>> "
# A chip serves Ctrl-C between two bytecodes. A signal amid an allocation may leave the heap here
# locked for ever, so it is sent while the program sleeps, if it soon does.
_SLEEP_TRIES, _SLEEP_STEP_S = 40, 0.005
_DOUBLE_INTERRUPT_S = 0.1  # a second Ctrl-C so soon would end the process, not its program


class Console:
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
        data = os.read(self.output, CHUNK)
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
            _wait_until_asleep(self.process.pid)
            self.process.send_signal(signal.SIGINT)
        return True

    def _write(self, data: bytes) -> None:
        # The chip may have ended just now: then the input is lost, as on a board.
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            while data and not self.process.stdin.closed:
                data = data[os.write(self._input, data) :]


def _handles_sigint(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = status.partition("SigCgt:")[2].split(maxsplit=1)
    return bool(caught) and bool(int(caught[0], 16) >> (signal.SIGINT - 1) & 1)


def _wait_until_asleep(pid: int) -> None:
    for _ in range(_SLEEP_TRIES):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "S":
            return
        time.sleep(_SLEEP_STEP_S)
