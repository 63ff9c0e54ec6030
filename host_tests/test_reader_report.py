"""The startup report that `kalitka deploy` derives from a reader's console lines."""

import os
import pty
import tty
from io import StringIO

import pytest
from rich.console import Console

from kalitka_cli import mpremote, reader_restart
from kalitka_cli.reader_report import STEPS, StartupReport

READY = [
    "  0.003 kalitka 0.1.0 on ESP32_GENERIC",
    "  0.151 table: minute 0",
    "  0.165 ready",
    "  0.165 memory: 45530 bytes free for Python, 50552 for Wi-Fi and TLS, 35512 of them ...",
]
LINK = "  1.472 wifi: connected to site, address 10.0.0.9"
FULL = "  1.961 sync: full, 7 rules, 3 codes changed, minute 29932772"
WORKS = "  1.962 sync: works over TLS, table of minute 29932772"
PLAIN = "  1.962 sync: works, table of minute 29932772"
NO_SERVER = "  0.160 sync: no server in the settings"


def heard(*lines, secure=None):
    report = StartupReport(secure)
    for line in lines:
        report.add_line(line)
    return report


def shown(report):
    """Return the marks of the steps, in order."""
    return "".join(report.status_of(name)[0] for name in STEPS)


def told(report):
    """Return (printed text, the missing step in words, exit status)."""
    out = StringIO()
    fault, status = reader_restart.print_report(report, Console(file=out, width=200))
    return out.getvalue(), fault, status


def test_all_steps_done_are_a_reader_that_opens_the_door():
    report = heard(*READY, LINK, "  1.832 clock: set by the server", FULL, WORKS)
    assert shown(report) == "✓✓✓✓✓"
    assert report.missing == report.why_closed == ""
    printed, fault, status = told(report)
    assert (fault, status) == ("", 0)
    assert "✓ the reader works" in printed
    assert "sync: full, 7 rules" in printed


@pytest.mark.parametrize("cut", range(len(READY) + 3))
def test_no_line_of_them_can_be_missing(cut):
    lines = [*READY, LINK, FULL, WORKS]
    del lines[cut]
    report = heard(*lines)
    # The banner, the table and the number of rules add details only.
    assert bool(report.missing) == (cut in (2, 3, 4, 6))
    if report.missing:
        printed, fault, status = told(report)
        assert status == STEPS[report.missing]
        assert f"{report.missing}: not reached" in fault
        assert "the reader works" not in printed


def test_plain_http_needs_no_tls():
    report = heard(*READY, LINK, FULL, PLAIN)
    assert shown(report) == "✓✓✓-✓"
    assert report.status_of("TLS")[1] == "not needed: server_url is http://"
    assert told(report)[2] == 0


def test_without_a_server_or_a_network_it_says_what_does_not_apply():
    report = heard(*READY, NO_SERVER, LINK)
    assert shown(report) == "✓✓✓--"
    printed, _, status = told(report)
    assert status == 0
    assert "sync: not needed: no server in the settings" in printed
    assert "no card opens the door: no server in the settings, and no table yet" in printed
    assert "✓ the reader works" not in printed
    for line in ("wifi: no network in the settings", "network: there is none in the settings"):
        report = heard(*READY, f"  0.199 {line}")
        assert shown(report) == "✓✓---"
        assert report.status_of("sync")[1] == "not needed: no network in the settings"


def test_a_table_from_before_opens_the_door_without_a_server():
    lines = [line.replace("minute 0", "minute 29932772") for line in READY]
    report = heard(*lines, NO_SERVER, "  0.199 wifi: no network in the settings")
    assert report.why_closed == ""
    assert "✓ the reader works" in told(report)[0]


def test_a_server_without_tokens_opens_nothing():
    report = heard(*READY, LINK, FULL.replace("7 rules", "0 rules"), WORKS)
    printed, _, status = told(report)
    assert status == 0
    assert "no tokens for this reader: add some at the hub" in printed
    assert "✓ the reader works" not in printed


@pytest.mark.parametrize(
    ("line", "missing", "words"),
    [
        ("wifi: site: error WiFi Out of Memory", "network", "WiFi Out of Memory"),
        ("wifi: site: wrong password", "network", "site: wrong password"),
        ("ethernet: no cable", "network", "no cable"),
        ("wifi: failed, starts again: OSError 5", "network", "OSError 5"),
        ("wifi: lost the link", "network", "lost the link"),
    ],
)
def test_a_network_in_trouble_is_told_in_its_words(line, missing, words):
    report = heard(*READY, f"  1.000 {line}")
    assert report.missing == missing
    assert words in told(report)[1]
    assert told(report)[2] == 6


@pytest.mark.parametrize(
    ("words", "status", "marks"),
    [
        ("certificate not accepted while the handshake with hub:8443: x", 7, "✓✓✓✗·"),
        ("ca.pem with the site's CA cannot be read: https:// needs it", 7, "✓✓✓✗·"),
        ("ca.pem is no certificate: the site's CA is wanted", 7, "✓✓✓✗·"),
        ("error MBEDTLS_ERR_X509_ALLOC_FAILED while connecting to hub:8443", 7, "✓✓✓✗·"),
        ("the clock is not set, so no certificate is valid: x", 7, "✓✓✓✗·"),
        ("refused while connecting to hub:8443", 8, "✓✓✓·✗"),
        ("refused while the handshake with hub:8443", 8, "✓✓✓·✗"),
        ("no answer in 15 s while the handshake with hub:8443", 7, "✓✓✓✗·"),
        ("the server answered 403: it does not accept this reader's code", 8, "✓✓✓✓✗"),
        ("the flash is full", 8, "✓✓✓·✗"),
        ("not enough memory", 5, "✓✗✓·✗"),
    ],
)
@pytest.mark.parametrize("what", ["sync: failed", "clock: not set by the server"])
def test_a_failed_exchange_is_of_the_step_that_it_came_to(what, words, status, marks):
    report = heard(*READY, LINK, f"  2.000 {what}: {words}", secure=True)
    assert shown(report) == marks
    printed, fault, found = told(report)
    assert found == status
    assert words in fault
    assert "the reader works" not in printed


def test_a_refusal_over_http_needs_no_tls():
    report = heard(*READY, LINK, "  2.000 sync: failed: the server answered 403", secure=False)
    assert shown(report) == "✓✓✓-✗"
    assert shown(heard(*READY, LINK, "  2.000 sync: failed: the server answered 403")) == "✓✓✓·✗"


def test_what_comes_right_later_counts():
    report = heard(*READY, "  1.000 wifi: site: no answer", secure=True)
    assert report.has_problem
    report.add_line(LINK)
    assert not report.has_problem
    report.add_line("  9.000 sync: failed: refused while connecting to hub:8443")
    report.add_line(FULL)
    report.add_line(WORKS)
    assert shown(report) == "✓✓✓✓✓"


def test_a_reader_that_ends_is_not_ready_and_its_last_word_is_told():
    report = heard(
        READY[0],
        "Traceback (most recent call last):",
        '  File "main.py", line 11, in <module>',
        "MemoryError: memory allocation failed, allocating 4096 bytes",
        "the reader ended; it restarts in 5 seconds",
    )
    _, fault, status = told(report)
    assert status == 4
    assert "ready: MemoryError: memory allocation failed, allocating 4096 bytes" in fault
    for line in [*READY, LINK, FULL, WORKS]:
        report.add_line(line)
    assert report.missing == ""


def test_a_part_that_lacks_memory_is_told():
    report = heard(
        *READY, LINK, FULL, WORKS, "  9.000 scanner: failed, starts again: MemoryError x"
    )
    assert report.missing == "memory"
    assert "scanner: MemoryError x" in told(report)[1]


def test_what_is_no_line_of_the_reader_is_passed_over():
    report = heard("restarting", "", ">>> ", "ready", "MicroPython v1.29", *READY[:2])
    assert shown(report) == "·····"


def wait_of(report, timeout, at):
    wait = reader_restart._StartupWait(report, timeout)
    wait._now = lambda: at[0]
    wait._end = timeout
    return wait


def test_it_waits_to_the_deadline_for_what_was_never_heard_of():
    at = [0.0]
    wait = wait_of(StartupReport(), 100, at)
    wait.add_line(READY[0])
    at[0] = 99.9
    assert not wait.is_over()
    at[0] = 100.0
    assert wait.is_over()


def test_after_a_failure_it_waits_no_longer_than_for_another_try():
    at = [5.0]
    wait = wait_of(StartupReport(), 1000, at)
    for line in [*READY, "  1.000 wifi: site: no answer"]:
        wait.add_line(line)
    at[0] += reader_restart._GRACE_S - 1
    assert not wait.is_over()
    # Another failure restarts the grace time.
    wait.add_line("  2.000 wifi: yard: wrong password")
    at[0] += reader_restart._GRACE_S - 1
    assert not wait.is_over()
    at[0] += 1
    assert wait.is_over()
    wait = wait_of(StartupReport(), 1000, at)
    for line in [*READY, LINK, FULL, WORKS]:
        assert not wait.is_over()
        wait.add_line(line)
    assert wait.is_over()


def test_a_port_that_comes_back_is_listened_to(tmp_path):
    """A chip with built-in USB has no port while it restarts."""
    near, far = pty.openpty()
    tty.setraw(far)
    port = tmp_path / "ttyACM0"
    lines = []

    def until():
        if not port.exists():
            port.symlink_to(os.ttyname(far))
        else:
            os.write(near, b"\r\n  0.2 half")
            os.write(near, b" a line\r\n")
        return "  0.2 half a line" in lines

    mpremote.read_console(str(port), until, lines.append)
    os.close(near)
    os.close(far)
