"""`kalitka hub token`: the tokens, whose they are, and their rules by hand."""

from typing import Annotated, Any

import typer

from kalitka.access import packing
from kalitka_hub.cli.resources import Commands, Edit, plain_columns, set_list, set_to
from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    NUMBER_MAX,
    AsJson,
    DatabasePath,
    TokenCode,
    open_or_create,
    print_line,
    print_stderr,
)
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site.inputs import parse_input
from kalitka_hub.site.tokens import TOKENS, TokenRecord, add_token, change_token, find_records

token = typer.Typer(
    no_args_is_help=True,
    help="Tokens: cards, fobs and the like, by the code that a reader reads. Each may pass where "
    "and when its person's groups are granted it; rules by hand are besides.",
    short_help="Tokens: cards, fobs and the like, and their rules by hand.",
)
_EVERYWHERE = "*"

Rules = Annotated[
    list[str] | None,
    typer.Option(
        "--rule",
        metavar="RULE",
        help="A rule as a reader has it: 9_1 is always, 3_480_1200_1111100 Monday to Friday from "
        "minute 480 to 1200 of the day. Several are alternatives.",
    ),
]
Readers = Annotated[
    list[str] | None,
    typer.Option(
        "--reader",
        metavar="CODE",
        help="A reader, or a group of them, that the rules are for; default all readers.",
    ),
]
Person = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER",
        min=0,
        max=NUMBER_MAX - 1,
        help="Whose it is: the person's number; 0 for nobody.",
    ),
]
Name = Annotated[str | None, typer.Option(help="What people call it.")]
Blocked = Annotated[
    bool | None,
    typer.Option("--blocked/--not-blocked", help="Whether it opens nothing for the time being."),
]


def _readers(view: Any) -> object:
    # Readers belong to rules by hand.
    if not view.rules:
        return None
    return "all" if view.readers is None else view.readers


_TOKENS = Commands(
    TOKENS,
    {
        **plain_columns("code", "person", "name"),
        "blocked": lambda view: "blocked" if view.blocked else None,
        **plain_columns("rules"),
        "readers": _readers,
    },
)


@token.command("add")
def token_add(
    code: TokenCode,
    db: DatabasePath = DEFAULT_DATABASE,
    texts: Rules = None,
    at: Readers = None,
    person: Person = None,
    name: Name = None,
    blocked: Blocked = None,
) -> None:
    """Add a token, or set one that there is: to exactly these rules and readers, if there are any.

    What its person is granted counts besides. A removed token is revived, without what it had.
    Setting what it has already changes nothing.
    """
    with open_or_create(db) as session:
        if at and not texts:
            raise InvalidRequest("--reader says where rules hold: give --rule too")
        known = find_records(session, [code]).get(code)
        fields = known.model_dump() if known else {"code": code}
        edits = _owner_edits(person, name, blocked)
        fields |= {field: edit(None) for field, edit in edits.items() if edit}
        if texts:
            fields |= {"rules": texts, "readers": at or None}
        record = parse_input(TokenRecord, **fields)
        if known:
            changed = change_token(session, code, record)
        else:
            changed = bool(add_token(session, record))
    print_line(f"token {code} set" if changed else f"token {code} is so already")
    _warn_of_seconds(texts)


@token.command("change")
def token_change(
    code: TokenCode,
    db: DatabasePath = DEFAULT_DATABASE,
    texts: Annotated[
        list[str] | None,
        typer.Option("--rule", metavar="RULE", help="The rules from now on; '' for none."),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option("--reader", metavar="CODE", help="Where they hold from now on; * for all."),
    ] = None,
    person: Person = None,
    name: Name = None,
    blocked: Blocked = None,
) -> None:
    """Change what is given of a token."""
    if texts == [""]:
        texts, at = [], [_EVERYWHERE]
    edits = _owner_edits(person, name, blocked)
    edits["rules"] = set_list(texts)
    edits["readers"] = set_to("") if at == [_EVERYWHERE] else set_list(at)
    _TOKENS.change(db, code, **edits)
    _warn_of_seconds(texts)


@token.command("remove")
def token_remove(code: TokenCode, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Remove a token, everywhere."""
    _TOKENS.remove(db, code)


@token.command("show")
def token_show(
    code: TokenCode, db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False
) -> None:
    """Show a token; what it may where, and why: `kalitka hub explain`."""
    _TOKENS.show(db, code, as_json)


@token.command("list")
def token_list(
    db: DatabasePath = DEFAULT_DATABASE,
    person: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", min=1, max=NUMBER_MAX, help="Only this person's."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="PART", help="Only those with this in their name.")
    ] = None,
    blocked: Annotated[
        bool | None, typer.Option("--blocked/--not-blocked", help="Only those that are, or not.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the tokens with their rules by hand, in code order."""
    _TOKENS.list(db, as_json, person=person, name=name, blocked=blocked)


def _owner_edits(person: int | None, name: str | None, blocked: bool | None) -> dict[str, Edit]:
    return {
        "person": set_to("" if person == 0 else person),
        "name": set_to(name),
        "blocked": set_to(blocked),
    }


def _warn_of_seconds(texts: list[str] | None) -> None:
    if any(packing.needs_seconds(packing.pack(text.encode())) for text in texts or ()):
        print_stderr(
            "a day time above 1440 can only be seconds: from now on its readers take those of "
            "every rule as seconds"
        )
