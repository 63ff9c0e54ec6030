"""`kalitka hub`: its commands, each with its module in this folder and its line in the help.

The module is imported when the command is called: importing all of them takes a second.

Exit status 2: invalid input; 1: not found. Either way nothing was written, and one line on stderr
says what to do. Commands may run while the server runs.
"""

from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from kalitka_hub.cli.imports import uncollected

# By panel of the help: MODULE:COMMAND and the command's line.
_COMMANDS = {
    "Run the hub": {
        "server:serve": "Serve readers and the REST API until Ctrl-C.",
        "site:site": "Set the site's time zone, and show the site.",
        "site:status": "Show the site at a glance: its zone, its clock, its readers.",
        "server:setup-code": "Show a one-time code for creating the first admin, while the hub "
        "has no users.",
        "server:certificate": "Create or renew the hub's certificate, signed by the site's own "
        "CA.",
        "server:secret": "Create the site's secret, for readers without their own, and print it "
        "once.",
        "server:migrate": "Migrate the database schema (other commands do this automatically).",
        "server:systemd": "Print a systemd unit for this hub; its first lines say how to install "
        "it.",
        "server:backup": "Back up the whole database to a file, while the hub runs.",
        "server:restore": "Restore a backup of either kind of database into a new SQLite or "
        "PostgreSQL one.",
    },
    "Manage who may pass where and when": {
        "grants:explain": "Explain whether a reader would let a token in at a time, and why.",
        "csv_files:import": "Import a table from a file: the whole file, or nothing if any line "
        "is wrong.",
        "csv_files:export": "Export a table as CSV, ready to be imported again.",
        "people:person": "Manage people, their groups and their tokens.",
        "people:person-group": "Manage groups of people; grants are given to a group.",
        "tokens:token": "Manage tokens (cards, fobs and the like) and their manual rules.",
        "schedules:schedule": "Manage schedules: named sets of time windows.",
        "schedules:holiday": "Manage holidays: dates on which schedules are closed or have other "
        "hours.",
        "readers:reader": "Manage the readers that may poll this hub.",
        "scanners:scanners": "Declare what the scanners of the site, or of a reader, send.",
        "readers:reader-group": "Manage groups of readers; a grant may name a group.",
        "grants:grant": "Manage grants: a group of people may pass readers at the times of a "
        "schedule.",
        "kormitel:kormitel": "Manage the exchange with Kormitel: who eats, and why.",
    },
    "See what happened, and manage who may use the hub": {
        "users:user": "Manage users: people with a role, and other systems.",
        "users:api-token": "Manage API tokens, with which programs act for a user.",
        "log:log": "Show the access log. It is read-only: no command adds or removes entries.",
        "log:audit": "Show the read-only audit: who changed what.",
    },
}


class _Hub(TyperGroup):
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        word, listed, rest = super().resolve_command(ctx, args)
        return word, listed and _load(word), rest


hub = typer.Typer(
    cls=_Hub,
    no_args_is_help=True,
    help="Run the site's server; manage its people, tokens, readers and grants.\n\n"
    "To start a new site, set its time zone with `site set --zone`, register each reader with "
    "`reader add`, which prints its secret, and run `serve`. To let people pass, add a `person` "
    "with a token to a `person-group` and `grant` the group access to readers at the times of a "
    "`schedule`. Every command works while the hub runs.",
)
_listed: dict[str, tuple[str, str]] = {}  # the module and the line of each command
for _panel, _lines in _COMMANDS.items():
    for _name, _line in _lines.items():
        _module, _, _word = _name.partition(":")
        _listed[_word] = _module, _line
        hub.command(_word, help=_line, rich_help_panel=_panel)(lambda: None)


@cache
def _load(word: str) -> Any:
    """Return a command from its module. A group without a help text of its own gets its line."""
    module, line = _listed[word]
    with uncollected():
        app = import_module(f"kalitka_hub.cli.{module}").app
    command = get_group(app).commands[word]
    command.help = command.help or line
    return command
