"""Rate limiting of log-ins by user name and by address.

An attempt is counted as failed before its password is verified, and forgiven if the password was
right: so concurrent attempts, in any process, never exceed the count. After FREE_ATTEMPTS failures
in a row each further failure costs a wait: FIRST_WAIT seconds, then twice as long each time, up to
LONGEST_WAIT. Failures are forgotten FORGOTTEN_AFTER seconds after the last wait ended.

User names are stored only as hashes: people type their password there by mistake.
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
LONGEST_WAIT = 15 * 60  # seconds
FORGOTTEN_AFTER = 24 * 60 * 60  # seconds
_DOUBLINGS = 5  # from FIRST_WAIT to LONGEST_WAIT


class TooManyAttempts(InvalidRequest):
    """Further attempts are refused for now. seconds: how long to wait."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many failed attempts: wait {seconds} seconds, then try again")
        self.seconds = seconds


def key_of_name(name: str) -> str:
    """Return the key under which the failures of a user name are counted."""
    # All Unicode compositions of a name count as the same user.
    return "name " + sha256_of(unicodedata.normalize("NFC", name))


def key_of_address(address: str) -> str:
    """Return the key of an address; of its /64 for IPv6, since one computer may use all of it."""
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
    """Return the seconds to wait after this number of failures in a row."""
    if failures < FREE_ATTEMPTS:
        return 0
    return min(FIRST_WAIT << min(failures - FREE_ATTEMPTS, _DOUBLINGS), LONGEST_WAIT)


def check(session: Session, keys: tuple[str, ...], now: int) -> None:
    """Raise TooManyAttempts if any of the keys has to wait. now: Unix time in seconds."""
    waits = (row.until - now for key in keys if (row := session.get(LoginAttempt, key)))
    # A longer wait was recorded while the computer's clock was wrong: ignore it.
    longest = max((wait for wait in waits if wait <= LONGEST_WAIT), default=0)
    if longest > 0:
        raise TooManyAttempts(longest)


def record_attempt(session: Session, keys: tuple[str, ...], now: int) -> dict[str, int]:
    """Count a failure for each key; return the end of each wait (Unix seconds), for `forgive`.

    Requires a session from `write_transaction`. Raises TooManyAttempts without counting.
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
    """Undo `record_attempt` after the right password. Other, concurrent failures still count."""
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
