"""The REST API of the hub's accounts: set-up, log-in, users, API tokens and the audit."""

from typing import Annotated

from fastapi import HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from kalitka_hub.accounts import api_tokens, login, setup_code, users
from kalitka_hub.accounts.api_tokens import ApiTokenView, NewApiToken
from kalitka_hub.accounts.hashing import run_hashing
from kalitka_hub.accounts.users import NewUser, Password, Role, UserChange, UserName, UserView
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.rest.api import Page, Paged, create_router
from kalitka_hub.rest.auth import (
    COOKIE,
    Admin,
    Caller,
    State,
    Viewer,
    address_of,
    check_no_other_page,
)
from kalitka_hub.store import audit_trail
from kalitka_hub.store.audit_trail import AuditView
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.models import NAME_MAX

router = create_router()
Name = Annotated[str, Path(max_length=NAME_MAX)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Setup(_Strict):
    """The first admin's account. code: the one-time code that `kalitka hub serve` printed."""

    code: Annotated[str, Field(max_length=100)]
    name: UserName
    password: Password


class SetupState(BaseModel):
    """The state of the set-up. open: the hub has no users yet and waits for its first admin."""

    open: bool


class Login(_Strict):
    """The credentials of a log-in."""

    name: Annotated[str, Field(max_length=NAME_MAX)]
    password: Password


class PasswordChange(_Strict):
    """A change of the caller's own password, from `old` to `new`."""

    old: Password
    new: Password


class Me(BaseModel):
    """The caller. token: the name of the API token, null for a person who is logged in."""

    name: str
    role: Role
    token: str | None


class MadeApiToken(ApiTokenView):
    """A new API token. secret: the text that a program sends; it is never shown again."""

    secret: str


@router.get("/setup")
def setup_state(state: State) -> SetupState:
    """Show whether the hub waits for its first admin. Needs no authentication."""
    with state.database.snapshot() as session:
        return SetupState(open=setup_code.is_open(session))


@router.post("/setup", status_code=201)
async def setup(request: Request, state: State, data: Setup) -> UserView:
    """Create the first admin, with the one-time code that the server printed when it started.

    Needs no authentication.
    """
    check_no_other_page(request)
    return await run_hashing(
        setup_code.set_up,
        state.database,
        data.code,
        data.name,
        data.password,
        address_of(request),
    )


@router.post("/login")
async def log_in(request: Request, response: Response, state: State, data: Login) -> Me:
    """Log in with name and password. Sets a session cookie that is valid for 12 hours.

    Needs no authentication.
    """
    check_no_other_page(request)
    made = await run_hashing(
        login.log_in,
        state.database,
        data.name,
        data.password.get_secret_value(),
        address_of(request),
    )
    response.set_cookie(
        COOKIE,
        made.cookie,
        max_age=login.SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return Me(name=made.name, role=made.role, token=None)


@router.post("/logout", status_code=204)
def log_out(response: Response, state: State, caller: Viewer) -> None:
    """Log out: end the caller's log-in and delete its cookie.

    Requires a log-in with the role viewer; not for API tokens.
    """
    with write_transaction(state.database, caller.who) as session:
        login.log_out(session, _cookie_of(caller))
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


@router.get("/me")
def me(caller: Viewer) -> Me:
    """Show the caller's name, role and API token."""
    return Me(name=caller.name, role=caller.role, token=caller.token)


@router.put("/me/password", status_code=204)
async def change_password(
    request: Request, state: State, caller: Viewer, data: PasswordChange
) -> None:
    """Change the caller's own password. Ends the caller's other log-ins.

    Requires a log-in with the role viewer; not for API tokens.
    """
    try:
        await run_hashing(
            login.change_password,
            state.database,
            caller.name,
            data.old.get_secret_value(),
            data.new,
            address_of(request),
            _cookie_of(caller),
        )
    except login.WrongLogin as fault:
        raise InvalidRequest("the old password is wrong: type it again") from fault


@router.get("/users")
def list_users(state: State, _caller: Admin, paging: Paged) -> Page[UserView]:
    """List the users, by name. Requires the role admin."""
    with state.database.snapshot() as session:
        found = users.list_users(session, paging.after, paging.limit + 1)
        return paging.page([users.view_of(user) for user in found], lambda user: user.name)


@router.post("/users", status_code=201)
def add_user(state: State, caller: Admin, data: NewUser) -> UserView:
    """Add a user. Requires the role admin."""
    with write_transaction(state.database, caller.who) as session:
        return users.view_of(users.add_user(session, data))


@router.get("/users/{name}")
def show_user(state: State, _caller: Admin, name: Name) -> UserView:
    """Show a user. Requires the role admin."""
    with state.database.snapshot() as session:
        return users.view_of(users.existing_user(session, name))


@router.patch("/users/{name}")
def change_user(state: State, caller: Admin, name: Name, data: UserChange) -> UserView:
    """Change the given fields of a user. A new password, or disabling, ends the user's log-ins.

    Requires the role admin.
    """
    with write_transaction(state.database, caller.who) as session:
        return users.view_of(users.change_user(session, name, data))


@router.delete("/users/{name}", status_code=204)
def remove_user(state: State, caller: Admin, name: Name) -> None:
    """Remove a user together with the user's log-ins and API tokens. Requires the role admin."""
    with write_transaction(state.database, caller.who) as session:
        users.remove_user(session, name)


@router.get("/api-tokens")
def list_tokens(
    state: State,
    caller: Viewer,
    paging: Paged,
    user: Annotated[str | None, Query(max_length=NAME_MAX, description="By user name.")] = None,
) -> Page[ApiTokenView]:
    """List API tokens: everybody's for an admin, the caller's own for others."""
    whose = user if caller.role == "admin" else caller.name
    with state.database.snapshot() as session:
        found = api_tokens.list_tokens(session, whose, paging.after_id or 0, paging.limit + 1)
    return paging.page(found, lambda token: token.id)


@router.post("/api-tokens", status_code=201)
def add_token(state: State, caller: Viewer, data: NewApiToken) -> MadeApiToken:
    """Create an API token for the caller; admins also for others. The secret is shown only once.

    Requires a log-in with the role viewer: an API token cannot create another one.
    """
    _cookie_of(caller)  # a leaked token must not outlive its revocation by creating others
    whose = data.user or caller.name
    if whose != caller.name and caller.role != "admin":
        raise HTTPException(403, "only an admin creates API tokens for others: leave out `user`")
    with write_transaction(state.database, caller.who) as session:
        shown, secret = api_tokens.add_token(session, whose, data.name, data.days)
    return MadeApiToken(**shown.model_dump(), secret=secret)


@router.delete("/api-tokens/{token_id}", status_code=204)
def revoke_token(
    state: State, caller: Viewer, token_id: Annotated[int, Path(ge=1, lt=1 << 62)]
) -> None:
    """Revoke an API token of the caller; admins also those of others. Requires the role viewer."""
    whose = None if caller.role == "admin" else caller.name
    with write_transaction(state.database, caller.who) as session:
        api_tokens.revoke_token(session, token_id, whose)


@router.get("/audit")
def list_audit(
    state: State,
    _caller: Viewer,
    paging: Paged,
    who: Annotated[str | None, Query(max_length=NAME_MAX, description="By author.")] = None,
    kind: Annotated[str | None, Query(max_length=40, description="By kind: `users`, ...")] = None,
    object: Annotated[
        str | None, Query(max_length=NAME_MAX, description="By object's key.")
    ] = None,
) -> Page[AuditView]:
    """List the audit entries: who changed what, newest first."""
    with state.database.snapshot() as session:
        found = audit_trail.list_audit(
            session, paging.after_id, paging.limit + 1, who=who, kind=kind, object=object
        )
    return paging.page(found, lambda entry: entry.id)


def _cookie_of(caller: Caller) -> str:
    if caller.cookie_sha256 is None:
        raise HTTPException(403, "this is for a person who is logged in, not for an API token")
    return caller.cookie_sha256
