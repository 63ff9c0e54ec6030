"""`kalitka sim`: a virtual reader driven over a pipe, a virtual board driven by mpremote."""

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

from hub_command import Hub
from kalitka.sync.dns import address_of
from kalitka_hub.site.tokens import TokenSetting
from kalitka_sim.network_servers import NameServer
from kalitka_sim.pty_board import PtyBoard
from kalitka_sim.timeouts import HANG_TIMEOUT_S

SIM = [sys.executable, "-m", "kalitka_cli", "sim"]


class Sim:
    """A process of `kalitka sim` with its input and output on pipes."""

    def __init__(self, *options, **environment):
        self._process = subprocess.Popen(
            [*SIM, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
            # A shell that runs the tests in the background makes them ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        self._lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def expect(self, pattern):
        """Return the next line that matches."""
        seen = []
        while True:
            line = self._lines.get(timeout=HANG_TIMEOUT_S)
            assert line is not None, f"no {pattern!r} in {seen}"
            if match := re.search(pattern, line):
                return match
            seen.append(line)

    def type(self, line):
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def signal(self, number):
        self._process.send_signal(number)

    def end(self):
        """Close the input and return the exit status."""
        self._process.stdin.close()
        return self._process.wait(HANG_TIMEOUT_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def refused(*options, **environment):
    done = subprocess.run(
        [*SIM, *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_TIMEOUT_S,
        env={**os.environ, **environment},
    )
    assert done.returncode == 2
    return done.stderr


def test_a_reader_without_a_server_is_driven_by_hand():
    with Sim() as sim:
        sim.expect(" ready$")
        sim.type("card 04a1b2c3")
        sim.expect("card 04A1B2C3 denied: no table yet")
        sim.expect("04A1B2C3: denied, no table yet; the lock stayed shut")
        sim.type("clock 2026-11-23T09:30")
        sim.expect("clock is 2026-11-23 09:30:00 UTC")
        sim.type("pins")
        sim.expect(r"LOCK \(23\) is 0")
        sim.type("door open")
        sim.expect(" door forced$")
        sim.type("door shut")
        sim.expect(" door shut, it was forced$")
        sim.type("button")
        sim.expect(" exit button$")
        sim.type("alarm on")
        sim.expect(" alarm on$")
        sim.type("memory")
        sim.expect("bytes of heap used")
        sim.type("flash")
        sim.expect("programs of .* erases")
        sim.type("power off")
        sim.expect("the power is off")
        sim.type("card 04A1B2C3")
        sim.expect("^the reader has no power$")
        sim.type("power on")
        sim.expect(" ready$")
        sim.type("help")
        sim.expect("^quit ")
        sim.type("quit")
        assert sim.end() == 0


def test_a_wrong_command_gets_one_line_and_the_reader_goes_on():
    wrong = {
        "open sesame": "there is no command 'open'",
        "card": "write: card CODE",
        "card 12 34": "write: card CODE",
        "card XYZ": "6 or 8 hexadecimal digits",
        "door ajar": "open or shut",
        "alarm maybe": "on or off",
        "clock noon": "write 2026-11-23T09:30",
        "network maybe": "on or off",
        "power on": "the power is already on",
        "flash now": "write: flash",
    }
    with Sim() as sim:
        sim.expect(" ready$")
        for line, complaint in wrong.items():
            sim.type(line)
            sim.expect(complaint)
        sim.type("card 010203")
        sim.expect("010203: denied, no table yet")
        assert sim.end() == 0  # the end of stdin ends it, too


def test_a_reader_at_a_hub_syncs_and_opens(tmp_path):
    hub = Hub(tmp_path / "hub")
    hub.add_reader("GATE-1")
    hub.set_tokens([TokenSetting("55667788", ("9_1",), ("GATE-1",))])
    with hub:
        hub.start()
        server = f"http://{hub.address[0]}:{hub.address[1]}"
        options = ["--server", server, "--reader", "GATE-1", "--poll-seconds", "1"]
        with Sim(*options, KALITKA_HUB_SECRET=hub.secrets["GATE-1"]) as sim:
            sim.expect("sync: full")
            sim.type("card 55667788")
            sim.expect("55667788: allowed; the lock opened")
            sim.type("network off")
            sim.expect("the network is off")
            sim.expect("wifi: lost the link")
            sim.type("card 55667788")
            sim.expect("55667788: allowed; the lock opened")
            sim.type("network on")
            sim.expect("the network is on")
            assert sim.end() == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_reader_at_a_hub_with_tls_takes_it_by_its_name(tmp_path, host):
    tls = tmp_path / "tls"
    hub = Hub(tmp_path / "hub", tls=(tls / "hub.pem", tls / "hub.key"))
    hub.command("certificate", host, "--folder", str(tls))
    hub.add_reader("GATE-1")
    with hub:
        hub.start()
        options = ["--server", f"https://{host}:{hub.address[1]}", "--reader", "GATE-1"]
        options += ["--ca", str(tls / "ca.pem"), "--poll-seconds", "1"]
        with Sim(*options, KALITKA_HUB_SECRET=hub.secrets["GATE-1"]) as sim:
            sim.expect("sync: full")
            sim.type("network off")
            sim.expect("wifi: lost the link")
            sim.type("network on")
            sim.expect("wifi: connected")
            hub.command("token", "add", "55667788", "--rule", "9_1")
            sim.expect("1 codes changed")
            sim.type("card 55667788")
            sim.expect("55667788: allowed; the lock opened")
            assert sim.end() == 0


def test_a_board_is_taken_by_its_name_with_its_network_and_its_pins():
    with Sim("--board", "OLIMEX_ESP32_POE") as sim:
        sim.expect("on OLIMEX_ESP32_POE")
        sim.expect("ethernet: connected")
        sim.type("pins")
        sim.expect(r"LOCK \(4\) is 0")
        sim.type("card 010203")
        sim.expect("010203: denied, no table yet")
        sim.type("network off")
        sim.expect("ethernet: lost the link")
        assert sim.end() == 0


@pytest.mark.parametrize("options", [(), ("--pty",)])
def test_a_board_that_there_is_not_is_refused_with_those_that_there_are(options):
    with Sim("--board", "ESP8266", *options) as sim:
        sim.expect("there is no board 'ESP8266'; choose one of .*ESP32_GENERIC_SPIRAM")
        assert sim.end() == 2


def test_a_zone_is_given_by_its_name():
    with Sim("--zone", "Europe/Moscow") as sim:
        sim.expect(" ready$")
        sim.type("clock 2026-11-23T06:30")
        sim.expect("clock is")
        sim.type("card 04A1B2C3")
        sim.expect(r"no table yet \(Mon 09:30 MSK-3\)")
        assert sim.end() == 0


def test_the_name_server_gives_what_this_computer_knows_and_outlives_nonsense():
    question = b"\x09localhost\0\0\1\0\1"
    with NameServer() as names, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        host, port = names.address.split(":")
        asking.connect((host, int(port)))
        asking.settimeout(HANG_TIMEOUT_S)
        for nonsense in (b"\0", bytes(12) + b"\x3f", bytes(12) + b"\1\xff\0" + bytes(4)):
            asking.send(nonsense)
        asking.send(b"AB\1\0\0\1\0\0\0\0\0\0" + question)
        answer = asking.recv(512)
        assert answer[:2] == b"AB"
        assert address_of(answer, question) == ("127.0.0.1", 60)
        question = b"\x07nothing\x07invalid\0\0\1\0\1"
        asking.send(b"CD\1\0\0\1\0\0\0\0\0\0" + question)
        with pytest.raises(ValueError, match="no such name"):
            address_of(asking.recv(512), question)


def test_a_kept_folder_keeps_the_flash(tmp_path):
    for _ in range(2):
        with Sim("--folder", str(tmp_path / "reader")) as sim:
            sim.expect(" ready$")
            assert sim.end() == 0
    assert (tmp_path / "reader/flash.bin").is_file()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--server", "ftp://x"], "must begin with https:// or http://"),
        (["--server", "http://127.0.0.1:x"], "http://HOST:PORT"),
        (["--server", "http://127.0.0.1:8080"], "KALITKA_HUB_SECRET"),
        (["--reader", "no spaces"], "reader: must be"),
        (["--server", "https://127.0.0.1:8443"], "needs the site's CA: --ca FILE"),
        (["--server", "https://127.0.0.1:x", "--ca", __file__], "https://HOST:PORT"),
        (["--server", "https://127.0.0.1", "--ca", __file__], "is not a certificate"),
        (["--server", "http://127.0.0.1", "--ca", __file__], "--ca needs a --server"),
        (["--pty", "--ca", __file__], "--pty excludes"),
        (["--zone", "Moscow/Europe"], "zone: "),
        (["--poll-seconds", "0"], "poll_seconds: must be"),
        (["--pty", "--reader", "GATE-1"], "--pty excludes"),
    ],
)
def test_wrong_options_are_refused(options, complaint):
    assert complaint in refused(*options, KALITKA_HUB_SECRET="")


@pytest.mark.parametrize("secret", ["...", "abc…", "two words", "abc\n", " abc", "sécret"])
def test_17_a_secret_that_cannot_be_one_is_refused_with_one_line(secret):
    options = ["--server", "http://127.0.0.1:1", "--reader", "GATE-1"]
    told = refused(*options, KALITKA_HUB_SECRET=secret)
    assert re.fullmatch(r"server_token: it has a (blank|placeholder).*\n", told)
    assert "abc" not in told


# The virtual board


def mpremote(port, *words):
    done = subprocess.run(
        [sys.executable, "-m", "mpremote", "connect", port, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_board_on_a_pty_speaks_with_mpremote_until_it_is_stopped():
    with Sim("--pty") as sim:
        port = sim.expect("a virtual board at (/dev/pts/[0-9]+)")[1]
        assert "hello" in mpremote(port, "exec", "print('hello')")
        sim.signal(signal.SIGINT)
        assert sim.end() == 0


@pytest.fixture
def board(tmp_path):
    with PtyBoard(tmp_path / "board") as made:
        made.power_on()
        yield made


def test_files_are_copied_listed_removed_and_survive_a_power_cut(board, tmp_path):
    (tmp_path / "tree/inner").mkdir(parents=True)
    (tmp_path / "tree/a.txt").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "tree/inner/b.txt").write_text("b")
    mpremote(board.port, "fs", "cp", "-r", str(tmp_path / "tree"), ":")
    assert "inner/" in mpremote(board.port, "fs", "ls", ":tree")
    assert "VfsLfs2" in mpremote(board.port, "df")
    mpremote(board.port, "fs", "rm", ":tree/inner/b.txt", "+", "fs", "rmdir", ":tree/inner")
    mpremote(board.port, "fs", "mkdir", ":empty")
    board.power_cut()
    files = board.flash_files()
    assert files.pop("boot.py")  # the port's own, of its first start
    assert files == {"tree/a.txt": bytes(range(256)) * 40}
    board.power_on()
    assert "empty/" in mpremote(board.port, "fs", "ls")


COUNTING = """
import asyncio
async def count():
    n = 0
    while True:
        n += 1
        print("count", n)
        await asyncio.sleep_ms(20)
asyncio.run(count())
"""


def test_a_running_program_is_taken_over_and_starts_again_at_a_reset(board, tmp_path):
    (tmp_path / "boot.py").write_text("print('booted')\n")
    (tmp_path / "main.py").write_text(COUNTING)
    mpremote(board.port, "fs", "cp", str(tmp_path / "boot.py"), str(tmp_path / "main.py"), ":")
    seen = len(board.console)
    mpremote(board.port, "exec", "import machine; machine.RTC().datetime((2026,1,1,3,0,0,0,0))")
    # In the raw REPL a soft reset runs boot.py only.
    board.wait_line("booted", since=seen)
    assert not any(line.startswith("count") for line in board.console)
    for _ in range(3):
        seen = len(board.console)
        mpremote(board.port, "reset")
        board.wait_line("count 3", since=seen)
    assert "2026" in mpremote(board.port, "exec", "import time; print(time.gmtime()[0])")
    board.power_cut()
    board.power_on()
    board.wait_line("count 3", since=len(board.console) - 1)
    assert "2000" in mpremote(board.port, "exec", "import time; print(time.gmtime()[0])")


def test_a_program_of_mpremote_is_stopped_by_the_next_one(board):
    mpremote(board.port, "exec", "--no-follow", "while True: pass")
    assert "still here" in mpremote(board.port, "exec", "print('still here')")


def test_a_board_that_was_called_at_once_after_power_on_answers(board, tmp_path):
    (tmp_path / "main.py").write_text(COUNTING)
    mpremote(board.port, "fs", "cp", str(tmp_path / "main.py"), ":")
    for _ in range(4):
        board.power_cut()
        board.power_on()
        assert "here" in mpremote(board.port, "resume", "exec", "print('here')")
