"""`kalitka hub person` and `person-group`: people, their groups and tokens."""

from typing import Annotated

import typer

from kalitka_hub.cli.resources import Commands, as_list, edit_members, plain_columns, set_to
from kalitka_hub.cli.terminal import DEFAULT_DATABASE, AsJson, DatabasePath, Number, open_or_create
from kalitka_hub.site.inputs import parse_input
from kalitka_hub.site.people import GROUPS, PEOPLE
from kalitka_hub.site.tokens import TokenRecord, add_token

person = typer.Typer(
    no_args_is_help=True, help="People, the groups that they are in, and their tokens."
)
group = typer.Typer(no_args_is_help=True, help="Groups of people, who are granted the same.")
_PEOPLE = Commands(PEOPLE, plain_columns("id", "name", "groups", "tokens"), plain_columns("note"))
_GROUPS = Commands(GROUPS, plain_columns("name", "note"))

PersonName = Annotated[str, typer.Argument(metavar="NAME", help="What the person is called.")]
GroupName = Annotated[str, typer.Argument(metavar="NAME", help="The group's name.")]
Note = Annotated[str | None, typer.Option(help="What else is to be known.")]


def _groups(help: str, *names: str):
    return typer.Option(*names, metavar="GROUP", help=help)


@person.command("add")
def person_add(
    name: PersonName,
    db: DatabasePath = DEFAULT_DATABASE,
    groups: Annotated[
        list[str] | None, _groups("A group that the person is in; may be repeated.", "--group")
    ] = None,
    tokens: Annotated[
        list[str] | None,
        typer.Option("--token", metavar="CODE", help="A new token of theirs; may be repeated."),
    ] = None,
    note: Note = None,
) -> None:
    """Add a person, and their tokens, which no one has had before."""
    with open_or_create(db) as session:
        number = _PEOPLE.add_in(session, name=name, note=note or None, groups=as_list(groups))
        for code in tokens or ():
            add_token(session, parse_input(TokenRecord, code=code, person=number))
    _PEOPLE.print_added(number)


@person.command("change")
def person_change(
    number: Number,
    db: DatabasePath = DEFAULT_DATABASE,
    name: Annotated[str | None, typer.Option(help="What the person is called now.")] = None,
    groups: Annotated[
        list[str] | None, _groups("The groups from now on; '' for none.", "--group")
    ] = None,
    joined: Annotated[list[str] | None, _groups("One more group.", "--add-group")] = None,
    left: Annotated[list[str] | None, _groups("One group less.", "--remove-group")] = None,
    note: Note = None,
) -> None:
    """Change what is given of a person. Tokens: `kalitka hub token`."""
    members = edit_members(groups, joined, left)
    _PEOPLE.change(db, number, name=set_to(name), note=set_to(note), groups=members)


@person.command("remove")
def person_remove(number: Number, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Remove a person and their tokens, everywhere."""
    _PEOPLE.remove(db, number)


@person.command("show")
def person_show(
    number: Number, db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False
) -> None:
    """Show a person."""
    _PEOPLE.show(db, number, as_json)


@person.command("list")
def person_list(
    db: DatabasePath = DEFAULT_DATABASE,
    name: Annotated[
        str | None, typer.Option(metavar="PART", help="Only who has this in their name.")
    ] = None,
    of: Annotated[str | None, _groups("Only who is in this group.", "--group")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the people, by number."""
    _PEOPLE.list(db, as_json, name=name, group=of)


@group.command("add")
def group_add(name: GroupName, db: DatabasePath = DEFAULT_DATABASE, note: Note = None) -> None:
    """Add a group of people."""
    _GROUPS.add(db, name=name, note=note or None)


@group.command("change")
def group_change(
    name: GroupName,
    db: DatabasePath = DEFAULT_DATABASE,
    new_name: Annotated[str | None, typer.Option("--name", help="Its name from now on.")] = None,
    note: Note = None,
) -> None:
    """Change what is given of a group of people."""
    _GROUPS.change(db, name, name=set_to(new_name), note=set_to(note))


@group.command("remove")
def group_remove(name: GroupName, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Remove a group of people, who stay. Its grants must be removed before."""
    _GROUPS.remove(db, name)


@group.command("show")
def group_show(
    name: GroupName, db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False
) -> None:
    """Show a group of people; who is in it: `kalitka hub person list --group NAME`."""
    _GROUPS.show(db, name, as_json)


@group.command("list")
def group_list(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """Show the groups of people, by name."""
    _GROUPS.list(db, as_json)
