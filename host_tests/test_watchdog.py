"""A whole reader that hangs, or is left at its console, comes back by itself, and says so."""

import pytest

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
    # Its second is a tenth of one: whatever feeds it does so several times a second.
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
    reader.type(b"from kalitka.system import watchdog; print('left', watchdog._left * 4)\r\n")
    left = int(reader.wait_line(r"^left \d+", since=seen).split()[1])
    assert 560 <= left <= 600
    # The ten minutes are over.
    reader.type(b"watchdog._left = 0; print('over')\r\n")
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
