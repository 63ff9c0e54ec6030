"""The REST API of a site's resources: the same five operations for each of `resources`.

Viewers read, operators write. PUT replaces the whole resource: fields left out are set to their
defaults. An unknown name in the body is an invalid body (422), one in the path is not found (404).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from inspect import Parameter, Signature, signature
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query

from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel.operator_models import KORMITEL
from kalitka_hub.rest.api import Number, Page, Paged, SearchText, create_router
from kalitka_hub.rest.auth import Operator, State, Viewer
from kalitka_hub.site.resources import RESOURCES, Resource
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.models import NAME_MAX

_KEY_MAX = 300  # characters
_FILTERS = {
    "badge": "By the id of the badge.",
    "blocked": "true: only blocked ones; false: only others.",
    "group": "By the name of a group.",
    "name": "By a part of the name.",
    "people": "By the name of the group of people.",
    "person": "By the id of the person.",
    "readers": "By reader or group of readers; `*` for those at all readers.",
    "schedule": "By the name of the schedule.",
    "since": "First date, such as `2026-12-31`; inclusive.",
    "status": "By status.",
    "until": "Last date, such as `2026-12-31`; inclusive.",
}


def router_of(resources: Iterable[Resource]) -> APIRouter:
    """Return a router with the paths of these resources."""
    router = create_router()
    for resource in resources:
        _add_paths(router, resource)
    return router


def _add_paths(router: APIRouter, resource: Resource) -> None:
    def show_page(state: State, _caller: Viewer, paging: Paged, filters: Any) -> Any:
        after = (paging.after_id or 0) if resource.is_numbered else (paging.after or "")
        with state.database.snapshot() as session:
            found = resource.list(session, after, paging.limit + 1, **filters)
        return paging.page(found, lambda view: getattr(view, resource.key))

    def add(state: State, caller: Operator, data: Any) -> Any:
        with write_transaction(state.database, caller.who) as session:
            with not_found_as_invalid():
                key = resource.add(session, data)
            return resource.find(session, key)

    def show(state: State, _caller: Viewer, key: Any) -> Any:
        with state.database.snapshot() as session:
            return resource.find(session, key)

    def change(state: State, caller: Operator, key: Any, data: Any) -> Any:
        with write_transaction(state.database, caller.who) as session:
            resource.find(session, key)
            with not_found_as_invalid():
                resource.change(session, key, data)
            return resource.find(session, resource.key_after(data, key))

    def remove(state: State, caller: Operator, key: Any) -> None:
        with write_transaction(state.database, caller.who) as session:
            resource.remove(session, key)

    key = _key_of(resource)
    show_page.__annotations__["filters"] = Annotated[dict, Depends(_FilterQuery(resource))]
    add.__annotations__["data"] = resource.setting
    show.__annotations__["key"] = key
    change.__annotations__ |= {"key": key, "data": resource.setting}
    remove.__annotations__["key"] = key
    # A name may contain a slash, sent as %2F; the server passes the path decoded.
    of_all = f"/{resource.name}"
    of_one = f"{of_all}/{{{resource.key}{'' if resource.is_numbered else ':path'}}}"
    plural, word = (name.replace("-", " ") for name in (resource.name, resource.word))
    for endpoint, method, path, verb, model, status in (
        (show_page, "GET", of_all, "list", Page[resource.view], 200),
        (add, "POST", of_all, "add", resource.view, 201),
        (show, "GET", of_one, "show", resource.view, 200),
        (change, "PUT", of_one, "change", resource.view, 200),
        (remove, "DELETE", of_one, "remove", None, 204),
    ):
        of_what = plural if endpoint is show_page else word
        router.add_api_route(
            path,
            endpoint,
            methods=[method],
            response_model=model,
            status_code=status,
            operation_id=f"{verb}_{of_what.replace(' ', '_')}",
            summary=f"{verb.capitalize()} {of_what}",
            tags=[plural],
        )


@contextmanager
def not_found_as_invalid() -> Iterator[None]:
    """Turn NotFound, raised while a body is applied, into 422 (404 is for the path)."""
    try:
        yield
    except NotFound as fault:
        raise InvalidRequest(str(fault)) from fault


def _key_of(resource: Resource) -> Any:
    if resource.is_numbered:
        return Annotated[Number, Path(alias=resource.key)]
    return Annotated[SearchText, Path(alias=resource.key, max_length=_KEY_MAX)]


class _FilterQuery:
    # A dependency with the query parameters of a resource's list function. FastAPI reads them
    # from `__signature__`.
    def __init__(self, resource: Resource) -> None:
        taken = signature(resource.list).parameters
        self.__signature__ = Signature(
            [
                Parameter(
                    name,
                    Parameter.KEYWORD_ONLY,
                    default=None,
                    annotation=_query_type(taken[name].annotation, _FILTERS[name]),
                )
                for name in resource.filters
            ]
        )

    def __call__(self, **given: Any) -> dict[str, Any]:
        return {name: value for name, value in given.items() if value is not None}


def _query_type(kind: Any, description: str) -> Any:
    if kind == str | None:
        return Annotated[SearchText | None, Query(max_length=NAME_MAX, description=description)]
    if kind == int | None:
        return Annotated[Number | None, Query(description=description)]
    return Annotated[kind, Query(description=description)]


router = router_of((*RESOURCES.values(), *KORMITEL.values()))
