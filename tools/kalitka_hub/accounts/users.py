"""The users of the hub, and their roles.

An integration is another system: it may use the exchange (`kormitel`), which no other role may,
and nothing else. A viewer reads; an operator also changes people, tokens, groups, schedules,
grants and holidays; an admin also changes users, the readers' secrets, backups and the site. At
least one admin who can log in always remains. Every change requires a session from
`changes.write_transaction` and is audited, never with a password or its hash.
"""

import re
import unicodedata
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from kalitka_hub.accounts.passwords import LENGTH_MAX, check_password, hash_of
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.store import audit
from kalitka_hub.store.changes import change_context
from kalitka_hub.store.models import LoginSession, User

USER_NAME_MAX = 64
KIND = "users"
Role = Literal["integration", "viewer", "operator", "admin"]
INTEGRATION: Role = "integration"
ROLES: tuple[Role, ...] = get_args(Role)  # in ascending order; see `has_role`

# No colon, which ends the name in HTTP Basic, and no slash, which ends it in a path.
_NAME = re.compile(r"\w[\w.@+-]*")


def check_user_name(name: str) -> str:
    """Return a user name normalized (NFC) as it is stored. Raises InvalidRequest."""
    name = unicodedata.normalize("NFC", name)
    if not _NAME.fullmatch(name) or len(name) > USER_NAME_MAX:
        raise InvalidRequest(
            f"use 1 to {USER_NAME_MAX} letters, digits, dots, dashes, underscores, @ and + for a "
            "user name, beginning with a letter, digit or underscore"
        )
    return name


UserName = Annotated[str, AfterValidator(check_user_name)]
Password = Annotated[SecretStr, Field(max_length=LENGTH_MAX)]


class NewUser(BaseModel):
    """A new user. Without a password the user cannot log in and is used by API tokens only."""

    model_config = ConfigDict(extra="forbid")

    name: UserName
    role: Role
    password: Password | None = None
    disabled: bool = False


class UserChange(BaseModel):
    """Changes to a user: fields left out keep their values. password: null removes it."""

    model_config = ConfigDict(extra="forbid")

    name: UserName | None = None
    role: Role | None = None
    password: Password | None = None
    disabled: bool | None = None


class UserView(BaseModel):
    """A user, without the password. created: seconds since 1970 UTC."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    role: Role
    disabled: bool
    has_password: bool
    created: int


def has_role(role: str, needed: Role) -> bool:
    """Return whether this role includes the role `needed`."""
    return ROLES.index(role) >= ROLES.index(needed)  # type: ignore[arg-type]


def view_of(user: User) -> UserView:
    """Return the public view of a user."""
    return UserView(
        name=user.name,
        role=user.role,  # type: ignore[arg-type]
        disabled=user.disabled,
        has_password=user.password_hash is not None,
        created=user.created,
    )


def has_users(session: Session) -> bool:
    """Return whether there is any user yet."""
    return session.execute(select(User.id).limit(1)).first() is not None


def find_user(session: Session, name: str) -> User | None:
    """Return the user of this name, or None."""
    try:
        name = check_user_name(name)
    except InvalidRequest:
        return None
    return session.scalars(select(User).where(User.name == name)).one_or_none()


def existing_user(session: Session, name: str) -> User:
    """Return the user of this name. Raises NotFound."""
    user = find_user(session, name)
    if user is None:
        raise NotFound(
            f"there is no user {name[:USER_NAME_MAX]}: `kalitka hub user list` shows them all"
        )
    return user


def list_users(session: Session, after: str | None = None, limit: int = 100) -> list[User]:
    """Return up to `limit` users with names after `after`, by name."""
    wanted = select(User).order_by(User.name).limit(limit)
    if after is not None:
        wanted = wanted.where(User.name > after)
    return list(session.scalars(wanted))


def add_user(session: Session, data: NewUser) -> User:
    """Add a user. Raises InvalidRequest for a name in use and for an unacceptable password."""
    now = change_context(session).at
    if find_user(session, data.name):
        raise InvalidRequest(f"there is a user {data.name} already: choose another name")
    user = User(name=data.name, role=data.role, disabled=data.disabled, created=now)
    if data.password is not None:
        user.password_hash = _checked_hash(data.password, data.name)
    session.add(user)
    session.flush()
    audit.record(session, "add", KIND, user.name, None, _audited(user))
    return user


def change_user(session: Session, name: str, data: UserChange) -> User:
    """Change a user. A new password, or disabling, ends the user's log-ins.

    Raises InvalidRequest, NotFound.
    """
    change_context(session)
    user = existing_user(session, name)
    before = _audited(user)
    was_admin = _is_admin_who_logs_in(user)
    for field in ("name", "role", "disabled"):
        value = getattr(data, field)
        if value is not None:
            if field == "name" and value != user.name and find_user(session, value):
                raise InvalidRequest(f"there is a user {value} already: choose another name")
            setattr(user, field, value)
    changes_password = "password" in data.model_fields_set
    if changes_password:
        user.password_hash = _checked_hash(data.password, user.name) if data.password else None
    if was_admin and not _is_admin_who_logs_in(user):
        _check_another_admin(session, user)
    session.flush()
    if changes_password or user.disabled:
        end_log_ins(session, user)
    after = _audited(user)
    if changes_password:
        after["password"] = "changed"
    audit.record(session, "change", KIND, name, before, after)
    return user


def set_password(
    session: Session, user: User, password: SecretStr, keep_sha256: str | None = None
) -> None:
    """Set a user's password; end all log-ins except the one whose cookie has `keep_sha256`."""
    change_context(session)
    user.password_hash = _checked_hash(password, user.name)
    session.flush()
    end_log_ins(session, user, keep_sha256)
    audit.record(session, "change", KIND, user.name, None, {"password": "changed"})


def remove_user(session: Session, name: str) -> None:
    """Remove a user with all log-ins and API tokens. Raises InvalidRequest, NotFound."""
    change_context(session)
    user = existing_user(session, name)
    if _is_admin_who_logs_in(user):
        _check_another_admin(session, user)
    audit.record(session, "remove", KIND, name, _audited(user), None)
    session.delete(user)
    session.flush()


def end_log_ins(session: Session, user: User, keep_sha256: str | None = None) -> None:
    """End all log-ins of a user except the one whose cookie has the SHA-256 `keep_sha256`."""
    session.execute(
        delete(LoginSession).where(
            LoginSession.user_id == user.id, LoginSession.sha256 != (keep_sha256 or "")
        )
    )


def _checked_hash(password: SecretStr, user_name: str) -> str:
    text = password.get_secret_value()
    check_password(text, user_name)
    return hash_of(text)


def _is_admin_who_logs_in(user: User) -> bool:
    return user.role == "admin" and not user.disabled and user.password_hash is not None


def _check_another_admin(session: Session, user: User) -> None:
    with session.no_autoflush:
        admins = session.scalars(select(User).where(User.role == "admin", User.id != user.id))
        if any(map(_is_admin_who_logs_in, admins)):
            return
    raise InvalidRequest(
        f"{user.name} is the last admin who can log in: make another user an admin first"
    )


def _audited(user: User) -> dict[str, Any]:
    return view_of(user).model_dump(exclude={"created"})
