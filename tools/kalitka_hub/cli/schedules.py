"""`kalitka hub schedule` and `holiday`: schedules, and dates with other hours."""

from typing import Annotated

import typer

from kalitka_hub.cli.resources import Commands, Note, as_list, plain_columns, set_list, set_to
from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    AsJson,
    DatabasePath,
    Number,
    errors_reported,
)
from kalitka_hub.site.schedules import HOLIDAYS, SCHEDULES, HoursSetting, WindowSetting
from kalitka_hub.site.window_texts import hours_text, parse_hours, parse_window, window_text

app = typer.Typer()
schedule = typer.Typer(
    no_args_is_help=True,
    help="Manage schedules: named sets of time windows. Write a window as words in any order: "
    "hours (08:00-17:00, or 18:00-06:00 over midnight), the days on which it begins (Mon-Fri or "
    "Sat,Sun) and its dates (2026-12-01T08:00/2026-12-31T18:00, 2026-12-01/ or /2026-12-31); or "
    "write the one word always. Times are in the site's time zone.",
)
holiday = typer.Typer(no_args_is_help=True)
app.add_typer(schedule, name="schedule")
app.add_typer(holiday, name="holiday")
_SCHEDULES = Commands(
    SCHEDULES,
    {
        **plain_columns("name"),
        "windows": lambda view: [window_text(window) for window in view.windows] or "never",
    },
    plain_columns("note"),
)
_HOLIDAYS = Commands(
    HOLIDAYS,
    {
        **plain_columns("id", "date", "name"),
        "schedule": lambda view: "all" if view.schedule is None else view.schedule,
        "hours": lambda view: [hours_text(hours) for hours in view.hours] or "closed",
    },
)

ScheduleName = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
Name = Annotated[str | None, typer.Option(help="Name the day.")]


@schedule.command("add")
def schedule_add(
    name: ScheduleName,
    db: DatabasePath = DEFAULT_DATABASE,
    windows: Annotated[
        list[str] | None,
        typer.Option(
            "--window",
            metavar="WINDOW",
            help="Add a time window, such as '08:00-17:00 Mon-Fri'. Repeatable; without any the "
            "schedule is never open.",
        ),
    ] = None,
    note: Note = None,
) -> None:
    """Add a schedule."""
    _SCHEDULES.add(db, name=name, note=note or None, windows=_windows(windows or []))


@schedule.command("change")
def schedule_change(
    name: ScheduleName,
    db: DatabasePath = DEFAULT_DATABASE,
    new_name: Annotated[str | None, typer.Option("--name", help="Rename the schedule.")] = None,
    windows: Annotated[
        list[str] | None,
        typer.Option(
            "--window", metavar="WINDOW", help="Replace the time windows; '' for none. Repeatable."
        ),
    ] = None,
    note: Note = None,
) -> None:
    """Update the given fields; readers get the change with their next poll."""
    edit = set_list(_windows(windows))
    _SCHEDULES.change(db, name, name=set_to(new_name), note=set_to(note), windows=edit)


_SCHEDULES.register(
    schedule,
    ScheduleName,
    remove="Remove a schedule and its own holidays. Remove its grants first.",
    show="Show a schedule.",
    list="List schedules by name.",
)


@holiday.command("add")
def holiday_add(
    date: Annotated[str, typer.Argument(metavar="DATE", help="A local date, such as 2026-12-31.")],
    db: DatabasePath = DEFAULT_DATABASE,
    name: Name = None,
    hours: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOURS",
            help="Open at these hours, such as 08:00-12:00. Repeatable; default closed.",
        ),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option("--schedule", metavar="NAME", help="For this schedule only; default all."),
    ] = None,
) -> None:
    """Add a holiday: a date on which schedules are closed, or have other hours."""
    _HOLIDAYS.add(db, date=date, name=name or None, hours=_hours(hours), schedule=of or None)


@holiday.command("change")
def holiday_change(
    number: Number,
    db: DatabasePath = DEFAULT_DATABASE,
    date: Annotated[str | None, typer.Option(help="Replace the date.")] = None,
    name: Name = None,
    hours: Annotated[
        list[str] | None,
        typer.Option(metavar="HOURS", help="Replace the hours; '' for closed. Repeatable."),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option("--schedule", metavar="NAME", help="Replace the schedule; '' for all."),
    ] = None,
) -> None:
    """Update the given fields."""
    edits = {"date": set_to(date), "name": set_to(name), "schedule": set_to(of)}
    _HOLIDAYS.change(db, number, hours=set_list(_hours(hours)), **edits)


_HOLIDAYS.register(
    holiday,
    Number,
    remove="Remove a holiday; its date becomes an ordinary day.",
    show="Show a holiday.",
)


@holiday.command("list")
def holiday_list(
    db: DatabasePath = DEFAULT_DATABASE,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only holidays on or after this date.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only holidays on or before this date.")
    ] = None,
    of: Annotated[
        str | None,
        typer.Option("--schedule", metavar="NAME", help="Only holidays of this schedule alone."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List holidays by number."""
    _HOLIDAYS.list(db, as_json, since=since, until=until, schedule=of)


def _windows(texts: list[str] | None) -> list[WindowSetting] | None:
    with errors_reported():
        return None if texts is None else [parse_window(text) for text in as_list(texts) or ()]


def _hours(texts: list[str] | None) -> list[HoursSetting] | None:
    with errors_reported():
        return None if texts is None else [parse_hours(text) for text in as_list(texts) or ()]
