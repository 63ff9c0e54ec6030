"""A time server (SNTP) on loopback that answers as a test tells it to, rightly or wrongly.

Source: RFC 4330, section 4 (the packet) and 8 (kiss-o'-death); RFC 5905, section 6 (eras).
"""

import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from datagram_server import DatagramServer

UNSYNCHRONISED = 3  # the leap indicator
ERA_1 = 2085978496  # 2036-02-07 06:28:16 UTC in Unix seconds: the 32 bits begin again at 0

_SINCE_1900 = 2208988800  # seconds from 1900 to 1970
_FROM_CLIENT, _FROM_SERVER = 3, 4
_SIZE = 48


@dataclass(frozen=True)
class Reply:
    """What to reply to one request; without anything said the right time.

    at: the time told, Unix seconds UTC, of any era; None for now.
    stratum: 1 to 15; 0 is a kiss-o'-death, and `kiss` its four letters.
    leap: the leap indicator, UNSYNCHRONISED if the server has no time itself.
    mode: 4 is a server's.
    foreign: the originate timestamp is not the client's transmit timestamp.
    no_time: the transmit timestamp is 0.
    size: bytes sent of the 48.
    stranger: it comes from another port.
    silent: never sent. delay: sent after so many seconds. times: sent so many times.
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
        """Whether who asked takes it for an answer, be it a wrong one."""
        nothing = self.silent or self.stranger or self.foreign
        return not nothing and self.mode == _FROM_SERVER and self.size == _SIZE


# One for every request, one a request (the last one for all that follow), or one for its bytes.
Replies = Reply | list[Reply] | Callable[[bytes], Reply]


def timestamp(unix: float) -> bytes:
    """Return Unix seconds UTC as the eight bytes of NTP, which do not say the era."""
    seconds = int(unix // 1)
    fraction = int((unix - seconds) * (1 << 32))
    return struct.pack(">II", (seconds + _SINCE_1900) & 0xFFFFFFFF, fraction)


def packet(request: bytes, reply: Reply) -> bytes:
    """Return the reply to a request as it is sent."""
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
    """Replies to requests by UDP on loopback, at `port`. Records their bytes in `requests`."""

    def __init__(
        self, replies: Replies | None = None, pass_time: Callable[[float], None] | None = None
    ):
        self.requests: list[bytes] = []
        super().__init__(replies or Reply(), pass_time)

    def _serve(self):
        while not self._stop.is_set():
            try:
                request, sender = self._socket.recvfrom(4096)
            except OSError:
                # That an earlier reply reached nobody.
                continue
            if len(request) < _SIZE or request[0] & 7 != _FROM_CLIENT:
                continue
            self.requests.append(request)
            reply = self._choose(request)
            # The time is that of the sending, and nobody else waits meanwhile.
            if self._stop.wait(reply.delay):
                continue
            self._send(packet(request, reply), reply, sender)
