"""OpenAPI models of the exchange's documents, with the documents' own examples.

They describe the answers, and the bodies that a client is expected to send. `documents` parses
bodies and accepts much more, so these models validate nothing. Source: the seed and kormitel.md.
"""

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, create_model

from kalitka_hub.kormitel.fields import (
    ARRIVALS,
    BADGES,
    DIRECTIONS,
    ENGAGEMENTS,
    FIELDS,
    PERSONS,
    FieldType,
    ObjectField,
)

Id = Annotated[int | str, Field(description="A guid, or a number.")]
_TYPES: dict[FieldType, Any] = {
    "text": str,
    "text or number": str | int,
    "number": int,
    "flag": bool,
    "reference": Id,
}


class _Open(BaseModel):
    # There will be more fields and groups.
    model_config = ConfigDict(extra="allow")


def _sent_fields(kind: str, *first: str) -> type[_Open]:
    """Return a model of the sent fields of a kind. first: names that come before the others."""
    known = FIELDS[kind]
    fields: dict[str, Any] = {
        name: (_type_of(known[name]), None)
        for name in dict.fromkeys((*first, *known))
        if known[name].sent
    }
    return create_model(kind, __base__=_Open, id=(Id, ...), **fields)


def _type_of(field: ObjectField) -> Any:
    if field.type == "date":
        return Annotated[str | None, Field(description="Like 2026-11-21.")]
    return (field.literal if field.type == "choice" else _TYPES[field.type]) | None


class Badge(_sent_fields(BADGES)):
    """The badge of a person or of a group."""


class Arrival(_sent_fields(ARRIVALS, "badge", "status", "arrival_date", "arrival_transport")):
    """A stay of a badge's owner: both dates inclusive."""


class Engagement(_sent_fields(ENGAGEMENTS)):
    """The work of a person for a direction in a year."""


class Person(_sent_fields(PERSONS)):
    """A person."""


class Direction(_sent_fields(DIRECTIONS)):
    """A service or a location of the festival."""


class _Deletable(_Open):
    deleted: Annotated[bool, Field(description="Whether the object is deleted.")]


class FlatBadge(Badge, _Deletable):
    """A badge; only its id if it is deleted, or unchanged and sent with its changed arrival."""


class FlatArrival(Arrival, _Deletable):
    """An arrival, in full even if deleted."""


class FlatEngagement(Engagement, _Deletable):
    """An engagement, in full even if deleted."""


class FlatPerson(Person, _Deletable):
    """A person; if deleted, only the id."""


class FlatDirection(Direction, _Deletable):
    """A direction, in full even if deleted."""


class FlatAnswer(_Open):
    """The changes since `from_date`, inclusive; further groups look the same."""

    persons: list[FlatPerson] = []
    directions: list[FlatDirection] = []
    engagements: list[FlatEngagement] = []
    badges: list[FlatBadge] = []
    arrivals: list[FlatArrival] = []


Object = TypeVar("Object")


class Group(BaseModel, Generic[Object]):
    """The changed objects of a group, as seen from `from_date`. deleted: their ids."""

    inserted: list[Object] = []
    updated: list[Object] = []
    deleted: list[Id] = []


class GroupedAnswer(_Open):
    """The changes since `from_date`, inclusive; further groups look the same."""

    badges: Group[Badge] = Group()
    arrivals: Group[Arrival] = Group()
    engagements: Group[Engagement] = Group()
    persons: Group[Person] = Group()
    directions: Group[Direction] = Group()


class FlatItem(_Open):
    """A change. data: the id and the changed fields; `{id, deleted: true}` is a deletion.

    actor_badge: the author's badge, null for a service user. date: the time of the change; a
    change that is older than the stored value has no effect.
    """

    actor_badge: Id | None = None
    date: Annotated[
        str | None, Field(description="Like 2026-11-21T18:56:42.123456Z; without it, now.")
    ] = None
    data: dict[str, Any]


class FlatBody(_Open):
    """Changes, oldest first; further groups look the same."""

    badges: list[FlatItem] = []
    arrivals: list[FlatItem] = []


class GroupedItem(_Open):
    """A change. badge: the badge of an arrival. data: the changed fields."""

    id: Id
    badge: Id | None = None
    data: dict[str, Any] | None = None


class GroupedChanges(BaseModel):
    """Changes of a group."""

    inserted: list[GroupedItem] = []
    updated: list[GroupedItem] = []
    deleted: list[GroupedItem | Id] = []


class GroupedBody(_Open):
    """Changes since `from_date`; further groups look the same."""

    from_date: str | None = None
    badges: GroupedChanges = GroupedChanges()
    arrivals: GroupedChanges = GroupedChanges()


class Taken(BaseModel):
    """The numbers of items by outcome. set_aside: quarantined for an operator of the hub."""

    received: int
    applied: int
    unchanged: int
    set_aside: int


_SEEDS_GROUP = {
    "inserted": [{"id": 1, "name": "123"}],
    "updated": [{"id": 1, "name": "123"}],
    "deleted": [1, 2, 3],
}
_SEEDS_CHANGE = {"id": "guid", "badge": "guid", "data": {"name": "новое имя", "notion_id": None}}
_SEEDS_CHANGES = {
    "inserted": [_SEEDS_CHANGE],
    "updated": [_SEEDS_CHANGE],
    "deleted": [{"id": "guid", "badge": "guid"}],
}
_BADGE = "0d3c2bbf-2f3e-4d0c-9d3a-3d1c5b0f1a01"
_ARRIVAL = "7a1f6f0e-55a4-4a53-8f0e-0c2c6a6d9b02"

# From the seed.
GROUPED_ANSWER = {
    "badges": _SEEDS_GROUP,
    "arrivals": _SEEDS_GROUP,
    "engagements": {"inserted": [], "updated": [], "deleted": []},
}
GROUPED_BODY = {
    "from_date": "2024-01-01T12:12:00Z",
    "badges": _SEEDS_CHANGES,
    "arrivals": _SEEDS_CHANGES,
}
FLAT_ANSWER = {
    "persons": [],
    "directions": [],
    "engagements": [],
    "badges": [
        {
            "id": _BADGE,
            "deleted": False,
            "name": "Анна",
            "vegan": False,
            "feed": "FREE",
            "role": "VOLUNTEER",
        }
    ],
    "arrivals": [
        {
            "id": _ARRIVAL,
            "deleted": False,
            "badge": _BADGE,
            "status": "ARRIVED",
            "arrival_date": "2026-11-20",
            "departure_date": "2026-11-22",
            "arrival_transport": "BUS",
            "departure_transport": "UNDEFINED",
        }
    ],
}
FLAT_BODY = {
    "badges": [
        {
            "actor_badge": None,
            "date": "2026-11-21T18:56:42.123456Z",
            "data": {"id": _BADGE, "name": "Анна", "feed": "FREE"},
        }
    ],
    "arrivals": [
        {
            "actor_badge": _BADGE,
            "date": "2026-11-21T18:57:01.000001Z",
            "data": {"id": _ARRIVAL, "deleted": True},
        }
    ],
}
