"""Days at busy doors with a real hub, whose log is compared with the events at the doors.

The reader (device/week_runner.py) runs in virtual time; relay, hub and power fail at random
moments. Moments in virtual time are the same with the same seed; those in the middle of a request
or of a flash operation are not.
"""

import contextlib
import json
import math
import random
import subprocess
import threading
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select as select_rows

import micropython_peer
from hub_command import Hub
from kalitka.journal import entries
from kalitka_hub.store.database import open_database
from kalitka_hub.store.models import AccessEntry
from kalitka_sim.tcp_relay import TcpRelay

MONDAY = 1795392000  # 2026-11-23 00:00 UTC
DAY = 86400
PASSES = 5000  # per day
# The share of passes by hour: nights are calm, and there are three rushes.
HOURS = (1, 1, 0, 0, 1, 5, 20, 60, 90, 30, 15, 20, 70, 60, 20, 15, 30, 80, 60, 25, 15, 8, 4, 2)
LENGTHS = (10, 300, 1000)  # entries between two power cuts, at most
LENGTHS_ALONE = (100,)  # the same while the hub is off
DARK = (5, 60)  # seconds without power, when nobody passes
TIME_WAIT = 500  # an entry gets its time if the clock is set within so many seconds
KINDS = ("fails", "dropped", "half")
OPERATIONS = 2.3  # flash operations per entry
CODES = {entries.EXIT_BUTTON: "btn-exit", entries.ALARM: "alarm"}
DOOR_CODES = ("door-forced", "door-held")


class DoorEvent(NamedTuple):
    """An event at a door. signalled: the door showed it, so the log must have it.

    timed: whether its entry has a time; None if the power was cut before that was decided.
    """

    at: int
    code: str
    state: int
    reason: int
    source: int
    signalled: bool
    timed: bool | None


@dataclass
class Doors:
    """The events at the doors, and the counts of failures."""

    happened: list[DoorEvent] = field(default_factory=list)
    power_cuts: int = 0
    flash_cuts: int = 0  # power cuts at a flash operation
    link_cuts: int = 0
    outages: int = 0
    hub_starts: int = 0
    drained: list[int] = field(default_factory=list)


class _Start:
    # One start of the reader, from power on to power off, and its output.

    def __init__(self):
        self.entries = []  # [words of M, signalled]
        self.clock_set = None  # when
        self.clock_reported = False
        self.drained = None

    def add_line(self, line):
        word, *rest = line.split()
        if word == "M":
            self.entries.append([line.rstrip("\n").split(" ")[1:], False])
        elif word == "S":
            self.entries[-1][1] = True
        elif word == "C":
            self.clock_set = int(rest[0])
        elif word == "T":
            self.clock_reported = True
        elif word == "D":
            self.drained = [int(number) for number in rest]

    def happened(self):
        untimed = [int(words[0]) for words, _ in self.entries if words[1] == "0"]
        known = False if self.clock_set is None else None
        if self.clock_reported and self.clock_set - untimed[0] < TIME_WAIT:
            known = True
        for words, signalled in self.entries:
            at, is_set, source, state, reason = map(int, words[:5])
            code = CODES.get(source) or bytes.fromhex(words[5]).decode()
            if source == entries.DOOR:
                code = DOOR_CODES[reason]
            timed = True if is_set else known
            yield DoorEvent(at, code, state, reason, source, signalled, timed)


class _Faults(threading.Thread):
    # Cuts the relay for short times at random, and so also in the middle of requests.

    def __init__(self, relay, dice):
        super().__init__(daemon=True)
        self.cuts = 0
        self.outage = threading.Lock()  # held while the relay is cut for longer
        self._relay = relay
        self._dice = dice
        self._over = threading.Event()

    def run(self):
        while not self._over.wait(self._dice.uniform(0.02, 0.3)):
            with self.outage:
                self._relay.cut()
                self._over.wait(self._dice.choice((0, 0.001, 0.01, 0.1)))
                self._relay.restore()
                self.cuts += 1

    def end(self):
        self._over.set()
        self.join(5)


class Week:
    """A number of days at a reader in `folder`."""

    def __init__(self, folder: Path, days: int, seed: int):
        self.doors = Doors()
        self._folder = folder
        self._flash = folder / "flash.bin"
        self._dice = random.Random(seed)
        self._end = MONDAY + days * DAY
        hours = list(accumulate(HOURS * days))
        picked = self._dice.choices(range(len(hours)), cum_weights=hours, k=PASSES * days)
        self._passes = sorted(MONDAY + n * 3600 + self._dice.randrange(3600) for n in picked)
        self._changes = []  # (when, what), in their order
        for day in range(days):
            self._plan(MONDAY + day * DAY)
        self._changes.sort()

    def _plan(self, midnight):
        # The outages follow one another and end before midnight.
        dice = self._dice
        begin = midnight + dice.randrange(6 * 3600, 10 * 3600)
        for what, longest in (("hub", 6 * 3600), ("relay", 300), ("restart", 2), ("relay", 300)):
            end = begin + dice.randrange(longest // 3, longest)
            self._changes += [(begin, what + " off"), (end, what + " on")]
            begin = end + dice.randrange(600, 6000)

    def run(self):
        """Let the days pass; the events are in `doors` afterwards. Return the hub's rows."""
        with Hub(self._folder / "hub") as hub:
            hub.add_reader("GATE-1")
            hub.start()
            relay = TcpRelay(hub.address)
            faults = _Faults(relay, random.Random(self._dice.random()))
            faults.start()
            try:
                self._days(hub, relay, faults)
            finally:
                faults.end()
                relay.close()
            self.doors.link_cuts = faults.cuts
            return _rows(hub)

    def _days(self, hub, relay, faults):
        dice = self._dice
        self._reader({"make": str(self._flash)}).wait()
        now = MONDAY
        while True:
            start = _Start()
            # The power is cut at a flash operation or by a kill, soon after the last cut or later.
            # The clock is set at once, within minutes, after the wait for it has ended, or never.
            soon = dice.randrange(20, 400)
            lengths, clocks = LENGTHS, (0, 0, 0, soon, soon, soon, 2000, 10 * DAY)
            if self._changes and self._changes[0][1] == "hub on":
                # Nothing can be sent: each start has to leave its time in the log.
                lengths, clocks = LENGTHS_ALONE, (soon,)
            length = dice.choice(lengths) * dice.random()
            cut = dice.choice((0, 1 + int(OPERATIONS * length)))
            clock = now + dice.choice(clocks)
            passes = [at for at in self._passes if at >= now]
            kill_after = math.inf if cut else length
            options = {
                "flash": str(self._flash),
                "cut": cut,
                "kind": dice.choice(KINDS),
                "port": relay.port,
                "secret": hub.secrets["GATE-1"],
                "now": now,
                "clock": clock,
                "changes": [at for at, _ in self._changes],
                "passes": passes,
                "seed": dice.randrange(1 << 30),
                "name": f"START-{self.doors.power_cuts}",
                "drain": True,
            }
            status = self._power_on(options, start, kill_after, lambda: self._change(hub, faults))
            happened = list(start.happened())
            self.doors.happened += happened
            if start.drained:
                self.doors.drained = start.drained
                return
            assert status in (3, -9), status
            self.doors.power_cuts += 1
            self.doors.flash_cuts += status == 3
            now = (happened[-1].at if happened else now) + dice.randrange(*DARK)

    def _reader(self, options):
        process = subprocess.Popen(
            micropython_peer.command("week_runner", "device/week_runner.py"),
            env=micropython_peer.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self._folder / "reader.log").open("a"),
            text=True,
        )
        process.stdin.write(json.dumps(options) + "\n")
        process.stdin.flush()
        return process

    def _power_on(self, options, start, kill_after, change):
        # Return the reader's exit status.
        process = self._reader(options)
        with process.stdout:
            for line in process.stdout:
                if not line.endswith("\n"):
                    break  # the power was cut in the middle of a line
                if line == "W\n":
                    change()
                    with contextlib.suppress(BrokenPipeError):  # it has been killed
                        process.stdin.write("\n")
                        process.stdin.flush()
                else:
                    start.add_line(line)
                if len(start.entries) > kill_after:
                    process.kill()
                    kill_after = math.inf
        return process.wait()

    def _change(self, hub, faults):
        _, what = self._changes.pop(0)
        if what == "hub off":
            hub.stop()
            self.doors.outages += 1
        elif what == "restart off":
            hub._process.kill()
        elif what in ("hub on", "restart on"):
            hub.stop()
            hub.start()
            self.doors.hub_starts += 1
        elif what == "relay off":
            faults.outage.acquire()
            faults._relay.cut()
            self.doors.outages += 1
        else:
            faults._relay.restore()
            faults.outage.release()


def _rows(hub):
    database = open_database(hub.database)
    try:
        with database.snapshot() as session:
            return list(session.scalars(select_rows(AccessEntry).order_by(AccessEntry.id)))
    finally:
        database.close()


def check(doors: Doors, rows: list[AccessEntry]) -> int:
    """Assert that the hub has each event once, in order; return the number of unsignalled ones.

    There is at most one unsignalled event per power cut, and the hub may or may not have it.
    """
    mark, last, lost, damaged, dropped = doors.drained
    assert (mark, lost, damaged, dropped) == (last, 0, 0, 0)
    assert len({(row.reader, row.log) for row in rows}) == 1
    numbers = [row.number for row in rows]
    assert numbers == sorted(set(numbers))
    unsignalled = [one for one in doors.happened if not one.signalled]
    assert len(unsignalled) <= doors.power_cuts
    found = 0
    remaining = iter(rows)
    row = next(remaining, None)
    for one in doors.happened:
        if row is not None and _is(row, one):
            found += not one.signalled
            row = next(remaining, None)
        else:
            assert not one.signalled, (one, _describe(row))
    assert row is None, _describe(row)
    return found


def _is(row, one):
    if row.timed and (one.timed is False or row.at != one.at):
        return False
    if not row.timed and one.timed:
        return False
    return (row.code, row.state, row.reason, row.source) == one[1:5]


def _describe(row):
    return row and (row.at, row.timed, row.code, row.state, row.reason, row.source, row.number)


def summary(doors: Doors, rows: list[AccessEntry], found: int) -> str:
    """Return a summary of the days in words."""
    untimed = sum(not row.timed for row in rows)
    return (
        f"{len(doors.happened)} entries, {doors.power_cuts} power cuts ({doors.flash_cuts} at an "
        f"operation of the flash), {doors.link_cuts} cuts of the relay, {doors.outages} "
        f"outages, {doors.hub_starts} restarts of the hub: {len(rows)} at the hub, each once, "
        f"{found} of them unsignalled, {untimed} without a time"
    )
