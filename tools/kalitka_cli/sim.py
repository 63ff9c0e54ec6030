"""`kalitka sim`: one virtual reader, or one virtual board, controlled by a person.

The console is printed as it comes; commands are read from stdin, one per line. An invalid command
gets a one-line error and changes nothing. A reader with an https:// server connects to the hub
directly, under the name in the hub's certificate; with http:// it connects through a relay, the
cable that `network off` cuts.
"""

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from kalitka import settings
from kalitka.sync.address import split_url
from kalitka_build.boards import BuildError, board_description
from kalitka_cli import settings_file
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site.zone import check_zone
from kalitka_sim.control_channel import ReaderError
from kalitka_sim.memory_classes import CLASSES, PSRAM
from kalitka_sim.network_servers import NameServer, TimeServer
from kalitka_sim.pty_board import PtyBoard
from kalitka_sim.reader import VirtualReader
from kalitka_sim.virtual_chip import VirtualChip

_SECRET = "KALITKA_HUB_SECRET"
_CA = settings.FIELDS["server_ca"][0]
_SWITCHES = dict.fromkeys(("exit_button", "door_contact", "alarm_contact"), "normally-open")
_ROLES = ("WIEGAND_D0", "WIEGAND_D1", "LOCK", *map(str.upper, _SWITCHES))
_PRESS_S = 0.2

_HELP = """\
card CODE                present a card at the scanner: 6 or 8 hexadecimal digits
button                  press the exit button
door open|shut          open or shut the door
alarm on|off            switch the alarm contact
clock 2026-11-23T09:30   set the chip's clock; the time is UTC
network off|on           cut or restore the network
power off|on             cut or restore the power
pins                     show the level of every pin in use
flash                    show the flash operations since power on
memory                   show the bytes of heap used and free
help                     show this list
quit                     end the reader"""


class CommandError(Exception):
    """A command is invalid or impossible now; the message says what is valid."""


def run_reader(
    folder: Path | None,
    server: str,
    reader: str,
    zone: str,
    poll_seconds: float,
    ca: Path | None = None,
    board: str = "ESP32_GENERIC",
) -> int:
    """Run a virtual reader until `quit`. Return the exit status: 2 for invalid options.

    server: the URL of a server of the token-reader API, which may have a path; over https:// the
    reader trusts it by `ca`, a file with a certificate.
    zone: a zone's name or a POSIX TZ string. board: a folder of boards/.
    """
    problems: list[str] = _board_problems(board)
    values = {"reader": reader, "poll_seconds": poll_seconds, **_SWITCHES}
    values["server_token"] = os.environ.get(_SECRET, "")
    relay_to, path, files = None, "", {}
    try:
        values["zone"] = check_zone(zone) if zone else ""
    except InvalidRequest as fault:
        problems.append(f"zone: {fault}")
    try:
        secure, host, port, path = _split_server(server) if server else (False, "", 0, "")
        if secure:
            values["server_url"] = server
            files[_CA] = _site_ca(ca)
        elif ca:
            problems.append("--ca needs a --server https://HOST:PORT")
        elif server:
            relay_to = host, port
    except (CommandError, InvalidRequest) as fault:
        problems.append(str(fault))
    problems += settings_file.one_each(
        settings_file.text_faults(values), settings.with_defaults(values)[1]
    )
    if server and not (reader and values["server_token"]):
        problems.append(f"a server needs --reader and the reader's secret in {_SECRET}")
    if problems:
        for fault in problems:
            _print_error(fault)
        return 2
    with (
        _until_terminated(),
        _folder(folder) as place,
        NameServer() as names,
        TimeServer() as times,
    ):
        if files:
            # A certificate can be checked only with a clock that is set. Over http:// the hub
            # alone gives the time, as in the demo.
            values["ntp_server"] = times.address
        try:
            with VirtualReader(
                place,
                values,
                relay_to,
                board,
                on_line=_print,
                files=files,
                name_server=names.address,
                path=path,
            ) as virtual:
                virtual.power_on()
                _run_commands(virtual)
        except (ReaderError, BuildError) as fault:
            _print_error(str(fault))
            return 1
    return 0


def run_board(folder: Path | None, board: str = "", memory: str = PSRAM.name) -> int:
    """Run a virtual board on a PTY until Ctrl-C. Return the exit status, as `run_reader`.

    memory: the class of its chip, see `kalitka_sim.memory_classes`. board: "" for the board of
    that class.
    """
    if memory not in CLASSES:
        _print_error(f"--memory: there is no class {memory!r}; choose one of {', '.join(CLASSES)}")
        return 2
    memory_class = CLASSES[memory]
    board = board or memory_class.board
    for fault in _board_problems(board):
        _print_error(fault)
        return 2
    with _until_terminated(), _folder(folder) as place:
        try:
            with PtyBoard(place, board, memory=memory_class) as virtual:
                virtual.on_fault = _print_error
                virtual.power_on()
                _print(f"a virtual board at {virtual.port}, its flash in {virtual.flash_file}")
                _print(f"{memory_class.name}: {memory_class.description}")
                _print(f"make deploy PORT={virtual.port} BOARD={board}")
                _print(f"mpremote connect {virtual.port} repl")
                _print("Ctrl-C ends it; `help` lists the commands")
                if not _run_commands(virtual):
                    # stdin has ended, but the port is still in use.
                    virtual.wait_end()
        except ReaderError as fault:
            _print_error(str(fault))
            return 1
    return 0


def execute(virtual: VirtualChip, line: str) -> str:
    """Execute a command and return the text to print. Raises CommandError, ReaderError."""
    words = line.split()
    commands: dict[str, tuple[Callable[..., str], int]] = {
        "card": (_card, 1),
        "button": (_button, 0),
        "door": (_door, 1),
        "alarm": (_alarm, 1),
        "clock": (_clock, 1),
        "network": (_network, 1),
        "power": (_power, 1),
        "pins": (_pins, 0),
        "flash": (_flash, 0),
        "memory": (_memory, 0),
        "help": (lambda _: _HELP, 0),
    }
    if words[0] not in commands:
        raise CommandError(f"there is no command {words[0]!r}; `help` lists all commands")
    command, operands = commands[words[0]]
    if len(words) != 1 + operands:
        how = next(text for text in _HELP.splitlines() if text.startswith(words[0]))
        raise CommandError("write: " + " ".join(how.split()[: 1 + operands]))
    return command(virtual, *words[1:])


def _run_commands(virtual: VirtualChip) -> bool:
    # Executes stdin up to `quit` or its end; returns whether `quit` ended it.
    for line in sys.stdin:
        if not line.strip():
            continue
        if line.split() == ["quit"]:
            return True
        try:
            _print(execute(virtual, line))
        except (CommandError, ReaderError) as fault:
            _print_error(str(fault).splitlines()[0])
    return False


def _card(virtual: VirtualChip, code: str) -> str:
    outcome = virtual.present(code)
    verdict = "allowed" if outcome.allowed else f"denied, {outcome.reason}"
    return f"{outcome.code}: {verdict}; the lock {'opened' if outcome.opened else 'stayed shut'}"


def _button(virtual: VirtualChip) -> str:
    virtual.set_switch("EXIT_BUTTON", True)
    time.sleep(_PRESS_S)
    virtual.set_switch("EXIT_BUTTON", False)
    return "pressed"


def _door(virtual: VirtualChip, state: str) -> str:
    if state not in ("open", "shut"):
        raise CommandError(f"invalid state {state!r}: write open or shut")
    virtual.set_switch("DOOR_CONTACT", state == "open")
    return f"the door is {state}"


def _alarm(virtual: VirtualChip, state: str) -> str:
    virtual.set_switch("ALARM_CONTACT", _is_on(state))
    return f"the alarm contact is {state}"


def _clock(virtual: VirtualChip, text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"invalid time {text!r}: write 2026-11-23T09:30, in UTC") from None
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    virtual.set_clock(moment.timestamp())
    return f"the chip's clock is {moment:%Y-%m-%d %H:%M:%S} UTC"


def _network(virtual: VirtualChip, state: str) -> str:
    virtual.set_network(_is_on(state))
    return f"the network is {state}"


def _power(virtual: VirtualChip, state: str) -> str:
    if _is_on(state) == virtual.powered:
        raise CommandError(f"the power is already {state}")
    if isinstance(virtual, PtyBoard):
        raise CommandError("a board on a PTY is powered by the cable; end it with Ctrl-C")
    assert isinstance(virtual, VirtualReader)
    if _is_on(state):
        virtual.power_on()
    else:
        virtual.power_cut()
    return f"the power is {state}"


def _pins(virtual: VirtualChip) -> str:
    levels = virtual.request({"do": "pins"})
    assert isinstance(levels, dict)
    roles = {str(virtual.board[role]): role for role in _ROLES}
    ordered = sorted(levels, key=int)
    return ", ".join(f"{roles.get(pin, 'pin')} ({pin}) is {levels[pin]}" for pin in ordered)


def _flash(virtual: VirtualChip) -> str:
    counts = virtual.flash_operations()
    return (
        f"{counts['reads']} reads, {counts['programs']} programs of {counts['programmed']} "
        f"bytes in all, {counts['erases']} erases"
    )


def _memory(virtual: VirtualChip) -> str:
    heap = virtual.memory()
    return f"{heap['used']} bytes of heap used, {heap['free']} free"


def _is_on(state: str) -> bool:
    if state not in ("on", "off"):
        raise CommandError(f"invalid state {state!r}: write on or off")
    return state == "on"


def _board_problems(board: str) -> list[str]:
    try:
        board_description(board)
    except BuildError as fault:
        return [str(fault)]
    return []


def _split_server(url: str) -> tuple[bool, str, int, str]:
    # As the reader does.
    try:
        return split_url(url)
    except ValueError as fault:
        raise CommandError(f"invalid server {url!r}: {fault}") from None


def _site_ca(file: Path | None) -> bytes:
    if not file:
        raise CommandError("an https:// server needs the site's CA: --ca FILE")
    # Slow to import, and only TLS needs it.
    from kalitka_hub.server.certificates import check_ca  # noqa: PLC0415

    return check_ca(file)


@contextlib.contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept:
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="kalitka-sim-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def _until_terminated() -> Iterator[None]:
    # Ctrl-C and SIGTERM are both an ordinary end.
    def stop(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(text: str) -> None:
    print(text, flush=True)


def _print_error(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
