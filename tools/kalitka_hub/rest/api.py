"""The frame of the hub's REST API: errors, body limits, paging and documentation of every path.

A separate application, mounted at PREFIX: its errors are JSON, `{"error": "..."}` with one
sentence that says what is wrong and what to do, while those of the token-reader API beside it are
plain text unless the client asks for JSON. Lists are paged. The OpenAPI description is at
`openapi.json`, and as a page without scripts at `docs`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import DataError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kalitka_hub.accounts.login import WrongLogin
from kalitka_hub.accounts.login_attempts import TooManyAttempts
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.reader_api.state import HubState
from kalitka_hub.site.inputs import SearchText, error_sentence
from kalitka_hub.web import docs, json_errors
from kalitka_hub.web.bounded_body import BoundedBody
from kalitka_hub.web.json_errors import ErrorBody

PREFIX = "/api/v1/hub"
BODY_MAX = 1 << 20  # bytes of a request; for paths that accept more see `bounded_body`
PAGE = 100  # items of a list unless `limit` is given
PAGE_MAX = 1000
_AFTER_MAX = 300  # characters
_FIELDS_SHOWN = 3  # invalid fields in one message; further ones are counted

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """A page of a list. next: the value to send as `after` for the next page, null at the end."""

    items: list[Item]
    next: str | None


class Paging(NamedTuple):
    """A requested page: at most `limit` items after the item with the key `after`."""

    after: str | None
    limit: int

    @property
    def after_id(self) -> int | None:
        """`after` as a number, for lists with numeric keys. Raises InvalidRequest."""
        if self.after is None:
            return None
        if not self.after.isascii() or not self.after.isdigit() or len(self.after) > 18:
            raise InvalidRequest("invalid `after`: send the `next` of the previous page")
        return int(self.after)

    def page(self, found: Sequence[Item], key: Callable[[Item], object]) -> Page[Item]:
        """Return the page of items that were found with a limit of `limit` + 1."""
        items = list(found[: self.limit])
        more = len(found) > self.limit
        return Page(items=items, next=str(key(items[-1])) if more else None)


def paging(
    after: Annotated[
        SearchText | None, Query(max_length=_AFTER_MAX, description="`next` of the previous page.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX, description="Maximum number of items.")] = PAGE,
) -> Paging:
    """Return the requested page of a list (a FastAPI dependency)."""
    return Paging(after, limit)


Paged = Annotated[Paging, Depends(paging)]


def create_api(state: HubState, routers: Iterable[APIRouter]) -> FastAPI:
    """Return the application to be mounted at PREFIX, with the paths of these routers."""
    api = FastAPI(
        title="Kalitka hub",
        description=(
            "People, tokens, groups, schedules, grants and holidays of a site, its readers and "
            "their access log. Authenticate with an API token (`Authorization: Bearer kal_...`), "
            "or log in and send the session cookie; changes made with the cookie also need the "
            "header `X-Kalitka-CSRF: 1`. Unless an operation says otherwise, reading requires the "
            "role viewer, changing the role operator, and PUT replaces the whole object: fields "
            "left out get their defaults. Lists are paged: to continue, send a page's `next` as "
            '`after`. Errors are `{"error": "..."}`. Times are seconds since 1970 UTC unless '
            "stated otherwise."
        ),
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=json_errors.handlers(
            f"{PREFIX}/docs",
            {
                RequestValidationError: _validation_error,
                WrongLogin: json_errors.with_status(401),
                TooManyAttempts: json_errors.with_status(429, json_errors.retry_after),
                InvalidRequest: json_errors.with_status(422),
                NotFound: json_errors.with_status(404),
                DataError: _unstorable,
                UnicodeEncodeError: _unstorable,
            },
        ),
    )
    api.state.hub = state
    api.add_middleware(BoundedBody, most=BODY_MAX)
    api.add_middleware(_PrivateHeaders)
    for router in routers:
        # Added directly: `include_router` would build each route again at the first request,
        # which takes a fifth of a second for all of them.
        api.router.routes.extend(router.routes)
    docs.add_page(api, "/docs", PREFIX)
    return api


def create_router() -> APIRouter:
    """Return a router for paths of this API, with its error responses described."""
    return APIRouter(responses=_ERRORS)


_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request is refused."},
    422: {"model": ErrorBody, "description": "A parameter or a field of the body is invalid."},
    503: {"model": ErrorBody, "description": "The database is busy: ask again later."},
}


class _PrivateHeaders:
    # Middleware: answers about people must not be cached, nor have their content type guessed.
    _HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_private(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._HEADERS]
            await send(message)

        await self.app(scope, receive, send_private)


async def _validation_error(_request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, RequestValidationError)
    errors = fault.errors()
    text = "; ".join(map(_sentence, errors[:_FIELDS_SHOWN]))
    more = len(errors) - _FIELDS_SHOWN
    return json_errors.error_response(422, f"{text}; and {more} more" if more > 0 else text)


def _sentence(error: dict[str, Any]) -> str:
    # Never repeats the value that was sent: it may be a password.
    where = error["loc"]
    if error["type"] == "json_invalid":
        return f"the body is not valid JSON: {error['ctx']['error']} at character {where[-1]}"
    if len(where) < 2 and error["type"] != "value_error":
        return "the body must be a JSON object, sent as Content-Type: application/json"
    return error_sentence(error, skipped=1)


async def _unstorable(_request: Request, _fault: Exception) -> JSONResponse:
    # PostgreSQL rejects NUL characters and numbers of more than 64 bits; both databases reject
    # lone surrogates, which JSON can write as \ud800.
    return json_errors.error_response(
        422, "the database cannot store one of these values: look for odd characters"
    )
