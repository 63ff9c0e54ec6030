"""How often somebody may try to log in: the failures of each user name and of each address.

A try is counted as failed before its password is looked at, and given back when it was right: so
tries at the same time, in whichever process, never are more than those counted. After FREE
failures in a row each further one costs a wait, of FIRST_WAIT seconds and then double, up to
LONGEST_WAIT. They are forgotten a day after the last one.

Of a user name only a hash is kept: people type their password there by mistake.
"""

import unicodedata
from ipaddress import IPv6Address, IPv6Network, ip_address

from sqlalchemy import delete
from sqlalchemy.orm import Session

from kalitka_hub.accounts.random_secrets import sha256_of
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.store.changes import change_context
from kalitka_hub.store.models import LoginAttempt

FREE_ATTEMPTS = 5
FIRST_WAIT = 30  # seconds
LONGEST_WAIT = 15 * 60
FORGOTTEN_AFTER = 24 * 60 * 60
_DOUBLINGS = 5  # until FIRST_WAIT has become LONGEST_WAIT


class TooManyAttempts(InvalidRequest):
    """No try is taken for now. seconds: how long to wait."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many failed attempts: wait {seconds} seconds, then try again")
        self.seconds = seconds


def key_of_name(name: str) -> str:
    """Return the key under which the failures of a user name are counted."""
    # However the letters were composed, it is one user.
    return "name " + sha256_of(unicodedata.normalize("NFC", name))


def key_of_address(address: str) -> str:
    """Return the key of an address; the /64 of an IPv6 one, of which a computer has them all."""
    try:
        ip = ip_address(address)
    except ValueError:
        return f"address {address[:60]}"
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped is None:
            return f"address {IPv6Network((ip, 64), strict=False)}"
        ip = ip.ipv4_mapped
    return f"address {ip}"


def wait_after(failures: int) -> int:
    """Return how many seconds to wait after so many failures in a row."""
    if failures < FREE_ATTEMPTS:
        return 0
    return min(FIRST_WAIT << min(failures - FREE_ATTEMPTS, _DOUBLINGS), LONGEST_WAIT)


def check(session: Session, keys: tuple[str, ...], now: int) -> None:
    """Raise TooManyAttempts if any of the keys has to wait. now: seconds."""
    waits = (row.until - now for key in keys if (row := session.get(LoginAttempt, key)))
    # A longer wait is of a time when the computer's clock was wrong.
    longest = max((wait for wait in waits if wait <= LONGEST_WAIT), default=0)
    if longest > 0:
        raise TooManyAttempts(longest)


def record_attempt(session: Session, keys: tuple[str, ...], now: int) -> dict[str, int]:
    """Count a failure for each key; return until when each has to wait, for `forgive`.

    Requires a session from `write_transaction`. Raises TooManyAttempts, and counts nothing then.
    """
    change_context(session)
    check(session, keys, now)
    session.execute(delete(LoginAttempt).where(LoginAttempt.until < now - FORGOTTEN_AFTER))
    attempt = {}
    for key in keys:
        row = session.get(LoginAttempt, key)
        if row is None:
            row = LoginAttempt(key=key, failures=0)
            session.add(row)
        row.failures += 1
        row.until = attempt[key] = now + wait_after(row.failures)
    session.flush()
    return attempt


def forgive(session: Session, attempt: dict[str, int]) -> None:
    """Undo `record_attempt` after the right password. Failures of others at the same time stay."""
    now = change_context(session).at
    for key, until in attempt.items():
        row = session.get(LoginAttempt, key)
        if row is None:
            continue
        row.failures -= 1
        if row.until == until:
            row.until = min(until, now)
        if row.failures <= 0:
            session.delete(row)
    session.flush()


def reset(session: Session, key: str) -> None:
    """Forget the failures of a key."""
    change_context(session)
    session.execute(delete(LoginAttempt).where(LoginAttempt.key == key))
