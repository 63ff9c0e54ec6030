"""The REST API of the exchange with Kormitel: status, withheld and quarantined items, objects.

Badges, arrivals and the other known groups have their own paths, as all `resources` do; objects
of any group are below `/kormitel/objects`. Viewers read, operators write.
"""

from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, Field

from kalitka_hub.kormitel import (
    exchange_log,
    operator_models,
    quarantine,
    service,
    settings,
    status,
)
from kalitka_hub.kormitel.dates import utc_text
from kalitka_hub.kormitel.exchange_log import ExchangeView, Way
from kalitka_hub.kormitel.fields import FIELDS_MAX, check_kind
from kalitka_hub.kormitel.quarantine import QuarantineState, SetAsideView
from kalitka_hub.kormitel.settings import CanteenSetting
from kalitka_hub.kormitel.status import HeldView, ObjectView, Status
from kalitka_hub.kormitel.why import Why, explain_eating
from kalitka_hub.rest.api import Page, Paged, create_router
from kalitka_hub.rest.auth import Operator, State, Viewer
from kalitka_hub.rest.resources import not_found_as_invalid
from kalitka_hub.rest.site import At, parse_minute
from kalitka_hub.site.inputs import InputModel, Number, SearchText
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.kormitel_models import KEY_MAX, KIND_MAX, URL_MAX
from kalitka_hub.store.models import NAME_MAX

_TAG = "kormitel"

router = create_router()
GroupName = Annotated[
    SearchText, Path(max_length=KIND_MAX, description="A group, such as `paid_arrivals`.")
]
ObjectId = Annotated[SearchText, Path(alias="id", max_length=KEY_MAX)]
QuarantineNumber = Annotated[Number, Path(alias="id")]


class Pause(BaseModel):
    """The pause of the exchange. paused: its beginning, UTC; null if the exchange is running."""

    paused: str | None


class Edits(InputModel):
    """Corrections to an item before it is applied. edits: new values of fields, and of `id`."""

    edits: Annotated[dict[str, Any], Field(default_factory=dict, max_length=FIELDS_MAX)]


class ObjectSetting(InputModel):
    """Fields of an object to set; fields left out keep their values."""

    fields: Annotated[dict[str, Any], Field(max_length=FIELDS_MAX)]


@router.get("/kormitel", tags=[_TAG], operation_id="show_kormitel")
def show_kormitel(state: State, _caller: Viewer) -> Status:
    """Show the status of the exchange."""
    now = int(state.database.clock() * 1_000_000)
    with state.database.snapshot() as session:
        return status.status_of(session, now)


@router.get("/kormitel/exchanges", tags=[_TAG], operation_id="list_kormitel_exchanges")
def list_exchanges(
    state: State,
    _caller: Viewer,
    paging: Paged,
    user: Annotated[
        SearchText | None,
        Query(max_length=URL_MAX, description="By user name, or by the URL of a peer."),
    ] = None,
    way: Annotated[Way | None, Query(description="By kind of exchange.")] = None,
    failed: Annotated[bool, Query(description="Only failed exchanges.")] = False,
) -> Page[ExchangeView]:
    """List the exchanges, newest first."""
    with state.database.snapshot() as session:
        found = exchange_log.list_exchanges(
            session, paging.after_id, paging.limit + 1, user=user, way=way, failed=failed
        )
    return paging.page(found, lambda view: view.id)


@router.get("/kormitel/held", tags=[_TAG], operation_id="list_kormitel_held")
def list_held(state: State, _caller: Viewer, paging: Paged) -> Page[HeldView]:
    """List the objects withheld from Kormitel's current client, with the reasons."""
    with state.database.snapshot() as session:
        found = status.list_held(session, paging.after or "", paging.limit + 1)
    return paging.page(found, lambda view: view.place)


@router.get("/kormitel/set-aside", tags=[_TAG], operation_id="list_kormitel_set_aside")
def list_set_aside(
    state: State,
    _caller: Viewer,
    paging: Paged,
    of_state: Annotated[
        QuarantineState | None, Query(alias="state", description="By state.")
    ] = None,
) -> Page[SetAsideView]:
    """List the quarantined items, which were received but could not be applied, newest first."""
    with state.database.snapshot() as session:
        found = quarantine.list_items(session, paging.after_id, paging.limit + 1, state=of_state)
    return paging.page(found, lambda view: view.id)


@router.get("/kormitel/set-aside/{id}", tags=[_TAG], operation_id="show_kormitel_set_aside")
def show_set_aside(state: State, _caller: Viewer, number: QuarantineNumber) -> SetAsideView:
    """Show a quarantined item."""
    with state.database.snapshot() as session:
        return quarantine.view_of(quarantine.find_item(session, number))


@router.post(
    "/kormitel/set-aside/{id}/apply", tags=[_TAG], operation_id="apply_kormitel_set_aside"
)
def apply_set_aside(
    state: State, caller: Operator, number: QuarantineNumber, data: Edits
) -> SetAsideView:
    """Apply a quarantined item, with corrected fields or another id if necessary."""
    with write_transaction(state.database, caller.who) as session:
        service.apply_quarantined(session, number, data.edits)
        return quarantine.view_of(quarantine.find_item(session, number))


@router.post(
    "/kormitel/set-aside/{id}/dismiss", tags=[_TAG], operation_id="dismiss_kormitel_set_aside"
)
def dismiss_set_aside(state: State, caller: Operator, number: QuarantineNumber) -> SetAsideView:
    """Dismiss a quarantined item for good."""
    with write_transaction(state.database, caller.who) as session:
        service.dismiss_quarantined(session, number)
        return quarantine.view_of(quarantine.find_item(session, number))


@router.get("/kormitel/settings", tags=[_TAG], operation_id="show_kormitel_settings")
def show_settings(state: State, _caller: Viewer) -> CanteenSetting:
    """Show the readers of each kitchen, and the meals."""
    with state.database.snapshot() as session:
        return settings.find_settings(session)


@router.put("/kormitel/settings", tags=[_TAG], operation_id="change_kormitel_settings")
def change_settings(state: State, caller: Operator, data: CanteenSetting) -> CanteenSetting:
    """Replace the readers of each kitchen, and the meals."""
    with write_transaction(state.database, caller.who) as session:
        with not_found_as_invalid():
            settings.change_settings(session, data)
        return settings.find_settings(session)


@router.post("/kormitel/pause", tags=[_TAG], operation_id="pause_kormitel")
def pause(state: State, caller: Operator) -> Pause:
    """Pause the exchange: Kormitel is told to try again later, and keeps its changes."""
    return _set_paused(state, caller, True)


@router.post("/kormitel/resume", tags=[_TAG], operation_id="resume_kormitel")
def resume(state: State, caller: Operator) -> Pause:
    """Resume the exchange."""
    return _set_paused(state, caller, False)


@router.get("/kormitel/why", tags=[_TAG], operation_id="why")
def why_eats(
    state: State,
    _caller: Viewer,
    asked: Annotated[
        SearchText,
        Query(
            min_length=1,
            max_length=NAME_MAX,
            description="A badge, by its id, code, number or a part of the name.",
        ),
    ],
    reader: Annotated[
        SearchText | None,
        Query(max_length=NAME_MAX, description="A reader; by default those of the kitchen."),
    ] = None,
    at: At = None,
) -> Why:
    """Explain whether a badge gets a meal at a time, and why."""
    now = int(state.database.clock()) // 60
    with state.database.snapshot() as session:
        minute = now if at is None else parse_minute(session, at)
        return explain_eating(session, asked, minute, now, reader)


@router.get("/kormitel/objects/{group}", tags=[_TAG], operation_id="list_kormitel_objects")
def list_objects(
    state: State,
    _caller: Viewer,
    paging: Paged,
    group: GroupName,
    deleted: Annotated[
        bool | None, Query(description="true: only deleted objects; false: only others.")
    ] = None,
) -> Page[ObjectView]:
    """List the objects of a group, by id."""
    with state.database.snapshot() as session:
        found = service.list_objects(
            session, check_kind(group), paging.after or "", paging.limit + 1, deleted=deleted
        )
    return paging.page([status.object_view(known) for known in found], lambda view: view.id)


# An id may hold a slash, as a name may.
@router.get(
    "/kormitel/objects/{group}/{id:path}", tags=[_TAG], operation_id="show_kormitel_object"
)
def show_object(state: State, _caller: Viewer, group: GroupName, key: ObjectId) -> ObjectView:
    """Show an object, even a deleted one."""
    with state.database.snapshot() as session:
        return status.object_view(service.find_object(session, group, key))


@router.put(
    "/kormitel/objects/{group}/{id:path}", tags=[_TAG], operation_id="change_kormitel_object"
)
def change_object(
    state: State, caller: Operator, group: GroupName, key: ObjectId, data: ObjectSetting
) -> ObjectView:
    """Set the given fields of an object; add the object if there is none."""
    with write_transaction(state.database, caller.who) as session:
        operator_models.put_fields(session, check_kind(group), key, data.fields)
        return status.object_view(service.find_object(session, group, key))


@router.delete(
    "/kormitel/objects/{group}/{id:path}",
    status_code=204,
    tags=[_TAG],
    operation_id="remove_kormitel_object",
)
def remove_object(state: State, caller: Operator, group: GroupName, key: ObjectId) -> None:
    """Delete an object; Kormitel is told of the deletion."""
    with write_transaction(state.database, caller.who) as session:
        service.remove_object(session, group, key)


def _set_paused(state: State, caller: Operator, paused: bool) -> Pause:
    with write_transaction(state.database, caller.who) as session:
        settings.set_paused(session, paused)
        since = settings.paused_since(session)
    return Pause(paused=None if since is None else utc_text(since))
