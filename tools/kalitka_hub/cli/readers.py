"""`kalitka hub reader` and `reader-group`: registered readers, their secrets and their groups."""

import sys
from operator import attrgetter
from typing import Annotated, Any

import typer

from kalitka_hub.cli.resources import (
    Commands,
    GroupName,
    Groups,
    JoinedGroups,
    Label,
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
    DatabasePath,
    ReaderCode,
    errors_reported,
    format_utc,
    open_for_changes,
    open_for_reading,
    open_or_create,
    print_line,
    print_stderr,
)
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site.reader_groups import GROUPS
from kalitka_hub.site.reader_secrets import (
    count_site_secret_readers,
    revoke_reader,
    set_reader_secret,
)
from kalitka_hub.site.readers import (
    READERS,
    add_or_update_reader,
    existing_reader,
    remove_reader,
    set_groups,
)
from kalitka_hub.site.site_secret import new_secret
from kalitka_hub.site.unknown_readers import list_unknown

app = typer.Typer()
reader = typer.Typer(no_args_is_help=True)
group = typer.Typer(no_args_is_help=True)
app.add_typer(reader, name="reader")
app.add_typer(group, name="reader-group")


def _seen(view: Any) -> object:
    return "never" if view.last_seen is None else format_utc(view.last_seen * 60)


def _secret(view: Any) -> str:
    if view.revoked is not None:
        return "revoked"
    return "own" if view.own_secret else "the site's"


_READERS = Commands(
    READERS,
    {
        **plain_columns("code", "name", "groups"),
        "secret": _secret,
        "last seen (UTC)": _seen,
    },
    {
        "revoked (UTC)": lambda view: format_utc(view.revoked),
        "last log (UTC)": lambda view: format_utc(view.logged),
        "log entries lost": attrgetter("lost"),
        **plain_columns("note"),
    },
)
_GROUPS = Commands(GROUPS, plain_columns("name", "readers"), plain_columns("note"))


def _readers(help: str, *names: str):
    return typer.Option(*names, metavar="CODE", help=help)


@reader.command("add")
def reader_add(
    code: ReaderCode,
    db: DatabasePath = DEFAULT_DATABASE,
    name: Label = None,
    groups: Annotated[
        list[str] | None, group_option("Put the reader into this group. Repeatable.")
    ] = None,
    note: Note = None,
    site_secret: Annotated[
        bool,
        typer.Option(
            "--site-secret",
            help="Let the reader use the site's secret instead: only to migrate it from an "
            "older hub.",
        ),
    ] = False,
) -> None:
    """Register a reader and print its secret once: only its hash is stored.

    The secret is for this reader alone; `reader secret` makes a new one, `reader revoke` shuts a
    stolen reader out. Of a registered reader the given fields are updated and the secret stays.
    """
    secret = None if site_secret else new_secret()
    with open_or_create(db) as session:
        added = add_or_update_reader(session, code, name, note or None, secret)
        if groups is not None:
            set_groups(session, code, as_list(groups) or ())
    if not added:
        print_stderr(f"reader {code} is already registered; its secret is unchanged")
    elif secret is None:
        print_stderr(f"reader {code} added; it uses the site's secret")
    else:
        print(secret)
        print_stderr(
            f"reader {code} added; its secret is shown only this once: set it as server_token in "
            "the reader's settings now"
        )


@reader.command("change")
def reader_change(
    code: ReaderCode,
    db: DatabasePath = DEFAULT_DATABASE,
    name: Label = None,
    groups: Groups = None,
    joined: JoinedGroups = None,
    left: LeftGroups = None,
    note: Note = None,
) -> None:
    """Update the given fields. Changing groups triggers a full sync."""
    members = edit_members(groups, joined, left)
    _READERS.change(db, code, name=set_to(name), note=set_to(note), groups=members)


@reader.command("remove")
def reader_remove(code: ReaderCode, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Remove a reader: its polls are refused. It keeps its table, so wipe or unplug it."""
    with open_for_changes(db) as session:
        restricted = remove_reader(session, code)
    print_line(f"reader {code} removed; tokens with rules for it: {restricted}")


_READERS.register(reader, ReaderCode, show="Show a reader.")


@reader.command("list")
def reader_list(
    db: DatabasePath = DEFAULT_DATABASE,
    name: Annotated[
        str | None, typer.Option(metavar="PART", help="Only readers with this in their name.")
    ] = None,
    of: Annotated[str | None, group_option("Only readers in this group.")] = None,
    as_json: AsJson = False,
) -> None:
    """List readers, with the time of each one's last poll; on stderr those that are unknown.

    Unknown readers have asked this hub without being added, at most 20 are kept.
    """
    _READERS.list(db, as_json, name=name, group=of)
    with open_for_reading(db) as session:
        unknown = list_unknown(session)
    for one in unknown:
        print_stderr(
            f"unknown reader {one.code} has asked (requests: {one.requests}, the last at "
            f"{format_utc(one.last)} UTC); if it is yours, add it: {one.hint}"
        )


@reader.command("secret")
def reader_secret(
    code: ReaderCode,
    db: DatabasePath = DEFAULT_DATABASE,
    from_stdin: Annotated[
        bool, typer.Option("--stdin", help="Read the secret from a line on stdin.")
    ] = False,
    of_site: Annotated[
        bool, typer.Option("--site", help="Go back to the site's secret (migration).")
    ] = False,
) -> None:
    """Create a new secret for this reader alone and print it once: only its hash is stored.

    From now on the reader is refused with the site's secret or with an earlier one of its own. A
    revoked reader is admitted again, with the new secret.
    """
    with errors_reported():
        if from_stdin and of_site:
            raise InvalidRequest("--stdin and --site exclude each other: give only one")
        given = sys.stdin.readline().rstrip("\r\n") if from_stdin else new_secret()
    with open_for_changes(db) as session:
        set_reader_secret(session, code, None if of_site else given)
    if of_site:
        print_line(f"reader {code} now uses the site's secret")
    elif from_stdin:
        print_line(f"reader {code} now uses the secret from stdin")
    else:
        print(given)
        print_stderr(f"the secret is shown only this once: give it to reader {code} now")


@reader.command("revoke")
def reader_revoke(code: ReaderCode, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Shut out a stolen reader: it is refused with its own secret and with the site's.

    It stays registered, with its groups and rules; a replacement is admitted with a new secret,
    from `reader secret`. The stolen reader keeps its table and its log.
    """
    with open_for_changes(db) as session:
        revoked = revoke_reader(session, code)
        has_own = existing_reader(session, code).secret_sha256 is not None
        endangered = 0 if has_own else count_site_secret_readers(session)
    print_line(f"reader {code} {'revoked' if revoked else 'is already revoked'}")
    if endangered:
        print_stderr(
            f"reader {code} knows the site's secret; other readers that use it: {endangered}. "
            "Make each a secret of its own with `kalitka hub reader secret CODE`, or replace the "
            "site's with `kalitka hub secret`"
        )


@group.command("add")
def group_add(
    name: GroupName,
    db: DatabasePath = DEFAULT_DATABASE,
    readers: Annotated[
        list[str] | None, _readers("Put this reader into the group. Repeatable.", "--reader")
    ] = None,
    note: Note = None,
) -> None:
    """Add a group of readers."""
    _GROUPS.add(db, name=name, note=note or None, readers=as_list(readers))


@group.command("change")
def group_change(
    name: GroupName,
    db: DatabasePath = DEFAULT_DATABASE,
    new_name: Annotated[str | None, typer.Option("--name", help="Rename the group.")] = None,
    readers: Annotated[
        list[str] | None, _readers("Replace the readers; '' for none. Repeatable.", "--reader")
    ] = None,
    joined: Annotated[
        list[str] | None, _readers("Add this reader. Repeatable.", "--add-reader")
    ] = None,
    left: Annotated[
        list[str] | None, _readers("Remove this reader. Repeatable.", "--remove-reader")
    ] = None,
    note: Note = None,
) -> None:
    """Update the given fields. Readers that join or leave do a full sync."""
    members = edit_members(readers, joined, left)
    _GROUPS.change(db, name, name=set_to(new_name), note=set_to(note), readers=members)


_GROUPS.register(
    group,
    GroupName,
    remove="Remove a group but keep its readers. Remove its grants and rules first.",
    show="Show a group of readers.",
    list="List groups of readers by name.",
)
