"""The audit trail: who changed what, newest first, for reading."""

from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import Session

from kalitka_hub.store.models import Audit


class AuditView(BaseModel):
    """An audited change. at: seconds since 1970 UTC. before, after: the fields; null if none."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    at: int
    who: str
    action: str
    kind: str
    object: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def list_audit(
    session: Session,
    after: int | None = None,
    limit: int = 100,
    *,
    who: str | None = None,
    kind: str | None = None,
    object: str | None = None,
) -> list[AuditView]:
    """Return up to `limit` changes, newest first, with ids below `after` (None: from the newest).

    who, kind, object: only changes with exactly this value; None for all.
    """
    wanted = select(Audit).order_by(Audit.id.desc()).limit(limit)
    if after is not None:
        wanted = wanted.where(Audit.id < after)
    for column, value in ((Audit.who, who), (Audit.kind, kind), (Audit.object, object)):
        if value is not None:
            wanted = wanted.where(column == value)
    return [AuditView.model_validate(entry) for entry in session.scalars(wanted)]
