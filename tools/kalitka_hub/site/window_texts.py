"""Time windows and hours as text, as people write and read them on the command line and in CSV.

A time window is words in any order, each of these at most once:

    08:00-17:00                          hours; 18:00-06:00 runs over midnight
    Mon-Fri, Sat,Sun or 1111100          days on which the window begins; without hours, all day
    2026-12-01T08:00/2026-12-31T18:00    first and last minute; either may be left out, and
                                         a date alone means that whole day

or the word `always`. `08:00-17:00 Mon-Fri` is one window; several are alternatives.
"""

import re
from collections.abc import Iterator

from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site.inputs import parse_input
from kalitka_hub.site.local_time import WEEKDAYS
from kalitka_hub.site.schedules import EVERY_DAY, HoursSetting, WindowSetting

_NAMES = tuple(day[:3] for day in WEEKDAYS)
_WEEKDAYS = {name.lower(): place for place, name in enumerate(_NAMES)}
_HOURS = re.compile(r"(\d?\d:\d\d)-(\d?\d:\d\d)", re.ASCII)
_MASK = re.compile(r"[01]{7}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DAY_START, _DAY_END = "00:00", "23:59"
_ALWAYS = "always"
_FORMAT_HINT = "write it like '08:00-17:00 Mon-Fri', 2026-12-01T08:00/2026-12-31T18:00 or always"


def parse_window(text: str) -> WindowSetting:
    """Parse a time window. Raises InvalidRequest."""
    words = text.split()
    if words == [_ALWAYS]:
        return WindowSetting()
    fields: dict[str, str | None] = {}
    for word in words:
        found = _parse_word(word)
        if found is None:
            raise InvalidRequest(f"{word[:40]!r} is not valid in a time window: {_FORMAT_HINT}")
        if fields.keys() & found.keys():
            raise InvalidRequest(
                f"{text[:80]!r} is more than one time window: write each separately"
            )
        fields |= found
    if not fields:
        raise InvalidRequest(f"a time window must not be empty: {_FORMAT_HINT}")
    if "days" in fields and "start" not in fields:
        fields |= {"start": _DAY_START, "end": _DAY_END}
    return parse_input(WindowSetting, **fields)


def window_text(window: WindowSetting) -> str:
    """Return the text of a time window; `parse_window` reads it back."""
    words = []
    days = EVERY_DAY if window.days is None else window.days
    if window.start is not None:
        all_day = (window.start, window.end) == (_DAY_START, _DAY_END)
        if not all_day or days == EVERY_DAY:
            words.append(f"{window.start}-{window.end}")
        if days != EVERY_DAY:
            words.append(_days_text(days))
    if window.first is not None or window.last is not None:
        words.append(f"{window.first or ''}/{window.last or ''}")
    return " ".join(words) or _ALWAYS


def parse_hours(text: str) -> HoursSetting:
    """Parse hours such as `08:00-12:00`. Raises InvalidRequest."""
    match = _HOURS.fullmatch(text.strip())
    if not match:
        raise InvalidRequest(f"{text[:40]!r} is not valid as hours: write them like 08:00-12:00")
    return parse_input(HoursSetting, start=_pad_time(match[1]), end=_pad_time(match[2]))


def hours_text(hours: HoursSetting) -> str:
    """Return the text of hours; `parse_hours` reads it back."""
    return f"{hours.start}-{hours.end}"


def first_time(text: str) -> str:
    """Return a date alone as its first minute, any other text unchanged."""
    return f"{text}T{_DAY_START}" if _DATE.fullmatch(text) else text


def last_time(text: str) -> str:
    """Return a date alone as its last minute, any other text unchanged."""
    return f"{text}T{_DAY_END}" if _DATE.fullmatch(text) else text


def _parse_word(word: str) -> dict[str, str | None] | None:
    """Return the window's fields that a word sets; None if the word is invalid."""
    match = _HOURS.fullmatch(word)
    if match:
        return {"start": _pad_time(match[1]), "end": _pad_time(match[2])}
    first, slash, last = word.partition("/")
    if slash and (first or last):
        return {
            "first": first_time(first) if first else None,
            "last": last_time(last) if last else None,
        }
    if _MASK.fullmatch(word):
        return {"days": word}
    mask = _parse_days(word)
    return {"days": mask} if mask else None


def _pad_time(text: str) -> str:
    return text.zfill(5)


def _parse_days(word: str) -> str | None:
    """Return the mask of days such as `Mon-Fri,Sun`; None if invalid. `Sat-Mon` is three days."""
    chosen = set()
    for part in word.lower().split(","):
        start, dash, end = part.partition("-")
        if start not in _WEEKDAYS or (dash and end not in _WEEKDAYS):
            return None
        first, last = _WEEKDAYS[start], _WEEKDAYS[end or start]
        chosen |= {(first + step) % 7 for step in range((last - first) % 7 + 1)}
    return "".join("1" if place in chosen else "0" for place in range(7))


def _days_text(mask: str) -> str:
    # No day at all has no name: the mask itself is the text.
    return ",".join(_runs(mask)) or mask


def _runs(mask: str) -> Iterator[str]:
    for match in re.finditer("1+", mask):
        first, last = match.start(), match.end() - 1
        if last - first < 2:
            yield from _NAMES[first : last + 1]
        else:
            yield f"{_NAMES[first]}-{_NAMES[last]}"
