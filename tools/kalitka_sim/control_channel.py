"""The control channel of a virtual chip: requests in, answers and pin changes out.

The chip connects when it starts; chip/state.py has the messages. A channel lives as long as its
reader: the chip connects again at every start, and earlier pin changes are kept.
"""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing

from .timeouts import HANG_TIMEOUT_S

_POLL_S = 0.2  # between two checks that the chip still runs


class ReaderError(Exception):
    """The virtual reader did not do as requested; the message says what it did instead."""


class ControlChannel:
    """The host's end of the control channel.

    pins: {pin: level} of the outputs, None for one that a reset or a power cut let go of.
    pin_changes: (pin, level, the chip's milliseconds). on_reset: called when the chip resets
    itself; it has to end the process. on_watchdog: called with the milliseconds of the watchdog's
    time when it is started, with 0 when it is fed.
    """

    def __init__(self) -> None:
        self.pins: dict[int, int | None] = {}
        self.pin_changes: list[tuple[int, int | None, int]] = []
        self.on_reset: Callable[[], None] = lambda: None
        self.on_watchdog: Callable[[int], None] = lambda millis: None
        self._answers: list[object] = []
        self._changed = threading.Condition()
        self._socket: socket.socket | None = None

    def connect(self, start: Callable[[int], subprocess.Popen]) -> subprocess.Popen:
        """Start a chip with `start(port)` and return its process once it has connected.

        Raises ReaderError, with the chip's output, if it does not connect, and ends the process.
        """
        with socket.create_server(("127.0.0.1", 0)) as listener:
            process = start(listener.getsockname()[1])
            connection = _accept(listener, process)
        if not connection:
            process.kill()
            said = process.communicate()[0].decode(errors="replace").strip()
            raise ReaderError(f"the chip did not start; it said: {said or 'nothing'}")
        with self._changed:
            self._socket = connection
        threading.Thread(target=self._read, args=(connection,), daemon=True).start()
        return process

    def disconnect(self) -> None:
        """Close the connection to the chip."""
        with self._changed:
            connection, self._socket = self._socket, None
            self._changed.notify_all()
        if connection:
            connection.close()

    def release_pins(self) -> None:
        """Let go of every output, as a chip does that is reset or has no power."""
        with self._changed:
            for pin, level in self.pins.items():
                if level is not None:
                    self.pins[pin] = None
                    self.pin_changes.append((pin, None, 0))
            self._changed.notify_all()

    def request(self, message: dict, timeout: float = HANG_TIMEOUT_S) -> object:
        """Send a request to the chip and return its answer. Raises ReaderError.

        From one thread at a time: an answer does not name its request.
        """
        with self._changed:
            connection = self._socket
            before = len(self._answers)
        if not connection:
            raise ReaderError("the reader has no power")
        deadline = time.monotonic() + timeout
        try:
            connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            raise ReaderError("the reader lost power") from None
        with self._changed:
            while len(self._answers) == before:
                left = deadline - time.monotonic()
                if self._socket is not connection:
                    raise ReaderError(f"the reader lost power at {message['do']!r}")
                if left <= 0:
                    raise ReaderError(f"the chip does not answer {message['do']!r}")
                self._changed.wait(left)
            return self._answers[-1]

    def wait_pin(self, number: int, level: int | None, timeout: float = HANG_TIMEOUT_S) -> None:
        """Wait until an output has this level. Raises ReaderError."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self.pins.get(number) != level:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise ReaderError(f"pin {number} does not become {level}")
                self._changed.wait(left)

    def _read(self, connection: socket.socket) -> None:
        try:
            with closing(connection), connection.makefile("rb") as lines:
                for line in lines:
                    self._dispatch(json.loads(line))
        except (OSError, ValueError):
            pass  # the power was cut in the middle of a line
        with self._changed:
            if self._socket is connection:
                self._socket = None
            self._changed.notify_all()

    def _dispatch(self, message: dict) -> None:
        with self._changed:
            if "reset" in message:
                self.on_reset()
            elif "watchdog" in message:
                self.on_watchdog(message["watchdog"])
            elif "done" in message:
                self._answers.append(message["done"])
            else:
                change = message["pin"], message["level"], message["ms"]
                self.pin_changes.append(change)
                self.pins[change[0]] = change[1]
            self._changed.notify_all()


def _accept(listener: socket.socket, process: subprocess.Popen) -> socket.socket | None:
    listener.settimeout(_POLL_S)
    deadline = time.monotonic() + HANG_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        connection.settimeout(None)
        return connection
    return None
