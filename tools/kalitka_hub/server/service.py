"""The hub as a service of systemd: its unit, and what the server tells systemd while it runs.

Source: systemd.service(5), and sd_notify(3): datagrams of `NAME=value` to the socket that
NOTIFY_SOCKET names. Without systemd nothing is sent.
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
    """Return the unit that runs this command, an absolute path. Raises InvalidRequest."""
    # systemd splits at blanks, and takes % and $ for the beginning of something.
    if not command.startswith("/") or any(char in command for char in " \t\n\"'\\%$;"):
        raise InvalidRequest(
            f"systemd cannot start {command!r}: install kalitka where the path has no blanks, "
            "quotes, % and $"
        )
    return _UNIT.read_text().replace(_COMMAND, command)


def notify(state: str) -> None:
    """Tell systemd, if it started this process."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    name = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.connect(name)
            sender.send(state.encode())
        except OSError:
            # It restarts itself at times; it is told again.
            return


def watchdog_interval() -> float | None:
    """Return how often to send ALIVE: twice as often as systemd wants it; None if it does not."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2e6 if microseconds.isdigit() and int(microseconds) else None
