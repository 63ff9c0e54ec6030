"""UDP requests: one datagram and its answer, for name servers and time servers.

Promises: nothing here blocks the loop, and no socket outlives its exchange.
"""

import socket

from kalitka.sync import net
from micropython import const

_SIZE_MAX = const(512)


async def request(address: str, port: int, request: bytes, is_answer, timeout: float, doing: str):
    """Send a datagram to `address` (of the form 10.0.0.1) and return the answer (bytes).

    is_answer: a predicate of a received datagram (bytes); datagrams that do not satisfy it are
    ignored. timeout: seconds to the answer. Raises NoReply, NetError.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        where = socket.getaddrinfo(address, port)[0][-1]
        if not address.startswith("224."):
            # Receive from that address only. (A multicast request is answered by any host.)
            sock.connect(where)
        sock.sendto(request, where)
        return await net.wait_for(_read(sock, is_answer), timeout, doing)
    except net.NetError:
        raise
    except OSError as e:
        raise net.net_error(e, doing)
    finally:
        sock.close()


def _read(sock, is_answer):
    while True:
        yield net.io_queue().queue_read(sock)
        # Not through a stream, which would join two datagrams.
        data = sock.recv(_SIZE_MAX)
        if is_answer(data):
            net.answers += 1
            return data
