"""`kalitka hub kormitel`: the exchange with Kormitel, which feeds people by badges and arrivals.

Commands to connect Kormitel, watch the exchange, settle quarantined items, explain why a badge
eats or does not, map kitchens to readers, set meal hours and edit badges, arrivals and the like.
"""

import json
import os
import time
from dataclasses import asdict
from itertools import islice
from typing import Annotated, Any

import typer
from pydantic import SecretStr
from sqlalchemy.orm import Session

from kalitka_hub.accounts.random_secrets import new_secret
from kalitka_hub.accounts.users import INTEGRATION, NewUser, add_user
from kalitka_hub.cli import kormitel_objects, kormitel_pull
from kalitka_hub.cli.kormitel_objects import read_values
from kalitka_hub.cli.resources import list_all, plain_columns, print_views
from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    AsJson,
    DatabasePath,
    Number,
    open_for_changes,
    open_for_reading,
    open_or_create,
    print_fields,
    print_json,
    print_line,
    print_stderr,
    print_table,
)
from kalitka_hub.errors import NotFound
from kalitka_hub.kormitel import exchange_log, quarantine, service, settings
from kalitka_hub.kormitel.canteen import OTHER_KITCHENS
from kalitka_hub.kormitel.quarantine import QuarantineState
from kalitka_hub.kormitel.settings import CanteenSetting
from kalitka_hub.kormitel.status import LastExchange, list_held, status_of
from kalitka_hub.kormitel.why import Why, explain_eating
from kalitka_hub.site.inputs import parse_input
from kalitka_hub.site.local_time import minutes_of
from kalitka_hub.site.site_zone import zone_of

PASSWORD_VARIABLE = "KALITKA_KORMITEL_PASSWORD"

_EXCHANGE = "The exchange"
_EATING = "Who eats, where and when"
_OBJECTS = "Badges, arrivals and other objects"
app = typer.Typer()
kormitel = typer.Typer(
    no_args_is_help=True,
    help="Manage the exchange with Kormitel, which feeds people by their badges and arrivals.\n\n"
    "To start, create Kormitel's user with `connect` and map a kitchen to its readers with "
    "`kitchen set`. Then `why` explains whether a badge eats now, and if not, what is missing.",
)
app.add_typer(kormitel, name="kormitel")
quarantined = typer.Typer(
    no_args_is_help=True,
    help="Settle quarantined items: received, but not applicable without an operator.",
)
kitchen = typer.Typer(no_args_is_help=True, help="Map kitchens to readers.")
meal = typer.Typer(
    no_args_is_help=True, help="Set the hours of meals; without any meal people eat all day."
)

_EXCHANGES = {
    "time (UTC)": lambda view: _utc_text(view.at),
    **plain_columns("user", "way", "shape"),
    "from (UTC)": lambda view: _utc_text(view.from_date),
    "objects": lambda view: [f"{name} {count}" for name, count in view.counts.items()],
    **plain_columns("bytes", "seconds", "error"),
}
_QUARANTINE = {
    **plain_columns("id"),
    "time (UTC)": lambda view: _utc_text(view.at),
    **plain_columns("by", "group", "verb", "reason"),
}
_QUARANTINE_WHOLE = {
    **_QUARANTINE,
    "item": lambda view: json.dumps(view.item, ensure_ascii=False),
    **plain_columns("state"),
    "settled (UTC)": lambda view: _utc_text(view.settled),
    **plain_columns("settled_by"),
}

KitchenName = Annotated[
    str,
    typer.Argument(
        metavar="KITCHEN",
        help="The kitchen's name on badges; * for every kitchen without readers of its own.",
    ),
]
ReaderLabels = Annotated[
    list[str],
    typer.Argument(metavar="READER...", help="Reader codes, groups of readers, or * for all."),
]
MealName = Annotated[str, typer.Argument(metavar="NAME", help="The meal's name.")]
Clock = Annotated[str, typer.Argument(help="Local time such as 08:00, inclusive.")]


# The exchange


@kormitel.command(rich_help_panel=_EXCHANGE)
def connect(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of Kormitel's user.")],
    db: DatabasePath = DEFAULT_DATABASE,
    readers: Annotated[
        list[str] | None,
        typer.Option(
            "--readers",
            metavar="READER",
            help="Let people eat at this reader or group of readers; * for all. Repeatable.",
        ),
    ] = None,
) -> None:
    """Create Kormitel's user and print its password once: only its hash is stored.

    With KALITKA_KORMITEL_PASSWORD in the environment, set that password instead.
    """
    given = os.environ.get(PASSWORD_VARIABLE)
    password = new_secret() if given is None else given
    # One transaction: if a reader is unknown, the user is not created either.
    with open_or_create(db) as session:
        user = add_user(
            session, NewUser(name=name, role=INTEGRATION, password=SecretStr(password))
        )
        if readers:
            _set_kitchen(session, OTHER_KITCHENS, readers)
        has_kitchen = bool(settings.find_settings(session).kitchens)
        name = user.name
    print_line("Enter this in Kormitel, with this hub's address for HUB:")
    print_line("  base URL  https://HUB/api/v1/feeder/")
    print_line("            https://HUB/ for a Kormitel as old as the document of 2024-04")
    print_line(f"  user      {name}")
    if given is None:
        print_line(f"  password  {password}")
        print_stderr("the password is shown only this once: store it now")
    else:
        print_line(f"  password  from {PASSWORD_VARIABLE}")
    if not has_kitchen:
        print_stderr("no kitchen has readers yet: `kalitka hub kormitel kitchen set '*' READER`")


@kormitel.command(rich_help_panel=_EXCHANGE)
def status(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """Show the exchange at a glance: objects, withheld and quarantined items, last requests."""
    with open_for_reading(db) as session:
        shown = status_of(session, int(time.time() * 1_000_000))
    if as_json:
        print_json(shown.model_dump())
        return
    print_fields(
        [
            ("exchange", f"paused since {shown.paused}" if shown.paused else "running"),
            ("objects", [f"{group} {count}" for group, count in shown.objects.items()]),
            ("last exchanges", [_last_exchange(one) for one in shown.last]),
            ("users without requests", shown.silent),
            ("withheld", f"{shown.held}, see `held`" if shown.held else 0),
            ("quarantined", f"{shown.set_aside}, see `aside list`" if shown.set_aside else 0),
            (
                "kitchens without readers",
                [f"{one.kitchen or 'no kitchen'}: badges {one.badges}" for one in shown.unserved],
            ),
        ]
    )


@kormitel.command("exchanges", rich_help_panel=_EXCHANGE)
def list_exchanges(
    db: DatabasePath = DEFAULT_DATABASE,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Only exchanges with this user, or with the peer at this URL."
        ),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only failed exchanges.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Show at most this many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the last exchanges with their sizes and errors, newest last."""
    with open_for_reading(db) as session:
        found = list_all(session, exchange_log.list_exchanges, "id", user=user, failed=failed)
        views = [*islice(found, limit)][::-1]
    print_views(views, _EXCHANGES, as_json)


@kormitel.command("held", rich_help_panel=_EXCHANGE)
def show_held(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """List the objects and fields withheld from Kormitel, which could not save them, and why."""
    with open_for_reading(db) as session:
        views = [*list_all(session, list_held, "place")]
    print_views(views, plain_columns("group", "id", "name", "reason"), as_json)


@kormitel.command(rich_help_panel=_EXCHANGE)
def pause(db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Pause the exchange: clients are told to retry later and keep their data."""
    with open_for_changes(db) as session:
        changed = settings.set_paused(session, True)
    print_line("exchange paused" if changed else "the exchange is already paused")


@kormitel.command(rich_help_panel=_EXCHANGE)
def resume(db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Resume the exchange."""
    with open_for_changes(db) as session:
        changed = settings.set_paused(session, False)
    print_line("exchange resumed" if changed else "the exchange was not paused")


# Quarantined items


@quarantined.command("list")
def aside_list(
    db: DatabasePath = DEFAULT_DATABASE,
    state: Annotated[
        QuarantineState, typer.Option(help="Show the items in this state; default open.")
    ] = "open",
    as_json: AsJson = False,
) -> None:
    """List the quarantined items, newest first."""
    with open_for_reading(db) as session:
        views = [*list_all(session, quarantine.list_items, "id", state=state)]
    print_views(views, _QUARANTINE, as_json)


@quarantined.command("show")
def aside_show(
    number: Number, db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False
) -> None:
    """Show an item as received, and why it could not be applied."""
    with open_for_reading(db) as session:
        view = quarantine.view_of(quarantine.find_item(session, number))
    if as_json:
        print_json(view.model_dump())
    else:
        print_fields((head, of(view)) for head, of in _QUARANTINE_WHOLE.items())


@quarantined.command("apply")
def aside_apply(
    number: Number,
    db: DatabasePath = DEFAULT_DATABASE,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Override a field, or the id: FIELD=VALUE. Repeatable.",
        ),
    ] = None,
) -> None:
    """Apply an item, overriding fields or the id where needed."""
    with open_for_changes(db) as session:
        group = quarantine.find_item(session, number).kind
        counts = service.apply_quarantined(session, number, read_values(group, values or ()))
    said = "applied" if counts.applied else "applied; nothing changed"
    print_line(f"item {number} {said}")


@quarantined.command("dismiss")
def aside_dismiss(number: Number, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Dismiss an item for good."""
    with open_for_changes(db) as session:
        service.dismiss_quarantined(session, number)
    print_line(f"item {number} dismissed")


# Verdicts, kitchens and meals


@kormitel.command("why", rich_help_panel=_EATING)
def why_eats(
    asked: Annotated[
        str,
        typer.Argument(metavar="ASKED", help="A badge's id, code or number, or part of a name."),
    ],
    db: DatabasePath = DEFAULT_DATABASE,
    reader: Annotated[
        str | None,
        typer.Option(
            metavar="CODE", help="Explain for this reader; default all readers of the kitchen."
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Explain for this local time, such as 2026-11-23T09:00; default now.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain whether a badge eats at a time, and why, by the readers' own decision module."""
    with open_for_reading(db) as session:
        now = int(time.time()) // 60
        minute = now if at is None else minutes_of(at, zone_of(session))[0]
        answer = explain_eating(session, asked, minute, now, reader)
    if as_json:
        print_json(asdict(answer))
    else:
        _print_why(answer)


@kitchen.command("list")
def kitchen_list(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """List kitchens with their readers."""
    with open_for_reading(db) as session:
        kitchens = settings.find_settings(session).kitchens
    if as_json:
        print_json(kitchens)
    else:
        print_table("kitchen", "readers", rows=kitchens.items())


@kitchen.command("set")
def kitchen_set(
    name: KitchenName, readers: ReaderLabels, db: DatabasePath = DEFAULT_DATABASE
) -> None:
    """Set or replace a kitchen's readers."""
    with open_for_changes(db) as session:
        changed = _set_kitchen(session, name, readers)
    print_line(f"kitchen {name} {'set' if changed else 'unchanged'}")


@kitchen.command("remove")
def kitchen_remove(name: KitchenName, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Remove a kitchen's own readers; those of * apply instead."""
    with open_for_changes(db) as session:
        kitchens = settings.find_settings(session).kitchens
        if name not in kitchens:
            raise NotFound(
                f"kitchen {name} has no readers of its own; known: {', '.join(kitchens) or 'none'}"
            )
        del kitchens[name]
        _change_settings(session, kitchens=kitchens)
    print_line(f"kitchen {name} removed")


@meal.command("list")
def meal_list(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """List meals with their hours."""
    with open_for_reading(db) as session:
        meals = settings.find_settings(session).meals
    columns = plain_columns("name", "start", "end")
    print_views(meals, {**columns, "night": lambda one: one.night or None}, as_json)


@meal.command("set")
def meal_set(
    name: MealName,
    start: Clock,
    end: Clock,
    db: DatabasePath = DEFAULT_DATABASE,
    night: Annotated[bool, typer.Option("--night", help="Exclude badges with feed PAID.")] = False,
) -> None:
    """Add a meal, or replace the hours of an existing one."""
    with open_for_changes(db) as session:
        meals = [one.model_dump() for one in settings.find_settings(session).meals]
        given = {"name": name, "start": start, "end": end, "night": night}
        if name in (one["name"] for one in meals):
            meals = [given if one["name"] == name else one for one in meals]
        else:
            meals.append(given)
        changed = _change_settings(session, meals=meals)
    print_line(f"meal {name} {'set' if changed else 'unchanged'}")


@meal.command("remove")
def meal_remove(name: MealName, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Remove a meal; without any meal people eat all day."""
    with open_for_changes(db) as session:
        meals = [one.model_dump() for one in settings.find_settings(session).meals]
        kept = [one for one in meals if one["name"] != name]
        if len(kept) == len(meals):
            names = ", ".join(one["name"] for one in meals)
            raise NotFound(f"there is no meal {name}; known: {names or 'none'}")
        _change_settings(session, meals=kept)
    print_line(f"meal {name} removed")


kormitel_objects.register(kormitel, _OBJECTS)
kormitel_pull.register(kormitel, _EXCHANGE)
kormitel.add_typer(quarantined, name="aside", rich_help_panel=_EXCHANGE)
kormitel.add_typer(kitchen, name="kitchen", rich_help_panel=_EATING)
kormitel.add_typer(meal, name="meal", rich_help_panel=_EATING)


def _set_kitchen(session: Session, name: str, readers: list[str]) -> bool:
    kitchens = settings.find_settings(session).kitchens
    return _change_settings(session, kitchens=kitchens | {name: readers})


def _change_settings(session: Session, **given: Any) -> bool:
    """Change some of the settings; return whether anything changed."""
    fields = settings.find_settings(session).model_dump() | given
    return settings.change_settings(session, parse_input(CanteenSetting, **fields))


def _utc_text(text: str | None) -> str | None:
    return None if text is None else text[:19].replace("T", " ")


def _last_exchange(one: LastExchange) -> str:
    minutes, seconds = divmod(one.ago, 60)
    ago = f"{minutes} min ago" if minutes else f"{seconds} s ago"
    said = f"{one.way} by {one.user}, {ago}"
    return f"{said}: {one.error}" if one.error else said


def _print_why(answer: Why) -> None:
    verdict = "eats" if answer.eats else "does not eat"
    print_line(f"{answer.name} {verdict} at {answer.at}: {answer.because}")
    fields = [("badge", answer.badge), ("code", answer.code), ("kitchen", answer.kitchen)]
    print_fields([*fields, ("meal", answer.meal), ("next meal", answer.next_meal)])
    if answer.arrivals:
        heads = ("arrival", "status", "from", "to", "counts", "why")
        rows = (
            [one.id, one.status, one.arrival_date, one.departure_date, one.counts, one.said]
            for one in answer.arrivals
        )
        print_table(*heads, rows=rows)
    if answer.readers:
        print_table("reader", "lets in", "why", rows=(_verdict(one) for one in answer.readers))
    for note in answer.notes:
        print_line(note)


def _verdict(one: Any) -> list[object]:
    when = f"{one.reason}, {one.when}" if one.when else one.reason
    return [one.reader, one.allowed, [when, *one.sources]]
