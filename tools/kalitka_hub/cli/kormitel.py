"""`kalitka hub kormitel`: the exchange with Kormitel, which feeds people by badges and arrivals.

Who connects it, how it goes and what is stuck, why somebody eats or does not, at which readers
and when, and the badges and arrivals themselves.
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
from kalitka_hub.store.changes import change_context

PASSWORD_VARIABLE = "KALITKA_KORMITEL_PASSWORD"

_EXCHANGE = "The exchange"
_EATING = "Who eats where and when"
_OBJECTS = "Badges, arrivals and the like"
kormitel = typer.Typer(
    no_args_is_help=True,
    help="The exchange with Kormitel, which feeds people by their badges and arrivals.\n\n"
    "To begin: `connect` makes the user that Kormitel asks as, `kitchen set` says which readers "
    "let eat. Then `why` says of a person whether they eat now, and what it is that is missing.",
    short_help="The exchange with Kormitel: who eats, and why.",
)
quarantined = typer.Typer(
    no_args_is_help=True,
    help="Items that were sent and could not be applied: they wait for an operator.",
)
kitchen = typer.Typer(no_args_is_help=True, help="Which readers let eat who has which kitchen.")
meal = typer.Typer(no_args_is_help=True, help="The hours of meals; without any, it is all day.")

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
    str, typer.Argument(metavar="KITCHEN", help="As badges name it; * is each that is not set.")
]
ReaderLabels = Annotated[
    list[str],
    typer.Argument(metavar="READER...", help="Codes of readers, their groups, or * for all."),
]
MealName = Annotated[str, typer.Argument(metavar="NAME", help="What people call it.")]
Clock = Annotated[str, typer.Argument(help="08:00, local time, that minute included.")]


# The exchange


@kormitel.command(rich_help_panel=_EXCHANGE)
def connect(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The user that Kormitel asks as.")],
    db: DatabasePath = DEFAULT_DATABASE,
    readers: Annotated[
        list[str] | None,
        typer.Option(
            "--readers",
            metavar="READER",
            help="A reader or group of them that lets eat; may be repeated; * for all.",
        ),
    ] = None,
) -> None:
    """Make the user that Kormitel asks as, and print its password once: only its hash is stored.

    With KALITKA_KORMITEL_PASSWORD in the environment that one is taken instead.
    """
    given = os.environ.get(PASSWORD_VARIABLE)
    password = new_secret() if given is None else given
    with open_or_create(db) as session:
        user = add_user(
            session, NewUser(name=name, role=INTEGRATION, password=SecretStr(password))
        )
        if readers:
            _set_kitchen(session, OTHER_KITCHENS, readers)
        has_kitchen = bool(settings.find_settings(session).kitchens)
        name = user.name
    print_line("Give this to Kormitel, with the address of this hub for HUB:")
    print_line("  base URL  https://HUB/api/v1/feeder/")
    print_line("            https://HUB/ if it is as old as the document of 2024-04")
    print_line(f"  user      {name}")
    if given is None:
        print_line(f"  password  {password}")
        print_stderr("this is the only time that the password is shown")
    else:
        print_line(f"  password  the one from {PASSWORD_VARIABLE}")
    if not has_kitchen:
        print_stderr("no reader lets eat as yet: `kalitka hub kormitel kitchen set '*' READER`")


@kormitel.command(rich_help_panel=_EXCHANGE)
def status(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """Show the exchange at a glance: what is known, what is stuck, who asked last and when."""
    with open_for_reading(db) as session:
        shown = status_of(session, int(time.time() * 1_000_000))
    if as_json:
        print_json(shown.model_dump())
        return
    print_fields(
        [
            ("exchange", f"paused since {shown.paused}" if shown.paused else "goes on"),
            ("known", [f"{group} {count}" for group, count in shown.objects.items()]),
            ("last exchanges", [_last_exchange(one) for one in shown.last]),
            ("never asked", shown.silent),
            ("not told to Kormitel", f"{shown.held}, see `held`" if shown.held else 0),
            ("set aside", f"{shown.set_aside}, see `aside list`" if shown.set_aside else 0),
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
        str | None, typer.Option(metavar="NAME", help="Only with this user, or the peer's URL.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only what went wrong.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the last exchanges with their sizes and errors, newest last."""
    with open_for_reading(db) as session:
        found = list_all(session, exchange_log.list_exchanges, "id", user=user, failed=failed)
        views = [*islice(found, limit)][::-1]
    print_views(views, _EXCHANGES, as_json)


@kormitel.command("held", rich_help_panel=_EXCHANGE)
def show_held(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """Show what Kormitel is not told of since it would break on it, and why."""
    with open_for_reading(db) as session:
        views = [*list_all(session, list_held, "place")]
    print_views(views, plain_columns("group", "id", "name", "reason"), as_json)


@kormitel.command(rich_help_panel=_EXCHANGE)
def pause(db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Pause the exchange: who asks is told to come again later, and keeps what they have."""
    with open_for_changes(db) as session:
        changed = settings.set_paused(session, True)
    print_line("the exchange is paused" if changed else "the exchange is paused already")


@kormitel.command(rich_help_panel=_EXCHANGE)
def resume(db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Go on with the exchange."""
    with open_for_changes(db) as session:
        changed = settings.set_paused(session, False)
    print_line("the exchange goes on" if changed else "the exchange was not paused")


# What was set aside


@quarantined.command("list")
def aside_list(
    db: DatabasePath = DEFAULT_DATABASE,
    state: Annotated[
        QuarantineState, typer.Option(help="Those that wait, or were applied or dismissed.")
    ] = "open",
    as_json: AsJson = False,
) -> None:
    """Show what was set aside, newest first."""
    with open_for_reading(db) as session:
        views = [*list_all(session, quarantine.list_items, "id", state=state)]
    print_views(views, _QUARANTINE, as_json)


@quarantined.command("show")
def aside_show(
    number: Number, db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False
) -> None:
    """Show one as it was sent, and why it could not be applied."""
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
            help="What is to be otherwise than it was sent, id= too; may be repeated.",
        ),
    ] = None,
) -> None:
    """Apply one, with other fields or another id if need be."""
    with open_for_changes(db) as session:
        group = quarantine.find_item(session, number).kind
        counts = service.apply_quarantined(session, number, read_values(group, values or ()))
    said = "applied" if counts.applied else "applied: it changes nothing that is newer"
    print_line(f"number {number} {said}")


@quarantined.command("dismiss")
def aside_dismiss(number: Number, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Put one away for good."""
    with open_for_changes(db) as session:
        quarantine.dismiss(session, number, change_context(session).micros)
    print_line(f"number {number} dismissed")


# Who eats where and when


@kormitel.command("why", rich_help_panel=_EATING)
def why_eats(
    asked: Annotated[
        str,
        typer.Argument(metavar="ASKED", help="A badge's id, code, number or a part of a name."),
    ],
    db: DatabasePath = DEFAULT_DATABASE,
    reader: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="At this reader; else at those of its kitchen."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When: 2026-11-23T09:00, the site's time; else now."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether somebody eats then, and why. The readers' own decision module says so."""
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
    """Show the kitchens and their readers."""
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
    """Say which readers a kitchen has, and no others."""
    with open_for_changes(db) as session:
        changed = _set_kitchen(session, name, readers)
    print_line(f"kitchen {name} {'set' if changed else 'is so already'}")


@kitchen.command("remove")
def kitchen_remove(name: KitchenName, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Have a kitchen no readers of its own: those of * let eat."""
    with open_for_changes(db) as session:
        kitchens = settings.find_settings(session).kitchens
        if name not in kitchens:
            raise NotFound(
                f"there is no kitchen {name}: there are {', '.join(kitchens) or 'none'}"
            )
        del kitchens[name]
        _change_settings(session, kitchens=kitchens)
    print_line(f"kitchen {name} removed")


@meal.command("list")
def meal_list(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """Show the meals."""
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
    night: Annotated[bool, typer.Option("--night", help="It is not for who pays.")] = False,
) -> None:
    """Add a meal, or set the hours of one that there is."""
    with open_for_changes(db) as session:
        meals = [one.model_dump() for one in settings.find_settings(session).meals]
        given = {"name": name, "start": start, "end": end, "night": night}
        if name in (one["name"] for one in meals):
            meals = [given if one["name"] == name else one for one in meals]
        else:
            meals.append(given)
        changed = _change_settings(session, meals=meals)
    print_line(f"meal {name} {'set' if changed else 'is so already'}")


@meal.command("remove")
def meal_remove(name: MealName, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Take a meal away; without any, it is all day."""
    with open_for_changes(db) as session:
        meals = [one.model_dump() for one in settings.find_settings(session).meals]
        kept = [one for one in meals if one["name"] != name]
        if len(kept) == len(meals):
            names = ", ".join(one["name"] for one in meals)
            raise NotFound(f"there is no meal {name}: there are {names or 'none'}")
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
    """Change some of the settings; return whether that is a change."""
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
