"""The site's readers: who may ask, under which code, and the groups that a reader is in.

Every reader is in the group of all (`EVERY_READER`) and in one of its own, `=CODE`, which comes
and goes with it. People make the named groups. A reader that was added or whose groups changed
has a new `configured_minute`, and then does a full sync, since what it is told by incremental
answers is only what changed of tokens.
"""

import re
from collections.abc import Collection, Iterator

from sqlalchemy import delete, exists, func, insert, select, update
from sqlalchemy.orm import Session

from . import audit
from .changes import stamp_of
from .faults import NotFound, Refused
from .models import (
    EVERY_READER,
    NAME_MAX,
    NOTE_MAX,
    READER_CODE_MAX,
    DirectRule,
    Grant,
    Reader,
    ReaderGroup,
    ReaderGroupMember,
)

ALL, OWN, NAMED = "all", "own", "named"  # kinds of reader groups
_CODE = re.compile(r"[A-Za-z0-9:_-]+")
_OWN_MARK = "="


def check_reader_code(code: str) -> str:
    """Return `code` if it can be a reader's code. Raises Refused."""
    if not _CODE.fullmatch(code) or len(code) > READER_CODE_MAX:
        raise Refused(
            f"{code!r} is no reader code: use 1 to {READER_CODE_MAX} letters, digits, "
            "colons, underscores and dashes"
        )
    return code


def add_reader(
    session: Session, code: str, name: str | None = None, note: str | None = None
) -> bool:
    """Let a reader ask; return False if it could already, and then only set what is given.

    The session comes from `changes.changing`. Raises Refused.
    """
    stamp = stamp_of(session)
    check_reader_code(code)
    _check_text(name, "name", NAME_MAX)
    _check_text(note, "note", NOTE_MAX)
    reader = find_reader(session, code)
    if reader is not None:
        before = _described(reader)
        reader.name = reader.name if name is None else name
        reader.note = reader.note if note is None else note
        if _described(reader) != before:
            audit.record(session, "change", "readers", code, before, _described(reader))
        return False
    if find_group(session, code) is not None:
        raise Refused(f"{code} is the name of a group of readers: choose another code")
    reader = Reader(code=code, name=name, note=note, configured_minute=stamp)
    own = ReaderGroup(name=_OWN_MARK + code, kind=OWN)
    session.add_all([reader, own])
    session.flush()
    session.add(ReaderGroupMember(group_id=own.id, reader_id=reader.id))
    session.flush()
    audit.record(session, "add", "readers", code, None, _described(reader))
    return True


def remove_reader(session: Session, code: str) -> int:
    """Refuse a reader from now on; return how many tokens had rules for it by name.

    A token that was for this reader alone is then for none. The session comes from
    `changes.changing`. Raises NotFound, and Refused while something is granted to it by name.
    """
    stamp_of(session)
    reader = existing_reader(session, code)
    own = _own_group(session, reader.id)
    if session.scalar(select(exists().where(Grant.reader_group_id == own))):
        raise Refused(f"grants name the reader {code}: remove these first")
    named = select(func.count(DirectRule.token_id.distinct())).where(DirectRule.group_id == own)
    count = session.execute(named).scalar_one()
    audit.record(session, "remove", "readers", code, _described(reader), None)
    # With them go the rules that only this reader was told: nobody else has to hear of it.
    session.execute(delete(ReaderGroup).where(ReaderGroup.id == own))
    session.delete(reader)
    session.flush()
    return count


def set_groups(session: Session, code: str, names: Collection[str]) -> bool:
    """Put a reader into exactly these named groups; return whether that is a change.

    The session comes from `changes.changing`. Raises NotFound.
    """
    stamp_of(session)
    reader = existing_reader(session, code)
    before = groups_of(session, reader.id)
    wanted = {name: existing_group(session, name).id for name in names}
    if set(before) == set(wanted):
        return False
    session.execute(
        delete(ReaderGroupMember).where(
            ReaderGroupMember.reader_id == reader.id,
            ReaderGroupMember.group_id.in_(before.values()),
        )
    )
    if wanted:
        session.execute(
            insert(ReaderGroupMember),
            [{"group_id": group_id, "reader_id": reader.id} for group_id in wanted.values()],
        )
    note_configured(session, [reader.id])
    change = {"groups": sorted(before)}, {"groups": sorted(wanted)}
    audit.record(session, "change", "readers", code, *change)
    return True


def note_configured(session: Session, reader_ids: Collection[int]) -> None:
    """Have these readers do a full sync: the groups that they are in have changed.

    The session comes from `changes.changing`.
    """
    stamp = stamp_of(session)
    session.execute(
        update(Reader).where(Reader.id.in_(reader_ids)).values(configured_minute=stamp)
    )


def find_reader(session: Session, code: str) -> Reader | None:
    """Return the reader of this code, if there is one; any text may be asked for."""
    if not _CODE.fullmatch(code):
        # It may hold what a database does not take as text.
        return None
    return session.scalars(select(Reader).where(Reader.code == code)).one_or_none()


def existing_reader(session: Session, code: str) -> Reader:
    """Return the reader of this code. Raises Refused for what is no code, NotFound."""
    reader = find_reader(session, check_reader_code(code))
    if reader is None:
        raise NotFound(f"there is no reader {code}: `kalitka hub reader list` shows them all")
    return reader


def list_readers(session: Session) -> Iterator[Reader]:
    """Yield all readers, by code."""
    yield from session.scalars(select(Reader).order_by(Reader.code))


def find_group(session: Session, name: str) -> ReaderGroup | None:
    """Return the named group of readers, if there is one."""
    wanted = select(ReaderGroup).where(ReaderGroup.name == name, ReaderGroup.kind == NAMED)
    return session.scalars(wanted).one_or_none()


def existing_group(session: Session, name: str) -> ReaderGroup:
    """Return the named group of readers. Raises NotFound."""
    group = find_group(session, name)
    if group is None:
        raise NotFound(f"there is no group of readers {name!r}: add it first")
    return group


def groups_of(session: Session, reader_id: int) -> dict[str, int]:
    """Return the ids of the named groups that a reader is in, by name."""
    wanted = (
        select(ReaderGroup.name, ReaderGroup.id)
        .join(ReaderGroupMember, ReaderGroupMember.group_id == ReaderGroup.id)
        .where(ReaderGroupMember.reader_id == reader_id, ReaderGroup.kind == NAMED)
    )
    return {row.name: row.id for row in session.execute(wanted)}


def told_groups(session: Session, reader_id: int) -> list[int]:
    """Return the ids of all groups whose rules a reader is told, of every kind."""
    wanted = select(ReaderGroupMember.group_id).where(ReaderGroupMember.reader_id == reader_id)
    return [EVERY_READER, *session.scalars(wanted)]


def groups_by_label(session: Session) -> dict[str, int]:
    """Return the ids of all groups by what people call them: readers' codes, groups' names.

    Without the group of all readers. Of the same code and name it is the reader's.
    """
    known = session.execute(
        select(ReaderGroup.kind, ReaderGroup.name, ReaderGroup.id).where(ReaderGroup.kind != ALL)
    ).all()
    own = {label_of(row.kind, row.name): row.id for row in known if row.kind == OWN}
    return {row.name: row.id for row in known if row.kind == NAMED} | own


def label_of(kind: str, name: str) -> str:
    """Return what people call a reader group of this kind and name: its reader's code, if own."""
    return name.removeprefix(_OWN_MARK) if kind == OWN else name


def _own_group(session: Session, reader_id: int) -> int:
    wanted = (
        select(ReaderGroup.id)
        .join(ReaderGroupMember, ReaderGroupMember.group_id == ReaderGroup.id)
        .where(ReaderGroupMember.reader_id == reader_id, ReaderGroup.kind == OWN)
    )
    return session.execute(wanted).scalar_one()


def _described(reader: Reader) -> dict[str, str | None]:
    return {"name": reader.name, "note": reader.note}


def _check_text(text: str | None, what: str, most: int) -> None:
    if text is None:
        return
    if len(text) > most:
        raise Refused(f"a reader's {what} has at most {most} characters: shorten it")
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise Refused(f"{text[:40]!a} is no {what} of a reader: write text, in UTF-8")
