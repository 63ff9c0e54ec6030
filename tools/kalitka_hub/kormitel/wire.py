"""The wire form of an object in both shapes, and which objects today's client must not get.

One object that the client cannot take undoes the whole answer, and every later answer until the
client is restarted. So such an object, or such a field of a badge or person, is withheld from the
flat shape, with a reason for the operator. Pure. Source: kormitel.md, "What breaks the client, so
what we never emit".
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from kalitka_hub.kormitel.client_limits import problems_of
from kalitka_hub.kormitel.fields import (
    ARRIVALS,
    BADGES,
    DIRECTIONS,
    ENGAGEMENTS,
    FIELDS,
    KINDS,
    PERSONS,
    ObjectField,
    is_uuid,
    reference_key,
    wire_id,
)

# The fields of today's contract.
_SENT = {kind: [field for field in FIELDS[kind].values() if field.sent] for kind in KINDS}
# Sent in full, even if deleted.
_FULL = (DIRECTIONS, ENGAGEMENTS, ARRIVALS)
# Sent without the fields that the client cannot save; deleted, with nothing but their id.
_IN_PART = (BADGES, PERSONS)
# By kind, the names of the fields without which no object is sent.
_NEEDED = {
    kind: [field.name for field in rows.values() if field.needed or (kind in _FULL and field.sent)]
    for kind, rows in FIELDS.items()
}
_OTHER = {"badge": ObjectField("badge", "reference")}  # what is known of any other kind
_NEVER = "qr"  # not sent in groups beyond the contract either

# Returns why an object cannot be referred to, by kind and key; None: it can.
MissingReason = Callable[[str, str], str | None]


def flat_object(
    kind: str,
    key: str,
    fields: Mapping[str, Any],
    alive: bool,
    *,
    without: Collection[str] = (),
    whole: bool = False,
) -> dict[str, Any]:
    """Return an object in the flat shape. Requires an object that is not withheld, or `whole`.

    without: names of withheld fields. whole: with all of them and Kormitel's own fields, for
    another hub.
    """
    shown = {"id": wire_id(key), "deleted": not alive}
    if not alive and kind in _IN_PART and not whole:
        return shown
    sent = _fields(kind, fields, whole)
    if not whole:
        sent = {name: value for name, value in sent.items() if name not in without}
    return shown | sent


def companion(key: str, alive: bool) -> dict[str, Any]:
    """Return an unchanged badge that goes along with its arrival, in the flat shape.

    With its fields it would undo what was changed in it at the client and is never posted.
    """
    return {"id": wire_id(key), "deleted": not alive}


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
    if kind in KINDS and not is_uuid(key):
        return "its id is not a uuid, and the client takes no other"
    if kind in _IN_PART:
        return None
    return (
        _missing_field(kind, fields)
        or next(iter(_invalid_fields(kind, fields).values()), None)
        or _missing_reference(kind, fields, missing)
    )


def withheld_fields(
    kind: str, fields: Mapping[str, Any], alive: bool, missing: MissingReason
) -> dict[str, str]:
    """Return why fields of an object are withheld from the flat shape, by field, in words.

    Only badges and persons may be sent without fields; any other object is withheld as a whole.
    """
    if kind not in _IN_PART or not alive:
        return {}
    found = _invalid_fields(kind, fields)
    person = reference_key(fields, "person") if kind == BADGES else None
    if person is not None:
        why = missing(PERSONS, person) if is_uuid(person) else "the id of its person is not a uuid"
        found |= {} if why is None else {"person": why}
    return found


def hold_set_aside(
    kind: str, number: int, names: Collection[str] | None, held_fields: dict[str, str]
) -> str | None:
    """Withhold what a quarantined item would have changed: telling it back would undo that.

    number: of the item. names: of its fields, None for the object as a whole. Adds the fields of a
    badge or person to `held_fields`; returns why any other object is withheld, None if it is not.
    """
    decide = f"was set aside as item {number}: apply or dismiss it first"
    if names is None:
        return f"a change of it {decide}"
    sent = [name for name, field in FIELDS.get(kind, {}).items() if field.sent and name in names]
    if kind in _IN_PART:
        for name in sent:
            held_fields[name] = f"a change of its {name} {decide}"
        return None
    return f"a change of its {', '.join(sent)} {decide}" if sent else None


def withheld_in_part(reasons: Mapping[str, str]) -> str:
    """Return one sentence for the operator on withheld fields, from `withheld_fields`."""
    return f"only {', '.join(reasons)}: {'; '.join(reasons.values())}"


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
    needed = _NEEDED.get(kind, ())
    absent = [name for name in needed if fields.get(name) is None]
    return f"it has no {', '.join(absent)}" if absent else None


def _invalid_fields(kind: str, fields: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"its {name} {found.wrong}" for name, found in problems_of(kind, fields)}


def _missing_reference(kind: str, fields: Mapping[str, Any], missing: MissingReason) -> str | None:
    known = FIELDS.get(kind, _OTHER).values()
    for name in (field.name for field in known if field.type == "reference"):
        key = reference_key(fields, name)
        why = None if key is None else missing(f"{name}s", key)
        if why is not None:
            return why
    return None
