"""HTTP Basic authentication, for systems that send a name and a password with each request.

The first request is checked like a log-in. This process then caches valid credentials: further
requests cost neither a password hash nor a write, and are not delayed by the failed attempts of
others. The user's stored hash is read each time, so a changed password, a disabled user and a
removed user take effect at once. The cache holds only keyed hashes, and only this process has the
key.
"""

import base64
import binascii
import hmac
import secrets
from collections import OrderedDict
from threading import Lock

from fastapi.concurrency import run_in_threadpool

from kalitka_hub.accounts.hashing import run_hashing
from kalitka_hub.accounts.login import VerifiedUser, check_login
from kalitka_hub.accounts.users import find_user
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.store.database import Database

_CACHE_MAX = 100


class NoCredentials(InvalidRequest):
    """The request has no valid Basic credentials."""

    def __init__(self) -> None:
        super().__init__("send a user's name and password with each request: HTTP Basic")


class BasicLogins:
    """The Basic authentication of one server process, with its cache. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._key = secrets.token_bytes(32)
        # A bounded FIFO: the latest entry is the last.
        self._cache: OrderedDict[bytes, None] = OrderedDict()
        self._lock = Lock()

    async def authenticate(self, authorization: str | None, address: str) -> VerifiedUser:
        """Return the user of an Authorization header, as Starlette decodes it.

        address: the client's. Raises NoCredentials, WrongLogin, TooManyAttempts.
        """
        name, password = credentials_of(authorization)
        known = await run_in_threadpool(self._cached_user, name, password)
        if known is not None:
            return known
        checked = await run_hashing(check_login, self._database, name, password, address)
        self._add_to_cache(self._cache_key(name, password, checked.password_hash))
        return checked

    def _cached_user(self, name: str, password: str) -> VerifiedUser | None:
        with self._database.snapshot() as session:
            user = find_user(session, name)
            if user is None or user.disabled or user.password_hash is None:
                return None
            found = VerifiedUser(user.name, user.role, user.password_hash)  # type: ignore[arg-type]
        mark = self._cache_key(name, password, found.password_hash)
        with self._lock:
            return found if mark in self._cache else None

    def _add_to_cache(self, mark: bytes) -> None:
        with self._lock:
            self._cache[mark] = None
            if len(self._cache) > _CACHE_MAX:
                self._cache.popitem(last=False)

    def _cache_key(self, name: str, password: str, stored: str) -> bytes:
        # Name and password are hashed separately: their plain concatenation would be ambiguous.
        parts = (hmac.digest(self._key, text.encode(), "sha256") for text in (name, password))
        return hmac.digest(self._key, b"".join(parts) + stored.encode(), "sha256")


def credentials_of(authorization: str | None) -> tuple[str, str]:
    """Return the name and the password of an Authorization header. Raises NoCredentials.

    They are UTF-8 (RFC 7617), or else Latin-1, which python-requests sends.
    """
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        raise NoCredentials()
    try:
        plain = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError) as fault:
        raise NoCredentials() from fault
    try:
        text = plain.decode()
    except UnicodeDecodeError:
        text = plain.decode("latin-1")
    name, colon, password = text.partition(":")
    if not colon:
        raise NoCredentials()
    return name, password
