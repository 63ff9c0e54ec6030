"""One datagram and its answer: how name servers and time servers are asked.

Promises: nothing here blocks the loop, and no socket outlives its exchange.
"""

import socket

from kalitka.sync import net
from micropython import const

_SIZE_MAX = const(512)


async def ask(address: str, port: int, request: bytes, is_answer, patience: float, doing: str):
    """Send a datagram to `address` (of the form 10.0.0.1) and return the answer (bytes).

    is_answer: tells of a datagram whether it is the answer; others are passed over, within
    `patience` seconds. Raises Silent, NetError.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        where = socket.getaddrinfo(address, port)[0][-1]
        if not address.startswith("224."):
            # Only what comes from there is heard. (To a question put to all anybody answers.)
            sock.connect(where)
        sock.sendto(request, where)
        return await net.wait(_hear(sock, is_answer), patience, doing)
    except net.NetError:
        raise
    except OSError as e:
        raise net.told(e, doing)
    finally:
        sock.close()


def _hear(sock, is_answer):
    while True:
        yield net.queue().queue_read(sock)
        # Not by the stream, which would take two datagrams for one.
        data = sock.recv(_SIZE_MAX)
        if is_answer(data):
            return data
