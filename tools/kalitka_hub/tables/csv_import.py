"""Import of CSV tables: preview of the changes, report of all problems, and the import itself.

A file is read twice. The first pass runs in a snapshot, which blocks nobody: if there are problems
they are reported line by line and nothing is written; if there are no changes, the import ends
there. The second pass runs in one transaction that writes the differences: all of them, or
nothing. Writers and the first poll of a minute wait for it; 50,000 new tokens take some seconds.
Rows that are not in the file stay, unless the import replaces the table.

Token codes are read as people write them (`tokens.CodeReader`); a new code that is what a
spreadsheet leaves of a stored one, without its zeros in front, is a problem.

No new reader gets the site's secret by itself: the caller takes the new readers' own secrets, or
says that they use the site's.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace as with_changes
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.site import rule_compiler, tokens
from kalitka_hub.site.readers import READERS, ReaderSetting, create_reader
from kalitka_hub.site.resources import Key
from kalitka_hub.site.site_secret import new_secret
from kalitka_hub.site.token_codes import Printed
from kalitka_hub.site.tokens import CodeReader
from kalitka_hub.store.bulk import BATCH, in_batches
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import Database
from kalitka_hub.tables import csv_text
from kalitka_hub.tables.csv_tables import Column, CsvTable, table_of

PROBLEMS_MAX = 200  # problems reported for a file; further ones are only counted
NOTES_MAX = 200  # notes on codes reported for a file
Progress = Callable[[int], None]  # called with the number of rows done
TakeSecrets = Callable[[Mapping[str, str]], object]  # called with new readers' secrets by code


class Problem(BaseModel):
    """A problem in a file.

    line: counted from 1, null for the whole file. column: null for the whole row.
    """

    line: int | None
    column: str | None
    error: str


class ReadCode(BaseModel):
    """A code that the file writes otherwise than it is stored. line: counted from 1."""

    line: int
    given: str
    code: str


class Report(BaseModel):
    """The result of an import or a preview: numbers of rows, and problems.

    left: unchanged rows. removed: with `replace`, rows that the file does not have. more: number
    of further problems, not listed. written: the changes were made. codes: the first codes that
    are stored otherwise than the file writes them. warnings: the first codes that no scanner of
    the site can send; they are imported all the same.
    """

    rows: int = 0
    added: int = 0
    changed: int = 0
    left: int = 0
    removed: int = 0
    problems: list[Problem] = []
    more: int = 0
    written: bool = False
    codes: list[ReadCode] = []
    warnings: list[Problem] = []

    @property
    def is_valid(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    @property
    def has_changes(self) -> bool:
        """Whether the file differs from the database."""
        return bool(self.added or self.changed or self.removed)

    @property
    def error_message(self) -> str:
        """One sentence on a file with problems, which was not imported."""
        count = len(self.problems) + self.more
        first = self.problems[0]
        where = "the file: " if first.line is None else f"line {first.line}: "
        detail = (
            f"{where}{first.error}"
            if count == 1
            else f"{count} problems, first {where}{first.error}"
        )
        return f"nothing was written: {detail}"

    def note_code(
        self, line: int, column: str, given: str, code: str, warning: str | None
    ) -> None:
        """Note how a code is stored, and what warns of it; beyond NOTES_MAX leave it out."""
        if given != code and len(self.codes) < NOTES_MAX:
            self.codes.append(ReadCode(line=line, given=given, code=code))
        if warning and len(self.warnings) < NOTES_MAX:
            self.warnings.append(Problem(line=line, column=column, error=warning))

    def add_problems(self, found: Sequence[Problem]) -> None:
        """Add problems in the order of their lines; beyond PROBLEMS_MAX only count them."""
        free = PROBLEMS_MAX - len(self.problems)
        self.problems += sorted(found, key=lambda problem: problem.line or sys.maxsize)[:free]
        self.more += max(0, len(found) - free)


class _Rollback(Exception):
    """Raised to roll back the transaction."""


def preview(
    database: Database,
    name: str,
    source: BinaryIO,
    *,
    replace: bool = False,
    progress: Progress = lambda _: None,
    printed: Printed | None = None,
) -> Report:
    """Return the report of what `import_table` would do; write nothing.

    Raises NotFound for an unknown table.
    """
    table = table_of(name)
    with database.snapshot() as session:
        run = _FileImport(session, table, replace, progress, printed, writing=False)
        return run.run(source)


def import_table(
    database: Database,
    who: str,
    name: str,
    source: BinaryIO,
    *,
    replace: bool = False,
    progress: Progress = lambda _: None,
    site_secret: bool = False,
    take_secrets: TakeSecrets | None = None,
    printed: Printed | None = None,
) -> Report:
    """Import a file if it has no problems, and return the report.

    source: seekable. replace: also remove rows that the file does not have. who: see
    `changes.write_transaction`. progress: counts up to twice the rows of the file. site_secret:
    new readers use the site's secret, to migrate them. take_secrets: else called with the secrets
    of new readers, if there are any, before they are committed; an exception rolls everything
    back. Without either a new reader is a problem. printed: the form of the file's token codes if
    they are numbers printed on cards. Raises NotFound for an unknown table.
    """
    found = preview(database, name, source, replace=replace, progress=progress, printed=printed)
    if not found.is_valid:
        return found
    rows, table = found.rows, table_of(name)
    if not found.has_changes:
        # Nothing differed in the snapshot: no writer has to wait for a second pass.
        progress(2 * rows)
        found.written = True
        return found
    secrets: dict[str, str] = {}
    if table.resource.name == READERS and not site_secret:
        add = _add_with_secret(secrets) if take_secrets else _refuse_reader
        table = with_changes(table, resource=with_changes(table.resource, add=add))
    try:
        with write_transaction(database, who) as session:
            run = _FileImport(
                session, table, replace, lambda done: progress(rows + done), printed, writing=True
            )
            # Checked again under the lock: another writer may have come after the snapshot.
            found = run.run(source)
            if not found.is_valid:
                raise _Rollback
            if secrets and take_secrets:
                take_secrets(secrets)
    except _Rollback:
        return found
    found.written = True
    return found


def _add_with_secret(secrets: dict[str, str]) -> Callable[[Session, Any], str]:
    def add(session: Session, setting: ReaderSetting) -> str:
        secrets[setting.code] = new_secret()
        return create_reader(session, setting, secrets[setting.code])

    return add


def _refuse_reader(_session: Session, setting: ReaderSetting) -> str:
    raise InvalidRequest(
        f"the reader {setting.code} is new: write the secrets of new readers to a file with "
        "--secrets FILE, or let them use the site's with --site-secret"
    )


class _Row(NamedTuple):
    """A row of the file.

    key, view: of the existing resource, None for a new one. setting: what the row sets.
    """

    line: int
    key: Key | None
    view: Any
    setting: Any


class _Owner(NamedTuple):
    """The owner of a unique value: its key, None if it is new, and its line in the file."""

    key: Key | None
    line: int | None = None


class _FileImport:
    """One pass over a file."""

    def __init__(
        self,
        session: Session,
        table: CsvTable,
        replace: bool,
        progress: Progress,
        printed: Printed | None,
        *,
        writing: bool,
    ) -> None:
        self._session = session
        self._codes = CodeReader(session, printed)
        self._table = table
        self._resource = table.resource
        self._replace = replace
        self._progress = progress
        self._writing = writing
        self._report = Report()
        self._pending_problems: list[Problem] = []  # not yet in the report
        self._lines: dict[Key, int] = {}  # line of each key in the file
        self._token_lines: dict[str, int] = {}  # line of each token given to a person
        self._unique_owners: dict[tuple[Any, ...], _Owner] = {}

    def run(self, source: BinaryIO) -> Report:
        """Process the file from its beginning; return the report."""
        source.seek(0)
        self._read(source)
        self._flush_problems()
        return self._report

    def _read(self, source: BinaryIO) -> None:
        report = self._report
        before = (
            {getattr(view, self._table.key) for view in self._stored()} if self._replace else set()
        )
        if self._table.unique:
            for view in self._stored():
                self._unique_owners[self._unique(view)] = _Owner(getattr(view, self._table.key))
        rows = csv_text.read_rows(source, lambda line, error: self._add_problem(line, None, error))
        header = next(rows, None)
        if header is None:
            if self._is_valid:
                self._add_problem(1, None, "the file is empty: its first line names the columns")
            return
        columns = self._columns(*header)
        if columns is None:
            return
        try:
            with rule_compiler.deferred_recompute(self._session):
                for batch in in_batches(rows):
                    self._import_batch(columns, batch)
                    self._flush_problems()
                    self._progress(report.rows)
                # With problems everything is rolled back anyway: the test only avoids further
                # error messages that would follow from them.
                if self._replace and self._is_valid:
                    self._remove(before - self._lines.keys())
        except InvalidRequest as fault:
            # The rules of the tokens are compiled only at the end, for all rows together.
            self._add_problem(None, None, str(fault))

    def _add_problem(self, line: int | None, column: str | None, error: str) -> None:
        self._pending_problems.append(Problem(line=line, column=column, error=error))

    def _flush_problems(self) -> None:
        self._report.add_problems(self._pending_problems)
        self._pending_problems = []

    @property
    def _is_valid(self) -> bool:
        return self._report.is_valid and not self._pending_problems

    def _columns(self, line: int, cells: Sequence[str]) -> list[Column] | None:
        names = [cell.strip().lower() for cell in cells]
        columns = [self._table.column(name) for name in names]
        known = ", ".join(column.name for column in self._table.columns)
        for at, (name, column) in enumerate(zip(names, columns, strict=True)):
            if column is None:
                text = f"unknown column {name[:40]!r} of {self._resource.name}: use {known}"
                self._add_problem(line, name[:40], text)
            elif name in names[:at]:
                self._add_problem(line, name, f"the column {name} is there twice: remove one")
        for name in self._table.needed:
            if name not in names:
                self._add_problem(line, name, f"the column {name} is missing: add it")
        found = [column for column in columns if column is not None]
        return found if self._is_valid else None

    def _import_batch(self, columns: list[Column], batch: list[tuple[int, list[str]]]) -> None:
        self._report.rows += len(batch)
        given = [
            (line, cells) for line, row in batch if (cells := self._cells(columns, line, row))
        ]
        for column in columns:
            if column.is_code:
                given = self._read_codes(column.name, given)
        given = [(line, cells) for line, cells in given if self._has_first_key(line, cells)]
        keys = {cells[self._table.key] or self._matching_key(cells) for _, cells in given}
        views = self._resource.find_many(self._session, keys - {None})
        rows = [row for line, cells in given if (row := self._row(line, cells, views))]
        self._check_names(columns, rows)
        self._check_owners(rows)
        changed = [row for row in rows if self._count_change(row)]
        if self._writing and self._is_valid:
            self._write(changed)

    def _cells(self, columns: list[Column], line: int, row: list[str]) -> dict[str, Any] | None:
        """Return the values of a row by column; None, and add problems, if any are invalid."""
        if len(row) != len(columns):
            text = f"the row has {len(row)} cells and the header {len(columns)}: look for an "
            self._add_problem(line, None, text + "extra or missing separator")
            return None
        found: dict[str, Any] = {self._table.key: None}
        good = True
        for column, cell in zip(columns, row, strict=True):
            try:
                value = column.read(cell)
                if column.normalize and value is not None:
                    value = column.normalize(self._session, value)
                found[column.name] = value
            except InvalidRequest as fault:
                self._add_problem(line, column.name, str(fault))
                good = False
        return found if good else None

    def _read_codes(
        self, name: str, given: list[tuple[int, dict[str, Any]]]
    ) -> list[tuple[int, dict[str, Any]]]:
        """Replace the codes of a column by those that are stored; leave rows with problems out."""
        codes = self._codes.read({text for _, row in given for text in _as_list(row[name])})
        right = [code for code in codes.values() if isinstance(code, str)]
        whole = self._codes.shortened(right)
        good = []
        for line, row in given:
            texts = _as_list(row[name])
            for text in texts:
                code = codes[text]
                if not isinstance(code, str):
                    self._add_problem(line, name, str(code))
                elif code in whole:
                    self._add_problem(line, name, _shortened_message(code, whole[code]))
                else:
                    self._report.note_code(line, name, text, code, self._codes.warning(code))
            if all(isinstance(codes[text], str) and codes[text] not in whole for text in texts):
                found = [codes[text] for text in texts]
                row[name] = found if isinstance(row[name], list) else found[0]
                good.append((line, row))
        return good

    def _has_first_key(self, line: int, cells: dict[str, Any]) -> bool:
        key = cells[self._table.key]
        return key is None or self._is_first(line, key)

    def _is_first(self, line: int, key: Key) -> bool:
        first = self._lines.setdefault(key, line)
        if first != line:
            text = f"{key} stands in line {first} too: remove one of them"
            self._add_problem(line, self._table.key, text)
        return first == line

    def _row(self, line: int, cells: dict[str, Any], views: dict[Key, Any]) -> _Row | None:
        key: Key | None = cells[self._table.key]
        if key is None:
            key = self._matching_key(cells)
            if key is not None and not self._is_first(line, key):
                return None
        view = None if key is None else views.get(key)
        if view is None and key is not None and self._resource.is_numbered:
            word = self._resource.word
            text = f"there is no {word} {key}: leave the id empty to add a new one"
            self._add_problem(line, self._table.key, text)
            return None
        fields = self._resource.setting.model_fields.keys()
        present = {name: getattr(view, name) for name in fields} if view is not None else {}
        given = {
            name: value
            for name, value in cells.items()
            if name in fields
            and not (view is not None and self._is_unchanged(name, value, present[name]))
        }
        try:
            setting = self._resource.setting(**present | given)
        except ValidationError as fault:
            for error in fault.errors():
                self._add_problem(line, *_column_and_sentence(error))
            return None
        problems = [*self._resource.problems(view, setting)]
        for name, error in problems:
            self._add_problem(line, name, error)
        if problems:
            return None
        row = _Row(line, key, view, setting)
        return row if self._is_unique(row) else None

    def _is_unchanged(self, name: str, value: Any, present: Any) -> bool:
        """Return whether a cell equals the stored value, compared as exported."""
        if value == present:
            return True
        column = self._table.column(name)
        return column is not None and column.write(value) == column.write(present)

    def _matching_key(self, cells: dict[str, Any]) -> Key | None:
        """Match a row without a key to an existing one by its unique columns; None for a new row.

        An owner with a line comes from this file, and is not a match.
        """
        owner = self._unique_owners.get(tuple(cells.get(name) for name in self._table.unique))
        return owner.key if owner and owner.line is None else None

    def _is_unique(self, row: _Row) -> bool:
        """Record a row's unique columns; return False, and add a problem, if they are taken."""
        if not self._table.unique:
            return True
        if row.view is not None:
            self._unique_owners.pop(self._unique(row.view), None)
        own, unique = _Owner(row.key, row.line), self._unique(row.setting)
        owner = self._unique_owners.setdefault(unique, own)
        if owner != own:
            text = ", ".join(value for value in unique if value is not None)
            if owner.line is None:
                text += f" is that of the {self._resource.word} {owner.key}: change that one"
            else:
                text += f" stands in line {owner.line} too: remove one of them"
            self._add_problem(row.line, self._table.unique[0], text)
        return owner == own

    def _unique(self, source: Any) -> tuple[Any, ...]:
        return tuple(getattr(source, name) for name in self._table.unique)

    def _stored(self) -> Iterator[Any]:
        return chain.from_iterable(self._resource.pages(self._session))

    def _check_names(self, columns: list[Column], rows: list[_Row]) -> None:
        for column in columns:
            if column.names is None:
                continue
            named = [
                (row.line, name)
                for row in rows
                for name in _as_list(getattr(row.setting, column.name))
            ]
            names = {name for _, name in named}
            missing = column.names.missing(self._session, names) if names else ()
            for line, name in named:
                if name in missing:
                    text = f"there is no {column.names.noun} {name}: add it first"
                    self._add_problem(line, column.name, text)

    def _check_owners(self, rows: list[_Row]) -> None:
        """Add problems for tokens that are given to two people or belong to another person."""
        given = [(row, code) for row in rows for code in getattr(row.setting, "tokens", ())]
        if not given:
            return
        records = tokens.find_records(self._session, {code for _, code in given})
        for row, code in given:
            first = self._token_lines.setdefault(code, row.line)
            owner = records[code].person if code in records else None
            if first != row.line:
                text = f"the token {code} is in line {first} too: give it to one person only"
            elif owner not in (None, row.key):
                text = f"the token {code} is that of person {owner}: remove it there first"
            else:
                continue
            self._add_problem(row.line, "tokens", text)

    def _count_change(self, row: _Row) -> bool:
        """Count a row as added, changed or unchanged; return whether it is a change."""
        if row.view is None:
            self._report.added += 1
            return True
        if _comparable(row.setting) == _comparable(row.view, row.setting):
            self._report.left += 1
            return False
        self._report.changed += 1
        return True

    def _write(self, rows: list[_Row]) -> None:
        is_bulk = self._resource.bulk is not None
        # Without bulk functions one row at a time, so that a problem has its line.
        for batch in in_batches(rows, BATCH if is_bulk else 1):
            settings = [(row.view and row.key, row.setting) for row in batch]
            try:
                self._resource.write_many(self._session, settings)
            except (InvalidRequest, NotFound) as fault:
                where = f"in lines up to {batch[-1].line}: " if is_bulk else ""
                self._add_problem(batch[0].line, None, f"{where}{fault}")

    def _remove(self, keys: set[Key]) -> None:
        report = self._report
        if not report.rows:
            text = "the file has no rows: replacing would remove everything, which is refused"
            self._add_problem(None, None, text)
            return
        report.removed = len(keys)
        if not self._writing:
            return
        try:
            self._resource.remove_many(self._session, keys)
        except (InvalidRequest, NotFound) as fault:
            self._add_problem(None, None, f"cannot remove the rows not in the file: {fault}")


def _shortened_message(code: str, whole: str) -> str:
    return (
        f"{code} is what a spreadsheet leaves of the stored {whole}, without the zeros in front: "
        f"write {whole}, and format the column as text; for another token add {code} with "
        "`kalitka hub token add`"
    )


def _column_and_sentence(error: Any) -> tuple[str | None, str]:
    """Return the column and the sentence for a pydantic error."""
    where = error["loc"]
    text = str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]
    if error["type"] == "missing" or error.get("input") is None:
        text = "it is missing: write a value"
    return (str(where[0]) if where else None), f"{text[:1].lower()}{text[1:]}"


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _comparable(of: Any, like: Any = None) -> dict[str, Any]:
    fields = type(like or of).model_fields
    values = {name: getattr(of, name) for name in fields}
    return {
        name: frozenset(value) if isinstance(value, list) else value
        for name, value in values.items()
    }
