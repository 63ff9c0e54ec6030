"""`kalitka hub serve` and the like: the server, the site's secret, certificates and backups."""

import logging
import os
import shutil
import ssl
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from kalitka_hub import logs
from kalitka_hub.accounts import setup_code
from kalitka_hub.cli.imports import uncollected
from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    DatabasePath,
    audit_author,
    closing_database,
    errors_reported,
    print_stderr,
    progress,
)
from kalitka_hub.clock import current_minute
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel import canteen
from kalitka_hub.site.reader_secrets import count_site_secret_readers
from kalitka_hub.site.readers import list_reader_views
from kalitka_hub.site.site_secret import has_secret, new_secret, set_secret
from kalitka_hub.site.site_zone import (
    HOW_TO_SET,
    SiteZone,
    count_manual_hours,
    missing_zone,
    stored_zone,
)
from kalitka_hub.site.zone import check_zone
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import Database, open_database, open_existing

SECRET_VARIABLE = "KALITKA_HUB_SECRET"

app = typer.Typer()
_RENEW_BEFORE = timedelta(days=30)
_LOG = logging.getLogger(__name__)


@app.command()
def serve(
    db: DatabasePath = DEFAULT_DATABASE,
    host: Annotated[str, typer.Option(help="Listen on this address.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Listen on this port; 0 picks a free one.")
    ] = 8080,
    zone: Annotated[str | None, typer.Option(hidden=True)] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Serve https:// with this certificate (PEM): from `kalitka hub certificate` "
            "or another CA.",
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Use this private key of the certificate (PEM)."),
    ] = None,
    metrics_for_all: Annotated[
        bool,
        typer.Option(
            "--metrics-for-all",
            help="Let anyone read /metrics, not only this computer and API tokens.",
        ),
    ] = False,
    log_format: Annotated[
        logs.LogFormat, typer.Option(help="Choose the format of the log on stderr.")
    ] = "text",
    log_level: Annotated[
        logs.LogLevel, typer.Option(help="Set the log level; debug logs every reader request.")
    ] = "info",
) -> None:
    """Serve readers and the REST API until Ctrl-C."""
    # Importing the web framework takes half a second: spare the other commands.
    with uncollected():
        from kalitka_hub.server import http_server  # noqa: PLC0415
        from kalitka_hub.server.app import create_app  # noqa: PLC0415

    logs.configure(log_format, log_level)
    with errors_reported():
        if zone is not None:
            raise InvalidRequest(
                "serve has no --zone any more: the zone is stored, for all servers of the site; "
                f"run `kalitka hub site set --zone {zone or 'Europe/Moscow'}` once, and serve "
                "without --zone"
            )
        tls = _tls_context(tls_certificate, tls_key)
        listener = http_server.listen(host, port)
        with listener, closing_database(open_database(db)) as database:
            zone_words = _zone_in_words(database)
            _warn_of_refusals(database)
            if not (tls or ip_address(listener.getsockname()[0]).is_loopback):
                print_stderr(
                    "without TLS others on the network can open the doors, unless a proxy in "
                    "front of the hub has it: see `kalitka hub certificate`"
                )
            canteen.refresh_daily(database)
            _offer_setup(database)
            address = http_server.address_of(listener, secure=tls is not None)
            ready_line = f"kalitka hub on {address}, zone {zone_words}, database {database.name}"
            served = create_app(database, metrics_for_all=metrics_for_all)
            place = {"address": address, "zone": zone_words, "database": database.name}

            def report_ready() -> None:
                print(ready_line, flush=True)
                logs.event(_LOG, logging.INFO, "hub started", **place)

            http_server.serve(served, listener, report_ready, tls)


def _warn_of_refusals(database: Database) -> None:
    with database.snapshot() as session:
        if has_secret(session):
            return
        refused = count_site_secret_readers(session)
        is_empty = not list_reader_views(session, limit=1)
    if is_empty:
        print_stderr("the hub has no readers yet: run `kalitka hub reader add CODE` for each")
    elif refused:
        print_stderr(
            f"readers without a secret, which are refused: {refused}; run `kalitka hub reader "
            "secret CODE` for each"
        )


def _zone_in_words(database: Database) -> str:
    # Raises InvalidRequest instead of a guess.
    with database.snapshot() as session:
        if missing := missing_zone(session):
            raise InvalidRequest(missing)
        zone = stored_zone(session)
        if zone.posix is None and (count := count_manual_hours(session)):
            print_stderr(
                f"the site's time zone is not set, so manual rules with hours ({count}) hold in "
                f"UTC: set it with {HOW_TO_SET}"
            )
    _warn_of_new_law(zone)
    return zone.in_words(current_minute(database.clock))


def _warn_of_new_law(zone: SiteZone) -> None:
    # The stored string goes on: a new zone database moves nothing that nobody has seen.
    if zone.name is None:
        return
    try:
        today = check_zone(zone.name)
    except InvalidRequest as fault:
        print_stderr(f"{zone.posix} is not right in the site's zone any more: {fault}")
        return
    if today != zone.posix:
        print_stderr(
            f"the zone database has another rule for {zone.name} now, {today} instead of "
            f"{zone.posix}: see what it moves with `kalitka hub site set --zone {zone.name}`"
        )


def _offer_setup(database: Database) -> None:
    # Show the one-time code only on a terminal: a log such as systemd's would keep it.
    with database.snapshot() as session:
        waits = setup_code.is_open(session)
    if waits and sys.stderr.isatty():
        _show_setup_code(database)
    elif waits:
        print_stderr(
            "the hub has no users yet: run `kalitka hub setup-code` to create the first admin"
        )


def _show_setup_code(database: Database) -> bool:
    with write_transaction(database, setup_code.SETUP) as session:
        code = setup_code.make_code(session)
    if code:
        print(f"one-time code for the first admin, valid for an hour: {code}", file=sys.stderr)
        print("  send code, name and password: POST /api/v1/hub/setup", file=sys.stderr)
    return code is not None


@app.command("setup-code")
def setup_code_command(db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Show a one-time code for creating the first admin, while the hub has no users."""
    with errors_reported(), closing_database(open_database(db)) as database:
        if not _show_setup_code(database):
            raise NotFound("the hub already has users: ask an admin to add more")


@app.command()
def certificate(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...", help="Host names and IP addresses in the readers' server_url."
        ),
    ],
    folder: Annotated[
        Path, typer.Option(metavar="DIR", help="Keep the CA and the certificate in this folder.")
    ] = Path("kalitka-tls"),
) -> None:
    """Create or renew the hub's certificate, signed by the site's own CA.

    The CA is created the first time and kept: the readers' copy stays valid.
    """
    from kalitka_hub.server import certificates  # noqa: PLC0415

    with errors_reported():
        authority, server = certificates.renew(folder, names)
    ca, ca_key = folder / certificates.CA, folder / certificates.CA_KEY
    if authority.made:
        print(f"created the site's CA, valid until {authority.until:%Y-%m-%d}: {ca}")
        print(f"  install it on each reader:  kalitka deploy --ca {ca}")
        print(f"  {ca_key} can impersonate the hub: give it to nobody, and keep a copy in a safe")
    else:
        print(f"the site's CA is unchanged, valid until {authority.until:%Y-%m-%d}: {ca}")
    own, own_key = folder / certificates.SERVER, folder / certificates.SERVER_KEY
    print(
        f"created a certificate for {', '.join(names)}, valid until {server.until:%Y-%m-%d}: {own}"
    )
    print(f"  restart the hub with it:      --tls-certificate {own} --tls-key {own_key}")
    print(f"  set in the readers' settings: server_url https://{names[0]}:PORT")


@app.command()
def secret(db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Create the site's secret, for readers without their own, and print it once.

    It is for migration: `reader add` and `reader secret` give each reader a secret of its own.
    Only its hash is stored. With KALITKA_HUB_SECRET in the environment, set that secret instead.
    Readers with an older site secret are refused from now on; readers with a secret of their own
    are not affected.
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
            print_stderr(
                "the secret is shown only this once: give it to the readers without their own now"
            )
        else:
            print_stderr(f"site secret set from {SECRET_VARIABLE}")


@app.command()
def migrate(db: DatabasePath = DEFAULT_DATABASE) -> None:
    """Migrate the database schema (other commands do this automatically)."""
    from kalitka_hub.store import migrations  # noqa: PLC0415

    logs.configure("text", "info")
    with errors_reported(), closing_database(open_existing(db)) as database:
        print(f"database {database.name}: schema {migrations.NEWEST}")


@app.command()
def systemd() -> None:
    """Print a systemd unit for this hub; its first lines say how to install it."""
    from kalitka_hub.server import service  # noqa: PLC0415

    with errors_reported():
        # Prefer the command installed with this Python to the first one on the PATH.
        command = shutil.which(Path(sys.executable).with_name("kalitka"))
        command = command or shutil.which("kalitka")
        if command is None:
            raise InvalidRequest("no command `kalitka` on the PATH: install it, then try again")
        print(service.unit(str(Path(command).absolute())), end="")


@app.command("backup")
def make_backup(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Write the backup here; replaces an older one.")
    ],
    db: DatabasePath = DEFAULT_DATABASE,
) -> None:
    """Back up the whole database to a file, while the hub runs.

    The backup holds people's names and the hashes of secrets. It is readable by its owner only:
    keep it so.
    """
    from kalitka_hub.store import backup  # noqa: PLC0415

    with errors_reported():
        with closing_database(open_existing(db)) as database, progress("backup") as shown:
            made = backup.create(database, file, shown)
        print(f"{file}: {made.rows} rows, {file.stat().st_size} bytes")


@app.command()
def restore(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file from `kalitka hub backup`.")
    ],
    db: DatabasePath = DEFAULT_DATABASE,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the contents of the database, after asking.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Skip the confirmation.")] = False,
) -> None:
    """Restore a backup of either kind of database into a new SQLite or PostgreSQL one.

    Readers that have synced newer changes do a full sync. First stop a hub that serves them
    from another database. Kormitel does not resend by itself what it sent since the backup.
    Readers' secrets are again those of the backup: revoke a reader that was revoked since.
    """
    from kalitka_hub.store import backup  # noqa: PLC0415

    with errors_reported():
        made = backup.check(file)
        of = f"{datetime.fromtimestamp(made.made, UTC):%Y-%m-%d %H:%M} UTC"
        with closing_database(open_database(db)) as database:
            if replace and not yes:
                question = f"Replace everything in {database.name} with the backup of {of}?"
                typer.confirm(question, abort=True)
            with progress("restore") as shown:
                backup.restore(database, file, replace=replace, progress=shown)
            print(f"restored the backup of {of} to {database.name}: {made.rows} rows")


def _tls_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise InvalidRequest("--tls-certificate and --tls-key go together: give both or neither")
    from kalitka_hub.server import certificates  # noqa: PLC0415

    context, until = certificates.server_context(certificate, key)
    if until < datetime.now(UTC) + _RENEW_BEFORE:
        print_stderr(
            f"{certificate} expires on {until:%Y-%m-%d}: renew it with `kalitka hub certificate`"
        )
    return context
