"""One datagram and its answer: how name servers and time servers are asked.

Promises: nothing here blocks the loop, and no socket outlives its exchange.
"""

import socket

from kalitka.sync import net
from micropython import const

_SIZE_MAX = const(512)


async def request(address: str, port: int, request: bytes, is_answer, timeout: float, doing: str):
    """Send a datagram to `address` (of the form 10.0.0.1) and return the answer (bytes).

    is_answer: tells of a datagram whether it is the answer; others are passed over, within
    `timeout` seconds. Raises NoReply, NetError.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        where = socket.getaddrinfo(address, port)[0][-1]
        if not address.startswith("224."):
            # Only what comes from there is heard. (To a question put to all anybody answers.)
            sock.connect(where)
        sock.sendto(request, where)
        return await net.wait_for(_receive(sock, is_answer), timeout, doing)
    except net.NetError:
        raise
    except OSError as e:
        raise net.net_error(e, doing)
    finally:
        sock.close()


def _receive(sock, is_answer):
    while True:
        yield net.io_queue().queue_read(sock)
        # Not by the stream, which would take two datagrams for one.
        data = sock.recv(_SIZE_MAX)
        if is_answer(data):
            return data
