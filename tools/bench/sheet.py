"""A table of a report, written as Markdown to a file and printed to the console."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Sheet:
    """A table of texts. text_columns: the number of leading columns without numbers."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1


def markdown(title: str, sheets: Sequence[Sheet]) -> str:
    """Return the tables as a Markdown document."""
    parts = [f"# {title}\n\nMeasured by `make bench`, all in one run."]
    for sheet in sheets:
        lines = ["| " + " | ".join(row) + " |" for row in (sheet.columns, *sheet.rows)]
        marks = ["---" if i < sheet.text_columns else "---:" for i in range(len(sheet.columns))]
        lines.insert(1, "|" + "|".join(marks) + "|")
        parts.append(f"## {sheet.title}\n\n{sheet.note}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def show(sheets: Sequence[Sheet], console: Console) -> None:
    """Print the tables."""
    for sheet in sheets:
        table = Table(title=sheet.title, caption=sheet.note, box=box.SIMPLE, padding=(0, 1, 0, 0))
        for number, column in enumerate(sheet.columns):
            table.add_column(column, justify="left" if number < sheet.text_columns else "right")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)
