"""Asks a time server for the time (SNTP). Source: RFC 4330; its seconds wrap in 2036 and go on.

Nobody vouches for the answer: who takes it decides how far to believe it.
"""

import os

from kalitka.sync.net import NetError, ask, split_port
from micropython import const

_PORT = const(123)
_SIZE = const(48)


async def time(where: str, names) -> int:
    """Return the seconds since 1970 UTC that the server at `HOST[:PORT]` says.

    names: finds the address of a name, and has `patience`. Raises NetError; ValueError if `where`
    is no host.
    """
    host, port = split_port(where, _PORT)
    doing = "asking %s for the time" % host
    address = await names.find(host)
    # What goes out as our time comes back as the origin: an answer to another question is none.
    ours = os.urandom(8)
    request = b"\x23" + bytes(39) + ours

    def is_answer(data):
        return len(data) >= _SIZE and data[24:32] == ours and data[0] & 7 == 4

    data = await ask(address, port, request, is_answer, names.patience, doing)
    if not 0 < data[1] < 16 or data[0] >> 6 == 3 or data[40:44] == bytes(4):
        raise NetError("the time server has no time while %s" % doing)
    seconds = int.from_bytes(data[40:44], "big") - 2208988800
    return seconds if seconds > 0 else seconds + 0x100000000
