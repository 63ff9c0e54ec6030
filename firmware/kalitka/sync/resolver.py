"""A caching resolver of host names; `sync.dns` asks the name server.

Promises: an address is cached for as long as the name server said (a minute at least, a day at
most), and beyond that while no name server answers: a dead name server does not cut the reader
off from a host that it reached before.
"""

from kalitka import unload
from kalitka.sync.net import NetError
from micropython import const

_PATIENCE = const(3)
_LEAST = const(60)  # seconds; bounds of how long an answer is cached
_MOST = const(86400)
_KEPT = const(4)  # names in the cache


class Resolver:
    """A caching resolver of IPv4 addresses.

    server: a callable that returns a name server as `ADDRESS[:PORT]`, or "" if none is known. It
    is called for each try, and may return another one each time. uptime: a callable that returns
    monotonic seconds. timeout: seconds that one try may take.
    """

    def __init__(self, server, uptime, timeout: float = _PATIENCE):
        self.timeout = timeout
        self._server = server
        self._uptime = uptime
        self._known = {}  # host: [address, until]

    async def find(self, host: str) -> str:
        """Return the address of `host` (str), a name or already an address. Raises NetError."""
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
            # The expired address may still be right; the name server is asked again soon.
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
    """Return whether `host` is an IPv4 address, four numbers of 0 to 255."""
    parts = host.split(".")
    return len(parts) == 4 and all(p.isdigit() and len(p) < 4 and int(p) < 256 for p in parts)
