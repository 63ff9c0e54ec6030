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
from kalitka_hub.cli.resources import as_is, pages, print_views
from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    AsJson,
    DatabasePath,
    Number,
    adding_to,
    changing_in,
    print_fields,
    print_json,
    print_table,
    reading,
    say,
    tell,
)
from kalitka_hub.errors import NotFound
from kalitka_hub.kormitel import exchange_log, quarantine, service, settings
from kalitka_hub.kormitel.canteen import OTHER_KITCHENS
from kalitka_hub.kormitel.quarantine import StateOfOne
from kalitka_hub.kormitel.settings import CanteenSetting
from kalitka_hub.kormitel.status import LastExchange, list_held, status_of
from kalitka_hub.kormitel.why import Why, why
from kalitka_hub.site.inputs import setting_of
from kalitka_hub.site.local_time import minutes_of
from kalitka_hub.site.site_zone import zone_of
from kalitka_hub.store.changes import change_of

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
aside = typer.Typer(
    no_args_is_help=True,
    help="Items that were sent and could not be applied: they wait for an operator.",
)
kitchen = typer.Typer(no_args_is_help=True, help="Which readers let eat who has which kitchen.")
meal = typer.Typer(no_args_is_help=True, help="The hours of meals; without any, it is all day.")

_EXCHANGES = {
    "time (UTC)": lambda view: _moment(view.at),
    **as_is("user", "way", "shape"),
    "from (UTC)": lambda view: _moment(view.from_date),
    "objects": lambda view: [f"{name} {count}" for name, count in view.counts.items()],
    **as_is("bytes", "seconds", "error"),
}
_ASIDE = {
    **as_is("id"),
    "time (UTC)": lambda view: _moment(view.at),
    **as_is("by", "group", "verb", "reason"),
}
_ASIDE_WHOLE = {
    **_ASIDE,
    "item": lambda view: json.dumps(view.item, ensure_ascii=False),
    **as_is("state"),
    "settled (UTC)": lambda view: _moment(view.settled),
    **as_is("settled_by"),
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
    with adding_to(db) as session:
        user = add_user(
            session, NewUser(name=name, role=INTEGRATION, password=SecretStr(password))
        )
        if readers:
            _set_kitchen(session, OTHER_KITCHENS, readers)
        has_kitchen = bool(settings.find_settings(session).kitchens)
        name = user.name
    say("Give this to Kormitel, with the address of this hub for HUB:")
    say("  base URL  https://HUB/api/v1/feeder/")
    say("            https://HUB/ if it is as old as the document of 2024-04")
    say(f"  user      {name}")
    if given is None:
        say(f"  password  {password}")
        tell("this is the only time that the password is shown")
    else:
        say(f"  password  the one from {PASSWORD_VARIABLE}")
    if not has_kitchen:
        tell("no reader lets eat as yet: `kalitka hub kormitel kitchen set '*' READER`")


@kormitel.command(rich_help_panel=_EXCHANGE)
def status(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """Show the exchange at a glance: what is known, what is stuck, who asked last and when."""
    with reading(db) as session:
        shown = status_of(session, int(time.time() * 1_000_000))
    if as_json:
        print_json(shown.model_dump())
        return
    print_fields(
        [
            ("exchange", f"paused since {shown.paused}" if shown.paused else "goes on"),
            ("known", [f"{group} {count}" for group, count in shown.objects.items()]),
            ("last exchanges", [_last(one) for one in shown.last]),
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
    with reading(db) as session:
        found = pages(session, exchange_log.list_exchanges, "id", user=user, failed=failed)
        views = [*islice(found, limit)][::-1]
    print_views(views, _EXCHANGES, as_json)


@kormitel.command("held", rich_help_panel=_EXCHANGE)
def show_held(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """Show what Kormitel is not told of since it would break on it, and why."""
    with reading(db) as session:
        views = [*pages(session, list_held, "place")]
    print_views(views, as_is("group", "id", "name", "reason"), as_json)


@kormitel.command(rich_help_panel=_EXCHANGE)
def pause(db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Pause the exchange: who asks is told to come again later, and keeps what they have."""
    with changing_in(db) as session:
        changed = settings.set_paused(session, True)
    say("the exchange is paused" if changed else "the exchange is paused already")


@kormitel.command(rich_help_panel=_EXCHANGE)
def resume(db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Go on with the exchange."""
    with changing_in(db) as session:
        changed = settings.set_paused(session, False)
    say("the exchange goes on" if changed else "the exchange was not paused")


# What was set aside


@aside.command("list")
def aside_list(
    db: DatabasePath = DEFAULT_DATABASE,
    state: Annotated[
        StateOfOne, typer.Option(help="Those that wait, or were applied or dismissed.")
    ] = "open",
    as_json: AsJson = False,
) -> None:
    """Show what was set aside, newest first."""
    with reading(db) as session:
        views = [*pages(session, quarantine.list_set_aside, "id", state=state)]
    print_views(views, _ASIDE, as_json)


@aside.command("show")
def aside_show(
    number: Number, db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False
) -> None:
    """Show one as it was sent, and why it could not be applied."""
    with reading(db) as session:
        view = quarantine.view_of(quarantine.find_one(session, number))
    if as_json:
        print_json(view.model_dump())
    else:
        print_fields((head, of(view)) for head, of in _ASIDE_WHOLE.items())


@aside.command("apply")
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
    with changing_in(db) as session:
        group = quarantine.find_one(session, number).kind
        counts = service.apply_set_aside(session, number, read_values(group, values or ()))
    said = "applied" if counts.applied else "applied: it changes nothing that is newer"
    say(f"number {number} {said}")


@aside.command("dismiss")
def aside_dismiss(number: Number, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Put one away for good."""
    with changing_in(db) as session:
        quarantine.dismiss(session, number, change_of(session).micros)
    say(f"number {number} dismissed")


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
    with reading(db) as session:
        now = int(time.time()) // 60
        minute = now if at is None else minutes_of(at, zone_of(session))[0]
        said = why(session, asked, minute, now, reader)
    if as_json:
        print_json(asdict(said))
    else:
        _print_why(said)


@kitchen.command("list")
def kitchen_list(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """Show the kitchens and their readers."""
    with reading(db) as session:
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
    with changing_in(db) as session:
        changed = _set_kitchen(session, name, readers)
    say(f"kitchen {name} {'set' if changed else 'is so already'}")


@kitchen.command("remove")
def kitchen_remove(name: KitchenName, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Have a kitchen no readers of its own: those of * let eat."""
    with changing_in(db) as session:
        kitchens = settings.find_settings(session).kitchens
        if name not in kitchens:
            raise NotFound(
                f"there is no kitchen {name}: there are {', '.join(kitchens) or 'none'}"
            )
        del kitchens[name]
        _change(session, kitchens=kitchens)
    say(f"kitchen {name} removed")


@meal.command("list")
def meal_list(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """Show the meals."""
    with reading(db) as session:
        meals = settings.find_settings(session).meals
    columns = as_is("name", "start", "end")
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
    with changing_in(db) as session:
        meals = [one.model_dump() for one in settings.find_settings(session).meals]
        given = {"name": name, "start": start, "end": end, "night": night}
        if name in (one["name"] for one in meals):
            meals = [given if one["name"] == name else one for one in meals]
        else:
            meals.append(given)
        changed = _change(session, meals=meals)
    say(f"meal {name} {'set' if changed else 'is so already'}")


@meal.command("remove")
def meal_remove(name: MealName, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Take a meal away; without any, it is all day."""
    with changing_in(db) as session:
        meals = [one.model_dump() for one in settings.find_settings(session).meals]
        kept = [one for one in meals if one["name"] != name]
        if len(kept) == len(meals):
            names = ", ".join(one["name"] for one in meals)
            raise NotFound(f"there is no meal {name}: there are {names or 'none'}")
        _change(session, meals=kept)
    say(f"meal {name} removed")


kormitel_objects.register(kormitel, _OBJECTS)
kormitel_pull.register(kormitel, _EXCHANGE)
kormitel.add_typer(aside, name="aside", rich_help_panel=_EXCHANGE)
kormitel.add_typer(kitchen, name="kitchen", rich_help_panel=_EATING)
kormitel.add_typer(meal, name="meal", rich_help_panel=_EATING)


def _set_kitchen(session: Session, name: str, readers: list[str]) -> bool:
    kitchens = settings.find_settings(session).kitchens
    return _change(session, kitchens=kitchens | {name: readers})


def _change(session: Session, **given: Any) -> bool:
    """Change some of the settings; return whether that is a change."""
    fields = settings.find_settings(session).model_dump() | given
    return settings.change_settings(session, setting_of(CanteenSetting, **fields))


def _moment(text: str | None) -> str | None:
    return None if text is None else text[:19].replace("T", " ")


def _last(one: LastExchange) -> str:
    minutes, seconds = divmod(one.ago, 60)
    ago = f"{minutes} min ago" if minutes else f"{seconds} s ago"
    said = f"{one.way} by {one.user}, {ago}"
    return f"{said}: {one.error}" if one.error else said


def _print_why(said: Why) -> None:
    verdict = "eats" if said.eats else "does not eat"
    say(f"{said.name} {verdict} at {said.at}: {said.because}")
    fields = [("badge", said.badge), ("code", said.code), ("kitchen", said.kitchen)]
    print_fields([*fields, ("meal", said.meal), ("next meal", said.next_meal)])
    if said.arrivals:
        heads = ("arrival", "status", "from", "to", "counts", "why")
        rows = (
            [one.id, one.status, one.arrival_date, one.departure_date, one.counts, one.said]
            for one in said.arrivals
        )
        print_table(*heads, rows=rows)
    if said.readers:
        print_table("reader", "lets in", "why", rows=(_verdict(one) for one in said.readers))
    for note in said.notes:
        say(note)


def _verdict(one: Any) -> list[object]:
    when = f"{one.reason}, {one.when}" if one.when else one.reason
    return [one.reader, one.allowed, [when, *one.sources]]
