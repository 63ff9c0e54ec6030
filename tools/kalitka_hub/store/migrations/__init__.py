"""Migrations of the hub's database from older schemas to the current one.

Each migration is a file in `versions`, numbered one above the previous; the database holds the
number of its schema. All missing migrations run in one transaction, on SQLite too: a power cut
leaves the database as it was. If several processes open a database at once, one migrates and the
others wait. Alembic does the work and is imported only when there is any.
"""

import logging
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

_FOLDER = Path(__file__).parent
NEWEST = max(path.name[:4] for path in _FOLDER.glob("versions/[0-9]*.py"))

_LOG = logging.getLogger(__name__)
NUMBER_TABLE = "alembic_version"
# Any number will do, as long as every version of the hub locks the same: do not change it.
_POSTGRESQL_LOCK = 0x4B414C49
_LOCK_SECONDS = 600  # to wait while another process migrates


class SchemaMismatch(Exception):
    """The database cannot be migrated to this schema. The message continues after its name."""


def is_current(engine: Engine) -> bool:
    """Return whether the database has this hub's schema. Creates a missing SQLite file."""
    with engine.connect() as connection:
        return _number_of(connection) == NEWEST


def migrate(engine: Engine, name: str) -> None:
    """Migrate a database, new or old, to this hub's schema. Raises SchemaMismatch.

    Requires an engine whose transactions hold the write lock (SQLite) from their start. name: the
    database's name in the log.
    """
    # Imported here: Alembic takes half a second.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    # The configuration would read a percent sign in the path as a variable.
    folder = str(_FOLDER).replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "newline")
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_POSTGRESQL_LOCK})"))
        # Read again under the lock: another process may have migrated meanwhile.
        number = _number_of(connection)
        if number == NEWEST:
            return
        if number is None:
            _check_empty(connection)
        elif number not in {
            step.revision for step in ScriptDirectory.from_config(config).walk_revisions()
        }:
            raise SchemaMismatch(
                f"was made by a newer hub (schema {number}; this one knows up to {NEWEST}): "
                "update this hub, or restore a backup that this hub made"
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
