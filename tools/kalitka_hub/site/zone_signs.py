"""Zones whose sign people and POSIX read differently, refused with what to write instead.

POSIX counts west of Greenwich: `MSK-3` is three hours east, and so `UTC+3`, `MSK+3` and `EET+2`
are valid strings for the other side of the world, which nobody means. A string is refused if its
name contradicts its offset, or has none that would decide. What cannot be misread is taken:
`MSK-3`, `EST5EDT`, `<-03>3`, and the names of the zone database, Etc/GMT+3 included.

The abbreviations are those of the zone database, and those that people go on writing for zones
where it has only numbers today.
"""

import re
import unicodedata
from collections import defaultdict
from functools import cache
from typing import NamedTuple

from kalitka.access.timezone import ZoneError
from kalitka.access.zonetext import parse
from kalitka_hub.site import tz_database
from kalitka_hub.site.local_time import offset_text

# The zones that people mean by abbreviations of standard time. The first of an offset is also the
# example for it.
_MEANT = {
    "MSK": "Europe/Moscow",
    "MSD": "Europe/Moscow",
    "\u041c\u0421\u041a": "Europe/Moscow",  # the same in Cyrillic
    "CET": "Europe/Berlin",
    "EET": "Europe/Kyiv",
    "WET": "Europe/Lisbon",
    "SAMT": "Europe/Samara",
    "YEKT": "Asia/Yekaterinburg",
    "IST": "Asia/Kolkata",
    "OMST": "Asia/Omsk",
    "KRAT": "Asia/Krasnoyarsk",
    "NOVT": "Asia/Novosibirsk",
    "IRKT": "Asia/Irkutsk",
    "YAKT": "Asia/Yakutsk",
    "VLAT": "Asia/Vladivostok",
    "MAGT": "Asia/Magadan",
    "SAKT": "Asia/Sakhalin",
    "PETT": "Asia/Kamchatka",
    "ANAT": "Asia/Anadyr",
    "TRT": "Europe/Istanbul",
    "FET": "Europe/Minsk",
    "AZT": "Asia/Baku",
    "AMT": "Asia/Yerevan",
    "GET": "Asia/Tbilisi",
    "GST": "Asia/Dubai",
    "IRST": "Asia/Tehran",
    "AFT": "Asia/Kabul",
    "PKT": "Asia/Karachi",
    "UZT": "Asia/Tashkent",
    "TJT": "Asia/Dushanbe",
    "TMT": "Asia/Ashgabat",
    "ALMT": "Asia/Almaty",
    "KGT": "Asia/Bishkek",
    "NPT": "Asia/Kathmandu",
    "BDT": "Asia/Dhaka",
    "BTT": "Asia/Thimphu",
    "MMT": "Asia/Yangon",
    "ICT": "Asia/Bangkok",
    "WIB": "Asia/Jakarta",
    "HOVT": "Asia/Hovd",
    "SGT": "Asia/Singapore",
    "MYT": "Asia/Kuala_Lumpur",
    "PHT": "Asia/Manila",
    "HKT": "Asia/Hong_Kong",
    "BNT": "Asia/Brunei",
    "ULAT": "Asia/Ulaanbaatar",
    "AWST": "Australia/Perth",
    "ACWST": "Australia/Eucla",
    "JST": "Asia/Tokyo",
    "KST": "Asia/Seoul",
    "ACST": "Australia/Darwin",
    "AEST": "Australia/Sydney",
    "PGT": "Pacific/Port_Moresby",
    "NCT": "Pacific/Noumea",
    "SBT": "Pacific/Guadalcanal",
    "NZST": "Pacific/Auckland",
    "FJT": "Pacific/Fiji",
    "CHAST": "Pacific/Chatham",
    "TOT": "Pacific/Tongatapu",
    "LINT": "Pacific/Kiritimati",
    "SAST": "Africa/Johannesburg",
    "CAT": "Africa/Maputo",
    "EAT": "Africa/Nairobi",
    "WAT": "Africa/Lagos",
    "MUT": "Indian/Mauritius",
    "SCT": "Indian/Mahe",
    "RET": "Indian/Reunion",
    "MVT": "Indian/Maldives",
    "AZOT": "Atlantic/Azores",
    "CVT": "Atlantic/Cape_Verde",
    "FNT": "America/Noronha",
    "BRT": "America/Sao_Paulo",
    "ART": "America/Argentina/Buenos_Aires",
    "UYT": "America/Montevideo",
    "SRT": "America/Paramaribo",
    "GFT": "America/Cayenne",
    "NST": "America/St_Johns",
    "CLT": "America/Santiago",
    "PYT": "America/Asuncion",
    "BOT": "America/La_Paz",
    "VET": "America/Caracas",
    "GYT": "America/Guyana",
    "AST": "America/Halifax",
    "EST": "America/New_York",
    "COT": "America/Bogota",
    "PET": "America/Lima",
    "ECT": "America/Guayaquil",
    "ACT": "America/Rio_Branco",
    "CST": "America/Chicago",
    "GALT": "Pacific/Galapagos",
    "MST": "America/Denver",
    "PST": "America/Los_Angeles",
    "AKST": "America/Anchorage",
    "HST": "Pacific/Honolulu",
    "GAMT": "Pacific/Gambier",
    "MART": "Pacific/Marquesas",
    "TAHT": "Pacific/Tahiti",
    "SST": "Pacific/Pago_Pago",
    "NUT": "Pacific/Niue",
}
# No place: an offset behind one of these is read by people with the sign that POSIX turns round.
_NOWHERE = ("", "UTC", "GMT", "UT", "UCT", "TZ", "Z", "ZULU")
_FARTHEST = 15 * 60  # minutes: no clock is farther from Greenwich
_SUMMER_MOST = 3 * 60  # minutes between a zone's standard and its daylight saving time

# As people write it: UTC+3, GMT +03:00, +0300, MSK+3, UTC+3h.
_HUMAN = re.compile(
    r"\(?([^\W\d_]*) ?([+-]?) ?(\d{1,2})(?::?([0-5]\d))?(?::00)?(?: ?(?:h|hours?))?\)?",
    re.IGNORECASE,
)
# As the title of a list of zones has it: (UTC+03:00) Moscow, St. Petersburg.
_TITLE = re.compile(r"(?<![\w/])(?:UTC|GMT) ?[+-] ?\d", re.IGNORECASE)
_POSIX = re.compile(r"(<[^>]+>|[A-Za-z]+)(\+?)[-:\d]+(?:(<[^>]+>|[A-Za-z]+).*)?", re.DOTALL)
_NUMERIC = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2}?)([0-5]\d)?")
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"), "-")


def advice(text: str) -> str | None:
    """Return what to write instead of a zone whose sign misleads; None for any other text.

    None, too, for texts that are no zone at all, and for invalid POSIX strings that nobody takes
    for a zone: other checks refuse these.
    """
    plain = unicodedata.normalize("NFKC", text).translate(_DASHES).strip()
    if plain in tz_database.names() or plain in _database().strings:
        return None if plain == text else f"write {plain}"
    if plain.upper() in _NOWHERE[1:]:
        return "write UTC0, or the name UTC"
    human = _HUMAN.fullmatch(plain)
    if human and human[1].upper() in _NOWHERE:
        return _nowhere(human, text)
    word = human[1].upper() if human else plain.upper()
    try:
        standard, daylight, _, _ = parse(plain)
    except ZoneError:
        if word in _database().offsets and not (human and _minutes(human) > _FARTHEST):
            return f"write {_meant(word)}"
        named = "write the zone's name alone, such as Europe/Moscow"
        return named if _TITLE.search(plain) else None
    return _misleads(plain, standard, daylight) or (None if plain == text else f"write {plain}")


class _Database(NamedTuple):
    # strings: all POSIX strings of the zone database. offsets: by abbreviation, a zone's name for
    # each of its offsets (minutes east). examples: the same by offset alone.
    strings: set[str]
    offsets: dict[str, dict[int, str]]
    examples: dict[int, str]


@cache
def _database() -> _Database:
    known = _Database(set(), defaultdict(dict), {})
    # What people mean comes first: of several zones it is the one that is named.
    for abbreviation, name in _MEANT.items():
        standard = parse(tz_database.string_of(tz_database.read(name)))[0]
        known.offsets[abbreviation].setdefault(standard, name)
    for name in dict.fromkeys([*_MEANT.values(), *tz_database.names()]):
        text = tz_database.string_of(tz_database.read(name))
        standard, daylight, start, _ = parse(text)
        known.strings.add(text)
        if "/" in name and not name.startswith("Etc/"):
            known.examples.setdefault(standard, name)
        names = _POSIX.fullmatch(text)
        assert names
        pairs = [(names[1], standard), (names[3], daylight)] if start else [(names[1], standard)]
        for abbreviation, offset in pairs:
            if abbreviation.isalpha() and abbreviation not in _NOWHERE:
                known.offsets[abbreviation.upper()].setdefault(offset, name)
    return known


def _nowhere(human: re.Match[str], text: str) -> str | None:
    # UTC+3, GMT-3, +03:00: an offset from Greenwich, which both sides of it can claim.
    minutes = _minutes(human)
    if minutes > _FARTHEST:
        return None
    if not minutes:
        return None if _is_posix(text) else "write UTC0, or the name UTC"
    east = -minutes if human[2] == "-" else minutes
    return f"people and POSIX read its sign differently: {_both(east)}"


def _misleads(text: str, standard: int, daylight: int) -> str | None:
    # Return what to write if the names of a POSIX string contradict its offsets.
    found = _POSIX.fullmatch(text)
    assert found
    word = found[1].strip("<>").upper()
    if _contradicts(found[1], standard, bool(found[2]), known_only=False):
        side = "west" if standard < 0 else "east"
        meant = _both(-standard)
        if word in _database().offsets:
            meant = f"write {_meant(word, -standard)}; or {_number(standard)} if {side} is meant"
        return f"by POSIX this is {side} of Greenwich: {meant}"
    if found[3] and (
        _contradicts(found[3], daylight, False, known_only=True)
        or abs(daylight - standard) > _SUMMER_MOST
    ):
        summer = f"its daylight saving time {found[3]} would be UTC{offset_text(daylight)}"
        if word in _database().offsets:
            return f"{summer}: write {_meant(word, standard)}"
        return f"{summer}: write the zone's name, such as Europe/Berlin"
    return None


def _contradicts(name: str, east: int, has_plus: bool, known_only: bool) -> bool:
    bare = name.strip("<>").upper()
    if number := _NUMERIC.fullmatch(bare):
        minutes = int(number[2]) * 60 + int(number[3] or 0)
        return east != (-minutes if number[1] == "-" else minutes)
    if bare in _NOWHERE:
        return east != 0
    known = _database().offsets.get(bare)
    if known is None:
        # POSIX takes any name; that an unknown one is west of Greenwich, nobody writes.
        return east < 0 and not known_only
    if east in known:
        return False
    if -east in known or (east < 0 and min(known) >= 0) or (east > 0 and max(known) < 0):
        return True
    # Arabia's AST+3 beside the Atlantic's AST4: a plus that is not that zone's own.
    return has_plus


def _meant(abbreviation: str, east: int | None = None) -> str:
    # The zone of an abbreviation, if possible the one with this offset.
    zones = _database().offsets[abbreviation]
    name = zones[east] if east in zones else next(iter(zones.values()))
    return f"{name}, or {tz_database.string_of(tz_database.read(name))}"


def _minutes(human: re.Match[str]) -> int:
    return int(human[3]) * 60 + int(human[4] or 0)


def _both(east: int) -> str:
    # What to write for an offset (minutes) and for its opposite, the likelier one first.
    example = _database().examples.get(east)
    named = f"{example}, or " if example else ""
    first, second = ("east", "west") if east > 0 else ("west", "east")
    return f"write {named}{_number(east)} if {first} is meant, {_number(-east)} if {second}"


def _number(east: int) -> str:
    # The string that is its own name: <+0530>-5:30.
    sign, against = ("+", "-") if east > 0 else ("-", "")
    hours, minutes = divmod(abs(east), 60)
    return (
        f"<{sign}{hours:02}{minutes:02}>{against}{hours}:{minutes:02}"
        if minutes
        else f"<{sign}{hours:02}>{against}{hours}"
    )


def _is_posix(text: str) -> bool:
    try:
        parse(text)
    except ZoneError:
        return False
    return True
