"""`kalitka deploy` with the real mpremote onto virtual boards behind a PTY."""

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import tty
from pathlib import Path

import pytest

import certificates
from hub_command import Hub
from kalitka import settings
from kalitka_build import rom_image
from kalitka_build.compiler import ARCHES
from kalitka_cli import deploy, mpremote, settings_file
from kalitka_cli import device as device_module
from kalitka_cli.device import Device
from kalitka_hub.site.tokens import TokenSetting
from kalitka_sim import littlefs_image
from kalitka_sim.pty_board import PtyBoard
from kalitka_sim.reader import VirtualReader
from kalitka_sim.timeouts import HANG_TIMEOUT_S

X64 = ARCHES.index("x64") << 10
CONTACTS = ("EXIT_BUTTON", "DOOR_CONTACT", "ALARM_CONTACT")
PINS = ("WIEGAND_D0", "WIEGAND_D1", "LOCK", *CONTACTS, "I2C_SDA", "I2C_SCL")
APP = "lib/kalitka/app.mpy"


def command(board, *options):
    return [sys.executable, "-m", "kalitka_cli", "deploy", "--port", board.port, *options]


def run(board, *options):
    done = subprocess.run(
        command(board, *options),
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_TIMEOUT_S,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


class Pull:
    """A trap that pulls a board's cable on certain input; `wait` blocks until then.

    is_due: called with the last bytes typed to the board; returns whether to pull now.
    """

    def __init__(self, board, is_due):
        self._is_due = is_due
        self._tail = b""
        self._pulled = threading.Event()
        board.on_input = self._look

    def _look(self, typed):
        self._tail = self._tail[-1000:] + typed
        if self._is_due(self._tail):
            self._pulled.set()
            raise OSError("the cable was pulled")

    def wait(self):
        assert self._pulled.wait(HANG_TIMEOUT_S)


def started(board):
    board.power_on()
    board.wait_ready()


def deployed(board, *options):
    seen = len(board.console)
    done = run(board, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    board.wait_ready(since=seen)
    return done.stdout


def copied(output):
    return re.findall(r"^  copied /(\S+)$", output, re.MULTILINE)


@pytest.fixture(scope="module")
def first_deploy(tmp_path_factory):
    """Deploy onto a blank board: (its folder, what the command printed, a card's outcome)."""
    folder = tmp_path_factory.mktemp("blank")
    with PtyBoard(folder) as board:
        board.power_on()
        output = deployed(board)
        outcome = board.present("04A1B2C3")
    return folder, output, outcome


@pytest.fixture
def folder(first_deploy, tmp_path):
    """Return the folder of a board that has the firmware and is switched off."""
    return Path(shutil.copytree(first_deploy[0], tmp_path / "board"))


@pytest.fixture
def board(folder):
    with PtyBoard(folder) as made:
        yield made


@pytest.fixture
def blank(tmp_path):
    with PtyBoard(tmp_path / "blank") as made:
        made.power_on()
        yield made


def test_a_blank_board_becomes_a_reader(first_deploy):
    folder, output, outcome = first_deploy
    assert not outcome.opened
    assert outcome.reason == "no table yet"
    assert copied(output)[-1] == "main.py"
    files = littlefs_image.read(folder / "flash.bin")
    made_by_the_reader = ("table/", "journal/", "copy/", "checksums")
    assert set(copied(output)) == {
        name for name in files if not name.startswith(made_by_the_reader)
    }
    # The first start made a copy of them.
    assert files["copy/checksums"] == files["checksums"]
    assert files[APP] in files["copy/firmware"]
    assert files["copy/guard.mpy"] == files["guard.mpy"]
    assert "compiling for x64" in output


def test_a_second_deploy_copies_nothing_and_starts_the_reader_again(board):
    started(board)
    assert copied(deployed(board)) == []
    assert board.present("04A1B2C3").reason == "no table yet"


def test_only_a_changed_file_and_the_starter_are_copied_and_strangers_removed(board):
    files = littlefs_image.read(board.flash_file)
    strangers = {"lib/kalitka/app.py": b"1/0", "lib/kalitka/old/part.mpy": b"old"}
    neighbours = {"lib/other.py": b"x = 1", "notes.txt": b"n"}
    # Another version, not damage, which the reader would mend.
    littlefs_image.update(board.flash_file, {APP: b"changed", **strangers, **neighbours})
    for name in ("checksums", "copy/checksums"):
        littlefs_image.remove(board.flash_file, name)
    board.power_on()
    output = deployed(board)
    assert copied(output) == [APP, "boot.py", "main.py"]
    board.power_cut()
    after = board.flash_files()
    assert after[APP] == files[APP]
    assert not set(strangers) & set(after)
    assert neighbours.items() <= after.items()
    assert "removed /lib/kalitka/old/part.mpy" in output


@pytest.fixture(scope="module")
def first_rom_deploy(tmp_path_factory):
    """Deploy onto a blank board with a ROM: (its folder, what the command printed, a card)."""
    folder = tmp_path_factory.mktemp("rom")
    with PtyBoard(folder, rom=rom_image.PARTITION_SIZE) as board:
        board.power_on()
        output = deployed(board)
        outcome = board.present("04A1B2C3")
    return folder, output, outcome


@pytest.fixture
def rom_board(first_rom_deploy, tmp_path):
    with PtyBoard(Path(shutil.copytree(first_rom_deploy[0], tmp_path / "rom"))) as made:
        yield made


def test_on_a_board_with_a_rom_the_package_goes_there(first_rom_deploy):
    folder, output, outcome = first_rom_deploy
    assert outcome.reason == "no table yet"
    files = littlefs_image.read(folder / "flash.bin")
    assert {"boot.py", "main.py", "board.py"} <= set(files)
    assert not [name for name in files if name.startswith("lib")]
    assert re.search(r"^  copied /rom, \d+ KiB$", output, re.MULTILINE)
    assert copied(output)[-1] == "main.py"


def test_a_rom_that_holds_the_same_is_not_written(rom_board):
    written = rom_board.rom_file.stat().st_mtime_ns
    started(rom_board)
    assert "copied /" not in deployed(rom_board)
    assert rom_board.rom_file.stat().st_mtime_ns == written


@pytest.mark.parametrize("found", ["nothing", "half of the image", "an older image"])
def test_a_rom_that_holds_something_else_is_written_anew(rom_board, found):
    good = rom_board.rom_file.read_bytes()
    other = {
        "nothing": b"",
        "half of the image": good[:20_000],
        "an older image": rom_image.build_image({"lib/kalitka/__init__.mpy": b"old"}),
    }
    rom_board.rom_file.write_bytes(other[found].ljust(rom_image.PARTITION_SIZE, b"\xff"))
    rom_board.power_on()
    output = deployed(rom_board)
    assert re.findall(r"^  copied (/\S+)", output, re.MULTILINE) == [
        "/rom,",
        "/boot.py",
        "/main.py",
    ]
    # mpremote fills the last block with zeros.
    length = len(good.rstrip(b"\x00\xff"))
    assert rom_board.rom_file.read_bytes()[:length] == good[:length]


def test_after_the_cable_was_pulled_in_the_middle_of_the_rom_another_deploy_works(tmp_path):
    with PtyBoard(tmp_path / "blank", rom=rom_image.PARTITION_SIZE) as board:
        pull = Pull(board, lambda _typed: board.rom_file.read_bytes().startswith(b"\xd2"))
        board.power_on()
        process = subprocess.Popen(
            command(board), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        pull.wait()
        board.on_input = lambda _typed: None
        board.power_cut()
        _, complaint = process.communicate(timeout=HANG_TIMEOUT_S)
        assert process.returncode == 1
        assert re.fullmatch(r"the connection at \S+ was lost; .*\n", complaint)
        assert "main.py" not in board.flash_files()
        board.power_on()
        deployed(board)
        assert board.present("04A1B2C3").reason == "no table yet"


def test_a_package_among_the_files_gives_way_to_the_one_in_rom(folder):
    (folder / "rom.img").write_bytes(b"\xff" * rom_image.PARTITION_SIZE)
    with PtyBoard(folder) as board:
        started(board)
        output = deployed(board)
        assert "removed /lib/kalitka/app.mpy" in output
        assert board.present("04A1B2C3").reason == "no table yet"
        board.power_cut()
        assert not [name for name in board.flash_files() if name.startswith("lib/kalitka")]


def test_a_firmware_that_does_not_fit_the_rom_is_refused_and_the_reader_goes_on(folder):
    (folder / "rom.img").write_bytes(b"\xff" * 8192)
    with PtyBoard(folder) as board:
        started(board)
        seen = len(board.console)
        done = run(board)
        assert done.returncode == 3
        assert "the device's romfs partition has 8 KiB" in done.stderr
        board.wait_ready(since=seen)


@pytest.fixture
def synced(folder, tmp_path):
    """Return the folder of a board whose table allows 55667788, for ten minutes at a time."""
    hub = Hub(tmp_path / "hub")
    hub.add_reader("GATE-1")
    hub.set_tokens([TokenSetting("55667788", ("9_1",), ("GATE-1",))])
    with hub:
        hub.start()
        values = {"reader": "GATE-1", "server_token": hub.secrets["GATE-1"], "lock_seconds": 600}
        with VirtualReader(folder, values, hub.address) as reader:
            reader.power_on()
            reader.wait_line("sync: full")
    return folder


def test_a_reader_keeps_its_settings_its_table_and_its_log(synced):
    before = littlefs_image.read(synced / "flash.bin")
    littlefs_image.update(synced / "flash.bin", {APP: b"damaged"})
    with PtyBoard(synced) as board:
        started(board)  # or `deployed` would take this start for the one that it waits for
        # Its server is gone, so do not wait for a sync.
        deployed(board, "--wait", "0")
        assert board.present("55667788").opened
    after = littlefs_image.read(synced / "flash.bin")
    # This card was appended to the earlier log.
    newest = "journal/tail0"
    assert before[newest][4:-4] in after.pop(newest)
    assert after == {name: data for name, data in before.items() if name != newest}


def test_a_reader_that_is_stopped_from_the_console_shuts_its_door(synced):
    with PtyBoard(synced) as board:
        started(board)
        lock = board.board["LOCK"]
        assert board.present("55667788").opened
        assert board.pins[lock] == 1
        # mpremote stops the running program with Ctrl-C.
        subprocess.run(
            [sys.executable, "-m", "mpremote", "connect", board.port, "exec", "pass"],
            check=True,
            capture_output=True,
            timeout=HANG_TIMEOUT_S,
        )
        board.wait_pin(lock, 0)


def test_given_settings_are_copied_and_used(board, tmp_path):
    given = tmp_path / "site.json"
    given.write_text(json.dumps({"lock_seconds": 7, "wifi": [["site", ""]]}))
    started(board)
    assert copied(deployed(board, "--settings", str(given))) == ["settings.json"]
    board.wait_line("wifi: connected to site")
    board.power_cut()
    files = board.flash_files()
    values = json.loads(given.read_bytes())
    assert files["settings.json"] == settings.seal(settings_file.written(values))
    assert "settings.json.new" not in files


SECURE = json.dumps({"server_url": "https://hub.local:8443", "reader": "GATE-1"})


@pytest.mark.parametrize("form", ["pem", "der"])
def test_a_given_ca_is_copied_as_it_is_and_the_firmware_is_left_alone(board, tmp_path, form):
    ca = tmp_path / "site.ca"
    ca.write_bytes(getattr(certificates.authority(), form))
    given = tmp_path / "site.json"
    given.write_text(SECURE)
    started(board)
    output = deployed(board, "--ca", str(ca), "--settings", str(given))
    assert copied(output) == ["ca.pem", "settings.json"]
    assert "no /ca.pem" not in output
    assert copied(deployed(board, "--ca", str(ca))) == []
    ca.write_bytes(certificates.authority("other").pem)
    assert copied(deployed(board, "--ca", str(ca))) == ["ca.pem"]
    board.power_cut()
    files = board.flash_files()
    assert files["ca.pem"] == ca.read_bytes()
    assert "ca.pem.new" not in files


def test_17_settings_for_tls_without_a_ca_are_refused_and_the_reader_goes_on(board, tmp_path):
    given = tmp_path / "site.json"
    given.write_text(SECURE)
    started(board)
    seen = len(board.console)
    done = run(board, "--settings", str(given))
    assert done.returncode == 2
    assert "the device has no /ca.pem: give the site's CA with --ca" in done.stderr
    assert copied(done.stdout) == []
    board.wait_ready(since=seen)
    board.power_cut()
    assert "settings.json" not in board.flash_files()
    littlefs_image.update(board.flash_file, {"ca.pem": certificates.authority().pem})
    started(board)
    assert copied(deployed(board, "--settings", str(given), "--wait", "0")) == ["settings.json"]
    board.power_cut()
    assert "ca.pem" in board.flash_files()


@pytest.mark.parametrize(
    ("values", "ca", "doubt"),
    [
        ({"server_url": "https://hub.local"}, b"", ""),
        ({"server_url": "http://hub.local", "plain_http": True}, None, ""),
        ({}, None, ""),
        ({"server_url": "https://hub.local", "server_ca": "b.der"}, b"", "server_ca is b.der"),
        ({"server_url": "https://hub.local", "server_ca": "b.der"}, None, ""),
    ],
)
def test_a_doubt_about_the_ca_is_told_where_there_is_one(values, ca, doubt):
    device = Device("micropython", (1, 29, 0), X64 | 0x306)
    told = deploy.check_trust(json.dumps(values).encode(), ca, device)
    assert (doubt in told) and bool(doubt) == bool(told)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"hello", "is not a certificate"),
        (certificates.served("good")[0].pem, "is not a CA certificate"),
        (None, "No such file"),
    ],
    ids=["nonsense", "server", "none"],
)
def test_a_file_that_is_no_ca_is_refused_before_the_device_is_touched(
    tmp_path, capsys, monkeypatch, data, complaint
):
    given = tmp_path / "ca.pem"
    if data is not None:
        given.write_bytes(data)
    monkeypatch.setattr(deploy.Mpremote, "run", lambda *_, **__: pytest.fail("touched"))
    assert deploy.run("/dev/never", "ESP32_GENERIC", ca_file=given) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"lock_seconds": 0, "colour": "red"}', "colour: there is no such setting"),
        ('{"reader": ', "is not JSON"),
        ("[]", "is not a JSON object"),
    ],
)
def test_settings_with_a_fault_are_refused_before_the_device_is_touched(
    tmp_path, capsys, monkeypatch, text, complaint
):
    given = tmp_path / "site.json"
    given.write_text(text)
    monkeypatch.setattr(deploy.Mpremote, "run", lambda *_, **__: pytest.fail("touched"))
    assert deploy.run("/dev/never", "ESP32_GENERIC", given) == 2
    assert complaint in capsys.readouterr().err


def test_every_fault_of_the_settings_is_told(tmp_path):
    given = tmp_path / "site.json"
    given.write_text('{"lock_seconds": 0, "lock_kind": "wood", "reader": "A"}')
    with pytest.raises(deploy.InputError, match=r"(?s)lock_seconds: .*lock_kind: "):
        deploy.read_settings(given)
    with pytest.raises(deploy.InputError, match="No such file"):
        deploy.read_settings(tmp_path / "none.json")


def test_edited_pins_stay_until_they_are_to_be_replaced(board, tmp_path):
    ours = littlefs_image.read(board.flash_file)["board.py"]
    edited = tmp_path / "board.py"
    edited.write_bytes(ours + b"# by hand\n")
    started(board)
    seen = len(board.console)
    mpremote.Mpremote(board.port).run(["fs", "cp", "-f", str(edited), ":board.py"], ["reset"])
    board.wait_line("board.py was changed by hand: it is taken as it is", since=seen)
    board.wait_ready(since=seen)
    output = deployed(board)
    assert copied(output) == []
    assert "--replace-pins" in output
    assert copied(deployed(board, "--replace-pins")) == ["board.py", "boot.py", "main.py"]
    board.power_cut()
    assert board.flash_files()["board.py"] == ours


def test_a_kalitka_that_comes_first_is_told(board):
    littlefs_image.update(board.flash_file, {"kalitka/__init__.py": b'VERSION = "0.0.1"\n'})
    board.power_on()
    done = run(board)
    assert done.returncode == 1
    assert "kalitka 0.0.1 at kalitka/__init__.py comes before" in done.stderr


@pytest.mark.parametrize("how", ["the command is killed", "the cable is pulled"])
def test_after_an_interrupted_deploy_another_one_works(blank, how):
    if how == "the cable is pulled":
        pull = Pull(blank, lambda typed: b"/lib/kalitka/sync/" in typed)
    process = subprocess.Popen(
        command(blank),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        if how == "the command is killed":
            for line in process.stdout:
                if "copied /lib/kalitka/s" in line:
                    break
            os.killpg(process.pid, signal.SIGKILL)
        else:
            pull.wait()
            blank.on_input = lambda _typed: None
            blank.power_cut()
        _, complaint = process.communicate(timeout=HANG_TIMEOUT_S)
    if how == "the cable is pulled":
        assert process.returncode == 1
        assert re.fullmatch(r"the connection at \S+ was lost; .*\n", complaint)
        assert "main.py" not in blank.flash_files()
        blank.power_on()
    assert copied(deployed(blank))[-1] == "main.py"
    assert blank.present("04A1B2C3").reason == "no table yet"


def test_a_port_that_is_not_there_gives_one_line(capsys):
    assert deploy.run("/dev/ttyNONE7", "ESP32_GENERIC") == 1
    assert capsys.readouterr().err == "there is no port /dev/ttyNONE7; plug the board in\n"


def test_a_busy_port_gives_one_line(blank, capsys):
    with open(blank.port, "rb+", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert deploy.run(blank.port, "ESP32_GENERIC") == 1
    assert re.fullmatch(
        r"\S+ cannot be opened; close other programs on it.*\n", capsys.readouterr().err
    )


def test_a_device_that_does_not_answer_gives_one_line(capsys, monkeypatch):
    near, far = pty.openpty()
    tty.setraw(far)
    monkeypatch.setattr(mpremote, "_TIMEOUT_S", 1)
    try:
        assert deploy.run(os.ttyname(far), "ESP32_GENERIC") == 1
    finally:
        os.close(near)
        os.close(far)
    assert re.fullmatch(r"no MicroPython answers at \S+: .*\n", capsys.readouterr().err)


def test_something_that_only_echoes_gives_one_line(capsys, monkeypatch):
    near, far = pty.openpty()
    tty.setraw(far)
    monkeypatch.setattr(mpremote, "_TIMEOUT_S", 1)

    def echo():
        try:
            while data := os.read(near, 100):
                os.write(near, data)
        except OSError:
            return

    threading.Thread(target=echo, daemon=True).start()
    try:
        assert deploy.run(os.ttyname(far), "ESP32_GENERIC") == 1
    finally:
        os.close(far)
    assert capsys.readouterr().err.count("\n") == 1


def test_an_unknown_board_is_refused(capsys):
    assert deploy.run("/dev/never", "ESP9000") == 2
    assert "choose one of " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("listing", "outcome"),
    [
        ("/dev/ttyS0 None 0000:0000 None None\n/dev/ttyUSB3 01 10c4:ea60 Silicon Labs X\n", 3),
        ("/dev/ttyS0 None 0000:0000 None None\n", "no USB serial device is"),
        ("", "  none$"),
        (
            "/dev/ttyUSB0 01 10c4:ea60 Silicon Labs X\n/dev/ttyUSB1 02 1a86:7523 QinHeng Y\n",
            "(?s)several .*ttyUSB0.*ttyUSB1",
        ),
    ],
)
def test_without_a_port_the_only_device_is_taken(monkeypatch, listing, outcome):
    done = subprocess.CompletedProcess([], 0, stdout=listing)
    monkeypatch.setattr(mpremote.subprocess, "run", lambda *_, **__: done)
    if outcome == 3:
        assert mpremote.find_port() == "/dev/ttyUSB3"
    else:
        with pytest.raises(mpremote.DeviceError, match=outcome):
            mpremote.find_port()


@pytest.mark.parametrize(
    ("device", "complaint"),
    [
        (
            Device("circuitpython", (9, 2, 0), 0x606),
            "runs circuitpython, not MicroPython",
        ),
        (
            Device("micropython", (1, 23, 0), X64 | 0x306),
            "1.23.0 is too old; flash 1.24",
        ),
        (
            Device("micropython", (1, 30, 0), X64 | 0x107),
            "version 7.1, but mpy-cross",
        ),
        (
            Device("micropython", (1, 30, 0), X64 | 0x206),
            "version 6.2, but mpy-cross",
        ),
        (Device("micropython", (1, 30, 0), 15 << 10 | 0x306), "architecture number 15"),
    ],
)
def test_a_runtime_that_does_not_fit_is_refused(device, complaint):
    made = {"/lib/kalitka/app.mpy": bytes((ord("M"), 6, ARCHES.index("x64") << 2 | 3, 31))}
    with pytest.raises(mpremote.DeviceError, match=complaint):
        device_module.check_runtime(device)
        device_module.check_format(made, device)
        assert device.arch


def test_a_refused_device_goes_on_as_it_was(board, monkeypatch, capsys):
    started(board)
    seen = len(board.console)
    monkeypatch.setattr(device_module, "_OLDEST", (9, 0))
    assert deploy.run(board.port, "ESP32_GENERIC") == 3
    assert "is too old" in capsys.readouterr().err
    board.wait_ready(since=seen)


def test_a_firmware_that_does_not_fit_is_refused():
    device = Device("micropython", (1, 29, 0), X64 | 0x306, free=8192)
    files = {"/main.py": b"", "/lib/kalitka/app.mpy": bytes(9000)}
    assert deploy.make_plan(files, device, False).flash_needed(device) > device.free
    # There is a second copy. The files that it replaces free flash, and so does their copy.
    device.files["/lib/kalitka/app.mpy"] = (9000, "another")
    assert deploy.make_plan(files, device, False).flash_needed(device) == 3 * 4096
    device.files["/copy/firmware"] = (9000, "another")
    assert deploy.make_plan(files, device, False).flash_needed(device) == 0
    assert deploy.make_plan(files, device, False).flash_needed(device) <= device.free


def test_a_zone_by_its_name_becomes_what_a_reader_understands(tmp_path):
    given = tmp_path / "site.json"
    given.write_text('{"zone": "Europe/Moscow", "reader": "A"}')
    read = json.loads(deploy.read_settings(given))
    assert read == {"crc32": read["crc32"], "zone": "MSK-3", "reader": "A"}
    given.write_text('{"zone":   "MSK-3"}')
    sealed = deploy.read_settings(given)
    assert sealed == settings.seal(settings_file.written({"zone": "MSK-3"}))
    # A file that was taken from a device and changed gets its checksum anew.
    given.write_bytes(sealed.replace(b"MSK-3", b"MSK-4"))
    assert deploy.read_settings(given) == settings.seal(settings_file.written({"zone": "MSK-4"}))
    given.write_text('{"zone": "Europe/Moskow"}')
    with pytest.raises(deploy.InputError, match="Europe/Moscow"):
        deploy.read_settings(given)
