"""`socket` of a chip with a single server at the other end, which speaks the token-reader API.

Its sync answers are in the files `first`, `second` and `nothing` in the current folder.
"""

AF_INET = 2
SOCK_DGRAM = 2

_HEAD = b"HTTP/1.1 200 OK\r\nX-Kalitka: 1\r\nContent-Length: %d\r\n\r\n"
_TIME = b"2,MSK-3,1796000000"


class Server:
    """A server that answers with all rules, or with no changes."""

    def __init__(self):
        self._other = open("second", "rb")
        self.everything = open("first", "rb")
        self.nothing = open("nothing", "rb")
        self.uploads = self.full_syncs = 0
        self.asks_for_all = False  # whether the next poll's answer requests a full sync

    def replace(self):
        """Change all rules, and request a full sync in the next poll's answer."""
        self.everything, self._other = self._other, self.everything
        self.asks_for_all = True


server = Server()


def getaddrinfo(host, port):
    """Return a single address for the host, unresolved."""
    return ((2, 1, 0, "", (host, port)),)


class socket:
    """A connection to the server."""

    def __init__(self, *_):
        self._answer = b""
        self._body = None

    def setblocking(self, on):
        """Do nothing: no call blocks."""

    def connect(self, where):
        """Do nothing: the server is always connected."""

    def close(self):
        """Do nothing."""

    def write(self, request):
        """Take a request, which comes in a single write, and prepare its answer."""
        head, _, body = request.partition(b"\r\n\r\n")
        self._body = None
        if b"/time" in head:
            self._answer = _HEAD % len(_TIME) + _TIME
        elif b"/access-logs" in head:
            server.uploads += 1
            self._answer = _HEAD % 2 + b"ok"
        elif server.asks_for_all:
            server.asks_for_all = False
            self._answer = _HEAD % 3 + b"0%%"
        else:
            full = body == b"0"
            server.full_syncs += full
            self._body = server.everything if full else server.nothing
            self._answer = _HEAD % self._body.seek(0, 2)
            self._body.seek(0)

    def readinto(self, buf):
        """Read the next bytes of the answer."""
        if self._answer:
            n = min(len(buf), len(self._answer))
            buf[:n] = self._answer[:n]
            self._answer = self._answer[n:]
            return n
        return self._body.readinto(buf) if self._body else 0
