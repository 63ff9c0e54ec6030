"""`kalitka hub scanners`: what the scanners of the site, or of a reader, send."""

from typing import Annotated

import typer

from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    AsJson,
    DatabasePath,
    open_for_reading,
    open_or_create,
    print_json,
    print_line,
)
from kalitka_hub.site.scanners import declared_scanners, set_scanners
from kalitka_hub.site.token_codes import PRESETS

app = typer.Typer()
scanners = typer.Typer(
    no_args_is_help=True,
    help="Declare what the site's scanners send, so that a code that none of them can send is "
    f"warned of. Presets, one or several: {', '.join(PRESETS)}.",
)
app.add_typer(scanners, name="scanners")

OfReader = Annotated[
    str | None, typer.Option("--reader", metavar="CODE", help="Of this reader; default the site.")
]


@scanners.command("set")
def scanners_set(
    presets: Annotated[
        list[str],
        typer.Argument(metavar="PRESET...", help="Such as wiegand34; '' withdraws."),
    ],
    db: DatabasePath = DEFAULT_DATABASE,
    reader: OfReader = None,
) -> None:
    """Declare what the scanners send. A reader without presets of its own has the site's."""
    with open_or_create(db) as session:
        changed = set_scanners(session, reader, presets)
        declared = declared_scanners(session, reader)
    whose = f"reader {reader}" if reader else "site"
    state = "" if changed else ", unchanged"
    print_line(f"scanners of the {whose}: {', '.join(declared) or 'not declared'}{state}")


@scanners.command("show")
def scanners_show(
    db: DatabasePath = DEFAULT_DATABASE, reader: OfReader = None, as_json: AsJson = False
) -> None:
    """Show what the scanners were declared to send."""
    with open_for_reading(db) as session:
        declared = declared_scanners(session, reader)
    if as_json:
        print_json(list(declared))
        return
    for name in declared:
        print_line(f"{name}: {PRESETS[name]}")
    if not declared:
        print_line("not declared" + ("; the site's hold" if reader else ""))
