"""The HTTP client over fake streams: reuse of a connection, and the scanner at a handshake."""

import asyncio

from device.fake_time import run
from kalitka.sync import http, net
from kalitka.sync.http import Http
from kalitka.sync.net import NetError

HOUR = 3600
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%s\r\nok"


class Names:
    """A resolver to which every name is an address."""

    async def find(self, host):
        return host

    def expire(self, host):
        pass


class Stream:
    """A stream that gives one of its answers to each request, and records what happens.

    An answer may also be None, for silence, or an OSError.
    """

    def __init__(self, answers, told):
        self._answers = answers
        self._told = told

    async def send(self, data):
        self._told.append("sent")

    async def readinto(self, buffer):
        if not self._answers:
            return 0
        data = self._answers.pop(0)
        if data is None:
            await asyncio.sleep(HOUR)
        if isinstance(data, OSError):
            raise data
        buffer[: len(data)] = data
        return len(data)

    def close(self):
        self._told.append("closed")


class World:
    """A server with the given answers, a clock and a scanner. told: the events in their order."""

    def __init__(self, url, answers):
        self.answers = answers
        self.now = 1000
        self.told = []
        self.http = Http(url, Names(), lambda: self.now, scanner=self)
        self.http._tls = "TLS"  # other tests check the certificate
        self.fault = None
        self.error = None  # of the last request

    async def connect(self, address, port, tls, name, patience, doing, scanner):
        assert scanner is self
        if self.fault:
            raise self.fault
        self.told.append("connected")
        return Stream(self.answers, self.told)

    def resume(self):
        self.told.append("back")

    async def ask(self):
        """Make a request and read its answer; return the events meanwhile."""
        del self.told[:]
        try:
            await self.http.request("GET", "/", ())
            out = bytearray(16)
            while await self.http.read(out):
                pass
        except NetError as e:
            self.error = e
            self.told.append("failed")
        self.http.release()
        return list(self.told)


def in_world(scenario, *headers, url="https://127.0.0.1:1"):
    """Run `scenario(world)` with a server that sends these headers with every answer."""
    lines = b"".join(header + b"\r\n" for header in headers)
    world = World(url, [OK % lines] * 100)
    kept = http.connect
    http.connect = world.connect
    try:
        run(lambda: scenario(world))
    finally:
        http.connect = kept


def test_the_scanner_is_told_when_the_first_answer_has_come_and_when_it_fails():
    async def scenario(world):
        # An old connection is closed, and the scanner resumed, before a new one is made.
        assert await world.ask() == ["back", "connected", "sent", "back"]
        # The same connection: no handshake.
        assert await world.ask() == ["sent", "back"]
        world.now += 100
        world.answers.clear()
        told = await world.ask()
        assert told[-2:] == ["back", "closed"] and "failed" in told, told
        world.fault = NetError("no way there")
        told = await world.ask()
        assert told[-2:] == ["failed", "back"], told

    in_world(scenario, b"Keep-Alive: timeout=75")


def test_a_connection_fades_in_the_last_ten_seconds_in_which_it_can_be_used():
    async def scenario(world):
        http = world.http
        assert not http.expiring()
        for _ in range(3):
            await world.ask()
            # The client gives the connection up after 73 of the server's 75 seconds.
            for seconds, fading in ((0, False), (62, False), (63, True), (72, True), (73, False)):
                world.now += seconds
                assert http.expiring() == fading, seconds
                world.now -= seconds
            world.now += 65
        assert world.told == ["sent", "back"]
        # A request then keeps the connection for as long again.
        world.now += 100
        assert not http.expiring()
        assert "connected" in await world.ask()

    in_world(scenario, b"Keep-Alive: timeout=75")


def test_what_is_cheap_or_short_lived_is_not_kept():
    async def scenario(world):
        await world.ask()
        for _ in range(200):
            assert not world.http.expiring()
            world.now += 1

    in_world(scenario, b"Keep-Alive: timeout=75", url="http://127.0.0.1:1")
    in_world(scenario, b"Keep-Alive: timeout=20")
    in_world(scenario, b"Keep-Alive: timeout=75", b"Connection: close")
    in_world(scenario)


def test_tls_begins_when_the_connection_is_there_and_the_scanner_lets_it():
    told = []

    class Socket:
        async def writable(self):
            told.append("connected")

        def secure(self, tls, name):
            told.append(("TLS", tls, name))

        def close(self):
            told.append("closed")

    class Scanner:
        async def suspend(self, doing):
            told.append(doing)
            await asyncio.sleep(3)
            told.append("left")

    async def scenario(tls, scanner):
        stream = await net.connect("127.0.0.1", 1, tls, "hub", 15, "connecting", scanner)
        assert isinstance(stream, Socket)

    kept = net.Stream
    net.Stream = lambda address, port: Socket()
    try:
        run(lambda: scenario("context", Scanner()))
        assert told == ["connected", "TLS", "left", ("TLS", "context", "hub")], told
        told.clear()
        run(lambda: scenario("context", None))
        assert told == ["connected", ("TLS", "context", "hub")], told
        told.clear()
        # A plain connection does not suspend the scanner.
        run(lambda: scenario(None, Scanner()))
        assert told == ["connected"], told
    finally:
        net.Stream = kept


def outcome(answer, url="http://127.0.0.1:1"):
    """Return the body of an answer (bytes), or the words of the error."""
    got = []

    async def scenario(world):
        world.answers[:] = [answer[i : i + 400] for i in range(0, len(answer), 400)]
        try:
            await world.http.request("GET", "/", ())
            out = bytearray(16)
            body = b""
            n = await world.http.read(out)
            while n:
                body += out[:n]
                n = await world.http.read(out)
            got.append(body)
        except NetError as e:
            got.append(str(e))
        world.http.release()

    in_world(scenario, url=url)
    return got[0]


def test_18_lengths_may_have_zeros_in_front_and_nothing_else():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\nok"
    for length in (
        b"2",
        b"02",
        b"0000000002",
        b"0" * 99 + b"2",
        b" 2 ",
        b"2\r\ncontent-length: 002",
    ):
        assert outcome(head % length) == b"ok", length
    for length in (b"0", b"000", b"0" * 60):
        assert outcome(head % length) == b"", length
    for length in (
        b"+2",
        b"-2",
        b"0x2",
        b"2_0",
        b"2.0",
        b"2 2",
        b"",
        b"\xb2",
        b"1" * 10,
        b"0" * 300,
    ):
        assert outcome(head % length) == "bad Content-Length", length
    assert outcome(head % b"2\r\nContent-Length: 03") == "two different Content-Lengths"


def test_18_chunk_sizes_may_have_zeros_in_front_and_extensions_behind():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    text = b"0123456789ab"
    for size in (b"c", b"C", b"0c", b"0000000C", b"0" * 99 + b"c", b"c;x=1", b"0c ; y"):
        for last in (b"0", b"000", b"0" * 99, b"00;z", b"0\r\nTrailer: x"):
            whole = head + size + b"\r\n" + text + b"\r\n" + last + b"\r\n\r\n"
            assert outcome(whole) == text, (size, last)
    for size in (
        b"+c",
        b"-c",
        b"0xc",
        b"c_0",
        b"c c",
        b"",
        b";x",
        b"g",
        b"c" * 8,
        b"0" * 300 + b"c",
    ):
        whole = head + size + b"\r\n" + text + b"\r\n0\r\n\r\n"
        assert outcome(whole) == "bad length of a chunk", size


def test_18_an_encoding_that_is_none_is_as_if_it_were_not_there():
    head = b"HTTP/1.1 200 OK\r\n%s\r\n\r\n%s"
    chunks = b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n"
    length = b"Content-Length: 2"
    for name in (b"identity", b"Identity", b" IDENTITY "):
        none = b"Transfer-Encoding:" + name
        for lines in (none + b"\r\n" + length, length + b"\r\n" + none):
            assert outcome(head % (lines, b"ok")) == b"ok", lines
        for lines in (
            none + b"\r\ntransfer-encoding: Chunked",
            b"Transfer-Encoding: chunked\r\n" + none,
        ):
            assert outcome(head % (lines, chunks)) == b"ok", lines
        assert "announced no length" in outcome(head % (none, b"ok"))
    for name in (b"gzip", b"gzip, chunked", b"chunked, identity", b"chunked, chunked", b""):
        lines = b"Transfer-Encoding: " + name
        assert outcome(head % (lines, chunks)) == "unknown Transfer-Encoding", name
    twice = b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"
    assert outcome(head % (twice, chunks)) == "unknown Transfer-Encoding"


def test_18_http_at_a_port_that_speaks_https_is_told():
    plain, secure = "http://127.0.0.1:1", "https://127.0.0.1:1"
    for version in range(4):
        for alert in (b"\x02\x0a", b"\x02\x16", b"\x02\x28", b"\x02\x32", b"\x02\x46", b"\x01\0"):
            answer = b"\x15\x03%c\0\x02" % version + alert
            told = outcome(answer, plain)
            assert told == "this port speaks https, not http: set server_url", (answer, told)
            assert "https" not in outcome(answer, secure)
    closed = "the server closed the connection without an answer"
    assert outcome(b"", plain) == closed + ": does this port speak https?"
    assert outcome(b"", secure) == closed
    for answer in (b"HTTP/1.1 200", b"\x15", b"\x16\x03\x03\0\x02", b"SSH-2.0"):
        assert outcome(answer, plain) == "the connection ended in the middle of a line"


def test_point_15_a_redirect_leads_to_a_whole_address():
    async def scenario(world):
        for status, location, wanted in (
            (301, b"https://elsewhere.example/a", "https://elsewhere.example/a"),
            (308, b"/canteen/api/v1/time", "https://127.0.0.1:1/canteen/api/v1/time"),
            (302, b"", ""),
            (200, b"https://elsewhere.example/a", ""),
        ):
            world.answers[:] = [
                b"HTTP/1.1 %d X\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, location)
            ]
            await world.http.request("GET", "/", ())
            assert world.http.redirect() == wanted, (status, location)
            world.http.release()

    in_world(scenario)


# Point 12: slow is not closed


def test_point_12_silence_sends_nothing_again_and_a_close_does():
    async def scenario(world):
        assert await world.ask() == ["back", "connected", "sent", "back"]
        world.answers[:] = [None]  # nothing comes
        told = await world.ask()
        assert told.count("sent") == 1 and "failed" in told, told
        world.answers[:] = [OK % b"Keep-Alive: timeout=75\r\n"]
        assert "failed" not in await world.ask()
        # Closed or reset: over a new connection, at once.
        for gone in (b"", OSError(104, "reset")):
            world.answers[:] = [gone, OK % b"Keep-Alive: timeout=75\r\n"]
            told = await world.ask()
            assert told.count("sent") == 2 and "failed" not in told, told

    in_world(scenario, b"Keep-Alive: timeout=75")


def test_point_11_only_where_nothing_came_through_the_link_is_in_doubt():
    async def scenario(world):
        await world.ask()
        for answers, doubt in (
            ([None], True),  # a connection from before
            ([None], False),  # a new one: the server took it
            ([b"HTTP/1.1 2", None], False),  # it began to answer
        ):
            world.answers[:] = answers
            world.error = None
            await world.ask()
            assert isinstance(world.error, net.NoReply) == doubt, (answers, world.error)
            assert world.error

    in_world(scenario, b"Keep-Alive: timeout=75")
