"""A name server on loopback that follows a test's answers: right, wrong, late or none.

Source: RFC 1035, sections 4.1 and 4.1.4 (compression).
"""

import heapq
import itertools
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from datagram_server import DatagramServer

NO_ERROR, SERVER_FAILURE, NAME_ERROR, REFUSED = 0, 2, 3, 5

_A, _CNAME, _INTERNET = 1, 5, 1
_HEAD = struct.Struct(">6H")
_IS_ANSWER, _IS_CUT, _RECURSION_WANTED, _RECURSION_HAD = 0x8000, 0x0200, 0x0100, 0x0080


class Query(NamedTuple):
    """A query. name: without a final dot. type: 1 for an address. sender: (host, port)."""

    id: int
    name: str
    type: int
    recursion: bool
    sender: tuple[str, int]


@dataclass(frozen=True)
class Answer:
    """The answer to a query; an empty one without addresses.

    addresses: IPv4 addresses, a record each, of the last name.
    aliases: a chain of CNAMEs: the name of the query is an alias of the first, and so on.
    compressed: repeated names are written as pointers.
    code: NO_ERROR, SERVER_FAILURE, NAME_ERROR (no such name) or REFUSED.
    ttl: seconds for which the answer may be cached.

    truncated: the TC bit is set, though nothing is cut.
    cut: only so many bytes are sent.
    loop: the owners' names are a label and a pointer back to that label.
    wrong_id, wrong_question: the answer is to another query.
    stranger: the answer comes from another port.
    raw: bytes that follow the id instead of all that.

    silent: never sent. delay: seconds before it is sent. times: how often it is sent.
    """

    addresses: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    compressed: bool = True
    code: int = NO_ERROR
    ttl: int = 60
    truncated: bool = False
    cut: int | None = None
    loop: bool = False
    wrong_id: bool = False
    wrong_question: bool = False
    stranger: bool = False
    raw: bytes | None = None
    silent: bool = False
    delay: float = 0
    times: int = 1

    @property
    def is_heard(self) -> bool:
        """Whether the client takes it for an answer, right or wrong."""
        return not (self.silent or self.stranger or self.wrong_id)


# One for every query, a list with one per query (the last for all further ones), or a function.
Answers = Answer | list[Answer] | Callable[[Query], Answer]


def packet(query: Query, answer: Answer) -> bytes:
    """Return the bytes of the answer to a query."""
    number = query.id ^ 0x5555 if answer.wrong_id else query.id
    if answer.raw is not None:
        return (number.to_bytes(2, "big") + answer.raw)[: answer.cut]
    flags = _IS_ANSWER | _RECURSION_HAD | answer.code
    flags |= _RECURSION_WANTED if query.recursion else 0
    flags |= _IS_CUT if answer.truncated else 0
    records = len(answer.aliases) + len(answer.addresses)
    out = bytearray(_HEAD.pack(number, flags, 1, records, 0, 0))
    known: dict[str, int] | None = {} if answer.compressed else None
    asked = f"not-{query.name}" if answer.wrong_question else query.name
    _put_name(out, asked, known)
    out += struct.pack(">HH", query.type, _INTERNET)
    names = [query.name, *answer.aliases]
    for name, target in itertools.pairwise(names):
        _put_owner(out, name, known, answer)
        out += struct.pack(">HHIH", _CNAME, _INTERNET, answer.ttl, 0)
        start = len(out)
        _put_name(out, target, known)
        out[start - 2 : start] = (len(out) - start).to_bytes(2, "big")
    for address in answer.addresses:
        _put_owner(out, names[-1], known, answer)
        out += struct.pack(">HHIH", _A, _INTERNET, answer.ttl, 4)
        out += socket.inet_aton(address)
    return bytes(out[: answer.cut])


class NameServer(DatagramServer):
    """A name server by UDP on loopback, at `port`. queries: all queries so far."""

    def __init__(self, answers: Answers, pass_time: Callable[[float], None] | None = None):
        self.queries: list[Query] = []
        self._late: list[tuple[float, int, bytes, Query, Answer]] = []
        self._count = itertools.count()
        super().__init__(answers, pass_time)

    @property
    def names(self) -> list[str]:
        """The names asked for so far."""
        return [query.name for query in self.queries]

    def _serve(self):
        while not self._stop.is_set():
            self._send_due()
            wait = self._late[0][0] - time.monotonic() if self._late else None
            self._socket.settimeout(wait if wait is None else max(wait, 0.001))
            try:
                data, sender = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            except OSError:
                # An earlier answer found no open socket.
                continue
            query = _parsed(data, sender)
            if query:
                self.queries.append(query)
                answer = self._choose(query)
                due = time.monotonic() + answer.delay
                late = (due, next(self._count), packet(query, answer), query, answer)
                heapq.heappush(self._late, late)

    def _send_due(self):
        while self._late and self._late[0][0] <= time.monotonic():
            _, _, data, query, answer = heapq.heappop(self._late)
            self._send(data, answer, query.sender)


def _parsed(data, sender):
    # Return the query, or None if it is not one that a resolver would send.
    if len(data) < _HEAD.size + 5:
        return None
    number, flags, questions, *_ = _HEAD.unpack_from(data)
    if flags & _IS_ANSWER or questions != 1:
        return None
    labels = []
    at = _HEAD.size
    while at < len(data) and data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode("latin-1"))
        at += 1 + data[at]
    if at + 5 > len(data):
        return None
    (kind,) = struct.unpack_from(">H", data, at + 1)
    return Query(number, ".".join(labels), kind, bool(flags & _RECURSION_WANTED), sender)


def _put_owner(out, name, known, answer):
    if answer.loop:
        out += b"\3www" + struct.pack(">H", 0xC000 | len(out))
    else:
        _put_name(out, name, known)


def _put_name(out, name, known):
    # known: {name: its offset in the packet} of the names so far, or None without compression.
    while name:
        if known is not None and name in known:
            out += struct.pack(">H", 0xC000 | known[name])
            return
        if known is not None:
            known[name] = len(out)
        label, _, name = name.partition(".")
        out += bytes([len(label)]) + label.encode("latin-1")
    out.append(0)
