"""`kalitka deploy` onto a virtual board of each memory class: refused, or works in the end."""

import json
import re
import signal
import subprocess
import sys

import pytest

import certificates
from hub_command import Hub
from kalitka_cli import deploy, reader_restart
from kalitka_cli.memory_needs import INSTALLS, BoardMemory, memory_budget
from kalitka_cli.suitability import BoardTarget
from kalitka_hub.site.tokens import TokenSetting
from kalitka_sim import littlefs_image
from kalitka_sim.memory_classes import CLASSES, FROZEN_80K, MPY_ON_S3, PLAIN_STOCK, PSRAM
from kalitka_sim.pty_board import PtyBoard
from kalitka_sim.timeouts import HANG_TIMEOUT_S

PASSWORD = "a-password-of-the-air"
CODE = "04A1B2C3"
WORKS = "✓ the reader works"
STEPS = re.compile(r"^  ([✓✗·-]) (ready|memory|network|TLS|sync)\b", re.MULTILINE)


class Site:
    """A hub with TLS, one reader and one token, with the files for a technician."""

    def __init__(self, folder):
        tls = folder / "tls"
        self.hub = Hub(folder / "hub", tls=(tls / "hub.pem", tls / "hub.key"))
        self.hub.command("certificate", "127.0.0.1", "--folder", str(tls))
        self.hub.add_reader("GATE-1")
        self.hub.set_tokens([TokenSetting(CODE, ("9_1",), ("GATE-1",))])
        self.ca = tls / "ca.pem"
        self.folder = folder

    def options(self, **other):
        """Return the options of a deploy to this site."""
        values = {
            "reader": "GATE-1",
            "server_token": self.hub.secrets["GATE-1"],
            "server_url": f"https://127.0.0.1:{self.hub.address[1]}",
            "wifi": [["site", PASSWORD]],
            "ntp_server": "",
            **other,
        }
        given = self.folder / "site.json"
        given.write_text(json.dumps(values))
        return ["--settings", str(given), "--ca", str(self.ca)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("site"))
    with made.hub:
        made.hub.start()
        yield made


def switched_on(folder, memory):
    board = PtyBoard(folder, memory=memory)
    board.power_on()
    # There is no time server here, and TLS needs the time.
    (folder / "rtc").write_text("0")
    return board


def command(board, *options):
    name = board.board["NAME"]
    deploying = [sys.executable, "-m", "kalitka_cli", "deploy", "--port", board.port]
    return [*deploying, "--board", name, *options]


def run(board, site, *options):
    """Deploy; return (exit status, stdout, stderr)."""
    waiting_long = "--wait", str(round(HANG_TIMEOUT_S))
    done = subprocess.run(
        command(board, *options, *waiting_long), capture_output=True, text=True, check=False
    )
    both = done.stdout + done.stderr
    assert "Traceback" not in both
    assert site.hub.secrets["GATE-1"] not in both
    assert PASSWORD not in both
    return done.returncode, done.stdout, done.stderr


def fits(memory, install):
    """Return whether the budget fits a blank board of this class."""
    regions = [(size, free) for size, free in memory.regions]
    biggest = max(range(len(regions)), key=lambda i: regions[i][1])
    left = [
        (size, free - memory.heap * (i == biggest), free - memory.heap * (i == biggest))
        for i, (size, free) in enumerate(regions)
    ]
    chip = memory.machine.rpartition(" ")[2].replace("-", "")
    return memory_budget(BoardMemory(chip, memory.heap, tuple(left)), INSTALLS[install]).fits


def test_a_plain_esp32_with_the_stock_image_is_refused_and_left_as_it_was(site, tmp_path):
    with switched_on(tmp_path / "board", PLAIN_STOCK) as board:
        status, said, complaint = run(board, site, *site.options())
        assert status == 3
        assert WORKS not in said
        assert "copied" not in said
        assert "as .mpy files does not fit into this board (ESP32, no PSRAM)" in complaint
        assert "has 164,392" in complaint
        assert "(1) build and flash the image into which the reader is frozen" in complaint
        assert "(2) a board with PSRAM" in complaint
        board.power_cut()
        assert list(board.flash_files()) == ["boot.py"]  # the port's own, of its first start


def test_where_it_was_asked_for_all_the_same_the_reader_says_what_it_lacks(site, tmp_path):
    with switched_on(tmp_path / "board", PLAIN_STOCK) as board:
        options = [*site.options(), "--without-enough-memory"]
        status, said, complaint = run(board, site, *options)
        marks = {name: mark for mark, name in STEPS.findall(said)}
        assert marks["ready"] == "✓"
        assert WORKS not in said
        # Depending on the size of the firmware, Python, the radio or TLS runs out of memory.
        missing = {5: "memory", 6: "network", 7: "TLS"}[status]
        assert marks[missing] == "✗"
        assert f"the reader does not work yet; {missing}: " in complaint
        assert "this board's memory is too small for it, as said above" in complaint
        # The reader still runs and decides.
        assert board.present(CODE).reason == "no table yet"


@pytest.mark.parametrize("memory", [FROZEN_80K, PSRAM, MPY_ON_S3], ids=lambda memory: memory.name)
def test_the_green_tick_means_that_a_card_opens_the_door(site, tmp_path, memory):
    install = "frozen" if memory.frozen else "files"
    with switched_on(tmp_path / "board", memory) as board:
        options = site.options()
        if not fits(memory, install):
            status, said, _ = run(board, site, *options)
            assert status == 3
            assert WORKS not in said
            options.append("--without-enough-memory")
        status, said, complaint = run(board, site, *options)
        assert (status, complaint) == (0, "")
        assert [mark for mark, _ in STEPS.findall(said)] == ["✓"] * 5
        assert WORKS in said
        assert re.search(r"memory: \d+ bytes free for Python, \d+ for Wi-Fi and TLS, \d+ of", said)
        assert board.present(CODE).opened


def test_onto_a_frozen_board_only_what_is_its_own_goes(site, tmp_path):
    with switched_on(tmp_path / "board", FROZEN_80K) as board:
        status, said, _ = run(board, site, *site.options())
        assert status == 0
        assert "kalitka 0.1.0 is frozen into its MicroPython and stays unchanged" in said
        assert re.findall(r"^  copied /(\S+)", said, re.MULTILINE) == [
            "board.py",
            "ca.pem",
            "settings.json",
        ]
        # Nothing has changed: deploy only waits for the report.
        status, said, _ = run(board, site, *site.options())
        assert status == 0
        assert "0 copied, 3 already the same" in said
        assert WORKS in said
        board.power_cut()
        own = {name for name in board.flash_files() if "/" not in name}
        assert own == {"board.py", "ca.pem", "checksums", "settings.json"}


def test_what_an_earlier_deploy_left_on_a_board_that_is_frozen_now_is_removed(site, tmp_path):
    folder = tmp_path / "board"
    with switched_on(folder, FROZEN_80K) as board:
        board.wait_line(" ready$")
        board.power_cut()
        littlefs_image.update(board.flash_file, {"lib/kalitka/old.py": b"1"})
        board.power_on()
        status, said, _ = run(board, site)
        assert status == 0
        assert "removed /lib/kalitka/old.py" in said


def test_without_settings_the_steps_that_do_not_apply_are_named(site, tmp_path):
    with switched_on(tmp_path / "board", FROZEN_80K) as board:
        status, said, _ = run(board, site)
        assert status == 0
        assert [mark for mark, _ in STEPS.findall(said)] == ["✓", "✓", "-", "-", "-"]
        assert "no card opens the door: no server in the settings" in said
        assert WORKS not in said


@pytest.fixture(scope="module")
def frozen_board(tmp_path_factory):
    """Return a board with a frozen reader that was never deployed to."""
    with switched_on(tmp_path_factory.mktemp("frozen"), FROZEN_80K) as board:
        yield board


def in_process(board, site, monkeypatch, capsys, **settings):
    """Deploy as `run`, but in this process and without the grace time after a failure."""
    monkeypatch.setattr(reader_restart, "_GRACE_S", 0)
    given, ca = site.options(**settings)[1::2]
    status = deploy.run(
        board.port,
        "ESP32_GENERIC",
        deploy.Path(given),
        ca_file=deploy.Path(ca),
        timeout=HANG_TIMEOUT_S,
    )
    return status, *capsys.readouterr()


def test_a_server_that_refuses_the_reader_has_proven_who_it_is(
    site, frozen_board, monkeypatch, capsys
):
    status, said, complaint = in_process(frozen_board, site, monkeypatch, capsys, reader="GATE-9")
    assert status == 8
    assert [mark for mark, _ in STEPS.findall(said)] == ["✓", "✓", "✓", "✓", "✗"]
    assert "sync: the server answered 403" in complaint


def test_a_server_that_is_not_there_is_told(site, frozen_board, monkeypatch, capsys):
    status, said, complaint = in_process(
        frozen_board, site, monkeypatch, capsys, server_url="https://127.0.0.1:1"
    )
    assert status == 8
    assert [mark for mark, _ in STEPS.findall(said)] == ["✓", "✓", "✓", "·", "✗"]
    assert re.search(r"refused while .* 127\.0\.0\.1:1", complaint)


def test_a_server_that_another_ca_vouches_for_is_told_as_tls(
    site, frozen_board, monkeypatch, capsys, tmp_path
):
    other = tmp_path / "ca.pem"
    other.write_bytes(certificates.authority("other").pem)
    monkeypatch.setattr(site, "ca", other)
    status, said, complaint = in_process(frozen_board, site, monkeypatch, capsys)
    assert status == 7
    assert [mark for mark, _ in STEPS.findall(said)] == ["✓", "✓", "✓", "✗", "·"]
    assert "certificate not accepted" in complaint


def test_ctrl_c_leaves_the_reader_running(site, frozen_board):
    seen = len(frozen_board.console)
    options = site.options(server_url="https://127.0.0.1:1")
    with subprocess.Popen(
        command(frozen_board, *options, "--wait", "600"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:
        line = frozen_board.wait_line(r"restarting$", since=seen)
        frozen_board.wait_ready(since=frozen_board.console.index(line, seen))
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=HANG_TIMEOUT_S)
    assert process.returncode == 130
    assert complaint.strip() == "stopped waiting; the reader keeps running"
    assert frozen_board.present(CODE).reason == "unknown code"


@pytest.mark.parametrize(
    ("want", "complaint"),
    [
        (
            BoardTarget("BOX", "ESP32S3", False),
            "BOX is for the chip ESP32S3, but the device has ESP32",
        ),
        (
            BoardTarget("BOX", "ESP32", True, "ESP32_GENERIC-SPIRAM"),
            "does not use it; flash ESP32_GENERIC-SPIRAM",
        ),
    ],
)
def test_another_board_than_was_named_is_refused(
    site, frozen_board, monkeypatch, capsys, want, complaint
):
    monkeypatch.setattr(deploy, "board_target", lambda _: want)
    status, said, told = in_process(frozen_board, site, monkeypatch, capsys)
    assert status == 3
    assert complaint in told
    assert "copied" not in said


def test_every_class_is_one_that_sim_knows():
    done = subprocess.run(
        [sys.executable, "-m", "kalitka_cli", "sim", "--pty", "--memory", "none"],
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_TIMEOUT_S,
    )
    assert done.returncode == 2
    assert ", ".join(CLASSES) in done.stderr
