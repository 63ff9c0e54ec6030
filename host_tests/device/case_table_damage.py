"""A damaged rule table: flipped bytes, cut and missing files. In MicroPython on LittleFS."""

from binascii import crc32

from device.damage import Small, Sorting
from device.failing_files import FailingFiles
from device.raising import error_of
from device.scratch import Folder, write
from device.syncs import long_codes
from device.table_contents import items, lookup, segments_of
from device.table_plan import (
    ALWAYS,
    HOURS,
    begin,
    check_tidy,
    commit,
    feed,
    rule_of,
)
from kalitka.access import decision, rules
from kalitka.table.block import CorruptionError
from kalitka.table.table import DAMAGED, FOUND, UNKNOWN, Table


def test_no_flipped_byte_in_any_file_leads_to_a_wrong_answer():
    with Folder() as folder:
        small = Small(folder + "/table")
        for name in sorted(small.files):
            for at in range(len(small.files[name])):
                data = bytearray(small.files[name])
                data[at] ^= 1 + at * 37 % 255
                small.check_damaged(name, data, at % 5 == 0)


def test_no_flipped_bit_of_a_table_of_many_blocks_leads_to_a_wrong_answer():
    with Folder() as folder:
        small = Small(folder + "/table", 300)
        for name in sorted(small.files):
            for bit in range(3, 8 * len(small.files[name]), 397):
                data = bytearray(small.files[name])
                data[bit >> 3] ^= 1 << (bit & 7)
                small.check_damaged(name, data, bit % 5 == 0)


def test_no_file_cut_short_or_made_longer_leads_to_a_wrong_answer():
    with Folder() as folder:
        small = Small(folder + "/table")
        for name in sorted(small.files):
            whole = small.files[name]
            for size in range(0, len(whole), 3):
                small.check_damaged(name, whole[:size], False)
            for more in (b"\x00", b"\n", whole):
                small.check_damaged(name, whole + more, False)


def test_a_missing_file_is_damage_and_not_an_empty_table():
    with Folder() as folder:
        small = Small(folder + "/table")
        for name in sorted(small.files):
            table = small.open(name, None)
            assert table.minute == 0, name
            assert table.fault, name
            assert table.find(b"no such code", 12) == DAMAGED
            assert small.count_damaged(table) > 3, name
            error_of(CorruptionError, table.begin, False)
            error_of(CorruptionError, list, items(table))
            table.close()
            # The damage lasts until a full sync, not only until the next start.
            table = Table(small.folder)
            assert table.find(b"no such code", 12) == DAMAGED
            small.heal(table)


def test_without_its_base_the_newer_segments_still_decide():
    with Folder() as folder:
        small = Small(folder + "/table")
        table = small.open(small.base(), None)
        assert lookup(table, b"a") == HOURS
        assert table.find(b"Q", 1) == UNKNOWN
        assert table.find(b"Z", 1) == DAMAGED
        table.close()


def test_damage_is_found_by_a_scrub_even_if_no_lookup_has_met_it():
    with Folder() as folder:
        small = Small(folder + "/table", 600)
        for name in sorted(small.files):
            if name == "manifest":
                continue
            for at in range(3, len(small.files[name]) - 60, 500):
                data = bytearray(small.files[name])
                data[at] ^= 1
                table = small.open(name, data)
                if not table.fault:
                    blocks = table.scrub()
                    assert blocks > 3
                    for _ in range(blocks - 1):
                        assert table.scrub() == blocks
                assert name in table.fault, at
                if at == 3:
                    small.heal(table)
                table.close()


def test_a_scrub_of_what_is_whole_finds_nothing_and_one_of_nothing_does_nothing():
    with Folder() as folder:
        table = Table(folder + "/table")
        assert table.scrub() == 0
        table.close()
        small = Small(folder + "/small", 600)
        table = Table(small.folder)
        for _ in range(3 * table.scrub()):
            table.scrub()
        assert (table.fault, table.minute) == ("", 7)
        assert not small.count_damaged(table)
        table.close()


class _Worn:
    # The file of a segment whose blocks cannot be read any more.
    def seek(self, at):
        raise OSError(5)


def test_a_block_that_cannot_be_read_is_damage_to_a_scrub_and_to_a_lookup():
    with Folder() as folder:
        small = Small(folder + "/table")
        for look in (Table.scrub, small.count_damaged):
            table = Table(small.folder)
            for segment in segments_of(table):
                segment.blocks = (_Worn(),) + segment.blocks[1:]
            look(table)
            assert "cannot be read" in table.fault
            assert table.find(b"Z", 1) == DAMAGED
            table.close()


def test_damage_that_a_change_meets_is_remembered():
    # A merge reads whole segments: it meets damage that no lookup has met.
    with Folder() as folder:
        small = Small(folder + "/table")
        table = small.open_with_a_damaged_base()
        failed = 0
        for n in range(8):
            try:
                # The newer segments have this code: a lookup does not read the base.
                commit(table, False, 10 + n, [(b"a", None), (b"a", rule_of(n))])
            except CorruptionError:
                failed += 1
                break
        assert failed and table.fault
        table.close()


def test_a_manifest_that_is_whole_and_says_nothing_known_is_damage():
    for text in (
        b"kalitka table 1\n",
        b"kalitka table 2\nminute 5\n",
        b"",
        b"\xff\xfe\n",
        b"kalitka table 1\nminute x\ngeneration 1\nunit minute\norigin 0\n",
        b"kalitka table 1\nminute\n",
    ):
        with Folder() as folder:
            small = Small(folder + "/table")
            table = small.open("manifest", text + b"check %08x\n" % crc32(text))
            assert table.fault and not table.minute, text
            assert small.count_damaged(table) == len(small.probes) - 1, text  # b"" is no code
            small.heal(table)


def test_a_table_that_cannot_have_its_folder_says_so_and_knows_nobody():
    with Folder() as folder:
        write(folder + "/table", b"a file where the folder should be")
        table = Table(folder + "/table")
        assert table.fault
        assert table.minute == 0
        assert table.find(b"A", 1) != FOUND
        table.close()


def test_damage_found_while_a_change_is_made_is_not_forgotten_by_it():
    with Folder() as folder:
        small = Small(folder + "/table")
        table = Table(small.folder)
        steps = begin(table, False, [(b"NEW", ALWAYS)])
        # Set only now: the change itself must not meet the damage.
        table.fault = "block 0 of %s has a wrong checksum" % small.base()
        for _ in steps.commit(8):
            pass
        assert table.fault
        table.close()


def _check_rotten_runs(full):
    with Folder() as folder:
        sorting = Sorting(folder + "/table", full)
        for bit in range(5, 8 * sorting.bytes, 797):
            sorting.check(bit)
        for size in range(0, sorting.bytes, 307):
            sorting.check(8 * size, True)
        sorting.close()


def test_a_run_that_changes_before_it_is_read_ends_a_full_sync_and_the_next_one_heals():
    _check_rotten_runs(True)


def test_a_run_that_changes_before_it_is_read_ends_an_incremental_sync_and_a_full_one_heals():
    _check_rotten_runs(False)


def test_a_full_sync_given_up_does_not_make_a_table_without_its_manifest_a_new_one():
    with Folder() as folder:
        small = Small(folder + "/table")
        table = small.open("manifest", None)
        # In code order and larger than the buffer: a file is begun before the end.
        begin(table, True, long_codes(0, 200)).abort()
        assert small.count_damaged(table) == len(small.probes) - 1  # b"" is no code
        table.close()
        table = Table(small.folder)
        assert table.fault
        assert small.count_damaged(table) == len(small.probes) - 1
        small.heal(table)


def test_a_change_is_over_even_if_its_file_cannot_be_closed():
    # The poller calls `abort` only once for an answer that was cut.
    with Folder() as folder:
        table = Table(folder + "/table")
        for at in range(1, 12):
            with FailingFiles(at, True):
                transaction = table.begin(True)
                try:
                    feed(transaction, long_codes(0, 300))
                except OSError:
                    pass
                try:
                    transaction.abort()
                except OSError:
                    pass
            table.begin(True).abort()
        commit(table, True, 5, [(b"A", ALWAYS)])
        check_tidy(table)
        table.close()


def test_a_rule_of_a_kind_not_known_here_permits_nothing():
    # A later firmware may have left such a rule in the table.
    later = b"\x05\x00\x7f\x7f\x7f\x7f\x7f"
    for seconds in (False, True):
        assert rules.evaluate(later, 0, seconds, 29921460, 0, 0) == rules.UNREADABLE
        assert (
            decision.Verdict().decide(later + ALWAYS, 0, len(later), seconds, 5, 5, 5)
            == decision.NO_RULE
        )
