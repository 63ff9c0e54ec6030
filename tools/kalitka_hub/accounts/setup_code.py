"""The one-time code for creating the first admin of a new hub.

While there are no users, each start of the server creates a code, shows it and stores its hash for
an hour, so that every process on this database accepts it. There is no default password: the
person who sees the server's terminal sets the first one. A code has 80 random bits.
"""

import logging
import secrets

from sqlalchemy import delete
from sqlalchemy.orm import Session

from kalitka_hub.accounts import login_attempts
from kalitka_hub.accounts.passwords import check_password
from kalitka_hub.accounts.random_secrets import sha256_of
from kalitka_hub.accounts.users import NewUser, Password, UserView, add_user, has_users, view_of
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.store.changes import change_context, write_transaction
from kalitka_hub.store.database import Database
from kalitka_hub.store.models import LoginAttempt

CODE_SECONDS = 60 * 60
SETUP = "setup"  # the author of the first admin's creation
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # 32 characters, without l, o, 0 and 1
_GROUPS = 4
_GROUP = 4  # characters
# A code is stored as a row of the log-in attempts until it expires; the row's key has the hash.
_KEY = "setup "
_LOG = logging.getLogger(__name__)


class WrongCode(InvalidRequest):
    """The code is wrong or has expired."""

    def __init__(self) -> None:
        super().__init__(
            "the code is wrong or too old: use the last one that `kalitka hub serve` printed, or "
            "restart it for a new one"
        )


def make_code(session: Session) -> str | None:
    """Create a code, to be shown and never logged; return None if there are users already.

    Codes of other starts stay valid for their hour. Requires a session from `write_transaction`.
    """
    now = change_context(session).at
    if has_users(session):
        return None
    code = "-".join(
        "".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS)
    )
    session.add(LoginAttempt(key=_key_of(code), failures=0, until=now + CODE_SECONDS))
    session.flush()
    return code


def is_open(session: Session) -> bool:
    """Return whether the hub waits for its first admin."""
    return not has_users(session)


def set_up(database: Database, code: str, name: str, password: Password, address: str) -> UserView:
    """Create the first admin.

    name: a valid user name. Codes are case-insensitive; blanks and dashes in them are ignored.
    Raises WrongCode, TooManyAttempts, and InvalidRequest for an unacceptable password or if there
    are users already.
    """
    # Checked first: an unacceptable password must cost neither the code nor an attempt.
    check_password(password.get_secret_value(), name)
    now = int(database.clock())
    keys = (login_attempts.key_of_address(address),)
    with database.snapshot() as session:
        login_attempts.check(session, keys, now)
        _check_open(session)
    # Counted and committed before the code is checked: concurrent attempts cannot exceed the
    # limit.
    with write_transaction(database, SETUP) as session:
        attempt = login_attempts.record_attempt(session, keys, now)
    with write_transaction(database, SETUP) as session:
        _check_open(session)
        row = session.get(LoginAttempt, _key_of(code))
        if row is None or row.until <= now:
            _LOG.warning("a set-up from %s failed", address)
            raise WrongCode()
        user = add_user(session, NewUser(name=name, role="admin", password=password))
        session.execute(delete(LoginAttempt).where(LoginAttempt.key.startswith(_KEY)))
        login_attempts.forgive(session, attempt)
        return view_of(user)


def _check_open(session: Session) -> None:
    if has_users(session):
        raise InvalidRequest("the hub is set up already: log in, or ask an admin to add you")


def _key_of(code: str) -> str:
    plain = "".join(char for char in code.lower() if char not in "- ")
    return _KEY + sha256_of(plain)
