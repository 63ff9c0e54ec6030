"""Badges, arrivals and the other known kinds as operators read and write them: typed, whole.

An operator's values are checked more strictly than incoming items: a value that today's client
cannot save (`client_limits`) is refused, though a stored value of that kind may stay. Only fields
that differ from the stored ones are written, so that a field that the operator did not touch is
not dated newer than Kormitel's. Each kind is a `Resource`, from which REST and CSV are built. All
changes go through `service`.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    create_model,
    model_validator,
)
from sqlalchemy import ColumnElement, or_
from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel import service
from kalitka_hub.kormitel.client_limits import ClientProblem, problems_of
from kalitka_hub.kormitel.dates import utc_text
from kalitka_hub.kormitel.fields import (
    ARRIVALS,
    BADGES,
    DIRECTIONS,
    ENGAGEMENTS,
    FIELDS,
    FIELDS_MAX,
    PERSONS,
    TEXT_MAX,
    FieldType,
    ObjectField,
    Status,
    check_fields,
    is_date,
    object_key,
    reference_key,
    wire_id,
)
from kalitka_hub.kormitel.repository import known_keys
from kalitka_hub.kormitel.service import StoredObject
from kalitka_hub.kormitel.state import same_json
from kalitka_hub.site.inputs import Filters, InputModel, NameFilter, parse_input
from kalitka_hub.site.resources import Bulk, Resource
from kalitka_hub.store.bulk import in_batches, in_values
from kalitka_hub.store.kormitel_models import KormitelObject

_RESERVED = ("id", "deleted")
_ANY_ID = "0"


class _StoredValue(str):
    """A stored value, exempt from the checks of what operators write."""


def _one_of(allowed: tuple[str, ...]) -> WrapValidator:
    def check(value: object, handler: ValidatorFunctionWrapHandler) -> str:
        if isinstance(value, _StoredValue):
            return value
        text = handler(value)
        if text not in allowed:
            raise InvalidRequest(f"{text[:40]!r} is not one of {', '.join(allowed)}")
        return text

    return WrapValidator(check)


def _enum_schema(allowed: tuple[str, ...]) -> WithJsonSchema:
    # For requests only: a stored value may be another one.
    return WithJsonSchema({"type": "string", "enum": list(allowed)}, mode="validation")


def _text_or_number(value: object, handler: ValidatorFunctionWrapHandler) -> int | str:
    # One sentence, where pydantic gives one for each of the two types.
    try:
        return handler(value)
    except ValidationError as fault:
        raise InvalidRequest(
            f"it is neither text of up to {TEXT_MAX} characters nor a whole number"
        ) from fault


def _checked_date(text: str) -> str:
    if not is_date(text):
        raise InvalidRequest(f"{text[:40]!r} is not a valid date: write it like 2026-11-21")
    return text


def _checked_reference(given: int | str) -> int | str:
    return wire_id(object_key(given))


Text = Annotated[str, Field(max_length=TEXT_MAX)]
TextOrNumber = Annotated[StrictInt | Text, WrapValidator(_text_or_number)]
ObjectId = Annotated[str, AfterValidator(object_key)]
_TYPES: dict[FieldType, Any] = {
    "text": Text,
    "text or number": TextOrNumber,
    "number": StrictInt,
    "flag": StrictBool,
    "date": Annotated[
        str, AfterValidator(_checked_date), Field(json_schema_extra={"format": "date"})
    ],
    "reference": Annotated[TextOrNumber, AfterValidator(_checked_reference)],
}


class BaseObjectSetting(InputModel):
    """The setting of an object. id: None for a new uuid; an id never changes.

    other: Kormitel's own fields besides those here; None: they stay as they are.
    """

    kind: ClassVar[str]
    id: ObjectId | None = None
    other: Annotated[dict[str, Any] | None, Field(max_length=FIELDS_MAX)] = None

    @model_validator(mode="after")
    def _fit(self) -> "BaseObjectSetting":
        known = FIELDS[self.kind]
        check_fields(self.kind, {name: getattr(self, name) for name in known})
        for name in check_fields(self.kind, self.other or {}):
            if name in _RESERVED or name in known:
                raise InvalidRequest(f"other: {name} is a field of its own: write it beside other")
        return self


class _StoredInfo(BaseModel):
    # created, changed: UTC, as in the exchange. by: the author of the last change. held: why the
    # object is withheld from today's client, None if it is sent.
    id: str
    created: str
    changed: str
    by: str
    held: str | None


def _setting_of(kind: str) -> type[BaseObjectSetting]:
    """Return a model with the fields of this kind."""
    fields: dict[str, Any] = {
        name: (_type_of(field), ...) if field.required else (_type_of(field) | None, field.default)
        for name, field in FIELDS[kind].items()
    }
    model = create_model(kind, __base__=BaseObjectSetting, **fields)
    model.kind = kind
    return model


def _type_of(field: ObjectField) -> Any:
    if field.type == "choice":
        return field.literal
    if field.allowed:
        return Annotated[str, _one_of(field.allowed), _enum_schema(field.allowed)]
    return _TYPES[field.type]


class BadgeSetting(_setting_of(BADGES)):
    """The setting of a badge. qr: its code as it is scanned; kitchen: where the badge is fed."""


class BadgeView(_StoredInfo, BadgeSetting):
    """A badge, with its times of creation and last change (UTC), author and why it is withheld."""


class BadgeFilters(Filters):
    """The filters of `list_badges`."""

    name: NameFilter = Field(None, description="By a part of the name.")
    blocked: bool | None = Field(None, description="true: only blocked ones; false: only others.")


class ArrivalSetting(_setting_of(ARRIVALS)):
    """The setting of an arrival. Dates are local, both inclusive. badge: the id of its badge.

    Today's client takes no arrival without a status, both dates and both transports.
    """


class ArrivalView(_StoredInfo, ArrivalSetting):
    """An arrival, with its creation and last change (UTC), author and why it is withheld."""


class ArrivalFilters(Filters):
    """The filters of `list_arrivals`."""

    badge: NameFilter = Field(None, description="By the id of the badge.")
    status: Status | None = Field(None, description="By status.")


class EngagementSetting(_setting_of(ENGAGEMENTS)):
    """The setting of an engagement: a person's work for a direction."""


class EngagementView(_StoredInfo, EngagementSetting):
    """An engagement, with its creation and last change (UTC), author and why it is withheld."""


class KormitelPersonSetting(_setting_of(PERSONS)):
    """The setting of a person of Kormitel."""


class KormitelPersonView(_StoredInfo, KormitelPersonSetting):
    """A person of Kormitel, with creation and last change (UTC), author and why withheld."""


class DirectionSetting(_setting_of(DIRECTIONS)):
    """The setting of a direction, such as a location or a service."""


class DirectionView(_StoredInfo, DirectionSetting):
    """A direction, with its creation and last change (UTC), author and why it is withheld."""


def write_objects(
    session: Session, kind: str, settings: Iterable[tuple[str | None, BaseObjectSetting]]
) -> None:
    """Create or replace objects of a kind by the ids in their settings."""
    for batch in in_batches(settings):
        given = {setting.id or str(uuid.uuid4()): setting for _, setting in batch}
        there = find_objects(session, kind, given, deleted=None)
        fields = {
            key: _changed_fields(there[key].fields if key in there else {}, setting)
            for key, setting in given.items()
        }
        for changed in fields.values():
            _check_savable(session, kind, changed)
        service.put_objects(session, kind, fields)


def find_objects(
    session: Session, kind: str, keys: Iterable[str], *, deleted: bool | None = False
) -> dict[str, StoredObject]:
    """Return the existing objects of a kind with these keys, by key; see `list_objects`."""
    wanted = list(keys)
    mine = in_values(session, KormitelObject.key, wanted)
    found = service.list_objects(session, kind, "", len(wanted), deleted=deleted, where=[mine])
    return {known.key: known for known in found}


def put_fields(
    session: Session, kind: str, key: str, given: Mapping[str, Any], *, new: bool | None = None
) -> int:
    """Set some fields of an object of any kind; return how many objects changed. new: as there.

    See `service.put_objects`. Raises InvalidRequest for a field or value that an operator may not
    write, and NotFound.
    """
    fields = _checked_fields(kind, given)
    _check_savable(session, kind, fields)
    if kind not in KORMITEL:
        there = find_objects(session, kind, [object_key(key)], deleted=None)
        stored = {} if new else next((one.fields for one in there.values()), {})
        _check_needed(kind, stored | fields)
    return service.put_objects(session, kind, {key: fields}, new=new)


def _checked_fields(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return some fields of an object, given by an operator, in their stored form."""
    resource = KORMITEL.get(kind)
    if resource is None:
        for name in _RESERVED:
            if name in given:
                raise InvalidRequest(f"{name} is not a field: leave it out")
        return check_fields(kind, given)
    # Required only of a whole object.
    needed = {name: _ANY_ID for name, field in FIELDS[kind].items() if field.required}
    setting = _setting(resource, needed | dict(given))
    known = {name: getattr(setting, name) for name in FIELDS[kind] if name in given}
    return check_fields(kind, (setting.other or {}) | known)


def add_object(session: Session, kind: str, key: str | None, given: Mapping[str, Any]) -> str:
    """Add an object of any kind with these fields; return its key. key: None for a new uuid.

    Raises InvalidRequest for a field or value that an operator may not write, and for a key that
    exists.
    """
    resource = KORMITEL.get(kind)
    if resource is None:
        key = str(uuid.uuid4()) if key is None else object_key(key)
        put_fields(session, kind, key, given, new=True)
        return key
    return resource.add(session, _setting(resource, given, key))


def view_of(known: StoredObject) -> Any:
    """Return the view of an object of a known kind."""
    named = FIELDS[known.kind]
    fields = {name: known.fields.get(name) for name in named}
    for name, field in named.items():
        if field.type != "choice" and field.allowed and fields[name] is not None:
            fields[name] = _StoredValue(fields[name])
    return KORMITEL[known.kind].view.model_construct(
        **fields,
        id=known.key,
        other={name: value for name, value in known.fields.items() if name not in named},
        created=utc_text(known.created),
        changed=utc_text(known.changed),
        by=known.by,
        held=known.held,
    )


def list_badges(
    session: Session,
    after: str = "",
    limit: int = 100,
    *,
    name: str | None = None,
    blocked: bool | None = None,
) -> list[BadgeView]:
    """Return at most `limit` badges with ids after `after`, by id.

    name: only badges with this text in a name. blocked: only badges that are blocked, or are not.
    """
    fields = KormitelObject.fields
    conditions: list[ColumnElement[bool]] = []
    if name is not None:
        names = (fields[part].as_string() for part in ("name", "first_name", "last_name"))
        conditions.append(or_(*(one.icontains(name, autoescape=True) for one in names)))
    if blocked is not None:
        is_blocked = fields["is_blocked"].as_boolean()
        conditions.append(is_blocked if blocked else or_(is_blocked.is_(None), ~is_blocked))
    return _list_views(session, BADGES, after, limit, *conditions)


def list_arrivals(
    session: Session,
    after: str = "",
    limit: int = 100,
    *,
    badge: str | None = None,
    status: Status | None = None,
) -> list[ArrivalView]:
    """Return at most `limit` arrivals with ids after `after`, by id.

    badge: only arrivals of the badge with this id. status: only arrivals with this status.
    """
    conditions: list[ColumnElement[bool]] = []
    if badge is not None:
        conditions.append(KormitelObject.badge == object_key(badge))
    if status is not None:
        conditions.append(KormitelObject.fields["status"].as_string() == status)
    return _list_views(session, ARRIVALS, after, limit, *conditions)


def _setting(resource: Resource, given: Mapping[str, Any], key: str | None = None) -> Any:
    named = FIELDS[resource.name]
    known = {name: value for name, value in given.items() if name in named}
    other = {name: value for name, value in given.items() if name not in named}
    return parse_input(resource.setting, id=key, other=other, **known)


def _list_views(
    session: Session, kind: str, after: str, limit: int, *where: ColumnElement[bool]
) -> list[Any]:
    found = service.list_objects(session, kind, after, limit, where=where)
    return [view_of(known) for known in found]


def _changed_fields(was: Mapping[str, Any], setting: BaseObjectSetting) -> dict[str, Any]:
    """Return the fields that differ between a whole setting and an object's stored fields."""
    known = FIELDS[setting.kind]
    values = {name: getattr(setting, name) for name in known}
    if setting.other is not None:
        values |= dict.fromkeys(name for name in was if name not in known) | setting.other
    return {
        name: value
        for name, value in check_fields(setting.kind, values).items()
        if not isinstance(value, _StoredValue) and not same_json(was.get(name), value)
    }


def _problems(view: Any, setting: BaseObjectSetting) -> Iterator[tuple[str, str]]:
    """Yield the names of changed fields that the client cannot save, each with a sentence."""
    was = {} if view is None else {name: getattr(view, name) for name in FIELDS[setting.kind]}
    for name, problem in problems_of(setting.kind, _changed_fields(was, setting)):
        yield name, _sentence("it", problem)


def _check_savable(session: Session, kind: str, changed: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for a changed field that the client cannot save."""
    for name, problem in problems_of(kind, changed):
        raise InvalidRequest(_sentence(name, problem))
    person = reference_key(changed, "person") if kind == BADGES else None
    if person is not None and not known_keys(session, PERSONS, [person]):
        raise InvalidRequest(f"person {person} is not known here: add it first, or leave it out")


def _check_needed(kind: str, fields: Mapping[str, Any]) -> None:
    for name, field in FIELDS.get(kind, {}).items():
        if field.needed and fields.get(name) is None:
            raise InvalidRequest(
                f"{name} is missing, and the client takes none of {kind} without it: set it"
            )


def _sentence(subject: str, problem: ClientProblem) -> str:
    return f"{subject} {problem.wrong}: {problem.remedy}"


def _resource(
    setting: type[BaseObjectSetting],
    view: type[Any],
    word: str,
    listed: Callable[..., list[Any]] | None = None,
    filters: type[Filters] = Filters,
) -> Resource:
    kind = setting.kind

    def add(session: Session, given: Any) -> str:
        # A deleted object comes back, without any of its old fields.
        was = find_objects(session, kind, filter(None, [given.id]), deleted=True)
        fields = _changed_fields(was[given.id].fields if given.id in was else {}, given)
        _check_savable(session, kind, fields)
        return service.put_object(session, kind, given.id, fields, new=True)

    def known(session: Session, key: str) -> StoredObject:
        found = service.find_object(session, kind, key)
        if found.deleted:
            raise NotFound(f"{found.key} in {kind} was deleted: add it again")
        return found

    def change(session: Session, key: str, given: Any) -> bool:
        found = known(session, key)
        if given.id not in (None, found.key):
            raise InvalidRequest(f"an id cannot change: send {found.key}, or leave it out")
        fields = _changed_fields(found.fields, given)
        _check_savable(session, kind, fields)
        if fields:
            service.put_object(session, kind, key, fields)
        return bool(fields)

    def remove(session: Session, key: str) -> None:
        service.remove_object(session, kind, key)

    def find(session: Session, key: str) -> Any:
        return view_of(known(session, key))

    def find_many(session: Session, keys: Iterable[str]) -> dict[str, Any]:
        found = find_objects(session, kind, keys)
        return {key: view_of(known) for key, known in found.items()}

    def list_all(session: Session, after: str = "", limit: int = 100) -> list[Any]:
        return _list_views(session, kind, after, limit)

    return Resource(
        name=kind,
        word=word,
        key="id",
        setting=setting,
        view=view,
        add=add,
        change=change,
        remove=remove,
        find=find,
        list=listed or list_all,
        filters=filters,
        problems=_problems,
        bulk=Bulk(
            find_many,
            lambda session, settings: write_objects(session, kind, settings),
            lambda session, keys: service.remove_objects(session, kind, keys),
        ),
    )


_ALL = (
    _resource(BadgeSetting, BadgeView, "badge", list_badges, BadgeFilters),
    _resource(ArrivalSetting, ArrivalView, "arrival", list_arrivals, ArrivalFilters),
    _resource(KormitelPersonSetting, KormitelPersonView, "kormitel-person"),
    _resource(EngagementSetting, EngagementView, "engagement"),
    _resource(DirectionSetting, DirectionView, "direction"),
)
KORMITEL = {resource.name: resource for resource in _ALL}
