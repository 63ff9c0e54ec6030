"""Backup of a site while its hub runs, and restore.

Both databases share one file format, which holds rows and not the database's own files: a site
can move from SQLite to PostgreSQL and back, a backup is no larger than its contents, and no tool
of the server's version is needed. All tables are read in one snapshot, which blocks neither
readers nor writers. Login sessions, failed login attempts and unknown readers are left out.

A restored database is older than the last answers that its readers got from it. Readers that poll
with a minute from the backup's last one up to the restore are therefore told to do a full sync;
see `changes`. The restore is one transaction: an error anywhere leaves the database as it was,
and a hub that runs on the database goes on with the restored one. A hub that serves the same
readers from another database must be stopped first: this database cannot know its later answers.
"""

import logging
from collections.abc import Callable, Iterator
from functools import cache
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    LargeBinary,
    Table,
    delete,
    func,
    insert,
    null,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session

from kalitka_hub import logs
from kalitka_hub.clock import current_minute
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.store import audit, backup_file, migrations
from kalitka_hub.store.changes import acknowledged_minute, write_transaction
from kalitka_hub.store.database import Database
from kalitka_hub.store.kormitel_models import Base  # not from `models`: with Kormitel's tables
from kalitka_hub.store.models import (
    LoginAttempt,
    LoginSession,
    Reader,
    ReaderGroup,
    Site,
    UnansweredRange,
    UnknownReader,
)

FORMAT = 1  # of the file; a hub restores this one only
_KIND = "kalitka hub backup"
_ROWS = 1000  # rows in memory at a time
_LOG = logging.getLogger(__name__)
_EXCLUDED = {table.__tablename__ for table in (LoginSession, LoginAttempt, UnknownReader)}
# In dependency order: a table comes after those that it refers to.
_TABLES = tuple(table for table in Base.metadata.sorted_tables if table.name not in _EXCLUDED)
_COLUMNS = {table.name: [column.name for column in table.columns] for table in _TABLES}
_SITE: Table = Base.metadata.tables[Site.__tablename__]

Progress = Callable[[int, int], None]  # rows done, rows in all


class BackupHeader(NamedTuple):
    """A backup's header. schema: a migration's number. made: seconds since 1970 UTC."""

    schema: str
    made: int
    rows: int


def create(
    database: Database, path: Path, progress: Progress = lambda _done, _all: None
) -> BackupHeader:
    """Write the whole database to a file, which may replace an older backup.

    Raises InvalidRequest if the file cannot be written, or exists and is not a backup.
    """
    if path.exists():
        # The path of the database itself is easily typed here: never overwrite another file.
        _read_header(path)
    with database.snapshot() as session:
        rows = sum(_count(session, table) for table in _TABLES)
        header = BackupHeader(migrations.NEWEST, int(database.clock()), rows)
        backup_file.write(path, _lines(session, header, progress))
    logs.event(_LOG, logging.INFO, "backup made", file=path, rows=rows)
    return header


def check(path: Path) -> BackupHeader:
    """Read a backup to its end. Raises InvalidRequest if this hub cannot restore it."""
    header = _read_header(path)
    for _ in backup_file.read(path):
        pass
    return header


def restore(
    database: Database,
    path: Path,
    *,
    replace: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> BackupHeader:
    """Replace the contents of the database with those of the backup.

    replace: drop the present contents. Raises InvalidRequest if the database is not empty and
    `replace` is false, and for a backup that is damaged or of another schema.
    """
    header = check(path)
    with write_transaction(database) as session:
        if session.get_bind().dialect.name == "postgresql":
            # One statement may delete years of the access log.
            session.execute(text("SET LOCAL statement_timeout = 0"))
        if not replace and not _is_empty(session):
            raise InvalidRequest(
                f"the database {database.name} holds a site already: name a new one with --db, or "
                "replace its contents with --replace"
            )
        # Read before the rows are replaced: readers may hold any minute up to this one.
        answered = max(current_minute(database.clock), acknowledged_minute(session))
        _clear(session)
        _load_rows(session, backup_file.read(path), header.rows, progress)
        _reset_sequences(session)
        _force_full_syncs(session, answered)
        made = {"made": header.made, "rows": header.rows}
        audit.record(session, "restore", "database", path.name, None, made)
    logs.event(_LOG, logging.INFO, "backup restored", file=path, **made)
    return header


def _lines(session: Session, header: BackupHeader, progress: Progress) -> Iterator[Any]:
    yield {"kind": _KIND, "format": FORMAT, **header._asdict(), "columns": _COLUMNS}
    done = 0
    for table in _TABLES:
        binary = _binary_columns(table)
        rows = session.execute(
            select(table).order_by(*table.primary_key), execution_options={"yield_per": _ROWS}
        )
        for part in rows.partitions():
            for row in part:
                values = list(row)
                for at in binary:
                    values[at] = values[at].hex()
                yield [table.name, *values]
            done += len(part)
            progress(done, header.rows)


def _read_header(path: Path) -> BackupHeader:
    first = next(backup_file.read(path), None)
    if not isinstance(first, dict) or first.get("kind") != _KIND:
        raise InvalidRequest(f"{path} is not a backup of a hub: name another file")
    version = first.get("format"), first.get("schema")
    if version != (FORMAT, migrations.NEWEST):
        raise InvalidRequest(
            f"{path} is of another version of the hub (format and schema {version[0]}, "
            f"{version[1]}; here {FORMAT}, {migrations.NEWEST}): restore it with that version, "
            "then update"
        )
    if first.get("columns") != _COLUMNS:
        raise InvalidRequest(
            f"{path} is not a backup of this hub, or was edited: take another backup"
        )
    return BackupHeader(first["schema"], first["made"], first["rows"])


def _is_empty(session: Session) -> bool:
    """Return whether the database is as good as new; a server may have run on it."""
    if session.execute(select(_SITE.c.secret_sha256)).scalar_one() is not None:
        return False
    held = {table.name: _count(session, table) for table in _TABLES if table is not _SITE}
    del held[UnansweredRange.__tablename__]
    return held.pop(ReaderGroup.__tablename__) == 1 and not any(held.values())


def _clear(session: Session) -> None:
    # This transaction holds its lock on the site's row: that row is updated, never deleted.
    for table in reversed(Base.metadata.sorted_tables):
        if table is not _SITE:
            session.execute(delete(table))


def _load_rows(session: Session, lines: Iterator[Any], rows: int, progress: Progress) -> None:
    next(lines)  # the header
    done = 0
    for name, group in groupby(lines, key=itemgetter(0)):
        table = Base.metadata.tables[name]
        while part := list(islice(group, _ROWS)):
            values = [_decode_row(table, line[1:]) for line in part]
            if table is _SITE:
                session.execute(update(_SITE).values(**values[0]))
            else:
                # As rows, not as objects: a third of the time.
                session.connection().execute(insert(table), values)
            done += len(part)
            progress(done, rows)


def _decode_row(table: Table, line: list[Any]) -> dict[str, Any]:
    for at in _binary_columns(table):
        line[at] = bytes.fromhex(line[at])
    for at in _json_columns(table):
        # SQL NULL: a plain None would be stored as JSON's null.
        line[at] = null() if line[at] is None else line[at]
    return dict(zip(_COLUMNS[table.name], line, strict=True))


@cache
def _binary_columns(table: Table) -> tuple[int, ...]:
    return tuple(i for i, c in enumerate(table.columns) if isinstance(c.type, LargeBinary))


@cache
def _json_columns(table: Table) -> tuple[int, ...]:
    return tuple(i for i, c in enumerate(table.columns) if isinstance(c.type, JSON))


def _reset_sequences(session: Session) -> None:
    # SQLite continues from the highest id by itself.
    if session.get_bind().dialect.name != "postgresql":
        return
    for table in _TABLES:
        column = table.autoincrement_column
        if column is None or table is _SITE:
            continue
        following = func.coalesce(func.max(column), 0) + 1
        sequence = func.pg_get_serial_sequence(table.name, column.name)
        session.execute(select(func.setval(sequence, following, text("false"))).select_from(table))


def _force_full_syncs(session: Session, answered: int) -> None:
    """Force a full sync of readers that hold a minute from the backup's last one to `answered`.

    The backup's own minute is included: changes later in that minute are not in the backup. From
    now on answers carry minutes above `answered`, even if the clock is behind that.
    """
    backed_up = acknowledged_minute(session)
    answered = max(answered, backed_up)
    session.add(UnansweredRange(after=backed_up - 1, until=answered + 1))
    # Without a horizon the daily recompute, too, runs again.
    session.execute(update(_SITE).values(acknowledged=answered + 1, horizon=None))
    # They may hold rules of any token: from changes that are not in the backup.
    session.execute(update(Reader).values(held_minute=0))


def _count(session: Session, table: Table) -> int:
    return session.execute(select(func.count()).select_from(table)).scalar_one()
