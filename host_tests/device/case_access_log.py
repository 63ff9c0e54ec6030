"""The access log: durable at once, else in memory and counted; times known later; its id."""

import asyncio
import os

from device.failing_flash import Always, FailingFlash
from device.fake_time import now, run
from device.scratch import MICROPYTHON, Folder, read, write
from device.seconds import every_second
from kalitka.access import decision
from kalitka.journal import access_log, entries
from kalitka.journal.access_log import AccessLog
from kalitka.journal.entries import ALARM, DOOR, EXIT_BUTTON, HELD, SCANNER
from kalitka.journal.log import LAST, Log

SIZE = 65536
START = 1795415400
_EIO = 5
_ENOSPC = 28
_HELD = 32  # entries kept in memory
_AT_ONCE = 64  # records that may be read before other tasks get their turn


class Clock:
    """A clock that is set and moved forward by hand."""

    def __init__(self, is_set=True, up=0):
        self.is_set = is_set
        self.up = up

    def uptime(self):
        return self.up

    def seconds(self):
        return START + self.up


class Flash:
    """The state of a faked flash.

    fault: the errno of every write, 0 for none. room: how many more records fit; evicting a
    segment frees room for `gain`. looked_at: how many records were read.
    """

    def __init__(self):
        self.fault = self.looked_at = 0
        self.room = LAST
        self.gain = 20


class FlashLog(Log):
    """A Log in a Flash."""

    flash = Flash()

    def append(self, data):
        flash = self.flash
        if flash.fault:
            raise OSError(flash.fault, "flash")
        if not flash.room:
            raise OSError(_ENOSPC, "flash")
        flash.room -= 1
        return super().append(data)

    def drop_oldest(self, number):
        gone = super().drop_oldest(number)
        if gone:
            self.flash.room += self.flash.gain
        return gone

    def records(self, first=0, buf=None):
        for found in super().records(first, buf):
            self.flash.looked_at += 1
            yield found


class Site:
    """`with Site() as site:` an AccessLog in a new, empty flash of its own."""

    def __init__(self, is_set=True):
        self.clock = Clock(is_set)
        self.flash = FlashLog.flash = Flash()
        self.lines = []
        self.appended = 0
        self.size = SIZE
        self._folder = Folder()

    def __enter__(self):
        self._kept = access_log.Log
        access_log.Log = FlashLog
        self.path = self._folder.__enter__() + "/journal"
        self.start()
        return self

    def __exit__(self, kind, error, trace):
        access_log.Log = self._kept
        self._folder.__exit__(kind, error, trace)

    def start(self):
        """Restart the reader."""
        self.log = AccessLog(self.path, self.size, self.clock, self.lines.append)

    def append(self, count=1, size=8):
        """Append entries of cards, each with its number, in codes of `size` bytes."""
        for _ in range(count):
            self.appended += 1
            self.clock.up += 1
            self.log.append(SCANNER, 1, decision.ALLOWED, b"%0*d" % (size, self.appended))

    def wait(self):
        """Tick until a flash that failed is tried again."""
        for _ in range(10):
            self.log.tick()

    def cards(self):
        """Return the numbers of the cards that a restart finds in flash, in their order."""
        found = [entries.decode(data) for _, data in Log(self.path, SIZE).records()]
        return [int(fields[4]) for fields in found if fields]

    def start_time(self, number, session):
        """Return the result of `AccessLog.start_time`."""
        return run(lambda: self.log.start_time(number, session))

    def records(self):
        """Return the records in flash: (number, bytes)."""
        return list(Log(self.path, SIZE).records())


def test_an_entry_is_in_flash_when_note_returns():
    told = (
        (SCANNER, 1, decision.ALLOWED, b"04A1B2C3"),
        (SCANNER, 0, decision.UNKNOWN_CODE, b"A,B\x00%_/"),
        (SCANNER, 0, decision.UNKNOWN_CODE, b""),
        (EXIT_BUTTON, 1, 0, b""),
        (DOOR, 1, HELD, b""),
        (DOOR, 0, HELD, b""),
        (ALARM, 1, 0, b""),
        (SCANNER, 0, decision.ALREADY_USED, b"Z" * 255),
    )
    with Site() as site:
        for count, (source, state, reason, code) in enumerate(told):
            site.clock.up += 7
            site.log.append(source, state, reason, code)
            found = site.records()
            assert len(found) == count + 1
            expected = (source, state, reason, START + site.clock.up, code, b"", 0)
            assert entries.decode(found[-1][1]) == expected
        assert site.log.dropped == 0 and not site.lines


def test_entries_without_a_time_get_it_by_what_is_noted_when_the_clock_is_set():
    with Site(is_set=False) as site:
        site.append(3)
        session = entries.decode(site.records()[0][1])[5]
        assert [entries.decode(data)[3] for _, data in site.records()] == [1, 2, 3]
        assert session == site.log.session and site.start_time(1, session) is None
        site.clock.is_set = True
        site.clock.up = 100
        assert site.start_time(1, session) == START
        site.append(2)
        found = [data for _, data in site.records()]
        # The time record comes once, before the first entry with a time.
        assert [bool(entries.time_in(data)) for data in found] == [False] * 3 + [True] + [
            False
        ] * 2
        assert entries.time_in(found[3]) == (session, 101, START + 101)
        assert [entries.decode(data)[5] for data in found[4:]] == [b"", b""]
        assert site.cards() == [1, 2, 3, 4, 5]
        # After a restart the time is read from flash, whatever the clock says now.
        for is_set in (True, False):
            site.clock = Clock(is_set, 12345)
            site.start()
            assert session != site.log.session
            assert site.start_time(2, session) == START


def test_records_of_a_later_firmware_do_not_end_the_search_for_a_time():
    with Site(is_set=False) as site:
        site.append()
        for head in range(0x21, 0x100):
            if head > 0x80 or (head & 0x20 and head & 3):
                site.log.log.append(bytes((head,)) + b"of a later firmware")
        site.clock.is_set = True
        site.append()
        session = site.log.session
        site.start()
        assert site.start_time(1, session) == START


def test_a_session_whose_clock_was_never_set_has_no_time():
    with Site(is_set=False) as site:
        sessions = []
        for _ in range(3):
            site.append(2)
            sessions.append(entries.decode(site.records()[-1][1])[5])
            site.clock = Clock(False)
            site.start()
        assert len(set(sessions)) == 3
        site.clock.is_set = True
        site.append()
        for number, session in ((1, sessions[0]), (3, sessions[1]), (5, sessions[2])):
            assert site.start_time(number, session) is None
        # The start whose clock was set had no entry without a time, so it has no time record.
        assert not any(entries.time_in(data) for _, data in site.records())


def test_of_sessions_each_has_its_own_time():
    with Site(is_set=False) as site:
        expected = []
        for ahead in (100, 5000, 20):
            site.clock = Clock(False)
            site.start()
            site.append()
            number, data = site.records()[-1]
            site.clock.is_set = True
            site.clock.seconds = lambda up=ahead: START + up
            site.append(70)  # more than are read in one go
            expected.append((number, entries.decode(data)[5], START + ahead - 2))
        site.clock = Clock()
        site.start()
        for number, session, offset in expected:
            assert site.start_time(number, session) == offset


def test_the_time_is_noted_by_itself_when_it_becomes_known():
    async def scenario():
        job = asyncio.create_task(every_second(site.log.tick))
        await asyncio.sleep(30)
        assert len(site.records()) == 2
        site.clock.is_set = True
        site.clock.up = 77
        await asyncio.sleep(1.5)
        assert entries.time_in(site.records()[2][1])[1:] == (77, START + 77)
        await asyncio.sleep(100)
        assert len(site.records()) == 3
        assert not job.done()
        job.cancel()
        await asyncio.sleep(0)

    with Site(is_set=False) as site:
        site.append(2)
        run(scenario)


def test_a_session_is_looked_for_only_among_its_own():
    with Site(is_set=False) as site:
        wanted = []
        for _ in range(80):
            site.clock = Clock(False)
            site.start()
            site.append(2)
            wanted.append((site.appended - 1, site.log.session))
        site.clock = Clock()
        site.start()
        for number, session in wanted:
            assert site.start_time(number, session) is None
        # The two records of each, and the one behind them.
        assert site.flash.looked_at <= 80 * 3, site.flash.looked_at


def test_others_run_while_a_session_is_looked_for():
    async def scenario():
        async def other():
            while True:
                turns.append(site.flash.looked_at)
                await asyncio.sleep(0)

        turns = []
        job = asyncio.create_task(other())
        await asyncio.sleep(0)
        assert await site.log.start_time(1, session) is None
        turns.append(site.flash.looked_at)
        job.cancel()
        assert turns[-1] == site.appended == 301
        for i in range(1, len(turns)):
            assert turns[i] - turns[i - 1] <= _AT_ONCE, turns

    with Site(is_set=False) as site:
        site.append()
        session = site.log.session
        site.clock = Clock()
        site.start()
        site.append(300)
        run(scenario)


def test_a_time_that_memory_cannot_hold_is_no_entry_lost_and_is_noted_later():
    # Counts with which the time record is dropped last, or first, or a second time.
    for count in (_HELD - 1, _HELD, _HELD + 1, 2 * _HELD, 2 * _HELD + 1, 3 * _HELD):
        with Site(is_set=False) as site:
            site.append(5)
            session = site.log.session
            site.flash.fault = _EIO
            site.clock.is_set = True
            site.log.tick()
            site.append(count)
            site.flash.fault = 0
            site.wait()
            cards = site.cards()
            assert cards[:5] == [1, 2, 3, 4, 5]
            assert cards[5:] == list(range(cards[5], site.appended + 1)) and len(cards) > _HELD
            assert site.log.dropped == site.appended - len(cards), count
            site.clock = Clock(up=77777)
            site.start()
            assert site.start_time(1, session) == START, count


def test_flash_that_fails_lets_nothing_give_way():
    with Site() as site:
        site.append(100, 250)
        first = site.log.log.first
        for fault in (_EIO, _ENOSPC, _EIO):
            site.flash.fault = fault
            site.append(1, 250)
        site.append(_HELD + 10, 250)
        assert (site.log.log.first, site.log.log.lost) == (first, 0)
        site.flash.fault = 0
        site.append(1, 250)
        assert site.cards() == list(range(first, 101)) + list(
            range(site.appended - _HELD, site.appended + 1)
        )


def test_an_entry_that_reached_the_flash_though_it_failed_is_there_once():
    for done in (True, False):
        at = failed = 0
        while failed == at:
            at += 1
            with Site() as site, FailingFlash() as flash:
                for number in range(120):
                    # The retry at the next entry may fail as well.
                    flash.count(writes=(at,) if number % 3 else (), done=done)
                    site.append(1, 60)
                    if flash.writes >= at:
                        failed = at
                flash.count()
                site.wait()
                assert site.cards() == list(range(1, 121)), (at, done)
                assert site.log.dropped == 0 and not site.log.log.damaged
        assert at > 3


def test_flash_that_fails_is_made_good_from_memory_in_the_right_order():
    with Site() as site:
        site.append(5)
        site.flash.fault = _EIO
        site.append(_HELD)
        assert site.cards() == [1, 2, 3, 4, 5] and site.log.dropped == 0
        site.flash.fault = 0
        site.append(3)
        assert site.cards() == list(range(1, 5 + _HELD + 3 + 1)) and site.log.dropped == 0
        assert len(site.lines) == 2
        assert site.lines[0].startswith("log: cannot be kept in flash, only in memory")
        assert site.lines[1] == "log: kept in flash again"


def test_of_more_than_memory_holds_the_newest_are_kept_and_the_others_counted():
    with Site() as site:
        site.flash.fault = _EIO
        site.append(_HELD + 8)
        assert site.log.dropped == 8
        site.flash.fault = 0
        site.append()
        assert site.cards() == list(range(9, _HELD + 10)) and site.log.dropped == 8
        # Each is reported once, however often the flash was tried.
        assert len(site.lines) == 2, site.lines
        assert site.lines[1] == "log: kept in flash again, 8 entries are lost"


def test_another_fault_is_told_as_well():
    with Site() as site:
        for fault in (_EIO, _EIO, _ENOSPC, _ENOSPC, _EIO):
            site.flash.fault = fault
            site.append()
        assert len(site.lines) == 3, site.lines
        assert "the flash is full" in site.lines[1]


def test_memory_is_brought_into_flash_without_another_entry():
    async def scenario():
        job = asyncio.create_task(every_second(site.log.tick))
        await asyncio.sleep(60)
        assert site.cards() == []
        site.flash.fault = 0
        before = now()
        while not site.cards():
            await asyncio.sleep(1)
            assert now() - before < 15
        assert site.cards() == [1, 2, 3]
        job.cancel()
        await asyncio.sleep(0)

    with Site() as site:
        site.flash.fault = _EIO
        site.append(3)
        run(scenario)
        assert site.lines[-1] == "log: kept in flash again"


def test_on_full_flash_what_the_server_has_gives_way_first():
    with Site() as site:
        site.append(100, 250)
        log = site.log.log
        log.ack(60)
        first = log.first
        site.flash.room = 0
        while site.log.log.first <= 60 and site.appended < 400:
            site.append(1, 250)
            if site.cards()[-1] != site.appended:
                break  # no acknowledged entries are left
        assert first < log.first <= 61 and log.lost == 0 and site.log.dropped == 0
        assert len(site.lines) == 1 and "the flash is full" in site.lines[0]
        # Now entries go to memory, and unsent ones stay in flash while memory has room.
        begin = site.cards()[0]
        site.append(_HELD - 1, 250)
        assert site.cards()[0] == begin and log.lost == 0 and site.log.dropped == 0
        site.append(1, 250)
        assert log.lost > 0 and site.log.dropped == 0
        cards = site.cards()
        assert cards[0] > begin
        # Every appended entry is in flash, in memory, or counted.
        assert cards == list(range(cards[0], cards[-1] + 1))
        assert site.appended - cards[-1] <= _HELD
        assert log.lost == cards[0] - max(begin, 61)


def test_an_oldest_segment_that_gives_little_room_costs_no_entry_in_memory():
    with Site() as site:
        site.append(100, 250)
        site.flash.room = 0
        site.flash.gain = 10
        site.append(_HELD + 1, 250)
        assert site.log.log.lost > 0 and site.log.dropped == 0
        assert site.cards()[-1] == 110
        site.flash.room = LAST
        site.append(1, 250)
        cards = site.cards()
        assert cards == list(range(cards[0], 135)) and site.log.dropped == 0


def test_full_flash_that_nothing_makes_room_in_costs_the_oldest_in_memory():
    with Site() as site:
        site.append(100, 250)
        site.flash.room = site.flash.gain = 0
        site.append(400, 250)
        assert site.log.dropped + site.log.log.lost + len(site.cards()) + _HELD == site.appended
        site.flash.room = LAST
        site.append(1, 250)
        assert site.cards()[-_HELD - 1 :] == list(range(site.appended - _HELD, site.appended + 1))


def test_room_is_made_of_what_the_server_has_and_of_nothing_else():
    with Site() as site:
        assert not site.log.free_space()
        site.append(100, 250)
        log = site.log.log
        assert not site.log.free_space()
        log.ack(60)
        assert site.log.free_space()
        assert 40 < log.first <= 61
        assert site.cards() == list(range(log.first, 101))
        assert not site.log.free_space() and log.lost == 0
        log.ack(100)
        assert site.log.free_space() and log.lost == 0
        site.append(1, 250)
        assert site.cards()[-1] == 101
        # Without a log there is nothing to evict.
        site.log.log = None
        assert not site.log.free_space()


class Huge:
    """A code for which there is no memory."""

    def __getitem__(self, at):
        raise MemoryError


def test_want_of_memory_never_comes_out_of_note():
    with Site() as site:
        site.append()
        site.log.append(SCANNER, 0, decision.UNKNOWN_CODE, Huge())
        assert site.log.dropped == 1
        site.append()
        assert site.cards() == [1, 2]
        # No memory in the flash's driver counts as a flash that fails.
        append = FlashLog.append

        def starved(log, data):
            raise MemoryError

        FlashLog.append = starved
        try:
            site.append(2)
            assert "cannot be kept in flash, only in memory: " in site.lines[-1]

            def mute(line):
                raise MemoryError

            site.log._report = mute
            site.log._fault = ""
            site.append()
        finally:
            FlashLog.append = append
        site.log._report = site.lines.append
        site.append()
        assert site.cards() == [1, 2, 3, 4, 5, 6]


def test_want_of_memory_when_the_clock_is_set_only_delays_the_time():
    def starved(session, uptime, seconds):
        raise MemoryError

    with Site(is_set=False) as site:
        site.append()
        site.clock.is_set = True
        kept = entries.time_record
        entries.time_record = starved
        try:
            site.append()
        finally:
            entries.time_record = kept
        assert site.log.dropped == 1
        site.append()
        number, data = site.records()[0]
        session = entries.decode(data)[5]
        site.start()
        assert site.cards() == [1, 3] and site.start_time(number, session) == START


def _id_of(site):
    site.start()
    name = site.log.id
    assert len(name) == 8 and all(digit in "0123456789abcdef" for digit in name), name
    return name


def test_the_name_of_the_log_outlives_restarts_and_is_made_anew_if_it_is_damaged():
    with Site() as site:
        name = site.log.id
        site.append()
        assert _id_of(site) == _id_of(site) == name
        path = site.path + "/id"
        whole = read(path)
        assert len(whole) == 8
        names = [name]
        damages = [whole[:size] for size in range(8)] + [whole + b"\x00", bytes(8), b"\xff" * 8]
        for bit in range(0, 64, 5):
            turned = bytearray(whole)
            turned[bit // 8] ^= 1 << bit % 8
            damages.append(bytes(turned))
        for damage in damages:
            write(path, damage)
            names.append(_id_of(site))
            assert _id_of(site) == names[-1]
        os.remove(path)
        names.append(_id_of(site))
        assert len(set(names)) == len(names)
        assert site.cards() == [1] and not site.lines


def test_a_read_that_fails_does_not_cost_the_log_its_name():
    with Site() as site, FailingFlash() as flash:
        name = site.log.id
        for at in range(1, 6):
            for times in (1, 2):
                flash.count(reads=range(at, at + times), named="/id")
                assert _id_of(site) == name, (at, times)
                assert flash.reads
        assert not site.lines


def test_a_damaged_name_on_full_flash_costs_no_entry():
    with Site() as site, FailingFlash() as flash:
        site.append(100, 250)
        write(site.path + "/id", b"x" * 8)
        for done in (False, True):
            flash.count(writes=Always(), done=done, errno=_ENOSPC, named="/id")
            assert len(_id_of(site)) == 8
            site.append(20, 250)
            site.log.log.ack(60)
            assert site.log.free_space() != done
        assert site.cards() == list(range(site.log.log.first, 141))
        assert (site.log.dropped, site.log.log.lost, site.lines) == (0, 0, [])
        flash.count()
        name = _id_of(site)
        assert _id_of(site) == name


def _blocks(path):
    # The blocks of 4 KiB that the segments take.
    sizes = [os.stat(path + "/old/" + name)[6] for name in os.listdir(path + "/old")]
    return sum([(size + 4095) // 4096 for size in sizes])


def _most(site, flash, count):
    # The most operations and the most blocks that a single entry takes.
    writes = blocks = 0
    for _ in range(count):
        flash.count()
        site.append(1, 250)
        writes = max(writes, flash.writes)
        blocks = max(blocks, _blocks(site.path))
    return writes, blocks


def _check_made_smaller(size):
    with Site() as site, FailingFlash() as flash:
        site.size = 32768
        site.start()
        site.append(50, 250)
        usual = _most(site, flash, 60)
        assert site.log.log.lost and usual[1] == 3
    with Site() as site, FailingFlash() as flash:
        site.size = size
        site.start()
        while _blocks(site.path) < 9:
            site.append(1, 250)
        before = site.appended
        site.size = 32768
        site.start()
        assert _blocks(site.path) <= 3
        writes, blocks = _most(site, flash, 120)
        assert writes <= usual[0] and blocks <= 3, (writes, blocks)
        cards = site.cards()
        assert cards == list(range(site.log.log.first, before + 121))
        assert site.log.log.lost == cards[0] - 1 and site.log.dropped == 0


def test_a_log_that_is_made_smaller_gives_way_at_the_start_and_no_entry_waits_for_it():
    _check_made_smaller(SIZE)


def test_a_log_that_had_larger_segments_takes_no_more_than_it_may_either():
    _check_made_smaller(204800)  # of two blocks each


def test_a_log_that_cannot_be_opened_at_the_start_works_later():
    async def scenario():
        job = asyncio.create_task(every_second(site.log.tick))
        await asyncio.sleep(30)
        assert site.log.log is None
        os.remove(site.path)
        await asyncio.sleep(15)
        assert site.log.log and len(site.log.id) == 8
        assert site.cards() == [1, 2]
        job.cancel()
        await asyncio.sleep(0)

    for by_itself in (True, False):
        with Site() as site:
            for name in os.listdir(site.path):
                if name != "old":
                    os.remove(site.path + "/" + name)
            os.rmdir(site.path + "/old")
            os.rmdir(site.path)
            write(site.path, b"")  # a file in the place of the folder
            site.start()
            assert site.log.log is None and site.log.id == ""
            assert len(site.lines) == 1
            site.append(2)
            assert site.start_time(1, b"1234") is None
            if by_itself:
                run(scenario)
            else:
                os.remove(site.path)
            site.append()
            assert site.cards() == [1, 2, 3]
            assert site.lines[1:] == ["log: kept in flash again"]


def test_a_log_that_could_not_be_opened_needs_no_entry_to_be_opened():
    with Site() as site, FailingFlash() as flash:
        flash.count(reads=Always())
        site.start()
        assert site.log.log is None
        flash.count()
        site.wait()
        assert site.log.log and len(site.log.id) == 8 and site.cards() == []


def test_damage_is_told_at_the_start_and_the_others_are_there():
    with Site() as site:
        site.append(60)
        name = site.path + "/tail0"
        data = bytearray(read(name))
        data[20] ^= 4
        write(name, data)
        site.start()
        assert site.lines == ["log: 1 pieces are damaged, their entries are lost"]
        site.append()
        cards = site.cards()
        assert cards[-1] == 61 and len(cards) >= 50 and cards == sorted(cards)


if MICROPYTHON:
    import vfs

    import micropython
    from device.power import make_file_system
    from device.power import mount as mount_disk
    from device.ramdisk import RamDisk
    from device.scratch import mount, unmount

    def test_without_any_memory_append_returns_and_loses_nothing_that_it_does_not_count():
        with Site() as site:
            site.append(30)
            append = site.log.append
            for _ in range(5):
                micropython.heap_lock()
                try:
                    append(SCANNER, 1, 7, b"00000000")
                finally:
                    micropython.heap_unlock()
            assert site.log.dropped == 5
            site.append(2)
            assert site.cards() == list(range(1, 33))

    def test_on_a_littlefs_that_others_filled_entries_are_kept_or_counted():
        path = mount("/narrow", 26)
        try:
            clock = Clock()
            lines = []
            log = AccessLog(path + "/journal", 16 * 4096, clock, lines.append)

            def append(count):
                for _ in range(count):
                    clock.up += 1
                    log.append(SCANNER, 1, decision.ALLOWED, b"%0200d" % clock.up)

            def kept():
                # Checks that the cards in flash have no gap; returns the first and the last one.
                found = [entries.decode(data)[4] for _, data in log.log.records()]
                cards = [int(code) for code in found]
                assert cards == list(range(cards[0], cards[-1] + 1))
                assert cards[0] == log.log.first
                assert clock.up - cards[-1] <= _HELD
                return cards[0], cards[-1]

            append(90)
            log.log.ack(40)
            with open(path + "/other", "wb") as file:
                try:
                    for _ in range(64):
                        file.write(bytes(1024))
                        file.flush()
                except OSError:
                    pass
            for _ in range(60):
                append(10)
                first = kept()[0]
                # Unsent entries are evicted only when memory is full as well.
                assert log.dropped == 0, lines
                assert log.log.lost == max(0, first - 41)
                assert first <= 41 or clock.up > 90 + _HELD
            assert log.log.lost > 0 and any("the flash is full" in line for line in lines), lines
            os.remove(path + "/other")
            append(1)
            assert kept()[1] == clock.up == 691
            assert log.dropped == 0 and lines[-1] == "log: kept in flash again"
        finally:
            unmount(path)

    class FlakyDisk(RamDisk):
        """A disk that fails to read, or reports failed writes, at these operations."""

        def __init__(self, data):
            super().__init__(len(data) // self.SIZE, data)
            self.count()

        def count(self, bad_reads=(), bad_writes=(), blocks=20):
            """Count operations from 0 again, of the first `blocks` blocks only."""
            self.blocks = blocks
            self.reads = self.writes = 0
            self._bad_reads = bad_reads
            self._bad_writes = bad_writes

        def readblocks(self, block, buf, offset=0):
            self.reads += block < self.blocks
            if block < self.blocks and self.reads in self._bad_reads:
                return -_EIO
            super().readblocks(block, buf, offset)
            return 0

        def writeblocks(self, block, buf, offset=0):
            self.writes += 1
            super().writeblocks(block, buf, offset)
            return -_EIO if self.writes in self._bad_writes else 0

    def _live(data, cards, bad_reads=(), bad_writes=(), blocks=20):
        # Starts a reader that appends these cards, and waits. Returns the id of its log, the cards
        # in it, and whether every bad operation was reached.
        disk = FlakyDisk(data)
        mount_disk(disk, "/flaky")
        try:
            disk.count(bad_reads, bad_writes, blocks)
            log = AccessLog("/flaky/journal", 32768, Clock(), lambda line: None)
            for card in cards:
                log.append(SCANNER, 1, decision.ALLOWED, b"%08d" % card)
            met = disk.reads >= max(bad_reads or (0,)) and disk.writes >= max(bad_writes or (0,))
            disk.count()
            for _ in range(10):
                log.tick()
            assert log.dropped == log.log.lost == log.log.damaged == 0
            found = [entries.decode(data)[4] for _, data in log.log.records()]
            return (log.id, [int(code) for code in found]), met
        finally:
            vfs.umount("/flaky")

    def _check_flaky(before, make):
        # make: returns the bad operations for `_live`, from a number of 1 or more.
        data = bytearray(20 * RamDisk.SIZE)
        make_file_system(RamDisk(20, data))
        name = _live(data, range(1, before + 1))[0][0]
        whole = bytes(data)
        after = list(range(1, before + 4))
        at = 1
        while True:
            memoryview(data)[:] = whole
            there, met = _live(data, range(before + 1, before + 4), *make(at))
            if not met:
                return at - 1
            assert there == _live(data, ())[0] == (name, after), make(at)
            at += 1

    def test_a_disk_that_cannot_read_once_or_twice_costs_no_entry():
        # The tails have room, or are spilled into the segment meanwhile.
        for before in (40, 87):
            count = _check_flaky(before, lambda at: ((at * 19,), ()))
            count += _check_flaky(before, lambda at: ((at * 37, at * 37 + 1), ()))
            print("# access log: at %d places the flash could not be read" % count)

    def test_a_disk_that_cannot_read_its_root_once_costs_no_entry():
        # LittleFS may then find the root folder as it was before, and miss files.
        assert _check_flaky(40, lambda at: ((at,), (), 2)) > 50

    def test_a_disk_that_says_it_could_not_write_what_it_wrote_has_no_entry_twice():
        for before in (1, 40, 85, 86, 87):
            assert _check_flaky(before, lambda at: ((), (at,))) > 2
