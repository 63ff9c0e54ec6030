"""`kalitka hub kormitel pull`: exchange with an integrator or another hub, as Kormitel would.

The password is never a command-line option, since the list of processes shows options to
everybody.
"""

import getpass
import os
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy.exc import DatabaseError

from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    DatabasePath,
    closing_database,
    errors_reported,
    print_line,
    print_stderr,
    progress,
)
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel.exchange_log import Paused
from kalitka_hub.store.database import Database, open_existing

if TYPE_CHECKING:
    from kalitka_hub.kormitel.pull import PullResult

PASSWORD_VARIABLE = "KALITKA_PEER_PASSWORD"
_DIFFERENT_SECONDS = 60  # clocks that differ by more are reported


def register(app: typer.Typer, panel: str | None = None) -> None:
    """Add the command to `kalitka hub kormitel`, in this panel of its help."""
    app.command("pull", rich_help_panel=panel)(pull_command)


def pull_command(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="The base URL of `sync` and `back-sync`; for another hub https://HOST:PORT/",
        ),
    ],
    user: Annotated[str, typer.Option(metavar="NAME", help="Log in to the peer as this user.")],
    db: DatabasePath = DEFAULT_DATABASE,
    password_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=f"Read the password from this file's first line; default {PASSWORD_VARIABLE} in "
            "the environment, else a prompt.",
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Trust this CA (PEM) for the peer's certificate."),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(
            metavar="MINUTES", min=1, max=24 * 60, help="Repeat at this interval until Ctrl-C."
        ),
    ] = None,
) -> None:
    """Send new changes to an integrator or another hub, then fetch new changes from there.

    An interrupted pull is resumed by the next one. Of two changes of one field the later one
    wins, on both sides.
    """
    with errors_reported(), closing_database(open_existing(db)) as database:
        password = _password(password_file)
        if every is None:
            _pull(database, url, user, password, ca)
            return
        try:
            while True:
                _try_to_pull(database, url, user, password, ca)
                time.sleep(every * 60)
        except KeyboardInterrupt:
            print_stderr("stopped")


def _try_to_pull(database: Database, url: str, user: str, password: str, ca: Path | None) -> None:
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    try:
        _pull(database, url, user, password, ca, f"{now}: ")
    except (NotFound, Paused) as fault:
        print_stderr(f"{now}: {fault}")
    except DatabaseError as fault:
        print_stderr(f"{now}: database error: {' '.join(str(fault.orig).split())}")


def _pull(
    database: Database, url: str, user: str, password: str, ca: Path | None, when: str = ""
) -> None:
    # Importing the HTTP library takes a while: spare the other commands.
    from kalitka_hub.kormitel.pull import pull  # noqa: PLC0415

    with progress("pull") as shown:
        pulled = pull(database, url, user, password, ca=ca, progress=shown)
    print_line(f"{when}{_summary(pulled)}")
    if pulled.ahead is not None and abs(pulled.ahead) > _DIFFERENT_SECONDS:
        where = "ahead of" if pulled.ahead > 0 else "behind"
        print_stderr(
            f"the peer's clock is {abs(pulled.ahead)} seconds {where} this hub's: set the wrong "
            "one, or older changes may win over newer ones"
        )


def _summary(pulled: "PullResult") -> str:
    taken = pulled.taken
    sent = f"sent {pulled.sent} changes"
    if pulled.refused:
        sent += f" ({pulled.refused} quarantined there)"
    told = f"{sent}; received {taken.received} objects: {taken.applied} took effect"
    return f"{told}, {taken.set_aside} quarantined" if taken.set_aside else told


def _password(file: Path | None) -> str:
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
        except OSError as fault:
            raise InvalidRequest(
                f"{file} cannot be read: {fault.strerror}; name the file with the password"
            ) from fault
    if (given := os.environ.get(PASSWORD_VARIABLE)) is not None:
        return given
    try:
        # Without a terminal getpass would echo the password: fail instead.
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass("Password: ")
    except getpass.GetPassWarning as fault:
        raise InvalidRequest(
            f"no terminal to type the password on: give --password-file, or "
            f"{PASSWORD_VARIABLE} in the environment"
        ) from fault
