"""`kalitka hub import` and `export`: tables of the site as files of CSV."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    AsJson,
    DatabasePath,
    audit_author,
    closing_database,
    errors_reported,
    print_json,
    print_line,
    print_stderr,
    progress,
)
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.store.database import open_database, open_existing
from kalitka_hub.tables import csv_import, csv_tables
from kalitka_hub.tables.csv_import import Report

TableName = Annotated[
    str, typer.Argument(metavar="TABLE", help=f"One of {', '.join(csv_tables.TABLES)}.")
]


def register(hub: typer.Typer, panel: str | None = None) -> None:
    """Add the commands to `kalitka hub`, where its help has this panel."""
    hub.command("import", rich_help_panel=panel)(import_file)
    hub.command("export", rich_help_panel=panel)(export_file)


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

    The first line names the columns, in any order; what would be in those that are left out
    stays as it is. Several groups, windows and the like are in one cell, with | between them.
    To see how a file looks, export one.
    """
    with errors_reported(), closing_database(open_database(db)) as database:
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
                        database, audit_author(), table, source, replace=replace, progress=done
                    )
        except FileNotFoundError as fault:
            raise NotFound(f"there is no file {file}: name one of CSV") from fault
        except OSError as fault:
            raise InvalidRequest(
                f"{file} cannot be read: {fault.strerror}; name a file"
            ) from fault
        if as_json:
            print_json(report.model_dump())
        else:
            _print(report)
        if not report.is_valid:
            raise InvalidRequest(report.error_message)


def export_file(
    table: TableName,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Written anew; without, it is printed.")
    ] = None,
    db: DatabasePath = DEFAULT_DATABASE,
    semicolon: Annotated[
        bool, typer.Option("--semicolon", help="Separate cells by ; and not by a comma.")
    ] = False,
) -> None:
    """Write a table as CSV, which can be imported again."""
    with errors_reported(), closing_database(open_existing(db)) as database:
        csv_tables.table_of(table)
        parts = csv_tables.export(database, table, ";" if semicolon else ",")
        if file is None:
            for part in parts:
                sys.stdout.buffer.write(part)
            sys.stdout.flush()
            return
        try:
            with file.open("wb") as target:
                target.writelines(parts)
        except OSError as fault:
            raise InvalidRequest(f"{file} cannot be written: {fault.strerror}") from fault
        print_line(f"{file}: {file.stat().st_size} bytes")


def _print(report: Report) -> None:
    for problem in report.problems:
        where = "the file" if problem.line is None else f"line {problem.line}"
        print_stderr(f"{where}{f', {problem.column}' if problem.column else ''}: {problem.error}")
    counts = f"{report.changed} changed, {report.removed} removed"
    if report.written:
        print_line(
            f"{report.rows} rows: {report.added} added, {counts}, {report.left} as they were"
        )
    elif report.is_valid:
        print_line(
            f"{report.rows} rows: {report.added} would be added, {counts}; {report.left} are so "
            "already; nothing is written yet"
        )
