"""A DNS client that never blocks the loop.

MicroPython's own look-up blocks the loop until it ends, and with it the door. A name that ends
in `.local` is looked up in the local network (multicast DNS). IPv4 only. Source: RFC 1035,
RFC 6762. Loaded when an address is not cached: see `sync.resolver`.
"""

import os

from kalitka.sync import udp
from kalitka.sync.address import split_port
from kalitka.sync.net import NetError, NoReply
from micropython import const

_PORT = const(53)
_LOCAL = const(("224.0.0.251", 5353))
_DAY = const(86400)


async def resolve(host: str, server, timeout: float) -> tuple[str, int]:
    """Return (address, seconds for which it is valid) of the name `host`. Raises NetError.

    server: a callable that returns a name server, see `resolver.Resolver`. timeout: seconds that
    each of two tries may take.
    """
    doing = "looking up %s" % host
    address, port = _where(host, server, doing)
    question = b"".join(bytes([len(p)]) + p for p in host.encode().split(b".") if p)
    question += b"\0\0\1\0\1"
    number = os.urandom(2)
    request = number + b"\1\0\0\1\0\0\0\0\0\0" + question

    def is_answer(data):
        return data[:2] == number and len(data) > 12 and data[2] & 0x80

    try:
        data = await udp.request(address, port, request, is_answer, timeout, doing)
    except NoReply:
        # Datagrams get lost, and `server` may return another name server.
        address, port = _where(host, server, doing)
        data = await udp.request(address, port, request, is_answer, timeout, doing)
    try:
        return address_of(data, question)
    except IndexError:
        raise NetError("a broken answer while %s" % doing)
    except ValueError as e:
        raise NetError("%s while %s" % (e, doing))


def _where(host, server, doing):
    if host.endswith(".local"):
        return _LOCAL
    where = server()
    if not where:
        raise NetError("no name server is known while %s" % doing)
    return split_port(where, _PORT)


def address_of(data: bytes, question: bytes) -> tuple[str, int]:
    """Return (address, seconds for which it is valid) from a name server's answer to `question`.

    Raises ValueError with the reason if the answer has no address, IndexError if it is cut.
    """
    code = data[3] & 15
    if code:
        raise ValueError("there is no such name" if code == 3 else "name server error %d" % code)
    if data[4] << 8 | data[5] != 1 or data[12 : 12 + len(question)].lower() != question.lower():
        raise ValueError("an answer to another question")
    at = 12 + len(question)
    for _ in range(data[6] << 8 | data[7]):
        # The record's own name is skipped: aliases lead to the address.
        while data[at]:
            if data[at] >= 192:
                at += 1
                break
            at += data[at] + 1
        at += 1
        size = data[at + 8] << 8 | data[at + 9]
        if data[at : at + 4] == b"\0\1\0\1" and size == 4:
            holds = data[at + 4 : at + 8]
            return "%d.%d.%d.%d" % tuple(data[at + 10 : at + 14]), _number(holds)
        at += 10 + size
    raise ValueError("no address comes with the name")


def _number(data):
    # Any longer time is capped at a day by the resolver anyway.
    return (data[2] << 8 | data[3]) if data[0] == data[1] == 0 else _DAY
