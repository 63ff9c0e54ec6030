"""`kalitka logs` from folders, from flash images and, with the real mpremote, over USB."""

import csv
import io
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from kalitka.access import decision, rules
from kalitka.journal import entries
from kalitka.journal.log import Log
from kalitka.table.block import write_with_crc
from kalitka_build.boards import load_board as board_of
from kalitka_cli import log_over_usb, mpremote
from kalitka_cli.main import app
from kalitka_sim import littlefs_image
from kalitka_sim.pty_board import PtyBoard
from kalitka_sim.reader import VirtualReader
from kalitka_sim.timeouts import HANG_TIMEOUT_S

NOON = 1_795_348_800  # 2026-11-22 12:00:00 UTC
SIZE = 65536
SCANNER, BUTTON, DOOR, ALARM = range(4)
FIRST, SECOND, THIRD = b"one.", b"two.", b"3rd."  # starts of the reader


def scan(number, code=b"04A1B2C3", state=1):
    reason = decision.ALLOWED if state else decision.UNKNOWN_CODE
    return entries.encode(SCANNER, state, reason, NOON + number, code)


def written(folder, records, size=SIZE, mark=0, identity=b"\x1a\x2b\x3c\x4d"):
    """Write a log as a reader does; return its folder."""
    log = Log(str(folder), size)
    for record in records:
        log.append(record)
    if mark:
        log.ack(mark)
    with open(folder / "id", "wb") as file:
        write_with_crc(file, identity)
    return folder


def run(*arguments, status=0):
    """Run `kalitka logs`; return (stdout, stderr)."""
    done = CliRunner().invoke(app, ["logs", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == status, done.output
    return done.stdout, done.stderr


def told(*arguments, status=0):
    """Return the JSON lines as dicts."""
    return [json.loads(line) for line in lines(*arguments, status=status)]


def lines(*arguments, status=0):
    return run(*arguments, "--format", "jsonl", status=status)[0].splitlines()


def numbers(*arguments, status=0):
    return [entry["number"] for entry in told(*arguments, status=status)]


def files_in(folder):
    """Return {path below the folder: contents}."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


DAY = [
    entries.encode(SCANNER, 0, rules.CLOCK_NOT_SET, 7, b"04A1B2C3", FIRST),
    entries.encode(BUTTON, 1, 0, 9, b"", SECOND),
    entries.time_record(SECOND, 60, NOON),
    entries.encode(SCANNER, 1, decision.ALLOWED, NOON + 1, b"04A1B2C3"),
    entries.encode(SCANNER, 0, decision.UNKNOWN_CODE, NOON + 2, b"\xd0\x96,\xff"),
    entries.encode(BUTTON, 1, 0, NOON + 3),
    entries.encode(DOOR, 1, entries.FORCED, NOON + 4),
    entries.encode(DOOR, 0, entries.HELD, NOON + 5),
    entries.encode(ALARM, 1, 0, NOON + 6),
]
ROWS = [
    (1, None, "04A1B2C3", "denied", "clock not set", "scanner", True),
    (2, "2026-11-22T11:59:09+00:00", "btn-exit", "pressed", "", "exit button", True),
    (4, "2026-11-22T12:00:01+00:00", "04A1B2C3", "allowed", "allowed", "scanner", True),
    (5, "2026-11-22T12:00:02+00:00", r"Ж,\xff", "denied", "unknown code", "scanner", False),
    (6, "2026-11-22T12:00:03+00:00", "btn-exit", "pressed", "", "exit button", False),
    (7, "2026-11-22T12:00:04+00:00", "door-forced", "on", "forced", "door contact", False),
    (8, "2026-11-22T12:00:05+00:00", "door-held", "off", "held open", "door contact", False),
    (9, "2026-11-22T12:00:06+00:00", "alarm", "on", "", "alarm", False),
]
COLUMNS = ["number", "time", "code", "state", "reason", "source", "sent"]


@pytest.fixture
def day(tmp_path):
    """Return a log with one entry of each kind, four of them acknowledged."""
    return written(tmp_path / "journal", DAY, mark=4)


# --- output -------------------------------------------------------------------------------------


def test_json_lines_say_all_there_is_of_every_kind_of_entry(day):
    assert told(day) == [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    assert not run(day)[1]


def test_csv_says_the_same(day):
    output, _ = run(day, "--format", "csv")
    first, *rows = csv.reader(io.StringIO(output))
    assert first == COLUMNS
    assert rows == [
        [str(row[0]), row[1] or "", *row[2:6], "yes" if row[6] else "no"] for row in ROWS
    ]


def test_the_table_has_a_line_for_each_however_narrow_the_place(day):
    output, _ = run(day)
    head, *rows, summary = output.splitlines()
    assert head.split() == COLUMNS
    assert [int(row.split()[0]) for row in rows] == [row[0] for row in ROWS]
    assert rows[0][head.index("time") :].startswith("clock not set  ")
    assert "2026-11-22 12:00:02  Ж,\\xff" in rows[3]
    # Every column begins below its heading.
    assert all(
        row[head.index("state") :].startswith(said[3])
        for row, said in zip(rows, ROWS, strict=True)
    )
    assert summary == "8 entries of the log 1a2b3c4d, 5 of them not sent; times: UTC"


def test_a_log_without_entries_is_no_fault(tmp_path):
    folder = written(tmp_path / "journal", [])
    assert numbers(folder) == []
    assert run(folder, "--format", "csv")[0] == ",".join(COLUMNS) + "\n"
    assert "0 entries" in run(folder)[0]


@pytest.mark.parametrize(
    ("zone", "time"),
    [
        ("Europe/Moscow", "2026-11-22T15:00:01+03:00"),
        ("MSK-3", "2026-11-22T15:00:01+03:00"),
        ("<-0930>9:30", "2026-11-22T02:30:01-09:30"),
        ("EET-2EEST,M3.5.0/3,M10.5.0/4", "2026-11-22T14:00:01+02:00"),
        ("America/New_York", "2026-11-22T07:00:01-05:00"),
        ("<XXX>-24:30", "2026-11-23T12:30:01+24:30"),
    ],
)
def test_times_are_local_to_the_zone_that_was_given(day, zone, time):
    assert told(day, "--tz", zone)[2]["time"] == time
    assert time[:19].replace("T", " ") in run(day, "--tz", zone)[0]


def test_a_zone_by_its_name_has_the_law_of_the_entrys_day(tmp_path):
    # Volgograd: UTC+4 until 27 December 2020, UTC+3 since.
    may, now = 1_588_291_200, NOON
    records = [entries.encode(ALARM, 1, 0, at) for at in (may, now)]
    folder = written(tmp_path / "journal", records)
    times = [entry["time"] for entry in told(folder, "--tz", "Europe/Volgograd")]
    assert times == ["2020-05-01T04:00:00+04:00", "2026-11-22T15:00:00+03:00"]


def test_a_wrong_zone_is_refused(day):
    output, complaint = run(day, "--tz", "Europe/Moskow", status=2)
    assert not output
    assert re.fullmatch(r"--tz: .*Europe/Moscow.*\n", complaint)


def test_the_first_word_about_a_start_gives_its_time_and_other_starts_have_none(tmp_path):
    records = [
        entries.encode(BUTTON, 1, 0, 5, b"", FIRST),
        entries.encode(BUTTON, 1, 0, 5, b"", SECOND),
        entries.time_record(THIRD, 10, NOON + 900),
        entries.time_record(SECOND, 10, NOON),
        entries.time_record(SECOND, 20, NOON + 99),
    ]
    times = [entry["time"] for entry in told(written(tmp_path / "journal", records))]
    assert times == [None, "2026-11-22T11:59:55+00:00"]


CODES = {
    b"": "",
    b"04A1B2C3": "04A1B2C3",
    b"=cmd|' /C calc'!A0": "=cmd|' /C calc'!A0",
    b"+1": "+1",
    b"-1+2": "-1+2",
    b"@SUM(1)": "@SUM(1)",
    b"'quoted": "'quoted",
    "＝1".encode(): "＝1",  # noqa: RUF001
    b"\t=1": r"\t=1",
    b"\r\n=1": r"\r\n=1",
    b'a,"b"': 'a,"b"',
    b"a;=1": "a;=1",
    b"[red]x[/red] [/]": "[red]x[/red] [/]",
    b":warning: \\[bold]\\": r":warning: \\[bold]\\",
    b"\x00\x1b[31m\x7f": r"\x00\x1b[31m\x7f",
    b"\xff\xfe": r"\xff\xfe",
    rb"\xff": r"\\xff",
    "\u202eabc".encode(): r"\u202eabc",
    "Ж漢".encode(): "Ж漢",
    b"A" * 255: "A" * 255,
}
TOLD = list(CODES.values())


@pytest.fixture
def scans(tmp_path):
    """Return a log of hostile codes."""
    return written(tmp_path / "journal", [scan(n, code) for n, code in enumerate(CODES)])


def test_codes_are_shown_unmistakably_whatever_was_scanned(scans):
    assert [entry["code"] for entry in told(scans)] == TOLD
    assert len(set(TOLD)) == len(TOLD)
    rows = run(scans)[0].splitlines()[1:-1]
    assert len(rows) == len(TOLD)
    assert all(code in row for code, row in zip(TOLD, rows, strict=True))


def test_no_code_becomes_a_formula_in_a_spreadsheet(scans):
    output, _ = run(scans, "--format", "csv")
    codes = [row["code"] for row in csv.DictReader(io.StringIO(output))]
    assert not [code for code in codes if code.startswith(tuple("=+-@＝"))]  # noqa: RUF001
    assert not [code for code in codes if ";" in code]
    assert [code.removeprefix("'").replace(r"\x3b", ";") for code in codes] == TOLD


def test_a_console_that_is_not_unicode_gets_escapes(scans):
    done = subprocess.run(
        [sys.executable, "-m", "kalitka_cli", "logs", str(scans)],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert rb"\u0416\u6f22" in done.stdout


# --- selected entries ---------------------------------------------------------------------------


def test_only_the_newest_or_those_that_the_server_lacks(day):
    assert numbers(day, "--last", 3) == [7, 8, 9]
    assert numbers(day, "--last", 99) == [row[0] for row in ROWS]
    assert numbers(day, "--unsent") == [5, 6, 7, 8, 9]
    assert numbers(day, "--unsent", "--last", 2) == [8, 9]
    assert run(day, "--last", 0, status=2)


@pytest.mark.parametrize("size", [32768, 512 * 1024, 8192 * 1024])
def test_a_log_of_any_size_is_read_and_what_gave_way_is_told(tmp_path, size):
    folder = written(tmp_path / "journal", map(scan, range(1, 1501)), size)
    log = Log(str(shutil.copytree(folder, tmp_path / "copy")), size)
    assert numbers(folder) == list(range(log.first, 1501))
    assert bool(log.lost) == (size == 32768)
    assert (f"up to {log.lost} entries were evicted" in run(folder)[1]) == bool(log.lost)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Return a log of 20,000 entries, all but ten of them acknowledged."""
    folder = tmp_path_factory.mktemp("large") / "journal"
    return written(folder, map(scan, range(1, 20_001)), 512 * 1024, mark=19_990)


def test_every_format_shows_20000_entries(large):
    shown = [line.split()[0] for line in run(large)[0].splitlines()[1:-1]]
    assert shown == list(map(str, range(1, 20_001)))
    output, _ = run(large, "--format", "csv")
    assert [line.partition(",")[0] for line in output.splitlines()[1:]] == shown
    assert numbers(large, "--unsent") == list(range(19_991, 20_001))


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_a_reader_of_the_output_that_has_enough_is_no_fault(large, form):
    process = subprocess.Popen(
        [sys.executable, "-m", "kalitka_cli", "logs", str(large), "--format", form],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline()
        process.stdout.close()
        assert not process.stderr.read()


# --- sources ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_an_output_on_a_full_disk_is_told_in_one_line(day, form):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kalitka_cli", "logs", str(day), "--format", form],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "the output cannot be written: No space left on device"
    ]


def test_a_folder_that_holds_the_journal_will_do_and_nothing_is_written(day, tmp_path):
    before = files_in(day)
    assert numbers(tmp_path) == numbers(day)
    assert files_in(day) == before


@pytest.mark.parametrize("what", ["nothing", "an empty folder", "a folder", "text", "zeros"])
def test_what_is_no_log_is_refused_in_one_line(tmp_path, what):
    place = tmp_path / "given"
    if "folder" in what:
        place.mkdir()
    if what == "a folder":
        (place / "notes.txt").write_text("x")
    elif what in ("text", "zeros"):
        place.write_bytes(b"no log\n" * 9000 if what == "text" else bytes(70_000))
    output, complaint = run(place, status=2)
    assert not output
    assert complaint.startswith(f"{place}: ")
    assert complaint.count("\n") == 1


def test_a_port_besides_a_file_is_refused(day):
    assert "either FROM or --port" in run(day, "--port", "/dev/ttyUSB0", status=2)[1]


VFS = board_of("ESP32_GENERIC")["VFS_OFFSET"]
FS_SIZE = 256 * 1024


def file_system(journal, path):
    """Return the image of a file system with a log and other files."""
    files = {f"journal/{name}": data for name, data in files_in(journal).items()}
    littlefs_image.create(
        path, FS_SIZE, {"boot.py": b"", "table/base-1.seg": bytes(9000), **files}
    )
    return path.read_bytes()


def whole_flash(fs, at, label=b"vfs", subtype=0x81, table=True):
    """Return the flash of an ESP32 with a partition table and the file system at an offset."""
    partitions = [(1, 2, 0x9000, 0x6000, b"nvs"), (0, 0, 0x10000, 0x1F0000, b"factory")]
    partitions.append((1, subtype, at, len(fs), label))
    rows = [
        struct.pack("<2sBBII16sI", b"\xaa\x50", kind, sub, begin, size, name, 0)
        for kind, sub, begin, size, name in partitions
    ]
    flash = bytearray(b"\xff" * (at + len(fs) + 8192))
    flash[0x1000:0x1004] = b"\xe9\x03\x02\x20"
    if table:
        flash[0x8000 : 0x8000 + 96] = b"".join(rows)
        flash[0x8060:0x8080] = b"\xeb\xeb" + b"\xff" * 14 + bytes(16)  # the table's MD5
    flash[at : at + len(fs)] = fs
    return bytes(flash)


@pytest.mark.parametrize("what", ["file system", "fat", "littlefs", "elsewhere", "no table"])
def test_an_image_is_the_file_system_or_the_whole_flash(day, tmp_path, what):
    fs = file_system(day, tmp_path / "fs.bin")
    data = {
        "file system": lambda: fs,
        "fat": lambda: whole_flash(fs, VFS),
        "littlefs": lambda: whole_flash(fs, VFS, subtype=0x83),
        "elsewhere": lambda: whole_flash(fs, 0x110000),
        "no table": lambda: whole_flash(fs.ljust(0x200000, b"\xff"), VFS, table=False),
    }[what]()
    if what == "no table":
        littlefs_image.create(
            tmp_path / "fs.bin", 0x200000, littlefs_image.read(tmp_path / "fs.bin")
        )
        data = whole_flash((tmp_path / "fs.bin").read_bytes(), VFS, table=False)
    given = tmp_path / "flash.bin"
    given.write_bytes(data)
    assert lines(given) == lines(day)
    assert given.read_bytes() == data


@pytest.mark.parametrize(
    ("what", "status", "complaint"),
    [
        ("no log", 2, "has no journal/"),
        ("cut", 1, "the image is cut"),
        ("blank", 2, "is blank"),
        ("overwritten", 1, "is damaged"),
        ("another label", 2, "no flash image of a reader"),
        ("cut file system", 1, "is damaged"),
    ],
)
def test_an_image_without_a_log_is_told_in_one_line(day, tmp_path, what, status, complaint):
    place = tmp_path / "fs.bin"
    fs = file_system(day, place)
    if what == "no log":
        littlefs_image.create(place, FS_SIZE, {"boot.py": b""})
        fs = place.read_bytes()
    data = whole_flash(fs, 0x110000, b"data" if what == "another label" else b"vfs")
    if what == "cut":
        data = data[:-20_000]
    elif what == "blank":
        data = whole_flash(b"\xff" * FS_SIZE, 0x110000)
    elif what == "overwritten":
        data = whole_flash(bytes(8192) + fs[8192:], 0x110000)
    elif what == "cut file system":
        data = fs[: FS_SIZE // 2]
    place.write_bytes(data)
    output, said = run(place, status=status)
    assert not output
    assert said.startswith(f"{place}: ")
    assert complaint in said
    assert said.count("\n") == 1


def test_no_damage_to_an_image_is_more_than_lines_on_stderr(tmp_path):
    place = tmp_path / "fs.bin"
    good = file_system(written(tmp_path / "journal", map(scan, range(900)), 32768), place)
    used = [at for at in range(0, FS_SIZE, 4096) if good[at : at + 4096].strip(b"\xff")]
    chance = random.Random(7)
    for _ in range(60):
        data = bytearray(good)
        for _ in range(chance.choice((1, 5, 50))):
            data[chance.choice(used) + chance.randrange(4096)] = chance.randrange(256)
        place.write_bytes(data)
        done = CliRunner().invoke(app, ["logs", str(place), "--format", "jsonl"])
        assert isinstance(done.exception, SystemExit | None), done.exception
        assert all(line.startswith(f"{place}: ") for line in done.stderr.splitlines())
        assert done.exit_code in (0, 1, 2)


# --- damage -------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path):
    """Return a log of several segments."""
    return written(tmp_path / "journal", map(scan, range(1, 901)), mark=880)


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x5A
    path.write_bytes(data)


def test_a_damaged_piece_is_told_and_the_rest_is_shown(many):
    flip(sorted((many / "old").iterdir())[1], 70)
    found = numbers(many, status=1)
    assert 885 < len(found) < 900
    assert "1 damaged pieces" in run(many, status=1)[1]


def test_a_file_that_cannot_be_read_is_told(many):
    broken = sorted((many / "old").iterdir())[1]
    broken.unlink()
    broken.symlink_to("/proc/self/mem")
    assert len(numbers(many, status=1)) > 500
    assert f"old/{broken.name} cannot be read" in run(many, status=1)[1]


def test_with_a_damaged_mark_all_counts_as_not_sent(many):
    flip(many / "mark", 0)
    assert numbers(many, "--unsent", status=1) == list(range(1, 901))
    assert "the mark is damaged" in run(many, status=1)[1]


def test_records_of_a_later_firmware_are_counted_and_are_no_damage(tmp_path):
    records = [scan(1), b"\x40later", b"\x80later", scan(4), b"\x00"]
    folder = written(tmp_path / "journal", records)
    assert numbers(folder) == [1, 4]
    assert "left out 3 records of a later firmware" in run(folder)[1]


# --- over USB -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """Return the folder of a reader that was never switched on."""
    return VirtualReader(tmp_path_factory.mktemp("reader")).folder


@pytest.fixture
def board(reader, tmp_path):
    with PtyBoard(shutil.copytree(reader, tmp_path / "board")) as made:
        yield made


def started(board, journal, files=None):
    """Switch on a board with this log; return the length of its console so far."""
    files = {**(files or {}), **{f"journal/{n}": d for n, d in files_in(journal).items()}}
    littlefs_image.update(board.flash_file, files)
    board.power_on()
    board.wait_ready()
    return len(board.console)


def command(board, *options):
    return [
        *(sys.executable, "-m", "kalitka_cli", "logs"),
        *("--port", board.port, "--format", "jsonl", *options),
    ]


def over_usb(board, *options):
    """Run the command; return (the JSON lines as dicts, stderr, KiB read)."""
    done = subprocess.run(
        command(board, *options),
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    kib = sum(map(int, re.findall(r"^reading (\d+) KiB", done.stderr, re.MULTILINE)))
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr, kib


def test_a_readers_log_is_read_over_usb_and_the_reader_runs_again(board, many):
    seen = started(board, many)
    found, said, _ = over_usb(board)
    assert found == told(many)
    assert re.match(r"stopping the reader at .*: the gate is out of service meanwhile\n", said)
    assert re.search(r"reading \d+ KiB of the log takes up to \d+ s\n", said)
    assert re.search(r"restarted the reader; the gate was out of service for \d+ s\n$", said)
    board.wait_ready(since=seen)
    assert board.present("04A1B2C3").reason == "no table yet"


def test_what_is_not_wanted_is_not_sent(board, many):
    seen = started(board, many)
    everything, _, whole = over_usb(board)
    for options, wanted in ((("--last", "150"), 150), (("--unsent",), 20)):
        board.wait_ready(since=seen)
        seen = len(board.console)
        found, _, kib = over_usb(board, *options)
        assert found == everything[-wanted:]
        assert kib < whole / 2


def test_where_numbers_are_no_entries_more_is_sent_until_there_are_enough(board, tmp_path):
    session = iter(range(1000))
    records = [scan(n) for n in range(1, 401)]
    records += [entries.time_record(b"%04d" % next(session), 1, NOON) for _ in range(500)]
    journal = written(tmp_path / "journal", [*records, scan(901)])
    started(board, journal)
    found, said, _ = over_usb(board, "--last", "30")
    assert [entry["number"] for entry in found] == [*range(372, 401), 901]
    assert said.count("reading") > 1


def test_a_reader_without_a_log_is_told_so_and_runs_again(board, tmp_path):
    littlefs_image.update(board.flash_file, {"main.py": b"print('idle ready')\n"})
    board.power_on()
    board.wait_line("idle ready")
    seen = len(board.console)
    done = subprocess.run(
        command(board), capture_output=True, text=True, check=False, timeout=HANG_TIMEOUT_S
    )
    assert done.returncode == 2
    assert "has no /journal: its firmware keeps no access log" in done.stderr
    board.wait_line("idle ready", since=seen)


# A watchdog that is slow to feed, so that there is time to interrupt a transfer.
WATCHDOG = b"""
import machine, time
class WDT:
    def __init__(self, timeout):
        print("watchdog of", timeout)
    def feed(self):
        print("fed")
        time.sleep_ms(60)
machine.WDT = WDT
"""


def under_way(board):
    """Start the command; return the process while pieces of segments are being sent."""
    seen = len(board.console)
    process = subprocess.Popen(
        # A shell that runs the tests in the background ignores Ctrl-C, and its children inherit
        # that.
        ["env", "--default-signal=INT", *command(board)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    board.wait_line(r'^\["old/', since=seen)
    return process


def test_a_cable_pulled_in_the_middle_gives_one_line(board, large):
    started(board, large, {"boot.py": WATCHDOG})
    with under_way(board) as process:
        board.power_cut()
        output, complaint = process.communicate(timeout=HANG_TIMEOUT_S)
    assert process.returncode == 1
    assert not output
    stopping, reading, lost = complaint.splitlines()
    assert (stopping[:8], reading[:7]) == ("stopping", "reading")
    # The message depends on the last lines from the device.
    assert re.fullmatch(
        r"the connection at \S+ was lost; (.* restarts by itself|plug the device in) .*", lost
    )
    board.power_on()
    board.wait_ready()


def test_after_ctrl_c_the_reader_runs_again(board, large):
    seen = started(board, large, {"boot.py": WATCHDOG})
    with under_way(board) as process:
        os.killpg(process.pid, signal.SIGINT)
        _, complaint = process.communicate(timeout=HANG_TIMEOUT_S)
    assert process.returncode == 130
    assert complaint.splitlines()[-1] == "interrupted"
    board.wait_ready(since=seen)


def test_a_watchdog_is_fed_while_the_files_are_sent(board, many):
    started(board, many, {"boot.py": WATCHDOG})
    found, _, kib = over_usb(board)
    assert found == told(many)
    armed = board.console.index(board.wait_line("watchdog of 30000"))
    fed = board.console[armed:].count("fed")
    assert fed >= kib * 1024 / 1536


def test_a_piece_that_was_damaged_on_its_way_is_found(board, many, monkeypatch, capsys):
    seen = started(board, many)
    whole = mpremote.Mpremote.run

    def noisy(self, *commands, **options):
        said = whole(self, *commands, **options)
        return [re.sub(r'(\["old/\w+", \d+, ")....', r"\1AAAA", line) for line in said]

    monkeypatch.setattr(log_over_usb.Mpremote, "run", noisy)
    complaint = run("--port", board.port, status=1)[1]
    assert re.search(r"journal/old/\w+ did not arrive intact; try again\n$", complaint)
    board.wait_ready(since=seen)


def test_a_port_that_is_not_there_gives_one_line():
    complaint = run("--port", "/dev/ttyNONE7", status=1)[1]
    assert complaint.endswith("there is no port /dev/ttyNONE7; plug the board in\n")


@pytest.mark.parametrize("zone", ["Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3"])
def test_6_a_time_that_occurs_twice_has_its_offset_in_every_format(tmp_path, zone):
    first = int(datetime(2027, 10, 31, 0, 30, 1, tzinfo=UTC).timestamp())
    records = [entries.encode(ALARM, 1, 0, at) for at in (first - 7200, first, first + 3600)]
    folder = written(tmp_path / "journal", records)
    table = run(folder, "--tz", zone)[0]
    for time in ("2027-10-31 02:30:01+02:00", "2027-10-31 02:30:01+01:00"):
        assert time in table
        assert time.replace(" ", "T") in run(folder, "--tz", zone, "--format", "csv")[0]
    # One that occurs once needs none in the table.
    assert "2027-10-31 00:30:01 " in table
