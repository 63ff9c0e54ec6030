"""`kalitka hub person` and `person-group`: people, their groups and their tokens."""

from typing import Annotated

import typer

from kalitka_hub.cli.resources import (
    Commands,
    GroupName,
    Groups,
    JoinedGroups,
    LeftGroups,
    Note,
    as_list,
    edit_members,
    group_option,
    plain_columns,
    set_to,
)
from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    AsJson,
    CardScanner,
    DatabasePath,
    Number,
    PrintedForm,
    Reversed,
    open_or_create,
    print_code_notes,
    printed_form,
)
from kalitka_hub.site.inputs import parse_input
from kalitka_hub.site.people import GROUPS, PEOPLE
from kalitka_hub.site.tokens import TokenRecord, add_token, read_code

app = typer.Typer()
person = typer.Typer(no_args_is_help=True)
group = typer.Typer(no_args_is_help=True)
app.add_typer(person, name="person")
app.add_typer(group, name="person-group")
_PEOPLE = Commands(PEOPLE, plain_columns("id", "name", "groups", "tokens"), plain_columns("note"))
_GROUPS = Commands(GROUPS, plain_columns("name", "note"))

PersonName = Annotated[str, typer.Argument(metavar="NAME", help="The person's name.")]


@person.command("add")
def person_add(
    name: PersonName,
    db: DatabasePath = DEFAULT_DATABASE,
    groups: Annotated[
        list[str] | None, group_option("Put the person into this group. Repeatable.")
    ] = None,
    tokens: Annotated[
        list[str] | None,
        typer.Option(
            "--token", metavar="CODE", help="Give the person this new token. Repeatable."
        ),
    ] = None,
    note: Note = None,
    printed: PrintedForm = None,
    reverse: Reversed = False,
    scanner: CardScanner = None,
) -> None:
    """Add a person, with tokens that do not exist yet."""
    # One transaction: if a token is refused, the person is not added either.
    with open_or_create(db) as session:
        number = _PEOPLE.add_in(session, name=name, note=note or None, groups=as_list(groups))
        form = printed_form(printed, reverse, scanner)
        for text in tokens or ():
            code = read_code(session, text, form)
            add_token(session, parse_input(TokenRecord, code=code, person=number))
        print_code_notes(session)
    _PEOPLE.print_added(number)


@person.command("change")
def person_change(
    number: Number,
    db: DatabasePath = DEFAULT_DATABASE,
    name: Annotated[str | None, typer.Option(help="Rename the person.")] = None,
    groups: Groups = None,
    joined: JoinedGroups = None,
    left: LeftGroups = None,
    note: Note = None,
) -> None:
    """Update the given fields. For tokens use `kalitka hub token`."""
    members = edit_members(groups, joined, left)
    _PEOPLE.change(db, number, name=set_to(name), note=set_to(note), groups=members)


_PEOPLE.register(
    person,
    Number,
    remove="Remove a person and their tokens from every reader.",
    show="Show a person.",
)


@person.command("list")
def person_list(
    db: DatabasePath = DEFAULT_DATABASE,
    name: Annotated[
        str | None, typer.Option(metavar="PART", help="Only people with this in their name.")
    ] = None,
    of: Annotated[str | None, group_option("Only people in this group.")] = None,
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


_GROUPS.register(
    group,
    GroupName,
    remove="Remove a group but keep its people. Remove its grants first.",
    show="Show a group. To list its people: `kalitka hub person list --group NAME`.",
    list="List groups of people by name.",
)
