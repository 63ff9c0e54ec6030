"""Documents of the exchange, in both shapes, parsed into items. Pure.

Flat: a group is a list of `{actor_badge, date, data}`, where `data` has the id, the changed fields
and `deleted`. Grouped: a group is `{inserted, updated, deleted}`, lists of `{id, badge, data}`, or
of ids. An item without `data` is the object itself, so the answers of `sync` are parsed too. A
faulty item carries its own `problem`: a document is refused only if it is not one at all. Of an
item with some faulty fields these are its `rest`.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from kalitka_hub.errors import InvalidRequest
from kalitka_hub.kormitel.dates import micros_of
from kalitka_hub.kormitel.fields import (
    BADGES,
    FROM_DATE,
    check_fields,
    check_kind,
    field_name,
    object_key,
    sort_fields,
    wire_id,
)

Shape = Literal["flat", "grouped"]
Verb = Literal["flat", "inserted", "updated", "deleted"]
VERBS: tuple[Verb, ...] = ("inserted", "updated", "deleted")  # do not change: stored in items
ITEMS_MAX = 1_000_000
_DEEPEST = 50  # stored nesting of an item; fields allow less, so a cut item is quarantined
_WRONG_KIND = "?"  # the kind of items in a group with an invalid name: they are never applied
_WRAPPING = ("actor_badge", "date")


@dataclass(frozen=True)
class Item:
    """A change of one object.

    fields: the fields to set, as `fields.check_fields` returns them. deleted: whether to delete
    the object, or to bring it back; None: neither. date: microseconds, None without a date. actor:
    the key of the author's badge. sent: the verb and the item as it was sent, which `parse_item`
    parses again. problem: why the item cannot be applied; then only `kind`, `sent` and `key` are
    valid, and the key is empty if none could be read. rest: an item of the fields that are faulty,
    with a problem, if the others are here.
    """

    kind: str
    key: str
    fields: dict[str, Any]
    deleted: bool | None = None
    date: int | None = None
    actor: str | None = None
    sent: Any = None
    problem: str | None = None
    rest: "Item | None" = None

    @property
    def digest(self) -> str:
        """The SHA-256 of the item as it was sent, in hex: equal for equal items.

        Do not change the form: digests are stored, and a new form makes known items new.
        """
        text = json.dumps([self.kind, self.sent], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Document:
    """A document. shape: None without a group. from_date: microseconds, None if not given."""

    shape: Shape | None
    from_date: int | None
    items: list[Item]


def parse_document(body: bytes) -> Document:
    """Return the document in a JSON body.

    Raises InvalidRequest if the body is not a document of the exchange at all.
    """
    try:
        parsed = json.loads(
            body, parse_constant=_reject_constant, parse_float=_parse_float, parse_int=_parse_int
        )
    except (ValueError, RecursionError) as fault:
        raise InvalidRequest(
            "the body is not valid JSON: send an object with groups such as badges and arrivals, "
            "in UTF-8"
        ) from fault
    return read_document(parsed)


def read_document(parsed: object) -> Document:
    """Return the document in parsed JSON. Raises InvalidRequest as `parse_document` does."""
    if not isinstance(parsed, dict):
        raise InvalidRequest(
            "the body is not a document of the exchange: send a JSON object with groups such as "
            "badges and arrivals"
        )
    groups = {name: value for name, value in parsed.items() if name != FROM_DATE}
    shape: Shape | None = None
    if groups:
        is_flat = any(isinstance(value, list) for value in groups.values())
        shape = "flat" if is_flat else "grouped"
    items = [item for name, value in groups.items() for item in _parse_group(name, value)]
    if len(items) > ITEMS_MAX:
        raise InvalidRequest(f"there are more than {ITEMS_MAX} items: send fewer at a time")
    return Document(shape, _parse_from_date(parsed.get(FROM_DATE)), items)


def parse_item(kind: str, sent: Any, /, **edits: Any) -> Item:
    """Return the item parsed from `Item.sent`, with these edits of its id and fields."""
    verb, given = sent
    if not edits:
        return _parse_item(kind, verb, given)
    if not isinstance(given, dict):
        given = {"id": given}
    data = given.get("data")
    edited = {**(data if isinstance(data, dict) else given), **edits}
    if "data" in given:
        edited = {**given, "data": edited}
        if "id" in given and "id" in edits:
            edited["id"] = edits["id"]
    return _parse_item(kind, verb, edited)


def named_fields(kind: str, sent: Any) -> frozenset[str] | None:
    """Return the names of the fields that `Item.sent` changes; None for the object as a whole."""
    verb, given = sent
    data = given.get("data", given) if isinstance(given, dict) else None
    if verb == "deleted" or not isinstance(data, dict) or "deleted" in data:
        return None
    return frozenset(field_name(kind, name) for name in data if name not in ("id", *_WRAPPING))


def _parse_float(text: str) -> float | str:
    # 1e999 would become infinity, which JSON cannot express: kept as text.
    number = float(text)
    return number if math.isfinite(number) else text


def _parse_int(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text  # more digits than Python converts


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _parse_group(name: str, group: object) -> Iterator[Item]:
    if group is None:
        return
    if isinstance(group, list):
        yield from (_parse_parts(name, "flat", given) for given in group)
    elif not isinstance(group, dict) or group.keys() - VERBS:
        yield _parse_parts(name, "flat", group)
    else:
        for verb in VERBS:
            items = group.get(verb)
            if isinstance(items, list):
                yield from (_parse_parts(name, verb, given) for given in items)
            elif items is not None:
                yield _parse_parts(name, verb, items)


def _parse_parts(kind: str, verb: Verb, given: object) -> Item:
    """Return an item; if only some of its fields are good, with these and with the `rest`."""
    item = _parse_item(kind, verb, given)
    if item.problem is None or item.kind != kind or not isinstance(given, dict):
        return item
    good, rest = _parts(kind, given)
    of_good = _parse_item(kind, verb, good)
    if good is None or of_good.problem is not None:
        return item
    return replace(of_good, sent=item.sent, rest=_parse_item(kind, verb, rest))


def _parts(kind: str, given: dict[str, Any]) -> tuple[Any, Any]:
    """Return an item with the good fields, and one with the others; None if either has none.

    Its id and its date are in both, and its deletion in the first.
    """
    data = given.get("data", given)
    if not isinstance(data, dict):
        return None, None
    about = {"id"} if "data" in given else {"id", *_WRAPPING}
    fields = {name: value for name, value in data.items() if name not in about | {"deleted"}}
    try:
        _, bad = sort_fields(kind, fields)
    except InvalidRequest:
        return None, None
    good = {name: value for name, value in data.items() if name not in bad}
    rest = {name: value for name, value in data.items() if name in about or name in bad}
    if not bad or good.keys() <= about:
        return None, None
    if "data" in given:
        return {**given, "data": good}, {**given, "data": rest}
    return good, rest


def _parse_item(kind: str, verb: Verb, given: object) -> Item:
    if _is_deep(given, _DEEPEST):
        given = _cut(given, _DEEPEST)
    sent = [verb, given]
    try:
        check_kind(kind)
    except InvalidRequest as fault:
        return Item(_WRONG_KIND, "", {}, sent=[verb, {kind[:200]: given}], problem=str(fault))
    try:
        return _parse_fields(kind, verb, given, sent)
    except InvalidRequest as fault:
        return Item(kind, _readable_key(given), {}, sent=sent, problem=str(fault))


def _readable_key(given: object) -> str:
    data = given.get("data", given) if isinstance(given, dict) else given
    places = (given, data) if isinstance(given, dict) else ()
    for place in places:
        if isinstance(place, dict):
            with suppress(InvalidRequest):
                return object_key(place.get("id"))
    return ""


def _is_deep(value: object, depth_left: int) -> bool:
    """Tell whether a value is nested so deeply that, though it was parsed, dumping it may fail."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return False
    return not depth_left or any(_is_deep(one, depth_left - 1) for one in value)


def _cut(value: object, depth_left: int) -> object:
    if not isinstance(value, dict | list):
        return value
    if not depth_left:
        return "what is nested more deeply was left out"  # do not change: part of stored digests
    if isinstance(value, list):
        return [_cut(one, depth_left - 1) for one in value]
    return {name: _cut(one, depth_left - 1) for name, one in value.items()}


def _parse_fields(kind: str, verb: Verb, given: object, sent: Any) -> Item:
    if verb == "deleted" and not isinstance(given, dict):
        return Item(kind, object_key(given), {}, deleted=True, sent=sent)
    if not isinstance(given, dict):
        raise InvalidRequest("it is not a JSON object: send an item with an id and its fields")
    data = given["data"] if "data" in given else _unwrapped(given)
    if data is None and verb == "deleted":
        data = {}
    if not isinstance(data, dict):
        raise InvalidRequest("its data is not a JSON object: send the id and the changed fields")
    data = dict(data)
    key = _matching_key(given.get("id"), data.pop("id", None))
    deleted = data.pop("deleted", None)
    if deleted is not None and not isinstance(deleted, bool):
        raise InvalidRequest("deleted is neither true nor false")
    if verb != "flat":
        deleted = {"inserted": False, "deleted": True}.get(verb, deleted)
    fields = check_fields(kind, data)
    badge = given.get("badge") if "data" in given or verb == "deleted" else None
    if badge is not None and kind != BADGES and "badge" not in fields:
        fields["badge"] = wire_id(object_key(badge))
    item = Item(kind, key, fields, deleted, _item_date(given), sent=sent)
    return replace(item, actor=_parse_actor(given))


def _unwrapped(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in _WRAPPING}


def _matching_key(outer: object, inner: object) -> str:
    if outer is None:
        return object_key(inner)
    key = object_key(outer)
    if inner is not None and object_key(inner) != key:
        raise InvalidRequest("its id and the id in its data differ: send one")
    return key


def _item_date(given: dict[str, Any]) -> int | None:
    date = given.get("date")
    if date is None:
        return None
    if not isinstance(date, str):
        raise InvalidRequest("its date is not text: send it like 2026-11-21T18:56:42.123456Z")
    return micros_of(date)


def _parse_from_date(given: object) -> int | None:
    # For the log, and to tell a repeated document (`Ingest`): an invalid date counts as none.
    try:
        return micros_of(given) if isinstance(given, str) else None
    except InvalidRequest:
        return None


def _parse_actor(given: dict[str, Any]) -> str | None:
    try:
        actor = given.get("actor_badge")
        return None if actor is None else object_key(actor)
    except InvalidRequest:
        return None
