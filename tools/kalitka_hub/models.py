"""The tables of the hub's database, as typed SQLAlchemy models.

Minutes are whole minutes since 1970 UTC. Nothing here is written to except inside
`changes.changing`, which hands out the minute that a change is stamped with.
"""

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, String
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
