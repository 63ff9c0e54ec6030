"""The name server and the time server of a virtual reader's network.

They answer with this computer's resolver and clock, one datagram each way on loopback. Sources:
RFC 1035, section 4.1 (names, IPv4 addresses only); RFC 4330, section 4 (time).
"""

import contextlib
import socket
import struct
import threading
import time

_DATAGRAM_MAX = 512
_HEAD = struct.Struct(">6H")
_ANSWER, _NO_SUCH_NAME = 0x8180, 0x8183
_POINTER = 0xC00C  # to the name behind the head
_SECONDS = 60
_TIME_HEAD = 0x24, 1  # version 4, a server's; stratum
_SINCE_1900 = 2208988800  # seconds from 1900 to 1970
_TRANSMIT_TIME = slice(40, 48)  # of a request: the answer's originate time


class _DatagramServer:
    # Answers from its creation until `close`. address: `ADDRESS:PORT`.

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the server."""
        # An empty datagram wakes the thread up.
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            data, sender = self._socket.recvfrom(_DATAGRAM_MAX)
            if not data:
                return
            with contextlib.suppress(IndexError, struct.error, UnicodeError, OSError):
                self._socket.sendto(self._answer(data), sender)

    def _answer(self, query: bytes) -> bytes:
        # Raises IndexError, struct.error or UnicodeError for an invalid query.
        raise NotImplementedError


class NameServer(_DatagramServer):
    """A name server that answers from its creation until `close`. address: `ADDRESS:PORT`."""

    def _answer(self, query: bytes) -> bytes:
        number = _HEAD.unpack_from(query)[0]
        labels, at = [], _HEAD.size
        while size := query[at]:
            labels.append(query[at + 1 : at + 1 + size].decode("ascii"))
            at += 1 + size
        question = query[_HEAD.size : at + 5]
        try:
            address = socket.inet_aton(socket.gethostbyname(".".join(labels)))
        except OSError:
            return _HEAD.pack(number, _NO_SUCH_NAME, 1, 0, 0, 0) + question
        record = struct.pack(">3HLH", _POINTER, 1, 1, _SECONDS, len(address)) + address
        return _HEAD.pack(number, _ANSWER, 1, 1, 0, 0) + question + record


class TimeServer(_DatagramServer):
    """A time server that answers from its creation until `close`. address: `ADDRESS:PORT`."""

    def _answer(self, query: bytes) -> bytes:
        now = int(time.time() + _SINCE_1900) % (1 << 32)
        origin = query[_TRANSMIT_TIME]
        return struct.pack(">BB22x8sQQ", *_TIME_HEAD, origin, now << 32, now << 32)
