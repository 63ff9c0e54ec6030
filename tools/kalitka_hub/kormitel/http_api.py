"""The exchange over HTTP: `GET sync` and `POST back-sync`, in both shapes.

`/sync` and `/back-sync` are the seed's and answer in the grouped shape; the same pair below PREFIX
is today's contract and answers in the flat shape. A posted body may have either shape. Clients log
in with HTTP Basic, as users of the role integration. There is never a redirect, which would turn
the client's POST into a GET. Errors are JSON, `{"error": "..."}`. The OpenAPI document is at
`openapi.json` below PREFIX, its page at `docs`.

The work is done in a few threads of its own, so that the readers' threads stay free.
"""

from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.models import HTTPBase
from fastapi.security.base import SecurityBase
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from kalitka_hub.accounts.basic import BasicLogins, NoCredentials
from kalitka_hub.accounts.login import WrongLogin
from kalitka_hub.accounts.login_attempts import TooManyAttempts
from kalitka_hub.accounts.users import INTEGRATION
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.kormitel import back_sync, bodies
from kalitka_hub.kormitel.dates import micros_of
from kalitka_hub.kormitel.documents import Shape
from kalitka_hub.kormitel.exchange_log import Paused, Way
from kalitka_hub.kormitel.export import SyncAnswer, SyncQuery
from kalitka_hub.reader_api.state import HubState
from kalitka_hub.web import docs, json_errors
from kalitka_hub.web.bounded_body import BoundedBody
from kalitka_hub.web.json_errors import ErrorBody
from kalitka_hub.web.snapshot_response import SnapshotResponse

PREFIX = "/api/v1/feeder"
SYNC, BACK_SYNC = "/sync", "/back-sync"
BODY_MAX = 32 << 20  # bytes of a posted body
_ZIPPED_MIN = 1000  # bytes of an answer
_ZIPPED_LEVEL = 4  # of 9, the slowest: compressing runs between answers to readers
_ANSWERING = CapacityLimiter(4)
# A memory bound: each body is in memory as a whole, and holds the site's lock most of the time.
_RECEIVING = CapacityLimiter(1)
_BASIC = "Basic"
_unauthorized = json_errors.with_status(
    401, lambda _: {"WWW-Authenticate": 'Basic realm="kalitka"'}
)

_router = APIRouter()


def is_path(path: str) -> bool:
    """Tell whether a path is one of this application."""
    return path in (SYNC, BACK_SYNC) or path.startswith(f"{PREFIX}/")


def create_api(state: HubState) -> FastAPI:
    """Return the application that answers the paths of `is_path`."""
    api = _Api(
        title="Kalitka: the exchange with Kormitel",
        description=(
            "The exchange of badges and arrivals between a canteen system and this hub. Log in "
            "with HTTP Basic as a user of the role integration. Ask with from_date, the time just "
            "before the last answer that arrived whole: the answer has every change at that time "
            "or later, some of them twice."
        ),
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=json_errors.handlers(
            f"{PREFIX}/docs",
            {
                NoCredentials: _unauthorized,
                WrongLogin: _unauthorized,
                TooManyAttempts: json_errors.with_status(429, json_errors.retry_after),
                Paused: json_errors.with_status(503, json_errors.retry_after),
                InvalidRequest: json_errors.with_status(400),
            },
        ),
    )
    api.state.hub = state
    api.state.logins = BasicLogins(state.database)
    api.add_middleware(BoundedBody, most=BODY_MAX)
    api.add_middleware(GZipMiddleware, minimum_size=_ZIPPED_MIN, compresslevel=_ZIPPED_LEVEL)
    # The same routes, not copies for each application: see `rest.api`.
    api.router.routes.extend(_router.routes)
    docs.add_page(api, f"{PREFIX}/docs")
    return api


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            described = super().openapi()
            # Endpoints read the body themselves, so FastAPI does not know its models; and FastAPI
            # validates nothing here, so there is no 422.
            _, found = models_json_schema(
                [(model, "validation") for model in (bodies.FlatBody, bodies.GroupedBody)],
                ref_template=_REFERENCE,
            )
            schemas = described["components"]["schemas"]
            schemas.update(found["$defs"])
            for operations in described["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop("422", None)
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
        return self.openapi_schema or {}


class _Basic(SecurityBase):
    """The login of a client with HTTP Basic, as a security scheme of OpenAPI."""

    def __init__(self) -> None:
        self.model = HTTPBase(scheme="basic")
        self.scheme_name = _BASIC

    async def __call__(self, request: Request) -> str:
        """Return the user's name. Raises 403 for a user of another role."""
        logins: BasicLogins = request.app.state.logins
        address = request.client.host if request.client else "unknown"
        user = await logins.authenticate(request.headers.get("authorization"), address)
        if user.role != INTEGRATION:
            raise HTTPException(
                403, f"{user.name} has the role {user.role}: log in with the role {INTEGRATION}"
            )
        return user.name


_REFERENCE = "#/components/schemas/{model}"
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The request is invalid; the error says why."},
    401: {"model": ErrorBody, "description": "The name or the password is wrong."},
    403: {"model": ErrorBody, "description": "The user does not have the role integration."},
    429: {"model": ErrorBody, "description": "Too many failed attempts: wait."},
    503: {"model": ErrorBody, "description": "Paused, or busy: ask again later."},
}
_RECEIVING_ERRORS: dict[int | str, dict[str, Any]] = {
    408: {"model": ErrorBody, "description": "The body did not arrive in time."},
    413: {"model": ErrorBody, "description": f"The body is longer than {BODY_MAX} bytes."},
    **_ERRORS,
}
_POSTED = {
    "requestBody": {
        "required": True,
        "description": "In either shape, whatever its Content-Type says.",
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        {"$ref": _REFERENCE.format(model=model.__name__)}
                        for model in (bodies.FlatBody, bodies.GroupedBody)
                    ]
                },
                "examples": {
                    "flat": {"value": bodies.FLAT_BODY},
                    "grouped": {"value": bodies.GROUPED_BODY},
                },
            }
        },
    }
}
User = Annotated[str, Depends(_Basic())]
FromDate = Annotated[
    str | None,
    Query(
        description="Like 2026-11-21T18:56:42, in UTC; a fraction, Z and an offset such as "
        "+03:00 are accepted too. Without it, the answer has everything.",
        examples=["2024-01-01T12:12:00Z", "2013-06-13T00:00:00"],
        json_schema_extra={"format": "date-time"},
    ),
]
Fields = Annotated[
    str | None,
    Query(
        description="`all`: with Kormitel's own fields too. Only for another hub, never for "
        "Kormitel's client.",
        json_schema_extra={"enum": ["all"]},
    ),
]


def _sync_responses(model: type, example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"example": example}}
    response = {"model": model, "description": "The changes.", "content": content}
    return {200: response, **_ERRORS}


@_router.get(SYNC, responses=_sync_responses(bodies.GroupedAnswer, bodies.GROUPED_ANSWER))
async def sync(
    request: Request, user: User, from_date: FromDate = None, fields: Fields = None
) -> Response:
    """Return the changes in the grouped shape: inserted, updated and deleted."""
    return await _answer(request, user, "grouped", from_date, fields)


@_router.get(PREFIX + SYNC, responses=_sync_responses(bodies.FlatAnswer, bodies.FLAT_ANSWER))
async def flat_sync(
    request: Request, user: User, from_date: FromDate = None, fields: Fields = None
) -> Response:
    """Return the changes in the flat shape: every object says whether it is deleted."""
    return await _answer(request, user, "flat", from_date, fields)


@_router.post(BACK_SYNC, name="take", responses=_RECEIVING_ERRORS, openapi_extra=_POSTED)
@_router.post(PREFIX + BACK_SYNC, name="take", responses=_RECEIVING_ERRORS, openapi_extra=_POSTED)
async def receive_changes(request: Request, user: User) -> bodies.Taken:
    """Apply changes in one transaction; items that cannot be applied are quarantined."""
    state: HubState = request.app.state.hub
    try:
        body = await request.body()
    except HTTPException as fault:
        await _record_failure(state, user, "back-sync", str(fault.detail))
        raise
    counts = await to_thread.run_sync(
        back_sync.receive, state.database, user, body, limiter=_RECEIVING
    )
    return bodies.Taken(**counts._asdict())


async def _answer(
    request: Request, user: str, shape: Shape, from_date: str | None, fields: str | None
) -> Response:
    state: HubState = request.app.state.hub
    try:
        query = _parse_query(user, shape, from_date, fields)
        answer = await to_thread.run_sync(SyncAnswer, state.database, query, limiter=_ANSWERING)
    except InvalidRequest as fault:
        await _record_failure(state, user, "sync", str(fault))
        raise
    response = SnapshotResponse(answer.parts, answer.close)
    response.headers["content-type"] = "application/json"
    response.headers["cache-control"] = "no-store"
    return response


def _parse_query(user: str, shape: Shape, from_date: str | None, fields: str | None) -> SyncQuery:
    if fields not in (None, "all"):
        raise InvalidRequest("fields: send `all`, or leave fields out")
    since = None if from_date is None else micros_of(from_date)
    return SyncQuery(user, shape, since, fields == "all")


async def _record_failure(state: HubState, user: str, way: Way, error: str) -> None:
    await run_in_threadpool(back_sync.record_failure, state.database, user, way, error)
