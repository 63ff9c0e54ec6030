"""A reader's days at busy doors, in virtual time, with its log in a real LittleFS and a real hub.

A MicroPython script; its options are a line of JSON on stdin. The flash is a file that outlives
the process, which may be killed at any time; or its power is cut at an operation (see
device/power.py), and then it ends by itself. What it says, one line each, before the next step:

    M AT SET SOURCE STATE REASON CODE   this happens now (seconds since 1970 UTC, code in hex);
                                        SET: whether the clock is set
    S                                   it is signalled: its entry has to be there for ever
    C AT                                the clock is set now
    T                                   ... and that is in the log
    W                                   the world may change now; it waits for a line
    D MARK LAST LOST DAMAGED DROPPED    the end: everything is sent

Virtual time stands still while the hub is waited for, but some people pass meanwhile.
"""

import asyncio
import json
import random
import sys

from device.power import NEVER, CutDisk, make_file_system, mount
from device.seconds import HandClock
from kalitka.access import decision
from kalitka.journal import entries
from kalitka.journal.access_log import AccessLog
from kalitka.sync.answer import AnswerError
from kalitka.sync.client import Client
from kalitka.sync.http import Http
from kalitka.sync.net import NetError, backoff
from kalitka.sync.resolver import Resolver
from kalitka.sync.uploader import Uploader

_PLACE = "/flash"
_BLOCKS = 48
_SIZE = 163840  # of the log: more than a day's entries
_STEP_S = 5
_POLL_S = 600
_WAIT_S = 60  # that entries wait for others
_PATIENCE_S = 0.4
_MEANWHILE = 4  # people who pass during an exchange, at most
_DRAIN_S = 20000  # that sending the rest may take

_PEOPLE = 500


class FlashFile(CutDisk):
    """A disk that stands in a file."""

    def __init__(self, name, at, kind):
        with open(name, "rb") as file:
            data = bytearray(file.read())
        super().__init__(data, at, kind)
        self._file = open(name, "r+b")  # noqa: SIM115
        self._memory = memoryview(data)

    def _do(self, work, at, buf):
        status = super()._do(work, at, buf)
        self._file.seek(at)
        self._file.write(self._memory[at : at + len(buf)])
        return status


def make_flash(name):
    """Make the file, with an empty file system."""
    disk = CutDisk(bytearray(_BLOCKS * CutDisk.SIZE))
    make_file_system(disk)
    with open(name, "wb") as file:
        file.write(disk.data)


def say(*words):
    """Say it, at once and in one piece."""
    sys.stdout.write(" ".join([str(word) for word in words]) + "\n")


class NoChanges:
    """Takes the answer to a poll of a hub without tokens."""

    def minute(self, minute):
        """Take the minute."""

    def drain(self):
        """There is nothing to do."""
        return ()


def happening(dice):
    """Return (source, state, reason, code) of what happens next."""
    kind = dice.randrange(100)
    if kind < 80:
        code = b"%08X" % (dice.randrange(_PEOPLE) * 77777)
        return entries.SCANNER, 1, decision.ALLOWED, code
    if kind < 87:
        return entries.SCANNER, 0, decision.UNKNOWN_CODE, b"%014X" % dice.getrandbits(30)
    if kind < 90:
        return (
            entries.SCANNER,
            0,
            dice.randrange(1, 7),
            b"QR_%d of a guest_" % dice.getrandbits(20),
        )
    if kind < 95:
        return entries.EXIT_BUTTON, 1, 0, b""
    if kind < 98:
        return entries.DOOR, kind & 1, dice.randrange(2), b""
    return entries.ALARM, kind & 1, 0, b""


class Gate:
    """The reader and the people at its doors.

    options: "flash", "cut" (an operation or 0), "kind", "port", "secret", "now", "clock" (when
    it is set), "until", "changes" (when the world may change), "passes" (when somebody comes),
    "seed", "name" (of this start), "drain" (whether everything is to be sent at the end).
    """

    def __init__(self, options):
        self._options = options
        self._dice = random
        random.seed(options["seed"])
        self.disk = FlashFile(options["flash"], options["cut"] or NEVER, options["kind"])
        self._clock = clock = HandClock(options["now"])
        clock.is_set = options["clock"] <= clock.now
        mount(self.disk, _PLACE)
        self._log = AccessLog(_PLACE + "/journal", _SIZE, clock, self._report)
        url = "http://127.0.0.1:%d" % options["port"]
        names = Resolver(lambda: "", clock.uptime)
        http = Http(url, names, clock.uptime, timeout=_PATIENCE_S)
        self._client = Client(http, options["secret"], "GATE-1")
        self._uploader = Uploader(self._client, self._log, clock, self._report, _WAIT_S)
        self._next_poll = self._failures = 0
        self._exchange = None

    def _report(self, line):
        print("#", line, file=sys.stderr)

    def live(self):
        # Without power there is no next step.
        if self.disk.cut:
            sys.exit(3)

    async def day(self):
        """Let people pass until the end."""
        options = self._options
        changes = options["changes"]
        self._happen((entries.SCANNER, 0, decision.UNKNOWN_CODE, options["name"].encode()))
        for at in options["passes"]:
            while self._clock.now < at:
                await self._go_to(min(at, self._clock.now + _STEP_S))
                while changes and changes[0] <= self._clock.now:
                    changes.pop(0)
                    say("W")
                    sys.stdin.readline()
            self._happen(happening(self._dice))
        if options["drain"]:
            await self._drain()

    async def _go_to(self, now):
        # The loop of the poller, at the pace of virtual time.
        clock = self._clock
        if self._exchange and (self._exchange.done() or not self._dice.randrange(_MEANWHILE)):
            await self._exchange
            self._exchange = None
        else:
            await asyncio.sleep(0)
        clock.now = now
        self.live()
        if not clock.is_set and now >= self._options["clock"]:
            say("C", now)
            clock.is_set = True
            self._log.tick()
            self.live()
            say("T")
        if self._exchange:
            return
        if clock.uptime() >= self._next_poll:
            self._exchange = asyncio.create_task(self._poll())
        elif self._client.from_hub is not None and self._uploader.due(clock.uptime()):
            self._exchange = asyncio.create_task(self._uploader.send())

    async def _poll(self):
        try:
            await self._client.sync(0, NoChanges())
            self._failures = 0
            pause = _POLL_S
        except (NetError, AnswerError):
            self._failures += 1
            pause = backoff(self._failures, _POLL_S)
        self._next_poll = self._clock.uptime() + int(pause)

    def _happen(self, what):
        source, state, reason, code = what
        clock = self._clock
        say("M", clock.now, int(clock.is_set), source, state, reason, code.hex())
        self._log.append(source, state, reason, code)
        self.live()
        say("S")

    async def _drain(self):
        log = self._log.log
        end = self._clock.now + _DRAIN_S
        while log.acked < log.last and self._clock.now < end:
            await self._go_to(self._clock.now + 1)
        if self._exchange:
            await self._exchange
        say("D", log.acked, log.last, log.lost, log.damaged, self._log.dropped)


def main():
    """Take the options and do what they say."""
    options = json.loads(sys.stdin.readline())
    if "make" in options:
        make_flash(options["make"])
        return
    try:
        gate = Gate(options)
    except OSError:
        # The power went while it started.
        sys.exit(3)
    try:
        asyncio.run(gate.day())
    except Exception as e:
        # Without power whatever fails is none of the reader's doing.
        gate.live()
        sys.print_exception(e, sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
