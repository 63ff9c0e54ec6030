"""The wire into a virtual chip: requests in, answers and changes of pins out.

The chip connects when it starts (chip/state.py has the messages). One wire lives as long as its
reader; every start of the chip plugs in anew, and what the pins did before stays on record.
"""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing

from .patience import PATIENCE_S

_LOOK_S = 0.2  # between two looks whether it still runs


class ReaderError(Exception):
    """The virtual reader did not do what it was asked to; the message says what it did."""


class Wire:
    """The world's end of the wire.

    pins: {pin: level} of the outputs. pin_changes: (pin, level, the chip's milliseconds).
    on_reset: is called when the chip resets itself, and has to end it.
    """

    def __init__(self) -> None:
        self.pins: dict[int, int] = {}
        self.pin_changes: list[tuple[int, int, int]] = []
        self.on_reset: Callable[[], None] = lambda: None
        self._answers: list[object] = []
        self._news = threading.Condition()
        self._socket: socket.socket | None = None

    def plug_in(self, start: Callable[[int], subprocess.Popen]) -> subprocess.Popen:
        """Start a chip with `start(port)` and return it when it has connected.

        Raises ReaderError, with what it said, if it does not; then it has been ended.
        """
        with socket.create_server(("127.0.0.1", 0)) as listener:
            process = start(listener.getsockname()[1])
            plugged = _accept(listener, process)
        if not plugged:
            process.kill()
            said = process.communicate()[0].decode(errors="replace").strip()
            raise ReaderError(f"the chip did not start; it said: {said or 'nothing'}")
        with self._news:
            self._socket = plugged
        threading.Thread(target=self._read, args=(plugged,), daemon=True).start()
        return process

    def unplug(self) -> None:
        """Let go of the chip."""
        with self._news:
            plugged, self._socket = self._socket, None
            self._news.notify_all()
        if plugged:
            plugged.close()

    def ask(self, request: dict, timeout: float = PATIENCE_S) -> object:
        """Send a request to the chip's inside and return its answer. Raises ReaderError."""
        with self._news:
            plugged = self._socket
            before = len(self._answers)
        if not plugged:
            raise ReaderError("the reader has no power")
        deadline = time.monotonic() + timeout
        try:
            plugged.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            raise ReaderError("the reader lost power") from None
        with self._news:
            while len(self._answers) == before:
                left = deadline - time.monotonic()
                if self._socket is not plugged:
                    raise ReaderError(f"the reader lost power at {request['do']!r}")
                if left <= 0:
                    raise ReaderError(f"the chip does not answer {request['do']!r}")
                self._news.wait(left)
            return self._answers[-1]

    def wait_pin(self, number: int, level: int, timeout: float = PATIENCE_S) -> None:
        """Return when an output has this level. Raises ReaderError."""
        deadline = time.monotonic() + timeout
        with self._news:
            while self.pins.get(number) != level:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise ReaderError(f"pin {number} does not become {level}")
                self._news.wait(left)

    def _read(self, plugged: socket.socket) -> None:
        try:
            with closing(plugged), plugged.makefile("rb") as lines:
                for line in lines:
                    self._take(json.loads(line))
        except (OSError, ValueError):
            pass  # cut off in the middle of a line: the power is gone
        with self._news:
            if self._socket is plugged:
                self._socket = None
            self._news.notify_all()

    def _take(self, message: dict) -> None:
        with self._news:
            if "reset" in message:
                self.on_reset()
            elif "done" in message:
                self._answers.append(message["done"])
            else:
                change = message["pin"], message["level"], message["ms"]
                self.pin_changes.append(change)
                self.pins[change[0]] = change[1]
            self._news.notify_all()


def _accept(listener: socket.socket, process: subprocess.Popen) -> socket.socket | None:
    listener.settimeout(_LOOK_S)
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            plugged, _ = listener.accept()
        except TimeoutError:
            continue
        plugged.settimeout(None)
        return plugged
    return None
