"""Polls a server some times with the firmware's client, poller and table; prints what came of it.

Runs in CPython and in MicroPython alike: `run` in this process, or as a script that is given its
options as a line of JSON, and then its time (see piped_time.py). Each poll gives [worked, error,
minute, {code: [rules]}, lines reported].
"""

import asyncio
import json
import sys

from device import piped_time
from device.fake_nvs import Esp32
from device.table_contents import items
from kalitka.access import packing, rules
from kalitka.settings import with_defaults
from kalitka.sync.client import Client
from kalitka.sync.http import Http
from kalitka.sync.net import wait_for
from kalitka.sync.poller import Poller
from kalitka.sync.resolver import Resolver
from kalitka.sync.timekeeper import TimeKeeper
from kalitka.table.table import FOUND, UNKNOWN, Table

# TLS keeps a copy of the CA in the NVS.
sys.modules["esp32"] = Esp32({})

if sys.implementation.name == "cpython":
    from kalitka.sync import http as http_module

    class _Stream:
        # What MicroPython's streams do, over those of CPython.

        def __init__(self, reader, writer):
            self._reader = reader
            self._writer = writer
            self.close = writer.close

        async def send(self, data):
            self._writer.write(data)
            await self._writer.drain()

        async def readinto(self, buf):
            data = await self._reader.read(len(buf))
            buf[: len(data)] = data
            return len(data)

    async def _connect(address, port, tls, name, patience, doing, scanner):
        return _Stream(*await wait_for(asyncio.open_connection(address, port), patience, doing))

    http_module.connect = _connect


class FakeClock:
    """A clock that notes what it was set to. `due`: whether it is not set yet.

    seconds: how long it has been running.
    """

    def __init__(self, due):
        self.is_set = not due
        self.seconds = 0
        self.set_to = None
        self.zone = None

    def uptime(self):
        """Return the seconds."""
        return self.seconds

    def step_to(self, seconds):
        """Return the step that this would be."""
        return seconds - self.set_to if self.set_to else 0

    def check(self, seconds):
        """Any time may be true."""

    def set_utc(self, seconds):
        """Note the time."""
        self.set_to = seconds
        self.is_set = True

    def set_zone(self, zone):
        """Note the zone."""
        self.zone = zone


class FakeWifi:
    """A link that is up. `distrusted`: how often somebody said that it is not."""

    connects = 1
    distrusted = 0

    def connected(self):
        """It is."""
        return True

    def reset(self):
        """Note it."""
        self.distrusted += 1


_DEFAULTS = {
    "folder": "",  # of the table
    "url": "",  # of the server, or else
    "port": 0,  # its port on loopback
    "polls": 1,
    "patience": 5,
    "clock_due": False,  # whether the clock is to be set
    "reopen": False,  # the table is closed and opened before each poll
    "hours": 0,  # how long a poller has been there before it polls
    "dns": "",  # where the name server is
    "ntp": "",  # and the time server
    "ca": "",  # the file with the site's CA
    "longest": 1800,  # seconds that an answer may take
    "seconds": [],  # that pass after each poll
    "certain": "",  # a code that is always in the table
    "same": False,  # one poller for all polls, else a new one each time
    "settings": {},
    "wanted": "",  # a card that is asked for before each poll
    "silent": False,  # nobody is there who could tell that time passes: it does so by itself
}


async def _decide(table, certain, decisions):
    # Looks cards up all the time, as at a busy gate: how many, and how many wrongly.
    while True:
        if table.minute and certain:
            decisions[0] += 1
            known = table.find(certain, len(certain)) == FOUND
            decisions[1] += not known or table.find(b"NOBODY", 6) != UNKNOWN
        await asyncio.sleep(0.002)


def no_zone(zone):
    """Keep no zone."""


class NoLog:
    """Keeps no entries, has none to send, and none that could give way."""

    def __init__(self):
        self.journal = self
        self.retry_at = 0

    def due(self, now):
        """There is nothing to send."""
        return False

    def append(self, source, state, reason):
        """Keep nothing."""

    def free_space(self):
        """There is none to be made."""
        return False


class NoKeeper:
    """Keeps no clock."""

    async def sync(self):
        """The clock is right."""

    def doubt(self, error):
        """And proved."""
        return ""


async def _polls(options):
    names = set(options) - set(_DEFAULTS)
    assert not names, names
    given = dict(_DEFAULTS)
    given.update(options)
    url = given["url"] or "http://127.0.0.1:%d" % given["port"]
    lines = []
    clock = FakeClock(given["clock_due"])
    wifi = FakeWifi()
    settings = {"poll_seconds": 60, "full_sync_at_start": False}
    settings.update(given["settings"])
    found = with_defaults(settings)[0]
    names = Resolver(lambda: given["dns"], clock.uptime, given["patience"] / 4)
    table = Table(given["folder"])
    results = []
    decisions = [0, 0]
    poller = None
    for number in range(given["polls"]):
        if given["reopen"]:
            table.close()
            table = Table(given["folder"])
        if not (given["same"] and poller):
            http = Http(url, names, clock.uptime, given["ca"], given["patience"])
            client = Client(http, "the-secret", "GATE-1")
            keeper = TimeKeeper(
                clock, client, given["ntp"], names, None, no_zone, lines.append, table, NoLog()
            )
            if not given["clock_due"]:
                keeper = NoKeeper()
            poller = Poller(client, table, clock, keeper, wifi, lines.append, found, NoLog())
            poller.timeout = given["longest"]
            clock.seconds += 3600 * given["hours"]
        if given["wanted"]:
            poller.request(given["wanted"].encode(), len(given["wanted"]))
            await poller.fetch_card()
        deciding = asyncio.create_task(_decide(table, given["certain"].encode(), decisions))
        worked = await poller.attempt()
        deciding.cancel()
        held = {}
        for code, rule_set in items(table):
            texts = [rules.text_of(rule).decode() for rule in packing.split(rule_set)]
            held[code.decode()] = texts
        results.append([worked, poller.error, table.minute, held, list(lines)])
        del lines[:]
        if not given["same"]:
            http.close()
        if given["seconds"]:
            clock.seconds += given["seconds"][number]
    table.close()
    return {
        "polls": results,
        "set_to": clock.set_to,
        "zone": clock.zone,
        "distrusted": wifi.distrusted,
        "decided": decisions[0],
        "wrongly": decisions[1],
    }


def run(clock, **options):
    """Poll a server; the options are those of _DEFAULTS. clock: see `piped_time`."""
    return piped_time.run(lambda: _polls(options), clock, options.get("silent", False))


if __name__ == "__main__":
    given = json.loads(sys.stdin.readline())
    print(json.dumps(run(piped_time.Stdin(), **given)))
