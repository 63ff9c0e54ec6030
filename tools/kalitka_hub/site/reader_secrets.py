"""A reader's own secret, which replaces the site's for that reader.

It shuts out a stolen reader without a new secret for all others. As with the site's secret only
the SHA-256 is stored.
"""

from sqlalchemy.orm import Session

from kalitka_hub.errors import NotFound
from kalitka_hub.site.readers import find_reader
from kalitka_hub.site.site_secret import check_secret, sha256_of
from kalitka_hub.store import audit
from kalitka_hub.store.changes import change_context

KIND = "readers"


def set_reader_secret(session: Session, code: str, secret: str | None) -> None:
    """Set a reader's own secret; None returns it to the site's. The previous one is refused.

    Requires a session from `write_transaction`. Raises NotFound, and InvalidRequest if the secret
    does not fit in an HTTP header.
    """
    change_context(session)
    reader = find_reader(session, code)
    if reader is None:
        raise NotFound(f"there is no reader {code}: `kalitka hub reader list` shows them all")
    before = {"own_secret": reader.secret_sha256 is not None}
    if secret is None:
        reader.secret_sha256 = None
    else:
        reader.secret_sha256 = sha256_of(check_secret(secret).encode())
    session.flush()
    after = {"own_secret": secret is not None, "secret": "changed"}
    audit.record(session, "change", KIND, code, before, after)
