"""`kalitka hub kormitel list`, `show`, `add`, `set`, `remove`: badges, arrivals and the like."""

import json
from collections.abc import Iterable
from operator import attrgetter
from typing import Annotated, Any

import typer

from kalitka_hub.cli.resources import Columns, list_all, plain_columns, print_views
from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    AsJson,
    DatabasePath,
    errors_reported,
    open_for_changes,
    open_for_reading,
    open_or_create,
    print_fields,
    print_json,
    print_line,
)
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.kormitel import operator_models, service, status
from kalitka_hub.kormitel.badge_rules import badge_name
from kalitka_hub.kormitel.fields import FIELDS, KINDS, check_kind
from kalitka_hub.kormitel.operator_models import KORMITEL

_YES = {"yes": True, "true": True, "no": False, "false": False}
# The names of such fields, in whatever group.
_FLAGS, _NUMBERS = (
    {name for known in FIELDS.values() for name, field in known.items() if field.type == type_}
    for type_ in ("flag", "number")
)

Group = Annotated[
    str, typer.Argument(metavar="GROUP", help=f"A group: {', '.join(KINDS)} or another.")
]
ObjectId = Annotated[str, typer.Argument(metavar="ID", help="The object's id, from `list`.")]
Values = Annotated[
    list[str],
    typer.Argument(
        metavar="FIELD=VALUE...",
        help="Fields to set, such as name=Anna is_blocked=yes; an empty VALUE clears the field.",
    ),
]


def register(app: typer.Typer, panel: str) -> None:
    """Add the commands to `app`, in this panel of its help."""
    for word, command in (
        ("list", list_objects),
        ("show", show_object),
        ("add", add_object),
        ("set", set_object),
        ("remove", remove_object),
    ):
        app.command(word, rich_help_panel=panel)(command)


def list_objects(
    group: Group,
    db: DatabasePath = DEFAULT_DATABASE,
    name: Annotated[
        str | None,
        typer.Option(metavar="PART", help="Only badges with this in one of their names."),
    ] = None,
    blocked: Annotated[
        bool | None,
        typer.Option("--blocked/--not-blocked", help="Only blocked badges, or only others."),
    ] = None,
    badge: Annotated[
        str | None, typer.Option(metavar="ID", help="Only arrivals of this badge.")
    ] = None,
    stays: Annotated[
        str | None,
        typer.Option("--status", metavar="STATUS", help="Only arrivals with this status."),
    ] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Only deleted objects.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the objects of a group by id. To get a file: `kalitka hub export badges`."""
    asked = {"name": name, "blocked": blocked, "badge": badge, "status": stays}
    filters = {option: value for option, value in asked.items() if value is not None}
    with open_for_reading(db) as session:
        check_kind(group)
        resource = KORMITEL.get(group)
        for option in filters:
            if deleted or resource is None or option not in resource.filters.model_fields:
                raise InvalidRequest(f"--{option} does not apply to this list: leave it out")
        if resource is None or deleted:
            known = list_all(session, service.list_objects, "key", kind=group, deleted=deleted)
            views = [status.object_view(one) for one in known]
        else:
            views = [*list_all(session, resource.list, "id", **filters)]
    columns = _ANY if deleted else _COLUMNS.get(group, _ANY)
    print_views(views, columns, as_json)


def show_object(
    group: Group, key: ObjectId, db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False
) -> None:
    """Show all fields of an object, even a deleted one."""
    with open_for_reading(db) as session:
        view = status.object_view(service.find_object(session, group, key))
    if as_json:
        print_json(view.model_dump())
        return
    fields = [(name, _as_text(value)) for name, value in view.fields.items()]
    seen = plain_columns("deleted", "created", "changed", "by")
    print_fields(
        [
            ("id", view.id),
            *fields,
            *((name, of(view)) for name, of in seen.items()),
            ("withheld", view.held),
        ]
    )


def add_object(
    group: Group,
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="FIELD=VALUE...", help="Fields, such as name=Anna feed=FREE."),
    ] = None,
    db: DatabasePath = DEFAULT_DATABASE,
    key: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Use this id; default a new one.")
    ] = None,
) -> None:
    """Add an object such as a badge or an arrival; Kormitel gets it with its next request."""
    with errors_reported():
        given = read_values(group, values or ())
    with open_or_create(db) as session:
        key = operator_models.add_object(session, check_kind(group), key, given)
    print_line(f"{key} added to {group}")


def set_object(
    group: Group, key: ObjectId, values: Values, db: DatabasePath = DEFAULT_DATABASE
) -> None:
    """Set fields of an object; other fields stay unchanged."""
    with errors_reported():
        given = read_values(group, values)
    with open_for_changes(db) as session:
        changed = operator_models.put_fields(session, check_kind(group), key, given, new=False)
    print_line(f"{key} in {group} {'changed' if changed else 'unchanged'}")


def remove_object(group: Group, key: ObjectId, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Delete an object; Kormitel hears of it with its next request. `show` still works."""
    with open_for_changes(db) as session:
        service.remove_object(session, group, key)
    print_line(f"{key} deleted from {group}")


def read_values(group: str, values: Iterable[str]) -> dict[str, Any]:
    """Parse words such as `name=Anna` into fields. Raises InvalidRequest."""
    given: dict[str, Any] = {}
    for value in values:
        name, is_set, text = value.partition("=")
        if not is_set or not name:
            raise InvalidRequest(
                f"invalid field {value[:40]!r}: write FIELD=VALUE, such as name=Anna"
            )
        if name in given:
            raise InvalidRequest(f"{name} is given twice: leave one out")
        given[name] = _value_of(group, name, text)
    return given


def _value_of(group: str, name: str, text: str) -> Any:
    """Convert a text to the field's type; an unknown field takes JSON, or else the text itself."""
    if not text:
        return None
    if name in _FLAGS:
        return _YES.get(text.lower(), text)
    resource = KORMITEL.get(group)
    if name not in _NUMBERS and resource is not None and name in resource.setting.model_fields:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _as_text(value: Any) -> object:
    if value is None or isinstance(value, str | bool | int):
        return value
    return json.dumps(value, ensure_ascii=False)


def _fields(view: Any) -> list[str]:
    return [f"{name}: {_as_text(value)}" for name, value in view.fields.items()]


def _name(view: Any) -> str | None:
    name = badge_name(
        "", {part: getattr(view, part) for part in ("name", "first_name", "last_name")}
    )
    return name or None


_HELD = {"withheld": attrgetter("held")}
_ANY: Columns = {**plain_columns("id"), "fields": _fields, **_HELD}
_COLUMNS: dict[str, Columns] = {
    "badges": {
        **plain_columns("id"),
        "name": _name,
        **plain_columns("number", "feed", "kitchen", "qr"),
        "blocked": lambda view: "blocked" if view.is_blocked else None,
        **_HELD,
    },
    "arrivals": {
        **plain_columns("id", "badge", "status", "arrival_date", "departure_date"),
        **_HELD,
    },
    "persons": {**plain_columns("id"), "name": _name, **plain_columns("phone", "city"), **_HELD},
    "engagements": {**plain_columns("id", "person", "direction", "year", "role"), **_HELD},
    "directions": {**plain_columns("id", "name", "type"), **_HELD},
}
