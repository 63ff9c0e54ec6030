"""Power cuts in the access log while it is kept and sent: in a real LittleFS, at every operation.

A *story* is a sequence of steps: somebody passes (with or without the clock set), the clock is
set, entries are sent to a server that takes them, or takes them and its answer is lost, or hears
nothing. What was signalled is written down outside. After a cut at any program or erase the
reader starts again and goes on; then that is cut in the same way. In the end everything signalled
is at the server, in order, with its time where that could be known; twice came only what was in a
batch whose answer was lost or whose mark was being written. MicroPython only.
"""

from hashlib import md5

import vfs

from device import fake_time
from device.power import FAILURES, KINDS, NEVER, CutDisk, make_file_system, mount
from device.ramdisk import RamDisk
from device.seconds import HandClock
from kalitka.access import decision
from kalitka.journal import entries
from kalitka.journal.access_log import AccessLog
from kalitka.sync.net import NetError
from kalitka.sync.uploader import Uploader

_PLACE = "/cut"
_FOLDER = _PLACE + "/journal"
_SIZE = 32768  # three segments of one block
_BLOCKS = 20
_FIRST_START = 1795415400  # seconds since 1970 UTC
_DARK_S = 1000  # between two starts

# Steps.
PASS = "somebody passes"
LARGE = "somebody with a long code passes"
SET = "the clock is set"
TAKEN = "sent, and taken"
LOST = "sent, taken, and the answer is lost"
UNHEARD = "sent, and not heard"
START = "a new start"
WAIT = "a while without anybody"

_GOING_ON = [PASS, SET, PASS, LOST, PASS, TAKEN]


class NoPower(Exception):
    """There is no next step."""


class Disk(CutDisk):
    """A disk whose power goes. `off`: it has gone."""

    def __init__(self, data, at=NEVER, kind="fails"):
        super().__init__(data, at, kind)
        self._stays = kind in FAILURES

    @property
    def off(self):
        """Whether there is no power any more."""
        return self.cut and not self._stays


class World:
    """What is known outside the reader: who was signalled, and what the server has.

    now: the time. starts: how many there were. came: [(code, when, start, whether the clock was
    set, whether it was signalled)]. clocks: {start: whether its time is in flash for sure}.
    taken: {number: text} of what the server has. order: their numbers as they first came.
    retry_at: those that may come again. first: the oldest record in the log after the steps.
    """

    def __init__(self):
        self.now = _FIRST_START
        self.starts = 0
        self.came = []
        self.clocks = {}
        self.taken = {}
        self.order = []
        self.retry_at = set()
        self.first = 1

    def copy(self):
        """Return one like it."""
        other = World()
        other.now = self.now
        other.starts = self.starts
        other.came = self.came[:]
        other.clocks = self.clocks.copy()
        other.taken = self.taken.copy()
        other.order = self.order[:]
        other.retry_at = self.retry_at.copy()
        return other

    def state(self):
        """Return all of it as bytes."""
        told = (self.now, self.came, self.clocks, self.order, sorted(self.retry_at))
        return repr(told).encode()

    def check(self, log):
        """Check what has come of it, when everything is sent."""
        assert log.acked == log.last and not log.lost and not log.damaged
        there = {}  # code: text
        for number in self.order:
            text = self.taken[number]
            code = text.split("_")[1]
            assert code not in there, "twice in the journal: " + text
            there[code] = text
        expected = [one for one in self.came if one[4] or one[0] in there]
        assert sorted(there) == [one[0] for one in expected], "missing"
        for i in range(len(expected)):
            text = self.taken[self.order[i]]
            code, when, start, is_set, _ = expected[i]
            seconds, told, *rest = text.split("_")
            assert told == code and rest[:3] == ["1", str(decision.ALLOWED), "0"], text
            known = self.clocks.get(start)
            if is_set or known:
                assert int(seconds) == when, (text, when)
            elif known is None:
                assert seconds == "0", text
            else:
                assert int(seconds) in (0, when), (text, when)


class Server:
    """Our hub, in the place of the uploader's client. answer: TAKEN, LOST or UNHEARD."""

    from_hub = True
    answered = False

    def __init__(self, world, disk):
        self.answer = TAKEN
        self._world = world
        self._disk = disk

    async def upload(self, size, pieces, more, patience):
        """Take the entries. Raises NetError as it is told to."""
        world = self._world
        body = b"".join([bytes(piece) for piece in pieces()])
        assert len(body) == size and len(dict(more)["X-Kalitka-Log"]) == 8
        if self._disk.off:
            raise NoPower
        if self.answer == UNHEARD:
            raise NetError("no answer")
        for text in body.decode().split(","):
            number = int(text.split("_")[-1])
            if number in world.taken:
                assert number in world.retry_at, "sent again: " + text
            else:
                assert not world.order or number > world.order[-1], "out of order: " + text
                world.order.append(number)
                world.taken[number] = text
                # As long as it is not said that the mark is in flash.
                world.retry_at.add(number)
        if self.answer == LOST:
            raise NetError("the answer was lost")


class Reader:
    """A reader whose power has just come. Raises NoPower when it goes."""

    def __init__(self, disk, world):
        self._disk = disk
        self._world = world
        world.now += _DARK_S
        world.starts += 1
        self._clock = clock = HandClock(world.now)
        self.journal = AccessLog(_FOLDER, _SIZE, clock, self._report)
        self._server = Server(world, disk)
        self._uploader = Uploader(self._server, self.journal, clock, self._report, 0)
        self._live()

    def _report(self, line):
        pass

    def _live(self):
        if self._disk.off:
            raise NoPower

    def do(self, step):
        """Take a step."""
        self._clock.now += 1
        self._world.now = self._clock.now
        if step == SET:
            self._set_clock()
        elif step == PASS:
            self._pass(8)
        elif step == LARGE:
            self._pass(180)
        elif step == WAIT:
            for _ in range(10):
                self.journal.tick()
        else:
            self._send(step)

    def _set_clock(self):
        world = self._world
        self._clock.is_set = True
        world.clocks[world.starts] = False
        self.journal.tick()
        self._live()
        world.clocks[world.starts] = True

    def _pass(self, size):
        world = self._world
        # In code order, so that it is seen if one of them is missing.
        code = "%06X" % len(world.came) + "A" * (size - 6)
        one = (code, self._clock.now, world.starts, self._clock.is_set)
        world.came.append(one + (False,))
        self.journal.append(entries.SCANNER, 1, decision.ALLOWED, code.encode())
        self._live()
        world.came[-1] = one + (True,)

    def _send(self, answer):
        self._server.answer = answer
        self._uploader.retry_at = 0
        if self._uploader.due(self._clock.uptime()):
            fake_time.run(self._uploader.send)
            self._live()
            log = self.journal.log
            if answer == TAKEN:
                self._world.retry_at = {n for n in self._world.retry_at if n > log.acked}

    def send_all(self):
        """Send until nothing is left."""
        for _ in range(9):
            self.do(TAKEN)
        self._world.check(self.journal.log)


def _lived(disk, world, steps, to_the_end=False):
    # Starts a reader that takes the steps; returns whether the power stayed.
    try:
        mount(disk, _PLACE)
    except OSError:
        return False
    try:
        reader = Reader(disk, world)
        for step in steps:
            if step == START:
                reader = Reader(disk, world)
            else:
                reader.do(step)
        if to_the_end:
            reader.send_all()
        world.first = reader.journal.log.first
        return True
    except NoPower:
        return False
    finally:
        vfs.umount(_PLACE)


class Story:
    """A log made by the steps `before` (None for an empty file system), and some `steps`.

    gave_way: whether entries gave way in the steps.
    """

    def __init__(self, before, steps):
        self._steps = steps
        self._data = bytearray(_BLOCKS * RamDisk.SIZE)
        self._view = memoryview(self._data)
        make_file_system(Disk(self._data))
        self._before = World()
        if before is not None:
            assert _lived(Disk(self._data), self._before, before)
        self._image = bytes(self._data)
        disk = Disk(self._data)
        world = self._before.copy()
        assert _lived(disk, world, steps)
        self.operations = disk.operations
        self.gave_way = world.first > self._before.first
        self._looked_at = set()
        self._check(world)
        self.cuts = self.second_cuts = self.taken_unsignalled = 0

    def cut(self, first=1, second=1):
        """Cut at every `first`-th operation, and going on at every `second`-th."""
        for number in range(len(KINDS)):
            kind = KINDS[number]
            for at in range(1 + number % first, self.operations + 1, first):
                try:
                    self._cut(at, kind, second)
                except BaseException:
                    print("after the cut", at, kind)
                    raise

    def _cut(self, at, kind, second):
        self._view[:] = self._image
        world = self._before.copy()
        assert not _lived(Disk(self._data, at, kind), world, self._steps)
        self.cuts += 1
        left = bytes(self._data)
        digest = md5(left + world.state()).digest()
        if digest in self._looked_at:
            return
        self._looked_at.add(digest)
        self._check(world.copy())
        step = 1 + (at + len(self._looked_at)) % second
        while True:
            self._view[:] = left
            again = world.copy()
            kind = KINDS[step % 3]
            if _lived(Disk(self._data, step, kind), again, _GOING_ON):
                return
            self.second_cuts += 1
            try:
                self._check(again)
            except BaseException:
                print("and then", step, kind)
                raise
            step += second

    def _check(self, world):
        # It can go on, and then nothing is missing; and again after one more start.
        assert _lived(Disk(self._data), world, _GOING_ON, True)
        self._count(world)
        disk = Disk(self._data)
        assert _lived(disk, world, [], True) and not disk.operations, "it sent or wrote again"

    def _count(self, world):
        codes = [text.split("_")[1] for text in world.taken.values()]
        self.taken_unsignalled = getattr(self, "taken_unsignalled", 0) + sum(
            [one[0] in codes for one in world.came if not one[4]]
        )

    def fail_once(self, kind="once"):
        """Let each operation fail alone: the reader goes on, having lost nothing.

        kind: of FAILURES.
        """
        steps = []
        for step in self._steps + [PASS, SET, PASS, TAKEN]:
            # Entries in memory are lost with the power (FORMAT.md).
            steps += [WAIT, START] if step == START else [step]
        for at in range(1, self.operations + 1):
            self._view[:] = self._image
            world = self._before.copy()
            try:
                disk = Disk(self._data, at, kind)
                assert _lived(disk, world, steps)
                assert disk.cut
                self._check(world)
            except BaseException:
                print("after operation", at, "failed", kind)
                raise
            self.cuts += 1


# The stories, by their names.


def first_start():
    """The first start on an empty file system, and the first entries."""
    return Story(None, [PASS, PASS, SET, PASS, TAKEN, PASS, LOST, TAKEN])


def sending():
    """Sent, with every kind of answer, while others pass."""
    before = [SET] + [PASS] * 11
    return Story(before, [SET, TAKEN, PASS, LOST, PASS, UNHEARD, PASS, TAKEN, PASS, TAKEN, TAKEN])


def without_a_clock():
    """Starts whose clock is set late, or never."""
    before = [PASS, PASS, START, PASS]
    return Story(before, [PASS, SET, PASS, START, PASS, TAKEN, TAKEN, START, PASS, SET, TAKEN])


def into_the_segment():
    """Small files are full and go into the segment while entries are sent."""
    return Story([SET] + [PASS] * 38, [SET, PASS, TAKEN] + [PASS] * 4 + [LOST, PASS, PASS, TAKEN])


def full():
    """The log is full: what the server has gives way."""
    before = [SET] + ([LARGE] * 15 + [TAKEN]) * 7 + [LARGE] * 8 + [TAKEN]
    story = Story(before, [SET] + ([LARGE] * 5 + [TAKEN]) * 2 + [PASS, LOST])
    assert story.gave_way
    return story


def check_cuts(story, first=1, second=1):
    """Cut a story of this module (by its name) so often, and print how often."""
    tried = globals()[story]()
    tried.cut(first, second)
    print(
        "# access log, %s: %d operations, %d cuts, %d second cuts; %d entries at the server whose "
        "signal had not come"
        % (story, tried.operations, tried.cuts, tried.second_cuts, tried.taken_unsignalled)
    )


def check_single_failures(story, kind="once"):
    """Let every operation of a story fail alone, and print how many. kind: of FAILURES."""
    tried = globals()[story]()
    tried.fail_once(kind)
    print("# access log, %s: %d operations failed (%s), one at a time" % (story, tried.cuts, kind))
