"""The tables of the hub's database, as typed SQLAlchemy models.

Units: `_minute` is whole minutes since 1970 UTC, and so are `acknowledged`, `changed`, `last_seen`
and the bounds of UnansweredRange; other times are seconds since 1970 UTC; `date` is a local ISO
date of the site. Data that changes the readers' rules is written only inside
`changes.write_transaction`, which gives the minute to stamp a change with; the access log, which
changes no rules, is written by `access_log`. A new column or table needs a migration.
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
ZONE_MAX = 100
RULE_MAX = 64
# The id of the reader group of all readers. Do not renumber: stored in the database.
EVERY_READER = 1

Id = BigInteger().with_variant(Integer, "sqlite")
WITHOUT_ROWID = {"sqlite_with_rowid": False}
# Ids are never reused, so SQLite has to count too: a CSV file of last month, which names rows by
# their ids, must not come to mean other rows.
AUTOINCREMENT = {"sqlite_autoincrement": True}


class Base(DeclarativeBase):
    """The metadata of every table below."""

    # Migrations drop and alter constraints by name, so each has one, the same in every database.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


# The site, and the minutes answered to its readers


class Site(Base):
    """The site: the one row (id 1) that every writer locks first; see `changes`."""

    __tablename__ = "site"

    id: Mapped[int] = mapped_column(primary_key=True)
    # The highest minute ever answered to a reader; see `changes`.
    acknowledged: Mapped[int] = mapped_column(BigInteger)
    # SHA-256 in hex of the site's secret; None until one is set.
    secret_sha256: Mapped[str | None] = mapped_column(String(64))
    # A POSIX TZ string; None until somebody sets it.
    zone: Mapped[str | None] = mapped_column(String(ZONE_MAX))
    # The local date up to which holidays are in the readers' rules; None before the first run.
    horizon: Mapped[str | None] = mapped_column(String(10))
    # Microseconds: when Kormitel was last answered (see `kormitel.export`; None: never), and
    # since when the exchange has been paused (None: it is not).
    kormitel_answered: Mapped[int | None] = mapped_column(BigInteger)
    kormitel_paused: Mapped[int | None] = mapped_column(BigInteger)
    # The canteen's meal hours as `badge_rules.Meal` in JSON; None: all day.
    kormitel_meals: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    # The IANA name that the zone was given by; None if it was given as a POSIX TZ string.
    zone_name: Mapped[str | None] = mapped_column(String(ZONE_MAX))
    # The highest ids of Audit and AccessEntry when somebody last confirmed the computer's clock,
    # which is not measured by them any more; see `clock_check`. None: never.
    confirmed_audit: Mapped[int | None] = mapped_column(BigInteger)
    confirmed_entry: Mapped[int | None] = mapped_column(BigInteger)
    # What the site's scanners send: names of `token_codes.PRESETS`, separated by commas; None: not
    # declared.
    scanners: Mapped[str | None] = mapped_column(String(100))
    # Set by a migration that changes what is withheld from Kormitel: every object is rechecked.
    kormitel_recheck: Mapped[bool | None]


class UnansweredRange(Base):
    """A range of minutes, `after` and `until` both exclusive, that no reader was answered with."""

    __tablename__ = "silences"

    after: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    until: Mapped[int] = mapped_column(BigInteger, index=True)


# Readers


class Reader(Base):
    """A token reader that may poll."""

    __tablename__ = "readers"
    __table_args__ = (AUTOINCREMENT,)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    code: Mapped[str] = mapped_column(String(READER_CODE_MAX), unique=True)
    name: Mapped[str | None] = mapped_column(String(NAME_MAX))
    note: Mapped[str | None] = mapped_column(String(NOTE_MAX))
    # Minute of the last authenticated request, written up to a minute late; None before the first.
    last_seen: Mapped[int | None] = mapped_column(BigInteger)
    # The minute that the reader last polled with, 0 for everything; written up to a minute late.
    asked_minute: Mapped[int | None] = mapped_column(BigInteger)
    # When the reader last sent access log entries, in seconds.
    logged: Mapped[int | None] = mapped_column(BigInteger)
    # The highest minute answered before the reader's groups last changed: a poll with this minute
    # or an older one is answered with 0, which makes the reader do a full sync.
    configured_minute: Mapped[int] = mapped_column(BigInteger, default=0)
    # SHA-256 in hex of the reader's own secret, which replaces the site's; None: the site's.
    secret_sha256: Mapped[str | None] = mapped_column(String(64))
    # Access log entries lost before the reader could send them, by its last report; None if its
    # firmware does not report them.
    lost: Mapped[int | None] = mapped_column(BigInteger)
    # When the reader was revoked, in seconds: from then on it is refused with any secret. None: it
    # is not revoked.
    revoked: Mapped[int | None] = mapped_column(BigInteger)
    # What this reader's scanner sends, as `Site.scanners`; None: what the site's send.
    scanners: Mapped[str | None] = mapped_column(String(100))
    # The last minute other than 0 with which the reader polled for all codes: it has every change
    # before that. None: it never has; 0: it may hold rules of any token. See `sync_answer`.
    held_minute: Mapped[int | None] = mapped_column(BigInteger)


class UnknownReader(Base):
    """A reader that asked without being one of the site's; see `unknown_readers`."""

    __tablename__ = "unknown_readers"

    code: Mapped[str] = mapped_column(String(READER_CODE_MAX), primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    # When it last asked, in seconds.
    last: Mapped[int] = mapped_column(BigInteger)


class ReaderGroup(Base):
    """Readers with the same access. kind: `all` (one row), `own` (one per reader) or `named`."""

    __tablename__ = "reader_groups"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    # `*` for `all`, `=CODE` for `own`; names chosen by people begin with neither * nor =.
    name: Mapped[str] = mapped_column(String(NAME_MAX), unique=True)
    kind: Mapped[str] = mapped_column(String(5))
    note: Mapped[str | None] = mapped_column(String(NOTE_MAX))


class ReaderGroupMember(Base):
    """A reader's membership in a group. The group of all readers has no rows here."""

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
    """A person, who may have tokens."""

    __tablename__ = "people"
    __table_args__ = (AUTOINCREMENT,)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_MAX), index=True)
    note: Mapped[str | None] = mapped_column(String(NOTE_MAX))
    created: Mapped[int] = mapped_column(BigInteger)


class PersonGroup(Base):
    """A group of people with the same grants."""

    __tablename__ = "person_groups"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_MAX), unique=True)
    note: Mapped[str | None] = mapped_column(String(NOTE_MAX))


class PersonGroupMember(Base):
    """A person's membership in a group."""

    __tablename__ = "person_group_members"
    __table_args__ = (WITHOUT_ROWID,)

    group_id: Mapped[int] = mapped_column(
        ForeignKey("person_groups.id", ondelete="CASCADE"), primary_key=True
    )
    person_id: Mapped[int] = mapped_column(
        ForeignKey("people.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class Token(Base):
    """A token. Its row outlives its removal, so that readers can be told of the deletion."""

    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    # The packed code: its order is the order of the reader's own table, which answers rely on.
    key: Mapped[bytes] = mapped_column(LargeBinary(257), unique=True)
    code: Mapped[str] = mapped_column(String(255))
    person_id: Mapped[int | None] = mapped_column(ForeignKey("people.id"), index=True)
    name: Mapped[str | None] = mapped_column(String(NAME_MAX))
    blocked: Mapped[bool] = mapped_column(default=False)
    # The minute since 1970 UTC in which the token's rules at readers last changed.
    changed: Mapped[int] = mapped_column(BigInteger, index=True)
    deleted: Mapped[bool]


class DirectRule(Base):
    """A manual rule: a rule text set on a token by hand, for a group of readers."""

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
    """A schedule: when people may pass. Its windows are alternatives."""

    __tablename__ = "schedules"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_MAX), unique=True)
    note: Mapped[str | None] = mapped_column(String(NOTE_MAX))


class ScheduleWindow(Base):
    """A time window as in a rule: hours with a mask, dates, both, or neither (always).

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
    """A local date on which one schedule, or every schedule, is closed or has other hours."""

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
    """Hours of a holiday, in minutes of the local day as in ScheduleWindow."""

    __tablename__ = "holiday_windows"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    holiday_id: Mapped[int] = mapped_column(
        ForeignKey("holidays.id", ondelete="CASCADE"), index=True
    )
    start: Mapped[int]
    end: Mapped[int]


class Grant(Base):
    """A group of people may pass a group of readers at the times of a schedule.

    first, last: minutes since 1970 UTC, inclusive; None is without a bound.
    """

    __tablename__ = "grants"
    __table_args__ = (AUTOINCREMENT,)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    person_group_id: Mapped[int] = mapped_column(ForeignKey("person_groups.id"), index=True)
    reader_group_id: Mapped[int] = mapped_column(ForeignKey("reader_groups.id"), index=True)
    schedule_id: Mapped[int] = mapped_column(ForeignKey("schedules.id"), index=True)
    first_minute: Mapped[int | None] = mapped_column(BigInteger)
    last_minute: Mapped[int | None] = mapped_column(BigInteger)


# Users of the hub


class User(Base):
    """A user of the hub. role: see `users.ROLES`."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_MAX), unique=True)
    role: Mapped[str] = mapped_column(String(11))
    # None: no login by password.
    password_hash: Mapped[str | None] = mapped_column(String(255))
    disabled: Mapped[bool] = mapped_column(default=False)
    created: Mapped[int] = mapped_column(BigInteger)


class ApiToken(Base):
    """An API token, with which a program acts as a user. Only its SHA-256 is stored, in hex."""

    __tablename__ = "api_tokens"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(NAME_MAX))
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created: Mapped[int] = mapped_column(BigInteger)
    last_used: Mapped[int | None] = mapped_column(BigInteger)
    expires: Mapped[int | None] = mapped_column(BigInteger)


class LoginSession(Base):
    """A login session. sha256: of the browser's session cookie, in hex."""

    __tablename__ = "login_sessions"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created: Mapped[int] = mapped_column(BigInteger)
    expires: Mapped[int] = mapped_column(BigInteger, index=True)


class LoginAttempt(Base):
    """Failed logins in a row of a user name or address (key), and until when it is refused."""

    __tablename__ = "login_attempts"

    key: Mapped[str] = mapped_column(String(NAME_MAX + 100), primary_key=True)
    failures: Mapped[int]
    until: Mapped[int] = mapped_column(BigInteger)


class Audit(Base):
    """A change by a user. before, after: the object's fields, without secrets."""

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
    """An access log entry. Its reader may have been removed since."""

    __tablename__ = "access_entries"
    __table_args__ = (AUTOINCREMENT,)

    # In order of arrival.
    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    reader: Mapped[str] = mapped_column(String(READER_CODE_MAX))
    # Seconds since 1970 UTC. timed is false if the reader's clock was not set: `at` is then
    # `received`.
    at: Mapped[int] = mapped_column(BigInteger)
    timed: Mapped[bool]
    # A byte that is not UTF-8 becomes four characters, `\xff`.
    code: Mapped[str] = mapped_column(String(4 * 255))
    # 1 allowed or on, 0 denied or off.
    state: Mapped[int] = mapped_column(SmallInteger)
    # Numbers of `kalitka.journal.entries`, stored as the reader sent them; None if not sent.
    source: Mapped[int | None] = mapped_column(SmallInteger)
    reason: Mapped[int | None] = mapped_column(SmallInteger)
    # The id of the reader's log in hex, and the entry's number in it; None for other firmware,
    # and where another entry has that number.
    log: Mapped[str | None] = mapped_column(String(8))
    number: Mapped[int | None]
    received: Mapped[int] = mapped_column(BigInteger)
    # Of the cards that the entry stands for, 0 for one.
    count: Mapped[int] = mapped_column(server_default="0")


# An entry's identity when a reader sends it again: these indexes keep it from being stored twice.
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
    """The last access log batch that a reader sent in the plain form."""

    __tablename__ = "access_batches"

    reader: Mapped[str] = mapped_column(String(READER_CODE_MAX), primary_key=True)
    # Of the batch's body, in hex.
    sha256: Mapped[str] = mapped_column(String(64))
    # When the entries were stored: seconds since 1970 UTC.
    at: Mapped[int] = mapped_column(BigInteger)
