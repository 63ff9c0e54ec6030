"""A whole reader that hangs, or is left at its console, comes back by itself, and says so."""

import json
import re

import pytest

from kalitka_cli import deploy
from kalitka_cli.log_entries import decode_log
from kalitka_sim.reader import VirtualReader

# So that the twenty seconds of the watchdog are one here.
FASTER = 20


@pytest.fixture
def reader(tmp_path):
    with VirtualReader(tmp_path / "reader", {"reader": "GATE-1", "lock_kind": "fail-safe"}) as one:
        yield one


def entries(reader):
    reader.power_cut()
    files = reader.flash_files()
    log = {
        name.removeprefix("journal/"): data
        for name, data in files.items()
        if name.startswith("journal/")
    }
    return [(entry.source, entry.state, entry.reason) for entry in decode_log(log).entries]


def test_a_reader_that_hangs_is_restarted_with_the_door_at_rest_and_the_reason_in_its_log(reader):
    reader.power_on()
    lock = reader.board["LOCK"]
    rest = reader.pins[lock]
    assert rest == 1
    seen, changes = len(reader.console), len(reader.pin_changes)
    reader.hang()
    reader.hurry_watchdog(FASTER)
    reader.wait_line("Task watchdog got triggered", since=seen)
    reader.wait_line("the watchdog restarted the reader", since=seen)
    reader.wait_ready(since=seen)
    assert reader.pins[lock] == rest
    assert {level for pin, level, _ in reader.pin_changes[changes:] if pin == lock} == {None, rest}
    assert entries(reader) == [("reader", "on", "restarted by its watchdog")]


def test_a_reader_that_works_is_never_bitten_and_its_log_has_nothing_of_it(reader):
    reader.power_on()
    # The watchdog counts five times too fast, and is still fed in time.
    reader.hurry_watchdog(5)
    for _ in range(10):
        assert not reader.present("04A1B2C3").opened
    assert not [line for line in reader.console if "watchdog" in line]
    assert [entry[0] for entry in entries(reader)] == ["scanner"]


def test_a_console_that_noise_led_to_goes_back_to_work_after_ten_minutes(reader):
    reader.power_on()
    seen = len(reader.console)
    reader.type(b"\x03")
    reader.wait_line("the reader is stopped; it starts again in 10 minutes", since=seen)
    reader.wait_line("MicroPython .* version", since=0)
    # On a device the only number of that module is `_left`, by a short name.
    find = b"(n,) = [n for n in dir(watchdog) if type(getattr(watchdog, n)) is int]"
    reader.type(b"from kalitka.system import watchdog; " + find + b"\r\n")
    reader.type(b"print('left', getattr(watchdog, n) * 4)\r\n")
    left = int(reader.wait_line(r"^left \d+", since=seen).split()[1])
    assert 560 <= left <= 600
    # The ten minutes are over.
    reader.type(b"setattr(watchdog, n, 0); print('over')\r\n")
    reader.wait_line("^over", since=seen)
    reader.hurry_watchdog(FASTER)
    reader.wait_line("Task watchdog got triggered", since=seen)
    reader.wait_line(" ready$", since=seen)


def test_a_soft_reset_at_the_console_starts_the_reader(reader):
    reader.power_on()
    seen = len(reader.console)
    reader.type(b"\x03")
    reader.wait_line("the reader is stopped", since=seen)
    reader.wait_line("MicroPython .* version", since=0)
    reader.type(b"\x04")
    reader.wait_line(" ready$", since=seen)
    assert not reader.present("04A1B2C3").opened


def hang(reader):
    """Let the reader hang and be restarted; return the console's lines of that start."""
    seen = len(reader.console)
    reader.hang()
    reader.hurry_watchdog(FASTER)
    reader.wait_line("Task watchdog got triggered", since=seen)
    reader.wait_ready(since=seen)
    return "\n".join(reader.console[seen:])


# A first start's first line, from `guard`. For some milliseconds before, boot.py can be stopped.
FIRST_LINE = "the second copy is written"
SAFE = "safe mode: three starts did not last: no network and no sync for an hour"


def test_three_starts_that_do_not_last_lead_to_safe_mode_in_which_cards_are_decided_on(reader):
    reader.power_on()
    for _ in range(2):
        assert SAFE not in hang(reader)
    told = hang(reader)
    assert SAFE in told
    # The radio is off: its memory is free.
    shares = [
        int(n) for n in re.findall(r"free for Python, (\d+) for Wi-Fi", "\n".join(reader.console))
    ]
    assert len(shares) == 4 and min(shares[3] - share for share in shares[:3]) > 20000, shares
    seen = len(reader.console)
    reader.set_clock(1795415400)
    assert not reader.present("04A1B2C3").opened
    assert not any("wifi" in line or "sync" in line for line in reader.console[seen:])
    # An hour later it tries again, in the usual way.
    reader.advance_time(3601)
    reader.wait_line(" ready$", since=seen)
    assert SAFE not in "\n".join(reader.console[seen:])
    words = [entry[2] for entry in entries(reader)]
    assert words == ["restarted by its watchdog"] * 3 + ["safe mode", "no table yet"]


def test_a_start_that_lasted_begins_the_count_anew(reader):
    reader.power_on()
    for _ in range(2):
        hang(reader)
    reader.advance_time(301)
    assert not reader.present("04A1B2C3").opened
    assert SAFE not in hang(reader)
    assert SAFE not in hang(reader)
    assert SAFE in hang(reader)


def test_a_technician_never_meets_safe_mode(reader):
    reader.power_on()
    for _ in range(2):
        hang(reader)
    # Ctrl-C, as every tool begins with, or the power.
    reader.type(b"\x03")
    reader.wait_line("the reader is stopped")
    reader.wait_line("MicroPython .* version", since=0)
    seen = len(reader.console)
    reader.type(b"import machine; machine.reset()\r\n")
    reader.wait_ready(since=seen)
    assert SAFE not in hang(reader)
    for _ in range(5):
        reader.power_cut()
        seen = len(reader.console)
        reader.power_on()
        assert SAFE not in "\n".join(reader.console[seen:])


def test_a_console_that_is_off_is_stopped_by_no_byte(tmp_path):
    settings = {"reader": "GATE-1", "console": "off"}
    with VirtualReader(tmp_path / "reader", settings) as reader:
        reader.power_on(wait_ready=False)
        reader.wait_line(FIRST_LINE)
        for _ in range(20):
            reader.type(b"\x03")
        reader.wait_ready()
        for byte in (b"\x03", b"\x04", b"\x01\x03\x02", b"password\r"):
            reader.type(byte)
        assert not reader.present("04A1B2C3").opened
        assert not [line for line in reader.console if "stopped" in line or "Traceback" in line]


def test_a_ctrl_c_during_the_start_stops_an_open_reader(tmp_path):
    with VirtualReader(tmp_path / "reader", {"reader": "GATE-1"}) as reader:
        reader.power_on(wait_ready=False)
        reader.wait_line(FIRST_LINE)
        reader.type(b"\r\x03")
        reader.wait_line("the reader is stopped")
        reader.type(b"print(6 * 7)\r")
        reader.wait_line("42")


def test_a_console_with_a_password_is_stopped_by_it_alone(tmp_path):
    given = tmp_path / "gate.json"
    given.write_text(json.dumps({"console": "password", "console_password": "Schlüssel 7"}))
    settings = json.loads(deploy.read_settings(given))
    assert "Schl" not in json.dumps(settings)
    del settings["crc32"]
    with VirtualReader(tmp_path / "reader", settings) as reader:
        reader.power_on()
        for line in (b"\x02\r", b"password\r", b"Schl\r"):
            reader.type(line)
            reader.wait_line("console: this is not its password")
            seen = len(reader.console)
            reader.advance_time(11)
            assert not reader.present("04A1B2C3").opened
        reader.type("Schlüssel 7\r".encode())
        reader.wait_line("the reader is stopped", since=seen)
        assert not [line for line in reader.console if "Schl" in line]
        # As a technician would go on.
        reader.type(b"print(6 * 7)\r")
        reader.wait_line("42", since=seen)


def test_a_password_that_is_missing_leaves_the_console_open(tmp_path):
    with VirtualReader(tmp_path / "reader", {"console": "password"}) as reader:
        reader.power_on()
        assert [line for line in reader.console if "console: it needs a console_password" in line]
        reader.type(b"\x03")
        reader.wait_line("the reader is stopped")
