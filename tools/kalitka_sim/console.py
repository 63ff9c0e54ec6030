"""The console of a virtual chip: two pipes, and Ctrl-C, which a pipe cannot carry."""

import contextlib
import ctypes
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
# locked for ever, so it is sent while the program waits in a system call, if it soon does.
_TRIES, _STEP_S = 100, 0.002
_LIBC = ctypes.CDLL(None)
_DOUBLE_INTERRUPT_S = 0.1  # a second Ctrl-C so soon would end the process, not its program


class Console:
    """The chip's REPL behind two pipes, with its mode: raw or not."""

    def __init__(self, process: subprocess.Popen):
        assert process.stdin and process.stdout
        self.process = process
        self._input = process.stdin.fileno()
        self.output = process.stdout.fileno()
        self.raw = False
        self._tail = b""
        self._interrupted = 0.0

    def read(self) -> bytes:
        """Return the bytes that the chip printed, b"" if the chip has ended."""
        data = os.read(self.output, CHUNK)
        seen = self._tail + data
        if max(seen.rfind(_IN_RAW), seen.rfind(_IN_FRIENDLY)) >= 0:
            self.raw = seen.rfind(_IN_RAW) > seen.rfind(_IN_FRIENDLY)
        self._tail = seen[-len(_IN_RAW) :]
        return data

    def send(self, data: bytes) -> None:
        """Pass bytes from the cable on; Ctrl-C stops the program that allows it."""
        before, *after = data.split(_INTERRUPT)
        self._write(before)
        for part in after:
            if not self._interrupt():
                self._write(_INTERRUPT)
            self._write(part)

    def close(self) -> None:
        """Close the pipes, which ends the chip."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()

    def _interrupt(self) -> bool:
        # A program that allows it gets Ctrl-C as a signal, which MicroPython then catches; any
        # other program and a prompt get a character, for the signal would end the process.
        # The program may switch it on or off at any moment, so the process is stopped first.
        pid = self.process.pid
        tries = _TRIES
        while _handles_sigint(pid):
            if time.monotonic() - self._interrupted <= _DOUBLE_INTERRUPT_S or _state(pid) == "T":
                return True  # or the chip hangs
            self.process.send_signal(signal.SIGSTOP)
            try:
                _wait_until_stopped(pid)
                tries -= 1
                if _handles_sigint(pid) and (not tries or _is_in_system_call(pid)):
                    self._interrupted = time.monotonic()
                    # To its first thread, which runs the program: any might get it otherwise.
                    _LIBC.tgkill(pid, pid, int(signal.SIGINT))
                    return True
            finally:
                self.process.send_signal(signal.SIGCONT)
            time.sleep(_STEP_S)
        return False

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


def _wait_until_stopped(pid: int) -> None:
    while _state(pid) not in "TZX":  # or has ended
        time.sleep(0)


def _is_in_system_call(pid: int) -> bool:
    try:
        return not Path(f"/proc/{pid}/syscall").read_text().startswith("-1")
    except OSError:
        return True


def _state(pid: int) -> str:
    # As in proc(5): S sleeps, T is stopped; "" if it has ended.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
