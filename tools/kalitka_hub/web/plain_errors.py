"""Error responses outside the JSON APIs: one line of plain text.

For a person with `curl` and for the log of a reader: the line says what is wrong and what to do.
"""

import logging

from fastapi.responses import PlainTextResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from kalitka_hub import logs

RETRY_SECONDS = 10  # in Retry-After, while the database is busy
DATABASE_BUSY = "the database is busy or unavailable: ask again later"
CUT_OFF = "the request was cut off"
_LOG = logging.getLogger(__name__)
# Exceptions that `error_response` answers; any other is a bug of the hub.
HANDLED_ERRORS = (HTTPException, OperationalError, ClientDisconnect)


def error_response(
    fault: Exception, method: str, unknown: str = "no such path"
) -> PlainTextResponse:
    """Return the response to one of HANDLED_ERRORS. unknown: the text of a 404."""
    if isinstance(fault, OperationalError):
        logs.handled_error(_LOG, "the database failed", fault)
        return _line(DATABASE_BUSY, 503, {"Retry-After": str(RETRY_SECONDS)})
    if isinstance(fault, ClientDisconnect):
        # The client is gone: nobody reads this.
        return _line(CUT_OFF, 400)
    assert isinstance(fault, HTTPException)
    text = fault.detail
    if fault.status_code == 404:
        text = unknown
    elif fault.status_code == 405:
        allowed = (fault.headers or {}).get("Allow", "another method")
        text = f"{method} is not allowed for this path: use {allowed}"
    return _line(text, fault.status_code, fault.headers)


def method_not_allowed(method: str, *allowed: str) -> HTTPException:
    """Return the exception to raise for a method that a path does not allow."""
    return HTTPException(405, method, headers={"Allow": ", ".join(allowed)})


def _line(text: str, status: int, headers=None) -> PlainTextResponse:
    return PlainTextResponse(f"{text}\n", status, headers=headers)
