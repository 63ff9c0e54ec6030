"""Run the technician's tools, the virtual reader and the hub."""

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
tables = typer.Typer(
    no_args_is_help=True,
    help="""Inspect the files of a reader's rule table. The files are only read.

    To copy them from a reader: mpremote fs cp -r :table .""",
)
app.add_typer(tables, name="table")

# Defaults of --board. Deploying .mpy files needs a board with memory to spare, so the one with
# PSRAM; a virtual reader has its files in ROM.
DEPLOYED_BOARD = "ESP32_GENERIC_SPIRAM"
READER_BOARD = "ESP32_GENERIC"

TableFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE",
        help="A segment (base-5.seg), a manifest or the folder of a whole table.",
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
    """Run the site's hub; manage its readers and tokens."""
    # Importing its database library takes longer than the other commands take to run.
    from kalitka_hub.cli import main

    main.hub(args=context.args, prog_name="kalitka hub")


@app.command()
def demo(
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also save the output as an SVG picture.")
    ] = None,
) -> None:
    """Demonstrate the reader's whole job: a hub, three virtual readers, every decision checked."""
    from kalitka_cli import demo as demo_command

    raise typer.Exit(demo_command.run(svg=svg))


@app.command()
def bench(
    what: Annotated[
        Literal["table", "hub", "canteen"] | None,
        typer.Argument(
            metavar="[table|hub|canteen]",
            help="Run only this benchmark; default all, which takes half an hour or more.",
        ),
    ] = None,
) -> None:
    """Benchmark the reader's table and log, the hub under load and the exchange with Kormitel,
    each beside a plain implementation.

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
        typer.Option(
            metavar="PORT", help="Use this port, such as /dev/ttyUSB0; default the only device."
        ),
    ] = None,
    board: Annotated[
        str, typer.Option(metavar="BOARD", help="Deploy for this board, a folder of boards/.")
    ] = DEPLOYED_BOARD,
    settings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Check this file, then copy it as the reader's settings.json."
        ),
    ] = None,
    replace_pins: Annotated[
        bool,
        typer.Option("--replace-pins", help="Overwrite a board.py that was edited on the device."),
    ] = False,
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Copy this CA certificate of the site as ca.pem."),
    ] = None,
    wait: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Wait at most this long for the reader to work; 0 does not wait.",
        ),
    ] = 120,
    without_enough_memory: Annotated[
        bool,
        typer.Option(
            "--without-enough-memory",
            help="Deploy even to a board with too little memory, where the reader will not work.",
        ),
    ] = False,
) -> None:
    """Turn a board into a reader: check it, copy changed files, wait until the reader works.

    A board that cannot work is refused with the reason and left unchanged. The reader's secret
    and the Wi-Fi passwords are never shown.

    Exit status 0: the reader has done all that its settings ask for; 1: the device or the cable
    failed; 2: invalid option or file; 3: the board cannot work. The reader runs, but 4: is not
    ready; 5: lacks memory; 6: has no network; 7: has no TLS with its server; 8: has not synced.
    130: Ctrl-C; during the wait it does not stop the reader.
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
        typer.Option(
            metavar="DIR", help="Keep flash and NVS in this folder; default a temporary one."
        ),
    ] = None,
    server: Annotated[
        str, typer.Option(metavar="URL", help="Connect to this server: https://HOST:PORT[/PATH].")
    ] = "",
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Trust this CA certificate of the site, for https://."),
    ] = None,
    reader: Annotated[
        str, typer.Option(metavar="CODE", help="Set the reader's code at the hub.")
    ] = "",
    zone: Annotated[
        str,
        typer.Option(
            metavar="TZ", help="Set the time zone, Europe/Moscow or MSK-3; default the server's."
        ),
    ] = "",
    poll_seconds: Annotated[float, typer.Option(help="Poll every so many seconds.")] = 5,
    pty: Annotated[
        bool, typer.Option("--pty", help="Run a blank board on a serial port, for mpremote.")
    ] = False,
    board: Annotated[
        str | None,
        typer.Option(
            metavar="BOARD",
            help="Take pins and network from this folder of boards/; "
            f"default {READER_BOARD}, with --pty the board of --memory.",
        ),
    ] = None,
    memory: Annotated[
        str,
        typer.Option(
            metavar="CLASS",
            help="Set the memory of a --pty board: frozen-80K, psram, mpy-on-S3 or plain-stock.",
        ),
    ] = "psram",
) -> None:
    """Run one virtual reader: its console is shown here, commands act on its cards and cables.

    Set the reader's secret, from `kalitka hub reader add`, in the environment: KALITKA_HUB_SECRET.
    """
    from kalitka_cli import sim as sim_command

    if pty and (server or reader or zone or ca):
        raise typer.BadParameter(
            "a blank board has no settings: --pty excludes --server, --reader, --zone and --ca"
        )
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
            help="A rule such as 3_480_1200_1111100, or a line CODE_/RULE.",
            show_default=False,
        ),
    ],
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Explain for this local time, such as '2026-11-22 09:30'; default now.",
        ),
    ] = None,
    tz: Annotated[
        str | None,
        typer.Option(metavar="TZ", help="Set the time zone, Europe/Moscow or MSK-3; default UTC."),
    ] = None,
    unit: Annotated[
        Literal["auto", "minute", "second"],
        typer.Option(help="Set the unit of day times, as the reader's setting day_time_unit."),
    ] = "auto",
    scanners: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PRESET",
            help="Say what the reader's scanner sends, such as wiegand26, wiegand34 or qr: a "
            "code that it can never send is warned of. Repeatable.",
        ),
    ] = None,
) -> None:
    """Explain a token's rules in words, and whether it may pass at a time, and why.

    With several rules any one is enough.

    Exit status 0: allowed; 1: denied; 2: invalid rule, time or zone.
    """
    from kalitka_cli import explain as explain_command

    raise typer.Exit(explain_command.run(rules, at, tz, unit, scanners or ()))


@app.command()
def logs(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="FROM",
            help="A flash image or a copied folder journal/; default a reader over USB.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        str | None,
        typer.Option(
            metavar="PORT", help="Use this port, such as /dev/ttyUSB0; default the only device."
        ),
    ] = None,
    output_format: Annotated[
        Literal["table", "csv", "jsonl"],
        typer.Option("--format", help="Choose the output format."),
    ] = "table",
    last: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Show only the newest N entries.")
    ] = None,
    unsent: Annotated[
        bool,
        typer.Option("--unsent", help="Show only entries that the server has not acknowledged."),
    ] = False,
    tz: Annotated[
        str | None,
        typer.Option(
            metavar="TZ", help="Show times in this zone, Europe/Moscow or MSK-3; default UTC."
        ),
    ] = None,
) -> None:
    """Show a reader's access log: every code, its time and the reader's verdict.

    Over USB the reader is stopped and afterwards restarted. The gate is out of service for a few
    seconds, with a full log for more than a minute; --last and --unsent are quicker.

    In CSV a code that begins with = + - @ or an apostrophe gets an apostrophe before it, and a
    semicolon in it is written as \\x3b, so that no spreadsheet takes it for a formula.

    Exit status 0; 1: something is damaged, or the device failed; 2: FROM is not an access log.
    """
    from kalitka_cli import logs as logs_command

    if source and port:
        raise typer.BadParameter("give either FROM or --port, not both")
    raise typer.Exit(logs_command.run(source, port, output_format, last, unsent, tz))


@tables.command()
def dump(files: TableFiles) -> None:
    """Print the rules as lines CODE_/RULE, in code order.

    A tombstone is a line %deleted CODE. A manifest is printed unaltered.

    A folder is printed as the reader's merged table: a full sync answer that another reader can
    take.
    """
    from kalitka_cli import table_dump

    raise typer.Exit(table_dump.run(files))


@tables.command()
def check(files: TableFiles) -> None:
    """Check every byte; list each problem and what the reader does about it.

    Exit status 0: no problems; 1: problems; 2: a FILE is not part of a table.
    """
    from kalitka_cli import table_check

    raise typer.Exit(table_check.run(files))


@tables.command()
def stats(files: TableFiles) -> None:
    """Show the numbers of codes, blocks and rule sets, and their size."""
    from kalitka_cli import table_stats

    raise typer.Exit(table_stats.run(files))


def main() -> None:
    """Run the command line."""
    app()
