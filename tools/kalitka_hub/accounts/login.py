"""Log-in with name and password: a session cookie for 12 hours, stored as its hash.

Every failure has the same message and takes the same work, so that nobody learns which names
exist; `login_attempts` limits the attempts. The password is verified outside of a transaction:
hashing takes longer than others should wait for the site's lock.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pydantic import SecretStr
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from kalitka_hub.accounts import login_attempts
from kalitka_hub.accounts.passwords import hash_of, is_outdated, verify_password
from kalitka_hub.accounts.random_secrets import new_secret, sha256_of
from kalitka_hub.accounts.users import KIND, Role, find_user, set_password
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.store import audit
from kalitka_hub.store.changes import change_context, write_transaction
from kalitka_hub.store.database import Database
from kalitka_hub.store.models import LoginSession, User

SESSION_SECONDS = 12 * 60 * 60
ANONYMOUS = "log-in"  # the author of changes before anybody is logged in
_LOG = logging.getLogger(__name__)


class WrongLogin(InvalidRequest):
    """The name or the password is wrong, or the user is disabled."""

    def __init__(self) -> None:
        super().__init__("the name or the password is wrong: check both")


class NewLogin(NamedTuple):
    """A new log-in. cookie: the value that the browser sends from now on."""

    name: str
    role: Role
    cookie: str


class VerifiedUser(NamedTuple):
    """A user whose password was verified."""

    name: str
    role: Role
    password_hash: str


def log_in(database: Database, name: str, password: str, address: str) -> NewLogin:
    """Log a user in. Raises WrongLogin, TooManyAttempts.

    Hashes a password, which takes long: call it in a thread.
    """
    with _login_transaction(database, name, password, address) as (session, user):
        audit.record(session, "log-in", KIND, user.name, None, None)
        return NewLogin(user.name, user.role, _start_session(session, user))  # type: ignore[arg-type]


def check_login(database: Database, name: str, password: str, address: str) -> VerifiedUser:
    """Verify a name and a password without a log-in; return the user.

    Raises WrongLogin, TooManyAttempts. Takes as long as `log_in`.
    """
    with _login_transaction(database, name, password, address) as (_, user):
        return VerifiedUser(user.name, user.role, user.password_hash or "")  # type: ignore[arg-type]


def change_password(
    database: Database, name: str, old: str, new: SecretStr, address: str, keep_sha256: str
) -> None:
    """Change a user's own password; end all log-ins except the one whose cookie has `keep_sha256`.

    Raises WrongLogin for a wrong old password, InvalidRequest for an unacceptable new one, and
    TooManyAttempts.
    """
    verified = _verify_password(database, name, old, address)
    with write_transaction(database, name) as session:
        set_password(session, _confirm_login(session, verified), new, keep_sha256)


def log_out(session: Session, cookie_sha256: str) -> None:
    """End a log-in. Requires a session from `write_transaction`."""
    change_context(session)
    session.execute(delete(LoginSession).where(LoginSession.sha256 == cookie_sha256))


def user_of_cookie(session: Session, cookie: str, now: int) -> User | None:
    """Return the user who is logged in with this cookie; None if it is unknown or expired."""
    return session.scalars(
        select(User)
        .join(LoginSession, LoginSession.user_id == User.id)
        .where(
            LoginSession.sha256 == sha256_of(cookie),
            LoginSession.expires > now,
            User.disabled.is_(False),
        )
    ).one_or_none()


class _VerifiedPassword(NamedTuple):
    """A password that was verified. attempt: the counted attempt, to be forgiven."""

    name: str
    password_hash: str
    attempt: dict[str, int]


@contextmanager
def _login_transaction(
    database: Database, name: str, password: str, address: str
) -> Iterator[tuple[Session, User]]:
    verified = _verify_password(database, name, password, address)
    renewed = hash_of(password) if is_outdated(verified.password_hash) else verified.password_hash
    with write_transaction(database, verified.name) as session:
        user = _confirm_login(session, verified)
        user.password_hash = renewed
        yield session, user


def _verify_password(
    database: Database, name: str, password: str, address: str
) -> _VerifiedPassword:
    now = int(database.clock())
    keys = (login_attempts.key_of_name(name), login_attempts.key_of_address(address))
    with database.snapshot() as session:
        # In a snapshot: an attempt that has to wait takes no lock.
        login_attempts.check(session, keys, now)
        user = find_user(session, name)
        stored = user.password_hash if user and not user.disabled else None
    # Counted and committed before the password is verified: concurrent attempts in any process
    # cannot exceed the limit.
    with write_transaction(database, ANONYMOUS) as session:
        attempt = login_attempts.record_attempt(session, keys, now)
    if not verify_password(stored, password) or stored is None:
        _LOG.warning("a log-in from %s failed", address)
        raise WrongLogin()
    return _VerifiedPassword(name, stored, attempt)


def _confirm_login(session: Session, verified: _VerifiedPassword) -> User:
    user = find_user(session, verified.name)
    if user is None or user.disabled or user.password_hash != verified.password_hash:
        raise WrongLogin()  # the user was changed since the snapshot
    login_attempts.forgive(session, verified.attempt)
    login_attempts.reset(session, login_attempts.key_of_name(verified.name))
    return user


def _start_session(session: Session, user: User) -> str:
    now = change_context(session).at
    session.execute(delete(LoginSession).where(LoginSession.expires <= now))
    cookie = new_secret()
    session.add(
        LoginSession(
            sha256=sha256_of(cookie), user_id=user.id, created=now, expires=now + SESSION_SECONDS
        )
    )
    session.flush()
    return cookie
