"""`kalitka hub import` and `export`: tables of the site as files of CSV."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    AsJson,
    DatabasePath,
    faults_reported,
    opened,
    print_json,
    progress,
    say,
    tell,
    who,
)
from kalitka_hub.faults import NotFound, Refused
from kalitka_hub.store.database import open_database, open_existing
from kalitka_hub.tables import csv_import, csv_tables
from kalitka_hub.tables.csv_import import Report

TableName = Annotated[
    str, typer.Argument(metavar="TABLE", help=f"One of {', '.join(csv_tables.TABLES)}.")
]


def register(hub: typer.Typer) -> None:
    """Add the commands to `kalitka hub`."""
    hub.command("import")(import_file)
    hub.command("export")(export_file)


def import_file(
    table: TableName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV in UTF-8.")],
    db: DatabasePath = DEFAULT_DATABASE,
    preview: Annotated[
        bool, typer.Option("--preview", help="Tell what it would do, and do nothing.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also remove what the file does not have.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Import a table from a file: all of it, or nothing if anything in it is wrong.

    The first line names the columns, in any order; what a column says that is left out stays as
    it is. `kalitka hub export` shows how a file looks.
    """
    with faults_reported(), opened(open_database(db)) as database:
        try:
            with file.open("rb") as source, progress("import") as shown:
                # It is looked through, and then written.
                total = sum(1 for _ in source) * (1 if preview else 2)

                def done(rows: int) -> None:
                    shown(rows, total)

                if preview:
                    report = csv_import.preview(
                        database, table, source, replace=replace, progress=done
                    )
                else:
                    report = csv_import.import_table(
                        database, who(), table, source, replace=replace, progress=done
                    )
        except FileNotFoundError as fault:
            raise NotFound(f"there is no file {file}: name one of CSV") from fault
        except OSError as fault:
            raise Refused(f"{file} cannot be read: {fault.strerror}; name a file") from fault
        if as_json:
            print_json(report.model_dump())
        else:
            _print(report)
        if not report.is_good:
            raise Refused(report.refusal)


def export_file(
    table: TableName,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="It is replaced; default the terminal.")
    ] = None,
    db: DatabasePath = DEFAULT_DATABASE,
    semicolon: Annotated[
        bool, typer.Option("--semicolon", help="Between cells, instead of a comma.")
    ] = False,
) -> None:
    """Write a table as CSV, which can be imported again."""
    with faults_reported(), opened(open_existing(db)) as database:
        csv_tables.table_of(table)
        parts = csv_tables.exported(database, table, ";" if semicolon else ",")
        if file is None:
            for part in parts:
                sys.stdout.buffer.write(part)
            sys.stdout.flush()
            return
        try:
            with file.open("wb") as target:
                target.writelines(parts)
        except OSError as fault:
            raise Refused(f"{file} cannot be written: {fault.strerror}") from fault
        say(f"{file}: {file.stat().st_size} bytes")


def _print(report: Report) -> None:
    for problem in report.problems:
        where = "the file" if problem.line is None else f"line {problem.line}"
        tell(f"{where}{f', {problem.column}' if problem.column else ''}: {problem.error}")
    said = f"{report.added} added, {report.changed} changed, {report.removed} removed"
    state = "" if report.written else " would be so"
    say(f"{report.rows} rows: {said}, {report.left} as they were{state}")
