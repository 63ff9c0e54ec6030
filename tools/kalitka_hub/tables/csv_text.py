"""CSV text: rows with their line numbers, lists within a cell, and protection against formulas.

UTF-8 with or without a byte order mark; separated by comma, semicolon or tab, whichever is most
frequent in the header. Problems are reported with their lines, and reading goes on after them.
Memory is bounded by the longest row, ROW_MAX.

Items of a list are separated by `|`, and blanks around them are ignored; a backslash before a `|`,
a backslash or a blank makes it part of the item.

A spreadsheet would make a number of the code 001234 or 1234E5, and a date of 12-05, even if CSV
quotes it. Such a code is written with quotes that belong to the cell, "001234", which every
spreadsheet keeps as text, and read without them.

A spreadsheet would run a cell that begins with = + - @, a tab or a carriage return as a formula:
such a cell is written with an apostrophe in front, as spreadsheets themselves mark text, and read
without it.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

ROW_MAX = 1 << 16  # bytes of a row, even if it spans several lines: the memory bound
MARK = "\ufeff"  # byte order mark
_SEPARATORS = ",;\t"
# What a spreadsheet may take for a number, a time or a date: digits with the signs of these, an
# exponent, the name of a month in one of several languages, a truth value.
_NO_TEXT = re.compile(
    r"(?=.*[0-9])(?:[-+0-9.,:/%$\u20ac ']+|[0-9][-0-9:.TZ ]+|[-+]?[0-9.,]+ ?[DE] ?[-+]?[0-9]+"
    r"|[0-9: ]+[AP]M?|[-0-9./ ]*(?:JAN|FEB|FEV|MAR|MRZ|MRT|APR|AVR|ABR|MAY|MAI|MAJ|MAG|MEI|JUN|"
    r"JUL|GIU|LUG|AUG|AGO|AOU|SEP|SET|OCT|OKT|OTT|OUT|NOV|DEC|DEZ|DIC|DES|ENE|GEN)[A-Z]{0,6}"
    r"[-0-9./, ]*)|TRUE|FALSE",
    re.IGNORECASE,
)
_SMALL = re.compile(r"0|[1-9][0-9]{0,8}")  # a number that no spreadsheet writes otherwise
_QUOTED = re.compile(r'=?"(.*)"', re.DOTALL)  # as a formula by people who know spreadsheets
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_ITEM = re.compile(r"(?:[^\\|]|\\.|\\$)*", re.DOTALL)
_BLANKS = re.compile(r"^\s+|(?<!\\)\s+$")
_MARKED = re.compile(r"[\\|]|^\s|\s$")

OnError = Callable[[int, str], None]  # called with the line and the problem


def read_rows(source: BinaryIO, on_error: OnError) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, cells) of each row that is not empty, the header first."""
    text = _LineReader(source, on_error)
    lines = iter(text)
    first = next(lines, None)
    if first is None:
        return
    separator = max(_SEPARATORS, key=first.count)
    reader = csv.reader(_chain(first, lines), delimiter=separator, strict=True)
    while True:
        text.row_line = reader.line_num + 1
        text.row_size = 0
        try:
            cells = next(reader, None)
        except csv.Error as fault:
            if not text.ended:
                on_error(text.row_line, _sentence(str(fault)))
            continue
        if cells is None:
            return
        if any(cells):
            yield text.row_line, [_unguarded(cell) for cell in cells]


def format_row(cells: Iterable[str], separator: str = ",") -> str:
    """Format a row as a line of CSV."""
    return separator.join(map(_quoted, map(_guarded, cells))) + "\r\n"


def text_cell(code: str) -> str:
    """Return the cell of a code, in quotes if a spreadsheet would take it for something else."""
    is_text = _SMALL.fullmatch(code) or not _NO_TEXT.fullmatch(code)
    return code if is_text and not _QUOTED.fullmatch(code) else f'"{code}"'


def from_text_cell(cell: str) -> str:
    """Return the code of a cell from `text_cell`; of any other cell its text."""
    match = _QUOTED.fullmatch(cell)
    return match[1] if match else cell


def split_items(cell: str) -> list[str]:
    """Split a cell into the items of a list, without blanks around; an empty cell has no items."""
    if not cell.strip():
        return []
    found: list[str] = []
    at = 0
    while at <= len(cell):
        match = _ITEM.match(cell, at)
        assert match
        item = _BLANKS.sub("", match[0])
        found.append(re.sub(r"\\(.)", r"\1", item, flags=re.DOTALL))
        at = match.end() + 1
    return found


def join_items(texts: Iterable[str]) -> str:
    """Join the items of a list to a cell, escaped for `split_items`."""
    return "|".join(_MARKED.sub(r"\\\g<0>", text) for text in texts)


class _LineReader:
    """The lines of a file, decoded. row_line: first line of the current row; row_size: bytes."""

    def __init__(self, source: BinaryIO, on_error: OnError) -> None:
        self.row_line = 1
        self.row_size = 0
        self.ended = False  # after a problem that has already been reported
        self._source = source
        self._on_error = on_error

    def __iter__(self) -> Iterator[str]:
        number = 0
        while raw := self._source.readline(ROW_MAX + 1):
            number += 1
            self.row_size += len(raw)
            if number == 1 and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                self._on_error(1, "the file is in UTF-16: save it as CSV in UTF-8")
                self.ended = True
                return
            if self.row_size > ROW_MAX and self.row_line < number:
                self._on_error(
                    self.row_line,
                    f"a row from here on is longer than {ROW_MAX} bytes: "
                    'close the quote (") that opens in it',
                )
                self.ended = True
                return
            yield self._line(number, raw)

    def _line(self, number: int, raw: bytes) -> str:
        if len(raw) > ROW_MAX:
            self._on_error(number, f"the line is longer than {ROW_MAX} bytes: shorten it")
            while raw and not raw.endswith(b"\n"):
                raw = self._source.readline(ROW_MAX)
            return "\n"
        if b"\0" in raw:
            self._on_error(number, "the line has a NUL character (U+0000): save the file as text")
            return "\n"
        try:
            text = raw.decode()
        except UnicodeDecodeError as fault:
            self._on_error(
                number,
                f"byte {fault.start + 1} of the line is not UTF-8: save the file as CSV in UTF-8",
            )
            return "\n"
        return text.removeprefix(MARK) if number == 1 else text


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _sentence(fault: str) -> str:
    if "end of data" in fault:
        return 'the quote (") that opens in this row is not closed: close it'
    if "expected after" in fault:
        return 'write a quote (") within a quoted cell twice, and end the cell with a quote'
    if "new-line" in fault:
        return "a line ends with a carriage return alone: save the file with LF or CRLF line ends"
    return f"the row is not valid CSV: {fault}"


def _guarded(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _quoted(cell: str) -> str:
    if re.search(r'[",;\t\r\n]|^\s|\s$', cell):
        return '"' + cell.replace('"', '""') + '"'
    return cell
