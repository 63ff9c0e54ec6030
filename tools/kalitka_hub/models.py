"""The tables of the hub's database, as typed SQLAlchemy models.

Minutes are whole minutes since 1970 UTC. Nothing here is written to except inside
`changes.changing`, which hands out the minute that a change is stamped with; only the access
log, which changes no rules, is `access_log`'s own.
"""

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    and_,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

READER_CODE_MAX = 64
NAME_MAX = 200


class Base(DeclarativeBase):
    """The metadata of every table below."""


class Site(Base):
    """The one row (id 1) that every writer locks first."""

    __tablename__ = "site"

    id: Mapped[int] = mapped_column(primary_key=True)
    # The highest minute ever answered to a reader; see `changes`.
    acknowledged: Mapped[int] = mapped_column(BigInteger)
    # SHA-256 of the site's secret in hex; None while there is none.
    secret_sha256: Mapped[str | None] = mapped_column(String(64))


class Silence(Base):
    """Minutes strictly between `after` and `until`: none of them was ever answered."""

    __tablename__ = "silences"

    after: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    until: Mapped[int] = mapped_column(BigInteger, index=True)


class Reader(Base):
    """A token reader that may ask."""

    __tablename__ = "readers"

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(READER_CODE_MAX), unique=True)
    name: Mapped[str | None] = mapped_column(String(NAME_MAX))
    # Minute of its last authenticated request, up to a minute late; None before the first.
    last_seen: Mapped[int | None] = mapped_column(BigInteger)


class Token(Base):
    """A token code. Its row outlives its removal, so that the deletion can be told."""

    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    # The packed code: sorting by it gives the order of the reader's own table.
    key: Mapped[bytes] = mapped_column(LargeBinary(257), unique=True)
    code: Mapped[str] = mapped_column(String(255))
    changed: Mapped[int] = mapped_column(BigInteger, index=True)
    deleted: Mapped[bool]
    # A flag of its own: when the last reader that it is for goes, a token must not become
    # one for all readers.
    restricted: Mapped[bool]


class TokenRule(Base):
    """A rule text of a token, such as `3_480_1200_1111100`; several are alternatives."""

    __tablename__ = "token_rules"
    __table_args__ = ({"sqlite_with_rowid": False},)

    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id"), primary_key=True)
    text: Mapped[str] = mapped_column(String(64), primary_key=True)


class TokenReader(Base):
    """A reader that a restricted token is for."""

    __tablename__ = "token_readers"
    __table_args__ = ({"sqlite_with_rowid": False},)

    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id"), primary_key=True)
    reader_id: Mapped[int] = mapped_column(ForeignKey("readers.id"), primary_key=True, index=True)


class AccessEntry(Base):
    """An entry of the access log, at a reader that may have been removed since."""

    __tablename__ = "access_entries"
    __table_args__ = ({"sqlite_autoincrement": True},)

    # In order of arrival; a number is never given again, so also SQLite has to count.
    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    reader: Mapped[str] = mapped_column(String(READER_CODE_MAX))
    # Seconds since 1970 UTC; not timed: the reader's clock was not set, it is `received`.
    at: Mapped[int] = mapped_column(BigInteger)
    timed: Mapped[bool]
    # Of a code that is not UTF-8 a byte becomes up to four characters, `\xff`.
    code: Mapped[str] = mapped_column(String(4 * 255))
    # 1 allowed or on, 0 denied or off.
    state: Mapped[int] = mapped_column(SmallInteger)
    # Numbers of `kalitka.journal.entries`; None if the reader did not say.
    source: Mapped[int | None] = mapped_column(SmallInteger)
    reason: Mapped[int | None] = mapped_column(SmallInteger)
    # The reader's log in hex, and the entry's number in it; None of another firmware.
    log: Mapped[str | None] = mapped_column(String(8))
    number: Mapped[int | None]
    received: Mapped[int] = mapped_column(BigInteger)


# What an entry is known by when it comes again.
_NUMBERED = AccessEntry.log.is_not(None)
_KNOWN_BY_TIME = and_(AccessEntry.log.is_(None), AccessEntry.timed)
Index(
    "access_entries_numbered",
    AccessEntry.reader,
    AccessEntry.log,
    AccessEntry.number,
    unique=True,
    sqlite_where=_NUMBERED,
    postgresql_where=_NUMBERED,
)
Index(
    "access_entries_known_by_time",
    AccessEntry.reader,
    AccessEntry.at,
    AccessEntry.code,
    AccessEntry.state,
    unique=True,
    sqlite_where=_KNOWN_BY_TIME,
    postgresql_where=_KNOWN_BY_TIME,
)
Index("access_entries_by_time", AccessEntry.at)
Index("access_entries_by_code", AccessEntry.code, AccessEntry.at)


class AccessBatch(Base):
    """The last body of access log entries in the plain form that a reader sent."""

    __tablename__ = "access_batches"

    reader: Mapped[str] = mapped_column(String(READER_CODE_MAX), primary_key=True)
    # Of the body, in hex.
    sha256: Mapped[str] = mapped_column(String(64))
    # When its entries were stored: seconds since 1970 UTC.
    at: Mapped[int] = mapped_column(BigInteger)
