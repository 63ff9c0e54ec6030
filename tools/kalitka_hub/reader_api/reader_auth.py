"""Batched authentication of readers, and the change check for their polls.

Each reader of a site polls about once a minute, and mostly nothing has changed: three short
statements then serve dozens of polls. Nothing is cached between look-ups, so a changed secret, a
removed reader and an added rule take effect at once, whichever process wrote them.
"""

import hmac
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site.readers import check_reader_code
from kalitka_hub.site.site_secret import sha256_of
from kalitka_hub.store.database import Database
from kalitka_hub.store.models import Reader, Site, Token, UnansweredRange

REQUESTS_MAX = 250  # requests in one look-up
# Minutes. A poll with an older minute seldom finds nothing changed, and there may be many
# unanswered ranges to load since then.
_RECENT = 24 * 60


class ReaderRequest(NamedTuple):
    """The credentials of a request, and the minute of a poll.

    since: minutes since 1970 UTC; None unless the request is a poll for all codes.
    """

    code: str
    secret: bytes
    since: int | None = None


class AuthenticatedReader(NamedTuple):
    """A reader with valid credentials.

    unchanged_minute: the minute of the answer if nothing changed since the poll's minute; None if
    that is not known, and the answer has to be read from the database.
    """

    id: int
    code: str
    unchanged_minute: int | None


def authenticate(
    database: Database, requests: Sequence[ReaderRequest]
) -> list[AuthenticatedReader | None]:
    """Return the reader of each request; None if it is unknown or revoked, or its secret is wrong.

    Everything is read in one snapshot: rule 3 of `store.changes`.
    """
    with database.snapshot() as session:
        site = session.execute(
            select(Site.acknowledged, Site.secret_sha256, _latest_change())
        ).one()
        readers = _readers_of(session, {request.code for request in requests})
        since = [request.since for request in requests if request.since is not None]
        recent = [minute for minute in since if minute > site.acknowledged - _RECENT]
        unanswered = _unanswered_after(session, min(recent)) if recent else []
    found: list[AuthenticatedReader | None] = []
    for request in requests:
        reader = readers.get(request.code)
        # The secret is compared even for an unknown or revoked reader, so that neither the answer
        # nor its timing reveals what was wrong.
        expected = (reader and reader.secret_sha256) or site.secret_sha256 or ""
        trusted = hmac.compare_digest(expected, sha256_of(request.secret))
        if reader is None or reader.revoked is not None or not trusted:
            found.append(None)
            continue
        # Strict comparisons: rule 3 of `store.changes` repeats changes at or after the minute of
        # the request, so a change stamped with that very minute is not "unchanged".
        unchanged = (
            request.since is not None
            and site.acknowledged - _RECENT < request.since <= site.acknowledged
            and max(site.latest or 0, reader.configured_minute) < request.since
            and not any(gap.after < request.since < gap.until for gap in unanswered)
        )
        found.append(
            AuthenticatedReader(reader.id, reader.code, site.acknowledged if unchanged else None)
        )
    return found


def _latest_change():
    return select(func.max(Token.changed)).scalar_subquery().label("latest")


def _readers_of(session: Session, codes: Iterable[str]) -> dict[str, Reader]:
    wanted = select(
        Reader.id, Reader.code, Reader.secret_sha256, Reader.revoked, Reader.configured_minute
    ).where(Reader.code.in_([code for code in codes if _is_reader_code(code)]))
    return {row.code: row for row in session.execute(wanted)}  # type: ignore[misc]


def _is_reader_code(code: str) -> bool:
    # Other texts may hold characters that a database rejects.
    try:
        return bool(check_reader_code(code))
    except InvalidRequest:
        return False


def _unanswered_after(session: Session, minute: int) -> Sequence[UnansweredRange]:
    wanted = select(UnansweredRange.after, UnansweredRange.until).where(
        UnansweredRange.until > minute
    )
    return session.execute(wanted).all()  # type: ignore[return-value]
