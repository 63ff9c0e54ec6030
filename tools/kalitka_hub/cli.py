"""`kalitka hub`: serve a site, make its certificates, say which readers and tokens it has, and
what happened at its doors.

Exit status 2 for what is wrong as it was written, 1 for what is not there; then nothing was
written, and one line on stderr says what to do. May be used while the server runs.
"""

import json
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import DatabaseError

from kalitka.access import rules
from kalitka.journal import words

from .access_log import list_entries, state_text
from .changes import changing
from .database import Database, open_database, open_existing
from .faults import NotFound, Refused
from .models import AccessEntry
from .readers import add_reader, check_reader_code, list_readers, remove_reader
from .site_secret import has_secret, new_secret, set_secret
from .tokens import TokenSetting, list_tokens, remove_token, set_tokens
from .zone import check_zone

SECRET_VARIABLE = "KALITKA_HUB_SECRET"

hub = typer.Typer(no_args_is_help=True, help="The site's sync server, its readers and tokens.")
reader = typer.Typer(no_args_is_help=True, help="The readers that may ask.")
token = typer.Typer(no_args_is_help=True, help="The tokens and their rules.")
log = typer.Typer(no_args_is_help=True, help="What happened at the doors.")
hub.add_typer(reader, name="reader")
hub.add_typer(token, name="token")
hub.add_typer(log, name="log")

DatabasePath = Annotated[
    str,
    typer.Option(
        "--db",
        envvar="KALITKA_HUB_DB",
        metavar="PATH",
        help="The hub's database file, or a SQLAlchemy URL.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ReaderCode = Annotated[str, typer.Argument(metavar="CODE", help="The reader's code.")]
TokenCode = Annotated[str, typer.Argument(metavar="CODE", help="The token's code.")]
DEFAULT_DATABASE = "kalitka-hub.sqlite"
_RENEW_BEFORE = timedelta(days=30)


@hub.command()
def serve(
    db: DatabasePath = DEFAULT_DATABASE,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")
    ] = 8080,
    zone: Annotated[
        str,
        typer.Option(
            metavar="TZ", help="The site's time zone: Europe/Moscow, or as POSIX, such as MSK-3."
        ),
    ] = "UTC0",
    tls_certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Speak https://, with this certificate (and those it came with)."
        ),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The certificate's private key.")
    ] = None,
) -> None:
    """Answer the readers, until Ctrl-C."""
    # The web framework takes half a second to import, which the other commands do not wait for.
    from . import server  # noqa: PLC0415
    from .app import create_app  # noqa: PLC0415

    with _faults_reported():
        zone = check_zone(zone)
        tls = _tls_context(tls_certificate, tls_key)
        listener = server.listen(host, port)
        with listener, _opened(open_database(db)) as database:
            with database.snapshot() as session:
                ready = has_secret(session)
            if not ready:
                _tell("the site has no secret, so every reader is refused: `kalitka hub secret`")
            address = server.address_of(listener, secure=tls is not None)
            ready_line = f"kalitka hub on {address}, zone {zone}, database {database.name}"
            app = create_app(database, zone)
            server.serve(app, listener, lambda: print(ready_line, flush=True), tls)


@hub.command()
def certificate(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...", help="The host names and IP addresses in the readers' server_url."
        ),
    ],
    folder: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the CA and the certificate are kept.")
    ] = Path("kalitka-tls"),
) -> None:
    """Make the hub's certificate anew, signed by the site's own CA.

    The CA is made the first time, and then kept: what the readers have of it stays right.
    """
    from . import certificates  # noqa: PLC0415

    with _faults_reported():
        authority, server = certificates.renew(folder, names)
    ca, ca_key = folder / certificates.CA, folder / certificates.CA_KEY
    if authority.made:
        print(f"made the site's CA, valid until {authority.until:%Y-%m-%d}: {ca}")
        print(f"  onto each reader:  kalitka deploy --ca {ca}")
        print(f"  {ca_key} can speak for the hub: give it to nobody, and keep a copy in a safe")
    else:
        print(f"the site's CA is as before, valid until {authority.until:%Y-%m-%d}: {ca}")
    own, own_key = folder / certificates.SERVER, folder / certificates.SERVER_KEY
    print(f"made a certificate for {', '.join(names)}, valid until {server.until:%Y-%m-%d}: {own}")
    print(f"  to the hub, then start it:  --tls-certificate {own} --tls-key {own_key}")
    print(f"  to the readers' settings:   server_url https://{names[0]}:PORT")


@hub.command()
def secret(db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Make a new site secret and print it once: only its hash is stored.

    With KALITKA_HUB_SECRET in the environment that one is taken instead.
    Readers that have the old secret are refused from now on.
    """
    with _faults_reported():
        given = os.environ.get(SECRET_VARIABLE)
        value = new_secret() if given is None else given
        with _opened(open_database(db)) as database, changing(database) as session:
            set_secret(session, value)
        if given is None:
            print(value)
            _tell("this is the only time it is shown: give it to the readers now")
        else:
            _tell(f"the secret from {SECRET_VARIABLE} is set")


@reader.command("add")
def reader_add(
    code: ReaderCode,
    db: DatabasePath = DEFAULT_DATABASE,
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
) -> None:
    """Let a reader ask. Of one that may already, set the name."""
    with _faults_reported():
        with _opened(open_database(db)) as database, changing(database) as session:
            added = add_reader(session, code, name)
        print(f"reader {code} added" if added else f"reader {code} is known already")


@reader.command("remove")
def reader_remove(code: ReaderCode, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Refuse a reader from now on. It keeps the table that it has: wipe or unplug it."""
    with _faults_reported():
        with _opened(open_existing(db)) as database, changing(database) as session:
            restricted = remove_reader(session, code)
        print(f"reader {code} removed; {restricted} tokens had named it")


@reader.command("list")
def reader_list(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """Show all readers, and when each was last heard of."""
    with _faults_reported():
        with _opened(open_existing(db)) as database, database.snapshot() as session:
            rows = [
                {"code": row.code, "name": row.name, "last_seen": row.last_seen}
                for row in list_readers(session)
            ]
        if as_json:
            print(json.dumps(rows, ensure_ascii=False, indent=1))
            return
        table = _table("code", "name", "last seen (UTC)")
        for row in rows:
            seen = row["last_seen"]
            when = f"{datetime.fromtimestamp(seen * 60, UTC):%Y-%m-%d %H:%M}" if seen else "never"
            table.add_row(Text(row["code"]), Text(row["name"] or ""), when)
        Console().print(table)


@token.command("add")
def token_add(
    code: TokenCode,
    rule: Annotated[
        list[str],
        typer.Option(
            metavar="RULE",
            help="A rule, such as 3_480_1200_1111100 or 9_1. Several are alternatives.",
        ),
    ],
    db: DatabasePath = DEFAULT_DATABASE,
    at: Annotated[
        list[str] | None,
        typer.Option(
            "--reader", metavar="CODE", help="A reader that it is for; default all readers."
        ),
    ] = None,
) -> None:
    """Set a token to exactly these rules and readers, whatever it had before.

    A removed token is revived. Setting what it has already changes nothing.
    """
    with _faults_reported():
        setting = TokenSetting(code, tuple(rule), tuple(at) if at else None)
        with _opened(open_database(db)) as database, changing(database) as session:
            changed = set_tokens(session, [setting])
        print(f"token {code} set" if changed else f"token {code} is so already")
        if any(rules.speaks_seconds(rules.pack(text.encode())) for text in rule):
            _tell(
                "a day time above 1440 can only be seconds: from now on its readers take those of "
                "every rule as seconds"
            )


@token.command("remove")
def token_remove(code: TokenCode, db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Remove a token, everywhere."""
    with _faults_reported():
        with _opened(open_existing(db)) as database, changing(database) as session:
            remove_token(session, code)
        print(f"token {code} removed")


@token.command("list")
def token_list(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
    """Show all tokens with their rules, in code order."""
    with _faults_reported():
        with _opened(open_existing(db)) as database, database.snapshot() as session:
            rows = list(list_tokens(session))
        if as_json:
            listed = [
                {"code": row.code, "rules": row.rules, "readers": row.readers} for row in rows
            ]
            print(json.dumps(listed, ensure_ascii=False, indent=1))
            return
        table = _table("code", "rules", "readers")
        for row in rows:
            readers = "all" if row.readers is None else " ".join(row.readers) or "none"
            table.add_row(Text(row.code), "\n".join(row.rules), Text(readers))
        Console().print(table)


@log.command("list")
def log_list(
    db: DatabasePath = DEFAULT_DATABASE,
    of: Annotated[
        str | None,
        typer.Option("--reader", metavar="CODE", help="Only of this reader, removed or not."),
    ] = None,
    code: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="Only with this code, such as 04A1B2C3 or btn-exit."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only at this time or later: 2026-12-01T08:00, UTC."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only before this time, in UTC.")
    ] = None,
    denied: Annotated[bool, typer.Option("--denied", help="Only who was refused.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show the newest of the access log, newest last."""
    with _faults_reported():
        start, end = _seconds_of(since, "--since"), _seconds_of(until, "--until")
        if of is not None:
            check_reader_code(of)
        if code is not None:
            # A byte that is not UTF-8, as the log has it.
            code = os.fsencode(code).decode(errors="backslashreplace")
        with _opened(open_existing(db)) as database, database.snapshot() as session:
            rows = list_entries(
                session, limit, reader=of, code=code, since=start, until=end, denied=denied
            )
        if as_json:
            listed = [
                {column.key: getattr(row, column.key) for column in AccessEntry.__table__.columns}
                for row in rows
            ]
            # In ASCII, whatever the codes hold: see `_log_cells`.
            print(json.dumps(listed, indent=1))
            return
        table = _table("time (UTC)", "reader", "code", "state", "reason", "source")
        table.columns[0].no_wrap = True
        for row in rows:
            table.add_row(*_log_cells(row))
        if not all(row.timed for row in rows):
            table.caption = "* when the hub heard of it: the reader's clock was not set"
        Console().print(table)


def _log_cells(row: AccessEntry) -> tuple[str | Text, ...]:
    # Whatever was held before a scanner is in a code: it must not steer the terminal.
    code = row.code if row.code.isprintable() else ascii(row.code)[1:-1]
    when = f"{datetime.fromtimestamp(row.at, UTC):%Y-%m-%d %H:%M:%S}"
    reason = source = ""
    if row.source is not None:
        source = words.SOURCES[row.source]
        reason = words.reason_text(row.source, row.reason or 0)
    return (
        when if row.timed else f"{when} *",
        Text(row.reader),
        Text(code),
        state_text(row),
        reason,
        source,
    )


def _seconds_of(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError as fault:
        raise Refused(
            f"{text!r} is no time: write {option} 2026-12-01 or 2026-12-01T08:00, in UTC"
        ) from fault
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())


def _table(*columns: str) -> Table:
    table = Table()
    for column in columns:
        # A code is copied from here: never shorten it.
        table.add_column(column, overflow="fold")
    return table


@contextmanager
def _opened(database: Database) -> Iterator[Database]:
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _faults_reported() -> Iterator[None]:
    try:
        yield
    except Refused as fault:
        _tell(str(fault))
        raise typer.Exit(2) from fault
    except NotFound as fault:
        _tell(str(fault))
        raise typer.Exit(1) from fault
    except DatabaseError as fault:
        _tell(f"the database failed: {fault.orig}; nothing was written, try again")
        raise typer.Exit(1) from fault


def _tls_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise Refused("--tls-certificate and --tls-key go together: give both, or neither")
    from . import certificates  # noqa: PLC0415

    context, until = certificates.server_context(certificate, key)
    if until < datetime.now(UTC) + _RENEW_BEFORE:
        _tell(f"{certificate} ends on {until:%Y-%m-%d}: renew it with `kalitka hub certificate`")
    return context


def _tell(text: str) -> None:
    typer.echo(f"kalitka hub: {text}", err=True)
