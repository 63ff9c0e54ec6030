"""The site's time zone as the readers get it: a POSIX TZ string such as `MSK-3`.

A string is taken as it is if the readers' own `kalitka.access.timezone` takes it. A zone's IANA
name (`Europe/Moscow`) becomes one by the `tzdata` package, whatever the machine has of its own. A
TZif file ends with the string for the time behind its last transition, and where the law is not of
that form, or is about to change, this string is wrong until then: Gaza's, that of 2086, knows
nothing of Ramadan. Such a name is refused, since a setting outlives the memory of a warning; the
message has the string, so that whoever means it can write it.
"""

import io
import struct
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from importlib.resources import files
from zoneinfo import ZoneInfo

from kalitka.access.timezone import Zone, ZoneError
from kalitka_hub.errors import InvalidRequest

_HEAD = struct.Struct(">4sc15x6L")  # RFC 9636, 3.1
_TEN_DAYS = 14400  # minutes


class UnknownZone(InvalidRequest):
    """No string can be given for a name; the message says why, and what to write instead."""


def check_zone(text: str) -> str:
    """Return the POSIX TZ string of a zone's name or of the string itself.

    Raises InvalidRequest.
    """
    try:
        return posix_or_iana(text)
    except ZoneError as fault:
        raise InvalidRequest(
            f"{text!r} is no time zone: {fault}; write a name such as Europe/Moscow, or name and "
            "offset such as UTC0, MSK-3 or EET-2EEST,M3.5.0/3,M10.5.0/4"
        ) from fault


def whole_hours(zone: str, minute: int) -> int:
    """Return how many hours east of UTC a place is at `minute` since 1970, truncated towards 0.

    zone: a POSIX TZ string. Raises ZoneError.
    """
    place = Zone(zone)
    place.update(minute)
    hours = abs(place.offset) // 60
    return hours if place.offset > 0 else -hours


def names() -> list[str]:
    """Return the names of all zones, links such as `Europe/Kiev` included."""
    return files("tzdata").joinpath("zones").read_text().split()


def posix_of(name: str, now: datetime | None = None) -> str:
    """Return the POSIX TZ string that holds in the zone `name` from `now` (aware) on.

    Raises UnknownZone if there is no such zone, or no such string.
    """
    data = _tzif(name)
    text = data.rsplit(b"\n", 2)[1].decode()
    right = _right_from(data, text, now or datetime.now(UTC))
    if right:
        raise UnknownZone(
            f"{name}: no POSIX zone holds there before {right:%Y-%m-%d}: the nearest is {text}, "
            "but the clock would be wrong at times; write it yourself to take it, or let the "
            "server give the zone"
        )
    return text


def posix_or_iana(text: str) -> str:
    """Return the POSIX TZ string that a person means by a zone's name or by the string itself.

    Raises UnknownZone, or ZoneError with the position if it looks like a POSIX string.
    """
    try:
        Zone(text)
    except ZoneError:
        if "," in text or ("/" not in text and any(char.isdigit() for char in text)):
            raise
        return posix_of(text)
    return text


def transitions(data: bytes) -> tuple[int, ...]:
    """Return the seconds since 1970 of all transitions that a TZif file (bytes) lists."""
    # The first block has them in 32 bits, the second has them all.
    isutc, isstd, leaps, times, types, chars = _HEAD.unpack_from(data)[2:]
    at = _HEAD.size + times * 5 + types * 6 + chars + leaps * 8 + isstd + isutc
    count = _HEAD.unpack_from(data, at)[5]
    return struct.unpack_from(f">{count}q", data, at + _HEAD.size)


def _tzif(name: str) -> bytes:
    known = names()
    if name not in known:
        raise UnknownZone(f"{name}: there is no such zone{_meant(name, known)}")
    return files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()


def _meant(name: str, known: list[str]) -> str:
    # People write the city alone, or in small letters.
    by_key = {key.lower(): full for full in known for key in (full, full.rsplit("/")[-1])}
    key = name.lower().replace(" ", "_")
    keys = [key] if key in by_key else get_close_matches(key, by_key, cutoff=0.75)
    near = dict.fromkeys(by_key[key] for key in keys)
    return f"; did you mean {' or '.join(near)}?" if near else "; they look like Europe/Moscow"


def _right_from(data: bytes, text: str, now: datetime) -> datetime | None:
    # The day from which on the string is right, None if that is so at `now`.
    real = ZoneInfo.from_file(io.BytesIO(data))
    zone = Zone(text)

    def is_wrong(minute: int) -> bool:
        zone.update(minute)
        offset = datetime.fromtimestamp(minute * 60, real).utcoffset()
        return offset != timedelta(minutes=zone.offset)

    start = int(now.timestamp()) // 60
    changes = [at // 60 for at in transitions(data) if at // 60 > start]
    # The zone's own changes, from both sides, and those of the string, which it may not have:
    # none is undone within ten days.
    moments = {start, *changes, *(at - 1 for at in changes)}
    moments.update(range(start, max(moments), _TEN_DAYS))
    wrong = max(filter(is_wrong, moments), default=None)
    if wrong is None:
        return None
    while is_wrong(wrong):
        wrong += 60
    return datetime.fromtimestamp(wrong * 60, UTC)
