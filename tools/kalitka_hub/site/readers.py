"""The site's readers: their codes, and the groups that each is in.

Every reader is in the group of all readers (`EVERY_READER`) and in a group of its own, `=CODE`,
which is added and removed with it. Named groups are made by people. A reader that is added or
whose groups change gets a new `configured_minute` and so does a full sync: incremental answers
carry only changes of tokens, not those of the reader's groups.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from sqlalchemy import delete, exists, func, insert, select, update
from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.site.inputs import Filters, InputModel, Name, NameFilter, Names, Note, parse_input
from kalitka_hub.site.site_secret import check_secret, sha256_of
from kalitka_hub.store import audit
from kalitka_hub.store.bulk import in_values
from kalitka_hub.store.changes import change_context, change_stamp
from kalitka_hub.store.kormitel_models import KormitelKitchen
from kalitka_hub.store.models import (
    EVERY_READER,
    READER_CODE_MAX,
    DirectRule,
    Grant,
    Reader,
    ReaderGroup,
    ReaderGroupMember,
    UnknownReader,
)

READERS = "readers"  # the resource's name, also its kind in the audit
ALL_READERS = "*"  # the label of the group of all readers
ALL, OWN, NAMED = "all", "own", "named"  # kinds of reader groups, stored in the database
_CODE = re.compile(r"[A-Za-z0-9:_-]+")
_OWN_MARK = "="
CUT = "..."  # at the end of a code that is not listed whole
_LISTED_MAX = 32  # characters; the secrets that the hub makes are longer
_LEFT = 8


def check_reader_code(code: str) -> str:
    """Return `code` if it is a valid reader code. Raises InvalidRequest."""
    if not _CODE.fullmatch(code) or len(code) > READER_CODE_MAX:
        raise InvalidRequest(
            f"{code!r} is not a valid reader code: use 1 to {READER_CODE_MAX} letters, digits, "
            "colons, underscores and dashes"
        )
    return code


def listed_code(code: str) -> str:
    """Return a code as `unknown_readers` has it: only the beginning of one as long as a secret."""
    return code if len(code) <= _LISTED_MAX else code[:_LEFT] + CUT


class ReaderSetting(InputModel):
    """A reader as written. groups: the names of its groups of readers."""

    code: Annotated[str, AfterValidator(check_reader_code)]
    name: Name | None = None
    note: Note | None = None
    groups: Annotated[Names, Field(default_factory=list)]


class ReaderView(ReaderSetting):
    """A reader as read. The values about its requests are up to a minute late; None before any.

    last_seen: the minute since 1970 UTC of its last request. asked_minute: the minute that it last
    polled with, 0 for everything. logged: when it last sent access log entries, in seconds since
    1970 UTC. lost: entries that it lost before it could send them, by its last report; None if its
    firmware does not report them. own_secret: it has a secret of its own instead of the site's.
    revoked: when it was revoked, in seconds since 1970 UTC; None if it is not.
    """

    last_seen: int | None
    asked_minute: int | None
    logged: int | None
    lost: int | None
    own_secret: bool
    revoked: int | None


class ReaderFilters(Filters):
    """The filters of `list_reader_views`."""

    group: NameFilter = Field(None, description="By the name of a group.")
    name: NameFilter = Field(None, description="By a part of the name.")


def add_or_update_reader(
    session: Session,
    code: str,
    name: str | None = None,
    note: str | None = None,
    secret: str | None = None,
) -> bool:
    """Add a reader and return True; if it exists, update the given fields and return False.

    secret: see `create_reader`; an existing reader keeps its own. Requires a session from
    `write_transaction`. Raises InvalidRequest.
    """
    change_stamp(session)
    present = find_reader(session, check_reader_code(code))
    if present is None:
        setting = parse_input(ReaderSetting, code=code, name=name, note=note)
        create_reader(session, setting, secret)
        return True
    given = {"name": name, "note": note}
    set_now = {"code": code} | _audit_fields(_views(session, [present])[0])
    set_now |= {field: text for field, text in given.items() if text is not None}
    change_reader(session, code, parse_input(ReaderSetting, **set_now))
    return False


def create_reader(session: Session, setting: ReaderSetting, secret: str | None = None) -> str:
    """Add a reader, which may poll from now on; return its code.

    secret: its own secret, of which only the hash is stored; None: it uses the site's. Requires a
    session from `write_transaction`. Raises InvalidRequest if the code is taken or the secret does
    not fit in an HTTP header, NotFound for an unknown group.
    """
    answered = change_context(session).answered
    code = setting.code
    if find_reader(session, code) is not None:
        raise InvalidRequest(
            f"there is a reader {code} already: choose another code, or change that one"
        )
    if find_group(session, code) is not None:
        raise InvalidRequest(f"{code} is the name of a group of readers: choose another code")
    named = _ids_of_groups(session, setting.groups)
    # A former reader with this code may still poll with its old minutes: they are answered with 0.
    reader = Reader(
        code=code,
        name=setting.name,
        note=setting.note,
        configured_minute=answered,
        secret_sha256=None if secret is None else sha256_of(check_secret(secret).encode()),
    )
    session.execute(delete(UnknownReader).where(UnknownReader.code == listed_code(code)))
    own = ReaderGroup(name=_OWN_MARK + code, kind=OWN)
    session.add_all([reader, own])
    session.flush()
    _add_to_groups(session, reader.id, {own.id} | named)
    after = _audit_fields(setting) | {"own_secret": secret is not None}
    audit.record(session, "add", READERS, code, None, after)
    return code


def change_reader(session: Session, code: str, setting: ReaderSetting) -> bool:
    """Replace a reader's data; return whether anything changed.

    Changing groups forces a full sync. Requires a session from `write_transaction`. Raises
    NotFound, and InvalidRequest for another code.
    """
    change_stamp(session)
    reader = existing_reader(session, code)
    if setting.code != code:
        raise InvalidRequest(f"a reader keeps its code: add {setting.code}, then remove {code}")
    before, after = _audit_fields(_views(session, [reader])[0]), _audit_fields(setting)
    wanted = _ids_of_groups(session, setting.groups)
    if before == after:
        return False
    reader.name, reader.note = setting.name, setting.note
    session.flush()
    if before["groups"] != after["groups"]:
        named = select(ReaderGroup.id).where(ReaderGroup.kind == NAMED)
        of_it = ReaderGroupMember.reader_id == reader.id
        session.execute(
            delete(ReaderGroupMember).where(of_it, ReaderGroupMember.group_id.in_(named))
        )
        _add_to_groups(session, reader.id, wanted)
        force_full_sync(session, [reader.id])
    audit.record(session, "change", READERS, code, before, after)
    return True


def remove_reader(session: Session, code: str) -> int:
    """Remove a reader, which is refused from now on; return how many tokens had rules for it.

    These are manual rules for this reader alone, which are removed with it: a token without other
    manual rules is left with none. Requires a session from `write_transaction`. Raises NotFound,
    and InvalidRequest while grants or a kitchen name the reader.
    """
    change_stamp(session)
    reader = existing_reader(session, code)
    own = _own_group(session, reader.id)
    if session.scalar(select(exists().where(Grant.reader_group_id == own))):
        raise InvalidRequest(f"grants name the reader {code}: remove these first")
    kitchen = find_kitchen_of(session, own)
    if kitchen is not None:
        raise InvalidRequest(
            f"the kitchen {kitchen} has the reader {code}: give it other readers first"
        )
    named = select(func.count(DirectRule.token_id.distinct())).where(DirectRule.group_id == own)
    count = session.execute(named).scalar_one()
    before = _audit_fields(_views(session, [reader])[0])
    audit.record(session, "remove", READERS, code, before, None)
    # The rules of this reader alone go with its group, by cascade. No other reader had them, so no
    # token is stamped.
    session.execute(delete(ReaderGroup).where(ReaderGroup.id == own))
    session.delete(reader)
    session.flush()
    return count


def set_groups(session: Session, code: str, names: Collection[str]) -> bool:
    """Set the named groups of a reader; return whether anything changed.

    Requires a session from `write_transaction`. Raises NotFound.
    """
    setting = show_reader(session, code).model_dump(include={"code", "name", "note"})
    return change_reader(session, code, ReaderSetting.model_construct(**setting, groups=[*names]))


def force_full_sync(session: Session, reader_ids: Collection[int]) -> None:
    """Force a full sync of these readers, whose groups have changed.

    Stamps them with the highest minute answered so far; see the proof in `store.changes`. A reader
    that never held a minute may hold rules of groups that it left by then. Requires a session from
    `write_transaction`.
    """
    answered = change_context(session).answered
    session.execute(
        update(Reader)
        .where(Reader.id.in_(reader_ids))
        .values(configured_minute=answered, held_minute=func.coalesce(Reader.held_minute, 0))
    )


def find_reader(session: Session, code: str) -> Reader | None:
    """Return the reader with this code, None if unknown. Any text is allowed."""
    if not _CODE.fullmatch(code):
        # The text may hold characters that a database refuses, such as NUL on PostgreSQL.
        return None
    return session.scalars(select(Reader).where(Reader.code == code)).one_or_none()


def existing_reader(session: Session, code: str) -> Reader:
    """Return a reader's row. Raises NotFound, and InvalidRequest for an invalid code."""
    reader = find_reader(session, check_reader_code(code))
    if reader is None:
        raise _no_reader(code)
    return reader


def ids_of_readers(session: Session, codes: Collection[str]) -> set[int]:
    """Return the ids of readers. Raises NotFound, and InvalidRequest for an invalid code."""
    wanted = {check_reader_code(code) for code in codes}
    found = session.execute(
        select(Reader.code, Reader.id).where(in_values(session, Reader.code, wanted))
    )
    ids = {row.code: row.id for row in found}
    for code in codes:
        if code not in ids:
            raise _no_reader(code)
    return set(ids.values())


def show_reader(session: Session, code: str) -> ReaderView:
    """Return a reader. Raises NotFound, and InvalidRequest for an invalid code."""
    return _views(session, [existing_reader(session, code)])[0]


def list_reader_views(
    session: Session,
    after: str = "",
    limit: int = 100,
    *,
    group: str | None = None,
    name: str | None = None,
) -> list[ReaderView]:
    """Return readers in code order: codes after `after`, at most `limit`.

    group: only members of the group with this name. name: only readers whose name contains this,
    ignoring case. Raises NotFound for an unknown group.
    """
    wanted = select(Reader).where(Reader.code > after).order_by(Reader.code).limit(limit)
    if group is not None:
        wanted = wanted.join(ReaderGroupMember, ReaderGroupMember.reader_id == Reader.id)
        wanted = wanted.where(ReaderGroupMember.group_id == existing_group(session, group).id)
    if name is not None:
        wanted = wanted.where(Reader.name.icontains(name, autoescape=True))
    return _views(session, session.scalars(wanted).all())


def find_group(session: Session, name: str) -> ReaderGroup | None:
    """Return the named group of readers, None if unknown."""
    wanted = select(ReaderGroup).where(ReaderGroup.name == name, ReaderGroup.kind == NAMED)
    return session.scalars(wanted).one_or_none()


def existing_group(session: Session, name: str) -> ReaderGroup:
    """Return the named group of readers. Raises NotFound."""
    group = find_group(session, name)
    if group is None:
        raise _no_group(name)
    return group


def find_kitchen_of(session: Session, group_id: int) -> str | None:
    """Return the name of a Kormitel kitchen that has this group of readers, None if none has."""
    wanted = select(KormitelKitchen.kitchen).where(KormitelKitchen.group_id == group_id)
    return session.scalars(wanted.order_by(KormitelKitchen.kitchen)).first()


def groups_of_reader(session: Session, reader_id: int) -> list[int]:
    """Return the ids of a reader's groups of every kind: the reader gets the rules of all."""
    wanted = select(ReaderGroupMember.group_id).where(ReaderGroupMember.reader_id == reader_id)
    return [EVERY_READER, *session.scalars(wanted)]


def groups_by_label(session: Session) -> dict[str, int]:
    """Return the ids of reader groups by label: a reader's code, or the name of a named group.

    The group of all readers is left out. A code takes precedence over an equal name.
    """
    known = session.execute(
        select(ReaderGroup.kind, ReaderGroup.name, ReaderGroup.id).where(ReaderGroup.kind != ALL)
    ).all()
    own = {label_of(row.kind, row.name): row.id for row in known if row.kind == OWN}
    return {row.name: row.id for row in known if row.kind == NAMED} | own


def label_of(kind: str, name: str) -> str:
    """Return the label of a reader group: the code of its reader if `own`, else its name."""
    return name.removeprefix(_OWN_MARK) if kind == OWN else name


def _no_reader(code: str) -> NotFound:
    return NotFound(f"there is no reader {code}: `kalitka hub reader list` shows them all")


def _no_group(name: str) -> NotFound:
    return NotFound(f"there is no group of readers {name!r}: add it first")


def _own_group(session: Session, reader_id: int) -> int:
    wanted = (
        select(ReaderGroup.id)
        .join(ReaderGroupMember, ReaderGroupMember.group_id == ReaderGroup.id)
        .where(ReaderGroupMember.reader_id == reader_id, ReaderGroup.kind == OWN)
    )
    return session.execute(wanted).scalar_one()


def _ids_of_groups(session: Session, names: Collection[str]) -> set[int]:
    found = session.execute(
        select(ReaderGroup.name, ReaderGroup.id).where(
            ReaderGroup.kind == NAMED, in_values(session, ReaderGroup.name, set(names))
        )
    )
    ids = {row.name: row.id for row in found}
    for name in names:
        if name not in ids:
            raise _no_group(name)
    return set(ids.values())


def _add_to_groups(session: Session, reader_id: int, groups: Collection[int]) -> None:
    rows = [{"group_id": group_id, "reader_id": reader_id} for group_id in groups]
    if rows:
        session.execute(insert(ReaderGroupMember), rows)


def _views(session: Session, readers: Sequence[Reader]) -> list[ReaderView]:
    groups: dict[int, list[str]] = defaultdict(list)
    for reader_id, name in session.execute(
        select(ReaderGroupMember.reader_id, ReaderGroup.name)
        .join(ReaderGroup, ReaderGroup.id == ReaderGroupMember.group_id)
        .where(ReaderGroupMember.reader_id.in_([reader.id for reader in readers]))
        .where(ReaderGroup.kind == NAMED)
        .order_by(ReaderGroup.name)
    ):
        groups[reader_id].append(name)
    return [
        ReaderView.model_construct(
            code=reader.code,
            name=reader.name,
            note=reader.note,
            groups=groups[reader.id],
            last_seen=reader.last_seen,
            asked_minute=reader.asked_minute,
            logged=reader.logged,
            lost=reader.lost,
            own_secret=reader.secret_sha256 is not None,
            revoked=reader.revoked,
        )
        for reader in readers
    ]


def _audit_fields(setting: ReaderSetting) -> dict[str, Any]:
    groups = sorted(set(setting.groups))
    return {"name": setting.name, "note": setting.note, "groups": groups}
