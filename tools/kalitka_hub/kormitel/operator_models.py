"""Badges, arrivals and the other known kinds as operators read and write them: typed, whole.

What an operator writes is checked more strictly than what comes in: a value that today's client
does not know is refused, though one that is there already may stay. Only fields that differ from
what is there are written, so that what an operator did not touch is not newer than Kormitel's.
Each kind is a `Resource`, from which REST and CSV are made. All goes through `service`.
"""

from collections.abc import Callable, Iterable, Mapping
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
    model_validator,
)
from sqlalchemy import ColumnElement, or_
from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel import service
from kalitka_hub.kormitel.dates import utc_text
from kalitka_hub.kormitel.fields import (
    ARRIVALS,
    BADGES,
    DIRECTION_TYPES,
    DIRECTIONS,
    ENGAGEMENTS,
    FIELDS_MAX,
    GENDERS,
    PERSONS,
    TEXT_MAX,
    TRANSPORTS,
    Feed,
    Status,
    check_fields,
    is_date,
    object_key,
    wire_id,
)
from kalitka_hub.kormitel.service import StoredObject
from kalitka_hub.kormitel.state import same_json
from kalitka_hub.site.inputs import InputModel, parse_input
from kalitka_hub.site.resources import Resource
from kalitka_hub.store.bulk import in_batches, in_values
from kalitka_hub.store.kormitel_models import KormitelObject

# Fields that are yes or no, and those that are whole numbers.
FLAGS = ("infant", "vegan", "is_blocked")
NUMBERS = ("year", "first_year", "last_year")
_BESIDE = ("id", "other")  # what a setting has that is no field
_RESERVED = ("id", "deleted")
_ANY_BADGE = "0"
_NO_TRANSPORT = "UNDEFINED"


class _StoredValue(str):
    """A stored value that no operator may write."""


def _one_of(allowed: tuple[str, ...]) -> WrapValidator:
    def check(value: object, handler: ValidatorFunctionWrapHandler) -> str:
        if isinstance(value, _StoredValue):
            return value
        text = handler(value)
        if text not in allowed:
            raise InvalidRequest(f"it is none of {', '.join(allowed)}")
        return text

    return WrapValidator(check)


def _enum_schema(allowed: tuple[str, ...]) -> WithJsonSchema:
    # Of what is written: what is read may be another.
    return WithJsonSchema({"type": "string", "enum": list(allowed)}, mode="validation")


def _text_or_number(value: object, handler: ValidatorFunctionWrapHandler) -> int | str:
    # One sentence, where pydantic has one for each of the two.
    try:
        return handler(value)
    except ValidationError as fault:
        raise InvalidRequest(
            f"it is neither a text of up to {TEXT_MAX} nor a whole number"
        ) from fault


def _checked_date(text: str) -> str:
    if not is_date(text):
        raise InvalidRequest("it is no date: write it like 2026-11-21")
    return text


def _checked_reference(given: int | str) -> int | str:
    return wire_id(object_key(given))


Text = Annotated[str, Field(max_length=TEXT_MAX)]
TextOrNumber = Annotated[StrictInt | Text, WrapValidator(_text_or_number)]
Date = Annotated[str, AfterValidator(_checked_date), Field(json_schema_extra={"format": "date"})]
Reference = Annotated[TextOrNumber, AfterValidator(_checked_reference)]
ObjectId = Annotated[str, AfterValidator(object_key)]
Gender = Annotated[str, _one_of(GENDERS), _enum_schema(GENDERS)]
Transport = Annotated[str, _one_of(TRANSPORTS), _enum_schema(TRANSPORTS)]
DirectionType = Annotated[str, _one_of(DIRECTION_TYPES), _enum_schema(DIRECTION_TYPES)]


class BaseObjectSetting(InputModel):
    """What one is to be. id: None of a new one gets a uuid; it never changes.

    other: the fields besides those here, Kormitel's own; None: they stay as they are.
    """

    kind: ClassVar[str]
    id: ObjectId | None = None
    other: Annotated[dict[str, Any] | None, Field(max_length=FIELDS_MAX)] = None

    @model_validator(mode="after")
    def _fit(self) -> "BaseObjectSetting":
        check_fields(self.kind, {name: getattr(self, name) for name in _field_names(type(self))})
        for name in check_fields(self.kind, self.other or {}):
            if name in _RESERVED or name in _field_names(type(self)):
                raise InvalidRequest(f"other: {name} has a place of its own: write it there")
        return self


class _StoredInfo(BaseModel):
    # created, changed: UTC, as in the exchange. by: whose the last change was. held: why today's
    # client is not told of it, None if it is.
    id: str
    created: str
    changed: str
    by: str
    held: str | None


class BadgeSetting(BaseObjectSetting):
    """What a badge is to be. qr: its code as it is scanned; kitchen: where it is fed."""

    kind = BADGES
    name: Text | None = None
    first_name: Text | None = None
    last_name: Text | None = None
    gender: Gender | None = None
    phone: Text | None = None
    infant: StrictBool | None = None
    vegan: StrictBool | None = None
    feed: Feed | None = None
    number: TextOrNumber | None = None
    batch: TextOrNumber | None = None
    role: TextOrNumber | None = None
    position: TextOrNumber | None = None
    photo: Text | None = None
    person: Reference | None = None
    comment: Text | None = None
    qr: Text | None = None
    is_blocked: StrictBool | None = None
    kitchen: TextOrNumber | None = None


class BadgeView(_StoredInfo, BadgeSetting):
    """A badge, and since when it is known and was changed (UTC), by whom, and why it is held."""


class ArrivalSetting(BaseObjectSetting):
    """What an arrival is to be. Dates are local, the departure's included. badge: whose it is.

    Today's client takes none without a status, both dates and both transports.
    """

    kind = ARRIVALS
    badge: Reference
    status: Status | None = None
    arrival_date: Date | None = None
    departure_date: Date | None = None
    arrival_transport: Transport | None = _NO_TRANSPORT
    departure_transport: Transport | None = _NO_TRANSPORT


class ArrivalView(_StoredInfo, ArrivalSetting):
    """An arrival, since when it is known and was changed (UTC), by whom, and why it is held."""


class EngagementSetting(BaseObjectSetting):
    """What an engagement of a person in a direction is to be."""

    kind = ENGAGEMENTS
    year: StrictInt | None = None
    person: Reference | None = None
    role: TextOrNumber | None = None
    position: TextOrNumber | None = None
    status: TextOrNumber | None = None
    direction: Reference | None = None


class EngagementView(_StoredInfo, EngagementSetting):
    """An engagement, since when it is known and was changed (UTC), by whom, why it is held."""


class KormitelPersonSetting(BaseObjectSetting):
    """What a person of Kormitel is to be."""

    kind = PERSONS
    name: Text | None = None
    first_name: Text | None = None
    last_name: Text | None = None
    nickname: Text | None = None
    other_names: Text | None = None
    gender: Gender | None = None
    birth_date: Date | None = None
    phone: Text | None = None
    telegram: Text | None = None
    email: Text | None = None
    city: Text | None = None
    vegan: StrictBool | None = None


class KormitelPersonView(_StoredInfo, KormitelPersonSetting):
    """A person of Kormitel, since when known and changed (UTC), by whom, and why held back."""


class DirectionSetting(BaseObjectSetting):
    """What a direction, such as a location or a service, is to be."""

    kind = DIRECTIONS
    name: Text | None = None
    first_year: StrictInt | None = None
    last_year: StrictInt | None = None
    type: DirectionType | None = None


class DirectionView(_StoredInfo, DirectionSetting):
    """A direction, since when it is known and was changed (UTC), by whom, and why it is held."""


def write_objects(session: Session, kind: str, settings: Iterable[BaseObjectSetting]) -> int:
    """Make objects of a kind exactly these, also those that there are; return how many changed."""
    changed = 0
    for batch in in_batches(settings):
        given = {setting.id: setting for setting in batch if setting.id is not None}
        there = find_objects(session, kind, given, deleted=None)
        fields = {
            key: _changed_fields(there[key].fields if key in there else {}, setting)
            for key, setting in given.items()
        }
        changed += service.put_objects(session, kind, fields)
        for setting in batch:
            if setting.id is None:
                service.put_object(session, kind, None, _changed_fields({}, setting), new=True)
                changed += 1
    return changed


def find_objects(
    session: Session, kind: str, keys: Iterable[str], *, deleted: bool | None = False
) -> dict[str, StoredObject]:
    """Return those of these objects of a kind that there are, by key; see `list_objects`."""
    wanted = list(keys)
    mine = in_values(session, KormitelObject.key, wanted)
    found = service.list_objects(session, kind, "", len(wanted), deleted=deleted, where=[mine])
    return {known.key: known for known in found}


def checked_fields(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return some fields of an object of any kind, as an operator gives them, in their one form.

    Raises InvalidRequest for what an operator may not write.
    """
    resource = KORMITEL.get(kind)
    if resource is None:
        for name in _RESERVED:
            if name in given:
                raise InvalidRequest(f"{name} is no field: leave it out")
        return check_fields(kind, given)
    # What a whole one needs may be left out here.
    needed = {"badge": _ANY_BADGE} if kind == ARRIVALS else {}
    setting = _setting(resource, needed | dict(given))
    known = {
        name: getattr(setting, name) for name in _field_names(resource.setting) if name in given
    }
    return check_fields(kind, (setting.other or {}) | known)


def add_object(session: Session, kind: str, key: str | None, given: Mapping[str, Any]) -> str:
    """Add an object of any kind with these fields; return its key. None: a new uuid.

    Raises InvalidRequest for what an operator may not write, and for one that there is.
    """
    resource = KORMITEL.get(kind)
    if resource is None:
        return service.put_object(session, kind, key, checked_fields(kind, given), new=True)
    return resource.add(session, _setting(resource, given, key))


def view_of(known: StoredObject) -> Any:
    """Return what is shown of an object of a kind that is known here."""
    view = KORMITEL[known.kind].view
    named = _field_names(view)
    fields = {name: known.fields.get(name) for name in named}
    for name in _ENUMERATED:
        if fields.get(name) is not None:
            fields[name] = _StoredValue(fields[name])
    return view.model_construct(
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
    """Return badges by id, those behind the id `after`, at most `limit`.

    name: only those that have it as a part of a name. blocked: only those that are, or are not.
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
    """Return arrivals by id, those behind the id `after`, at most `limit`.

    badge: only those of the badge of this id. status: only those that have it.
    """
    conditions: list[ColumnElement[bool]] = []
    if badge is not None:
        conditions.append(KormitelObject.badge == object_key(badge))
    if status is not None:
        conditions.append(KormitelObject.fields["status"].as_string() == status)
    return _list_views(session, ARRIVALS, after, limit, *conditions)


def _setting(resource: Resource, given: Mapping[str, Any], key: str | None = None) -> Any:
    named = _field_names(resource.setting)
    known = {name: value for name, value in given.items() if name in named}
    other = {name: value for name, value in given.items() if name not in named}
    return parse_input(resource.setting, id=key, other=other, **known)


def _list_views(
    session: Session, kind: str, after: str, limit: int, *where: ColumnElement[bool]
) -> list[Any]:
    found = service.list_objects(session, kind, after, limit, where=where)
    return [view_of(known) for known in found]


def _field_names(model: type[BaseModel]) -> list[str]:
    """Return the names of the fields of an object that a setting or view of it has."""
    return [name for name in model.model_fields if name not in _NOT_FIELDS]


def _changed_fields(was: Mapping[str, Any], setting: BaseObjectSetting) -> dict[str, Any]:
    """Return what a whole setting changes of the fields that an object has."""
    known = _field_names(type(setting))
    values = {name: getattr(setting, name) for name in known}
    if setting.other is not None:
        values |= dict.fromkeys(name for name in was if name not in known) | setting.other
    return {
        name: value
        for name, value in check_fields(setting.kind, values).items()
        if not same_json(was.get(name), value)
    }


def _resource(
    setting: type[BaseObjectSetting],
    view: type[Any],
    word: str,
    listed: Callable[..., list[Any]] | None = None,
    filters: tuple[str, ...] = (),
) -> Resource:
    kind = setting.kind

    def add(session: Session, given: Any) -> str:
        # One that was deleted comes back, with nothing that it had.
        was = find_objects(session, kind, filter(None, [given.id]), deleted=True)
        fields = was[given.id].fields if given.id in was else {}
        return service.put_object(
            session, kind, given.id, _changed_fields(fields, given), new=True
        )

    def known(session: Session, key: str) -> StoredObject:
        found = service.find_object(session, kind, key)
        if found.deleted:
            raise NotFound(f"{found.key} in {kind} was deleted: add it again")
        return found

    def change(session: Session, key: str, given: Any) -> bool:
        found = known(session, key)
        if given.id not in (None, found.key):
            raise InvalidRequest(f"an id stays as it is: send {found.key}, or leave it out")
        fields = _changed_fields(found.fields, given)
        if fields:
            service.put_object(session, kind, key, fields)
        return bool(fields)

    def remove(session: Session, key: str) -> None:
        service.remove_object(session, kind, key)

    def find(session: Session, key: str) -> Any:
        return view_of(known(session, key))

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
    )


_NOT_FIELDS = (*_BESIDE, *_StoredInfo.model_fields)
_ENUMERATED = ("gender", "arrival_transport", "departure_transport", "type")
_ALL = (
    _resource(BadgeSetting, BadgeView, "badge", list_badges, ("name", "blocked")),
    _resource(ArrivalSetting, ArrivalView, "arrival", list_arrivals, ("badge", "status")),
    _resource(KormitelPersonSetting, KormitelPersonView, "kormitel-person"),
    _resource(EngagementSetting, EngagementView, "engagement"),
    _resource(DirectionSetting, DirectionView, "direction"),
)
KORMITEL = {resource.name: resource for resource in _ALL}
