"""The rule table with a failure at each write operation. In MicroPython on LittleFS."""

from device.failing_files import FailingFiles
from device.raising import error_of
from device.scratch import Folder
from device.table_contents import codes_in
from device.table_plan import State, check_table, check_tidy, commit, expand, fails, feed
from kalitka.table.block import CorruptionError
from kalitka.table.table import Table


def _check_failures(first, full, changes, places):
    # Lets a change fail at each of these write operations, until it succeeds; a failure must leave
    # the old table.
    state = State()
    state.codes, _ = state.after(True, first)
    state.minute = 5
    after = State()
    after.codes = state.codes
    after.codes, _ = after.after(full, changes)
    after.minute = 6
    for for_ever in (False, True):
        for at in places:
            with Folder() as folder:
                table = Table(folder + "/table")
                commit(table, True, 5, first)
                with FailingFiles(at, for_ever):
                    failed = fails(table, full, 6, changes)
                check_table(table, state if failed else after, 10)
                if failed:
                    check_tidy(table)
                    again = Table(table.folder)
                    check_table(again, state, 10)
                    again.close()
                    commit(table, full, 6, changes)
                check_table(table, after, 10)
                check_tidy(table)
                table.close()
                if not failed:
                    return


def test_a_small_change_that_fails_at_any_write_leaves_everything_as_it_was():
    first = expand([("many", 11, 20, 4)])
    changes = expand([("gone", 11, 3), ("many", 12, 5, 4)])
    _check_failures(first, False, changes, range(1, 60))
    _check_failures(first, True, changes, range(1, 60))


def test_a_large_change_that_fails_at_a_write_leaves_everything_as_it_was():
    first = expand([("many", 11, 40, 4)])
    changes = expand([("many", 12, 1200, 30)])
    places = list(range(1, 6)) + list(range(40, 1500, 331))
    _check_failures(first, False, changes, places)
    _check_failures(first, True, changes, places)


def test_a_change_whose_files_cannot_even_be_opened_can_be_given_up():
    # The first write operation of a change that spills is the opening of its first run.
    with Folder() as folder:
        table = Table(folder + "/table")
        changes = expand([("many", 12, 2500, 30)])
        transaction = table.begin(True)
        with FailingFiles(1, True):
            error_of(OSError, feed, transaction, changes)
            transaction.abort()
        commit(table, True, 5, changes)
        assert len(list(codes_in(table))) == 2500
        table.close()


def test_a_segment_that_cannot_be_read_back_is_not_committed():
    first = expand([("many", 11, 20, 4)])
    with Folder() as folder:
        table = Table(folder + "/table")
        commit(table, True, 5, first)
        state = State()
        state.codes, _ = state.after(True, first)
        state.minute = 5
        opening = table.open_segment

        def unreadable(name):
            raise CorruptionError("%s cannot be read" % name)

        for full in (False, True):
            table.open_segment = unreadable
            assert fails(table, full, 6, expand([("many", 12, 5, 4)]))
            table.open_segment = opening
            check_table(table, state, 10)
            check_tidy(table)
            again = Table(table.folder)
            check_table(again, state, 10)
            again.close()
        table.close()
