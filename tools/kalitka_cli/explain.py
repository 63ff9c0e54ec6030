"""`kalitka explain`: access rules in words, and a reader's verdict on them with its reason.

The firmware's own modules decide, so the verdict is that of a reader with the same rules, the
same zone and a correct clock.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console

from kalitka.access import decision, packing, rules
from kalitka.access.timezone import Zone, ZoneError
from kalitka.table import codes
from kalitka_cli.table_files import print_error, printable
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site import token_codes
from kalitka_hub.site.local_time import (
    WEEKDAYS,
    clock_text,
    first_minute_from,
    minutes_of_local,
    offset_text,
)
from kalitka_hub.site.zone import UnknownZone, posix_of, posix_or_iana

_DAY = rules.DAY_MINUTES
_EPOCH = datetime(1970, 1, 1)
_AT = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d)", re.ASCII)

# The form of each kind of rule.
_FORMS = {
    "1": "1_FROM_TO, minutes since 1970 UTC, such as 1_29923200_29933279",
    "3": "3_START_END_MASK, such as 3_480_1200_1111100: 8:00 to 20:00, Monday to Friday",
    "7": "7_START_END_MASK_FROM_TO, such as 7_480_720_1010100_29923200_29933279",
    "9": "9_1 (always) or 9_0 (never)",
}


class InvalidInput(Exception):
    """An argument is invalid; the message says why, and what is valid."""


@dataclass
class Moment:
    """A minute since 1970 UTC, with the reader's local time then."""

    minute: int
    day_minute: int
    weekday: int
    text: str


def run(
    texts: list[str], at: str | None, tz: str | None, unit: str, scanners: Iterable[str] = ()
) -> int:
    """Explain the rules of a token. Return the exit status: 0 allowed, 1 denied, 2 invalid input.

    at: local time, `2026-11-22 09:30`; None for now. tz: a zone's name or POSIX string; None for
    UTC. unit: the setting `day_time_unit`. An ambiguous local time, as clocks are put back, counts
    as allowed only if both of its minutes are. scanners: what the reader's scanner sends, names of
    `token_codes.PRESETS`; none if that is not known.
    """
    try:
        packed = list(_parse_rules(texts))
        zone = _zone(tz)
        moments = _moments(at, zone)
        unread = _unread_warning(texts, scanners)
    except InvalidInput as fault:
        return print_error(str(fault), 2)
    console = Console(highlight=False, soft_wrap=True)
    seconds = rules.in_seconds(unit, any(map(packing.needs_seconds, packed)))
    for rule in packed:
        text = rules.text_of(rule).decode()
        console.print(f"[bold]{text}[/]  {describe_rule(rule, seconds, zone)}")
    for note in _notes(packed, unit, seconds):
        console.print(f"[dim]{note}[/]")
    console.print()
    place = "UTC; give --tz for another zone" if tz is None else zone.text
    if tz not in (None, zone.text):
        place = f"{tz}, for a reader {zone.text}"
    console.print(f"time zone: {printable(place, console)}")
    if len(moments) > 1:
        console.print(f"{moments[0].text[4:]} exists twice there: the clocks are put back.")
    for note in _zone_warning(tz, zone, moments):
        console.print(f"[yellow]{printable(note, console)}[/]")
    status = max(
        [
            _print_verdict(packed, seconds, zone, moment, at is None, bool(unread), console)
            for moment in moments
        ]
    )
    if unread:
        console.print(f"[yellow]{printable(unread, console)}[/]")
    return status


def describe_rule(rule: bytes, seconds: bool, zone: Zone) -> str:
    """Describe in words when a packed rule permits, in the local time of `zone`."""
    kind, *fields = rules.text_of(rule).decode().split("_")
    if kind == "9":
        return "always, even while the clock is not set" if fields[0] == "1" else "never"
    dates = ""
    if kind in "17":
        first, last = (decision.date_text(int(field), zone) for field in fields[-2:])
        dates = f"from {first} to {last}, both minutes included"
    if kind == "1":
        return dates
    words = _describe_hours(int(fields[0]), int(fields[1]), fields[2], seconds)
    if kind == "3" or words.startswith("never"):
        return words
    window_note = ", whenever the window began" if "over midnight" in words else ""
    return f"{words}; and only {dates}{window_note}"


def _describe_hours(start: int, end: int, mask: str, seconds: bool) -> str:
    per_minute = rules.MINUTE if seconds else 1
    first, last = start // per_minute, end // per_minute
    if max(first, last) > _DAY:
        return f"never: {max(start, end)} is not a day time in minutes (0 to {_DAY})"
    if "1" not in mask:
        return "never: the mask names no day"
    over_midnight = start > end
    if first == _DAY and not over_midnight:
        return "never: no day has a minute 24:00"
    exactly = ""
    if seconds and (start % 60 or end % 60 not in (0, 59)):
        exactly = (
            f" ({_exact_time(start)} to {_exact_time(end)}, and every minute that this touches)"
        )
    days, begin = _days(mask), clock_text(first)
    if not over_midnight:
        last = min(last, _DAY - 1)
        if (first, last) == (0, _DAY - 1):
            return f"{days}, all day"
        return f"{days} from {begin} to {clock_text(last)}, both minutes included{exactly}"
    return (
        f"{days} from {begin} over midnight to {clock_text(last)} of the next day, "
        f"both minutes included{exactly}; the mask names the day on which it begins"
    )


def _exact_time(second: int) -> str:
    return f"{clock_text(second // 60)}:{second % 60:02}"


def _days(mask: str) -> str:
    if mask == "1111111":
        return "every day"
    # A run of three or more days is written as its first to its last day.
    words = []
    for run_of_days in re.finditer("1+", mask):
        names = WEEKDAYS[run_of_days.start() : run_of_days.end()]
        words += [f"{names[0]} to {names[-1]}"] if len(names) > 2 else names
    *others, last = words
    return f"on {', '.join(others)} and {last}" if others else f"on {last}"


def _notes(packed: list[bytes], unit: str, seconds: bool) -> Iterator[str]:
    if not any(rule[0] in (3, 7) for rule in packed):
        return
    if unit != "auto":
        yield f"Day times are {unit}s, as the setting day_time_unit says."
    elif seconds:
        yield (
            "A day time above 1440: the reader takes all day times of its table as seconds. "
            "If that is wrong, set day_time_unit."
        )
    else:
        yield (
            "Day times are minutes, unless a rule of the whole table has one above 1440; "
            "see --unit and the setting day_time_unit."
        )


def _parse_rules(texts: Iterable[str]) -> Iterator[bytes]:
    seen: dict[str, None] = {}
    for text in texts:
        code, separator, rule = text.partition("_/")
        if separator:
            _check_code(code, text)
            seen[code] = None
        else:
            rule = text.removeprefix("/")
        if len(seen) > 1:
            raise InvalidInput(
                f"these are rules of two codes, {' and '.join(seen)}: explain one at a time"
            )
        try:
            yield packing.pack(rule.encode())
        except (rules.RuleError, UnicodeEncodeError) as fault:
            words = str(fault) if isinstance(fault, rules.RuleError) else "not valid text"
            forms = _FORMS.get(rule[:1]) or "; ".join(_FORMS.values())
            raise InvalidInput(f"invalid rule {text!r}: {words}; write {forms}") from None


def _check_code(code: str, text: str) -> None:
    fault = codes.check(code.encode(errors="surrogateescape"))
    if fault:
        raise InvalidInput(f"invalid line CODE_/RULE {text!r}: {fault}")


def _unread_warning(texts: Iterable[str], scanners: Iterable[str]) -> str | None:
    # Why no scanner can send the code of the lines; None if one can, or there is no code.
    try:
        presets = token_codes.parse_scanners(scanners)
    except InvalidRequest as fault:
        raise InvalidInput(f"--scanners: {fault}") from None
    for text in texts:
        code, separator, _ = text.partition("_/")
        if separator:
            return token_codes.warning(code, presets, "this reader")
    return None


def _zone(tz: str | None) -> Zone:
    try:
        return Zone("UTC0" if tz is None else posix_or_iana(tz))
    except UnknownZone as fault:
        raise InvalidInput(f"--tz: {fault}") from None
    except ZoneError as fault:
        raise InvalidInput(
            f"--tz: invalid time zone {tz!r}: {fault}; write a name such as Europe/Moscow, or a "
            "POSIX string such as MSK-3"
        ) from None


def _moments(at: str | None, zone: Zone) -> list[Moment]:
    # One moment, or two for an ambiguous local time.
    if at is None:
        return [_moment(int(datetime.now(UTC).timestamp()) // 60, zone)]
    match = _AT.fullmatch(at)
    try:
        if not match:
            raise ValueError("wrong form")
        local = (datetime.fromisoformat(f"{match[1]} {match[2]}") - _EPOCH).total_seconds() // 60
    except ValueError as fault:
        raise InvalidInput(
            f"--at: invalid local time {at!r}: {fault}; write 2026-11-22 09:30"
        ) from None
    minutes = minutes_of_local(int(local), zone)
    if not minutes:
        raise InvalidInput(_skipped_time_message(at, int(local), zone))
    if minutes[0] < 0:
        raise InvalidInput(
            f"--at: {at} is before 1970, where the reader's time begins; give a later time"
        )
    return [_moment(minute, zone) for minute in minutes]


def _skipped_time_message(at: str, local: int, zone: Zone) -> str:
    # The clock jumps from one local minute to a later one; the minutes between do not exist.
    skipped_to = first_minute_from(local, zone)
    before, after = (decision.date_text(minute, zone) for minute in (skipped_to - 1, skipped_to))
    return (
        f"--at: there is no {at} in {zone.text}: the clocks are put forward, and after {before} "
        f"comes {after}; give a time before or after that"
    )


def _moment(minute: int, zone: Zone) -> Moment:
    # Also sets the zone to this minute. The offset of a time that occurs twice is shown for all.
    date = decision.date_text(minute, zone)[: len("2026-11-22 09:30")]
    day = WEEKDAYS[zone.weekday][:3]
    return Moment(minute, zone.day_minute, zone.weekday, f"{day} {date}")


def _zone_warning(tz: str | None, zone: Zone, moments: list[Moment]) -> Iterator[str]:
    # The POSIX string holds from now on; in the past the zone may have had other rules.
    if tz in (None, zone.text):
        return
    moment = moments[0].minute * 60
    try:
        if moment < datetime.now(UTC).timestamp():
            posix_of(str(tz), datetime.fromtimestamp(moment, UTC))
    except UnknownZone:
        yield (
            f"{tz} has changed its rules since then; like the reader, the following uses today's: "
            f"{zone.text}."
        )


def _print_verdict(
    packed: list[bytes],
    seconds: bool,
    zone: Zone,
    moment: Moment,
    now: bool,
    unread: bool,
    console: Console,
) -> int:
    rule_set = b""
    for rule in packed:
        rule_set = packing.insert(rule_set, rule)
    place = moment.minute, moment.day_minute, moment.weekday
    verdict = decision.Verdict()
    reason = verdict.decide(rule_set, 0, len(rule_set), seconds, *place)
    when = f"{moment.text} {_utc_offset_text(moment.minute, zone)}{', now' if now else ''}"
    if reason == decision.ALLOWED:
        rule = rules.text_of(rule_set, verdict.rule).decode()
        but = ", but no scanner can send this code" if unread else ""
        console.print(f"{when}: [bold green]allowed[/], by {rule}{but}")
        return 0
    console.print(f"{when}: [bold red]denied: {_denial_text(reason, verdict.when, zone)}[/]")
    if len(packed) > 1:
        for rule in packed:
            denial = rules.evaluate(rule, 0, seconds, *place)
            text = _denial_text(denial, rules.date_of(rule, 0, denial), zone)
            console.print(f"  {rules.text_of(rule).decode()}: {text}")
    return 1


def _denial_text(reason: int, when: int, zone: Zone) -> str:
    words = decision.REASONS[reason]
    if not when:
        return words
    edge = "from" if reason == rules.NOT_YET else "until"
    return f"{words}, {edge} {decision.date_text(when, zone)}"


def _utc_offset_text(minute: int, zone: Zone) -> str:
    zone.update(minute)
    offset = zone.offset
    return f"(UTC{offset_text(offset)})" if offset else "(UTC)"
