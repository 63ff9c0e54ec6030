"""The decoder of a reader's access log: from the bytes of its files to entries with their time.

The firmware's own modules decode a copy, since opening its `Log` may write. No contents of the
files raise an exception; damage is reported beside the readable entries.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from kalitka.journal import entries, words
from kalitka.journal.log import Log
from kalitka.table.block import crc_ok

# The small files beside the segments; without them the log cannot be read.
SMALL = ("mark", "id", *(f"tail{n}" for n in range(9)))
_SEGMENT = re.compile(r"old/[0-9a-f]{8}")
# A Log needs a size; for reading any size will do.
_SIZE = 512 * 1024
# Raised by the firmware's modules in CPython on malformed bytes with correct checksums.
_MALFORMED = (ArithmeticError, LookupError, ValueError)

_STATES = {
    entries.SCANNER: ("denied", "allowed"),
    entries.EXIT_BUTTON: ("denied", "pressed"),
    entries.DOOR: ("off", "on"),
    entries.ALARM: ("off", "on"),
    entries.READER: ("off", "on"),
}


class NotALog(Exception):
    """The source is not the access log of a reader; the message says why."""


class LogCorruptionError(Exception):
    """Nothing of the log is readable; the message says why."""


@dataclass
class LogEntry:
    """One event at the door. at: seconds since 1970 UTC, None if unknown.

    code: the scanned code, or the text of an event without one; backslashes and everything but
    printable UTF-8 are escaped as in Python. sent: whether the server has acknowledged the entry.
    """

    number: int
    at: int | None
    code: str
    state: str
    reason: str
    source: str
    sent: bool


@dataclass
class DecodedLog:
    """The contents of a log's files.

    entries: oldest first. acked: the highest acknowledged number. lost: the number of records
    evicted before they were acknowledged. unknown_records: the number of records of a later
    firmware. id: the log's name at our hub, "" if unknown. damage: sentences.
    """

    entries: list[LogEntry] = field(default_factory=list)
    acked: int = 0
    lost: int = 0
    unknown_records: int = 0
    id: str = ""
    damage: list[str] = field(default_factory=list)


def is_segment(name: str) -> bool:
    """Return whether this is the name of a log's segment."""
    return bool(_SEGMENT.fullmatch(name))


def first_number(segment: str) -> int:
    """Return the number of a segment's first record, from its name."""
    return int(segment.rpartition("/")[2], 16)


def decode_log(files: Mapping[str, bytes | None]) -> DecodedLog:
    """Decode a log's files: {path below its folder: contents}, None for an unreadable file.

    The oldest segments may be left out. Raises NotALog if none of the files belongs to a log.
    """
    known = {name: data for name, data in files.items() if name in SMALL or is_segment(name)}
    if not known:
        raise NotALog("not the access log of a reader: there are no tail0, mark, old/00000001")
    found = DecodedLog()
    found.damage += [f"{name} cannot be read" for name, data in files.items() if data is None]
    # A log is small, so read all records first: a later record may give the time of earlier ones.
    records: list[tuple[int, bytes]] = []
    with TemporaryDirectory(prefix="kalitka-logs-") as folder:
        (Path(folder) / "old").mkdir()
        for name, data in known.items():
            if data is not None:
                (Path(folder) / name).write_bytes(data)
        try:
            log = Log(folder, _SIZE)
            found.acked, found.lost = log.acked, log.lost
            for number, data in log.records():
                if not data:
                    raise ValueError("no record is empty")
                records.append((number, data))
            pieces = log.damaged
        except _MALFORMED:
            found.damage.append("a page is not one that the firmware writes: the rest is missing")
            pieces = 0
    if pieces:
        found.damage.append(f"{pieces} damaged pieces: their entries are missing")
    if (mark := known.get("mark")) and not (len(mark) == 16 and crc_ok(mark)):
        found.damage.append("the mark is damaged: it is unknown which entries the server has")
    identity = known.get("id") or b""
    if len(identity) == entries.SESSION_SIZE + 4 and crc_ok(identity):
        found.id = identity[: entries.SESSION_SIZE].hex()
    _decode(records, found)
    return found


def _decode(records: list[tuple[int, bytes]], found: DecodedLog) -> None:
    # Seconds to add to the uptimes of a session: its first time record counts, as in the reader.
    offsets: dict[bytes, int] = {}
    for _, data in records:
        if time := entries.time_in(data):
            session, uptime, seconds = time
            offsets.setdefault(session, seconds - uptime)
    for number, data in records:
        if entries.time_in(data):
            continue
        fields = entries.decode(data)
        if not fields:
            found.unknown_records += 1
            continue
        source, state, reason, seconds, code, session, count = fields
        at = seconds
        if session:
            at = offsets[session] + seconds if session in offsets else None
        if source != entries.SCANNER:
            code = entries.code_text(source, reason, code, plain=False)
        found.entries.append(
            LogEntry(
                number,
                at,
                _text(code),
                _STATES[source][state],
                words.reason_text(source, reason, count),
                words.SOURCES[source],
                number <= found.acked,
            )
        )


def _text(code: bytes) -> str:
    text = code.replace(b"\\", rb"\\").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
