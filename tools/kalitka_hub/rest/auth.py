"""Who asks by the REST API, and whether they may.

A program sends `Authorization: Bearer kal_...`, and that counts if it is there; a browser sends
the cookie of its log-in. A browser sends it for every page, though: so a request that changes
something and has only the cookie must show that it is of the hub's own page, by one of

- the header X-Kalitka-CSRF, with any value. A page from elsewhere cannot add a header without
  asking the hub first (CORS), and the hub never allows it;
- `Sec-Fetch-Site: same-origin`, which browsers write themselves and no page can forge;
- an Origin of this very host, where browsers leave that one out: they do over plain HTTP.

The cookie is SameSite=Strict besides, which does not help between ports of one host.
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

# They describe the two ways in OpenAPI; what is wrong with a request is said below.
_bearer = HTTPBearer(auto_error=False, scheme_name="API token")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, scheme_name="Log-in")


class Caller(NamedTuple):
    """Who asks. token: the name of the API token, None of a person who is logged in.

    log_in: SHA-256 of the cookie; None with a token.
    """

    name: str
    role: Role
    token: str | None
    cookie_sha256: str | None

    @property
    def who(self) -> str:
        """Whose changes these are, for `changes.write_transaction` and the audit."""
        return self.name if self.token is None else f"{self.name} (token {self.token})"


def caller(
    request: Request,
    state: State,
    _token: Annotated[object, Depends(_bearer)] = None,
    cookie: Annotated[str | None, Depends(_cookie)] = None,
) -> Caller:
    """Return who asks. Raises 401 if nobody known does, 403 if another site's page does."""
    authorization = request.headers.get("authorization")
    if authorization is not None:
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return _by_token(state, credentials.strip())
        raise _unauthorized("the header Authorization must be Bearer and an API token")
    if cookie is None:
        raise _unauthorized("log in, or send an API token in the header Authorization")
    if request.method not in _READING:
        _check_own_page(request)
    return _by_cookie(state, cookie)


def address_of(request: Request) -> str:
    """Return the address that a request comes from."""
    return request.client.host if request.client else "unknown"


def check_no_other_page(request: Request) -> None:
    """Raise 403 if a browser says that a page from elsewhere sends this, cookie or not.

    For the log-in: no page from elsewhere is to log somebody in under another name.
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
    # Where others write for long, one request waits for them here, and no thread more: readers
    # need the others.
    if not _USE_LOCK.acquire(blocking=False):
        return
    try:
        with write_transaction(state.database) as session:
            api_tokens.record_use(session, token_id)
    except OperationalError:
        # The next request will do, this one may only want to read.
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
        # Both leave out the port that goes with the scheme.
        is_own = origin == f"{request.url.scheme}://{request.headers.get('host')}"
    if not is_own:
        raise HTTPException(
            403,
            f"this may come from another site's page: send the header {CSRF_HEADER}: 1, or an "
            "API token instead of the cookie",
        )


def _unauthorized(text: str) -> HTTPException:
    return HTTPException(401, text, headers={"WWW-Authenticate": "Bearer"})


AnyCaller = Annotated[Caller, Depends(caller)]


def _with_role(needed: Role):
    def dependency(somebody: AnyCaller) -> Caller:
        if not has_role(somebody.role, needed):
            raise HTTPException(
                403, f"this takes the role {needed}, and {somebody.name} is {somebody.role}"
            )
        return somebody

    return dependency


viewer = _with_role("viewer")
operator = _with_role("operator")
admin = _with_role("admin")
Viewer = Annotated[Caller, Depends(viewer)]
Operator = Annotated[Caller, Depends(operator)]
Admin = Annotated[Caller, Depends(admin)]
