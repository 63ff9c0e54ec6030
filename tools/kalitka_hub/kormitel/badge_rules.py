"""From a badge and its arrivals to token codes and rule texts, as the canteen's scanner decides.

Pure: fields of objects that are not deleted in, texts out. A badge's day at the canteen is from
07:00 local time to 06:59 of the next date; an arrival feeds from its first such day to its last.
What cannot be understood opens nothing. Source: kormitel.md, "From badges and arrivals to a
reader's rules".
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

from kalitka.access import packing, rules
from kalitka.access.timezone import Zone
from kalitka.table.codes import CODE_MAX, check
from kalitka.table.rule_sets import RULE_SET_MAX
from kalitka_hub.kormitel.fields import CHILD, FREE, NO, PAID, is_date
from kalitka_hub.site.local_time import minutes_of_local
from kalitka_hub.site.schedule_rules import FOREVER, Span, local_day, merge_spans

PRESENT = ("ARRIVED", "STARTED", "JOINED")  # statuses of who is there, and eats

_DAY = rules.DAY_MINUTES
_DAY_BEGINS = 7 * 60  # the minute of the local day at which the canteen's begins
_EPOCH = date(1970, 1, 1)
_LAST_DAY = FOREVER // _DAY + 1
_OTHER = re.compile(r"[^A-Za-z0-9]+")
_UUID = re.compile(r"([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})")

Fields = Mapping[str, Any]


class Meal(NamedTuple):
    """Hours of a meal: minutes of the local day, 0 to 1439, both inclusive.

    start above end runs over midnight. night: it is not for feed PAID.
    """

    name: str
    start: int
    end: int
    night: bool = False


class RuleTexts(NamedTuple):
    """The rules of a token. omitted: the number of later windows that did not fit yet."""

    texts: tuple[str, ...]
    omitted: int


def canonical_code(text: str) -> str:
    """Return what counts of a code as it is printed or scanned: its letters and digits (ASCII)."""
    return _OTHER.sub("", text)


def badge_codes(key: str, fields: Fields) -> tuple[str, ...]:
    """Return the token codes of a badge, the canonical one first; none if that is too long.

    It is that of the last known `qr`, else that of the id. A reader compares bytes, so the others
    are how it may be printed: a uuid with dashes, a `qr` with what does not count.
    """
    printed = str(fields.get("qr") or "").strip()
    code = canonical_code(printed) or canonical_code(key)
    if not 0 < len(code) <= CODE_MAX:
        return ()
    match = _UUID.fullmatch(code)
    others = ["-".join(match.groups())] if match else []
    if canonical_code(printed) and _is_code(printed):
        others.append(printed)
    return tuple(dict.fromkeys((code, *others)))


def _is_code(text: str) -> bool:
    try:
        return check(text.encode()) is None
    except UnicodeEncodeError:
        return False


def badge_name(key: str, fields: Fields) -> str:
    """Return what people call a badge: its name, else the names of its owner, else its id."""
    parts = (fields.get("first_name"), fields.get("last_name"))
    names = (fields.get("name"), " ".join(str(part) for part in parts if part))
    printable = ("".join(filter(str.isprintable, str(name or ""))).strip() for name in names)
    return next(filter(None, printable), key)


def never_fed_reason(fields: Fields) -> str | None:
    """Return why a badge has no rules whatever its arrivals, in words; None if they decide."""
    if fields.get("is_blocked"):
        return "the badge is blocked"
    feed = fields.get("feed")
    if feed == NO:
        return "feed is NO: it is not fed"
    if feed and feed not in (FREE, CHILD, PAID):
        return f"feed is {feed!r}, which is not known here"
    return None


def not_counted_reason(arrival: Fields, *, paid: bool) -> str | None:
    """Return why an arrival opens nothing, in words; None if it does, in its time.

    paid: it is a paid arrival, whose status is looked at only if it has one.
    """
    status = arrival.get("status")
    if status not in PRESENT and not (paid and status is None):
        return "it has no status" if status is None else f"{status} does not eat"
    first, last = _days(arrival)
    if first is None or last is None:
        return "its dates are not both known"
    return "it ends before it begins" if last < first else None


def fed_windows(
    fields: Fields, arrivals: Iterable[Fields], paid_arrivals: Iterable[Fields], zone: Zone
) -> list[Span]:
    """Return when a badge is fed, in order; what overlaps or meets is merged."""
    if never_fed_reason(fields):
        return []
    paid = fields.get("feed") == PAID
    counted = paid_arrivals if paid else arrivals
    return merge_spans(
        [arrival_span(one, zone) for one in counted if not_counted_reason(one, paid=paid) is None]
    )


def arrival_span(arrival: Fields, zone: Zone) -> Span:
    """Return the time of an arrival that has both dates, cut to 1970 to 2099."""
    first, last = _days(arrival)
    if first is None or last is None:
        raise ValueError("an arrival without both dates has no time")
    return Span(_begin(first, zone.text), min(_begin(last + 1, zone.text) - 1, FOREVER))


def rule_texts(
    windows: Sequence[Span], feed: str | None, meals: Sequence[Meal], now: int, zone: Zone
) -> RuleTexts:
    """Return the rules of windows: all day without meals, else at the hours of the meals.

    windows: as `fed_windows` returns them. now: any minute of today, since 1970 UTC. What was over
    before today is left out. A reader holds RULE_SET_MAX bytes of one code: the nearest windows
    come first, and those that do not fit come in as others are over.
    """
    hours = [f"{meal.start}_{meal.end}_1111111" for meal in meals_for(meals, feed)]
    if meals and not hours:
        return RuleTexts((), 0)
    today_at = _today_at(now, zone)
    found: list[str] = []
    room = RULE_SET_MAX
    coming = [window for window in windows if window.last >= today_at]
    for done, (first, last) in enumerate(coming):
        texts = [f"7_{of_meal}_{first}_{last}" for of_meal in hours] or [f"1_{first}_{last}"]
        room -= sum(len(packing.pack(text.encode())) for text in dict.fromkeys(texts))
        if room < 0:
            return RuleTexts(tuple(found), len(coming) - done)
        found += dict.fromkeys(texts)
    return RuleTexts(tuple(found), 0)


def expired_texts(texts: Iterable[str], now: int, zone: Zone) -> list[str]:
    """Return the rules, of those that `rule_texts` makes, that expired before today."""
    today_at = _today_at(now, zone)
    return [text for text in texts if int(text.rpartition("_")[2]) < today_at]


def meals_for(meals: Sequence[Meal], feed: str | None) -> list[Meal]:
    """Return the meals that are for this feed: a night meal is not for PAID."""
    return [meal for meal in meals if not (meal.night and feed == PAID)]


def _days(arrival: Fields) -> tuple[int | None, int | None]:
    """Return the local days of both dates; None for what is none."""
    dates = arrival.get("arrival_date"), arrival.get("departure_date")
    first, last = (_day(text) if isinstance(text, str) else None for text in dates)
    return first, last


@lru_cache(maxsize=4096)
def _day(text: str) -> int | None:
    try:
        return (date.fromisoformat(text) - _EPOCH).days if is_date(text) else None
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def _begin(day: int, zone: str) -> int:
    """Return the minute since 1970 UTC at which the canteen's day of a local date begins."""
    if day < 1:
        return 0
    return _first_minute(min(day, _LAST_DAY) * _DAY + _DAY_BEGINS, Zone(zone))


def _today_at(now: int, zone: Zone) -> int:
    """Return the minute since 1970 UTC at which the local date of a minute begins."""
    return _first_minute(local_day(zone, now) * _DAY, zone)


def _first_minute(local: int, zone: Zone) -> int:
    # Where the clocks are put forward over it, the first minute behind that.
    while not (minutes := minutes_of_local(local, zone)):
        local += 1
    return minutes[0]
