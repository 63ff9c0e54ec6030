"""A reader's access log on this computer: from the bytes of its files to entries with their time.

The firmware's own modules decode it, on a copy: its `Log` may write when it is opened. Nothing
that the files hold raises; what cannot be read is told beside the rest.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from kalitka.journal import entries, words
from kalitka.journal.log import Log
from kalitka.table.block import crc_ok

# The files besides the segments: they are small, and the log cannot be read without them.
SMALL = ("mark", "id", *(f"tail{n}" for n in range(9)))
_SEGMENT = re.compile(r"old/[0-9a-f]{8}")
# Reading needs no size, but a Log does. It could be any.
_SIZE = 512 * 1024
# What the firmware's modules raise here on malformed bytes whose checksums are right.
_MALFORMED = (ArithmeticError, LookupError, ValueError)

_STATES = {
    entries.SCANNER: ("denied", "allowed"),
    entries.EXIT_BUTTON: ("denied", "pressed"),
    entries.DOOR: ("off", "on"),
    entries.ALARM: ("off", "on"),
}


class NotALog(Exception):
    """The source is not the access log of a reader; the message says what is wrong with it."""


class LogCorruptionError(Exception):
    """Nothing can be read of the log; the message says why."""


@dataclass
class LogEntry:
    """One event at the door. at: seconds since 1970 UTC, None if that is not known.

    code: what was scanned, or what stands for it; what is no printable character of UTF-8, and a
    backslash, is escaped as in Python. sent: whether the server has it.
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

    entries: oldest first. mark: the number of the newest that the server has. lost: how many
    records gave way before the server had them. unknown_records: of a later firmware. id: the
    log's name at our hub, "" if it is not known. damage: in words.
    """

    entries: list[LogEntry] = field(default_factory=list)
    mark: int = 0
    lost: int = 0
    unknown_records: int = 0
    id: str = ""
    damage: list[str] = field(default_factory=list)


def is_segment(name: str) -> bool:
    """Tell whether a log has segments of this name."""
    return bool(_SEGMENT.fullmatch(name))


def first_number(segment: str) -> int:
    """Return the first number in a segment, by its name."""
    return int(segment.rpartition("/")[2], 16)


def decode_log(files: Mapping[str, bytes | None]) -> DecodedLog:
    """Read a log's files: {path below its folder: contents}, None for one that is unreadable.

    Segments may be left out from the oldest on. Raises NotALog if none of the files is a log's.
    """
    known = {name: data for name, data in files.items() if name in SMALL or is_segment(name)}
    if not known:
        raise NotALog("this is no access log of a reader: there are no tail0, mark, old/00000001")
    found = DecodedLog()
    found.damage += [f"{name} cannot be read" for name, data in files.items() if data is None]
    # A log is small: all its records at once, since the time of one may stand in any later one.
    records: list[tuple[int, bytes]] = []
    with TemporaryDirectory(prefix="kalitka-logs-") as folder:
        (Path(folder) / "old").mkdir()
        for name, data in known.items():
            if data is not None:
                (Path(folder) / name).write_bytes(data)
        try:
            log = Log(folder, _SIZE)
            found.mark, found.lost = log.acked, log.lost
            for number, data in log.records():
                if not data:
                    raise ValueError("no record is empty")
                records.append((number, data))
            pieces = log.damaged
        except _MALFORMED:
            found.damage.append("a page is none that the firmware writes: the rest is missing")
            pieces = 0
    if pieces:
        found.damage.append(f"{pieces} damaged pieces: what they held is missing")
    if (mark := known.get("mark")) and not (len(mark) == 16 and crc_ok(mark)):
        found.damage.append("the mark is damaged: which entries the server has is not known")
    identity = known.get("id") or b""
    if len(identity) == entries.SESSION_SIZE + 4 and crc_ok(identity):
        found.id = identity[: entries.SESSION_SIZE].hex()
    _decode(records, found)
    return found


def _decode(records: list[tuple[int, bytes]], found: DecodedLog) -> None:
    # What to add to the uptimes of a session: the first word about it counts, as in the reader.
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
        source, state, reason, seconds, code, session = fields
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
                words.reason_text(source, reason),
                words.SOURCES[source],
                number <= found.mark,
            )
        )


def _text(code: bytes) -> str:
    text = code.replace(b"\\", rb"\\").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
