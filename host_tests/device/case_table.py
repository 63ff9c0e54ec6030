"""The rule table compared with a dictionary: changes, lookups, reopenings.

In MicroPython on a LittleFS in memory.
"""

from device.failing_files import FailingFiles
from device.raising import error_of
from device.rules_oracle import RULE_MAX
from device.scratch import Folder, restore, snapshot
from device.table_contents import add, items, lookup
from device.table_plan import (
    ALWAYS,
    DATES,
    HOURS,
    NEVER,
    RULE_SET_MAX,
    SECONDS,
    State,
    begin,
    check_history,
    check_table,
    check_tidy,
    commit,
    expand,
    rule_of,
)
from kalitka.access import packing
from kalitka.table.table import FOUND, UNKNOWN, Table


def test_a_new_table_is_empty_and_asks_for_a_full_sync():
    with Folder() as folder:
        table = Table(folder + "/table")
        assert (table.minute, table.fault, table.seconds) == (0, "", False)
        assert table.find(b"A", 1) == UNKNOWN
        assert lookup(table, b"A") is None
        assert list(items(table)) == []
        table.close()


def test_a_full_change_replaces_everything():
    check_history(
        [
            ("full", 5, [("add", b"A", ALWAYS), ("add", b"B", HOURS)], "commit"),
            ("full", 6, [("add", b"B", DATES), ("add", b"C", NEVER)], "commit"),
            ("full", 7, [], "commit"),
            ("full", 8, [("add", b"A", ALWAYS)], "commit"),
        ]
    )


def test_deletes_come_first_and_rules_are_added_to_what_is_there():
    check_history(
        [
            ("full", 5, [("add", b"A", ALWAYS), ("add", b"B", HOURS)], "commit"),
            ("some", 6, [("add", b"A", DATES), ("add", b"A", DATES)], "commit"),
            ("some", 7, [("add", b"A", NEVER), ("del", b"A"), ("add", b"A", HOURS)], "commit"),
            ("some", 8, [("del", b"A"), ("del", b"A"), ("del", b"nobody")], "commit"),
            ("some", 9, [("add", b"A", HOURS)], "commit"),
        ]
    )


def test_the_answers_designed_as_adds_and_those_of_today_come_to_the_same():
    added = [("add", b"A", HOURS), ("add", b"A", DATES)]
    for second in ([("add", b"A", DATES)], [("del", b"A")] + added):
        with Folder() as folder:
            table = Table(folder + "/table")
            commit(table, True, 5, expand(added[:1]))
            commit(table, False, 6, expand(second))
            assert lookup(table, b"A") == b"".join(sorted([HOURS, DATES]))
            table.close()


def test_a_code_without_a_rule_that_is_understood_is_known():
    check_history(
        [
            ("full", 5, [("add", b"A", b""), ("add", b"B", b""), ("add", b"B", HOURS)], "commit"),
            ("some", 6, [("add", b"A", b"")], "commit"),
            ("some", 7, [("add", b"C", b""), ("del", b"B"), ("add", b"B", b"")], "commit"),
            ("some", 8, [("add", b"C", HOURS)], "commit"),
            ("some", 9, [("add", b"C", b""), ("del", b"A")], "commit"),
        ]
    )


def test_rule_sets_of_every_length_come_back():
    check_history(
        [
            ("full", 5, [("wide", b"%X" % n, n) for n in range(0, 73, 3)], "commit"),
            ("some", 6, [("wide", b"%X" % n, n + 9) for n in range(0, 60, 7)], "commit"),
            ("some", 7, [("wide", b"~" * 255, 70), ("wide", b"}" * 255, 70)], "commit"),
            ("some", 8, [("wide", b"A" + b"~" * 254, 70), ("del", b"~" * 255)], "commit"),
        ]
    )


def test_the_longest_codes_with_the_largest_rule_sets_lie_side_by_side():
    codes = [bytes((byte,)) + b"\xff" * 254 for byte in (0x21, 0x23, 0x7E, 0xC0, 0xFF)]
    codes += [bytes((byte,)) + b"!" * 254 for byte in (0x21, 0x23, 0x7E, 0xC0, 0xFF)]
    codes += [b"F" * n for n in (253, 254, 255)] + [b"0" * n for n in (253, 254, 255)]
    for width in (0, 1, 35, 72, 100):
        check_history([("full", 5, [("wide", code, width) for code in codes], "commit")])
        check_history([("full", 5, [("add", code, b"") for code in codes], "commit")])


def test_codes_that_differ_in_little_are_told_apart():
    codes = [b"%X" % n for n in (0, 1, 15, 16, 17, 255, 256, 65535, 65536)]
    codes += [b"0" * n for n in range(1, 20)] + [b"Z" * n for n in range(1, 20)]
    codes += [b"ZA", b"Za", b"zA", b"za", b"aa", b"AA", b"aA", b"\xff", b"\x80", b"Z\xff"]
    check_history([("full", 5, [("add", code, b"\x09\x01") for code in codes], "commit")])


def test_thousands_of_codes_come_in_any_order():
    check_history(
        [
            ("full", 5, [("many", 1, 2000, 40)], "commit"),
            ("some", 6, [("many", 2, 300, 40), ("gone", 1, 200)], "commit"),
            ("some", 7, [("gone", 2, 300), ("many", 1, 100, 7)], "commit"),
            ("reopen", 7, False),
            ("full", 8, [("many", 3, 1200, 1200)], "commit"),
        ]
    )


def test_more_rule_sets_than_can_be_shared_come_back():
    check_history([("full", 5, [("many", 4, 900, 900), ("wide", b"A", 60)], "commit")])


def test_codes_that_come_in_order_are_taken_as_well():
    changes = [("add", b"%08X" % (n * 99), HOURS) for n in range(1200)]
    check_history([("full", 5, changes, "commit"), ("full", 6, changes[::-1], "commit")])


def test_many_small_changes_end_in_few_files():
    steps = [("full", 1, [("many", 5, 400, 20)], "commit")]
    for n in range(14):
        steps.append(("some", n + 2, [("many", n + 50, 9, 5), ("gone", 5, n * 5)], "commit"))
    check_history(steps)


def test_a_table_that_is_emptied_by_deletes_is_empty():
    steps = [("full", 1, [("many", 5, 40, 3)], "commit")]
    for n in range(8):
        steps.append(("some", n + 2, [("gone", 5, n * 6)], "commit"))
    check_history(steps)


def test_what_was_given_up_leaves_no_trace():
    big = [("many", 6, 700, 30)]
    check_history(
        [
            ("full", 5, [("add", b"A", ALWAYS)], "commit"),
            ("full", 6, [], "abort"),
            ("full", 6, big, "abort"),
            ("some", 6, big, "abort"),
            ("full", 6, big, 1),
            ("full", 6, big, 7),
            ("some", 6, big, 1),
            ("some", 6, big, 7),
            ("some", 6, [("del", b"A")], "commit"),
        ]
    )


def test_a_commit_may_be_given_up_at_each_of_its_steps():
    with Folder() as folder:
        table = Table(folder + "/table")
        commit(table, True, 5, expand([("many", 7, 150, 9)]))
        before = snapshot(table.folder)
        for full in (True, False):
            ending = 0
            while True:
                ending += 1
                steps = begin(table, full, expand([("many", 8, 1500, 9)]), 2 * full).commit(6)
                done = 0
                while done < ending and next(steps, "end") != "end":
                    done += 1
                if done < ending:
                    break
                steps.close()
                assert snapshot(table.folder) == before, (full, ending)
                ending += ending // 2
            assert table.minute == 6 and ending > 20
            restore(table.folder, before)
            table.close()
            table = Table(folder + "/table")
        table.close()


def test_a_commit_may_be_given_up_before_its_first_step():
    with Folder() as folder:
        table = Table(folder + "/table")
        transaction = begin(table, True, [(b"A", ALWAYS)])
        transaction.commit(5).close()
        transaction.abort()
        commit(table, True, 6, [(b"B", ALWAYS)])
        assert [code for code, _ in items(table)] == [b"B"]
        table.close()


def test_a_change_can_begin_when_the_one_before_has_ended():
    with Folder() as folder:
        table = Table(folder + "/table")
        first = table.begin(True)
        error_of(ValueError, table.begin, False)
        error_of(ValueError, table.begin, True)
        first.abort()
        second = table.begin(False)
        first.abort()  # a second abort: must not end the other transaction
        error_of(ValueError, table.begin, False)
        add(second, b"A", ALWAYS)
        for _ in second.commit(5):
            pass
        table.begin(True).abort()
        assert lookup(table, b"A") == ALWAYS
        table.close()


def test_what_changes_nothing_touches_no_file():
    everything = expand([("many", 9, 600, 25), ("add", b"A", b""), ("wide", b"B", 50)])
    with Folder() as folder:
        table = Table(folder + "/table")
        commit(table, True, 5, everything)
        commit(table, False, 6, [(b"C", HOURS)])
        everything.append((b"C", HOURS))
        before = snapshot(table.folder)
        for minute, full, changes in (
            (7, True, everything),
            (8, True, everything[::-1]),
            (9, True, everything + everything[:50]),
            (10, False, []),
            (11, False, everything[:40]),
            (12, False, [(b"C", None), (b"C", HOURS), (b"nobody", None), (b"A", b"")]),
        ):
            assert commit(table, full, minute, changes).changed == 0
            assert snapshot(table.folder) == before, minute
            assert table.minute == minute
        table.close()


def test_a_full_change_that_differs_in_one_code_is_one():
    everything = expand([("many", 9, 300, 25)])
    with Folder() as folder:
        table = Table(folder + "/table")
        for changes in (
            everything,
            everything[:-1],
            everything[:-1] + [(b"~", HOURS)],
            everything[:-1] + [(b"~", DATES)],
            everything[:-1] + [(b"~", b"")],
            [(b"0", b"")] + everything,
            [],
        ):
            state = State()
            state.codes, _ = state.after(True, changes)
            state.minute = 5
            commit(table, True, 5, changes)
            check_table(table, state, 20)
            check_tidy(table)
        table.close()


def test_the_minute_is_stored_with_the_rules_and_else_when_it_is_saved():
    with Folder() as home:
        folder = home + "/table"
        table = Table(folder)
        commit(table, True, 5, [(b"A", ALWAYS)])
        assert Table(folder).minute == 5
        commit(table, False, 6, [])
        assert table.minute == 6
        assert Table(folder).minute == 5
        table.save_minute()
        assert Table(folder).minute == 6
        before = snapshot(folder)
        table.save_minute()
        assert snapshot(folder) == before
        commit(table, False, 9999999999, [(b"B", ALWAYS)])
        assert Table(folder).minute == 9999999999
        commit(table, False, 0, [(b"B", None)])
        assert Table(folder).minute == 0
        table.close()


def test_a_minute_that_could_not_be_saved_is_saved_the_next_time():
    with Folder() as home:
        folder = home + "/table"
        table = Table(folder)
        commit(table, True, 5, [(b"A", ALWAYS)])
        commit(table, False, 6, [])
        for at in (1, 2, 3, 4):
            with FailingFiles(at):
                error_of(OSError, table.save_minute)
            assert table.minute == 6
        table.save_minute()
        assert Table(folder).minute == 6
        table.close()


def test_the_minute_of_another_server_or_reader_counts_as_0_until_a_full_sync():
    changes = expand([("many", 9, 30, 5)])
    with Folder() as home:
        folder = home + "/table"
        table = Table(folder, 1)
        commit(table, True, 5, changes)
        table.close()
        table = Table(folder, 2)
        assert (table.minute, table.fault) == (0, "")
        assert all(table.find(code, len(code)) == FOUND for code, _ in changes)
        table.minute = 3
        table.save_minute()
        assert Table(folder, 2).minute == 0
        assert Table(folder, 1).minute == 5
        commit(table, True, 8, changes)  # the same rules, from the other server
        assert (table.minute, Table(folder, 2).minute, Table(folder, 1).minute) == (8, 8, 0)
        table.close()


def test_a_table_in_seconds_stays_in_seconds():
    with Folder() as home:
        folder = home + "/table"
        table = Table(folder, 1)
        commit(table, True, 5, [(b"A", HOURS)])
        assert not table.seconds
        commit(table, False, 6, [(b"B", SECONDS)])
        assert table.seconds and Table(folder, 1).seconds
        commit(table, False, 7, [(b"B", None)])
        assert table.seconds and Table(folder, 1).seconds
        commit(table, True, 8, [(b"A", DATES)])
        assert table.seconds and Table(folder, 1).seconds
        # The unit of another server is not known yet.
        table.close()
        table = Table(folder, 2)
        assert table.seconds
        commit(table, True, 9, [(b"A", DATES)])
        assert not table.seconds and not Table(folder, 2).seconds
        table.close()


def test_a_table_is_in_seconds_only_once_that_is_committed():
    with Folder() as folder:
        table = Table(folder + "/table")
        begin(table, True, [(b"A", SECONDS)]).abort()
        assert not table.seconds
        steps = begin(table, True, expand([("add", b"A", SECONDS), ("many", 1, 200, 5)])).commit(5)
        next(steps)
        assert not table.seconds
        for _ in steps:
            pass
        assert table.seconds
        table.close()


def test_rules_of_one_code_beyond_its_bound_are_dropped_and_counted():
    many = [packing.pack(b"1_%d_%d" % (10**9 + i, 5 * 10**9)) for i in range(100)]
    for full in (True, False):
        with Folder() as folder:
            table = Table(folder + "/table")
            done = commit(table, full, 5, [(b"A", rule) for rule in many] + [(b"B", HOURS)])
            kept = packing.split(lookup(table, b"A"))
            assert all(rule in many for rule in kept)
            assert RULE_SET_MAX - RULE_MAX < len(lookup(table, b"A")) <= RULE_SET_MAX
            assert lookup(table, b"B") == HOURS
            assert done.overflowed == 100 - len(kept), (full, done.overflowed, len(kept))
            table.close()


def test_any_number_of_rules_of_one_code_lets_other_tasks_run_in_between():
    # The largest come first, so that each rule displaces another.
    many = [packing.pack(b"1_%d_%d" % (10**9 + i, 5 * 10**9)) for i in range(3000, 0, -1)]
    for full in (True, False):
        with Folder() as folder:
            table = Table(folder + "/table")
            commit(table, True, 4, [(b"B", HOURS)])
            again = 0
            while True:
                change = begin(table, full, [(b"A", rule) for rule in many], again)
                steps = 0
                for _ in change.commit(5):
                    steps += 1
                    assert table.find(b"B", 1) == FOUND  # the old table
                again = change.retry
                if not again:
                    break
            assert steps >= len(many) // 16, steps
            kept = packing.split(lookup(table, b"A"))
            assert len(kept) > 40 and kept == sorted(many)[: len(kept)]
            assert change.overflowed == len(many) - len(kept)
            table.close()


def test_a_rule_set_that_overflows_bit_by_bit_is_counted_as_well():
    many = [packing.pack(b"1_%d_%d" % (10**9 + i, 5 * 10**9)) for i in range(100)]
    with Folder() as folder:
        table = Table(folder + "/table")
        dropped = 0
        for i in range(0, 100, 10):
            dropped += commit(table, False, i, [(b"A", r) for r in many[i : i + 10]]).overflowed
        kept = packing.split(lookup(table, b"A"))
        assert len(kept) < 100 and dropped == 100 - len(kept)
        table.close()


def test_what_an_interrupted_sync_left_behind_is_removed_at_the_start():
    check_history(
        [
            ("reopen", 7, True),
            ("full", 5, [("many", 9, 30, 5)], "commit"),
            ("reopen", 7, True),
            ("some", 6, [("gone", 9, 3)], "commit"),
            ("reopen", 7, True),
        ]
    )


def test_nothing_is_left_behind_by_a_merge_of_runs_that_was_given_up():
    # Enough that runs are merged before the first record is applied.
    changes = expand([("many", 3, 1700, 9)])
    with Folder() as folder:
        table = Table(folder + "/table")
        for ending in (1, 3, 9):
            steps = begin(table, True, changes).commit(5)
            for _ in range(ending):
                next(steps)
            steps.close()
            check_tidy(table)
        table.close()


def test_codes_that_share_their_first_250_characters_are_found_over_many_blocks():
    # The separators in the index are as long as a packed code can be.
    names = [b"A" * 252 + b"%03d" % n for n in range(300)]
    check_history(
        [
            ("full", 5, [("add", name, ALWAYS) for name in names], "commit"),
            ("reopen", 7, True),
            ("some", 6, [("del", name) for name in names[::2]], "commit"),
            ("some", 7, [("add", name, NEVER) for name in names[::3]], "commit"),
            ("reopen", 7, True),
            ("some", 8, [("del", name) for name in names], "commit"),
        ]
    )


def test_an_answer_of_minute_0_without_changes_is_remembered_over_a_power_cut():
    with Folder() as folder:
        table = Table(folder)
        commit(table, True, 111, [(b"A", ALWAYS)])
        commit(table, False, 0, [])
        assert table.minute == 0
        table.close()
        table = Table(folder)
        assert table.minute == 0
        table.close()


def test_others_may_run_while_an_answer_repeats_what_is_there():
    # The server repeats whole tokens: each is looked up, and nothing changes.
    with Folder() as folder:
        table = Table(folder)
        changes = expand([("many", 21, 400, 5)])
        commit(table, True, 5, changes)
        before = snapshot(folder)
        steps = sum(1 for _ in begin(table, False, changes).commit(6))
        assert steps >= 400 // 4
        assert snapshot(folder) == before
        table.close()


def _in_order(count):
    return [(b"%08X" % (n * 77777), rule_of(n % 9)) for n in range(count)]


def test_a_full_answer_in_code_order_that_is_the_table_writes_nothing_whatever_its_size():
    changes = _in_order(3000)
    with Folder() as folder:
        table = Table(folder)
        commit(table, True, 5, changes)
        before = snapshot(folder)
        with FailingFiles(1, True):
            commit(table, True, 6, changes)
        assert snapshot(folder) == before
        assert table.minute == 6
        table.close()


def test_a_full_answer_in_code_order_may_differ_anywhere_and_lose_its_order():
    whole = _in_order(700)
    other = (b"0000AFFE", ALWAYS)
    variants = [
        whole[1:],
        whole[:-1],
        whole[:350] + whole[351:],
        whole[:350] + [(whole[350][0], NEVER)] + whole[351:],
        whole[:1] + [other] + whole[1:],
        whole + [(b"FFFFFFFF", ALWAYS)],
        whole + [other],
        whole[350:] + whole[:350],
        whole[:350] + whole[360:] + whole[350:360] + [whole[5], (whole[5][0], NEVER)],
        whole + whole,
        whole[:1],
        [],
    ]
    with Folder() as folder:
        table = Table(folder)
        for number, changes in enumerate(variants):
            for minute, some in ((5, whole), (6 + number, changes)):
                state = State()
                state.codes, _ = state.after(True, some)
                state.minute = minute
                commit(table, True, minute, some)
                check_table(table, state)
                check_tidy(table)
        table.close()
