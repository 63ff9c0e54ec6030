"""`kalitka hub token`: tokens, their owners and their manual rules."""

from typing import Annotated, Any

import typer

from kalitka.access import packing
from kalitka_hub.cli.resources import Commands, Edit, Label, plain_columns, set_list, set_to
from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    NUMBER_MAX,
    AsJson,
    CardScanner,
    DatabasePath,
    PrintedForm,
    Reversed,
    TokenCode,
    open_for_reading,
    open_or_create,
    print_code_notes,
    print_json,
    print_line,
    print_stderr,
    printed_form,
)
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site.inputs import parse_input
from kalitka_hub.site.readers import ALL_READERS
from kalitka_hub.site.tokens import (
    TOKENS,
    TokenRecord,
    add_token,
    change_token,
    code_notes,
    find_records,
    read_code,
)

app = typer.Typer()
token = typer.Typer(
    no_args_is_help=True,
    help="Manage tokens: cards, fobs and the like, each known by its code. A token may pass where "
    "and when its person's groups have a grant; manual rules add to the grants.",
)
app.add_typer(token, name="token")

Rules = Annotated[
    list[str] | None,
    typer.Option(
        "--rule",
        metavar="RULE",
        help="Set a manual rule in the reader's notation: 9_1 always allows, 3_480_1200_1111100 "
        "allows Monday to Friday from minute 480 to 1200 of the day. Repeatable: any one rule "
        "is enough.",
    ),
]
Readers = Annotated[
    list[str] | None,
    typer.Option(
        "--reader",
        metavar="CODE",
        help="Limit the manual rules to this reader or group of readers; default all readers. "
        "Repeatable.",
    ),
]
Person = Annotated[
    int | None,
    typer.Option(
        metavar="NUMBER",
        min=0,
        max=NUMBER_MAX - 1,
        help="Assign to this person, by number; 0 for nobody.",
    ),
]
Blocked = Annotated[
    bool | None,
    typer.Option("--blocked/--not-blocked", help="Block or unblock the token."),
]


def _readers(view: Any) -> object:
    # Readers only limit manual rules.
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
    name: Label = None,
    blocked: Blocked = None,
    printed: PrintedForm = None,
    reverse: Reversed = False,
    scanner: CardScanner = None,
) -> None:
    """Create or replace a token.

    The code is stored as a scanner sends it: 04:a1:b2:c3 as 04A1B2C3. With --rule, the given rules
    and readers replace the token's manual ones; its person's grants count in any case. An absent
    option leaves its field unchanged. A removed token is created anew, without its former fields.
    """
    with open_or_create(db) as session:
        if at and not texts:
            raise InvalidRequest("--reader limits manual rules: give --rule too")
        code = read_code(session, code, printed_form(printed, reverse, scanner))
        print_code_notes(session)
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
    print_line(f"token {code} set" if changed else f"token {code} unchanged")
    _warn_of_seconds(texts)


@token.command("convert")
def token_convert(
    code: TokenCode,
    db: DatabasePath = DEFAULT_DATABASE,
    printed: PrintedForm = None,
    reverse: Reversed = False,
    scanner: CardScanner = None,
    as_json: AsJson = False,
) -> None:
    """Show the code that a scanner sends for a code as written or printed; store nothing."""
    with open_for_reading(db) as session:
        sent = read_code(session, code, printed_form(printed, reverse, scanner))
        stored = bool(find_records(session, [sent]))
        notes = [*code_notes(session)]
    if as_json:
        print_json({"given": code, "code": sent, "stored": stored, "notes": notes})
        return
    print_line(sent)
    for note in notes:
        print_stderr(note)


@token.command("change")
def token_change(
    code: TokenCode,
    db: DatabasePath = DEFAULT_DATABASE,
    texts: Annotated[
        list[str] | None,
        typer.Option(
            "--rule", metavar="RULE", help="Replace the manual rules; '' for none. Repeatable."
        ),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            "--reader",
            metavar="CODE",
            help="Replace the readers of the manual rules; * for all. Repeatable.",
        ),
    ] = None,
    person: Person = None,
    name: Label = None,
    blocked: Blocked = None,
) -> None:
    """Update the given fields."""
    if texts == [""]:
        texts, at = [], [ALL_READERS]
    edits = _owner_edits(person, name, blocked)
    edits["rules"] = set_list(texts)
    edits["readers"] = set_to("") if at == [ALL_READERS] else set_list(at)
    _TOKENS.change(db, code, **edits)
    _warn_of_seconds(texts)


_TOKENS.register(
    token,
    TokenCode,
    remove="Remove a token from every reader.",
    show="Show a token. To see where it may pass and why: `kalitka hub explain`.",
)


@token.command("list")
def token_list(
    db: DatabasePath = DEFAULT_DATABASE,
    person: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", min=1, max=NUMBER_MAX, help="Only this person's tokens."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="PART", help="Only tokens with this in their name.")
    ] = None,
    blocked: Annotated[
        bool | None,
        typer.Option("--blocked/--not-blocked", help="Only blocked tokens, or only others."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List tokens with their manual rules, in code order."""
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
            "a day time above 1440 is in seconds: the token's readers now take the day times of "
            "all rules as seconds"
        )
