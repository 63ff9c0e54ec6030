"""`kalitka table` on the files of a table: intact, damaged, malformed and foreign."""

import os
import random
import re
import shutil
import struct
import subprocess
import sys
from binascii import crc32

import pytest
from typer.testing import CliRunner

from device.codes_oracle import place_of
from device.scratch import read, snapshot, write
from device.table_contents import items
from device.table_plan import ALWAYS, DATES, HOURS, NEVER, SECONDS, State, commit, expand
from kalitka.access import packing, rules
from kalitka.sync.answer import AnswerParser
from kalitka.table import codes
from kalitka.table.block import IN_PLACE, TOMBSTONE
from kalitka.table.manifest import Manifest, load
from kalitka.table.rule_sets import RuleSets
from kalitka.table.table import Table
from kalitka.table.writers import SegmentWriter
from kalitka_cli.main import app

BLOCK = 1024
RAW = b"\xff\xfe \xd0\x96"  # a code that is not UTF-8

CHANGES = (
    [
        ("many", 3, 500, 40),
        ("wide", b"Z", 40),
        ("add", b"a", b""),
        ("add", RAW, DATES),
        ("add", b"END_", HOURS),
        ("add", b"END_", ALWAYS),
    ],
    [("gone", 3, 20), ("many", 9, 30, 40), ("del", RAW), ("add", b"END_", NEVER)],
    [("del", b"Z"), ("add", b"new", HOURS)],
)
MANY_RULES = b"".join(b"\x01\x81%c%c" % (n, m) for n in range(1, 120) for m in (1, 2))


class Made:
    """A table on disk: its folder, and the dictionary of rule sets after each change."""

    def __init__(self, folder):
        self.folder = folder
        self.states = [{}]
        table = Table(str(folder), 7)
        state = State()
        for number, some in enumerate(CHANGES):
            changes = expand(some)
            state.codes, _ = state.after(number == 0, changes)
            commit(table, number == 0, 29921460 + number, changes)
            self.states.append(dict(state.codes))
        self.names = table.names()
        table.close()
        assert len(self.names) == 3

    def flip(self, name, at):
        """Change a byte of a file."""
        data = bytearray(read(f"{self.folder}/{name}"))
        data[at] ^= 0x5A
        write(f"{self.folder}/{name}", data)


@pytest.fixture(scope="module")
def first_made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("made") / "table")


@pytest.fixture
def made(first_made, tmp_path):
    """Return a copy of the table for one test."""
    copy = Made.__new__(Made)
    copy.folder = shutil.copytree(first_made.folder, tmp_path / "table")
    copy.states = first_made.states
    copy.names = first_made.names
    return copy


def run(*arguments):
    """Run `kalitka table`; return its result. It never ends in an exception."""
    done = CliRunner().invoke(app, ["table", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def check(*files):
    """Return (exit status, stdout) of `check`."""
    done = run("check", *files)
    return done.exit_code, done.stdout


def lines_of(states):
    """Return {code: rule set} as lines of the wire format, in code order."""
    lines = []
    for code in sorted(states, key=place_of):
        texts = [rules.text_of(rule) for rule in packing.split(states[code])]
        lines += [b"%s_/%s" % (code, text) for text in texts or [b""]]
    return lines


class Sink:
    """A parser's sink that applies an answer to a table."""

    def __init__(self, transaction):
        self.transaction = transaction
        self.delete = transaction.delete
        self.rules = transaction.add_lines
        self.minutes = []
        self.minute = self.minutes.append

    def dropped(self, line, reason):
        pass


def fed(folder, answer):
    """Apply a full answer to a new table; return (the table, the parser)."""
    table = Table(str(folder))
    sink = Sink(table.begin(True))
    parser = AnswerParser(sink)
    parser.feed(answer)
    parser.finish(True)
    for _ in sink.transaction.commit(sink.minutes[0]):
        pass
    return table, parser


# --- dump ---------------------------------------------------------------------------------------


def test_the_dump_of_a_table_makes_the_same_table_of_another_reader(made, tmp_path):
    answer = run("dump", made.folder).stdout_bytes
    table, parser = fed(tmp_path / "other", answer)
    assert table.minute == 29921462
    assert dict(items(table)) == made.states[-1]
    # The line of the code without a rule counts as a rule that was not understood.
    assert parser.reasons == {"unknown kind of rule": 1}
    table.close()
    assert run("dump", tmp_path / "other").stdout_bytes == answer


def test_the_dump_of_a_table_is_a_full_answer_in_code_order(made):
    done = run("dump", made.folder)
    assert done.exit_code == 0
    assert not done.stderr
    lines = done.stdout_bytes.split(b"\n")
    assert lines == [b"29921462%%", *lines_of(made.states[-1]), b""]


def test_the_dump_of_a_segment_has_its_own_codes_and_its_tombstones(made):
    for name, before, after in zip(made.names, made.states, made.states[1:], strict=False):
        changed = {code for code in {*before, *after} if before.get(code) != after.get(code)}
        expected = []
        for code in sorted(changed, key=place_of):
            line = [b"%deleted " + code] if code not in after else lines_of({code: after[code]})
            expected += line
        done = run("dump", made.folder / name)
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout_bytes.splitlines() == expected


def test_no_tombstone_of_a_dump_is_taken_for_a_rule(made, tmp_path):
    lines = run("dump", made.folder / made.names[1]).stdout_bytes
    count = lines.count(b"%deleted ")
    assert count > 10
    table, parser = fed(tmp_path / "other", b"5%%\n" + lines)
    assert parser.reasons == {"no _/ in line": count}
    table.close()


def test_a_dump_goes_through_a_pipe_byte_for_byte(made):
    done = subprocess.run(
        [sys.executable, "-m", "kalitka_cli", "table", "dump", made.folder],
        capture_output=True,
        check=True,
        env={**os.environ, "FORCE_COLOR": "1", "PYTHONIOENCODING": "ascii"},
    )
    assert done.stdout == run("dump", made.folder).stdout_bytes
    assert not done.stderr
    assert b"\n%s_/9_1\n" % b"END_" in done.stdout


def test_a_manifest_is_dumped_as_it_is(made):
    path = made.folder / "manifest"
    assert run("dump", path).stdout_bytes == path.read_bytes()
    made.flip("manifest", 20)
    done = run("dump", path)
    assert done.exit_code == 1
    assert done.stdout_bytes == path.read_bytes()
    assert "wrong checksum" in done.stderr


def test_of_a_damaged_table_no_answer_is_dumped(made):
    made.flip(made.names[0], 5)
    done = run("dump", made.folder)
    assert done.exit_code == 1
    assert done.stdout_bytes == b""
    assert f"the block at 0 of {made.names[0]} has a wrong checksum" in done.stderr


def test_of_a_damaged_segment_the_other_blocks_are_dumped(made):
    name = made.names[0]
    whole = run("dump", made.folder / name).stdout_bytes.splitlines()
    made.flip(name, BLOCK + 5)
    done = run("dump", made.folder / name)
    assert done.exit_code == 1
    assert f"the block at {BLOCK} of {name} has a wrong checksum" in done.stderr
    left = done.stdout_bytes.splitlines()
    assert 0 < len(left) < len(whole)
    assert left[0] == whole[0] and left[-1] == whole[-1]
    assert set(left) < set(whole)


def test_a_table_in_seconds_that_does_not_show_it_says_so(tmp_path):
    table = Table(str(tmp_path / "table"))
    commit(table, True, 5, [(b"A", SECONDS), (b"B", HOURS)])
    assert "day_time_unit" not in run("dump", table.folder).stderr
    commit(table, False, 6, [(b"A", None)])
    table.close()
    done = run("dump", table.folder)
    assert (done.exit_code, done.stdout) == (0, "6%%\nB_/3_480_1200_1111100\n")
    assert "day_time_unit" in done.stderr


# --- check --------------------------------------------------------------------------------------


def test_a_whole_table_is_ok_file_by_file(made):
    status, said = check(made.folder)
    assert status == 0
    assert re.findall(r"(\S+): ok", said) == [
        f"{made.folder}/{name}" for name in ("manifest", *made.names)
    ]
    assert f"{len(made.states[1])} codes, 0 tombstones" in said
    for name in ("manifest", *made.names):
        assert check(made.folder / name)[0] == 0


def test_nothing_is_written_and_leftovers_are_told_but_stay(made):
    write(f"{made.folder}/run-1.tmp", b"work")
    shutil.copy(made.folder / made.names[0], made.folder / "base-99.seg")
    before = snapshot(str(made.folder))
    for command in ("dump", "check", "stats"):
        assert run(command, made.folder).exit_code == 0
    assert snapshot(str(made.folder)) == before
    assert re.findall(r"(\S+): left over", check(made.folder)[1]) == [
        f"{made.folder}/base-99.seg",
        f"{made.folder}/run-1.tmp",
    ]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return the bytes of a small segment: two blocks, with every kind of entry."""
    table = Table(str(tmp_path_factory.mktemp("small") / "table"))
    commit(table, True, 5, [(b"00", HOURS), (b"sbj-0", HOURS)])
    wide = expand([("wide", b"%02X" % n, 40 + n) for n in range(1, 5)])
    some = [(b"%08X" % (n * n), rule) for n in range(20) for rule in (HOURS, DATES)[n % 2 :]]
    commit(table, False, 6, [(b"00", None), (b"sbj-0", None), *wide, *some])
    name = table.names()[-1]
    table.close()
    return read(f"{table.folder}/{name}")


def written(folder, variants):
    """Write each variant of a segment to a file; return the paths."""
    paths = [folder / f"delta-{number}.seg" for number in range(len(variants))]
    for path, data in zip(paths, variants, strict=True):
        write(path, data)
    return paths


def check_all_faulty(paths):
    """Check that every command reports a fault in each of these files."""
    status, said = check(*paths)
    assert status == 1
    assert re.findall(r"^(\S+): \d+ faults?\n  .*\n    the reader denies", said, re.M) == [
        str(path) for path in paths
    ]
    for command in ("dump", "stats"):
        done = run(command, *paths[::10])
        assert done.exit_code == 1
        told = re.findall(r"^(\S+): ", done.stderr, re.M)
        assert list(dict.fromkeys(told)) == [str(path) for path in paths[::10]]


def flipped(data):
    """Return variants of `data`, each with one other byte changed."""
    return [
        data[:at] + bytes([data[at] ^ (1 + at * 37 % 255)]) + data[at + 1 :]
        for at in range(len(data))
    ]


def test_a_small_segment_is_ok(small, tmp_path):
    (path,) = written(tmp_path, [small])
    assert check(path) == (0, f"{path}: ok, 24 codes, 2 tombstones, 2 blocks\n")


def test_every_flipped_byte_of_a_segment_is_a_fault_and_no_crash(small, tmp_path):
    check_all_faulty(written(tmp_path, flipped(small)))


def test_a_segment_cut_short_or_made_longer_is_a_fault(small, tmp_path):
    cut = [small[:size] for size in range(0, len(small), 7)]
    check_all_faulty(written(tmp_path, [*cut, small + b"\n", small * 2]))


def test_every_flipped_byte_of_a_manifest_is_a_fault_of_the_table(made):
    for at, data in enumerate(flipped(read(made.folder / "manifest"))):
        write(made.folder / "manifest", data)
        status, said = check(made.folder / "manifest")
        assert status == 1, at
        assert 'denies every code with "table damaged"' in said


@pytest.mark.parametrize(
    "data", [b"", b"KSG1", b"hello, world\n" * 100, bytes(5000), random.Random(1).randbytes(5000)]
)
@pytest.mark.parametrize("name", ["base-1.seg", "manifest"])
def test_rubbish_is_a_fault(tmp_path, name, data):
    write(tmp_path / name, data)
    for command in ("dump", "check", "stats"):
        assert run(command, tmp_path / name).exit_code == 1
        assert run(command, tmp_path).exit_code == 1


def test_every_damaged_block_and_part_is_told_with_its_place(made):
    name = made.names[0]
    size = (made.folder / name).stat().st_size
    for at in (5, 2 * BLOCK + 100, size - 28 - 5):
        made.flip(name, at)
    status, said = check(made.folder)
    assert status == 1
    assert f"{name}: 3 faults" in said
    assert f"index of {name}: wrong checksum" in said
    for place in (0, 2 * BLOCK):
        assert f"the block at {place} of {name} has a wrong checksum" in said
    assert 'denies the codes of such a block with "table damaged"' in said
    # Intact files are still reported as ok.
    assert said.count(": ok") == 3


def test_damaged_rule_sets_are_told_once_and_not_for_every_code(made):
    name = made.names[0]
    blocks = struct.unpack("<I", read(made.folder / name)[-16:-12])[0]
    made.flip(name, blocks + 3)
    status, said = check(made.folder / name)
    assert status == 1
    assert f"{name}: 1 fault\n  rule sets of {name}: wrong checksum" in said


def test_a_missing_segment_is_told(made):
    (made.folder / made.names[1]).unlink()
    status, said = check(made.folder)
    assert status == 1
    assert re.search(rf"{made.names[1]}: 1 fault\n  the manifest names it", said)
    assert said.count(": ok") == 3
    assert run("dump", made.folder).exit_code == 1
    assert run("stats", made.folder).exit_code == 1


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_without_a_manifest_the_segments_are_checked_all_the_same(made, how):
    if how == "missing":
        (made.folder / "manifest").unlink()
    else:
        made.flip("manifest", 3)
    made.flip(made.names[2], 3)
    status, said = check(made.folder)
    assert status == 1
    assert said.count(": ok") == 2
    assert said.count(": 1 fault") == 2
    assert "denies every code" in said


def test_a_manifest_may_name_anything(made):
    names = ("../table/" + made.names[0], "/etc/passwd", "a\0b", "", ".", "[red]", "\x1b[31m")
    Manifest(5, 9, False, 1, names).save(str(made.folder))
    status, said = check(made.folder)
    assert status == 1
    assert said.count("there is no such file") == len(names)
    assert "\x1b" not in said and "\0" not in said
    assert run("dump", made.folder).exit_code == 1


def test_a_manifest_that_cannot_be_right_is_a_fault(tmp_path):
    folder = tmp_path / "table"
    table = Table(str(folder))
    commit(table, True, 5, [(b"A", SECONDS)])
    table.close()
    assert check(folder)[0] == 0
    found = load(str(folder))
    Manifest(5, found.generation, False, 0, found.segments).save(str(folder))
    assert "above 1440" in check(folder)[1]
    Manifest(5, 0, True, 0, found.segments).save(str(folder))
    assert "may overwrite it" in check(folder)[1]
    Manifest(-5, found.generation, True, 0, found.segments).save(str(folder))
    assert "the minute is -5" in check(folder)[1]


# --- check: wrong contents with correct checksums -----------------------------------------------


def segment_of(path, entries, **claims):
    """Write a segment of (code or packed code, rule set or None); return its path.

    claims: counts to put into the footer.
    """
    rule_sets = RuleSets()
    with open(path, "wb") as file:
        writer = SegmentWriter(file, rule_sets)
        for code, rule_set in entries:
            packed = code if isinstance(code, bytearray) else codes.pack(code)
            if rule_set is None:
                writer.add(packed, 0, TOMBSTONE)
            elif len(rule_set) > 200:
                writer.add(packed, 0, IN_PLACE, rule_set)
            else:
                writer.add(packed, 0, rule_sets.number(rule_set))
        for name, count in claims.items():
            setattr(writer, name, count)
        writer.finish()
    return path


def resealed(data):
    """Return a segment's bytes with all checksums corrected. Requires a valid footer."""
    data = bytearray(data)
    blocks, sets, index = struct.unpack("<III", data[-16:-4])
    ends = [min(at + BLOCK, blocks) for at in range(0, blocks, BLOCK)]
    begin = 0
    for end in [*ends, blocks + sets, blocks + sets + index, len(data)]:
        data[end - 4 : end] = struct.pack("<I", crc32(data[begin : end - 4]))
        begin = end
    return data


@pytest.mark.parametrize(
    ("entries", "claims", "told"),
    [
        ([(b"B", HOURS), (b"B", DATES)], {}, "code B does not come after code B"),
        ([(b"text", HOURS), (b"B", DATES)], {}, "code B does not come after code text"),
        ([(b"B", HOURS)], {"codes": 2}, "the footer says 2 codes, there are 1"),
        ([(b"B", HOURS)], {"tombstones": 1}, "the footer says 1 tombstones, there are 0"),
        ([(b"B", HOURS), (b"C", None)], {}, "a base with 1 tombstones"),
        ([(bytearray(b"\x05\x00%"), HOURS)], {}, "packed code 050025 is invalid: forbidden byte"),
        ([(bytearray(b"\x05\x00A"), HOURS)], {}, "packed code 050041 is invalid"),
        ([(bytearray(b"\x09\x00A"), HOURS)], {}, "packed code 090041 is invalid"),
        ([(b"B", b"\x05\x00")], {}, "code B has an invalid rule set, 05 00"),
        ([(b"B", HOURS + DATES)], {}, "not in byte order, each once"),
        ([(b"B", HOURS + HOURS)], {}, "not in byte order, each once"),
        ([(b"B", HOURS[:-1])], {}, "its last rule is truncated"),
        ([(b"B", b"\x09")], {}, "its last rule is truncated"),
        ([(b"B", b"\x09\x02")], {}, "rule 9 is neither"),
        ([(b"B", b"\x01\x80\x00\x05")], {}, "in another form"),
        ([(b"B", b"\x03\x00\x00\xff")], {}, "in another form"),
        (
            [(b"B", b"".join(b"\x01\x81%c%c" % (n, s) for n in range(1, 120) for s in (1, 2)))],
            {},
            "more than 720",
        ),
    ],
)
def test_what_no_writer_writes_is_told(tmp_path, entries, claims, told):
    path = segment_of(tmp_path / "base-1.seg", entries, **claims)
    status, said = check(path)
    assert (status, said.count("fault")) == (1, 1), said
    assert told in said
    assert "keep this file" in said
    # The other commands do not fail on it either.
    assert run("dump", path).exit_code in (0, 1)
    assert run("stats", path).exit_code in (0, 1)


def test_what_an_index_misleads_is_told(tmp_path):
    path = segment_of(tmp_path / "base-1.seg", [(b"%06X" % (n * 999), HOURS) for n in range(1200)])
    data = bytearray(read(path))
    assert check(path)[0] == 0
    # The last byte of the first separator that has the most significant digits.
    blocks, sets = struct.unpack("<II", data[-16:-8])
    data[blocks + sets + 1 + 2] = 0xFF
    write(path, resealed(data))
    status, said = check(path)
    assert status == 1
    assert f"in the block at {BLOCK}: the index leads code" in said
    assert f"in the block at {BLOCK}: a lookup of code" in said


def test_a_number_without_a_rule_set_is_told(tmp_path):
    path = segment_of(tmp_path / "base-1.seg", [(b"B", HOURS), (b"C", DATES)])
    data = read(path)
    at = data.index(b"\x03", 6)  # the second value: rule set 1
    write(path, resealed(data[:at] + b"\x09" + data[at + 1 :]))
    status, said = check(path)
    assert status == 1
    assert "code C has rule set 7, which is not there" in said
    done = run("dump", path)
    assert (done.exit_code, done.stdout) == (1, "B_/3_480_1200_1111100\n")
    assert "left out code C: there is no rule set 7" in done.stderr


def mutated(data, dice):
    """Return a segment's bytes with some of them changed and all checksums corrected."""
    data = bytearray(data)
    begin = dice.choice((0, BLOCK, len(data) - 200))
    for _ in range(dice.choice((1, 2, 5, 50))):
        at = dice.randrange(begin, len(data) - 28)
        data[at] = dice.choice((0, 1, 255, dice.randrange(256)))
    return resealed(data)


def test_no_bytes_with_right_checksums_end_in_a_crash(small, tmp_path):
    folders = []
    for seed in range(60):
        folders.append(tmp_path / str(seed))
        folders[-1].mkdir()
        Manifest(5, 2, True, 0, ("delta-2.seg",)).save(str(folders[-1]))
        write(folders[-1] / "delta-2.seg", mutated(small, random.Random(seed)))
    for command in ("dump", "check", "stats"):
        done = run(command, *folders, *(folder / "delta-2.seg" for folder in folders))
        assert done.exit_code == 1


# --- stats --------------------------------------------------------------------------------------


def row(said, label):
    """Return the cells of a row of a table."""
    found = re.search(rf"^[^\w\n]*{label} *[│|](.*)[│|]$", said, re.MULTILINE)
    assert found, said
    return [cell.strip() for cell in re.split("[│|]", found[1])]


def test_the_figures_of_a_table_are_what_is_there(made):
    done = run("stats", made.folder)
    assert done.exit_code == 0
    said = done.stdout
    sizes = [(made.folder / name).stat().st_size for name in made.names]
    assert row(said, "bytes in all") == [str(size) for size in [*sizes, sum(sizes)]]
    assert row(said, "codes")[0] == str(len(made.states[1]))
    gone = [len(set(a) - set(b)) for a, b in zip(made.states, made.states[1:], strict=False)]
    assert row(said, "tombstones") == [str(count) for count in [*gone, sum(gone)]]
    for at, size in enumerate(sizes):
        parts = ("bytes in blocks", "bytes in rule sets", "bytes in index")
        blocks, sets, index = (int(row(said, label)[at]) for label in parts)
        assert blocks + sets + index + 28 == size
        assert row(said, "blocks")[at] == str(-(-blocks // BLOCK))
        assert row(said, "bytes in memory")[at] == str(sets + index)
        assert row(said, "fill of the blocks")[at].endswith(" %")
    # The long one of Z, and the empty one of a code whose rule was dropped.
    assert row(said, "rule sets in place") == ["2", "0", "0", "2"]
    base = set(made.states[1].values())
    assert row(said, "interned rule sets")[0] == str(len(base) - 2)
    tokens = int(row(said, "codes")[1]) + int(row(said, "tombstones")[1])
    assert row(said, "bytes a token")[1] == f"{sizes[1] / tokens:.2f}"
    for fact in (
        "minute:       29921462, 2026-11-21 19:02 UTC",
        "generation:   3",
        "unit:         minute",
        "origin:       7",
        f"codes known:  {len(made.states[-1])}",
    ):
        assert fact in said


def test_a_single_file_has_its_figures_too(made):
    said = run("stats", made.folder / "manifest", made.folder / made.names[0]).stdout
    assert "minute:       29921462" in said
    assert row(said, "codes") == [str(len(made.states[1]))]


def test_an_empty_table_has_figures_too(tmp_path):
    Table(str(tmp_path / "new")).close()
    assert check(tmp_path / "new")[0] == 0
    assert run("dump", tmp_path / "new").stdout == "0%%\n"
    assert run("stats", tmp_path / "new").exit_code == 0
    path = segment_of(tmp_path / "base-1.seg", [])
    assert check(path)[0] == 0
    assert run("dump", path).stdout == ""
    assert row(run("stats", path).stdout, "bytes a token") == ["-"]


def test_any_minute_is_shown(tmp_path):
    for minute in (0, -1, 9999999999, 10**40):
        Manifest(minute).save(str(tmp_path))
        assert f"minute:       {minute}, " in run("stats", tmp_path).stdout


# --- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["dump", "check", "stats"])
def test_what_is_no_file_of_a_table_is_refused_and_the_others_are_done(made, command):
    made.flip(made.names[2], 3)
    empty = made.folder.parent / "empty"
    empty.mkdir()
    write(made.folder.parent / "notes.txt", b"text")
    whole = made.folder / made.names[0]
    for strange, said in (
        (empty, "neither a manifest nor a segment"),
        (made.folder.parent / "notes.txt", "neither a segment"),
        (made.folder.parent / "none.seg", "there is no such file"),
        ("/dev/null", "neither a segment"),
        ("x" * 5000, "there is no such file"),
    ):
        done = run(command, strange, whole, made.folder / made.names[2])
        assert done.exit_code == 2
        assert said in done.stderr
        assert run(command, whole).stdout_bytes in done.stdout_bytes


def test_without_files_or_with_a_wrong_command_nothing_is_done():
    for arguments in ((), ("check",), ("dump",), ("stats",), ("frob", "x"), ("check", "--frob")):
        assert run(*arguments).exit_code == 2


def test_the_help_names_the_commands_and_what_they_take():
    said = run("--help").stdout
    for command in ("dump", "check", "stats"):
        assert command in said
        help_text = run(command, "--help")
        assert help_text.exit_code == 0
        assert "manifest" in help_text.stdout and "FILE" in help_text.stdout


def test_other_commands_do_not_wait_for_this_one():
    code = "import sys, kalitka_cli.main; print([m for m in sys.modules if 'table' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "kalitka" not in done.stdout
