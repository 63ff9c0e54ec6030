"""The `kalitka` command: one door to the technician's tools, the virtual reader and the hub."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
tables = typer.Typer(
    no_args_is_help=True,
    help="""The files of a reader's rule table: what they say, and whether they are whole.

    To have them here: mpremote fs cp -r :table . (they are only read)""",
)
app.add_typer(tables, name="table")

# Without --board: the one that takes files for certain; a virtual reader has them in its ROM.
DEPLOYED_BOARD = "ESP32_GENERIC_SPIRAM"
READER_BOARD = "ESP32_GENERIC"

TableFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE",
        help="A segment (base-5.seg), a manifest, or the folder of a whole table.",
        show_default=False,
    ),
]


@app.command(
    add_help_option=False,
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    },
)
def hub(context: typer.Context) -> None:
    """The site's sync server, its readers and tokens."""
    # Its database library takes longer to import than the other commands take to run.
    from kalitka_hub.cli import main

    main.hub(args=context.args, prog_name="kalitka hub")


@app.command()
def demo(
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save what was shown as a picture, too.")
    ] = None,
) -> None:
    """Show the reader's whole job: a hub, three virtual readers, every decision checked."""
    from kalitka_cli import demo as demo_command

    raise typer.Exit(demo_command.run(svg=svg))


@app.command()
def bench(
    what: Annotated[
        Literal["table", "hub", "canteen"] | None,
        typer.Argument(
            metavar="[table|hub|canteen]",
            help="Only this; without it all of them, in half an hour or more.",
        ),
    ] = None,
) -> None:
    """Measure the reader's table and log, the hub under load and Kormitel's, beside plain ones.

    Writes build/bench.md, build/bench-hub.md and build/bench-canteen.md.
    """
    from bench import table_bench
    from bench.canteen import canteen_bench
    from bench.hub import hub_bench

    runs = {"table": table_bench.run, "hub": hub_bench.run, "canteen": canteen_bench.run}
    for name, run in runs.items():
        if what in (None, name):
            run()


@app.command()
def deploy(
    port: Annotated[
        str | None,
        typer.Option(metavar="PORT", help="Such as /dev/ttyUSB0; not needed with one device."),
    ] = None,
    board: Annotated[
        str, typer.Option(metavar="BOARD", help="A folder of boards/.")
    ] = DEPLOYED_BOARD,
    settings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Checked, then copied as the reader's settings.json."),
    ] = None,
    replace_pins: Annotated[
        bool, typer.Option("--replace-pins", help="Overwrite a board.py edited on the device.")
    ] = False,
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The site's CA certificate, copied as ca.pem."),
    ] = None,
    wait: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, help="At most so long for the reader; 0: not."),
    ] = 120,
    without_enough_memory: Annotated[
        bool,
        typer.Option(
            "--without-enough-memory",
            help="Deploy even to a board whose memory is too small: the reader will not work.",
        ),
    ] = False,
) -> None:
    """Make a reader of a board: check it, copy what differs, wait until the reader works.

    A board that cannot work is refused with the reason, and nothing is changed on it. The site's
    secret and the Wi-Fi passwords are shown nowhere.

    Exit status 0: the reader has done what its settings ask for; 1: the device or the cable fails;
    2: an option or a file is wrong; 3: the board cannot work. The reader runs, but 4: is not
    ready; 5: lacks memory; 6: has no network; 7: has no TLS with its server; 8: has not synced.
    130: Ctrl-C; while it is waited for, the reader goes on.
    """
    from kalitka_cli import deploy as deploy_command

    raise typer.Exit(
        deploy_command.run(
            port,
            board,
            settings,
            replace_pins,
            ca,
            timeout=wait,
            require_memory=not without_enough_memory,
        )
    )


@app.command()
def sim(
    folder: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where flash and NVS are kept; else they are not."),
    ] = None,
    server: Annotated[str, typer.Option(metavar="URL", help="The hub: https://HOST:PORT.")] = "",
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The site's CA certificate, for https://."),
    ] = None,
    reader: Annotated[
        str, typer.Option(metavar="CODE", help="The reader's code at the hub.")
    ] = "",
    zone: Annotated[
        str,
        typer.Option(metavar="TZ", help="Time zone, Europe/Moscow or MSK-3; else the server's."),
    ] = "",
    poll_seconds: Annotated[float, typer.Option(help="Seconds between two polls.")] = 5,
    pty: Annotated[
        bool, typer.Option("--pty", help="A blank board on a serial port, for mpremote.")
    ] = False,
    board: Annotated[
        str | None,
        typer.Option(
            metavar="BOARD",
            help="A folder of boards/: its pins and its network. "
            f"Default: {READER_BOARD}, with --pty that of --memory.",
        ),
    ] = None,
    memory: Annotated[
        str,
        typer.Option(
            metavar="CLASS",
            help="Of --pty, the memory of its chip: frozen-80K, psram, mpy-on-S3, plain-stock.",
        ),
    ] = "psram",
) -> None:
    """Run one virtual reader by hand: its console here, its cards and cables by commands.

    The site's secret is taken from the environment: KALITKA_HUB_SECRET.
    """
    from kalitka_cli import sim as sim_command

    if pty and (server or reader or zone or ca):
        raise typer.BadParameter("a blank board has no settings: --pty goes with --folder only")
    if pty:
        raise typer.Exit(sim_command.run_board(folder, board or "", memory))
    reader_board = board or READER_BOARD
    raise typer.Exit(
        sim_command.run_reader(folder, server, reader, zone, poll_seconds, ca, reader_board)
    )


@app.command()
def explain(
    rules: Annotated[
        list[str],
        typer.Argument(
            metavar="RULE...",
            help="Such as 3_480_1200_1111100; a line CODE_/RULE will do as well.",
            show_default=False,
        ),
    ],
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Local time, such as '2026-11-22 09:30'; else now."),
    ] = None,
    tz: Annotated[
        str | None, typer.Option(metavar="TZ", help="Europe/Moscow or MSK-3; else UTC.")
    ] = None,
    unit: Annotated[
        Literal["auto", "minute", "second"],
        typer.Option(help="Of day times: the reader's setting day_time_unit."),
    ] = "auto",
) -> None:
    """Say in words what a token's rules mean, and whether it may pass then, and why.

    Several rules are alternatives.

    Exit status 0: allowed; 1: denied; 2: a rule, the time or the zone is wrong.
    """
    from kalitka_cli import explain as explain_command

    raise typer.Exit(explain_command.run(rules, at, tz, unit))


@app.command()
def logs(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="FROM",
            help="A flash image, or a copied folder journal/; else a reader over USB.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        str | None,
        typer.Option(metavar="PORT", help="Such as /dev/ttyUSB0; not needed with one device."),
    ] = None,
    output_format: Annotated[
        Literal["table", "csv", "jsonl"], typer.Option("--format", help="What to write.")
    ] = "table",
    last: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the newest N entries.")
    ] = None,
    unsent: Annotated[
        bool, typer.Option("--unsent", help="Only entries that the server does not have.")
    ] = False,
    tz: Annotated[
        str | None, typer.Option(metavar="TZ", help="Europe/Moscow or MSK-3; else UTC.")
    ] = None,
) -> None:
    """Show a reader's access log: who came when, and what the reader decided.

    Over USB the reader is stopped, and restarted afterwards: the gate stands still for a few
    seconds, with a full log for a minute and more; --last and --unsent are quicker.

    In CSV a code that begins with = + - @ or an apostrophe gets an apostrophe before it, and a
    semicolon in it is written as \\x3b, so that no spreadsheet takes it for a formula.

    Exit status 0; 1: something is damaged, or the device fails; 2: FROM is no log.
    """
    from kalitka_cli import logs as logs_command

    if source and port:
        raise typer.BadParameter("a log comes from FROM or over USB: --port goes without FROM")
    raise typer.Exit(logs_command.run(source, port, output_format, last, unsent, tz))


@tables.command()
def dump(files: TableFiles) -> None:
    """Write the rules to stdout as lines CODE_/RULE, in code order.

    A tombstone is a line %deleted CODE. A manifest comes as it is.

    A folder comes as the reader knows it: a full sync answer, for another reader to be fed with.
    """
    from kalitka_cli import table_dump

    raise typer.Exit(table_dump.run(files))


@tables.command()
def check(files: TableFiles) -> None:
    """Read everything and tell every fault, and what the reader does about it.

    Exit status 0: all is whole; 1: there are faults; 2: a FILE is none of a table.
    """
    from kalitka_cli import table_check

    raise typer.Exit(table_check.run(files))


@tables.command()
def stats(files: TableFiles) -> None:
    """Show how many codes, blocks and rule sets there are, and what they cost."""
    from kalitka_cli import table_stats

    raise typer.Exit(table_stats.run(files))


def main() -> None:
    """Run the command line."""
    app()
