"""Polls a server some times with the firmware's client, poller and table; prints what came of it.

Runs in CPython and in MicroPython alike: `run` in this process, or as a script with one JSON
argument. Each poll gives [worked, error, minute, {code: [rules]}, lines reported].
"""

import asyncio
import gc
import json
import sys

from kalitka.access import rules
from kalitka.sync.client import Client
from kalitka.sync.poller import Poller
from kalitka.table.table import Table

if not hasattr(asyncio.StreamReader, "readinto"):
    # MicroPython's streams have it.
    async def _readinto(self, buf):
        data = await self.read(len(buf))
        buf[: len(data)] = data
        return len(data)

    asyncio.StreamReader.readinto = _readinto
    # The poller collects before each poll: not all that the tests have imported.
    gc.freeze()


class FakeClock:
    """A clock that notes what it was set to. `due`: whether it asks to be set.

    hours: how long it has been running.
    """

    def __init__(self, due, hours):
        self.is_set = not due
        self._hours = hours
        self.set_to = None
        self.zone = None

    def uptime(self):
        """Return the seconds; before the start if the clock is not to be set."""
        return 3600 * self._hours if self._hours or not self.is_set else -1

    def set_utc(self, seconds):
        """Note the time."""
        self.set_to = seconds
        self.is_set = True

    def set_zone(self, zone):
        """Note the zone."""
        self.zone = zone


async def _polls(port, folder, polls, patience, clock_due, reopen, hours):
    lines = []
    clock = FakeClock(clock_due, hours)
    client = Client("http://127.0.0.1:%d" % port, "the-secret", "GATE-1", patience)
    table = Table(folder)
    results = []
    for _ in range(polls):
        if reopen:
            table.close()
            table = Table(folder)
        poller = Poller(client, table, clock, lambda: True, lines.append, 60, "")
        worked = await poller.attempt()
        held = {}
        for code, rule_set in table.items():
            texts = [rules.text_of(rule).decode() for rule in rules.split(rule_set)]
            held[code.decode()] = texts
        results.append([worked, poller.error, table.minute, held, list(lines)])
        del lines[:]
    table.close()
    return {"polls": results, "set_to": clock.set_to, "zone": clock.zone}


def run(port, folder, polls=1, patience=5, clock_due=False, reopen=False, hours=0):
    """Poll `polls` times; `reopen`: the table is closed and opened before each."""
    return asyncio.run(_polls(port, folder, polls, patience, clock_due, reopen, hours))


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(sys.argv[1]))))
