"""Token codes and rule texts of a badge and its arrivals, as the canteen's scanner decides.

Pure: fields of objects that are not deleted in, texts out. A canteen day runs from 07:00 local
time to 06:59 on the next date; an arrival feeds its badge from the first such day to the last.
Values that cannot be understood open nothing. Source: kormitel.md, "From badges and arrivals to a
reader's rules".
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

from kalitka.access import packing, rules
from kalitka.access.timezone import Zone
from kalitka.table.codes import CODE_MAX, check
from kalitka.table.rule_sets import RULE_SET_MAX
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.kormitel.fields import CHILD, FREE, NO, PAID, is_date
from kalitka_hub.site.local_time import first_minute_from
from kalitka_hub.site.schedule_rules import FOREVER, Span, local_day, merge_spans
from kalitka_hub.site.token_codes import normalize

PRESENT = ("ARRIVED", "STARTED", "JOINED")  # arrival statuses of people who are present, and eat

_DAY = rules.DAY_MINUTES
_DAY_BEGINS = 7 * 60  # the minute of the local day at which the canteen's day begins
_EPOCH = date(1970, 1, 1)
_LAST_DAY = FOREVER // _DAY + 1
_OTHER = re.compile(r"[^A-Za-z0-9]+")
_UUID_DIGITS = 32
_UUID = re.compile(r"([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})")

Fields = Mapping[str, Any]


class Meal(NamedTuple):
    """The hours of a meal: minutes of the local day, 0 to 1439, both inclusive.

    start above end runs over midnight. night: the meal is not for feed PAID.
    """

    # Do not rename: stored with the site.
    name: str
    start: int
    end: int
    night: bool = False


class RuleTexts(NamedTuple):
    """The rules of a token. omitted: the number of later windows that do not fit yet."""

    texts: tuple[str, ...]
    omitted: int


def canonical_code(text: str) -> str:
    """Return the significant part of a printed or scanned code: its ASCII letters and digits."""
    return _OTHER.sub("", text)


def badge_codes(key: str, fields: Fields) -> tuple[str, ...]:
    """Return the token codes of a badge, the canonical code first; none if that is too long.

    The canonical code is that of the last known `qr`, or that of the id if a `qr` was never sent.
    A `qr` of null or without letters and digits has none: Kormitel's scanners know no code of such
    a badge, and neither does a reader. A reader compares
    bytes, so the other codes are printed forms of it: a uuid with dashes, a `qr` as it stands, and
    the code of a card as its scanner sends it, which Kormitel's programs write in small letters.
    """
    printed = str(fields.get("qr") or "").strip()
    code = canonical_code(printed if "qr" in fields else key)
    if not 0 < len(code) <= CODE_MAX:
        return ()
    match = _UUID.fullmatch(code)
    others = ["-".join(match.groups())] if match else []
    if canonical_code(printed) and _is_code(printed):
        others.append(printed)
    with suppress(InvalidRequest):
        card = normalize(printed or code)
        if len(card) < _UUID_DIGITS and _is_code(card):
            others.append(card)
    return tuple(dict.fromkeys((code, *others)))


def no_code_reason(fields: Fields) -> str:
    """Return why a badge without codes has none, in words."""
    if "qr" in fields and not canonical_code(str(fields["qr"] or "")):
        return "the badge has no code now: its qr was cleared. Give it one"
    return "the badge has no code that a reader could take"


def _is_code(text: str) -> bool:
    try:
        return check(text.encode()) is None
    except UnicodeEncodeError:
        return False


def badge_name(key: str, fields: Fields) -> str:
    """Return the display name of a badge: its name, else the names of its owner, else its id."""
    parts = (fields.get("first_name"), fields.get("last_name"))
    names = (fields.get("name"), " ".join(str(part) for part in parts if part))
    printable = ("".join(filter(str.isprintable, str(name or ""))).strip() for name in names)
    return next(filter(None, printable), key)


def never_fed_reason(fields: Fields) -> str | None:
    """Return why a badge has no rules whatever its arrivals, in words; None if arrivals decide."""
    if fields.get("is_blocked"):
        return "the badge is blocked"
    feed = fields.get("feed")
    if feed == NO:
        return "feed is NO: the badge is not fed"
    if feed and feed not in (FREE, CHILD, PAID):
        return f"feed is {feed!r}, which is not known here"
    return None


def not_counted_reason(arrival: Fields, *, paid: bool) -> str | None:
    """Return why an arrival opens nothing, in words; None if the arrival feeds its badge.

    paid: whether this is a paid arrival, whose status matters only if there is one.
    """
    status = arrival.get("status")
    if status not in PRESENT and not (paid and status is None):
        return "it has no status" if status is None else f"its status is {status}: not present"
    first, last = _days(arrival)
    if first is None or last is None:
        return "a date is missing or invalid"
    return "it ends before it begins" if last < first else None


def fed_windows(
    fields: Fields, arrivals: Iterable[Fields], paid_arrivals: Iterable[Fields], zone: Zone
) -> list[Span]:
    """Return the windows in which a badge is fed, in order; adjoining ones are merged."""
    if never_fed_reason(fields):
        return []
    paid = fields.get("feed") == PAID
    counted = paid_arrivals if paid else arrivals
    return merge_spans(
        [arrival_span(one, zone) for one in counted if not_counted_reason(one, paid=paid) is None]
    )


def arrival_span(arrival: Fields, zone: Zone) -> Span:
    """Return the time of an arrival, cut to 1970 to 2099. Raises ValueError without both dates."""
    first, last = _days(arrival)
    if first is None or last is None:
        raise ValueError("an arrival without both dates has no time")
    return Span(_begin(first, zone.text), min(_begin(last + 1, zone.text) - 1, FOREVER))


def rule_texts(
    windows: Sequence[Span], feed: str | None, meals: Sequence[Meal], now: int, zone: Zone
) -> RuleTexts:
    """Return the rules of windows: all day without meals, else at the hours of the meals.

    windows: from `fed_windows`. now: any minute of today, since 1970 UTC. Windows that ended
    before today are left out. A reader holds RULE_SET_MAX bytes per code: the nearest windows come
    first, and those that do not fit are added as others expire.
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
    """Return the rules among `texts`, from `rule_texts`, that expired before today."""
    today_at = _today_at(now, zone)
    return [text for text in texts if int(text.rpartition("_")[2]) < today_at]


def meals_for(meals: Sequence[Meal], feed: str | None) -> list[Meal]:
    """Return the meals for this feed: a night meal is not for PAID."""
    return [meal for meal in meals if not (meal.night and feed == PAID)]


def _days(arrival: Fields) -> tuple[int | None, int | None]:
    """Return the local days of both dates, since 1970; None for a missing or invalid date."""
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
    """Return the minute since 1970 UTC at which the canteen's day of a local date begins.

    day: days since 1970.
    """
    if day < 1:
        return 0
    return first_minute_from(min(day, _LAST_DAY) * _DAY + _DAY_BEGINS, Zone(zone))


def _today_at(now: int, zone: Zone) -> int:
    """Return the minute since 1970 UTC at which the local date of minute `now` begins."""
    return first_minute_from(local_day(zone, now) * _DAY, zone)
