"""A reader's own secret, which replaces the site's for that reader, and its revocation.

Each reader gets a secret of its own when it is added, so a stolen one is shut out without a new
secret for all others. The site's secret is for migration: for readers that do not have their own
yet. As with the site's secret only the SHA-256 is stored.
"""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site.readers import (
    READERS,
    ReaderSetting,
    ReaderView,
    create_reader,
    existing_reader,
    show_reader,
)
from kalitka_hub.site.site_secret import check_secret, new_secret, sha256_of
from kalitka_hub.store import audit
from kalitka_hub.store.changes import change_context
from kalitka_hub.store.models import Reader, Site


class ReaderAddition(ReaderSetting):
    """A reader to add, by default with a new secret of its own.

    site_secret: it uses the site's secret instead, to migrate it from an older hub.
    """

    site_secret: bool = False


class AddedReader(ReaderView):
    """A reader as added. secret: its own one, never shown again; None if it uses the site's."""

    secret: str | None


def add_reader(session: Session, addition: ReaderAddition) -> AddedReader:
    """Add a reader and return it with its new secret.

    Requires a session from `write_transaction`. Raises InvalidRequest if the code is taken,
    NotFound for an unknown group.
    """
    secret = None if addition.site_secret else new_secret()
    code = create_reader(session, addition, secret)
    return AddedReader.model_construct(**show_reader(session, code).model_dump(), secret=secret)


def set_reader_secret(session: Session, code: str, secret: str | None) -> None:
    """Set a reader's own secret; None returns it to the site's. The previous one is refused.

    A new secret ends a revocation. Requires a session from `write_transaction`. Raises NotFound;
    InvalidRequest if the secret does not fit in an HTTP header or is the site's, and for a revoked
    reader if the reader may know the secret.
    """
    change_context(session)
    reader = existing_reader(session, code)
    hashed = None if secret is None else sha256_of(check_secret(secret).encode())
    if reader.revoked is not None and hashed in (None, reader.secret_sha256):
        raise InvalidRequest(
            f"the reader {code} is revoked and may know that secret: make a new one with "
            f"`kalitka hub reader secret {code}`"
        )
    if hashed is not None and hashed == session.scalar(select(Site.secret_sha256)):
        raise InvalidRequest("that is the site's secret: choose another one for this reader")
    before = _audit_fields(reader)
    reader.secret_sha256, reader.revoked = hashed, None
    session.flush()
    after = _audit_fields(reader) | {"secret": "changed"}
    audit.record(session, "change", READERS, code, before, after)


def revoke_reader(session: Session, code: str) -> bool:
    """Refuse a reader until it gets a new secret; return False if it was revoked before.

    Requires a session from `write_transaction`. Raises NotFound.
    """
    now = change_context(session).at
    reader = existing_reader(session, code)
    if reader.revoked is not None:
        return False
    before = _audit_fields(reader)
    reader.revoked = now
    session.flush()
    audit.record(session, "revoke", READERS, code, before, _audit_fields(reader))
    return True


def count_site_secret_readers(session: Session) -> int:
    """Return how many readers are admitted with the site's secret."""
    wanted = select(func.count(Reader.id)).where(
        Reader.secret_sha256.is_(None), Reader.revoked.is_(None)
    )
    return session.execute(wanted).scalar_one()


def _audit_fields(reader: Reader) -> dict[str, Any]:
    return {
        "own_secret": reader.secret_sha256 is not None,
        "revoked": reader.revoked is not None,
    }


def is_secret(session: Session, text: str) -> bool:
    """Return whether a text is the site's secret or that of a reader."""
    digest = sha256_of(text.encode())
    found = (select(table.id).where(table.secret_sha256 == digest) for table in (Site, Reader))
    return any(session.scalars(query.limit(1)).first() is not None for query in found)
