"""What every error looks like beside the REST API: one line of plain text.

For a person with `curl`, and for the log of a reader: it says what is wrong and what to do.
"""

import logging

from fastapi.responses import PlainTextResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from kalitka_hub import logs

RETRY_SECONDS = 10  # before asking a busy database again
_LOG = logging.getLogger(__name__)
# Which are answered; others are a fault of the hub.
HANDLED_ERRORS = (HTTPException, OperationalError, ClientDisconnect)


def error_response(
    fault: Exception, method: str, unknown: str = "no such path"
) -> PlainTextResponse:
    """Return the answer to a fault of one of KINDS. unknown: what a 404 is told."""
    if isinstance(fault, OperationalError):
        logs.handled_error(_LOG, "the database failed", fault)
        text = "the database is busy or unavailable: ask again later"
        return _line(text, 503, {"Retry-After": str(RETRY_SECONDS)})
    if isinstance(fault, ClientDisconnect):
        # Nobody is there to read it.
        return _line("the request was cut off", 400)
    assert isinstance(fault, HTTPException)
    text = fault.detail
    if fault.status_code == 404:
        text = unknown
    elif fault.status_code == 405:
        allowed = (fault.headers or {}).get("Allow", "another method")
        text = f"{method} is not for this path: use {allowed}"
    return _line(text, fault.status_code, fault.headers)


def method_not_allowed(method: str, *allowed: str) -> HTTPException:
    """Return what to raise at a method that a path is not for."""
    return HTTPException(405, method, headers={"Allow": ", ".join(allowed)})


def _line(text: str, status: int, headers=None) -> PlainTextResponse:
    return PlainTextResponse(f"{text}\n", status, headers=headers)
