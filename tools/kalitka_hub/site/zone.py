"""Time zones in the form of the readers: POSIX TZ strings such as `MSK-3`.

A POSIX string is accepted if the readers' own `kalitka.access.timezone` accepts it. An IANA name
(`Europe/Moscow`) is translated with the `tzdata` package, independently of the machine's own
files. A TZif file ends with the string for the time after its last transition. Where the law does
not have the form of such a string, or is about to change, the string is wrong until then: Gaza's,
for 2086, does not know Ramadan. Such a name is refused, because a setting outlives the memory of
a warning; the message has the string, so that it can still be set on purpose.
"""

import io
import struct
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from zoneinfo import ZoneInfo

from kalitka.access.timezone import Zone, ZoneError
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site import tz_database, zone_signs
from kalitka_hub.site.local_time import offset_text
from kalitka_hub.site.tz_database import names

_HEAD = struct.Struct(">4sc15x6L")  # RFC 9636, 3.1
_TEN_DAYS = 14400  # minutes


class UnknownZone(InvalidRequest):
    """A zone name has no usable POSIX string; the message says why, and what to write instead."""


def check_zone(text: str) -> str:
    """Return the POSIX TZ string of a zone given by name or as such a string.

    Raises InvalidRequest.
    """
    try:
        return posix_or_iana(text)
    except ZoneError as fault:
        raise InvalidRequest(
            f"{text!r} is not a valid time zone: {fault}; write a name such as Europe/Moscow, or "
            "name and offset such as UTC0, MSK-3 or EET-2EEST,M3.5.0/3,M10.5.0/4"
        ) from fault


def whole_hours(zone: str, minute: int) -> int:
    """Return a zone's offset at a minute, in whole hours east of UTC, truncated towards 0.

    zone: a POSIX TZ string. minute: since 1970 UTC. Raises ZoneError.
    """
    place = Zone(zone)
    place.update(minute)
    hours = abs(place.offset) // 60
    return hours if place.offset > 0 else -hours


def zone_in_words(text: str, zone: str, minute: int) -> str:
    """Return a zone as people read it, with its offset at a minute: `Europe/Moscow (UTC+03:00)`.

    text: its name, or its string. zone: its POSIX TZ string. minute: since 1970 UTC.
    """
    place = Zone(zone)
    place.update(minute)
    offset = place.offset
    # The database's own fixed offsets count like POSIX: Etc/GMT+3 is west.
    side = ""
    if text.startswith("Etc/GMT") and offset:
        side = f", {'east' if offset > 0 else 'west'} of Greenwich"
    return f"{text} (UTC{offset_text(offset)}{side})"


def posix_of(name: str, now: datetime | None = None) -> str:
    """Return the POSIX TZ string that is right in the zone `name` from `now` (aware) on.

    Raises UnknownZone if there is no such zone, or no string is right from `now` on.
    """
    data = _tzif(name)
    text = tz_database.string_of(data)
    right = _right_from(data, text, now or datetime.now(UTC))
    if right:
        raise UnknownZone(
            f"{name}: no POSIX zone holds there before {right:%Y-%m-%d}: the nearest is {text}, "
            "but the clock would be wrong at times; write it yourself to take it, or let the "
            "server give the zone"
        )
    return text


def posix_or_iana(text: str) -> str:
    """Return the POSIX TZ string of a zone given by name or as such a string.

    Raises UnknownZone, also for a string whose sign misleads (see `zone_signs`), or ZoneError with
    the position if the text looks like a POSIX string.
    """
    if instead := zone_signs.advice(text):
        raise UnknownZone(f"{text}: {instead}")
    try:
        Zone(text)
    except ZoneError:
        if "," in text or ("/" not in text and any(char.isdigit() for char in text)):
            raise
        return posix_of(text)
    return text


def transitions(data: bytes) -> tuple[int, ...]:
    """Return all transitions listed in a TZif file (bytes), in seconds since 1970 UTC."""
    # The first data block has 32-bit times only; skip it, the second has all of them in 64 bits.
    isutc, isstd, leaps, times, types, chars = _HEAD.unpack_from(data)[2:]
    at = _HEAD.size + times * 5 + types * 6 + chars + leaps * 8 + isstd + isutc
    count = _HEAD.unpack_from(data, at)[5]
    return struct.unpack_from(f">{count}q", data, at + _HEAD.size)


def _tzif(name: str) -> bytes:
    if name not in names():
        raise UnknownZone(f"{name}: there is no such zone{_meant(name)}")
    return tz_database.read(name)


def _meant(name: str) -> str:
    # People write the city alone, or in small letters.
    by_key = {
        key.lower(): full for full in sorted(names()) for key in (full, full.rsplit("/")[-1])
    }
    key = name.lower().replace(" ", "_")
    keys = [key] if key in by_key else get_close_matches(key, by_key, cutoff=0.75)
    near = dict.fromkeys(by_key[key] for key in keys)
    return f"; did you mean {' or '.join(near)}?" if near else "; they look like Europe/Moscow"


def _right_from(data: bytes, text: str, now: datetime) -> datetime | None:
    # Return the time from which on the string is right, None if it already is at `now`.
    real = ZoneInfo.from_file(io.BytesIO(data))
    zone = Zone(text)

    def is_wrong(minute: int) -> bool:
        zone.update(minute)
        offset = datetime.fromtimestamp(minute * 60, real).utcoffset()
        return offset != timedelta(minutes=zone.offset)

    start = int(now.timestamp()) // 60
    changes = [at // 60 for at in transitions(data) if at // 60 > start]
    # Compare on both sides of the zone's own transitions, and every ten days for transitions that
    # only the string has: none of those is undone within ten days.
    moments = {start, *changes, *(at - 1 for at in changes)}
    moments.update(range(start, max(moments), _TEN_DAYS))
    wrong = max(filter(is_wrong, moments), default=None)
    if wrong is None:
        return None
    while is_wrong(wrong):
        wrong += 60
    return datetime.fromtimestamp(wrong * 60, UTC)
