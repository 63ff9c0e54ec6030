"""The name server of a virtual reader's network, which answers with this computer's resolver.

One datagram each way on loopback, for IPv4 addresses only. Source: RFC 1035, section 4.1.
"""

import contextlib
import socket
import struct
import threading

_HEAD = struct.Struct(">6H")
_ANSWER, _NO_SUCH_NAME = 0x8180, 0x8183
_POINTER = 0xC00C  # to the name behind the head
_SECONDS = 60
_DATAGRAM_MAX = 512


class NameServer:
    """A name server that answers from its creation until `close`. address: `ADDRESS:PORT`."""

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

    def __enter__(self) -> "NameServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            data, sender = self._socket.recvfrom(_DATAGRAM_MAX)
            if not data:
                return
            with contextlib.suppress(IndexError, struct.error, UnicodeError, OSError):
                self._socket.sendto(_answer(data), sender)


def _answer(query: bytes) -> bytes:
    # Raises IndexError, struct.error or UnicodeError for an invalid query.
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
