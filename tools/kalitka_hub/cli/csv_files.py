"""`kalitka hub import` and `export`: tables of the site as CSV files."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    AsJson,
    CardScanner,
    DatabasePath,
    PrintedForm,
    Reversed,
    audit_author,
    closing_database,
    errors_reported,
    print_json,
    print_line,
    print_stderr,
    printed_form,
    progress,
)
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.store.database import open_database, open_existing
from kalitka_hub.tables import csv_import, csv_tables, csv_text
from kalitka_hub.tables.csv_import import Report, TakeSecrets

app = typer.Typer()
TableName = Annotated[
    str, typer.Argument(metavar="TABLE", help=f"One of {', '.join(csv_tables.TABLES)}.")
]


@app.command("import")
def import_file(
    table: TableName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV file in UTF-8.")],
    db: DatabasePath = DEFAULT_DATABASE,
    preview: Annotated[
        bool, typer.Option("--preview", help="Report the changes without writing them.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also remove objects that the file does not contain.")
    ] = False,
    secrets: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the secrets of new readers to this new file, which only you can read.",
        ),
    ] = None,
    site_secret: Annotated[
        bool,
        typer.Option(
            "--site-secret",
            help="Let new readers use the site's secret: only to migrate them from an older hub.",
        ),
    ] = False,
    printed: PrintedForm = None,
    reverse: Reversed = False,
    scanner: CardScanner = None,
    as_json: AsJson = False,
) -> None:
    """Import a table from a file: the whole file, or nothing if any line is wrong.

    The first line names the columns, in any order; fields of absent columns stay unchanged.
    Separate several groups, windows and the like in one cell by |. For an example, export a table.
    A file with new readers needs --secrets FILE, since each gets a secret of its own. Codes are
    stored as scanners send them; --preview shows which the file writes otherwise.
    """
    with errors_reported(), closing_database(open_database(db)) as database:
        if secrets and site_secret:
            raise InvalidRequest("--secrets and --site-secret exclude each other: give only one")
        form = printed_form(printed, reverse, scanner)
        try:
            with (
                file.open("rb") as source,
                _secrets_file(secrets) as write_secrets,
                progress("import") as shown,
            ):
                # The file is read twice: once to check, once to write.
                total = sum(1 for _ in source) * (1 if preview else 2)

                def done(rows: int) -> None:
                    shown(rows, total)

                if preview:
                    report = csv_import.preview(
                        database,
                        table,
                        source,
                        replace=replace,
                        progress=done,
                        printed=form,
                    )
                else:
                    report = csv_import.import_table(
                        database,
                        audit_author(),
                        table,
                        source,
                        replace=replace,
                        progress=done,
                        site_secret=site_secret,
                        take_secrets=write_secrets,
                        printed=form,
                    )
        except FileNotFoundError as fault:
            raise NotFound(f"there is no file {file}: name a CSV file") from fault
        except OSError as fault:
            raise InvalidRequest(
                f"{file} cannot be read: {fault.strerror}; name a CSV file"
            ) from fault
        if as_json:
            print_json(report.model_dump())
        else:
            _print(report)
        if not report.is_valid:
            raise InvalidRequest(report.error_message)


@app.command("export")
def export_file(
    table: TableName,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Write to this file, replacing it; default stdout."),
    ] = None,
    db: DatabasePath = DEFAULT_DATABASE,
    semicolon: Annotated[
        bool, typer.Option("--semicolon", help="Separate cells by semicolons instead of commas.")
    ] = False,
) -> None:
    """Export a table as CSV, ready to be imported again."""
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
            raise InvalidRequest(
                f"{file} cannot be written: {fault.strerror}; name another file"
            ) from fault
        print_line(f"{file}: {file.stat().st_size} bytes")


@contextmanager
def _secrets_file(path: Path | None) -> Iterator[TakeSecrets | None]:
    """Yield a function that writes readers' secrets to a new file; None without a path.

    If an exception leaves the block the file is removed again: then the readers do not exist.
    """
    if path is None:
        yield None
        return
    written: list[int] = []

    def write(secrets: Mapping[str, str]) -> None:
        try:
            # Never an existing file: others may be able to read it.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            written.append(len(secrets))
            with open(descriptor, "w", encoding="utf-8", newline="") as file:
                for row in (("code", "secret"), *secrets.items()):
                    file.write(csv_text.format_row(row))
                file.flush()
                os.fsync(file.fileno())
        except OSError as fault:
            raise InvalidRequest(
                f"{path} cannot be written: {fault.strerror}; name a new file with --secrets"
            ) from fault

    try:
        yield write
    except BaseException:
        if written:
            path.unlink(missing_ok=True)
        raise
    if written:
        print_stderr(
            f"{path}: {written[0]} secrets, which are shown nowhere else; give them to the "
            "readers, then delete the file"
        )


def _print(report: Report) -> None:
    for problem in report.problems:
        where = "the file" if problem.line is None else f"line {problem.line}"
        print_stderr(f"{where}{f', {problem.column}' if problem.column else ''}: {problem.error}")
    for read in report.codes:
        print_stderr(f"line {read.line}: the code {read.given} becomes {read.code}")
    for warning in report.warnings:
        print_stderr(f"line {warning.line}, {warning.column}: {warning.error}")
    counts = f"{report.changed} changed, {report.removed} removed"
    if report.written:
        print_line(f"{report.rows} rows: {report.added} added, {counts}, {report.left} unchanged")
    elif report.is_valid:
        print_line(
            f"{report.rows} rows: {report.added} would be added, {counts}; {report.left} "
            "unchanged; nothing is written yet"
        )
