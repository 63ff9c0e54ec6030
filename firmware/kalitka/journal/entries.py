"""Entries of the access log: their bytes in flash and their text for a server.

Pure. FORMAT.md has the bytes and the text. Promises: anything that was scanned, even if it is
not a valid token code, can be stored and sent without breaking the other entries of a body.
Source: protocol, "Access logs".
"""

from kalitka.table import codes
from micropython import const

# Sources. Do not renumber: stored in flash and sent to servers.
SCANNER = const(0)
EXIT_BUTTON = const(1)
DOOR = const(2)  # the door contact
ALARM = const(3)  # the alarm contact
READER = const(4)  # the reader itself

# Reasons of DOOR; those of SCANNER are the decision's, the other sources have none. Do not
# renumber: stored in flash and sent to servers.
FORCED = const(0)
HELD = const(1)
# Of READER:
WATCHDOG = const(0)  # it hung and was restarted
GUESSING = const(1)  # too many unknown codes, on until it is over
SAFE_MODE = const(2)  # it started again and again
CLOCK = const(3)  # its time is provisional, until the server proves it

# Bits of the first byte, besides the source (bits 0, 1 and 5) and the state (bit 2); stored in
# flash as well.
_UNTIMED = const(8)
_RAW = const(16)
_HIGH = const(32)  # the third bit of the source
_COUNTED = const(64)
_COUNT_MAX = const(65535)
_TIME = const(0x80)  # the first byte of a time record, which is not an entry
SESSION_SIZE = const(4)


def encode(
    source: int,
    state: int,
    reason: int,
    seconds: int,
    code: bytes = b"",
    session: bytes = b"",
    count: int = 0,
) -> bytes:
    """Return the record of an entry.

    state: 1 allowed or on, 0 denied or off. seconds: since 1970 UTC; with `session`, since the
    start of the reader that the session stands for. session: SESSION_SIZE bytes if the clock was
    not set, else b"". code: the scanned bytes (SCANNER only), of which the first 255 are kept.
    count: of the cards that the entry stands for, 0 for one; a higher one than 65,535 is kept as
    that.
    """
    head = source & 3 | source >> 2 << 5 | state << 2
    code = code[: codes.CODE_MAX]
    try:
        code = codes.pack(code)
    except codes.CodeError:
        head |= _RAW
    if session:
        head |= _UNTIMED
    if count:
        head |= _COUNTED
        code = min(count, _COUNT_MAX).to_bytes(2, "little") + code
    return bytes((head, reason)) + seconds.to_bytes(4, "little") + session + code


def time_record(session: bytes, uptime: int, seconds: int) -> bytes:
    """Return a time record: `uptime` seconds after that start it was `seconds` since 1970 UTC."""
    return bytes((_TIME,)) + session + uptime.to_bytes(4, "little") + seconds.to_bytes(4, "little")


def time_in(data: bytes):
    """Return (session, uptime, seconds) of a time record, None for another record."""
    if data[0] != _TIME or len(data) != 1 + SESSION_SIZE + 8:
        return None
    return data[1:5], int.from_bytes(data[5:9], "little"), int.from_bytes(data[9:], "little")


def session_in(data: bytes) -> bytes:
    """Return the session of an entry without a time or of a time record, b"" for others."""
    head = data[0]
    if head == _TIME:
        return data[1:5]
    known = head & _UNTIMED and head < _TIME and _source(head) <= READER
    return data[6:10] if known else b""


def _source(head):
    return head & 3 | (head & _HIGH) >> 3


def decode(data: bytes, plain: bool = False):
    """Return (source, state, reason, seconds, code, session, count), as given to `encode`.

    None for a time record and for a record of a later firmware; with `plain` also for an entry
    that only our hub understands.
    """
    head = data[0]
    edge = 10 if head & _UNTIMED else 6
    at = edge + 2 if head & _COUNTED else edge
    source = _source(head)
    if head >= _TIME or source > READER or len(data) < at:
        return None
    if plain and source == READER and data[1] != GUESSING:  # which is an alarm
        return None
    code = data[at:]
    if not head & _RAW:
        try:
            code = codes.unpack(code)
        except codes.CodeError:
            return None
    seconds = int.from_bytes(data[2:6], "little")
    count = int.from_bytes(data[edge:at], "little")
    return source, head >> 2 & 1, data[1], seconds, code, data[6:edge], count


def code_text(source: int, reason: int, code: bytes, plain: bool) -> bytes:
    """Return the text sent to a server as the code.

    plain: the server is not our hub and knows only the protocol, so a code must not contain `_`
    either. Bytes that would break a body are replaced by `?`.
    """
    if source == EXIT_BUTTON:
        return b"btn-exit"
    if source == ALARM or (source != SCANNER and plain):
        return b"alarm"
    if source == READER:
        return b"reader"
    if source == DOOR:
        return b"door-held" if reason == HELD else b"door-forced"
    if not plain and codes.check(code) is None:
        return code
    return bytes(63 if b < 33 or b > 126 or b in b"%,_" else b for b in code) or b"?"
