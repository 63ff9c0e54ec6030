"""Error responses outside the JSON APIs: one line of plain text, or JSON for clients that ask so.

For a person with `curl` and for the log of a reader: the line says what is wrong and what to do. A
client whose header Accept names JSON gets `{"error": ..., "message": ...}`, twice the same
sentence: under the name that the hub's own JSON APIs have for it, and under the one that another
server of the token-reader API has.
"""

import logging

from fastapi import Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from kalitka_hub import logs

RETRY_SECONDS = 10  # in Retry-After, while the database is busy
DATABASE_BUSY = "the database is busy or unavailable: ask again later"
CUT_OFF = "the request was cut off"
INTERNAL = "internal error: see the hub's log"
_JSON = ("application/json", "application/*")
_TEXT = ("text/plain", "text/*", "*/*")
_LOG = logging.getLogger(__name__)
# Exceptions that `error_response` answers; any other is a bug of the hub.
HANDLED_ERRORS = (HTTPException, OperationalError, ClientDisconnect)


def error_response(fault: Exception, request: Request, unknown: str = "no such path") -> Response:
    """Return the response to an exception of this request. unknown: the text of a 404."""
    if isinstance(fault, OperationalError):
        logs.handled_error(_LOG, "the database failed", fault)
        return _response(request, DATABASE_BUSY, 503, {"Retry-After": str(RETRY_SECONDS)})
    if isinstance(fault, ClientDisconnect):
        # The client is gone: nobody reads this.
        return _response(request, CUT_OFF, 400)
    if not isinstance(fault, HTTPException):
        return _response(request, INTERNAL, 500)
    text = fault.detail
    if fault.status_code == 404:
        text = unknown
    elif fault.status_code == 405:
        allowed = (fault.headers or {}).get("Allow", "another method")
        text = f"{request.method} is not allowed for this path: use {allowed}"
    return _response(request, text, fault.status_code, fault.headers)


def method_not_allowed(method: str, *allowed: str) -> HTTPException:
    """Return the exception to raise for a method that a path does not allow."""
    return HTTPException(405, method, headers={"Allow": ", ".join(allowed)})


def _response(request: Request, text: str, status: int, headers=None) -> Response:
    if _wants_json(request):
        return JSONResponse({"error": text, "message": text}, status, headers=headers)
    return PlainTextResponse(f"{text}\n", status, headers=headers)


def _wants_json(request: Request) -> bool:
    """Return whether the header Accept names JSON and likes no text better (RFC 9110, 12.5.1).

    `*/*` alone, and no header at all, mean text: so readers ask, and people with `curl`.
    """
    wanted: dict[str, float] = {}
    for one in ",".join(request.headers.getlist("accept")).lower().split(","):
        kind, *parameters = map(str.strip, one.split(";"))
        wanted[kind] = next(map(_quality, filter(_is_quality, parameters)), 1.0)
    json, text = (
        next((wanted[kind] for kind in kinds if kind in wanted), 0.0) for kinds in (_JSON, _TEXT)
    )
    return json > 0 and json >= text


def _is_quality(parameter: str) -> bool:
    return parameter.startswith("q=")


def _quality(parameter: str) -> float:
    try:
        return float(parameter[2:])
    except ValueError:
        return 0.0
