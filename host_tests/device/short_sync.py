"""A sync while memory is short: the poller, its client and the table, on LittleFS.

Whatever fails for want of memory, a certain card is decided on rightly all the while, the table is
the old or the new one in every entry, in memory and after a restart, and once memory is back the
next polls bring the new one. The server is a fake in the place of a connection. MicroPython only.
"""

import asyncio
import os

import vfs

from device.fake_time import run
from device.ramdisk import RamDisk
from device.short_memory import Disk, check, keep_quiet
from device.sync_runner import FakeClock, FakeWifi, NoKeeper, NoLog
from device.syncs import apply, check_entries, in_code_order, long_codes, shuffled
from device.table_plan import ALWAYS, State, expand
from kalitka.access import rules
from kalitka.settings import with_defaults
from kalitka.sync import http as http_module
from kalitka.sync.client import Client
from kalitka.sync.http import Http
from kalitka.sync.poller import Poller
from kalitka.sync.resolver import Resolver
from kalitka.table.table import FOUND, UNKNOWN, Table

_PLACE = "/short"
_FOLDER = _PLACE + "/table"
_BLOCKS = 40
_MINUTE = 97  # of the new table; a request for everything ends in 0, one from there in 7
_CERTAIN = b"5AFE5AFE"  # a code of every table


def _body(minute, changes):
    deletes = [code for code, rule in changes if rule is None]
    lines = [code + b"_/" + rules.text_of(rule) for code, rule in changes if rule is not None]
    return b"\n".join([b"%d%%" % minute + b",".join(deletes) + b"%"] + lines) + b"\n"


def _reply(body):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class Server:
    """A server whose table is the new one."""

    def __init__(self, full, changes):
        self._news = _reply(_body(_MINUTE, changes))
        self._is_full = full
        self._nothing = _reply(b"%d%%%%\n" % _MINUTE)

    async def connect(self, address, port, tls, name, timeout, doing, scanner):
        """In the place of `http.connect`."""
        return _Connection(self)

    def answer(self, request):
        """Return the answer to a request."""
        if request[-1] == 48 and request[-2] == 10:
            assert self._is_full, "nobody asks for everything here"
            return self._news
        return self._nothing if request[-1] == 55 or self._is_full else self._news


class _Connection:
    def __init__(self, server):
        self._server = server
        self._at = 0
        self._answer = b""

    async def send(self, data):
        self._answer = self._server.answer(data)
        self._at = 0

    async def readinto(self, buf):
        at = self._at
        n = min(len(buf), len(self._answer) - at)
        buf[:n] = self._answer[at : at + n]
        self._at = at + n
        return n

    def close(self):
        self._answer = b""


async def _decide(table, wrong):
    # Takes no memory: of the shortage every bit is for the sync.
    while True:
        wrong[0] += table.find(_CERTAIN, 8) != FOUND
        wrong[0] += table.find(b"NOBODY", 6) != UNKNOWN
        await asyncio.sleep_ms(0)


class Sync:
    """A table made by `steps`, (full, changes) each, and one more sync in a shortage."""

    def __init__(self, steps, full, changes):
        always = [(_CERTAIN, ALWAYS)]
        self._full = full
        self._server = Server(full, always + changes)
        self._data = bytearray(_BLOCKS * RamDisk.SIZE)
        vfs.VfsLfs2.mkfs(Disk(self._data))
        self._mount()
        table = Table(_FOLDER)
        old, new = State(), State()
        for is_full, some in steps:
            old.codes, _ = old.after(is_full, always + some)
            old.minute += 1
            apply(table, is_full, always + some, old.minute)
        table.close()
        vfs.umount(_PLACE)
        self._image = bytes(self._data)
        new.codes, _ = old.after(full, always + changes)
        self._tables = []
        for state, other in ((old, new), (new, old)):
            unknown = [code for code in other.codes if code not in state.codes]
            self._tables.append((in_code_order(state.codes), unknown))

    def _mount(self):
        self._disk = Disk(self._data)
        vfs.mount(vfs.VfsLfs2(self._disk), _PLACE)

    def _poller(self, table, told):
        clock = FakeClock(False)
        http = Http("http://127.0.0.1:1", Resolver(lambda: "", clock.uptime), clock.uptime)
        settings = with_defaults({"full_sync_at_start": self._full})[0]
        client = Client(http, "the-secret", "GATE-1")
        poller = Poller(client, table, clock, NoKeeper(), FakeWifi(), told, settings, NoLog())
        poller.polls = 1  # the first one asks for changes
        return poller

    def _which(self, table):
        # Checks that the table is the old or the new one; returns 1 for the new one.
        assert not table.fault, table.fault
        found = [
            number
            for number in range(2)
            if table.find(self._probe(number), len(self._probe(number))) == FOUND
        ]
        assert len(found) == 1, found
        check_entries(table, *self._tables[found[0]])
        return found[0]

    def _probe(self, number):
        # A code of that table alone.
        return self._tables[1 - number][1][0]

    def try_in(self, shortage):
        """Sync in a shortage; check it, and tell in words."""
        memoryview(self._data)[:] = self._image
        self._mount()
        http_module.connect = self._server.connect
        told = []
        try:
            outcome = run(lambda: self._sync(shortage, told))
        except BaseException:
            shortage.end()
            print("with", shortage, told)
            raise
        vfs.umount(_PLACE)
        return outcome

    async def _sync(self, shortage, told):
        asyncio.get_event_loop().set_exception_handler(keep_quiet)
        table = Table(_FOLDER)
        poller = self._poller(table, told.append)
        wrong = [0]
        deciding = asyncio.create_task(_decide(table, wrong))
        worked = False
        raised = False
        shortage.begin(self._disk)
        try:
            worked = await poller.attempt()
        except MemoryError:
            raised = True  # its supervisor starts it again
        shortage.end()
        here = self._which(table)
        # The same poller goes on.
        again = await poller.attempt()
        assert again, (poller.error, told)
        here_again = self._which(table)
        assert here_again >= here
        # So does one after a restart.
        deciding.cancel()
        table.close()
        table = Table(_FOLDER)
        assert self._which(table) == here_again
        poller = self._poller(table, told.append)
        assert await poller.attempt(), (poller.error, told)
        assert self._which(table) == 1
        assert table.minute == _MINUTE
        # The merge may have been left to a later sync.
        assert sorted(os.listdir(_FOLDER)) == sorted(table.names() + ["manifest"])
        table.close()
        assert not wrong[0], "a card was decided on wrongly"
        if worked:
            return "synced"
        return "failed" + (" in the end" if here else "") + (" and began anew" if raised else "")


def _many(seed, count):
    return expand([("many", seed, count, 20)])


def _gone(seed, count):
    return expand([("gone", seed, count)])


_FIRST = (True, _many(31, 60))
_DELTAS = [(False, _many(40 + n, 3)) for n in range(4)]


# The syncs, by their names.


def full():
    """A full sync that fits the buffer."""
    return Sync([_FIRST], True, _many(32, 90))


def full_and_large():
    """A full sync out of order that is sorted in flash."""
    return Sync([_FIRST], True, shuffled(long_codes(0, 85)))


def incremental():
    """An incremental sync with deletes."""
    return Sync([_FIRST], False, _gone(31, 20) + _many(33, 15))


def merge_into_the_base():
    """An incremental sync that merges deltas and base."""
    return Sync([_FIRST] + _DELTAS, False, _gone(31, 5) + _many(50, 4))


def check_story(name, step=1):
    """Try a sync of this module in every `step`-th shortage; print what came of it."""
    check("a sync, " + name.replace("_", " "), globals()[name](), step)
