"""`kalitka hub site` and `status`: the site's settings, changed on purpose, and its state."""

from typing import Annotated

import typer

from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    AsJson,
    DatabasePath,
    audit_author,
    closing_database,
    errors_reported,
    format_utc,
    open_for_changes,
    print_fields,
    print_json,
    print_line,
)
from kalitka_hub.clock import current_minute
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.kormitel.zone_change import change_zone
from kalitka_hub.site.clock_check import confirm_clock
from kalitka_hub.site.site_view import view_of_site
from kalitka_hub.store.changes import change_context, write_transaction
from kalitka_hub.store.database import Database, open_database, open_existing

app = typer.Typer()
site = typer.Typer(no_args_is_help=True)
app.add_typer(site, name="site")


@site.command("set")
def site_set(
    db: DatabasePath = DEFAULT_DATABASE,
    zone: Annotated[
        str | None,
        typer.Option(
            metavar="TZ",
            help="Set the time zone of all local times: a name such as Europe/Moscow, or a POSIX "
            "zone such as MSK-3.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Change a zone without the question, after the preview.")
    ] = False,
) -> None:
    """Set the given settings of the site; `site show` shows them.

    The zone decides when schedules, holidays, meals and the dates of grants hold. Changing it
    moves all of them, so what moves is shown first. Servers that run go on in the new zone;
    readers take it when they next ask for the time, within a day.
    """
    with errors_reported(), closing_database(open_database(db)) as database:
        if zone is None:
            raise InvalidRequest("name what to set: --zone Europe/Moscow")
        _set_zone(database, zone, yes)


@site.command("show")
@app.command("status", help="Show the site at a glance: its zone, its clock, its readers.")
def site_show(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """Show the site: its zone, its clock, and the readers that have gone silent."""
    with (
        errors_reported(),
        closing_database(open_existing(db)) as database,
        database.snapshot() as session,
    ):
        view = view_of_site(session, int(database.clock()))
    if as_json:
        print_json(view.model_dump(mode="json"))
        return
    late = [f"{one.code}, last seen {_seen(one.last_seen)}" for one in view.late]
    print_fields(
        [
            ("zone", view.zone_text),
            ("clock (UTC)", format_utc(view.now, "%Y-%m-%d %H:%M:%S")),
            *([("clock problem", view.clock_problem)] if view.clock_problem else ()),
            ("people", view.people),
            ("tokens", view.tokens),
            ("readers", view.readers),
            ("not seen for 10 minutes", late or view.late_readers),
        ]
    )


@site.command("confirm-clock")
def site_confirm_clock(db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Confirm that this computer's clock is right, after it was ahead for a while.

    The hub gives readers no time while its database has entries later than its clock. Entries
    made so far no longer count.
    """
    with open_for_changes(db) as session:
        confirm_clock(session)
        now = change_context(session).at
    print_line(f"clock confirmed: it is {format_utc(now)} UTC")


def _seen(minute: int | None) -> str:
    return "never" if minute is None else f"{format_utc(minute * 60)} UTC"


def _agrees() -> bool:
    try:
        return typer.confirm("Change the zone?")
    except typer.Abort:  # nobody is there to ask
        return False


def _set_zone(database: Database, zone: str, yes: bool) -> None:
    now = current_minute(database.clock)
    # A rehearsal, whose transaction is rolled back: what it moves is shown before it is done.
    with write_transaction(database, audit_author()) as session:
        change = change_zone(session, zone, now)
        session.rollback()
    if not change.changes:
        print_line(f"zone {change.words}: unchanged")
        return
    if change.moves:
        print_fields(change.moves)
    if change.is_move and not yes and not _agrees():
        raise InvalidRequest(
            "nothing was changed: to change the zone, answer y, or repeat this with --yes"
        )
    with write_transaction(database, audit_author()) as session:
        change_zone(session, zone, now)
    print_line(f"zone {change.words}: set")
    if change.is_move:
        print_line("readers take it when they next ask for the time, within a day")
