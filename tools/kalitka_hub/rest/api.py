"""The frame of the hub's REST API: what every path of it has in common.

It is an application of its own, mounted at PREFIX: its errors are JSON, `{"error": "..."}`, one
sentence that says what is wrong and what to do, while those of the token-reader API beside it stay
plain text. Lists come in pages. Its description is at `openapi.json`, and to be read at `docs`,
a page without a script.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import AfterValidator, BaseModel, Field
from sqlalchemy.exc import DataError, OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kalitka_hub import logs
from kalitka_hub.accounts.login import WrongLogin
from kalitka_hub.accounts.login_attempts import TooManyAttempts
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.reader_api.state import HubState
from kalitka_hub.site.inputs import error_sentence
from kalitka_hub.web import docs
from kalitka_hub.web.bounded_body import BoundedBody
from kalitka_hub.web.error_body import ErrorBody
from kalitka_hub.web.plain_errors import RETRY_SECONDS

PREFIX = "/api/v1/hub"
BODY_MAX = 1 << 20  # bytes of a request; for a path that takes more see `bounded_body`
PAGE = 100  # items of a list, unless asked for otherwise
PAGE_MAX = 1000
_AFTER_MAX = 300  # characters
_UNREAD = "There was an error parsing the body"  # FastAPI's words
_FIELDS_SHOWN = 3  # of those that are wrong

_LOG = logging.getLogger(__name__)
Item = TypeVar("Item")


def _checked_text(text: str) -> str:
    # PostgreSQL takes none, and SQLite ends texts there in places.
    if "\0" in text:
        raise InvalidRequest("there is nothing with the character of the number 0: leave it out")
    return text


# A text by which something is looked for, in a path or a query.
SearchText = Annotated[str, AfterValidator(_checked_text)]
# A number of what the hub numbers, or a time: both databases take it.
Number = Annotated[int, Field(ge=0, lt=1 << 62)]


class Page(BaseModel, Generic[Item]):
    """Some items of a list. next: what to send as `after` to get more, null at the end."""

    items: list[Item]
    next: str | None


class Paging(NamedTuple):
    """Which items of a list: at most `limit` behind the one of the key `after`."""

    after: str | None
    limit: int

    @property
    def after_id(self) -> int | None:
        """`after` of a list whose keys are numbers. Raises InvalidRequest."""
        if self.after is None:
            return None
        if not self.after.isascii() or not self.after.isdigit() or len(self.after) > 18:
            raise InvalidRequest("after: send the `next` of the page before")
        return int(self.after)

    def page(self, found: Sequence[Item], key: Callable[[Item], object]) -> Page[Item]:
        """Return the page of what was found with a limit of one more than `limit`."""
        items = list(found[: self.limit])
        more = len(found) > self.limit
        return Page(items=items, next=str(key(items[-1])) if more else None)


def paging(
    after: Annotated[
        SearchText | None, Query(max_length=_AFTER_MAX, description="`next` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX, description="At most so many items.")] = PAGE,
) -> Paging:
    """Return which items a request for a list wants (a FastAPI dependency)."""
    return Paging(after, limit)


Paged = Annotated[Paging, Depends(paging)]


def create_api(state: HubState, routers: Iterable[APIRouter]) -> FastAPI:
    """Return the application to be mounted at PREFIX, with the paths of these routers."""
    api = FastAPI(
        title="Kalitka hub",
        description=(
            "People, tokens and what they may, the readers and their log. Send "
            "`Authorization: Bearer kal_...`, an API token, or log in. Times are seconds since "
            "1970 UTC unless they say otherwise."
        ),
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            HTTPException: _http_error,
            RequestValidationError: _validation_error,
            WrongLogin: _wrong_login,
            TooManyAttempts: _too_many,
            InvalidRequest: _invalid_request,
            NotFound: _not_found,
            DataError: _unstorable,
            UnicodeEncodeError: _unstorable,
            OperationalError: _database_error,
            ClientDisconnect: _disconnected,
            Exception: _internal_error,
        },
    )
    api.state.hub = state
    api.add_middleware(BoundedBody, most=BODY_MAX)
    api.add_middleware(_PrivateHeaders)
    for router in routers:
        # As they are: `include_router` makes each path anew, at its first request to this
        # application, which takes a fifth of a second of all of them.
        api.router.routes.extend(router.routes)
    api.add_api_route("/docs", _docs, include_in_schema=False)
    return api


def create_router() -> APIRouter:
    """Return a router for paths of this API, whose errors are described."""
    return APIRouter(responses=_ERRORS)


_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "What is wrong with the request."},
    422: {"model": ErrorBody, "description": "What is wrong with what was sent."},
    503: {"model": ErrorBody, "description": "The database is busy: ask again later."},
}


class _PrivateHeaders:
    # What people have on their screens is for nobody's cache, and nothing but what it says it is.
    _HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_private(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._HEADERS]
            await send(message)

        await self.app(scope, receive, send_private)


def _docs(request: Request) -> HTMLResponse:
    # Made when it is asked for: describing all paths takes a tenth of a second.
    page = docs.render_page(request.app.openapi(), PREFIX)
    return HTMLResponse(page, headers={"Content-Security-Policy": docs.POLICY})


def _error_response(
    status: int, text: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return JSONResponse({"error": text}, status, headers=headers)


async def _http_error(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, HTTPException)
    text = str(fault.detail)
    if fault.status_code == 404 and text == "Not Found":
        text = f"there is no such path: {PREFIX}/docs shows them all"
    elif fault.status_code == 400 and text == _UNREAD:
        text = "the body is no JSON that can be read: send it in UTF-8, and not nested as deeply"
    elif fault.status_code == 405:
        text = f"{request.method} is not for this path: {PREFIX}/docs shows what is"
    return _error_response(fault.status_code, text, fault.headers)


async def _validation_error(_request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, RequestValidationError)
    errors = fault.errors()
    text = "; ".join(map(_sentence, errors[:_FIELDS_SHOWN]))
    more = len(errors) - _FIELDS_SHOWN
    return _error_response(422, f"{text}; and {more} more" if more > 0 else text)


def _sentence(error: dict[str, Any]) -> str:
    # What was sent is never repeated: it may be a password.
    where = error["loc"]
    if error["type"] == "json_invalid":
        return f"the body is no JSON: {error['ctx']['error']} at character {where[-1]}"
    if len(where) < 2 and error["type"] != "value_error":
        return "the body must be a JSON object, sent as Content-Type: application/json"
    return error_sentence(error, skipped=1)


async def _wrong_login(_request: Request, fault: Exception) -> JSONResponse:
    return _error_response(401, str(fault))


async def _too_many(_request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, TooManyAttempts)
    return _error_response(429, str(fault), {"Retry-After": str(fault.seconds)})


async def _invalid_request(_request: Request, fault: Exception) -> JSONResponse:
    return _error_response(422, str(fault))


async def _not_found(_request: Request, fault: Exception) -> JSONResponse:
    return _error_response(404, str(fault))


async def _unstorable(_request: Request, _fault: Exception) -> JSONResponse:
    # PostgreSQL takes no character of the number 0, and no number of more than 64 bits; neither
    # takes half of a character, which JSON can write as \ud800.
    return _error_response(
        422, "the database cannot keep one of these values: look for odd characters"
    )


async def _database_error(_request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, OperationalError)
    logs.handled_error(_LOG, "the database failed", fault)
    answer = _error_response(503, "the database is busy or unavailable: ask again later")
    answer.headers["Retry-After"] = str(RETRY_SECONDS)
    return answer


async def _disconnected(_request: Request, _fault: Exception) -> JSONResponse:
    # Nobody is there to read it.
    return _error_response(400, "the request was cut off")


async def _internal_error(_request: Request, _fault: Exception) -> JSONResponse:
    # The server logs it.
    return _error_response(
        500, "the hub failed at this, and its log says how: nothing was changed"
    )
