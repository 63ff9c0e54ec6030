"""Error responses of the JSON APIs: `{"error": "..."}`, one sentence that says what to do.

`handlers` has those that every API needs; each adds the handlers of its own exceptions.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from kalitka_hub import logs
from kalitka_hub.web.plain_errors import CUT_OFF, DATABASE_BUSY, RETRY_SECONDS

_UNREAD = "There was an error parsing the body"  # FastAPI's words
_LOG = logging.getLogger(__name__)

Handler = Callable[[Request, Exception], Awaitable[JSONResponse]]


class ErrorBody(BaseModel):
    """An error. error: one sentence that says what is wrong and what to do."""

    error: str


def error_response(
    status: int, text: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return the response of an error."""
    return JSONResponse({"error": text}, status, headers=headers)


def with_status(
    status: int, headers: Callable[[Any], Mapping[str, str] | None] = lambda _: None
) -> Handler:
    """Return a handler that sends an exception's own sentence. headers: from the exception."""

    async def handle(_request: Request, fault: Exception) -> JSONResponse:
        return error_response(status, str(fault), headers(fault))

    return handle


def retry_after(fault: Any) -> Mapping[str, str]:
    """Return the header Retry-After of an exception with `seconds`."""
    return {"Retry-After": str(fault.seconds)}


def handlers(
    docs: str, own: Mapping[int | type[Exception], Any]
) -> dict[int | type[Exception], Any]:
    """Return the handlers of an API: those that every JSON API has, and its own.

    docs: the path of its documentation page.
    """

    async def http_error(request: Request, fault: Exception) -> JSONResponse:
        assert isinstance(fault, HTTPException)
        text = str(fault.detail)
        if fault.status_code == 404 and text == "Not Found":
            text = f"no such path: see {docs}"
        elif fault.status_code == 400 and text == _UNREAD:
            text = "the body cannot be read as JSON: send it in UTF-8, and nested less deeply"
        elif fault.status_code == 405:
            text = f"{request.method} is not allowed for this path: see {docs}"
        return error_response(fault.status_code, text, fault.headers)

    return {
        HTTPException: http_error,
        OperationalError: _database_error,
        ClientDisconnect: _disconnected,
        Exception: _internal_error,
        **own,
    }


async def _database_error(_request: Request, fault: Exception) -> JSONResponse:
    logs.handled_error(_LOG, "the database failed", fault)
    return error_response(503, DATABASE_BUSY, {"Retry-After": str(RETRY_SECONDS)})


async def _disconnected(_request: Request, _fault: Exception) -> JSONResponse:
    # The client is gone: nobody reads this.
    return error_response(400, CUT_OFF)


async def _internal_error(_request: Request, _fault: Exception) -> JSONResponse:
    # The server logs the exception.
    return error_response(500, "internal error, nothing was changed: see the hub's log")
