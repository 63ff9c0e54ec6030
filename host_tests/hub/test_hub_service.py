"""The hub under systemd: its unit file, and the server's notifications."""

import asyncio
import configparser
import os
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import closing, contextmanager, suppress

import pytest
from typer.testing import CliRunner

from kalitka_hub.cli.main import hub
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.server import http_server, service
from kalitka_sim.timeouts import HANG_TIMEOUT_S


@contextmanager
def systemd(address):
    """Listen as systemd does; yield a function that waits for the next notification."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(HANG_TIMEOUT_S)
        yield lambda: listener.recv(100).decode()


class _Unit(configparser.RawConfigParser):
    optionxform = staticmethod(str)  # type: ignore[assignment]


def test_the_unit_runs_the_command_and_takes_its_rights_away():
    unit = _Unit(strict=False)
    unit.read_string(service.unit("/opt/kalitka/bin/kalitka"))
    run = unit["Service"]
    assert run["ExecStart"].startswith("/opt/kalitka/bin/kalitka hub serve ")
    assert run["Type"] == "notify"
    assert run["Restart"] == "on-failure"
    assert run["StateDirectory"] == "kalitka"
    assert run["NoNewPrivileges"] == "yes"
    assert run["ProtectSystem"] == "strict"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    path = tmp_path / "kalitka-hub.service"
    path.write_text(service.unit(sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path],
        capture_output=True,
        text=True,
        check=False,
    )
    about_it = [line for line in done.stderr.splitlines() if "kalitka" in line]
    assert about_it == []


@pytest.mark.parametrize(
    "command", ["kalitka", "/my tools/kalitka", "/opt/100%/kalitka", "/$HOME"]
)
def test_a_command_that_systemd_would_misread_is_refused(command):
    with pytest.raises(InvalidRequest, match="systemd"):
        service.unit(command)


def test_the_command_prints_the_unit():
    result = CliRunner().invoke(hub, ["systemd"])
    assert result.exit_code == 0, result.output
    assert "@" not in result.stdout.replace("@system-service", "").replace("kalitka@localhost", "")
    assert "hub serve" in result.stdout


def test_a_server_tells_that_it_is_ready_alive_and_stopping(tmp_path):
    address = str(tmp_path / "notify")
    with systemd(address) as told:
        command = "from kalitka_hub.cli.main import hub; hub()"
        options = ["--port", "0", "--db", str(tmp_path / "hub.sqlite")]
        process = subprocess.Popen(
            [sys.executable, "-c", command, "serve", *options],
            env=os.environ | {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert told() == service.READY
            assert [told(), told()] == [service.WATCHDOG] * 2
        finally:
            process.terminate()
        while (last := told()) == service.WATCHDOG:
            pass
        assert last == service.STOPPING
        log = process.communicate(timeout=HANG_TIMEOUT_S)[1]
    begun, ended = log.index("info hub started address=http://"), log.index("info hub stopped")
    assert begun < ended


def test_an_abstract_address_is_spoken_to(monkeypatch):
    name = f"kalitka-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    with systemd(f"\0{name}") as told:
        service.notify(service.READY)
        assert told() == service.READY


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "vsock:2:1"])
def test_without_systemd_nothing_happens(monkeypatch, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    service.notify(service.READY)


@pytest.mark.parametrize(
    ("told", "pid", "seconds"),
    [("", "", None), ("60000000", "", 30.0), ("0", "", None), ("6000000", "1", None)],
)
def test_signs_of_life_are_sent_twice_as_often_as_they_are_wanted(monkeypatch, told, pid, seconds):
    monkeypatch.setenv("WATCHDOG_USEC", told)
    monkeypatch.setenv("WATCHDOG_PID", pid or str(os.getpid()))
    assert service.watchdog_interval() == seconds


@contextmanager
def serving(app, monkeypatch):
    """Serve an ASGI application in a thread; yield its port."""
    made = []

    class Kept(http_server._Server):
        def __init__(self, *given):
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(http_server, "_Server", Kept)
    listener = http_server.listen("127.0.0.1", 0)
    ready = threading.Event()
    thread = threading.Thread(target=http_server.serve, args=(app, listener, ready.set))
    thread.start()
    assert ready.wait(HANG_TIMEOUT_S)
    yield listener.getsockname()[1]
    made[0].should_exit = True
    thread.join(HANG_TIMEOUT_S)


def has_ended(connection):
    """Return whether the peer has closed a connection on which nothing was received."""
    try:
        return connection.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_a_connection_that_asks_nothing_is_ended_and_one_that_is_answered_is_not(monkeypatch):
    begun, others_ended = threading.Event(), threading.Event()

    async def slow(scope, receive, send):
        if scope["type"] == "http":
            begun.set()
            await asyncio.to_thread(others_ended.wait, HANG_TIMEOUT_S)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

    monkeypatch.setattr(http_server, "SILENT_SECONDS", 0.1)
    whole = b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n"
    with serving(slow, monkeypatch) as port:

        def connected(sent):
            connection = socket.create_connection(("127.0.0.1", port), HANG_TIMEOUT_S)
            connection.sendall(sent)
            return closing(connection)

        def heard():
            # On a busy machine the server may close a connection as silent before it has read the
            # request: then try again.
            asking = connected(whole)
            while not begun.wait(0.05):
                if has_ended(asking.thing):
                    asking.thing.close()
                    asking = connected(whole)
            return asking

        with heard() as asking, connected(b"") as silent, connected(whole[:9]) as cut:
            for connection in (silent, cut):
                with suppress(ConnectionResetError):
                    assert connection.recv(100) == b""
            others_ended.set()
            assert asking.recv(100).startswith(b"HTTP/1.1 204")
