"""A time server (SNTP) on loopback that follows a test's replies, right or wrong.

Source: RFC 4330, section 4 (the packet) and 8 (kiss-o'-death); RFC 5905, section 6 (eras).
"""

import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from datagram_server import DatagramServer

UNSYNCHRONISED = 3  # the leap indicator
ERA_1 = 2085978496  # 2036-02-07 06:28:16 UTC in Unix seconds, when the 32 bits wrap to 0

_SINCE_1900 = 2208988800  # seconds from 1900 to 1970
_FROM_CLIENT, _FROM_SERVER = 3, 4
_SIZE = 48


@dataclass(frozen=True)
class Reply:
    """The reply to a request; by default the right time.

    at: the time in the reply, Unix seconds UTC, of any era; None for now.
    stratum: 1 to 15; 0 is a kiss-o'-death, and `kiss` its four letters.
    leap: the leap indicator, UNSYNCHRONISED if the server has no time itself.
    mode: 4 is a server's.
    foreign: the originate timestamp is not the client's transmit timestamp.
    no_time: the transmit timestamp is 0.
    size: bytes sent of the 48.
    stranger: the reply comes from another port.
    silent: never sent. delay: seconds before it is sent. times: how often it is sent.
    """

    at: float | None = None
    stratum: int = 2
    kiss: bytes = b"RATE"
    leap: int = 0
    mode: int = _FROM_SERVER
    foreign: bool = False
    no_time: bool = False
    size: int = _SIZE
    stranger: bool = False
    silent: bool = False
    delay: float = 0
    times: int = 1

    @property
    def is_heard(self) -> bool:
        """Whether the client takes it for a reply, right or wrong."""
        nothing = self.silent or self.stranger or self.foreign
        return not nothing and self.mode == _FROM_SERVER and self.size == _SIZE


# One for every request, a list with one per request (the last for all further ones), or a function
# of its bytes.
Replies = Reply | list[Reply] | Callable[[bytes], Reply]


def timestamp(unix: float) -> bytes:
    """Return Unix seconds UTC as the eight bytes of NTP, which do not include the era."""
    seconds = int(unix // 1)
    fraction = int((unix - seconds) * (1 << 32))
    return struct.pack(">II", (seconds + _SINCE_1900) & 0xFFFFFFFF, fraction)


def packet(request: bytes, reply: Reply) -> bytes:
    """Return the bytes of the reply to a request."""
    now = timestamp(time.time() if reply.at is None else reply.at)
    version = request[0] & 0x38
    head = struct.pack(">BBBb", reply.leap << 6 | version | reply.mode, reply.stratum, 6, -20)
    source = reply.kiss if reply.stratum == 0 else socket.inet_aton("192.0.2.123")
    originate = request[40:48]
    if reply.foreign:
        originate = bytes(byte ^ 0x55 for byte in originate)
    transmit = bytes(8) if reply.no_time else now
    # Root delay and dispersion of 1/64 s.
    distance = struct.pack(">II", 1024, 1024)
    return (head + distance + source + now + originate + now + transmit)[: reply.size]


class TimeServer(DatagramServer):
    """A time server by UDP on loopback, at `port`.

    requests: the bytes of all requests so far. answered: how many replies have been sent.
    """

    def __init__(
        self, replies: Replies | None = None, pass_time: Callable[[float], None] | None = None
    ):
        self.requests: list[bytes] = []
        self.answered = 0
        super().__init__(replies or Reply(), pass_time)

    def _serve(self):
        while not self._stop.is_set():
            try:
                request, sender = self._socket.recvfrom(4096)
            except OSError:
                # An earlier reply found no open socket.
                continue
            if len(request) < _SIZE or request[0] & 7 != _FROM_CLIENT:
                continue
            self.requests.append(request)
            reply = self._choose(request)
            # The time in the reply is that of its sending, and no other client waits meanwhile.
            if self._stop.wait(reply.delay):
                continue
            self._send(packet(request, reply), reply, sender)
            self.answered += 1
