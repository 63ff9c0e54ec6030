"""The base of the datagram servers on loopback: their sockets, thread and script."""

import itertools
import socket
import threading
from collections.abc import Callable

_SILENCE_S = 0.25  # seconds of silence by which a reader's clock advances in one step


class DatagramServer:
    """A server at `port`, from its creation until its context ends.

    script: an answer for all datagrams, a list with one per datagram (the last for all further
    ones), or a function of the request. pass_time: called with seconds to advance a client's own
    clock by (see reader_clock.py). A subclass has `_serve`, which runs in the thread until `_stop`
    is set.
    """

    def __init__(self, script, pass_time: Callable[[float], None] | None = None):
        self.follow(script)
        self._pass_time = pass_time
        self._stop = threading.Event()
        self._socket = self._bound()
        self._stranger = self._bound()  # another port, for answers of a stranger
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        # An empty packet wakes the thread up.
        self._stranger.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()
        self._stranger.close()

    def follow(self, script) -> None:
        """Follow this script from now on; delayed answers of the old one still come."""
        self._choose: Callable = script
        if not callable(script):
            listed = script if isinstance(script, list) else [script]
            following = itertools.chain(listed, itertools.repeat(listed[-1]))
            self._choose = lambda _: next(following)

    def _send(self, data: bytes, answer, receiver: tuple[str, int]) -> None:
        # As often, and from the port, that the answer says.
        sending = self._stranger if answer.stranger else self._socket
        for _ in range(0 if answer.silent else answer.times):
            sending.sendto(data, receiver)
        if self._pass_time and not answer.is_heard:
            self._pass_time(_SILENCE_S)

    @staticmethod
    def _bound() -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.bind(("127.0.0.1", 0))
        return bound
