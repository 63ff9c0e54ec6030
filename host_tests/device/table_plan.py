"""The oracle of the table's tests: a history of a table, compared step by step with a dictionary.

Steps are tuples:

    ("full", minute, changes, ending)    a full change
    ("some", minute, changes, ending)    an incremental change
    ("reopen", origin, litter)           close and reopen the table; litter: leave files first
    ("save",)                            save the minute

`ending` is "commit", "abort", or the number of steps after which the commit is given up. Changes:

    ("del", code)              a delete
    ("add", code, packed rule)
    ("wide", code, n)          n rules of this code
    ("many", seed, n, sets)    n codes of all classes, each with one of `sets` rules
    ("gone", seed, n)          deletes of the codes of "many"
"""

import os

from device.codes_oracle import place_of
from device.scratch import Folder, read, snapshot, write
from device.table_contents import add, codes_in, items, lookup
from kalitka.access import packing, rules
from kalitka.table.table import DAMAGED, FOUND, UNKNOWN, Table

RULE_SET_MAX = 720  # bytes of the rules of one code
SHOWN = 30  # codes looked up after a step

ALWAYS = packing.pack(b"9_1")
NEVER = packing.pack(b"9_0")
HOURS = packing.pack(b"3_480_1200_1111100")
SECONDS = packing.pack(b"3_36000_78200_1110101")
DATES = packing.pack(b"1_29921461_29921521")


def _numbers(seed):
    while True:
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        yield seed >> 3


def code_of(number):
    """Return the code of a number: codes of all classes, different for different numbers."""
    kind = number % 8
    if kind < 3:
        return b"%08X" % number
    return (
        b"%X" % number,
        b"%08x%08x%08x%08x" % (number, number * 3, number * 7, number & 0xFFFF),
        b"sbj-%012d" % number,
        b"%x" % number,
        b"QR \xd0\x96/%d" % number,
    )[kind - 3]


def rule_of(number):
    """Return the packed rule of a number: different rules for different numbers."""
    kind = number % 3
    if kind == 0:
        return packing.pack(b"1_%d_%d" % (number, number + 525600))
    if kind == 1:
        return packing.pack(b"3_%d_1200_1111100" % (number % 1440))
    return packing.pack(b"7_480_720_1010100_%d_%d" % (number, number + 43200))


def expand(changes):
    """Return the changes as a list of (code, packed rule), (code, None) for a delete."""
    out = []
    for change in changes:
        kind = change[0]
        if kind == "del":
            out.append((change[1], None))
        elif kind == "add":
            out.append((change[1], change[2]))
        elif kind == "wide":
            for i in range(change[2]):
                out.append((change[1], packing.pack(b"1_%d_%d" % (200 + i, 30_000_000 + i))))
        else:
            numbers = _numbers(change[1])
            for _ in range(change[2]):
                number = next(numbers)
                rule = None if kind == "gone" else rule_of(number % change[3])
                out.append((code_of(number), rule))
    return out


def needs_seconds(packed):
    """Return whether a day time of this packed rule is above 1440."""
    if not packed:
        return False
    fields = rules.text_of(packed).split(b"_")
    return fields[0] in (b"3", b"7") and max(int(fields[1]), int(fields[2])) > 1440


def set_of(packed_rules):
    """Return the rule set of packed rules: in byte order, each once, as many as fit."""
    kept = []
    size = 0
    for rule in sorted(set(packed_rules)):
        size += len(rule)
        if size > RULE_SET_MAX:
            break
        kept.append(rule)
    return b"".join(kept)


class State:
    """The expected state of a table: the dictionary `codes` of rule sets, minute, unit, origin."""

    def __init__(self):
        self.codes = {}
        self.minute = self.stored_minute = 0
        self.seconds = False
        self.origin = None  # of the last change that was written

    def after(self, full, changes):
        """Return the expected (codes, seconds) after a list of changes."""
        new = {} if full else dict(self.codes)
        seconds = self.seconds
        fresh = {}
        for code, rule in changes:
            if rule is None:
                new.pop(code, None)
        for code, rule in changes:
            if rule is not None:
                fresh.setdefault(code, []).append(rule)
                seconds = seconds or needs_seconds(rule)
        for code, some in fresh.items():
            new[code] = set_of(packing.split(new.get(code, b"")) + [r for r in some if r])
        return new, seconds


def check_table(table, state, shown=SHOWN):
    """Check a table against the state: every code, in order, and some unknown codes."""
    assert (table.fault, table.minute, table.seconds) == ("", state.minute, state.seconds)
    expected = sorted(state.codes, key=place_of)
    assert list(codes_in(table)) == expected
    for at, (code, rule_set) in enumerate(items(table)):
        assert code == expected[at] and rule_set == state.codes[code], code
    step = max(1, len(expected) // shown)
    for code in expected[::step]:
        check_code(table, state, code)
        for other in (code + b"0", code[:-1], code[:-1] + b"~", code.upper(), code.lower()):
            check_code(table, state, other)
    for other in (b"", b"0", b"~" * 255, b"F" * 255, b"~" * 256, b"%", b"A,B"):
        check_code(table, state, other)


def check_code(table, state, code):
    """Check one lookup."""
    found = table.find(bytearray(code + b"rest"), len(code))
    rule_set = state.codes.get(code)
    if rule_set is None:
        assert found == UNKNOWN, (code, found)
        return
    assert found == FOUND, (code, found)
    assert bytes(table.rules[table.at : table.end]) == rule_set, code
    assert lookup(table, code) == rule_set, code


def check_tidy(table):
    """Check that the folder has the table's files and no other."""
    assert sorted(os.listdir(table.folder)) == sorted(table.names() + ["manifest"])
    assert len(table.names()) <= 5


def commit(table, full, minute, changes):
    """Commit a change, asking again if needed; return the transaction. Changes: see `expand`."""
    again = 0
    while True:
        transaction = begin(table, full, changes, again)
        for _ in transaction.commit(minute):
            pass
        if not transaction.retry:
            return transaction
        assert transaction.retry > again, "the server is asked again and again"
        again = transaction.retry


def begin(table, full, changes, again=0):
    """Begin a transaction and feed it all changes; return the transaction."""
    transaction = table.begin(full, again)
    feed(transaction, changes)
    return transaction


def feed(transaction, changes):
    """Feed changes (see `expand`) to a transaction."""
    for code, rule in changes:
        if rule is None:
            transaction.delete(code)
        else:
            add(transaction, code, rule)


def fails(table, full, minute, changes):
    """Return whether a change ends in an OSError; if so, abort it.

    changes: see `expand`, or a callable that returns an iterable of the same.
    """
    again = 0
    while True:
        transaction = table.begin(full, again)
        try:
            feed(transaction, changes() if callable(changes) else changes)
            for _ in transaction.commit(minute):
                pass
        except OSError:
            transaction.abort()
            return True
        if not transaction.retry:
            return False
        assert transaction.retry > again, "the server is asked again and again"
        again = transaction.retry


class _History:
    def __init__(self, folder):
        self.origin = 7
        self.table = Table(folder, self.origin)
        self.state = State()
        self.state.origin = self.origin
        self.stored_seconds = False

    def full(self, minute, changes, ending):
        self._change(True, minute, changes, ending)

    def some(self, minute, changes, ending):
        # A table of another origin waits for a full sync.
        if self.origin == self.state.origin:
            self._change(False, minute, changes, ending)

    def _change(self, full, minute, changes, ending):
        changes = expand(changes)
        before = snapshot(self.table.folder)
        transaction = begin(self.table, full, changes)
        check_refused(self.table)
        if ending == "abort":
            transaction.abort()
        else:
            while self._run(transaction.commit(minute), ending):
                again = transaction.retry
                if not again:
                    self._take(transaction, full, minute, changes, before)
                    return
                assert full or self.table.spilled == self.table.minute
                assert snapshot(self.table.folder) == before
                transaction = begin(self.table, full, changes, again)
                assert transaction.retry < again
        assert snapshot(self.table.folder) == before

    def _run(self, steps, ending):
        # Runs the steps of a commit up to `ending`, and checks that between two steps everything
        # is as before. Returns whether the commit came to its end.
        probes = sorted(self.state.codes)[:3] + [b"no such code"]
        count = 0
        while count != ending:
            try:
                next(steps)
            except StopIteration:
                return True
            count += 1
            check_code(self.table, self.state, probes[count % len(probes)])
            assert self.table.minute == self.state.minute
            check_refused(self.table)
        steps.close()
        return False

    def _take(self, transaction, full, minute, changes, before):
        state = self.state
        foreign = state.origin != self.origin
        if full and foreign:
            state.seconds = False
        codes, seconds = state.after(full, changes)
        kept = codes == state.codes
        if full:
            assert transaction.changed == (0 if kept else len(codes))
        else:
            assert transaction.changed == _differences(codes, state.codes)
        # Minute 0 asks for a full sync, also after a power cut: it is stored.
        reset = minute == 0 and state.stored_minute
        if kept and not foreign and seconds == self.stored_seconds and not reset:
            assert snapshot(self.table.folder) == before
        else:
            state.stored_minute = minute
            state.origin = self.origin
        state.codes = codes
        state.seconds = seconds
        state.minute = minute
        self.stored_seconds = seconds

    def save(self):
        if self.origin == self.state.origin:
            self.state.stored_minute = self.state.minute
        self.table.save_minute()

    def reopen(self, origin, litter):
        folder = self.table.folder
        self.table.close()
        kept = sorted(os.listdir(folder))
        if litter:
            for name in ("run-1.tmp", "delta-99.seg", "manifest.new"):
                write(folder + "/" + name, b"litter")
        self.origin = origin
        self.table = Table(folder, origin)
        assert sorted(os.listdir(folder)) == kept
        self.state.minute = self.state.stored_minute if origin == self.state.origin else 0


def _differences(one, other):
    codes = set(one)
    codes.update(other)
    return sum(one.get(code) != other.get(code) for code in codes)


def check_refused(table):
    """Check that no second change can begin."""
    for full in (True, False):
        try:
            table.begin(full)
        except ValueError:
            continue
        raise AssertionError("two changes at once")


def check_history(steps):
    """Check a table after each of `steps`."""
    with Folder() as folder:
        history = _History(folder + "/table")
        for step in steps:
            getattr(history, step[0])(*step[1:])
            check_table(history.table, history.state)
            check_tidy(history.table)
        history.reopen(history.origin, False)
        check_table(history.table, history.state)
        history.table.close()


def check_flip(seed, place, flip, heal):
    """Check that a flipped byte in a table of many blocks causes no wrong lookup.

    place: selects the file and the byte in it. flip: the bits to flip. heal: check the repair by a
    full sync, too.
    """
    first = expand([("many", seed, 400, 300)])
    second = expand([("gone", seed, 20), ("many", seed + 1, 60, 300)])
    state = State()
    with Folder() as home:
        folder = home + "/table"
        table = Table(folder)
        for full, changes in ((True, first), (False, second)):
            state.codes, _ = state.after(full, changes)
            commit(table, full, 5, changes)
        table.close()
        names = sorted(os.listdir(folder))
        name = folder + "/" + names[place % len(names)]
        data = bytearray(read(name))
        data[place % len(data)] ^= flip
        write(name, data)
        table = Table(folder)
        damaged = 0
        for code, _ in first + second:
            if table.find(code, len(code)) == DAMAGED:
                damaged += 1
                assert table.fault, code
            else:
                check_code(table, state, code)
        assert damaged, (name, place % len(data))
        if heal:
            everything = [(c, r) for c, s in state.codes.items() for r in packing.split(s)]
            commit(table, True, 5, everything)
            state.minute = 5
            check_table(table, state)
        table.close()
