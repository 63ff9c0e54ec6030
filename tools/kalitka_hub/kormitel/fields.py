"""The kinds, fields, field types and ids of Kormitel's objects. Pure.

`FIELDS` is the one table of fields: incoming items, the wire, the models of operators and of
OpenAPI and the CSV columns follow from it. Incoming fields are checked by their types: strictly
where rules depend on them, elsewhere only so far that they can be stored. Unknown fields are
stored as they are. Source: kormitel.md, "Fields" and "What it sends that surprises".
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any, Literal, NamedTuple, TypeGuard, get_args

from kalitka_hub.errors import InvalidRequest
from kalitka_hub.store.kormitel_models import KEY_MAX, KIND_MAX

PERSONS, DIRECTIONS, ENGAGEMENTS = "persons", "directions", "engagements"
BADGES, ARRIVALS, PAID_ARRIVALS = "badges", "arrivals", "paid_arrivals"
# In the order in which the client saves them: referred kinds come first.
KINDS = (PERSONS, DIRECTIONS, ENGAGEMENTS, BADGES, ARRIVALS)

FREE, PAID, CHILD, NO = "FREE", "PAID", "CHILD", "NO"
FEEDS = (FREE, PAID, CHILD, NO)  # do not reorder: `feed_type` counts them from 1
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
    "UNDEFINED",  # no badge
]
STATUSES: tuple[Status, ...] = get_args(Status)
ROLES = (
    *("ORGANIZER", "VICE", "TEAM_LEAD", "VOLUNTEER", "MEDIC", "CAMP_LEAD", "CAMP_GUY", "ANIMATOR"),
    *("LECTOR", "MASTER", "ARTIST", "FELLOW", "ART_FELLOW", "VIP", "PRESS", "CONTRACTOR"),
    *("MERCHANT", "LOCALS"),
)
TRANSPORTS = ("UNDEFINED", "SELF", "BUS", "CAR", "TRANSFER", "MOVE")
GENDERS = ("MALE", "FEMALE", "OTHER")
DIRECTION_TYPES = (
    *("CITY_SERVICE", "FIELD_SERVICE", "UNIVERSAL_SERVICE", "FEDERAL_LOCATION"),
    *("GRANT_LOCATION", "COMMERCIAL_LOCATION", "LATERAL_LOCATION", "RESPONSIBILITY_AREA"),
)

FieldType = Literal["text", "text or number", "number", "flag", "date", "reference", "choice"]


class ObjectField(NamedTuple):
    """A field of a kind of object. Any value may be null in an incoming item.

    type: a reference is the id of another object; a choice is one of `allowed`, even in incoming
    items. allowed: the values that an operator may write and that today's client takes; empty:
    all. alias: another name in incoming items, which gives a choice as its number, from 1; of both
    names the field's own counts, or the alias with `alias_counts`, also if it is null.
    required: an operator must give a value; else `default` is that of a new object. sent: to
    today's client; Kormitel does not expect its own fields back. never_null: null is not sent.
    csv: the place among the columns of the CSV table, from 1; 0: not in the table.

    Limits of today's client, besides `allowed` (see `client_limits`). longest: characters of a
    text. largest: of a whole number from 0, or its digits. not_blank: a text needs more than white
    space. needed: no object is taken without a value. None, False: no such limit.
    """

    name: str
    type: FieldType = "text"
    allowed: tuple[str, ...] = ()
    alias: str | None = None
    alias_counts: bool = False
    required: bool = False
    default: str | None = None
    sent: bool = True
    never_null: bool = False
    csv: int = 0
    longest: int | None = None
    largest: int | None = None
    not_blank: bool = False
    needed: bool = False

    @property
    def literal(self) -> Any:
        """The type of the allowed values."""
        return Literal[self.allowed]  # type: ignore[valid-type]


_SHORT = 255  # characters of most of the client's texts
_BATCH_MAX = (1 << 31) - 1
_ROWS: dict[str, tuple[ObjectField, ...]] = {
    PERSONS: (
        ObjectField("name", longest=_SHORT),
        ObjectField("first_name", longest=_SHORT),
        ObjectField("last_name", longest=_SHORT),
        ObjectField("nickname", longest=_SHORT),
        ObjectField("other_names", longest=_SHORT),
        ObjectField("gender", allowed=GENDERS),
        ObjectField("birth_date", "date"),
        ObjectField("phone", longest=_SHORT),
        ObjectField("telegram", longest=_SHORT),
        ObjectField("email", longest=_SHORT),
        ObjectField("city", longest=_SHORT),
        ObjectField("vegan", "flag", alias="is_vegan", never_null=True),
    ),
    DIRECTIONS: (
        ObjectField("name", longest=_SHORT, not_blank=True),
        ObjectField("first_year", "number"),
        ObjectField("last_year", "number"),
        ObjectField("type", allowed=DIRECTION_TYPES),
    ),
    ENGAGEMENTS: (
        ObjectField("year", "number"),
        ObjectField("person", "reference"),
        ObjectField("role", "text or number", ROLES),
        ObjectField("position", "text or number", longest=_SHORT),
        ObjectField("status", "text or number", longest=_SHORT),
        ObjectField("direction", "reference"),
    ),
    BADGES: (
        ObjectField("name", csv=1, longest=_SHORT),
        ObjectField("first_name", csv=2, longest=_SHORT),
        ObjectField("last_name", csv=3, longest=_SHORT),
        ObjectField("gender", allowed=GENDERS, csv=9),
        ObjectField("phone", csv=10, longest=_SHORT),
        ObjectField("infant", "flag", csv=16),
        ObjectField("vegan", "flag", alias="is_vegan", never_null=True, csv=15),
        # An unset feed comes as a feed of NO with a feed_type of null.
        ObjectField("feed", "choice", FEEDS, alias="feed_type", alias_counts=True, csv=5),
        ObjectField("number", "text or number", csv=4),
        ObjectField("batch", "text or number", csv=11, largest=_BATCH_MAX),
        ObjectField("role", "text or number", ROLES, never_null=True, csv=12),
        ObjectField("position", "text or number", csv=13),
        ObjectField("photo"),
        ObjectField("person", "reference"),
        ObjectField("comment", csv=14),
        ObjectField("qr", sent=False, csv=6),  # even an unchanged one breaks the client
        ObjectField("is_blocked", "flag", sent=False, csv=7),
        ObjectField("kitchen", "text or number", sent=False, csv=8),
    ),
    ARRIVALS: (
        ObjectField("badge", "reference", required=True, csv=1),
        ObjectField("status", "choice", STATUSES, csv=2),
        ObjectField("arrival_date", "date", csv=3),
        ObjectField("departure_date", "date", csv=4),
        ObjectField("arrival_transport", allowed=TRANSPORTS, default="UNDEFINED", csv=5),
        ObjectField("departure_transport", allowed=TRANSPORTS, default="UNDEFINED", csv=6),
    ),
    # Not in today's contract: only what rules depend on, and what the client needs.
    PAID_ARRIVALS: (
        ObjectField("badge", "reference"),
        ObjectField("arrival_date", "date"),
        ObjectField("departure_date", "date", needed=True),
        ObjectField("is_free", "flag", needed=True),
    ),
}
# By kind and name, in the order in which fields are sent.
FIELDS = {kind: {field.name: field for field in rows} for kind, rows in _ROWS.items()}
_BY_INCOMING_NAME = {
    kind: known | {field.alias: field for field in known.values() if field.alias}
    for kind, known in FIELDS.items()
}

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
    found, problems = sort_fields(kind, fields)
    for problem in problems.values():
        raise InvalidRequest(problem)
    return found


def sort_fields(kind: str, fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the good fields as `check_fields` does, and why others are not, by incoming name.

    Raises InvalidRequest if there are too many fields.
    """
    if len(fields) > FIELDS_MAX:
        raise InvalidRequest(f"there are more than {FIELDS_MAX} fields: send fewer")
    known = _BY_INCOMING_NAME.get(kind, {})
    found: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, value in fields.items():
        field = known.get(name)
        try:
            _check_storable(name, value)
            if field is None:
                found[name] = value
            elif name == _counting_name(field, fields):
                found[field.name] = None if value is None else _stored_value(field, name, value)
        except InvalidRequest as fault:
            problems[name] = str(fault)
    return found, problems


def field_name(kind: str, incoming: str) -> str:
    """Return the name under which an incoming field of an object is stored."""
    field = _BY_INCOMING_NAME.get(kind, {}).get(incoming)
    return incoming if field is None else field.name


def _check_storable(name: str, value: Any) -> None:
    if not name or len(name) > KEY_MAX or not name.isprintable():
        raise InvalidRequest(f"{name[:40]!r} is not a valid field name")
    for wrong in _value_problems(value, 0):
        raise InvalidRequest(f"{name}: {wrong}")


def _counting_name(field: ObjectField, fields: Mapping[str, Any]) -> str | None:
    """Return the name of a field that counts in an item that has one or both of its names."""
    names = (field.alias, field.name) if field.alias_counts else (field.name, field.alias)
    return names[0] if names[0] in fields else names[1]


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


def _stored_value(field: ObjectField, name: str, value: object) -> object:
    """Return a value that came under the field's name or alias in its stored form."""
    if field.type == "reference":
        try:
            return wire_id(object_key(value))
        except InvalidRequest as fault:
            raise InvalidRequest(f"{name}: {fault}") from fault
    if field.type == "choice":
        if name == field.alias:
            return _numbered_choice(field, name, value)
        if value not in field.allowed:
            raise InvalidRequest(f"{name} is not one of {', '.join(field.allowed)}")
        return value
    is_valid, problem = _CHECKS[field.type]
    if not is_valid(value):
        raise InvalidRequest(f"{name} {problem}")
    return value


def _numbered_choice(field: ObjectField, name: str, value: object) -> str:
    if not _is_number(value) or not 1 <= value <= len(field.allowed):
        choices = (f"{at} ({choice})" for at, choice in enumerate(field.allowed, 1))
        raise InvalidRequest(f"{name} is not one of {', '.join(choices)}")
    return field.allowed[value - 1]


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


_CHECKS: dict[FieldType, tuple[Callable[[object], bool], str]] = {
    "text": (lambda value: isinstance(value, str), "is not text"),
    "text or number": (
        lambda value: isinstance(value, str) or _is_number(value),
        "is neither text nor a number",
    ),
    "number": (_is_number, "is not a whole number"),
    "flag": (lambda value: isinstance(value, bool), "is neither true nor false"),
    "date": (
        lambda value: isinstance(value, str) and is_date(value),
        "is not a valid date: send it like 2026-11-21",
    ),
}
