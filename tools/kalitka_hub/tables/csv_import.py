"""Import of CSV tables: preview of the changes, report of all problems, and the import itself.

A file is read twice. The first pass runs in a snapshot, which blocks nobody: if there are problems
they are reported line by line and nothing is written; if there are no changes, the import ends
there. The second pass runs in one transaction that writes the differences: all of them, or
nothing. Writers and the first poll of a minute wait for it; 50,000 new tokens take some seconds.
Rows that are not in the file stay, unless the import replaces the table.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel import operator_models, service
from kalitka_hub.kormitel.fields import BADGES, object_key
from kalitka_hub.kormitel.operator_models import KORMITEL
from kalitka_hub.kormitel.repository import known_keys
from kalitka_hub.site import people, rule_compiler, tokens
from kalitka_hub.site.grants import ALL_READERS
from kalitka_hub.site.inputs import InputModel
from kalitka_hub.site.people import TokenAssignment
from kalitka_hub.site.readers import groups_by_label
from kalitka_hub.site.resources import RESOURCES, Key
from kalitka_hub.store.bulk import in_batches
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import Database
from kalitka_hub.tables import csv_text
from kalitka_hub.tables.csv_tables import PAGE, Column, CsvTable, table_of

PROBLEMS_MAX = 200  # problems reported for a file; further ones are only counted
Progress = Callable[[int], None]  # called with the number of rows done


class Problem(BaseModel):
    """A problem in a file.

    line: counted from 1, null for the whole file. column: null for the whole row.
    """

    line: int | None
    column: str | None
    error: str


class Report(BaseModel):
    """The result of an import or a preview: numbers of rows, and problems.

    left: unchanged rows. removed: with `replace`, rows that the file does not have. more: number
    of further problems, not listed. written: the changes were made.
    """

    rows: int = 0
    added: int = 0
    changed: int = 0
    left: int = 0
    removed: int = 0
    problems: list[Problem] = []
    more: int = 0
    written: bool = False

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
) -> Report:
    """Return the report of what `import_table` would do; write nothing.

    Raises NotFound for an unknown table.
    """
    table = table_of(name)
    with database.snapshot() as session:
        return _FileImport(session, table, replace, progress, writing=False).run(source)


def import_table(
    database: Database,
    who: str,
    name: str,
    source: BinaryIO,
    *,
    replace: bool = False,
    progress: Progress = lambda _: None,
) -> Report:
    """Import a file if it has no problems, and return the report.

    source: seekable. replace: also remove rows that the file does not have. who: see
    `changes.write_transaction`. progress: counts up to twice the rows of the file. Raises NotFound
    for an unknown table.
    """
    found = preview(database, name, source, replace=replace, progress=progress)
    if not found.is_valid:
        return found
    rows, table = found.rows, table_of(name)
    if not found.has_changes:
        # Nothing differed in the snapshot: no writer has to wait for a second pass.
        progress(2 * rows)
        found.written = True
        return found
    try:
        with write_transaction(database, who) as session:
            run = _FileImport(
                session, table, replace, lambda done: progress(rows + done), writing=True
            )
            # Checked again under the lock: another writer may have come after the snapshot.
            found = run.run(source)
            if not found.is_valid:
                raise _Rollback
    except _Rollback:
        return found
    found.written = True
    return found


class _Row(NamedTuple):
    """A row of the file.

    key, view: of the existing resource, None for a new one. setting: what the row sets. tokens: of
    a person; None if the file does not say.
    """

    line: int
    key: Key | None
    view: Any
    setting: InputModel
    tokens: list[str] | None


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
        *,
        writing: bool,
    ) -> None:
        self._session = session
        self._table = table
        self._resource = table.resource
        self._replace = replace
        self._progress = progress
        self._writing = writing
        self._report = Report()
        self._pending_problems: list[Problem] = []  # not yet in the report
        self._lines: dict[Key, int] = {}  # line of each key in the file
        self._token_lines: dict[str, int] = {}  # line of each token given to a person
        self._views_by_key: dict[Key, Any] | None = None
        self._names_by_kind: dict[str, set[str]] = {}
        self._unique_owners: dict[tuple[Any, ...], _Owner] = {}

    def run(self, source: BinaryIO) -> Report:
        """Process the file from its beginning; return the report."""
        source.seek(0)
        self._read(source)
        self._flush_problems()
        return self._report

    def _read(self, source: BinaryIO) -> None:
        report = self._report
        before = set(self._keys()) if self._replace else set()
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
                for batch in in_batches(rows, PAGE):
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
        views = self._views([cells[self._table.key] for _, cells in given])
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
        key = found[self._table.key]
        if good and key is not None:
            good = self._is_first(line, key)
        return found if good else None

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
        row = _Row(line, key, view, setting, cells.get("tokens"))
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

    def _views(self, keys: list[Any]) -> dict[Key, Any]:
        wanted = [key for key in keys if key is not None]
        if self._resource.name == people.PEOPLE:
            return {**people.find_people(self._session, wanted)}
        if self._resource.name == tokens.TOKENS:
            return {**tokens.find_records(self._session, wanted)}
        if self._resource.name in KORMITEL:
            found = operator_models.find_objects(self._session, self._resource.name, wanted)
            return {key: operator_models.view_of(known) for key, known in found.items()}
        if self._views_by_key is None:
            self._views_by_key = {getattr(view, self._table.key): view for view in self._pages()}
            if self._table.unique:
                self._unique_owners = {
                    self._unique(view): _Owner(key) for key, view in self._views_by_key.items()
                }
        return self._views_by_key

    def _pages(self, resource: Any = None) -> Iterator[Any]:
        resource = resource or self._resource
        found = resource.list(self._session, limit=PAGE)
        while found:
            yield from found
            found = resource.list(self._session, getattr(found[-1], resource.key), PAGE)

    def _keys(self) -> Iterator[Key]:
        return (getattr(view, self._table.key) for view in self._pages())

    def _check_names(self, columns: list[Column], rows: list[_Row]) -> None:
        for column in columns:
            if column.refers_to is None:
                continue
            named = [
                (row.line, name)
                for row in rows
                for name in _as_list(getattr(row.setting, column.name))
            ]
            unknown = self._unknown_names(column.refers_to, {name for _, name in named})
            for line, name in named:
                if name in unknown:
                    text = f"there is no {column.refers_to} {name}: add it first"
                    self._add_problem(line, column.name, text)

    def _unknown_names(self, kind: str, names: set[Any]) -> set[Any]:
        if kind == "person":
            return tokens.missing_people(self._session, names) if names else set()
        if kind == "badge":
            keys = {name: object_key(name) for name in names}
            known = known_keys(self._session, BADGES, keys.values())
            return {name for name, key in keys.items() if key not in known}
        if kind not in self._names_by_kind:
            self._names_by_kind[kind] = self._known_names(kind)
        return names - self._names_by_kind[kind]

    def _known_names(self, kind: str) -> set[str]:
        if kind == "reader or group of readers":
            return set(groups_by_label(self._session))
        if kind == "reader, group of readers or *":
            return {*groups_by_label(self._session), ALL_READERS}
        resource = RESOURCES[
            {
                "group of people": "person-groups",
                "group of readers": "reader-groups",
                "reader": "readers",
                "schedule": "schedules",
            }[kind]
        ]
        return {getattr(view, resource.key) for view in self._pages(resource)}

    def _check_owners(self, rows: list[_Row]) -> None:
        """Add problems for tokens that are given to two people or belong to another person."""
        given = [(row, code) for row in rows for code in row.tokens or ()]
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
        tokens_differ = row.tokens is not None and set(row.tokens) != set(row.view.tokens)
        if _comparable(row.setting) == _comparable(row.view, row.setting) and not tokens_differ:
            self._report.left += 1
            return False
        self._report.changed += 1
        return True

    def _write(self, rows: list[_Row]) -> None:
        if not rows:
            return
        try:
            if self._resource.name == tokens.TOKENS:
                changes = (tokens.change_from_record(row.setting) for row in rows)  # type: ignore[arg-type]
                tokens.write_tokens(self._session, changes)
            elif self._resource.name == people.PEOPLE:
                self._write_people(rows)
            elif self._resource.name in KORMITEL:
                settings = (row.setting for row in rows)
                operator_models.write_objects(self._session, self._resource.name, settings)  # type: ignore[arg-type]
            else:
                for row in rows:
                    self._write_one(row)
        except (InvalidRequest, NotFound) as fault:
            self._add_problem(rows[0].line, None, f"in lines up to {rows[-1].line}: {fault}")

    def _write_one(self, row: _Row) -> None:
        try:
            if row.view is None:
                self._resource.add(self._session, row.setting)
            else:
                self._resource.change(self._session, row.key, row.setting)
        except (InvalidRequest, NotFound) as fault:
            self._add_problem(row.line, None, str(fault))

    def _write_people(self, rows: list[_Row]) -> None:
        session = self._session
        new = [row for row in rows if row.view is None]
        ids = people.add_people(session, (row.setting for row in new))  # type: ignore[misc]
        known = {row.view.id: row for row in rows if row.view is not None}
        settings = {key: row.setting for key, row in known.items()}
        people.change_people(session, settings)  # type: ignore[arg-type]
        owners = {code: None for row in known.values() for code in _removed_tokens(row)}
        for person_id, row in [*zip(ids, new, strict=True), *known.items()]:
            owners |= dict.fromkeys(row.tokens or (), person_id)
        records = tokens.find_records(session, owners.keys())
        people.assign_tokens(
            session, (_token_assignment(*owned, records) for owned in owners.items())
        )

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
            if self._resource.name == tokens.TOKENS:
                tokens.remove_tokens(self._session, keys)  # type: ignore[arg-type]
            elif self._resource.name == people.PEOPLE:
                people.remove_people(self._session, keys)  # type: ignore[arg-type]
            elif self._resource.name in KORMITEL:
                service.remove_objects(self._session, self._resource.name, keys)  # type: ignore[arg-type]
            else:
                for key in keys:
                    self._resource.remove(self._session, key)
        except (InvalidRequest, NotFound) as fault:
            self._add_problem(None, None, f"cannot remove the rows not in the file: {fault}")


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


def _removed_tokens(row: _Row) -> set[str]:
    return set() if row.tokens is None else set(row.view.tokens) - set(row.tokens)


def _token_assignment(code: str, person: int | None, records: Any) -> TokenAssignment:
    record = records.get(code)
    return TokenAssignment(code, person, record and record.name, bool(record and record.blocked))
