"""Authentication and authorization of the REST API's callers, and its CSRF protection.

A program sends `Authorization: Bearer kal_...`, which takes precedence; a browser sends the cookie
of its log-in. A browser also sends the cookie with requests that another site's page makes, so a
request that changes something with the cookie alone must prove that the hub's own page sent it,
by one of

- the header X-Kalitka-CSRF, with any value. Another site's page cannot add a header without
  asking the hub first (CORS), and the hub never allows it;
- `Sec-Fetch-Site: same-origin`, which browsers set themselves and no page can forge;
- an Origin of this very host, where browsers leave Sec-Fetch-Site out: over plain HTTP.

The cookie is also SameSite=Strict, which does not help between ports of one host.
"""

from threading import Lock
from typing import Annotated, NamedTuple

from fastapi import Depends, HTTPException, Request
from fastapi.security import APIKeyCookie
from fastapi.security.http import HTTPBearer
from sqlalchemy.exc import OperationalError

from kalitka_hub.accounts import api_tokens, login
from kalitka_hub.accounts.random_secrets import sha256_of
from kalitka_hub.accounts.users import Role, has_role
from kalitka_hub.reader_api.state import HubState, state_of
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.models import User

COOKIE = "kalitka_session"
CSRF_HEADER = "X-Kalitka-CSRF"
_USE_LOCK = Lock()
_READING = ("GET", "HEAD", "OPTIONS")

State = Annotated[HubState, Depends(state_of)]

# For the OpenAPI description only; `caller` does the authentication.
_bearer = HTTPBearer(auto_error=False, scheme_name="API token")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, scheme_name="Log-in")


class Caller(NamedTuple):
    """An authenticated caller.

    token: the name of the API token, None for a person who is logged in. cookie_sha256: the
    SHA-256 of the log-in cookie in hex, None for a token.
    """

    name: str
    role: Role
    token: str | None
    cookie_sha256: str | None

    @property
    def who(self) -> str:
        """The author of the caller's changes, for `changes.write_transaction` and the audit."""
        return self.name if self.token is None else f"{self.name} (token {self.token})"


def caller(
    request: Request,
    state: State,
    _token: Annotated[object, Depends(_bearer)] = None,
    cookie: Annotated[str | None, Depends(_cookie)] = None,
) -> Caller:
    """Return the caller. Raises 401 without valid credentials, 403 for another site's page."""
    authorization = request.headers.get("authorization")
    if authorization is not None:
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return _by_token(state, credentials.strip())
        raise _unauthorized("invalid header Authorization: send `Bearer` and an API token")
    if cookie is None:
        raise _unauthorized("log in, or send an API token in the header Authorization")
    if request.method not in _READING:
        _check_own_page(request)
    return _by_cookie(state, cookie)


def address_of(request: Request) -> str:
    """Return the client's network address."""
    return request.client.host if request.client else "unknown"


def check_no_other_page(request: Request) -> None:
    """Raise 403 if a browser's headers say that another site's page sent this request.

    For requests without a cookie, such as the log-in: another site's page must not log somebody in
    under a different name.
    """
    origin = request.headers.get("sec-fetch-site") or request.headers.get("origin")
    if origin is not None and CSRF_HEADER not in request.headers:
        _check_own_page(request)


def _by_token(state: HubState, text: str) -> Caller:
    now = int(state.database.clock())
    with state.database.snapshot() as session:
        login = api_tokens.authenticate(session, text, now)
        if login is None:
            raise _unauthorized("the API token is unknown, revoked or expired: ask for another")
        found = _caller_of(login.user, login.token.name, None)
        token_id = login.token.id
    if login.is_use_due:
        _record_use(state, token_id)
    return found


def _by_cookie(state: HubState, cookie: str) -> Caller:
    with state.database.snapshot() as session:
        user = login.user_of_cookie(session, cookie, int(state.database.clock()))
        if user is None:
            raise _unauthorized("the log-in has ended: log in again")
        return _caller_of(user, None, sha256_of(cookie))


def _record_use(state: HubState, token_id: int) -> None:
    # While a long write holds the site's lock, at most one request thread waits here for it: the
    # readers need the other threads.
    if not _USE_LOCK.acquire(blocking=False):
        return
    try:
        with write_transaction(state.database) as session:
            api_tokens.record_use(session, token_id)
    except OperationalError:
        # The next request records the use; this one may only read.
        return
    finally:
        _USE_LOCK.release()


def _caller_of(user: User, token: str | None, cookie_sha256: str | None) -> Caller:
    return Caller(user.name, user.role, token, cookie_sha256)  # type: ignore[arg-type]


def _check_own_page(request: Request) -> None:
    if CSRF_HEADER in request.headers:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        is_own = site == "same-origin"
    else:
        # Both headers omit the scheme's default port.
        is_own = origin == f"{request.url.scheme}://{request.headers.get('host')}"
    if not is_own:
        raise HTTPException(
            403,
            f"the request may come from another site's page: send the header {CSRF_HEADER}: 1, or "
            "an API token instead of the cookie",
        )


def _unauthorized(text: str) -> HTTPException:
    return HTTPException(401, text, headers={"WWW-Authenticate": "Bearer"})


AnyCaller = Annotated[Caller, Depends(caller)]


def _with_role(needed: Role):
    def dependency(somebody: AnyCaller) -> Caller:
        if not has_role(somebody.role, needed):
            raise HTTPException(
                403,
                f"this requires the role {needed}, but {somebody.name} has the role "
                f"{somebody.role}: ask an admin",
            )
        return somebody

    return dependency


viewer = _with_role("viewer")
operator = _with_role("operator")
admin = _with_role("admin")
Viewer = Annotated[Caller, Depends(viewer)]
Operator = Annotated[Caller, Depends(operator)]
Admin = Annotated[Caller, Depends(admin)]
