"""The rule table and damage: flipped bytes, cut and missing files. In MicroPython on LittleFS."""

import os
from binascii import crc32

from device.raising import error_of
from device.scratch import Folder, restore, snapshot, write
from device.table_plan import (
    ALWAYS,
    DATES,
    HOURS,
    State,
    begin,
    check_code,
    check_table,
    check_tidy,
    commit,
    expand,
    rule_of,
)
from kalitka.access import decision, rules
from kalitka.table.block import Damaged
from kalitka.table.table import DAMAGED, FOUND, UNKNOWN, Table


class _Small:
    """A small table of a base and two deltas, with every kind of entry, and its files."""

    def __init__(self, folder):
        self.folder = folder
        self.state = state = State()
        table = Table(folder)
        for number, some in enumerate(
            (
                [("add", b"%08X" % (n * 7919), rule_of(n % 3)) for n in range(6)]
                + [("add", b"sbj-J5E5FBOKN5Z6", HOURS), ("wide", b"Z", 40), ("add", b"a", b"")],
                [("del", b"00000000"), ("add", b"a", HOURS), ("add", b"Q", DATES)],
                [("del", b"Q"), ("add", b"00001EEF", DATES)],
            )
        ):
            changes = expand(some)
            state.codes, _ = state.after(False, changes)
            commit(table, number == 0, 5 + number, changes)
        state.minute = 7
        assert len(table.names()) == 3
        check_table(table, state)
        table.close()
        self.files = snapshot(folder)
        self.probes = list(state.codes)
        self.probes += [b"00000000", b"Q", b"00001EEE", b"", b"ZZ", b"~", b"FF"]

    def look(self, table):
        """Look everything up: right or DAMAGED. Returns how often it was DAMAGED."""
        damaged = 0
        for code in self.probes:
            state = table.find(code, len(code))
            if state == DAMAGED:
                damaged += 1
                assert table.fault, code
                error_of(Damaged, table.lookup, code)
            else:
                check_code(table, self.state, code)
        return damaged

    def open(self, name, data):
        """Open the table with one of its files replaced, or missing (None)."""
        restore(self.folder, self.files)
        if data is None:
            os.remove(self.folder + "/" + name)
        else:
            write(self.folder + "/" + name, data)
        return Table(self.folder)

    def open_with_a_damaged_base(self):
        """Open the table with a byte of its base's only block flipped."""
        base = next(name for name in self.files if name.startswith("base"))
        data = bytearray(self.files[base])
        data[3] ^= 1
        return self.open(base, data)

    def heal(self, table):
        """Do the full sync that is to make the table whole."""
        everything = [
            (code, rule)
            for code, rule_set in self.state.codes.items()
            for rule in (rules.split(rule_set) or [b""])
        ]
        commit(table, True, 7, everything)
        check_table(table, self.state)
        check_tidy(table)
        table.close()
        table = Table(self.folder)
        check_table(table, self.state)
        table.close()


def test_no_flipped_byte_in_any_file_leads_to_a_wrong_answer():
    with Folder() as folder:
        small = _Small(folder + "/table")
        for name in sorted(small.files):
            unnoticed = 0
            for at in range(len(small.files[name])):
                data = bytearray(small.files[name])
                data[at] ^= 1 + at * 37 % 255
                table = small.open(name, data)
                if small.look(table):
                    error_of(Damaged, table.begin, False)
                    if at % 5 == 0:
                        small.heal(table)
                else:
                    unnoticed += 1
                table.close()
            assert not unnoticed, name


def test_no_file_cut_short_or_made_longer_leads_to_a_wrong_answer():
    with Folder() as folder:
        small = _Small(folder + "/table")
        for name in sorted(small.files):
            whole = small.files[name]
            for size in range(0, len(whole), 3):
                table = small.open(name, whole[:size])
                assert small.look(table), (name, size)
                table.close()
            for more in (b"\x00", b"\n", whole):
                table = small.open(name, whole + more)
                assert small.look(table), (name, more)
                table.close()


def test_a_missing_file_is_damage_and_not_an_empty_table():
    with Folder() as folder:
        small = _Small(folder + "/table")
        for name in sorted(small.files):
            table = small.open(name, None)
            assert table.minute == 0, name
            assert table.fault, name
            assert table.find(b"no such code", 12) == DAMAGED
            assert small.look(table) > 3, name
            error_of(Damaged, table.begin, False)
            error_of(Damaged, list, table.items())
            table.close()
            # It stays so until a full sync, not only until the next start.
            table = Table(small.folder)
            assert table.find(b"no such code", 12) == DAMAGED
            small.heal(table)


def test_without_its_base_the_newer_segments_still_decide():
    with Folder() as folder:
        small = _Small(folder + "/table")
        base = next(name for name in small.files if name.startswith("base"))
        table = small.open(base, None)
        assert table.lookup(b"a") == HOURS
        assert table.find(b"Q", 1) == UNKNOWN
        assert table.find(b"Z", 1) == DAMAGED
        table.close()


def test_damage_is_healed_by_a_full_sync_even_if_no_lookup_has_met_it():
    with Folder() as folder:
        small = _Small(folder + "/table")
        for name in sorted(small.files):
            if name == "manifest":
                continue
            data = bytearray(small.files[name])
            data[3] ^= 1
            small.heal(small.open(name, data))


def test_damage_that_a_change_meets_is_remembered():
    # A merge of segments reads all of them: the first to meet what nobody looked up.
    with Folder() as folder:
        small = _Small(folder + "/table")
        table = small.open_with_a_damaged_base()
        failed = 0
        for n in range(8):
            try:
                # Codes that the newer segments know: the base is not asked for them.
                commit(table, False, 10 + n, [(b"a", None), (b"a", rule_of(n))])
            except Damaged:
                failed += 1
                break
        assert failed and table.fault
        table.close()


def test_damage_that_enumerating_meets_is_remembered():
    with Folder() as folder:
        small = _Small(folder + "/table")
        table = small.open_with_a_damaged_base()
        error_of(Damaged, list, table.codes())
        assert table.fault
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
            small = _Small(folder + "/table")
            table = small.open("manifest", text + b"check %08x\n" % crc32(text))
            assert table.fault and not table.minute, text
            assert small.look(table) == len(small.probes) - 1, text  # b"" is no code
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
        small = _Small(folder + "/table")
        base = sorted(small.files)[0]
        assert base.startswith("base-")
        table = Table(small.folder)
        steps = begin(table, False, [(b"NEW", ALWAYS)])
        # Only now, so that the change itself does not meet it.
        table.fault = "block 0 of %s has a wrong checksum" % base
        for _ in steps.commit(8):
            pass
        assert table.fault
        table.close()


def test_a_rule_of_a_kind_not_known_here_permits_nothing():
    # As a later firmware may have left it in the table.
    later = b"\x05\x00\x7f\x7f\x7f\x7f\x7f"
    for seconds in (False, True):
        assert rules.permits(later, 0, seconds, 29921460, 0, 0) == rules.UNREADABLE
        assert decision.judge(later + ALWAYS, 0, len(later), seconds, 5, 5, 5) == decision.NO_RULE
