"""Shortages of memory: nearly all of the heap's free memory is taken away for a while.

With nothing that could be collected, the allocations of what runs then succeed as long as the
blocks last that are left, and the next one fails: with one block more each time, each allocation
is once the first to fail. `check` tries a story in all these shortages, and in those that begin or
end later, or let only large allocations fail. MicroPython only.
"""

import gc

from device.ramdisk import RamDisk

BLOCK = 32  # bytes of the smallest allocation on 64 bits
_LARGEST = 1 << 16
_SPARE = 40  # blocks beyond those that were enough


class Hog:
    """What takes the memory away."""

    def __init__(self):
        self._taken = None

    def take(self, blocks, garbage=False):
        """Leave so many blocks of memory.

        garbage: whether the next collection, for which now only the firmware calls, gives the rest
        back; else `give` does.
        """
        self._taken = _fill(blocks)
        gc.collect()
        gc.disable()
        # What the filling itself needed is free by now.
        while gc.mem_free() > blocks * BLOCK:
            self._taken = (self._taken,)
        if garbage:
            self._taken = None

    def take_pieces(self, blocks):
        """Leave memory in pieces of so many blocks: what is larger finds no place."""
        self._taken = _cut(blocks + 1)
        gc.collect()

    def give(self):
        """Give the memory back."""
        if isinstance(self._taken, list):
            # One by one: the collector takes any number for a reference, and one left somewhere
            # would keep all of them.
            self._taken[:] = []
        self._taken = None
        gc.enable()
        gc.collect()


def _fill(blocks):
    # Each piece holds the one before: nothing else is allocated.
    kept = taken = None
    for _ in range(blocks):
        kept = (kept,)
    size = _LARGEST
    while size >= BLOCK:
        try:
            taken = taken, bytearray(size)
        except MemoryError:
            size >>= 1
    gc.collect()
    try:
        while True:
            taken = (taken,)
    except MemoryError:
        return taken  # and what was kept is garbage


def _cut(step):
    # Pieces of one block each, in the order of their places, of which every one in `step` stays.
    count = gc.mem_free() // (BLOCK + 8)
    pieces = rest = None
    while not pieces:
        try:
            pieces = [None] * count
        except MemoryError:
            count //= 2
    try:
        for i in range(len(pieces)):
            pieces[i] = (i,)
        while True:
            rest = (rest,)
    except MemoryError:
        pass
    for i in range(len(pieces)):
        if i % step:
            pieces[i] = None
    pieces[0] = rest
    return pieces


class Disk(RamDisk):
    """A disk on which memory may go, or come back, with an operation.

    operations: reads, programs and erases so far. at: {operation: what is called before it}.
    """

    def __init__(self, data):
        super().__init__(len(data) // self.SIZE, data)
        self.operations = 0
        self.at = {}

    def readblocks(self, block, buf, offset=0):
        """Count and read."""
        self._count()
        RamDisk.readblocks(self, block, buf, offset)

    def writeblocks(self, block, buf, offset=None):
        """Count and program."""
        self._count()
        RamDisk.writeblocks(self, block, buf, offset)

    def _count(self):
        self.operations += 1
        if self.operations in self.at:
            self.at[self.operations]()


def keep_quiet(loop, context):
    """In the place of asyncio's exception handler: a task ended, and nobody waits for it."""


# Kinds of shortage, each with a number.
BLOCKS = "so many blocks are left"
PIECES = "no piece is left of more than so many blocks"
FROM = "nothing is left from that operation of the flash on"
MOMENT = "nothing is left between that operation of the flash and the next"


class Shortage:
    """A shortage of a kind, which begins with `begin` and ends with `end`, if not before.

    disk: the Disk that is in use.
    """

    def __init__(self, kind, number):
        self._kind = kind
        self._number = number
        self._hog = Hog()
        self._disk = None

    def __repr__(self):
        return "%s: %d" % (self._kind, self._number)

    def begin(self, disk):
        """Begin."""
        self._disk = disk
        kind, number, hog = self._kind, self._number, self._hog
        if kind == BLOCKS:
            hog.take(number)
        elif kind == PIECES:
            hog.take_pieces(number)
        else:
            first = disk.operations + number
            disk.at = {first: lambda: hog.take(0)}
            if kind == MOMENT:
                disk.at[first + 1] = hog.give

    def end(self):
        """Give all the memory back."""
        self._hog.give()
        self._disk.at = {}


class Plenty:
    """A shortage that is none. operations: of the flash, how many there were."""

    def begin(self, disk):
        """Begin to count."""
        self._disk = disk
        self.operations = disk.operations

    def end(self):
        """End it."""
        self.operations = self._disk.operations - self.operations


def check(name, story, step=1):
    """Try a story in every `step`-th shortage of each kind; print how often what came of it.

    story: has `try_in(shortage)`, which raises if something is wrong, and returns what came of it
    in words.
    """
    plenty = Plenty()
    usual = story.try_in(plenty)
    counts = {}

    def matters(shortage):
        outcome = story.try_in(shortage)
        counts[outcome] = counts.get(outcome, 0) + 1
        return outcome != usual

    assert matters(Shortage(BLOCKS, 0)), usual
    for kind, most in (
        # Memory used and freed meanwhile may shift this a little.
        (BLOCKS, _enough(matters, BLOCKS, step) + _SPARE),
        (PIECES, _enough(matters, PIECES, step) + _SPARE),
        (FROM, plenty.operations),
        (MOMENT, plenty.operations),
    ):
        for number in range(1, most + 1, step):
            matters(Shortage(kind, number))
    told = ", ".join(["%s %d" % (words, counts[words]) for words in sorted(counts)])
    print("# memory short, %s: %d times: %s" % (name, sum(counts.values()), told))


def _enough(matters, kind, step):
    # Returns a number with which a shortage of that kind does not matter, nearly the least one.
    enough, few = 32, 0
    while matters(Shortage(kind, enough)):
        enough, few = 2 * enough, enough
    while enough - few > step:
        middle = (few + enough) // 2
        if matters(Shortage(kind, middle)):
            few = middle
        else:
            enough = middle
    return enough
