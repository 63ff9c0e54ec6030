"""The site's secret, which readers send in X-AuthToken unless they have one of their own.

It is for migration: readers are added with a secret of their own (`reader_secrets`).

Only its SHA-256 is stored. A fast hash is enough for a random secret, which cannot be guessed; one
chosen by a person would need a slow hash.
"""

import hashlib
import re
import secrets

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest
from kalitka_hub.store import audit
from kalitka_hub.store.changes import change_stamp
from kalitka_hub.store.models import Site

SECRET_BYTES = 32
_SECRET = re.compile(r"[\x21-\x7e]{1,256}")


def new_secret() -> str:
    """Return a new random secret, suitable for an HTTP header and a command line."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    # A leading dash would look like an option.
    return new_secret() if secret.startswith("-") else secret


def check_secret(secret: str) -> str:
    """Return `secret` if it fits in an HTTP header. Raises InvalidRequest."""
    if not _SECRET.fullmatch(secret):
        raise InvalidRequest(
            "the secret must be 1 to 256 visible ASCII characters without spaces, since it "
            "travels in an HTTP header"
        )
    return secret


def set_secret(session: Session, secret: str) -> None:
    """Replace the site's secret: readers with the old one are refused from now on.

    Requires a session from `write_transaction`. Raises InvalidRequest if the secret does not fit
    in an HTTP header.
    """
    change_stamp(session)
    check_secret(secret)
    session.execute(update(Site).values(secret_sha256=sha256_of(secret.encode())))
    audit.record(session, "change", "site", "secret", None, None)


def has_secret(session: Session) -> bool:
    """Return whether the site has a secret yet."""
    return session.execute(select(Site.secret_sha256)).scalar_one() is not None


def sha256_of(secret: bytes) -> str:
    """Return the stored form of a secret: its SHA-256 in hex."""
    return hashlib.sha256(secret).hexdigest()
