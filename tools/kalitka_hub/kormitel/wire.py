"""The wire form of an object in both shapes, and which objects today's client must not get.

One object that the client cannot take undoes the whole answer, and every later answer until the
client is restarted. So such an object is withheld from the flat shape, with a reason for the
operator. Pure. Source: kormitel.md, "What breaks the client, so what we never emit".
"""

from collections.abc import Callable, Mapping
from typing import Any

from kalitka_hub.kormitel.fields import (
    ARRIVALS,
    BADGES,
    DIRECTIONS,
    ENGAGEMENTS,
    FIELDS,
    KINDS,
    PERSONS,
    is_date,
    is_uuid,
    reference_key,
    wire_id,
)

# The fields of today's contract.
_SENT = {kind: [field for field in FIELDS[kind].values() if field.sent] for kind in KINDS}
# Sent in full, even if deleted.
_FULL = (DIRECTIONS, ENGAGEMENTS, ARRIVALS)
_NEVER = "qr"  # not sent in groups beyond the contract either

# Returns why an object cannot be referred to, by kind and key; None: it can.
MissingReason = Callable[[str, str], str | None]


def flat_object(
    kind: str, key: str, fields: Mapping[str, Any], alive: bool, *, whole: bool = False
) -> dict[str, Any]:
    """Return an object in the flat shape. Requires an object that is not withheld, or `whole`.

    whole: with Kormitel's own fields, for another hub.
    """
    shown = {"id": wire_id(key), "deleted": not alive}
    if not alive and kind in (BADGES, PERSONS) and not whole:
        return shown
    return shown | _fields(kind, fields, whole)


def grouped_object(
    kind: str, key: str, fields: Mapping[str, Any], *, whole: bool = False
) -> dict[str, Any]:
    """Return an object in the grouped shape. Requires an object that is not deleted."""
    return {"id": wire_id(key)} | _fields(kind, fields, whole)


def why_held(
    kind: str, key: str, fields: Mapping[str, Any], alive: bool, missing: MissingReason
) -> str | None:
    """Return why an object is withheld from the flat shape, in words; None if it is sent.

    missing: see `MissingReason`; called for each reference.
    """
    if kind not in KINDS:
        badge = reference_key(fields, "badge")
        return None if badge is None else missing(BADGES, badge)
    if not is_uuid(key):
        return "its id is not a uuid, and the client takes no other"
    if not alive and kind not in _FULL:
        return None
    return (
        _missing_field(kind, fields)
        or _invalid_field(kind, fields)
        or _missing_reference(kind, fields, missing)
    )


def _fields(kind: str, fields: Mapping[str, Any], whole: bool) -> dict[str, Any]:
    if whole:
        return dict(fields)
    if kind not in KINDS:
        return {name: value for name, value in fields.items() if name != _NEVER}
    return {
        field.name: fields[field.name]
        for field in _SENT[kind]
        if field.name in fields and not (field.never_null and fields[field.name] is None)
    }


def _missing_field(kind: str, fields: Mapping[str, Any]) -> str | None:
    if kind not in _FULL:
        return None
    absent = [field.name for field in _SENT[kind] if fields.get(field.name) is None]
    return f"it has no {', '.join(absent)}" if absent else None


def _invalid_field(kind: str, fields: Mapping[str, Any]) -> str | None:
    for field in _SENT[kind]:
        name, value = field.name, fields.get(field.name)
        if value is None:
            continue
        if field.allowed and value not in field.allowed:
            known = ", ".join(field.allowed)
            return f"its {name} is {str(value)[:40]!r}, and the client knows {known}"
        if field.type == "date" and not is_date(str(value)):
            return f"its {name} is not a valid date"
    person = reference_key(fields, "person") if kind == BADGES else None
    if person is not None and not is_uuid(person):
        return "the id of its person is not a uuid"
    batch = fields.get("batch") if kind == BADGES else None
    if batch is not None and not (str(batch).isascii() and str(batch).isdigit()):
        return f"its batch is {str(batch)[:40]!r}, and the client takes only a number"
    return None


def _missing_reference(kind: str, fields: Mapping[str, Any], missing: MissingReason) -> str | None:
    if kind not in _FULL:
        return None
    for name in (field.name for field in _SENT[kind] if field.type == "reference"):
        key = reference_key(fields, name)
        why = missing(f"{name}s", key) if key is not None else f"it has no {name}"
        if why is not None:
            return why
    return None
