"""API tokens: credentials with which a program acts for a user (`Authorization: Bearer kal_...`).

A token is shown once, when it is created; only its SHA-256 is stored. It has the rights of its
user until it expires or is revoked, or its user is disabled.
"""

from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, StringConstraints
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from kalitka_hub.accounts.random_secrets import new_secret, sha256_of
from kalitka_hub.accounts.users import UserName, existing_user
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.store import audit
from kalitka_hub.store.changes import change_context
from kalitka_hub.store.models import ApiToken, User

PREFIX = "kal_"  # makes leaked tokens recognizable, for example to secret scanners
KIND = "api-tokens"
TOKEN_NAME_MAX = 64
TOKENS_MAX = 100  # of one user
DAYS_MAX = 3650
USED_SECONDS = 60  # resolution of `last_used`
_DAY = 24 * 60 * 60

TokenName = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=TOKEN_NAME_MAX,
        pattern=r"^[^\x00-\x1f\x7f]+$",
    ),
]


class NewApiToken(BaseModel):
    """A new API token.

    days: its lifetime, null if it never expires. user: the name of its user, null for the caller.
    """

    model_config = ConfigDict(extra="forbid")

    name: TokenName
    days: int | None = None
    user: UserName | None = None


class ApiTokenView(BaseModel):
    """An API token without its secret. Times are seconds since 1970 UTC.

    last_used: null if never used. expires: null if it never expires.
    """

    id: int
    user: str
    name: str
    created: int
    last_used: int | None
    expires: int | None


class TokenLogin(NamedTuple):
    """A valid API token and its user. is_use_due: `last_used` is stale, record the use."""

    user: User
    token: ApiToken
    is_use_due: bool


def add_token(
    session: Session, user_name: str, name: str, days: int | None = None
) -> tuple[ApiTokenView, str]:
    """Create a token for a user; return it and its secret text, to be shown once.

    Requires a session from `write_transaction`. Raises InvalidRequest, NotFound.
    """
    now = change_context(session).at
    if days is not None and not 1 <= days <= DAYS_MAX:
        raise InvalidRequest(f"days: use 1 to {DAYS_MAX}, or null for a token that never expires")
    user = existing_user(session, user_name)
    count = select(func.count()).select_from(ApiToken).where(ApiToken.user_id == user.id)
    if session.execute(count).scalar_one() >= TOKENS_MAX:
        raise InvalidRequest(f"{user.name} has {TOKENS_MAX} API tokens: revoke unused ones first")
    text = new_secret(PREFIX)
    token = ApiToken(
        user_id=user.id,
        name=name,
        sha256=sha256_of(text),
        created=now,
        expires=None if days is None else now + days * _DAY,
    )
    session.add(token)
    session.flush()
    shown = _view_of(token, user)
    audit.record(session, "add", KIND, str(token.id), None, _audited(shown))
    return shown, text


def list_tokens(
    session: Session, user_name: str | None = None, after: int = 0, limit: int = 100
) -> list[ApiTokenView]:
    """Return up to `limit` tokens with ids above `after`, by id.

    user_name: only the tokens of this user; None for all.
    """
    wanted = select(ApiToken, User).join(User, User.id == ApiToken.user_id)
    wanted = wanted.where(ApiToken.id > after).order_by(ApiToken.id).limit(limit)
    if user_name is not None:
        wanted = wanted.where(User.name == user_name)
    return [_view_of(token, user) for token, user in session.execute(wanted)]


def revoke_token(session: Session, token_id: int, user_name: str | None = None) -> None:
    """Revoke a token. Requires a session from `write_transaction`. Raises NotFound.

    user_name: only if it is a token of this user; None for any.
    """
    change_context(session)
    token = session.get(ApiToken, token_id)
    user = session.get(User, token.user_id) if token else None
    if token is None or user is None or user_name not in (None, user.name):
        raise NotFound(
            f"there is no API token {token_id}: `kalitka hub api-token list` shows them all, as "
            "does GET /api/v1/hub/api-tokens"
        )
    audit.record(session, "remove", KIND, str(token_id), _audited(_view_of(token, user)), None)
    session.execute(delete(ApiToken).where(ApiToken.id == token_id))


def authenticate(session: Session, text: str, now: int) -> TokenLogin | None:
    """Return the login of a token; None if it is unknown or expired, or its user is disabled."""
    if not text.startswith(PREFIX):
        return None
    found = session.execute(
        select(User, ApiToken)
        .join(ApiToken, ApiToken.user_id == User.id)
        .where(ApiToken.sha256 == sha256_of(text), User.disabled.is_(False))
    ).one_or_none()
    if found is None:
        return None
    user, token = found
    if token.expires is not None and token.expires <= now:
        return None
    return TokenLogin(user, token, not 0 <= now - (token.last_used or 0) < USED_SECONDS)


def record_use(session: Session, token_id: int) -> None:
    """Set a token's `last_used` to now. Requires a session from `write_transaction`."""
    now = change_context(session).at
    session.execute(update(ApiToken).where(ApiToken.id == token_id).values(last_used=now))


def _view_of(token: ApiToken, user: User) -> ApiTokenView:
    return ApiTokenView(
        id=token.id,
        user=user.name,
        name=token.name,
        created=token.created,
        last_used=token.last_used,
        expires=token.expires,
    )


def _audited(shown: ApiTokenView) -> dict:
    return shown.model_dump(include={"user", "name", "expires"})
