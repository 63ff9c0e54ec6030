"""An upload of the access log while memory is short: the uploader, its client and the log.

Whatever fails for want of memory, once memory is back every entry comes to the server, in order;
only those come twice that were in a request whose answer found no memory. MicroPython only.
"""

import asyncio

import vfs

from device.fake_time import run
from device.ramdisk import RamDisk
from device.seconds import HandClock
from device.short_memory import Disk, check, keep_quiet
from kalitka.access import decision
from kalitka.journal import entries
from kalitka.journal.access_log import AccessLog
from kalitka.sync import http as http_module
from kalitka.sync.client import Client
from kalitka.sync.http import Http
from kalitka.sync.resolver import Resolver
from kalitka.sync.uploader import Uploader

_PLACE = "/short"
_SIZE = 32768
_BLOCKS = 40
_NOW = 1795415400  # seconds since 1970 UTC
_TRIES = 9
_EBADF = 9
_OK = b"HTTP/1.1 200 OK\r\nX-Kalitka: 1\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """A hub. requests: all that came to their end."""

    def __init__(self):
        self.requests = []

    async def connect(self, address, port, tls, name, timeout, doing, scanner):
        """In the place of `http.connect`."""
        return _Connection(self.requests)


class _Connection:
    def __init__(self, requests):
        self._requests = requests
        self._request = b""
        self._at = 0
        self._closed = False

    async def send(self, data):
        self._request += data
        self._at = 0

    async def readinto(self, buf):
        # The request counts as soon as the first byte of its answer is read.
        if self._closed:
            raise OSError(_EBADF)
        if self._request:
            self._requests.append(self._request)
            self._request = b""
        at = self._at
        n = min(len(buf), len(_OK) - at)
        buf[:n] = _OK[at : at + n]
        self._at = at + n
        return n

    def close(self):
        self._closed = True


class Upload:
    """A log of `count` entries, of which those up to `acked` are sent, and one more batch."""

    def __init__(self, count, acked=0):
        self._count = count
        self._acked = acked
        self._data = bytearray(_BLOCKS * RamDisk.SIZE)
        vfs.VfsLfs2.mkfs(Disk(self._data))
        self._mount()
        journal = AccessLog(_PLACE + "/journal", _SIZE, self._clock(), print)
        for number in range(count):
            self._append(journal, number)
        journal.log.ack(acked)
        vfs.umount(_PLACE)
        self._image = bytes(self._data)

    def _append(self, journal, number):
        journal.append(entries.SCANNER, 1, decision.ALLOWED, b"%08X" % number)

    def _clock(self):
        clock = HandClock(_NOW)
        clock.is_set = True
        return clock

    def _mount(self):
        self._disk = Disk(self._data)
        vfs.mount(vfs.VfsLfs2(self._disk), _PLACE)

    def try_in(self, shortage):
        """Send in a shortage, and then the rest; check what came, and tell in words."""
        memoryview(self._data)[:] = self._image
        self._mount()
        told = []
        try:
            outcome = run(lambda: self._send(shortage, told))
        except BaseException:
            shortage.end()
            print("with", shortage, told)
            raise
        finally:
            vfs.umount(_PLACE)
        return outcome

    async def _send(self, shortage, told):
        asyncio.get_event_loop().set_exception_handler(keep_quiet)
        server = Server()
        http_module.connect = server.connect
        clock = self._clock()
        http = Http("http://127.0.0.1:1", Resolver(lambda: "", clock.uptime), clock.uptime)
        client = Client(http, "the-secret", "GATE-1")
        client.from_hub = True
        journal = AccessLog(_PLACE + "/journal", _SIZE, clock, told.append)
        uploader = Uploader(client, journal, clock, told.append, 0)
        assert uploader.due(clock.uptime())
        shortage.begin(self._disk)
        try:
            await uploader.send()
            sent = not uploader.error
        except MemoryError:
            sent = False  # its supervisor starts it again
        shortage.end()
        at_first = len(server.requests)
        self._append(journal, self._count)
        for _ in range(_TRIES):
            uploader.retry_at = 0
            if not uploader.due(clock.uptime()):
                break
            await uploader.send()
        assert not uploader.due(clock.uptime()) and not uploader.error, uploader.error
        assert not journal.dropped
        self._check_log(journal.log)
        self._check_log(AccessLog(_PLACE + "/journal", _SIZE, clock, told.append).log)
        self._check(server.requests, at_first)
        if sent:
            return "sent"
        return "failed and sent later" if self._once else "failed and sent twice"

    def _check_log(self, log):
        assert log.acked == log.last == self._count + 1, (log.acked, log.last)
        assert not log.lost and not log.damaged

    def _check(self, requests, at_first):
        came = []
        self._once = True
        for number, request in enumerate(requests):
            head, _, body = request.partition(b"\r\n\r\n")
            assert b"X-Kalitka-Lost: 0\r\n" in head, head
            assert b"Content-Length: %d" % len(body) in head, head
            texts = [text.split(b"_") for text in body.split(b",")]
            for seconds, code, state, reason, source, where in texts:
                at = int(where)
                assert (int(seconds), code) == (_NOW, b"%08X" % (at - 1)), texts
                assert (state, int(reason), source) == (b"1", decision.ALLOWED, b"0"), texts
                if at in came:
                    # Again, as the answer to the first request found no memory.
                    assert number >= at_first > 0, at
                    self._once = False
                else:
                    assert at == (came[-1] if came else self._acked) + 1, (at, came)
                    came.append(at)
        assert came[-1] == self._count + 1


# The uploads, by their names.


def small():
    """A batch of some entries."""
    return Upload(5)


def large():
    """More than a batch of entries, from small files and a segment."""
    return Upload(150, 20)


def check_story(name, step=1):
    """Try an upload of this module in every `step`-th shortage; print what came of it."""
    check("an upload, " + name.replace("_", " "), globals()[name](), step)
