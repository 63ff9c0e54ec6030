"""The kinds, fields, field types and ids of Kormitel's objects. Pure.

Incoming fields are checked by the types here: strictly where rules depend on them, elsewhere only
so far that they can be stored. Unknown fields are stored as they are. A few fields come under two
names: `feed_type` (a number) is `feed`, `is_vegan` is `vegan`. `wire` decides what may be sent.
Source: kormitel.md, "Fields" and "What it sends that surprises".
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any, Literal, get_args

from kalitka_hub.errors import InvalidRequest
from kalitka_hub.store.kormitel_models import KEY_MAX, KIND_MAX

PERSONS, DIRECTIONS, ENGAGEMENTS = "persons", "directions", "engagements"
BADGES, ARRIVALS, PAID_ARRIVALS = "badges", "arrivals", "paid_arrivals"
# In the order in which the client saves them: referred kinds come first.
KINDS = (PERSONS, DIRECTIONS, ENGAGEMENTS, BADGES, ARRIVALS)

FREE, PAID, CHILD, NO = "FREE", "PAID", "CHILD", "NO"
Feed = Literal["FREE", "PAID", "CHILD", "NO"]
FEEDS: tuple[Feed, ...] = get_args(Feed)  # do not reorder: `feed_type` counts them from 1
Status = Literal[
    "PLANNED",
    "CANCELLED",
    "PENDING",
    "CONFIRMED",
    "SKIPPED",
    "ARRIVED",
    "STARTED",
    "LEFT",
    "COMPLETE",
    "JOINED",
]
STATUSES: tuple[Status, ...] = get_args(Status)
TRANSPORTS = ("UNDEFINED", "SELF", "BUS", "CAR", "TRANSFER", "MOVE")
GENDERS = ("MALE", "FEMALE", "OTHER")
DIRECTION_TYPES = (
    *("CITY_SERVICE", "FIELD_SERVICE", "UNIVERSAL_SERVICE", "FEDERAL_LOCATION"),
    *("GRANT_LOCATION", "COMMERCIAL_LOCATION", "LATERAL_LOCATION", "RESPONSIBILITY_AREA"),
)

FROM_DATE = "from_date"  # stands beside the groups of a document, and is not a group
FIELDS_MAX = 200  # of one object
TEXT_MAX = 10_000  # characters of a text anywhere in a field
_NESTED_MAX = 20
_KIND = re.compile(rf"[A-Za-z][A-Za-z0-9_]{{0,{KIND_MAX - 1}}}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}")
_PLAIN_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NUMBER = re.compile(r"0|[1-9]\d{0,17}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def check_kind(kind: str) -> str:
    """Return the name of a group of objects. Raises InvalidRequest if the name is not valid."""
    if not _KIND.fullmatch(kind) or kind == FROM_DATE:
        raise InvalidRequest(
            f"{kind[:40]!r} is not a valid group: use up to {KIND_MAX} letters, digits and _, a "
            "letter first"
        )
    return kind


def object_key(given: object) -> str:
    """Return the key of an object's id, a number or text: a uuid in lower case and with dashes.

    Raises InvalidRequest.
    """
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 10**18:
        return str(given)
    if not isinstance(given, str) or not given.strip():
        raise InvalidRequest("there is no id: send a uuid")
    text = given.strip()
    if len(text) > KEY_MAX or not text.isprintable():
        raise InvalidRequest(f"{text[:40]!r} is not a valid id: send a uuid")
    match = _UUID.fullmatch(text.lower())
    if match is None:
        return text
    digits = match[0].replace("-", "")
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def wire_id(key: str) -> int | str:
    """Return an id as it is sent: a number if it consists of digits alone."""
    return int(key) if _NUMBER.fullmatch(key) else key


def is_uuid(key: str) -> bool:
    """Tell whether a key is a uuid."""
    return _PLAIN_UUID.fullmatch(key) is not None


def is_date(text: str) -> bool:
    """Tell whether a text is a calendar date in ISO form, `2026-11-21`."""
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def check_fields(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an object of a kind in the form in which they are stored.

    Raises InvalidRequest for a value of a wrong type, or one that a database cannot store.
    """
    if len(fields) > FIELDS_MAX:
        raise InvalidRequest(f"there are more than {FIELDS_MAX} fields: send fewer")
    known = _TYPES.get(kind, {})
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if not name or len(name) > KEY_MAX or not name.isprintable():
            raise InvalidRequest(f"{name[:40]!r} is not a valid field name")
        for wrong in _value_problems(value, 0):
            raise InvalidRequest(f"{name}: {wrong}")
        to, type_of = _ALIASES.get((kind, name)) or (name, known.get(name))
        if value is not None and type_of is not None:
            value = type_of(name, value)  # noqa: PLW2901
        # If both names are sent, the field's own name wins.
        if to == name or to not in fields:
            found[to] = value
    return found


def reference_key(fields: Mapping[str, Any], name: str) -> str | None:
    """Return the key of the object that the field `name` refers to, None without a valid one."""
    value = fields.get(name)
    try:
        return None if value is None else object_key(value)
    except InvalidRequest:
        return None


def _value_problems(value: Any, depth: int) -> Iterator[str]:
    if depth > _NESTED_MAX:
        yield f"it is nested more than {_NESTED_MAX} levels deep"
    elif isinstance(value, str):
        if len(value) > TEXT_MAX:
            yield f"it is longer than {TEXT_MAX} characters"
        elif not _is_text(value):
            yield "it has a character that cannot be stored: leave out NUL and lone surrogates"
    elif isinstance(value, float) and not math.isfinite(value):
        yield "it is not a finite number"
    elif isinstance(value, int) and abs(value) >= 1 << 63:
        yield "it is a number of more than 64 bits"
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _value_problems(name, depth + 1)
            yield from _value_problems(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _value_problems(item, depth + 1)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _text(name: str, value: object) -> object:
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} is not text")
    return value


def _text_or_number(name: str, value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidRequest(f"{name} is neither text nor a number")
    return value


def _number(name: str, value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"{name} is not a whole number")
    return value


def _yes_or_no(name: str, value: object) -> object:
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name} is neither true nor false")
    return value


def _date(name: str, value: object) -> object:
    if not isinstance(value, str) or not is_date(value):
        raise InvalidRequest(f"{name} is not a valid date: send it like 2026-11-21")
    return value


def _id(name: str, value: object) -> object:
    try:
        return wire_id(object_key(value))
    except InvalidRequest as fault:
        raise InvalidRequest(f"{name}: {fault}") from fault


def _one_of_type(*allowed: str) -> Callable[[str, object], object]:
    def check(name: str, value: object) -> object:
        if value not in allowed:
            raise InvalidRequest(f"{name} is not one of {', '.join(allowed)}")
        return value

    return check


def _feed_of_type(name: str, value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= len(FEEDS):
        raise InvalidRequest(f"{name} is not one of 1 (FREE), 2 (PAID), 3 (CHILD), 4 (NO)")
    return FEEDS[value - 1]


_Type = Callable[[str, object], object]
_ALIASES: dict[tuple[str, str], tuple[str, _Type]] = {
    (BADGES, "feed_type"): ("feed", _feed_of_type),
    (BADGES, "is_vegan"): ("vegan", _yes_or_no),
    (PERSONS, "is_vegan"): ("vegan", _yes_or_no),
}
_STAY_TYPES: dict[str, _Type] = {
    "badge": _id,
    "status": _one_of_type(*STATUSES),
    "arrival_date": _date,
    "departure_date": _date,
}
_TYPES: dict[str, dict[str, _Type]] = {
    BADGES: {
        **dict.fromkeys(("name", "first_name", "last_name", "phone", "photo", "comment"), _text),
        **dict.fromkeys(("number", "batch", "role", "position", "kitchen"), _text_or_number),
        **dict.fromkeys(("infant", "vegan", "is_blocked"), _yes_or_no),
        "gender": _text,
        "feed": _one_of_type(*FEEDS),
        "person": _id,
        "qr": _text,
    },
    ARRIVALS: {**_STAY_TYPES, "arrival_transport": _text, "departure_transport": _text},
    PAID_ARRIVALS: {name: kind for name, kind in _STAY_TYPES.items() if name != "status"},
    ENGAGEMENTS: {
        "year": _number,
        "person": _id,
        "direction": _id,
        **dict.fromkeys(("role", "position", "status"), _text_or_number),
    },
    PERSONS: {
        **dict.fromkeys(("name", "first_name", "last_name", "nickname", "other_names"), _text),
        **dict.fromkeys(("phone", "telegram", "email", "city", "gender"), _text),
        "birth_date": _date,
        "vegan": _yes_or_no,
    },
    DIRECTIONS: {
        "name": _text,
        "type": _text,
        **dict.fromkeys(("first_year", "last_year"), _number),
    },
}
