"""The transfer of a reader's access log over USB, while the reader is stopped.

mpremote stops the reader, and a program on the device sends the files in pieces, each with the
checksum of the file so far. Promises: only the needed files are sent; the reader is restarted
whatever happens. If this computer or the cable fails, the device's watchdog restarts it.
"""

import time
from base64 import b64decode
from binascii import crc32

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from kalitka.journal.access_log import FOLDER
from kalitka_cli.log_entries import SMALL, NotALog, decode_log, first_number, is_segment
from kalitka_cli.mpremote import DeviceError, Mpremote, exec_command, find_port, json_values

# The device's watchdog: longer than mpremote takes to start, which is a second or two.
_WATCHDOG_S = 30
_WATCHDOG_HINT = f"a reader with power restarts by itself within {_WATCHDOG_S} seconds"
_BYTES_PER_SECOND = 8000  # of a file: a serial line carries 11,000, and base64 adds a third

# Runs on the device and prints one JSON value a line: {"files": {path: size}} of the folder (None
# without one), then the pieces of the small files: [path, CRC-32 of the file up to here, base64],
# or [path] where reading fails.
_LIST_AND_SEND_SMALL = """
import json, os
from binascii import b2a_base64, crc32
try:
    from machine import WDT
    feed = WDT(timeout=WATCHDOG_MS).feed
except ImportError:
    def feed():
        pass
buffer = memoryview(bytearray(1536))
def send(path):
    check = 0
    try:
        with open(FOLDER + path, "rb") as file:
            while True:
                feed()
                n = file.readinto(buffer)
                if not n:
                    return
                check = crc32(buffer[:n], check)
                print(json.dumps([path, check, b2a_base64(buffer[:n]).decode().strip()]))
    except OSError:
        print(json.dumps([path]))
files = None
try:
    files = {item[0]: item[3] for item in os.ilistdir(FOLDER[:-1]) if item[1] == 0x8000}
    for item in os.ilistdir(FOLDER + "old"):
        files["old/" + item[0]] = item[3]
except OSError:
    pass
print(json.dumps({"files": files}))
for path in SMALL:
    if path in (files or ()):
        send(path)
"""
# Fails if the reader has run since the listing: `send` is then undefined.
_SEND = """
for path in PATHS:
    send(path)
"""


def fetch_log(
    port: str | None, last: int | None, unsent: bool, console: Console
) -> tuple[dict[str, bytes | None], bool]:
    """Return a reader's files, {path below the log's folder: contents}, and whether it restarted.

    port: None for the only device. last: only segments with one of the newest `last` entries;
    unsent: only segments with an entry that the server has not acknowledged. A file that the
    device cannot read is None. console: shows the progress. Raises DeviceError, NotALog.
    """
    mpremote = Mpremote(port or find_port())
    console.print(
        f"stopping the reader at {escape(mpremote.port)} to read its log: "
        "the gate is out of service meanwhile"
    )
    begun = time.monotonic()
    transfer = _Transfer(mpremote, console)
    try:
        transfer.open()
        while paths := transfer.next_segments(last, unsent):
            transfer.fetch(paths)
    except BaseException as fault:
        stopped = _restart(mpremote)
        if stopped and transfer.sizes and isinstance(fault, DeviceError):
            raise DeviceError(f"{fault}; {_WATCHDOG_HINT}") from None
        raise
    stopped = _restart(mpremote)
    if stopped:
        console.print(f"[red]the reader was not restarted: {escape(stopped)}; {_WATCHDOG_HINT}[/]")
    else:
        stopped_for = time.monotonic() - begun
        console.print(f"restarted the reader; the gate was out of service for {stopped_for:.0f} s")
    return transfer.files, not stopped


class _Transfer:
    """The transfer of a log from a device, which stays stopped meanwhile.

    sizes: of all files of the log, {path: bytes}. files: the files received, {path: contents}.
    """

    def __init__(self, mpremote: Mpremote, console: Console):
        self._mpremote = mpremote
        self._console = console
        self.sizes: dict[str, int] = {}
        self.files: dict[str, bytes | None] = {}

    def open(self) -> None:
        """Stop the device, list the files, fetch the small ones. Raises DeviceError, NotALog."""
        values = {"FOLDER": f"/{FOLDER}/", "SMALL": SMALL, "WATCHDOG_MS": _WATCHDOG_S * 1000}
        output = json_values(self._mpremote.run(exec_command(_LIST_AND_SEND_SMALL, **values)))
        found = next((a["files"] for a in output if isinstance(a, dict) and "files" in a), None)
        if found is None:
            raise NotALog(
                f"the reader at {self._mpremote.port} has no /{FOLDER}: its firmware keeps no "
                "access log; deploy a newer one"
            )
        self.sizes = {
            path: size for path, size in found.items() if path in SMALL or is_segment(path)
        }
        self._store(output, [path for path in SMALL if path in found])

    def next_segments(self, last: int | None, unsent: bool) -> list[str]:
        """Return the segments to fetch next, newest first; none if no more are needed."""
        segments = sorted(filter(is_segment, self.sizes))
        missing = [path for path in segments if path not in self.files]
        if not missing or not (last or unsent):
            return missing[::-1]
        # Only the newest segment tells which tails are stale, so it comes first.
        if len(missing) == len(segments):
            return missing[-1:]
        edge = first_number(segments[len(missing)])
        here = decode_log(self.files)
        floor = here.acked + 1 if unsent else 0
        count = sum(entry.number >= floor for entry in here.entries)
        more: list[str] = []
        # Not every number is an entry: if these are too few, the caller comes for another round.
        while missing and edge > floor and (last is None or count < last):
            more.append(missing.pop())
            count += edge - first_number(more[-1])
            edge = first_number(more[-1])
        return more

    def fetch(self, paths: list[str]) -> None:
        """Fetch these files. Raises DeviceError."""
        total = sum(self.sizes[path] for path in paths)
        seconds = -(-total // _BYTES_PER_SECOND)
        self._console.print(f"reading {total / 1024:.0f} KiB of the log takes up to {seconds} s")
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True)
        quiet = not self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=quiet) as progress:
            task = progress.add_task("reading the log", total=total)
            output = self._mpremote.run(
                ["resume"],  # no soft reset
                exec_command(_SEND, PATHS=paths),
                on_line=lambda line: progress.advance(task, len(line) * 3 // 4),
            )
        self._store(json_values(output), paths)

    def _store(self, output: list, paths: list[str]) -> None:
        for path in paths:
            pieces = [piece for piece in output if isinstance(piece, list) and piece[:1] == [path]]
            self.files[path] = None if [path] in pieces else self._joined(path, pieces)

    def _joined(self, path: str, pieces: list[list]) -> bytes:
        try:
            data = b"".join(b64decode(text) for _, _, text in pieces)
            if len(data) == self.sizes[path] and crc32(data) == (pieces[-1][1] if pieces else 0):
                return data
        except (ValueError, TypeError):
            pass  # a line damaged in transit that still parsed as JSON
        raise DeviceError(f"{FOLDER}/{path} did not arrive intact; try again")


def _restart(mpremote: Mpremote) -> str:
    # Returns the reason of a failure, "" on success.
    try:
        mpremote.run(["reset"])
    except DeviceError as fault:
        return str(fault)
    return ""
