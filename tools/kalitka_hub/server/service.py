"""The hub as a systemd service: its unit file, and notifications while the server runs.

Source: systemd.service(5), and sd_notify(3): datagrams of `NAME=value` to the socket named by
NOTIFY_SOCKET. Without systemd nothing is sent.
"""

import os
import socket
from pathlib import Path

from kalitka_hub.errors import InvalidRequest

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"
_UNIT = Path(__file__).parent / "systemd/kalitka-hub.service"
_COMMAND = "@KALITKA@"


def unit(command: str) -> str:
    """Return the unit file for this command, an absolute path. Raises InvalidRequest."""
    # systemd splits at blanks, and expands % and $.
    if not command.startswith("/") or any(char in command for char in " \t\n\"'\\%$;"):
        raise InvalidRequest(
            f"systemd cannot start {command!r}: install kalitka in an absolute path without "
            "blanks, quotes, backslashes, %, $ and ;"
        )
    return _UNIT.read_text().replace(_COMMAND, command)


def notify(state: str) -> None:
    """Send a notification to systemd, if it started this process."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.connect(name)
            sender.send(state.encode())
        except OSError:
            # systemd may be restarting itself; the next notification reaches it.
            return


def watchdog_interval() -> float | None:
    """Return the seconds between two WATCHDOG notifications; None if systemd expects none.

    Half of systemd's own interval.
    """
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2e6 if microseconds.isdigit() and int(microseconds) else None
