"""`kalitka hub person` and `person-group`: people, their groups and their tokens."""

from typing import Annotated

import typer

from kalitka_hub.cli.resources import Commands, as_list, edit_members, plain_columns, set_to
from kalitka_hub.cli.terminal import DEFAULT_DATABASE, AsJson, DatabasePath, Number, open_or_create
from kalitka_hub.site.inputs import parse_input
from kalitka_hub.site.people import GROUPS, PEOPLE
from kalitka_hub.site.tokens import TokenRecord, add_token

person = typer.Typer(no_args_is_help=True, help="Manage people, their groups and their tokens.")
group = typer.Typer(
    no_args_is_help=True, help="Manage groups of people; grants are given to a group."
)
_PEOPLE = Commands(PEOPLE, plain_columns("id", "name", "groups", "tokens"), plain_columns("note"))
_GROUPS = Commands(GROUPS, plain_columns("name", "note"))

PersonName = Annotated[str, typer.Argument(metavar="NAME", help="The person's name.")]
GroupName = Annotated[str, typer.Argument(metavar="NAME", help="The group's name.")]
Note = Annotated[str | None, typer.Option(help="Set a free-text note.")]


def _groups(help: str, *names: str):
    return typer.Option(*names, metavar="GROUP", help=help)


@person.command("add")
def person_add(
    name: PersonName,
    db: DatabasePath = DEFAULT_DATABASE,
    groups: Annotated[
        list[str] | None, _groups("Put the person into this group. Repeatable.", "--group")
    ] = None,
    tokens: Annotated[
        list[str] | None,
        typer.Option(
            "--token", metavar="CODE", help="Give the person this new token. Repeatable."
        ),
    ] = None,
    note: Note = None,
) -> None:
    """Add a person, with tokens that do not exist yet."""
    # One transaction: if a token is refused, the person is not added either.
    with open_or_create(db) as session:
        number = _PEOPLE.add_in(session, name=name, note=note or None, groups=as_list(groups))
        for code in tokens or ():
            add_token(session, parse_input(TokenRecord, code=code, person=number))
    _PEOPLE.print_added(number)


@person.command("change")
def person_change(
    number: Number,
    db: DatabasePath = DEFAULT_DATABASE,
    name: Annotated[str | None, typer.Option(help="Rename the person.")] = None,
    groups: Annotated[
        list[str] | None, _groups("Replace the groups; '' for none. Repeatable.", "--group")
    ] = None,
    joined: Annotated[
        list[str] | None, _groups("Add to this group. Repeatable.", "--add-group")
    ] = None,
    left: Annotated[
        list[str] | None, _groups("Remove from this group. Repeatable.", "--remove-group")
    ] = None,
    note: Note = None,
) -> None:
    """Update the given fields. For tokens use `kalitka hub token`."""
    members = edit_members(groups, joined, left)
    _PEOPLE.change(db, number, name=set_to(name), note=set_to(note), groups=members)


@person.command("remove")
def person_remove(number: Number, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Remove a person and their tokens from every reader."""
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
        str | None, typer.Option(metavar="PART", help="Only people with this in their name.")
    ] = None,
    of: Annotated[str | None, _groups("Only people in this group.", "--group")] = None,
    as_json: AsJson = False,
) -> None:
    """List people by number."""
    _PEOPLE.list(db, as_json, name=name, group=of)


@group.command("add")
def group_add(name: GroupName, db: DatabasePath = DEFAULT_DATABASE, note: Note = None) -> None:
    """Add a group of people."""
    _GROUPS.add(db, name=name, note=note or None)


@group.command("change")
def group_change(
    name: GroupName,
    db: DatabasePath = DEFAULT_DATABASE,
    new_name: Annotated[str | None, typer.Option("--name", help="Rename the group.")] = None,
    note: Note = None,
) -> None:
    """Update the given fields."""
    _GROUPS.change(db, name, name=set_to(new_name), note=set_to(note))


@group.command("remove")
def group_remove(name: GroupName, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Remove a group but keep its people. Remove its grants first."""
    _GROUPS.remove(db, name)


@group.command("show")
def group_show(
    name: GroupName, db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False
) -> None:
    """Show a group. To list its people: `kalitka hub person list --group NAME`."""
    _GROUPS.show(db, name, as_json)


@group.command("list")
def group_list(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """List groups of people by name."""
    _GROUPS.list(db, as_json)
