"""What servers of datagrams on loopback have in common: their sockets, thread and script."""

import itertools
import socket
import threading
from collections.abc import Callable

_SILENCE_S = 0.25  # that pass at once, of the clock of a reader that hears nothing


class DatagramServer:
    """Serves from its making until it is left as a context, at `port`.

    script: what to answer with: one for all, one a datagram (the last one for all that follow), or
    a callable that is given what came. pass_time: lets seconds pass for clients that have a clock
    of their own (see reader_clock.py). A kind of server has `_serve`, which runs in the
    thread until `_stop` is set.
    """

    def __init__(self, script, pass_time: Callable[[float], None] | None = None):
        self.follow(script)
        self._pass_time = pass_time
        self._stop = threading.Event()
        self._socket = self._bound()
        self._stranger = self._bound()  # another port, for answers that come from elsewhere
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        # A packet of nothing wakes the thread.
        self._stranger.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()
        self._stranger.close()

    def follow(self, script) -> None:
        """Answer like this from now on; what is to come late comes as it was."""
        self._choose: Callable = script
        if not callable(script):
            listed = script if isinstance(script, list) else [script]
            following = itertools.chain(listed, itertools.repeat(listed[-1]))
            self._choose = lambda _: next(following)

    def _send(self, data: bytes, answer, receiver: tuple[str, int]) -> None:
        # So often, and from where, the answer says.
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
