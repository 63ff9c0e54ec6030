"""A gate where card after card is presented while a large sync goes on; MicroPython only.

    micropython busy_gate.py PORT POLLS

Between any two turns of the gate's task it is counted how much of the sync was done: the lines
that were parsed and the bytes that were programmed into the (real) LittleFS. Prints JSON.
"""

import asyncio
import json
import sys

from device import scratch
from device.ramdisk import RamDisk
from device.sync_runner import FakeClock, FakeWifi, NoKeeper, NoLog
from kalitka.settings import with_defaults
from kalitka.sync import answer
from kalitka.sync import poller as poller_module
from kalitka.sync.client import Client
from kalitka.sync.http import Http
from kalitka.sync.resolver import Resolver
from kalitka.table.table import FOUND, UNKNOWN, Table

OLD = b"0LDC0DE5"  # in the old table alone
BOTH = b"B07BB07B"


class Watched(answer.AnswerParser):
    """A parser that tells how many lines have come."""

    last = None

    def __init__(self, sink):
        super().__init__(sink)
        Watched.last = self


class Disk(RamDisk):
    """A disk that counts the bytes that are programmed."""

    programmed = 0

    def writeblocks(self, block, buf, offset=None):
        """Program."""
        self.programmed += len(buf)
        super().writeblocks(block, buf, offset)


class Gate:
    """Looks up two cards at each of its turns."""

    def __init__(self, table, disk):
        self.turns = self.wrong = self.most_lines = self.most_bytes = 0
        self.decided_by_the_old = self.decided_by_the_new = 0
        self._table = table
        self._disk = disk

    async def run(self, new_minute):
        """Look them up for ever; `new_minute` is that of the new table."""
        disk, table = self._disk, self._table
        parser = lines = None
        written = disk.programmed
        while True:
            await asyncio.sleep(0)
            self.turns += 1
            self.most_bytes = max(self.most_bytes, disk.programmed - written)
            written = disk.programmed
            if Watched.last is not parser:
                parser, lines = Watched.last, 0
            if parser:
                self.most_lines = max(self.most_lines, parser.rules + parser.dropped - lines)
                lines = parser.rules + parser.dropped
            is_new = table.minute == new_minute
            self.decided_by_the_new += is_new
            self.decided_by_the_old += not is_new
            self.wrong += table.find(BOTH, len(BOTH)) != FOUND
            self.wrong += table.find(OLD, len(OLD)) != (UNKNOWN if is_new else FOUND)


async def main(port, new_minute):
    """Poll the old table, then the new one with the gate beside it."""
    disk = Disk(512)
    scratch.vfs.VfsLfs2.mkfs(disk)
    scratch.vfs.mount(scratch.vfs.VfsLfs2(disk), "/disk")
    answer.AnswerParser = Watched
    poller_module.unload = lambda *names: None  # it would come back unwatched
    clock = FakeClock(False)
    http = Http("http://127.0.0.1:%d" % port, Resolver(lambda: "", clock.uptime), clock.uptime)
    client = Client(http, "the-secret", "GATE-1")
    table = Table("/disk/table")
    found = with_defaults({"full_sync_hours": 1})[0]
    poller = poller_module.Poller(
        client, table, clock, NoKeeper(), FakeWifi(), lambda line: None, found, NoLog()
    )
    assert await poller.attempt(), poller.error
    Watched.last = None
    gate = Gate(table, disk)
    job = asyncio.create_task(gate.run(new_minute))
    clock.seconds += 3600
    before = disk.programmed
    assert await poller.attempt(), poller.error
    job.cancel()
    assert table.minute == new_minute, table.minute
    return {
        "rules": Watched.last.rules,
        "programmed": disk.programmed - before,
        "turns": gate.turns,
        "wrong": gate.wrong,
        "by the old table": gate.decided_by_the_old,
        "most lines": gate.most_lines,
        "most bytes": gate.most_bytes,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))))
