"""`kalitka hub schedule` and `holiday`: when one may pass, and days that are different."""

from typing import Annotated

import typer

from kalitka_hub.cli.resources import Commands, as_list, plain_columns, set_list, set_to
from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    AsJson,
    DatabasePath,
    Number,
    errors_reported,
)
from kalitka_hub.site.schedules import HOLIDAYS, SCHEDULES, HoursSetting, WindowSetting
from kalitka_hub.site.window_texts import hours_text, parse_hours, parse_window, window_text

schedule = typer.Typer(
    no_args_is_help=True,
    short_help="Schedules: named windows of time in which one may pass.",
    help="Schedules: named windows of time. A window is words, in any order: hours "
    "(08:00-17:00, or 18:00-06:00 over midnight), days on which it begins (Mon-Fri, or Sat,Sun), "
    "dates from and until (2026-12-01T08:00/2026-12-31T18:00, 2026-12-01/ or /2026-12-31). Or it "
    "is the word always. Times are those of the site.",
)
holiday = typer.Typer(
    no_args_is_help=True, help="Dates on which schedules are closed or have other hours."
)
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
Note = Annotated[str | None, typer.Option(help="What else is to be known.")]
Name = Annotated[str | None, typer.Option(help="What the day is called.")]


@schedule.command("add")
def schedule_add(
    name: ScheduleName,
    db: DatabasePath = DEFAULT_DATABASE,
    windows: Annotated[
        list[str] | None,
        typer.Option(
            "--window",
            metavar="WINDOW",
            help="Such as '08:00-17:00 Mon-Fri'. Several are alternatives; without any it is "
            "never open.",
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
    new_name: Annotated[str | None, typer.Option("--name", help="Its name from now on.")] = None,
    windows: Annotated[
        list[str] | None,
        typer.Option("--window", metavar="WINDOW", help="All windows from now on; '' for none."),
    ] = None,
    note: Note = None,
) -> None:
    """Change what is given of a schedule: readers hear of it with their next poll."""
    edit = set_list(_windows(windows))
    _SCHEDULES.change(db, name, name=set_to(new_name), note=set_to(note), windows=edit)


@schedule.command("remove")
def schedule_remove(name: ScheduleName, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Remove a schedule and its own holidays. Its grants must be removed before."""
    _SCHEDULES.remove(db, name)


@schedule.command("show")
def schedule_show(
    name: ScheduleName, db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False
) -> None:
    """Show a schedule."""
    _SCHEDULES.show(db, name, as_json)


@schedule.command("list")
def schedule_list(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """Show the schedules, by name."""
    _SCHEDULES.list(db, as_json)


@holiday.command("add")
def holiday_add(
    date: Annotated[str, typer.Argument(metavar="DATE", help="Such as 2026-12-31.")],
    db: DatabasePath = DEFAULT_DATABASE,
    name: Name = None,
    hours: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOURS",
            help="What holds that day, such as 08:00-12:00; may be repeated. Else it is closed.",
        ),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option("--schedule", metavar="NAME", help="Of this schedule alone; else of all."),
    ] = None,
) -> None:
    """Add a holiday: a date on which schedules are closed, or have other hours."""
    _HOLIDAYS.add(db, date=date, name=name or None, hours=_hours(hours), schedule=of or None)


@holiday.command("change")
def holiday_change(
    number: Number,
    db: DatabasePath = DEFAULT_DATABASE,
    date: Annotated[str | None, typer.Option(help="The date from now on.")] = None,
    name: Name = None,
    hours: Annotated[
        list[str] | None,
        typer.Option(metavar="HOURS", help="All hours from now on; '' if it is closed."),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option("--schedule", metavar="NAME", help="Whose it is from now on; '' for all."),
    ] = None,
) -> None:
    """Change what is given of a holiday."""
    edits = {"date": set_to(date), "name": set_to(name), "schedule": set_to(of)}
    _HOLIDAYS.change(db, number, hours=set_list(_hours(hours)), **edits)


@holiday.command("remove")
def holiday_remove(number: Number, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Remove a holiday: its date is one like others."""
    _HOLIDAYS.remove(db, number)


@holiday.command("show")
def holiday_show(
    number: Number, db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False
) -> None:
    """Show a holiday."""
    _HOLIDAYS.show(db, number, as_json)


@holiday.command("list")
def holiday_list(
    db: DatabasePath = DEFAULT_DATABASE,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only of this date or later.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only of this date or before.")
    ] = None,
    of: Annotated[
        str | None, typer.Option("--schedule", metavar="NAME", help="Only this schedule's own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the holidays, by number."""
    _HOLIDAYS.list(db, as_json, since=since, until=until, schedule=of)


def _windows(texts: list[str] | None) -> list[WindowSetting] | None:
    with errors_reported():
        return None if texts is None else [parse_window(text) for text in as_list(texts) or ()]


def _hours(texts: list[str] | None) -> list[HoursSetting] | None:
    with errors_reported():
        return None if texts is None else [parse_hours(text) for text in as_list(texts) or ()]
