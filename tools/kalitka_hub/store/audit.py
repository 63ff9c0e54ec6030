"""The audit: who changed what, and when, in the transaction that changed it.

What is recorded here is kept for good and shown to users of the hub, so it never has a secret, a
password or a hash of one in it.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from kalitka_hub.store.bulk import insert_rows
from kalitka_hub.store.changes import change_context
from kalitka_hub.store.models import Audit


class AuditRecord(NamedTuple):
    """A change: `add`, `change`, `remove` or another word of at most 20 letters.

    object: which of its kind, as people call it. before, after: what is written of it, as JSON
    has it; None where there is nothing.
    """

    action: str
    object: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def record(
    session: Session,
    action: str,
    kind: str,
    object: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> None:
    """Record a change of something of this kind; see `Record`.

    kind: a word of at most 40 letters. Requires a session from `write_transaction`.
    """
    record_all(session, kind, [AuditRecord(action, object, before, after)])


def record_all(session: Session, kind: str, records: Iterable[AuditRecord]) -> None:
    """Record changes of things of this kind: of thousands in a third of the time.

    Requires a session from `write_transaction`.
    """
    change = change_context(session)
    common = {"at": change.at, "who": change.who, "kind": kind}
    rows = [
        {**common, **dict(zip(AuditRecord._fields, record, strict=True))} for record in records
    ]
    insert_rows(session, Audit, rows)
