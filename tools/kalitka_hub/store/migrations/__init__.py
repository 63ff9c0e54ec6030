"""The schema of the hub's database, and the steps by which an older one becomes it.

Each step is a file in `versions`, whose number is one more than that of the step before; the
database holds the number that it has reached. All steps that are missing are one transaction, on
SQLite too: a power cut leaves the database as it was. Of processes that open a database at once
one does them, and the others wait. Alembic does the work and is imported only then.
"""

import logging
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

NEWEST = "0003"  # the number of the last file in `versions`

_LOG = logging.getLogger(__name__)
NUMBER_TABLE = "alembic_version"
# Any number will do, as long as all processes of the hub lock the same.
_POSTGRESQL_LOCK = 0x4B414C49
_LOCK_SECONDS = 600  # for another process to do its steps


class SchemaMismatch(Exception):
    """The database cannot be brought to this schema. The message goes on from its name."""


def is_current(engine: Engine) -> bool:
    """Tell whether the database has this hub's schema. Makes a SQLite file that is not there."""
    with engine.connect() as connection:
        return _number_of(connection) == NEWEST


def migrate(engine: Engine, name: str) -> None:
    """Bring a database, new or old, to this hub's schema. Raises SchemaMismatch.

    A transaction of the engine must have the write lock (SQLite) from its beginning. name: what
    the log calls the database.
    """
    # They take half a second to import.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    # A percent sign in a path would be taken for the beginning of a variable.
    folder = str(Path(__file__).parent).replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "newline")
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_POSTGRESQL_LOCK})"))
        number = _number_of(connection)
        if number == NEWEST:
            return
        if number is None:
            _check_empty(connection)
        elif number not in {
            step.revision for step in ScriptDirectory.from_config(config).walk_revisions()
        }:
            raise SchemaMismatch(
                f"is of a newer hub (schema {number}, this one knows up to {NEWEST}): update this "
                "hub, or restore a backup that it made"
            )
        _LOG.info("database %s: schema %s becomes %s", name, number or "none", NEWEST)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    _LOG.info("database %s: schema %s is ready", name, NEWEST)


def _number_of(connection: Connection) -> str | None:
    if not inspect(connection).has_table(NUMBER_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {NUMBER_TABLE}")).scalar_one()


def _check_empty(connection: Connection) -> None:
    if inspect(connection).get_table_names():
        raise SchemaMismatch(
            "has tables already, of another program or of a hub before its first release: name a "
            "new one with --db"
        )
