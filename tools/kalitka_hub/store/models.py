"""The tables of the hub's database, as typed SQLAlchemy models.

What a name ends in tells its unit: `_minute` is whole minutes since 1970 UTC; other times are
seconds since 1970 UTC; `date` is a local date of the site, ISO. What changes what readers are told
is written inside `changes.write_transaction` only, which hands out the minute that a change is
stamped with; the access log, which changes no rules, is `access_log`'s own. A new column or table
needs a migration beside it.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    and_,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

READER_CODE_MAX = 64
NAME_MAX = 200
NOTE_MAX = 2000
RULE_MAX = 64
EVERY_READER = 1  # the id of the reader group that every reader is in

Id = BigInteger().with_variant(Integer, "sqlite")
WITHOUT_ROWID = {"sqlite_with_rowid": False}
# A number is never given again, so also SQLite has to count: what names one by its number, such
# as a table of last month, must not come to mean another.
AUTOINCREMENT = {"sqlite_autoincrement": True}


class Base(DeclarativeBase):
    """The metadata of every table below."""

    # Migrations drop and alter constraints by their names: so each has one, the same everywhere.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


# The site, and what readers were told


class Site(Base):
    """The one row (id 1) that every writer locks first."""

    __tablename__ = "site"

    id: Mapped[int] = mapped_column(primary_key=True)
    # The highest minute ever answered to a reader; see `changes`.
    acknowledged: Mapped[int] = mapped_column(BigInteger)
    # SHA-256 of the site's secret in hex; None while there is none.
    secret_sha256: Mapped[str | None] = mapped_column(String(64))
    # A POSIX TZ string; None until a server was started: UTC.
    zone: Mapped[str | None] = mapped_column(String(100))
    # Up to which local date the holidays are in the readers' rules; None before the first time.
    horizon: Mapped[str | None] = mapped_column(String(10))
    # Microseconds: when Kormitel was last answered, see `kormitel.export`, and since when the
    # exchange is paused. None: never, it is not.
    kormitel_answered: Mapped[int | None] = mapped_column(BigInteger)
    kormitel_paused: Mapped[int | None] = mapped_column(BigInteger)
    # The canteen's meal hours as `badge_rules.Meal` in JSON; None: all day.
    kormitel_meals: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))


class UnansweredRange(Base):
    """Minutes strictly between `after` and `until`: none of them was ever answered."""

    __tablename__ = "silences"

    after: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    until: Mapped[int] = mapped_column(BigInteger, index=True)


# Readers


class Reader(Base):
    """A token reader that may ask."""

    __tablename__ = "readers"
    __table_args__ = (AUTOINCREMENT,)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    code: Mapped[str] = mapped_column(String(READER_CODE_MAX), unique=True)
    name: Mapped[str | None] = mapped_column(String(NAME_MAX))
    note: Mapped[str | None] = mapped_column(String(NOTE_MAX))
    # Minute of its last authenticated request, up to a minute late; None before the first.
    last_seen: Mapped[int | None] = mapped_column(BigInteger)
    # The minute that it last asked with, 0 for everything, up to a minute late.
    asked_minute: Mapped[int | None] = mapped_column(BigInteger)
    # When it last sent entries of its log: seconds.
    logged: Mapped[int | None] = mapped_column(BigInteger)
    # The highest minute answered before the groups that it is in last changed: whoever asks with
    # it, or with an older one, is answered with 0.
    configured_minute: Mapped[int] = mapped_column(BigInteger, default=0)
    # SHA-256 in hex of its own secret, which then counts instead of the site's.
    secret_sha256: Mapped[str | None] = mapped_column(String(64))
    # Entries that its log lost before it could send them, as it said then; None of a firmware
    # that does not tell.
    lost: Mapped[int | None] = mapped_column(BigInteger)


class ReaderGroup(Base):
    """Readers that are given the same. kind: `all` (one row), `own` (one a reader), `named`."""

    __tablename__ = "reader_groups"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    # `*` of all, `=CODE` of a reader's own; names that people give begin with neither.
    name: Mapped[str] = mapped_column(String(NAME_MAX), unique=True)
    kind: Mapped[str] = mapped_column(String(5))
    note: Mapped[str | None] = mapped_column(String(NOTE_MAX))


class ReaderGroupMember(Base):
    """A reader in a group. The group of all readers has no rows here."""

    __tablename__ = "reader_group_members"
    __table_args__ = (WITHOUT_ROWID,)

    group_id: Mapped[int] = mapped_column(
        ForeignKey("reader_groups.id", ondelete="CASCADE"), primary_key=True
    )
    reader_id: Mapped[int] = mapped_column(
        ForeignKey("readers.id", ondelete="CASCADE"), primary_key=True, index=True
    )


# People and tokens


class Person(Base):
    """Somebody who has tokens."""

    __tablename__ = "people"
    __table_args__ = (AUTOINCREMENT,)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_MAX), index=True)
    note: Mapped[str | None] = mapped_column(String(NOTE_MAX))
    created: Mapped[int] = mapped_column(BigInteger)


class PersonGroup(Base):
    """People who are granted the same."""

    __tablename__ = "person_groups"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_MAX), unique=True)
    note: Mapped[str | None] = mapped_column(String(NOTE_MAX))


class PersonGroupMember(Base):
    """A person in a group."""

    __tablename__ = "person_group_members"
    __table_args__ = (WITHOUT_ROWID,)

    group_id: Mapped[int] = mapped_column(
        ForeignKey("person_groups.id", ondelete="CASCADE"), primary_key=True
    )
    person_id: Mapped[int] = mapped_column(
        ForeignKey("people.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class Token(Base):
    """A token code. Its row outlives its removal, so that the deletion can be told."""

    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    # The packed code: sorting by it gives the order of the reader's own table.
    key: Mapped[bytes] = mapped_column(LargeBinary(257), unique=True)
    code: Mapped[str] = mapped_column(String(255))
    person_id: Mapped[int | None] = mapped_column(ForeignKey("people.id"), index=True)
    name: Mapped[str | None] = mapped_column(String(NAME_MAX))
    blocked: Mapped[bool] = mapped_column(default=False)
    # Minute of the last change of what readers are told of it.
    changed: Mapped[int] = mapped_column(BigInteger, index=True)
    deleted: Mapped[bool]


class DirectRule(Base):
    """A rule text that a token was given by hand, for a group of readers."""

    __tablename__ = "direct_rules"
    __table_args__ = (WITHOUT_ROWID,)

    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id"), primary_key=True)
    group_id: Mapped[int] = mapped_column(
        ForeignKey("reader_groups.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    text: Mapped[str] = mapped_column(String(RULE_MAX), primary_key=True)


class TokenRule(Base):
    """A compiled rule of a token for a group of readers. Only `rule_compiler` writes it."""

    __tablename__ = "token_rules"
    __table_args__ = (WITHOUT_ROWID,)

    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id"), primary_key=True)
    group_id: Mapped[int] = mapped_column(
        ForeignKey("reader_groups.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    text: Mapped[str] = mapped_column(String(RULE_MAX), primary_key=True)


# Schedules and grants


class Schedule(Base):
    """Times at which somebody may pass: its windows are alternatives."""

    __tablename__ = "schedules"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_MAX), unique=True)
    note: Mapped[str | None] = mapped_column(String(NOTE_MAX))


class ScheduleWindow(Base):
    """A window as a rule has it: day times with a mask, dates, both, or neither (always).

    start, end: minutes of the local day, inclusive; start above end runs over midnight. mask:
    seven digits, Monday first. first, last: minutes since 1970 UTC, inclusive.
    """

    __tablename__ = "schedule_windows"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    schedule_id: Mapped[int] = mapped_column(
        ForeignKey("schedules.id", ondelete="CASCADE"), index=True
    )
    start: Mapped[int | None]
    end: Mapped[int | None]
    mask: Mapped[str | None] = mapped_column(String(7))
    first_minute: Mapped[int | None] = mapped_column(BigInteger)
    last_minute: Mapped[int | None] = mapped_column(BigInteger)


class Holiday(Base):
    """A local date on which a schedule, or every one, has other hours, or none."""

    __tablename__ = "holidays"
    __table_args__ = (UniqueConstraint("date", "schedule_id"), AUTOINCREMENT)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    date: Mapped[str] = mapped_column(String(10), index=True)
    name: Mapped[str | None] = mapped_column(String(NAME_MAX))
    # None: every schedule.
    schedule_id: Mapped[int | None] = mapped_column(
        ForeignKey("schedules.id", ondelete="CASCADE"), index=True
    )


class HolidayWindow(Base):
    """Hours of a holiday, as of a ScheduleWindow."""

    __tablename__ = "holiday_windows"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    holiday_id: Mapped[int] = mapped_column(
        ForeignKey("holidays.id", ondelete="CASCADE"), index=True
    )
    start: Mapped[int]
    end: Mapped[int]


class Grant(Base):
    """A group of people may pass a group of readers at the times of a schedule.

    first, last: from and until when, minutes since 1970 UTC, inclusive.
    """

    __tablename__ = "grants"
    __table_args__ = (AUTOINCREMENT,)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    person_group_id: Mapped[int] = mapped_column(ForeignKey("person_groups.id"), index=True)
    reader_group_id: Mapped[int] = mapped_column(ForeignKey("reader_groups.id"), index=True)
    schedule_id: Mapped[int] = mapped_column(ForeignKey("schedules.id"), index=True)
    first_minute: Mapped[int | None] = mapped_column(BigInteger)
    last_minute: Mapped[int | None] = mapped_column(BigInteger)


# Those who run the site


class User(Base):
    """Somebody who may use the hub. role: see `users.ROLES`."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_MAX), unique=True)
    role: Mapped[str] = mapped_column(String(11))
    # None: nobody can log in by a password.
    password_hash: Mapped[str | None] = mapped_column(String(255))
    disabled: Mapped[bool] = mapped_column(default=False)
    created: Mapped[int] = mapped_column(BigInteger)


class ApiToken(Base):
    """A token with which a program speaks for a user. Only its SHA-256 is kept, in hex."""

    __tablename__ = "api_tokens"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(NAME_MAX))
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created: Mapped[int] = mapped_column(BigInteger)
    last_used: Mapped[int | None] = mapped_column(BigInteger)
    expires: Mapped[int | None] = mapped_column(BigInteger)


class LoginSession(Base):
    """A person who is logged in: SHA-256 in hex of what the browser holds."""

    __tablename__ = "login_sessions"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created: Mapped[int] = mapped_column(BigInteger)
    expires: Mapped[int] = mapped_column(BigInteger, index=True)


class LoginAttempt(Base):
    """How often a log-in failed in a row, and until when none is taken. key: whose."""

    __tablename__ = "login_attempts"

    key: Mapped[str] = mapped_column(String(NAME_MAX + 100), primary_key=True)
    failures: Mapped[int]
    until: Mapped[int] = mapped_column(BigInteger)


class Audit(Base):
    """A change that somebody made. before, after: what was so, without secrets."""

    __tablename__ = "audit"
    __table_args__ = (AUTOINCREMENT,)

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
    at: Mapped[int] = mapped_column(BigInteger, index=True)
    who: Mapped[str] = mapped_column(String(NAME_MAX))
    action: Mapped[str] = mapped_column(String(20))
    kind: Mapped[str] = mapped_column(String(40))
    object: Mapped[str] = mapped_column(Text)
    before: Mapped[dict | None] = mapped_column(JSON)
    after: Mapped[dict | None] = mapped_column(JSON)


# The access log


class AccessEntry(Base):
    """An entry of the access log, at a reader that may have been removed since."""

    __tablename__ = "access_entries"
    __table_args__ = (AUTOINCREMENT,)

    # In order of arrival.
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
    # The reader's log in hex, and the entry's number in it; None of another firmware, and where
    # another entry has that number.
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
