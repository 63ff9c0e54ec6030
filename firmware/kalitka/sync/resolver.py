"""The addresses of host names, as far as they are known; `sync.dns` asks for the others.

Promises: an answer is kept as long as the name server said, and beyond that for as long as none
answers: a dead name server stops nobody who was reached before.
"""

from kalitka import unload
from kalitka.sync.net import NetError
from micropython import const

_PATIENCE = const(3)
_LEAST = const(60)  # seconds that an answer is kept, whatever it says
_MOST = const(86400)
_KEPT = const(4)  # names


class Resolver:
    """A caching resolver. `server`: a callable that gives a name server as `ADDRESS[:PORT]` or "".

    It is called for each try: where there are several, it gives another one then.

    uptime: a callable that gives seconds, steadily. timeout: seconds that one try may take.
    """

    def __init__(self, server, uptime, timeout: float = _PATIENCE):
        self.timeout = timeout
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
            from kalitka.sync import dns

            address, seconds = await dns.resolve(host, self._server, self.timeout)
        except NetError:
            if not known:
                raise
            # Old, but it was right once; asked again soon.
            known[1] = self._uptime() + _LEAST
            return known[0]
        finally:
            unload("sync.dns", "sync.udp", "sync.address")
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[host] = [address, self._uptime() + max(_LEAST, min(_MOST, seconds))]
        return address

    def expire(self, host: str) -> None:
        """Expire the cached address of a host: connecting to it failed."""
        if host in self._known:
            self._known[host][1] = 0


def is_address(host: str) -> bool:
    """Return whether `host` is an IPv4 address: four numbers."""
    parts = host.split(".")
    return len(parts) == 4 and all(p.isdigit() and len(p) < 4 and int(p) < 256 for p in parts)
