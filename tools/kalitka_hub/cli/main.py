"""`kalitka hub`: serve a site, make its secret and certificates, keep backups; the commands of
what is in the database stand beside this, by subject.

Exit status 2 for what is wrong as it was written, 1 for what is not there; then nothing was
written, and one line on stderr says what to do. May be used while the server runs.
"""

import logging
import os
import shutil
import ssl
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from kalitka_hub import logs
from kalitka_hub.accounts import setup_code
from kalitka_hub.cli import (
    csv_files,
    grants,
    kormitel,
    log,
    people,
    readers,
    schedules,
    tokens,
    users,
)
from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    DatabasePath,
    audit_author,
    closing_database,
    errors_reported,
    print_stderr,
    progress,
)
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel import canteen
from kalitka_hub.site import rule_compiler
from kalitka_hub.site.site_secret import has_secret, new_secret, set_secret
from kalitka_hub.site.site_zone import set_zone
from kalitka_hub.site.zone import check_zone
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import Database, open_database, open_existing

SECRET_VARIABLE = "KALITKA_HUB_SECRET"

_RUNNING = "Run the hub"
_PASSING = "Say who may pass where and when"
_KNOWING = "See what happened, and say who may use the hub"
hub = typer.Typer(
    no_args_is_help=True,
    help="The site's server: its people, tokens and readers, and who may pass when.\n\n"
    "A new site: `secret` makes what readers ask with, `reader add` lets one ask, `serve` answers "
    "them. Who may pass: a `person` with a token, in a `person-group`, which a `grant` lets pass "
    "readers at the times of a `schedule`. All may be used while the hub runs.",
)
_RENEW_BEFORE = timedelta(days=30)
_LOG = logging.getLogger(__name__)


@hub.command(rich_help_panel=_RUNNING)
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
            metavar="FILE",
            help="Speak https://, with what `kalitka hub certificate` made, or another in PEM.",
        ),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The certificate's private key.")
    ] = None,
    metrics_for_all: Annotated[
        bool,
        typer.Option(
            "--metrics-for-all",
            help="Let everybody read /metrics, not only this computer and API tokens.",
        ),
    ] = False,
    log_format: Annotated[
        logs.LogFormat, typer.Option(help="How the log on stderr is written.")
    ] = "text",
    log_level: Annotated[
        logs.LogLevel, typer.Option(help="What is logged; debug is every request of a reader.")
    ] = "info",
) -> None:
    """Answer the readers, and programs by the REST API, until Ctrl-C."""
    # The web framework takes half a second to import, which the other commands do not wait for.
    from kalitka_hub.server import http_server  # noqa: PLC0415
    from kalitka_hub.server.app import create_app  # noqa: PLC0415

    logs.configure(log_format, log_level)
    with errors_reported():
        zone = check_zone(zone)
        tls = _tls_context(tls_certificate, tls_key)
        listener = http_server.listen(host, port)
        with listener, closing_database(open_database(db)) as database:
            with database.snapshot() as session:
                ready = has_secret(session)
            if not ready:
                print_stderr(
                    "the site has no secret, so every reader is refused: `kalitka hub secret`"
                )
            _store_zone(database, zone)
            canteen.refresh_daily(database)
            _offer_setup(database)
            address = http_server.address_of(listener, secure=tls is not None)
            ready_line = f"kalitka hub on {address}, zone {zone}, database {database.name}"
            app = create_app(database, zone, metrics_for_all=metrics_for_all)
            place = {"address": address, "zone": zone, "database": database.name}

            def report_ready() -> None:
                print(ready_line, flush=True)
                logs.event(_LOG, logging.INFO, "hub started", **place)

            http_server.serve(app, listener, report_ready, tls)


def _store_zone(database: Database, zone: str) -> None:
    # What holidays, the times of grants and the days of badges mean depends on it.
    with write_transaction(database, audit_author()) as session:
        if set_zone(session, zone):
            canteen.recompute_all(session)
            rule_compiler.recompute_all(session)


def _offer_setup(database: Database) -> None:
    # A one-time code is for eyes only: not for a log that is kept, such as systemd's.
    with database.snapshot() as session:
        waits = setup_code.is_open(session)
    if waits and sys.stderr.isatty():
        _show_setup_code(database)
    elif waits:
        print_stderr(
            "the hub has no users yet: `kalitka hub setup-code` shows how to make the first"
        )


def _show_setup_code(database: Database) -> bool:
    with write_transaction(database, setup_code.SETUP) as session:
        code = setup_code.make_code(session)
    if code:
        print(f"one-time code for the first admin, good for an hour: {code}", file=sys.stderr)
        print("  POST /api/v1/hub/setup with code, name and password", file=sys.stderr)
    return code is not None


@hub.command("setup-code", rich_help_panel=_RUNNING)
def setup_code_command(db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Show a one-time code with which the first admin is made, while the hub has no users."""
    with errors_reported(), closing_database(open_database(db)) as database:
        if not _show_setup_code(database):
            raise NotFound("the hub has users already: an admin makes others")


@hub.command(rich_help_panel=_RUNNING)
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
    from kalitka_hub.server import certificates  # noqa: PLC0415

    with errors_reported():
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


@hub.command(rich_help_panel=_RUNNING)
def secret(db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Make the secret of the site's readers and print it once: only its hash is stored.

    With KALITKA_HUB_SECRET in the environment that one is taken instead.
    Readers that have an older one are refused from now on; those with a secret of their own are
    not concerned.
    """
    with errors_reported():
        given = os.environ.get(SECRET_VARIABLE)
        value = new_secret() if given is None else given
        with (
            closing_database(open_database(db)) as database,
            write_transaction(database, audit_author()) as session,
        ):
            set_secret(session, value)
        if given is None:
            print(value)
            print_stderr("this is the only time it is shown: give it to the readers now")
        else:
            print_stderr(f"the secret from {SECRET_VARIABLE} is set")


@hub.command(rich_help_panel=_RUNNING)
def migrate(db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Bring an older database to the schema of this hub, as every other command does by itself."""
    from kalitka_hub.store import migrations  # noqa: PLC0415

    logs.configure("text", "info")
    with errors_reported(), closing_database(open_existing(db)) as database:
        print(f"the database {database.name} has schema {migrations.NEWEST}")


@hub.command(rich_help_panel=_RUNNING)
def systemd() -> None:
    """Print the unit with which systemd runs this hub; its first lines say how to install it."""
    from kalitka_hub.server import service  # noqa: PLC0415

    with errors_reported():
        # Of this Python, whichever is first on the PATH.
        command = shutil.which(Path(sys.executable).with_name("kalitka"))
        command = command or shutil.which("kalitka")
        if command is None:
            raise InvalidRequest(
                "there is no command `kalitka` on the PATH: install it, then ask again"
            )
        print(service.unit(str(Path(command).absolute())), end="")


@hub.command("backup", rich_help_panel=_RUNNING)
def make_backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="It may replace an older backup.")],
    db: DatabasePath = DEFAULT_DATABASE,
) -> None:
    """Write everything in the database to a file, while the hub runs.

    It has people's names and the hashes of secrets: only its owner may read it, keep it so.
    """
    from kalitka_hub.store import backup  # noqa: PLC0415

    with errors_reported():
        with closing_database(open_existing(db)) as database, progress("backup") as shown:
            made = backup.create(database, file, shown)
        print(f"{file}: {made.rows} rows, {file.stat().st_size} bytes")


@hub.command(rich_help_panel=_RUNNING)
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `kalitka hub backup` wrote.")],
    db: DatabasePath = DEFAULT_DATABASE,
    replace: Annotated[
        bool, typer.Option("--replace", help="Drop what the database holds, after asking.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Fill a new database from a backup; each may be of SQLite or PostgreSQL.

    Readers that were told more since do a full sync. A hub that serves them from another database
    must be stopped before. What Kormitel sent since the backup it does not send again by itself.
    """
    from kalitka_hub.store import backup  # noqa: PLC0415

    with errors_reported():
        made = backup.check(file)
        of = f"{datetime.fromtimestamp(made.made, UTC):%Y-%m-%d %H:%M} UTC"
        with closing_database(open_database(db)) as database:
            if replace and not yes:
                question = f"Drop all that {database.name} holds, for the backup of {of}?"
                typer.confirm(question, abort=True)
            with progress("restore") as shown:
                backup.restore(database, file, replace=replace, progress=shown)
            print(f"the database {database.name} has the backup of {of}: {made.rows} rows")


def _tls_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise InvalidRequest("--tls-certificate and --tls-key go together: give both, or neither")
    from kalitka_hub.server import certificates  # noqa: PLC0415

    context, until = certificates.server_context(certificate, key)
    if until < datetime.now(UTC) + _RENEW_BEFORE:
        print_stderr(
            f"{certificate} ends on {until:%Y-%m-%d}: renew it with `kalitka hub certificate`"
        )
    return context


_SITE = {
    "person": people.person,
    "person-group": people.group,
    "token": tokens.token,
    "schedule": schedules.schedule,
    "holiday": schedules.holiday,
    "reader": readers.reader,
    "reader-group": readers.group,
    "grant": grants.grant,
}
_HUB = {
    "user": users.user,
    "api-token": users.api_token,
    "log": log.log,
    "audit": log.audit,
}
for _panel, _subjects in ((_PASSING, _SITE), (_KNOWING, _HUB)):
    for _word, _commands in _subjects.items():
        hub.add_typer(_commands, name=_word, rich_help_panel=_panel)
hub.add_typer(kormitel.kormitel, name="kormitel", rich_help_panel=_PASSING)
hub.command("explain", rich_help_panel=_PASSING)(grants.explain_pass)
csv_files.register(hub, _PASSING)
