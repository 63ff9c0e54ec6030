"""`kalitka hub grant` and `explain`: grants, and the verdict on a token with its reason."""

import time
from dataclasses import asdict
from typing import Annotated

import typer

from kalitka_hub.cli.resources import Commands, plain_columns, set_to
from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    AsJson,
    DatabasePath,
    Number,
    open_for_reading,
    print_json,
    print_line,
    print_table,
)
from kalitka_hub.site.explain import Explanation, explain
from kalitka_hub.site.grants import GRANTS
from kalitka_hub.site.local_time import minutes_of
from kalitka_hub.site.site_zone import zone_of
from kalitka_hub.site.window_texts import first_time, last_time

app = typer.Typer()
grant = typer.Typer(no_args_is_help=True)
app.add_typer(grant, name="grant")
_GRANTS = Commands(GRANTS, plain_columns("id", "people", "readers", "schedule", "first", "last"))
_HELP_READERS = "Set the readers: a group, a reader's code, or * for all."
_HELP_FIRST = "Start at this local time: 2026-11-01 or 2026-11-01T08:00."
_HELP_LAST = "End after this local day or minute, inclusive."


def _people(help: str):
    return typer.Option("--people", metavar="GROUP", help=help)


def _readers(help: str):
    return typer.Option("--readers", metavar="NAME", help=help)


def _schedule(help: str):
    return typer.Option("--schedule", metavar="NAME", help=help)


First = Annotated[str | None, typer.Option(metavar="TIME", help=_HELP_FIRST)]
Last = Annotated[str | None, typer.Option(metavar="TIME", help=_HELP_LAST)]


@grant.command("add")
def grant_add(
    people: Annotated[str, _people("Set the group of people.")],
    readers: Annotated[str, _readers(_HELP_READERS)],
    schedule: Annotated[str, _schedule("Set the schedule.")],
    db: DatabasePath = DEFAULT_DATABASE,
    first: First = None,
    last: Last = None,
) -> None:
    """Grant a group of people access to readers at the times of a schedule."""
    _GRANTS.add(
        db,
        people=people,
        readers=readers,
        schedule=schedule,
        first=first_time(first) if first else None,
        last=last_time(last) if last else None,
    )


@grant.command("change")
def grant_change(
    number: Number,
    db: DatabasePath = DEFAULT_DATABASE,
    people: Annotated[str | None, _people("Replace the group of people.")] = None,
    readers: Annotated[str | None, _readers(_HELP_READERS)] = None,
    schedule: Annotated[str | None, _schedule("Replace the schedule.")] = None,
    first: First = None,
    last: Last = None,
) -> None:
    """Update the given fields; --first '' or --last '' clears that bound."""
    _GRANTS.change(
        db,
        number,
        people=set_to(people),
        readers=set_to(readers),
        schedule=set_to(schedule),
        first=set_to(first and first_time(first)),
        last=set_to(last and last_time(last)),
    )


_GRANTS.register(
    grant,
    Number,
    remove="Remove a grant; readers get the change with their next poll.",
    show="Show a grant.",
)


@grant.command("list")
def grant_list(
    db: DatabasePath = DEFAULT_DATABASE,
    people: Annotated[str | None, _people("Only grants to this group of people.")] = None,
    readers: Annotated[
        str | None, _readers("Only grants for exactly this reader or group.")
    ] = None,
    schedule: Annotated[str | None, _schedule("Only grants with this schedule.")] = None,
    as_json: AsJson = False,
) -> None:
    """List grants by number."""
    _GRANTS.list(db, as_json, people=people, readers=readers, schedule=schedule)


@app.command("explain")
def explain_pass(
    reader: Annotated[str, typer.Option(metavar="CODE", help="The reader's code.")],
    code: Annotated[str, typer.Option(metavar="CODE", help="The token's code.")],
    db: DatabasePath = DEFAULT_DATABASE,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Explain for this local time, such as 2026-11-23T09:00; default now.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain whether a reader would let a token in at a time, and why.

    The verdict comes from the reader's own decision module and the rules sent to the reader.

    Exit status 0: allowed; 1: denied, or an unknown reader; 2: an invalid code or time.
    """
    with open_for_reading(db) as session:
        now = int(time.time()) // 60
        minute = now if at is None else minutes_of(at, zone_of(session))[0]
        explanation = explain(session, reader, code, minute, now)
    if as_json:
        print_json(asdict(explanation))
    else:
        _print(explanation, reader)
    if not explanation.allowed:
        raise typer.Exit(1)


def _print(explanation: Explanation, reader: str) -> None:
    print_line(f"{_verdict(explanation)}: {explanation.code} at {reader}, {explanation.local}")
    if explanation.rules:
        rows = ([rule.text, rule.said, list(rule.sources)] for rule in explanation.rules)
        print_table("rule", "meaning", "from", rows=rows)
    for note in explanation.notes:
        print_line(note)


def _verdict(explanation: Explanation) -> str:
    if explanation.allowed:
        unread = ", but no scanner here can send this code" if explanation.unreadable else ""
        return f"allowed by {explanation.rule}{unread}"
    when = f", {explanation.when}" if explanation.when else ""
    rule = f" (nearest is {explanation.rule})" if explanation.rule else ""
    return f"denied, {explanation.reason}{when}{rule}"
