"""`kalitka hub log` and `audit`: the access log of the doors, and the audit of changes."""

import os
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

import typer

from kalitka.journal import words
from kalitka_hub.cli.resources import list_all
from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    AsJson,
    DatabasePath,
    Number,
    errors_reported,
    format_utc,
    open_for_reading,
    print_fields,
    print_json,
    print_table,
)
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.reader_api.access_log import list_entries, state_text
from kalitka_hub.site.readers import check_reader_code
from kalitka_hub.store.audit_trail import AuditView, list_audit
from kalitka_hub.store.models import AccessEntry

app = typer.Typer()
log = typer.Typer(no_args_is_help=True)
audit = typer.Typer(no_args_is_help=True)
app.add_typer(log, name="log")
app.add_typer(audit, name="audit")
_UNTIMED = "* time of receipt at the hub: the reader's clock was not set"
_SECONDS = "%Y-%m-%d %H:%M:%S"

Limit = Annotated[int, typer.Option(min=1, max=1_000_000, help="Show at most this many.")]


@log.command("list")
def log_list(
    db: DatabasePath = DEFAULT_DATABASE,
    of: Annotated[
        str | None,
        typer.Option(
            "--reader", metavar="CODE", help="Only entries of this reader, even a removed one."
        ),
    ] = None,
    code: Annotated[
        str | None,
        typer.Option(
            metavar="CODE", help="Only entries with this code, such as 04A1B2C3 or btn-exit."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only entries from this UTC time on: 2026-12-01T08:00."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only entries before this UTC time.")
    ] = None,
    denied: Annotated[bool, typer.Option("--denied", help="Only denied entries.")] = False,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List the newest entries of the access log, newest last."""
    with errors_reported():
        start, end = _seconds_of(since, "--since"), _seconds_of(until, "--until")
        if of is not None:
            check_reader_code(of)
    if code is not None:
        # Bytes that are not UTF-8 become escapes, as stored in the log.
        code = os.fsencode(code).decode(errors="backslashreplace")
    with open_for_reading(db) as session:
        rows = list_entries(
            session, limit, reader=of, code=code, since=start, until=end, denied=denied
        )
        if as_json:
            print_json([_fields(row) for row in rows])
            return
        print_table(
            "time (UTC)",
            *("reader", "code", "state", "reason", "source"),
            rows=(_cells(row).values() for row in rows),
            caption="" if all(row.timed for row in rows) else _UNTIMED,
        )


@log.command("show")
def log_show(number: Number, db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """Show an entry of the access log, by its `id` in `log list --json`."""
    with open_for_reading(db) as session:
        row = session.get(AccessEntry, number)
        if row is None:
            raise NotFound(f"no entry {number}: find its id with `kalitka hub log list --json`")
        if as_json:
            print_json(_fields(row))
            return
        print_fields(
            {"number": number, **_cells(row), "received": format_utc(row.received)}.items()
        )


@audit.command("list")
def audit_list(
    db: DatabasePath = DEFAULT_DATABASE,
    who: Annotated[str | None, typer.Option(help="Only changes by this user.")] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="Only changes of this kind of object, such as tokens or grants."),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option(
            "--object", help="Only changes of the object with this name, code or number."
        ),
    ] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List the newest changes, newest last: who changed what, and how."""
    with open_for_reading(db) as session:
        found = list_all(session, list_audit, "id", who=who, kind=kind, object=of)
        views = [*islice(found, limit)][::-1]
    if as_json:
        print_json([view.model_dump(mode="json") for view in views])
        return
    rows = (
        (format_utc(view.at), view.who, f"{view.action} {view.kind}", view.object, _changes(view))
        for view in views
    )
    print_table("time (UTC)", "who", "what", "which", "how", rows=rows)


def _cells(row: AccessEntry) -> dict[str, object]:
    when = format_utc(row.at, _SECONDS if row.timed else f"{_SECONDS} *")
    reason = source = None
    if row.source is not None:
        source = words.SOURCES[row.source]
        reason = words.reason_text(row.source, row.reason or 0, row.count)
    return {
        "time": when,
        "reader": row.reader,
        "code": row.code,
        "state": state_text(row),
        "reason": reason,
        "source": source,
    }


def _fields(row: AccessEntry) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in AccessEntry.__table__.columns}


def _changes(view: AuditView) -> list[str]:
    """Return the changed fields, old -> new; for an added or removed object, all its fields."""
    before, after = view.before or {}, view.after or {}
    if view.before is None or view.after is None:
        return [f"{name}: {_text(value)}" for name, value in (before or after).items() if value]
    return [
        f"{name}: {_text(before.get(name))} -> {_text(value)}"
        for name, value in after.items()
        if value != before.get(name)
    ]


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, dict):
        return " ".join(f"{name} {part}" for name, part in value.items() if part is not None)
    return "none" if value is None else str(value)


def _seconds_of(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError as fault:
        raise InvalidRequest(
            f"invalid time {text!r}: write {option} 2026-12-01 or 2026-12-01T08:00, in UTC"
        ) from fault
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
