"""The rule table with little memory, no memory and no room in flash: in MicroPython only.

The disks are small, and so is the heap: in a large, nearly full heap every garbage collection
would be slow.
"""

from device.scratch import MICROPYTHON

if MICROPYTHON:
    import gc
    import io
    import os

    import micropython
    from device.scratch import mount, remove, unmount, write
    from device.table_contents import add, codes_in, lookup, segments_of
    from device.table_plan import State, check_table, check_tidy, commit, expand, fails
    from kalitka.access import decision, packing, rules
    from kalitka.table.table import FOUND, UNKNOWN, Table

    FREE = 64 * 1024  # bytes of heap for a sync here, where objects are twice as large
    HOURS = packing.pack(b"3_480_1200_1111100")

    # The disks of all cases, allocated while the heap still has a piece of this size.
    _DATA = bytearray(80 * 4096)

    class Disk:
        """`with Disk(blocks) as path:` a new LittleFS of this number of blocks."""

        def __init__(self, blocks):
            self._blocks = blocks

        def __enter__(self):
            return mount("/small", self._blocks, _DATA)

        def __exit__(self, kind, error, trace):
            unmount("/small")

    def _find_with_the_heap_locked(table, code, n):
        micropython.heap_lock()
        try:
            return table.find(code, n)
        finally:
            micropython.heap_unlock()

    def _check_locked(table, code):
        code = bytearray(code)
        size = len(code)
        assert _find_with_the_heap_locked(table, code, size) == FOUND, code
        assert table.rules[table.at : table.end] == lookup(table, code), code
        code[size - 1] ^= 1
        expected = FOUND if lookup(table, code) is not None else UNKNOWN
        assert _find_with_the_heap_locked(table, code, size) == expected, code

    def test_a_lookup_in_a_small_table_allocates_nothing():
        changes = expand([("many", 21, 30, 4), ("wide", b"Z", 60), ("add", b"0", b"")])
        with Disk(24) as folder:
            table = Table(folder + "/table")
            commit(table, True, 5, changes[:30])
            commit(table, False, 6, changes[30:])
            for code, _ in changes:
                _check_locked(table, code)
            table.close()

    def _taken(work, *arguments):
        # Returns the bytes of heap that a call allocates, including those it frees again and those
        # of the call itself.
        work(*arguments)
        before = micropython.mem_total()
        work(*arguments)
        return micropython.mem_total() - before

    def test_a_lookup_takes_no_heap_even_for_a_moment():
        # A function with many locals allocates them on the heap, unless that is locked.
        changes = expand([("many", 21, 300, 4), ("wide", b"Z", 60), ("add", b"0", b"")])
        with Disk(24) as folder:
            table = Table(folder + "/table")
            commit(table, True, 5, changes[:200])
            commit(table, False, 6, changes[200:])
            table.close()
            # The segments in memory: this fake of the flash is Python code, which allocates.
            table = Table(folder + "/table")
            for segment in segments_of(table):
                segment.blocks = (InMemory(segment),) + segment.blocks[1:]
            nothing = _taken(lambda code, n: None, b"", 0)
            for code in [b"none", b"FFFFFF"] + [code for code, _ in changes[::9]]:
                assert _taken(table.find, code, len(code)) == nothing, code
            table.close()

    class InMemory(io.BytesIO):
        """The file of a segment, read into memory."""

        def __init__(self, segment):
            with open("/small/table/" + segment.name, "rb") as file:
                super().__init__(file.read())

    def _one_by_one(n):
        # Yields changes one by one: a list of them would fragment the small heap.
        for i in range(n):
            yield expand([("many", i, 1, 90)])[0]

    def test_a_lookup_in_a_table_of_many_blocks_allocates_nothing():
        with Disk(40) as folder:
            table = Table(folder + "/table")
            commit(table, True, 5, _one_by_one(700))
            for at, (code, _) in enumerate(_one_by_one(700)):
                if at % 3 == 0:
                    _check_locked(table, code)
            table.close()

    def _decided_with_the_heap_locked(table, code, n, minute):
        # Returns the reason for a code, decided as in the application, or a negative lookup state.
        verdict = decision.Verdict()
        micropython.heap_lock()
        try:
            state = table.find(code, n)
            if state != FOUND:
                return -state
            return verdict.decide(
                table.rules, table.at, table.end, table.seconds, minute, minute % 1440, 3
            )
        finally:
            micropython.heap_unlock()

    def test_a_decision_allocates_nothing_whatever_the_rules_and_wherever_they_are():
        texts = (b"9_1", b"9_0", b"1_29921460_29921470", b"3_480_1200_1111100")
        texts += (b"3_1320_360_0001000", b"7_480_720_1010100_29921461_9999999999")
        with Disk(40) as folder:
            table = Table(folder + "/table")
            everything = []
            for n in range(400):
                code = b"%08X" % (n * 77777777 & 0xFFFFFFFF)
                for text in (texts[n % 6], texts[n // 6 % 6]):
                    everything.append((code, packing.pack(text)))
            commit(table, True, 5, everything[:500])
            commit(table, False, 6, everything[500:])
            commit(table, False, 7, [(code, None) for code, _ in everything[::20]])
            seen = set()
            for code, _ in everything[::2]:
                scanned = bytearray(code)
                for minute in (29921459, 29921465, 29922000, -1):
                    seen.add(_decided_with_the_heap_locked(table, scanned, 8, minute))
            reasons = {decision.ALLOWED, rules.NO_LONGER, rules.NOT_YET, rules.NEVER, -UNKNOWN}
            assert reasons < seen, seen
            table.close()

    def _with_little_heap(work):
        # Runs `work` with FREE bytes of heap left, in one piece, whatever the heap's size.
        gc.collect()
        reserve = bytearray(FREE)
        ballast = None
        # Fills the heap with large pieces, then small ones: a chain, as a list would have to grow.
        for size in (1000, 100):
            try:
                while True:
                    ballast = (bytearray(size), ballast)
            except MemoryError:
                pass
        del reserve
        gc.collect()
        assert FREE // 2 < gc.mem_free() < FREE * 3 // 2, gc.mem_free()
        work()
        assert ballast

    def test_changes_of_thousands_of_codes_need_little_memory():
        def sync():
            table = Table(folder + "/table")
            for full, first in ((True, 0), (False, 4000)):
                transaction = table.begin(full)
                for n in range(first, first + 4000):
                    add(transaction, b"%08X" % (n * 2654435761 & 0xFFFFFFFF), HOURS)
                for _ in transaction.commit(5):
                    pass
            assert sum(1 for _ in codes_in(table)) == 8000
            table.close()

        with Disk(80) as folder:
            _with_little_heap(sync)

    def test_thousands_of_rules_of_one_code_need_little_memory():
        def sync():
            table = Table(folder + "/table")
            transaction = table.begin(True)
            for n in range(1500):
                add(transaction, b"A", packing.pack(b"1_%d_%d" % (n, n + 30_000_000)))
            for _ in transaction.commit(5):
                pass
            assert len(lookup(table, b"A")) > 700
            table.close()

        with Disk(80) as folder:
            _with_little_heap(sync)

    def _many(seed, n):
        # Yields changes, so that a long list of them is never in memory as a whole.
        for i in range(n):
            yield (
                b"%08X" % ((i + seed) * 2654435761 & 0xFFFFFFFF),
                packing.pack(b"1_%d_%d" % (i, n)),
            )

    def _answer(n):
        return lambda: _many(n, n)

    def _fill(path):
        # Writes files of one block each, until there is no room for another.
        os.mkdir(path)
        count = 0
        try:
            while True:
                write("%s/%d" % (path, count), bytes(4096))
                count += 1
        except OSError:
            pass

    def test_a_full_disk_leaves_everything_as_it_was():
        state = State()
        first = expand([("many", 41, 200, 9)])
        state.codes, _ = state.after(True, first)
        state.minute = 5
        with Disk(24) as path:
            table = Table(path + "/table")
            commit(table, True, 5, first)
            for full in (True, False):
                # Some fail while changes are collected, some in a merge, some in the new segment.
                for n in (1300, 2000, 2700, 5000):
                    if fails(table, full, 6, _answer(n)):
                        check_table(table, state)
                        check_tidy(table)
                    else:
                        assert n < 5000
                        assert not fails(table, True, 5, first)
            _fill(path + "/filler")
            for n in (300, 900):
                assert fails(table, True, 6, _answer(n)), n
                check_table(table, state)
            remove(path + "/filler")
            changes = expand([("many", 43, 50, 9)])
            commit(table, False, 7, changes)
            state.codes, _ = state.after(False, changes)
            state.minute = 7
            check_table(table, state)
            check_tidy(table)
            table.close()
            table = Table(path + "/table")
            check_table(table, state)
            table.close()
