"""The rule table: the rule set of every code, in flash.

One base segment and a few deltas, named by a manifest that is replaced by an atomic rename.
Promises: a lookup reads at most 1 KiB a segment and allocates nothing; memory grows with the
number of tokens only by a few bytes a block; after a power cut at any time, the table is the old
one or the new one; corruption is reported as DAMAGED, never as UNKNOWN.
FORMAT.md has the bytes and the recovery. `sync` fetches the changes from the server.
"""

import os

from kalitka import native
from kalitka.table import manifest
from kalitka.table.block import TOMBSTONE, CorruptionError, Cursor
from kalitka.table.segment import ABSENT, DAMAGED, PRESENT, Segment
from micropython import const

# The modules that apply a change are imported with the first change: lookups do without them.

UNKNOWN = ABSENT
FOUND = PRESENT

_ENOENT = const(2)
_BUFFER = const(8192)  # bytes of a full change's buffer: sorter.LARGE, a module loaded later


class Table:
    """The table in `folder`, which is created if it does not exist.

    origin: a small number (31 bits) that identifies the server and reader the rules come from.
    With an origin other than the one it was filled from, the table still decides, but its minute
    counts as 0: a minute of one server means nothing to another.

    minute: the server's minute of this state; 0 asks for a full sync.
    seconds: whether this server has sent day times in seconds.
    stale: whether the table was filled from another origin.
    sums: of all codes with their rules (a list of three), None if unknown; see FORMAT.md.
    fault: why the table needs a full sync to be whole again, in words, else "".
    spilled: the minute of the last answer with changes that did not fit the memory.
    rules, at, end: after `find` returned FOUND, the rule set is `rules[at:end]`.
    """

    def __init__(self, folder: str, origin: int = 0):
        self.folder = folder
        self.origin = origin
        self.fault = ""
        self._cursor = Cursor()
        self._key = self._cursor.key
        self._segments = []  # newest first; None for a segment that cannot be read
        self._transaction = None
        self.spilled = -1
        self._dirty = False  # files were begun since the last sweep
        self._scrubbed = 0  # blocks that `scrub` has read
        self._reserved = 0  # segments up to this number have lost their manifest, and are kept
        self.rules = self._cursor.buf
        self.at = self.end = 0
        self._open()

    def find(self, code: bytes | bytearray, n: int) -> int:
        """Look up the code `code[:n]` (bytes-like); return FOUND, UNKNOWN or DAMAGED."""
        if native.pack_code(code, 0, n, self._key, 0) < 0:
            return UNKNOWN
        return self._find()

    def begin(self, full: bool, retry: int = 0):
        """Begin a Transaction: a full one replaces the table, an incremental one changes it.

        retry: the `retry` of the transaction before, if that asked for this one. Raises ValueError
        if another is under way, CorruptionError if only a full sync can help, MemoryError.
        """
        if self._transaction:
            raise ValueError("a change of the table is under way")
        if self.fault and not full:
            raise CorruptionError(self.fault)
        if full:
            # Allocated before the import: afterwards the heap may have no piece of this size.
            buffer = bytearray(_BUFFER)
            from kalitka.table.full_change import FullChange

            self._transaction = FullChange(self, buffer, retry)
        else:
            from kalitka.table.incremental_change import IncrementalChange

            self._transaction = IncrementalChange(self, retry)
        return self._transaction

    def save_minute(self) -> None:
        """Write the minute to flash if it moved on without a change of the rules."""
        if self.minute != self._manifest.minute and not self.stale and not self.fault:
            self._save(self._manifest.segments, self.minute, self.seconds, self.sums)

    def scrub(self) -> int:
        """Read the next block, to find damage before a card meets it; `fault` then has it.

        Returns the number of blocks: after as many calls each has been read once.
        """
        blocks = sum([segment.block_count for segment in self._segments if segment])
        number = self._scrubbed % max(blocks, 1)
        self._scrubbed = number + 1
        for segment in self._segments:
            if segment:
                if number < segment.block_count:
                    if not segment.read(number):
                        self.fault = segment.fault
                    break
                number -= segment.block_count
        return blocks

    @property
    def size(self) -> int:
        """The bytes of all segments."""
        return sum([segment.size for segment in self._segments if segment])

    def close(self) -> None:
        """Close all files."""
        for segment in self._segments:
            if segment:
                segment.close()
        self._segments = []

    # The methods below are for transactions.

    def lookup_packed(self, key: bytes) -> bytes | None:
        """Return the rule set (bytes) of a packed code, None if unknown. Raises CorruptionError.

        key: begins with the packed code (bytes-like, up to 258 bytes).
        """
        self._key[: len(key)] = key
        state = self._find()
        if state == DAMAGED:
            raise CorruptionError(self.fault)
        return bytes(self.rules[self.at : self.end]) if state == FOUND else None

    def names(self) -> list[str]:
        """Return the file names of the segments, oldest first (a list)."""
        return list(self._manifest.segments)

    def new_name(self, kind: str) -> str:
        """Return the file name of a new segment, which no file of the manifest has."""
        self._generation += 1
        self._dirty = True
        return "%s-%d.seg" % (kind, self._generation)

    def open_segment(self, name: str) -> Segment:
        """Open a segment of the folder. Raises CorruptionError, OSError."""
        return Segment(self.folder + "/" + name, self._cursor)

    def set_minute(self, minute: int, seconds: bool) -> None:
        """Set the minute of a table that needs no change; write the manifest only if necessary."""
        # A reset to 0 asks for a full sync, also after a power cut.
        reset = minute == 0 and self._manifest.minute
        if self.stale or seconds != self.seconds or reset:
            self._save(self._manifest.segments, minute, seconds, self.sums)
        self.minute = minute

    def commit(self, names: list[str], minute: int, seconds: bool, sums: list | None) -> None:
        """Commit these segment files (oldest first): from now on they are the table."""
        # FORMAT.md, Changing, steps 5 to 7. A segment that cannot be read back is not committed.
        try:
            segments = [self.open_segment(name) for name in reversed(names)]
        except CorruptionError as e:
            raise OSError("what was written cannot be read back: %s" % e)
        self._save(tuple(names), minute, seconds, sums)  # the commit: the rename in Manifest.save
        # Nothing is allocated from here on: the table in memory is the one in flash.
        segments, self._segments = self._segments, segments
        self.minute = minute
        for segment in segments:
            if segment:
                segment.close()

    def release(self, transaction) -> None:
        """End a transaction; remove the files it left behind or replaced."""
        if self._transaction is transaction:
            self._transaction = None
            if self._dirty:
                self._sweep()

    def _save(self, names, minute, seconds, sums):
        new = manifest.Manifest(minute, self._generation, seconds, self.origin, names, sums)
        new.save(self.folder)
        # Behind `save`: if the rename failed, memory keeps the old manifest, as the flash does.
        self._manifest = new
        self._reserved = 0
        self.seconds = seconds
        self.sums = new.sums
        self.stale = False

    # Functions on the path of a lookup use at most eleven words of locals and stack each: with
    # more, MicroPython allocates heap at each call.

    def _find(self):
        # Looks up the code in `_key`, newest segment first: a newer one shadows those before.
        i = 0
        while i < len(self._segments):
            state = self._find_in(self._segments[i])
            if state != ABSENT:
                return UNKNOWN if state == TOMBSTONE else state
            i += 1
        return UNKNOWN

    def _find_in(self, segment):
        # Segments older than an unreadable one may be out of date: DAMAGED ends the lookup.
        state = segment.find(self._key) if segment else DAMAGED
        if state == PRESENT:
            self.rules = segment.rules
            self.at = segment.at
            self.end = segment.end
        elif state == DAMAGED and segment:
            self.fault = segment.fault
        return state

    def _open(self):
        try:
            os.mkdir(self.folder)
        except OSError:  # it is there already
            pass
        try:
            loaded = manifest.load(self.folder)
        except OSError as e:
            loaded = self._recover(e)
        self._manifest = loaded
        self._generation = loaded.generation
        self.seconds = loaded.seconds
        self.sums = loaded.sums
        self.stale = loaded.origin != self.origin
        if not self.fault:
            self._segments = [self._try_segment(name) for name in reversed(loaded.segments)]
        self.minute = 0 if self.stale or self.fault else loaded.minute
        if not self.fault:
            self._sweep()

    def _recover(self, error):
        # Returns the manifest to go on with if the stored one cannot be read: the table is new, or
        # damaged (then `fault` is set). FORMAT.md, Recovery.
        try:
            names = os.listdir(self.folder)
        except OSError as e:
            error = e
            names = []
        empty = manifest.Manifest(origin=self.origin)
        whole = not isinstance(error, CorruptionError) and error.errno == _ENOENT
        if whole and not any(name.endswith(".seg") for name in names):
            # The very first start. From now on a missing manifest is damage.
            try:
                empty.save(self.folder)
            except OSError as e:
                self.fault = "the table cannot be written: %s" % e
            return empty
        self.fault = "the manifest is missing" if whole else str(error)
        self._segments = [None]
        # New files must not overwrite the old ones, which stay until a full sync replaces them.
        empty.generation = self._reserved = max([_number(name) for name in names] + [0])
        return empty

    def _try_segment(self, name):
        try:
            return self.open_segment(name)
        except OSError as e:
            self.fault = str(e) if isinstance(e, CorruptionError) else "%s cannot be read" % name
            return None

    def _sweep(self):
        # FORMAT.md, Changing, step 7: removes files that the manifest does not name, leftovers of
        # a cut sync and replaced segments. `_manifest` must be the one in flash: Manifest.save
        # looks, where a rename raised. A file that cannot be removed costs room, not correctness:
        # the next sweep tries again.
        try:
            self._dirty = False
            for name in os.listdir(self.folder):
                if name == manifest.NAME or name in self._manifest.segments:
                    continue
                if not name.endswith(".seg") or _number(name) > self._reserved:
                    os.remove(self.folder + "/" + name)
        except OSError:
            self._dirty = True
        except MemoryError:
            self._dirty = True


def _number(name):
    digits = name.split("-")[-1].split(".")[0]
    return int(digits) if digits.isdigit() else 0
