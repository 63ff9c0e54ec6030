"""Looks up host names by asking the network's name server, without ever blocking the loop.

MicroPython's own look-up stands still until it is through, and with it the door. Promises: an
answer is kept as long as the name server said, and beyond that for as long as none answers: a
dead name server stops nobody who was reached before. A name that ends in `.local` is asked for
in the local network (multicast DNS). IPv4 only, as the chip's. Source: RFC 1035, RFC 6762.
"""

import os

from kalitka.sync.net import NetError, Silent, ask, split_port
from micropython import const

_PORT = const(53)
_LOCAL = ("224.0.0.251", 5353)
_PATIENCE = const(3)
_LEAST = const(60)  # seconds that an answer is kept, whatever it says
_MOST = const(86400)
_KEPT = const(4)  # names


class Names:
    """Finds addresses. `server`: a callable that gives a name server as `ADDRESS[:PORT]` or "".

    It is called for each try: where there are several, it gives another one then.

    uptime: a callable that gives seconds, steadily. patience: seconds that one try may take.
    """

    def __init__(self, server, uptime, patience: float = _PATIENCE):
        self.patience = patience
        self._server = server
        self._uptime = uptime
        self._known = {}  # host: [address, until]

    async def find(self, host: str) -> str:
        """Return the address of `host` (str), which may be one itself. Raises NetError."""
        if is_address(host):
            return host
        known = self._known.get(host)
        if known and self._uptime() < known[1]:
            return known[0]
        try:
            address, seconds = await self._ask(host)
        except NetError:
            if not known:
                raise
            # Old, but it was right once; asked again soon.
            known[1] = self._uptime() + _LEAST
            return known[0]
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[host] = [address, self._uptime() + max(_LEAST, min(_MOST, seconds))]
        return address

    def doubt(self, host: str) -> None:
        """Ask anew the next time: at the address that is known nobody answered."""
        if host in self._known:
            self._known[host][1] = 0

    def _where(self, host, doing):
        if host.endswith(".local"):
            return _LOCAL
        where = self._server()
        if not where:
            raise NetError("no name server is known while %s" % doing)
        return split_port(where, _PORT)

    async def _ask(self, host):
        doing = "looking up %s" % host
        address, port = self._where(host, doing)
        question = b"".join(bytes([len(p)]) + p for p in host.encode().split(b".") if p)
        question += b"\0\0\1\0\1"
        number = os.urandom(2)
        request = number + b"\1\0\0\1\0\0\0\0\0\0" + question

        def is_answer(data):
            return data[:2] == number and len(data) > 12 and data[2] & 0x80

        try:
            data = await ask(address, port, request, is_answer, self.patience, doing)
        except Silent:
            # Datagrams get lost, and there may be another name server.
            address, port = self._where(host, doing)
            data = await ask(address, port, request, is_answer, self.patience, doing)
        try:
            return address_of(data, question)
        except IndexError:
            raise NetError("a broken answer while %s" % doing)
        except ValueError as e:
            raise NetError("%s while %s" % (e, doing))


def is_address(host: str) -> bool:
    """Tell whether `host` is an IPv4 address: four numbers."""
    parts = host.split(".")
    return len(parts) == 4 and all(p.isdigit() and len(p) < 4 and int(p) < 256 for p in parts)


def address_of(data: bytes, question: bytes) -> tuple[str, int]:
    """Return (address, seconds that it holds) of a name server's answer to `question`.

    Raises ValueError with what it says instead, IndexError if it is cut.
    """
    code = data[3] & 15
    if code:
        raise ValueError("there is no such name" if code == 3 else "name server error %d" % code)
    if data[4] << 8 | data[5] != 1 or data[12 : 12 + len(question)].lower() != question.lower():
        raise ValueError("an answer to another question")
    at = 12 + len(question)
    for _ in range(data[6] << 8 | data[7]):
        # The record's own name does not matter: aliases lead to the address.
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
    # Beyond a day it does not matter.
    return (data[2] << 8 | data[3]) if data[0] == data[1] == 0 else _MOST
