"""The durable log: appending, eviction, damage and a full flash."""

import os
import random
from binascii import crc32
from struct import pack

from device.failing_flash import Always, FailingFlash
from device.raising import error_of
from device.scratch import MICROPYTHON, Folder, read, write
from kalitka.journal.log import LAST, RECORD_MAX, Log

SIZE = 32768  # three segments of one block


def _record(number, size=20):
    return (b"%d " % number * size)[:size]


def _files(folder):
    names = [folder + "/" + name for name in os.listdir(folder) if name != "old"]
    return names + [folder + "/old/" + name for name in os.listdir(folder + "/old")]


def _restore(path, whole):
    # whole: the contents of the files, by name.
    for name in _files(path):
        if name not in whole:
            os.remove(name)
        elif read(name) != whole[name]:
            write(name, whole[name])


def _check(log, kept):
    # kept: the appended records by number. Checks those found; returns how many there are.
    found = list(log.records())
    numbers = [number for number, _ in found]
    assert numbers == list(range(log.first, log.last + 1)), (log.first, log.last, numbers)
    for number, data in found:
        assert kept[number] == data
    return len(found)


def test_a_new_log_is_empty():
    with Folder() as path:
        log = Log(path + "/log", SIZE)
        assert (log.first, log.last, log.acked, log.lost, log.damaged) == (1, 0, 0, 0, 0)
        assert list(log.records()) == []
        assert list(Log(path + "/log", SIZE).records()) == []


def test_records_of_every_size_come_back_in_their_order_before_and_after_a_restart():
    with Folder() as path:
        log = Log(path, 65536)
        kept = {}
        for size in list(range(1, RECORD_MAX + 1, 3)) + [128, 127, 126, 1, RECORD_MAX, 2]:
            data = _record(size, size)
            number = log.append(data)
            assert number == len(kept) + 1
            kept[number] = data
        assert _check(log, kept) == len(kept)
        assert _check(Log(path, 65536), kept) == len(kept)


def test_a_record_may_come_in_any_buffer_and_of_1_to_300_bytes_only():
    with Folder() as path:
        log = Log(path, SIZE)
        for data in (b"one", bytearray(b"two"), memoryview(b"three")):
            log.append(data)
        assert [data for _, data in log.records()] == [b"one", b"two", b"three"]
        for data in (b"", bytes(RECORD_MAX + 1)):
            error_of(ValueError, log.append, data)
        assert log.last == 3
    error_of(ValueError, Log, "nowhere", 32767)


def test_reading_begins_at_any_number():
    with Folder() as path:
        log = Log(path, SIZE)
        for number in range(1, 301):
            log.append(_record(number))
        for first in range(0, 303, 7):
            expected = list(range(max(first, 1), 301))
            assert [number for number, _ in log.records(first)] == expected


def test_every_start_finds_what_was_there_and_goes_on():
    with Folder() as path:
        kept = {}
        for number in range(1, 120):
            log = Log(path, SIZE)
            assert log.last == number - 1
            kept[log.append(_record(number, number % 70 + 1))] = _record(number, number % 70 + 1)
        assert _check(Log(path, SIZE), kept) == 119


def test_the_oldest_give_way_and_what_was_above_the_mark_is_counted():
    with Folder() as path:
        log = Log(path, SIZE)
        kept = {}
        for number in range(1, 2001):
            kept[log.append(_record(number))] = _record(number)
            if number == 250:
                log.ack(200)
            if number % 100 == 0:
                assert log.lost == max(0, log.first - 201), (log.lost, log.first)
        assert 340 < _check(log, kept) < 600
        again = Log(path, SIZE)
        assert (again.first, again.lost, again.acked) == (log.first, log.lost, 200)
        _check(again, kept)
        size = sum(len(read(name)) for name in _files(path))
        assert size <= SIZE - 5 * 4096 + 2048, size


def test_the_mark_is_kept_and_never_goes_back():
    with Folder() as path:
        log = Log(path, SIZE)
        for number in range(1, 11):
            log.append(_record(number))
        for given, kept in ((3, 3), (2, 3), (0, 3), (7, 7), (11, 10), (LAST, 10)):
            log.ack(given)
            assert log.acked == kept == Log(path, SIZE).acked


def test_what_is_appended_while_somebody_reads_is_met_at_the_end():
    with Folder() as path:
        log = Log(path, SIZE)
        log.append(_record(1))
        numbers = []
        for number, data in log.records():
            assert data == _record(number)
            numbers.append(number)
            if log.last < 300:
                for _ in range(number % 4):
                    log.append(_record(log.last + 1))
        assert numbers == list(range(1, log.last + 1)) and log.last >= 300


def test_a_reader_that_is_overtaken_goes_on_with_the_oldest_and_is_never_told_wrongly():
    with Folder() as path:
        log = Log(path, SIZE)
        for step in (3, 600):
            reader = log.records(log.first)
            before = 0
            for _ in range(25):
                for _ in range(step // 20 + 1):
                    log.append(_record(log.last + 1))
                for number, data in reader:
                    assert data == _record(number) and number > before
                    before = number
                    break
            for number, data in reader:
                assert data == _record(number) and number > before
                before = number
            assert before == log.last


def test_two_may_read_at_once():
    with Folder() as path:
        log = Log(path, SIZE)
        for number in range(1, 101):
            log.append(_record(number))
        second = log.records(50)
        for number, data in log.records(1):
            assert data == _record(number)
            if number <= 51:
                assert next(second) == (number + 49, _record(number + 49))
        assert list(second) == []


def test_what_may_not_give_way_is_not_given_up():
    with Folder() as path:
        log = Log(path, SIZE)
        log.keep_from = 100
        try:
            while True:
                log.append(_record(log.last + 1))
        except OSError:
            last = log.last
        assert log.first == 1 and last > 400
        for _ in range(3):
            error_of(OSError, log.append, bytes(RECORD_MAX))
        assert [number for number, _ in log.records()] == list(range(1, last + 1))
        log.keep_from = last
        log.append(_record(last + 1))
        assert log.first > 100
        assert [data for _, data in log.records(last)] == [_record(last), _record(last + 1)]


def test_flash_is_given_back_as_far_as_it_is_allowed():
    with Folder() as path:
        log = Log(path, SIZE)
        # The newest segment, and the tails, are never evicted.
        assert not log.drop_oldest(LAST)
        kept = {}
        while len(os.listdir(path + "/old")) < 3:
            kept[log.append(_record(log.last + 1))] = _record(log.last + 1)
        first, second, third = sorted(int(name, 16) for name in os.listdir(path + "/old"))
        log.ack(100)
        for number in (0, 1, 100, second - 2):
            assert not log.drop_oldest(number) and log.first == first, number
        assert log.drop_oldest(second - 1)
        assert (log.first, log.lost) == (second, second - 101)
        for again in (log, Log(path, SIZE)):
            assert (again.first, again.lost, again.acked) == (second, second - 101, 100)
            _check(again, kept)
        # Acknowledged records do not count as lost.
        log.ack(third + 5)
        assert not log.drop_oldest(third - 2)
        assert log.drop_oldest(LAST)
        assert (log.first, log.lost) == (third, second - 101)
        assert not log.drop_oldest(LAST)
        for _ in range(600):
            kept[log.append(_record(log.last + 1))] = _record(log.last + 1)
        assert _check(Log(path, SIZE), kept) == _check(log, kept)


def test_somebody_who_reads_goes_on_behind_what_was_given_back():
    with Folder() as path:
        log = Log(path, SIZE)
        while len(os.listdir(path + "/old")) < 3:
            log.append(_record(log.last + 1))
        reader = log.records()
        number = next(reader)[0]
        assert number == 1 and log.drop_oldest(LAST)
        for following, data in reader:
            assert following > number and data == _record(following)
            # The rest of the KiB already read, then the oldest record that is left.
            assert following == number + 1 or following == log.first
            number = following
        assert number == log.last


_SMALL = (b"one", b"two", b"three" * 24, b"four", b"five")
_PAGES = ((1, 2), (3,), (4, 5))


def _small(path):
    log = Log(path, SIZE)
    for data in _SMALL:
        log.append(data)
    log.ack(3)


def _check_damaged(path, what):
    # Checks that at most one page is missing; returns whether any record is.
    log = Log(path, SIZE)
    found = []
    for number, data in log.records():
        assert data == _SMALL[number - 1], (what, number, data)
        found.append(number)
    assert found == sorted(set(found)), what
    gone = tuple(number for number in range(1, 6) if number not in found)
    assert gone == () or gone in _PAGES, (what, gone)
    assert log.acked in (0, 3) and log.lost == 0, what
    if gone or log.acked == 0:
        assert log.damaged, what
    new = log.append(b"new")
    assert new > 5, (what, new)
    assert list(log.records(new)) == [(new, b"new")], what
    assert [number for number, _ in Log(path, SIZE).records()] == found + [new], what
    return gone != ()


def test_a_bit_that_turned_costs_its_page_at_most_and_nothing_wrong_is_given():
    check_bits(7, int(MICROPYTHON))  # the long test flips every bit


def check_bits(step, first=0):
    """Check a small log with every `step`-th bit flipped, from `first` on, one at a time."""
    with Folder() as path:
        _small(path)
        # The files that an append may write to.
        whole = {name: read(name) for name in _files(path)}
        tried = 0
        for name, data in whole.items():
            if not data:
                continue
            for bit in range(first, len(data) * 8, step):
                turned = bytearray(data)
                turned[bit // 8] ^= 1 << bit % 8
                _restore(path, whole)
                write(name, turned)
                _check_damaged(path, (name, bit))
                tried += 1
        print("# log: %d bits turned, one at a time" % tried)


def test_a_file_that_lost_its_end_costs_no_other():
    with Folder() as path:
        _small(path)
        whole = {name: read(name) for name in _files(path)}
        for name, data in whole.items():
            for size in range(0, len(data), 3):
                _restore(path, whole)
                write(name, data[:size])
                log = Log(path, SIZE)
                found = list(log.records())
                for number, text in found:
                    assert text == _SMALL[number - 1], (name, size)
                assert len(found) >= 2, (name, size)
                log.append(b"new")
                assert [text for _, text in log.records()] == [t for _, t in found] + [b"new"]


def test_files_of_others_in_the_folder_do_no_harm():
    with Folder() as path:
        _small(path)
        for name in ("notes.txt", "old/notes.txt", "old/1", "old/0000000A", "tail", "tail9"):
            write(path + "/" + name, b"hello")
        log = Log(path, SIZE)
        assert [data for _, data in log.records()] == list(_SMALL) and not log.damaged
        assert log.append(b"new") == 6


def test_a_segment_full_of_rubbish_is_passed_over():
    with Folder() as path:
        log = Log(path, SIZE)
        for number in range(1, 401):
            log.append(_record(number))
        names = sorted(os.listdir(path + "/old"))
        for name in names:
            whole = read(path + "/old/" + name)
            for rubbish in (b"\xff", b"\x00", b"\x20\x00\xdf\xff", _record(1, 17)):
                write(path + "/old/" + name, (rubbish * 5000)[: len(whole)])
                log = Log(path, SIZE)
                found = list(log.records())
                assert len(found) >= 100
                for number, data in found:
                    assert data == (_record(number) if number < 401 else b"new")
                assert log.append(b"new") > 400
                assert list(log.records())[-1] == (log.last, b"new")
            write(path + "/old/" + name, whole)


def _wide(path, count):
    # Returns a log of so many large records, 5 of them acknowledged, and the records by number.
    log = Log(path, SIZE)
    kept = {}
    for number in range(1, count + 1):
        kept[number] = _record(number, RECORD_MAX)
        assert log.append(kept[number]) == number
    log.ack(5)
    return log, kept


def _check_single_failures(count, work):
    # Makes each write of work(log) fail, done or not done, with and without a power cut then.
    for done, stays in ((False, False), (False, True), (True, False), (True, True)):
        at = failed = 0
        while failed == at:
            at += 1
            with Folder() as path, FailingFlash() as flash:
                log, kept = _wide(path, count)
                flash.count(writes=(at,), done=done)
                try:
                    work(log)
                except OSError:
                    failed += 1
                flash.count()
                if not stays:
                    log = Log(path, SIZE)
                kept[count + 1] = _record(count + 1, RECORD_MAX)
                _check_lost(log, kept, (at, done, stays))
                _check_lost(Log(path, SIZE), kept, (at, done, stays))
                # Eviction goes on.
                while log.drop_oldest(LAST):
                    _check_lost(log, kept, (at, done, stays))
                for number in range(log.last + 1, log.last + 41):
                    kept[number] = _record(number, RECORD_MAX)
                    assert log.append(kept[number]) == number
                _check_lost(log, kept, (at, done, stays))
                _check_lost(Log(path, SIZE), kept, (at, done, stays))
        assert at > 1


def _check_lost(log, kept, what):
    _check(log, kept)
    assert log.lost == max(0, log.first - 1 - log.acked), (what, log.lost, log.first, log.acked)


def test_what_gives_way_is_counted_once_whatever_fails_meanwhile():
    _check_single_failures(36, lambda log: log.drop_oldest(LAST))


def test_what_an_append_lets_give_way_is_counted_once_whatever_fails_meanwhile():
    with Folder() as path:
        log = Log(path, SIZE)
        while log.first == 1:
            log.append(_record(log.last + 1, RECORD_MAX))
        count = log.last - 1

    def work(log):
        log.append(_record(count + 1, RECORD_MAX))
        assert log.first > 1

    _check_single_failures(count, work)


def test_the_mark_is_the_one_that_a_start_finds_whatever_fails_while_it_is_set():
    for done in (False, True):
        with Folder() as path, FailingFlash() as flash:
            log, kept = _wide(path, 9)
            flash.count(writes=(1,), done=done)
            if done:
                log.ack(8, 1)
            else:
                error_of(OSError, log.ack, 8, 1)
            flash.count()
            _check(log, kept)
            assert log.acked == Log(path, SIZE).acked == (8 if done else 5)
            assert log.lost == Log(path, SIZE).lost == done
            log.ack(7)
            assert log.acked == Log(path, SIZE).acked == (8 if done else 7)


def _flaky_start(path):
    # Opens the log, at the third try at the latest.
    for _ in range(2):
        try:
            return Log(path, SIZE)
        except OSError:
            pass
    return Log(path, SIZE)


def test_a_read_that_fails_once_or_twice_costs_no_start_and_no_walk_anything():
    with Folder() as path, FailingFlash() as flash:
        log = Log(path, SIZE)
        for number in range(1, 251):
            log.append(_record(number))
        log.ack(99)
        whole = list(log.records())
        for times in (1, 2):
            at = 1
            while True:
                flash.count(reads=range(at, at + times))
                log = _flaky_start(path)
                assert list(log.records(120)) == whole[119:], (at, times)
                assert list(log.records()) == whole, (at, times)
                assert (log.last, log.acked, log.damaged) == (250, 99, 0), (at, times)
                if flash.reads < at:
                    break
                at += 1
            assert at > 40


def test_a_read_that_fails_once_or_twice_costs_no_append_anything():
    with Folder() as path, FailingFlash() as flash:
        log = Log(path, SIZE)
        kept = {}
        for times in (1, 2):
            at = 1
            while True:
                flash.count(reads=range(at, at + times))
                number = len(kept) + 1
                kept[number] = _record(number, 110)
                assert log.append(kept[number]) == number
                # Only the reads of the spill of the tails into the segment.
                if flash.reads >= at:
                    at += 1
                elif flash.reads:
                    break
            assert at > 10
        flash.count()
        assert _check(log, kept) == _check(Log(path, SIZE), kept) > 30
        assert not log.damaged


def test_a_file_that_can_never_be_read_costs_no_other():
    with Folder() as path, FailingFlash() as flash:
        log = Log(path, SIZE)
        while len(os.listdir(path + "/old")) < 2 or log.last % 45 != 40:
            log.append(_record(log.last + 1))
        log.ack(7)
        last = log.last
        whole = {name: read(name) for name in _files(path)}
        for name, data in whole.items():
            flash.count(reads=Always(), named=name)
            log = Log(path, SIZE)
            found = list(log.records())
            for number, text in found:
                assert text == _record(number)
            gone = last - len(found)
            assert gone * 21 < len(data), (name, gone)
            # Tails whose records are in the segment are not all read.
            assert (log.damaged > 0) == (flash.reads > 0) >= (gone > 0), name
            assert log.acked == (0 if name.endswith("mark") else 7)
            flash.count()
            number = log.append(b"new")
            assert number > last and list(log.records(number)) == [(number, b"new")]
            _restore(path, whole)


def test_a_record_whose_append_was_reported_as_failed_is_there_once_when_appended_again():
    for done in (True, False):
        at = 1
        while _append_again(at, done):
            at += 1
        assert at > 3


def _append_again(at, done):
    # Each append fails at its operation `at`, if it has so many, and so does the retry. Returns
    # how many failed.
    with Folder() as path, FailingFlash() as flash:
        return _appended_again(path, flash, at, done)


def _appended_again(path, flash, at, done):
    log = Log(path, SIZE)
    kept = {}
    failed = 0
    for number in range(1, 131):
        # Two equal records in a row stay two, though.
        data = _record(number // 2, (RECORD_MAX, 20, 110, 20)[number // 2 % 4])
        kept[number] = data
        for bad in ((at,), (at,), ()):
            flash.count(writes=bad, done=done)
            try:
                assert log.append(data) == number, (at, done)
                break
            except OSError:
                failed += 1
    assert log.first > 1
    _check(log, kept)
    _check(Log(path, SIZE), kept)
    return failed


def test_numbers_that_may_be_behind_damage_are_not_given_again():
    with Folder() as path:
        log = Log(path, SIZE)
        while not os.listdir(path + "/old"):
            log.append(b"x")
        most = log.last - 1  # records in tails
    for before in (0, most):
        with Folder() as path:
            log = Log(path, SIZE)
            for _ in range(before + most):
                log.append(b"x")
            for k in range(9):
                if "tail%d" % k in os.listdir(path):
                    name = "%s/tail%d" % (path, k)
                    write(name, b"?" * len(read(name)))
            log = Log(path, SIZE)
            assert [number for number, _ in log.records()] == list(range(1, before + 1))
            assert log.append(b"y") > before + most > 400


def test_behind_the_last_number_nothing_is_taken_and_nothing_given_up():
    with Folder() as path:
        Log(path, SIZE)
        body = pack("<I", LAST - 2) + b"\x03one"
        size = len(body) + 8
        page = pack("<HH", size, size ^ 0xFFFF) + body + pack("<I", crc32(body))
        write(path + "/tail0", page)
        log = Log(path, SIZE)
        assert (log.append(b"two"), log.append(b"three")) == (LAST - 1, LAST)
        there = [(LAST - 2, b"one"), (LAST - 1, b"two"), (LAST, b"three")]
        for again in (log, Log(path, SIZE)):
            for _ in range(3):
                error_of(OSError, again.append, b"four")
            assert list(again.records()) == there and again.last == LAST
        log.ack(LAST)
        assert Log(path, SIZE).acked == LAST


def test_a_damaged_piece_is_counted_once_however_often_it_is_read():
    with Folder() as path:
        log = Log(path, SIZE)
        for number in range(1, 401):
            log.append(_record(number))
        name = path + "/old/" + sorted(os.listdir(path + "/old"))[0]
        data = bytearray(read(name))
        data[20] ^= 1
        data[2068] ^= 1
        write(name, data)
        log = Log(path, SIZE)
        assert not log.damaged
        for _ in range(3):
            assert 360 < len(list(log.records())) < 400
            assert log.damaged == 2


def test_a_random_history_is_kept_as_a_list_would():
    for seed in range(6):
        chance = random.Random(seed) if not MICROPYTHON else random
        random.seed(seed)
        with Folder() as path:
            _live(path, chance)


def _live(path, chance):
    log = Log(path, SIZE)
    kept = {}
    mark = 0
    most = chance.choice((5, 20, 60, 130, RECORD_MAX))
    for _ in range(250):
        what = chance.randrange(20)
        if what == 0:
            log = Log(path, SIZE)
        elif what == 1:
            given = chance.randrange(log.last + 1)
            mark = max(mark, given)
            log.ack(given)
        elif what == 2:
            _check(log, kept)
        else:
            data = bytes(chance.getrandbits(8) for _ in range(chance.randrange(most) + 1))
            kept[log.append(data)] = data
        assert (log.last, log.acked, log.damaged) == (len(kept), mark, 0)
    assert _check(log, kept) >= min(len(kept), 20)
    assert _check(Log(path, SIZE), kept) == _check(log, kept)


if MICROPYTHON:
    from device.log_power import check_cuts, check_single_failures
    from device.log_wear import costs
    from device.log_wear import unmount as forget
    from device.scratch import mount, unmount

    def test_an_append_erases_a_tenth_of_a_block_at_most_also_beside_many_files():
        for others in (0, 100):
            disk, log, before = costs(128, others, SIZE, 450, 500)
            forget()
            programs, size, erases = disk.since(before)[:3]
            assert log.lost > 0
            assert erases <= 50 and size <= 500 * 280 and programs <= 500 * 3
            print(
                "# log: an append: %.2f programs, %.0f bytes, %.3f erases, beside %d files"
                % (programs / 500, size / 500, erases / 500, others)
            )

    def test_a_power_cut_in_the_first_start():
        check_cuts("first_start", 1, 3)

    def test_a_power_cut_in_an_append():
        check_cuts("append", 2, 211)

    def test_a_power_cut_while_small_files_go_into_the_segment():
        check_cuts("spill", 3, 97)

    def test_a_power_cut_while_a_segment_is_begun():
        check_cuts("next_segment", 3, 97)

    def test_a_power_cut_while_the_oldest_give_way():
        check_cuts("drop_oldest", 3, 997)

    def test_a_power_cut_in_an_append_of_large_records():
        check_cuts("large", 3, 97)

    def test_a_power_cut_while_the_mark_is_set():
        check_cuts("mark", 1, 97)

    def test_an_operation_that_fails_alone_loses_nothing():
        for story in ("first_start", "spill", "next_segment", "mark"):
            check_single_failures(story)

    def test_an_operation_that_was_done_though_it_failed_loses_and_doubles_nothing():
        for story in ("first_start", "spill", "next_segment", "mark"):
            check_single_failures(story, "lies")

    def test_what_gives_way_gives_its_flash_back():
        path = mount("/tight", 40)
        try:
            log = Log(path, 20 * 4096)
            while len(os.listdir(path + "/old")) < 4:
                log.append(_record(log.last + 1, RECORD_MAX))
            free = os.statvfs(path)[3]
            for n in (1, 2, 3):
                assert log.drop_oldest(LAST)
                assert os.statvfs(path)[3] >= free + n
            assert not log.drop_oldest(LAST)
        finally:
            unmount(path)

    def test_segments_of_several_blocks_take_no_more_than_the_size():
        blocks = 50
        path = mount("/exact", blocks + 2)
        try:
            log = Log(path + "/log", blocks * 4096)
            # Pages that fill a segment to its last byte.
            while not log.lost:
                log.append(_record(log.last + 1, 115))
            for _ in range(200):
                log.append(_record(log.last + 1, 115))
            assert len(read(path + "/log/old/%08x" % log.first)) > 4096
        finally:
            unmount(path)

    def test_on_a_full_flash_nothing_is_lost_and_it_goes_on_when_there_is_room():
        path = mount("/full", 24)
        try:
            log = Log(path + "/log", 16 * 4096)
            kept = {}
            with open(path + "/other", "wb") as file:
                try:
                    for _ in range(40):
                        file.write(bytes(4096))
                        file.flush()
                except OSError:
                    pass
            try:
                while True:
                    kept[log.append(_record(log.last + 1))] = _record(log.last + 1)
            except OSError:
                pass
            kept = {number: _record(number) for number in range(1, log.last + 1)}
            for _ in range(3):
                error_of(OSError, log.append, bytes(RECORD_MAX))
            assert _check(log, kept) == _check(Log(path + "/log", 16 * 4096), kept) == log.last
            os.remove(path + "/other")
            for _ in range(100):
                number = log.append(_record(log.last + 1))
                kept[number] = _record(number)
            assert _check(log, kept) == log.last
        finally:
            unmount(path)
