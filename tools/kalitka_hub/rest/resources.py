"""The REST API of a site's resources: the same five operations for each of `resources`.

Viewers read, operators write. PUT replaces the whole resource: fields left out are set to their
defaults. An unknown name in the body is an invalid body (422), one in the path is not found (404).
"""

# The models of a resource are known only at run time, but FastAPI reads them as annotations.
# pyright: reportInvalidTypeForm=false

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import Field

from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel.operator_models import KORMITEL
from kalitka_hub.rest.api import Page, Paged, create_router
from kalitka_hub.rest.auth import Operator, State, Viewer
from kalitka_hub.site.inputs import Number, SearchText
from kalitka_hub.site.resources import RESOURCES, Resource
from kalitka_hub.site.tokens import code_notes
from kalitka_hub.store.changes import write_transaction

# What a person should know of a code that was added, in ASCII with Python's escapes.
_NOTE = "X-Kalitka-Note"
_Name = Annotated[SearchText, Field(max_length=300)]  # also a code or a Kormitel id


def _add_paths(router: APIRouter, resource: Resource) -> None:
    setting, view, creation = resource.setting, resource.view, resource.creation
    key_type = Annotated[Number if resource.is_numbered else _Name, Path(alias=resource.key)]
    # A name may contain a slash, sent as %2F; the server passes the path decoded.
    of_all = f"/{resource.name}"
    of_one = f"{of_all}/{{{resource.key}{'' if resource.is_numbered else ':path'}}}"
    plural, word = (name.replace("-", " ") for name in (resource.name, resource.word))

    def described(verb: str, of_what: str) -> dict[str, Any]:
        return {
            "operation_id": f"{verb}_{of_what.replace(' ', '_')}",
            "summary": f"{verb.capitalize()} {of_what}",
            "tags": [plural],
        }

    def given_filters(query: Annotated[resource.filters, Query()]) -> dict[str, Any]:
        return query.model_dump()

    @router.get(of_all, **described("list", plural))
    def show_page(
        state: State,
        _caller: Viewer,
        paging: Paged,
        filters: Annotated[dict, Depends(given_filters)],
    ) -> Page[view]:
        after = (paging.after_id or 0) if resource.is_numbered else (paging.after or "")
        with state.database.snapshot() as session:
            found = resource.list(session, after, paging.limit + 1, **filters)
        return paging.page(found, lambda view: getattr(view, resource.key))

    @router.post(of_all, status_code=201, **described("add", word))
    def add(
        state: State, caller: Operator, data: creation.setting, response: Response
    ) -> creation.view:
        with write_transaction(state.database, caller.who) as session, not_found_as_invalid():
            added = creation.add(session, data)
            if notes := code_notes(session):
                response.headers[_NOTE] = ascii("; ".join(notes))[1:-1]
            return added

    @router.get(of_one, **described("show", word))
    def show(state: State, _caller: Viewer, key: key_type) -> view:
        with state.database.snapshot() as session:
            return resource.find(session, key)

    @router.put(of_one, **described("change", word))
    def change(state: State, caller: Operator, key: key_type, data: setting) -> view:
        with write_transaction(state.database, caller.who) as session:
            resource.find(session, key)
            with not_found_as_invalid():
                resource.change(session, key, data)
            return resource.find(session, resource.key_after(data, key))

    @router.delete(of_one, status_code=204, **described("remove", word))
    def remove(state: State, caller: Operator, key: key_type) -> None:
        with write_transaction(state.database, caller.who) as session:
            resource.remove(session, key)


@contextmanager
def not_found_as_invalid() -> Iterator[None]:
    """Turn NotFound, raised while a body is applied, into 422 (404 is for the path)."""
    try:
        yield
    except NotFound as fault:
        raise InvalidRequest(str(fault)) from fault


router = create_router()
for resource in (*RESOURCES.values(), *KORMITEL.values()):
    _add_paths(router, resource)
