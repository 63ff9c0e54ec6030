"""`kalitka hub user` and `api-token`: users of the hub's REST API, both people and programs.

A password is typed at a prompt or read from stdin. It is never a command-line option, since the
list of processes shows options to everybody.
"""

import getpass
import sys
import warnings
from operator import attrgetter
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from kalitka_hub.accounts import api_tokens, users
from kalitka_hub.accounts.api_tokens import NewApiToken
from kalitka_hub.accounts.users import NewUser, Role, UserChange, view_of
from kalitka_hub.cli.resources import list_all, plain_columns, print_views
from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    AsJson,
    DatabasePath,
    Number,
    errors_reported,
    format_utc,
    open_for_changes,
    open_for_reading,
    open_or_create,
    print_fields,
    print_json,
    print_line,
    print_stderr,
)
from kalitka_hub.errors import InvalidRequest

app = typer.Typer()
user = typer.Typer(no_args_is_help=True)
api_token = typer.Typer(no_args_is_help=True)
app.add_typer(user, name="user")
app.add_typer(api_token, name="api-token")
_USERS = {
    **plain_columns("name", "role"),
    "disabled": lambda view: "disabled" if view.disabled else None,
    "password": attrgetter("has_password"),
    "created (UTC)": lambda view: format_utc(view.created),
}
_API_TOKENS = {
    **plain_columns("id", "user", "name"),
    "created (UTC)": lambda view: format_utc(view.created),
    "last used (UTC)": lambda view: format_utc(view.last_used) or "never",
    "expires (UTC)": lambda view: format_utc(view.expires) or "never",
}

UserName = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from a line on stdin.")
]
NoPassword = Annotated[
    bool,
    typer.Option("--no-password", help="Set no password: only API tokens can act for the user."),
]


@user.command("add")
def user_add(
    name: UserName,
    role: Annotated[
        Role,
        typer.Option(
            help="Set the role: a viewer reads, an operator also changes the site, an admin also "
            "manages users; an integration is another system that exchanges with this hub."
        ),
    ],
    db: DatabasePath = DEFAULT_DATABASE,
    from_stdin: FromStdin = False,
    no_password: NoPassword = False,
) -> None:
    """Add a user; prompts for the password."""
    with errors_reported():
        _check_one(from_stdin, no_password)
        password = None if no_password else _password(from_stdin)
        data = NewUser(name=name, role=role, password=password)
    with open_or_create(db) as session:
        users.add_user(session, data)
    print_line(f"user {data.name} added")


@user.command("change")
def user_change(
    name: UserName,
    db: DatabasePath = DEFAULT_DATABASE,
    new_name: Annotated[str | None, typer.Option("--name", help="Rename the user.")] = None,
    role: Annotated[Role | None, typer.Option(help="Replace the role.")] = None,
    disabled: Annotated[
        bool | None,
        typer.Option("--disabled/--enabled", help="Disable or enable the account."),
    ] = None,
    ask: Annotated[bool, typer.Option("--password", help="Prompt for a new password.")] = False,
    from_stdin: FromStdin = False,
    no_password: NoPassword = False,
) -> None:
    """Update the given fields. A new password and --disabled end all log-ins."""
    given: dict[str, Any] = {"name": new_name, "role": role, "disabled": disabled}
    with errors_reported():
        _check_one(ask, from_stdin, no_password)
        if ask or from_stdin:
            given["password"] = _password(from_stdin)
        elif no_password:
            given["password"] = None
        data = UserChange(**given)
    with open_for_changes(db) as session:
        users.change_user(session, name, data)
    print_line(f"user {name} changed")


@user.command("remove")
def user_remove(name: UserName, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Remove a user with all log-ins and API tokens. The last admin cannot be removed."""
    with open_for_changes(db) as session:
        users.remove_user(session, name)
    print_line(f"user {name} removed")


@user.command("show")
def user_show(
    name: UserName, db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False
) -> None:
    """Show a user."""
    with open_for_reading(db) as session:
        view = view_of(users.existing_user(session, name))
    if as_json:
        print_json(view.model_dump(mode="json"))
    else:
        print_fields((head, of(view)) for head, of in _USERS.items())


@user.command("list")
def user_list(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """List users by name."""
    with open_for_reading(db) as session:
        views = [view_of(found) for found in list_all(session, users.list_users, "name")]
    print_views(views, _USERS, as_json)


@api_token.command("add")
def api_token_add(
    user_name: Annotated[str, typer.Argument(metavar="USER", help="The user that it acts for.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name that says what it is for.")],
    db: DatabasePath = DEFAULT_DATABASE,
    days: Annotated[
        int | None, typer.Option(min=1, help="Expire after this many days; default never.")
    ] = None,
) -> None:
    """Create an API token and print it once: only its hash is stored."""
    with open_for_changes(db) as session:
        data = NewApiToken(name=name, days=days, user=user_name)
        shown, secret = api_tokens.add_token(session, user_name, data.name, data.days)
    print(secret)
    print_stderr(f"API token {shown.id} of {shown.user} is shown only this once: store it now")


@api_token.command("remove")
def api_token_remove(number: Number, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Revoke an API token: requests with it are refused from now on."""
    with open_for_changes(db) as session:
        api_tokens.revoke_token(session, number)
    print_line(f"API token {number} removed")


@api_token.command("list")
def api_token_list(
    db: DatabasePath = DEFAULT_DATABASE,
    of: Annotated[
        str | None, typer.Option("--user", metavar="NAME", help="Only this user's API tokens.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List API tokens by number. Their secrets are stored nowhere."""
    with open_for_reading(db) as session:
        name = None if of is None else users.existing_user(session, of).name
        views = [*list_all(session, api_tokens.list_tokens, "id", user_name=name)]
    print_views(views, _API_TOKENS, as_json)


def _check_one(*chosen: bool) -> None:
    if sum(chosen) > 1:
        raise InvalidRequest("the password options exclude each other: give only one")


def _password(from_stdin: bool) -> SecretStr:
    if from_stdin:
        return SecretStr(sys.stdin.readline().rstrip("\r\n"))
    try:
        with warnings.catch_warnings():
            # Without a terminal getpass would only warn, then read stdin with the echo on.
            warnings.simplefilter("error", getpass.GetPassWarning)
            typed = getpass.getpass("Password: ")
            again = getpass.getpass("Repeat password: ")
    except getpass.GetPassWarning as fault:
        raise InvalidRequest(
            "no terminal to type the password on: use --password-stdin"
        ) from fault
    if typed != again:
        raise InvalidRequest("the two passwords differ: type the same password twice")
    return SecretStr(typed)
