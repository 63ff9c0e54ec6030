"""Named groups of readers: gates with the same access.

The group of all readers and the groups of single readers belong to `readers`. Functions that write
require a session from `changes.write_transaction`.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Annotated

from pydantic import Field
from sqlalchemy import delete, exists, insert, select
from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site.inputs import GroupName, InputModel, Names, Note
from kalitka_hub.site.readers import (
    NAMED,
    existing_group,
    find_group,
    find_kitchen_of,
    find_reader,
    force_full_sync,
    ids_of_readers,
)
from kalitka_hub.store import audit
from kalitka_hub.store.changes import change_stamp
from kalitka_hub.store.models import DirectRule, Grant, Reader, ReaderGroup, ReaderGroupMember

GROUPS = "reader-groups"  # the resource's name, also its kind in the audit


class ReaderGroupSetting(InputModel):
    """A group of readers, as written and read. readers: the codes of its members."""

    name: GroupName
    note: Note | None = None
    readers: Annotated[Names, Field(default_factory=list)]


def add_reader_group(session: Session, setting: ReaderGroupSetting) -> None:
    """Add a group. Its readers do a full sync.

    Raises InvalidRequest if the name is taken, NotFound for an unknown reader.
    """
    change_stamp(session)
    _check_free(session, setting.name)
    readers = ids_of_readers(session, setting.readers)
    group = ReaderGroup(name=setting.name, kind=NAMED, note=setting.note)
    session.add(group)
    session.flush()
    _add_members(session, group.id, readers)
    audit.record(session, "add", GROUPS, setting.name, None, _audit_fields(setting))


def change_reader_group(session: Session, name: str, setting: ReaderGroupSetting) -> bool:
    """Replace a group's data; return whether anything changed. Raises NotFound, InvalidRequest.

    Readers that join or leave the group do a full sync.
    """
    change_stamp(session)
    group = existing_group(session, name)
    before, after = _audit_fields(_views(session, [group])[0]), _audit_fields(setting)
    wanted = ids_of_readers(session, setting.readers)
    if before == after:
        return False
    if setting.name != name:
        _check_free(session, setting.name)
    group.name, group.note = setting.name, setting.note
    of_it = ReaderGroupMember.group_id == group.id
    present = set(session.scalars(select(ReaderGroupMember.reader_id).where(of_it)))
    leaving = ReaderGroupMember.reader_id.in_(present - wanted)
    session.execute(delete(ReaderGroupMember).where(of_it, leaving))
    _add_members(session, group.id, wanted - present)
    force_full_sync(session, present - wanted)
    audit.record(session, "change", GROUPS, name, before, after)
    return True


def remove_reader_group(session: Session, name: str) -> None:
    """Remove a group; its readers stay.

    Raises NotFound, and InvalidRequest while grants, manual rules or a kitchen use the group.
    """
    change_stamp(session)
    group = existing_group(session, name)
    if session.scalar(select(exists().where(Grant.reader_group_id == group.id))):
        raise InvalidRequest(f"the group {name} has grants: remove these first")
    if session.scalar(select(exists().where(DirectRule.group_id == group.id))):
        raise InvalidRequest(f"tokens have manual rules for the group {name}: change these first")
    kitchen = find_kitchen_of(session, group.id)
    if kitchen is not None:
        raise InvalidRequest(
            f"the kitchen {kitchen} has the group {name}: give it other readers first"
        )
    before = _audit_fields(_views(session, [group])[0])
    session.delete(group)
    session.flush()
    audit.record(session, "remove", GROUPS, name, before, None)


def find_reader_group(session: Session, name: str) -> ReaderGroupSetting:
    """Return a group. Raises NotFound."""
    return _views(session, [existing_group(session, name)])[0]


def list_reader_groups(
    session: Session, after: str = "", limit: int = 100
) -> list[ReaderGroupSetting]:
    """Return groups in name order: names after `after`, at most `limit`."""
    wanted = select(ReaderGroup).where(ReaderGroup.kind == NAMED, ReaderGroup.name > after)
    return _views(session, session.scalars(wanted.order_by(ReaderGroup.name).limit(limit)).all())


def _add_members(session: Session, group_id: int, readers: Collection[int]) -> None:
    if not readers:
        return
    rows = [{"group_id": group_id, "reader_id": reader_id} for reader_id in readers]
    session.execute(insert(ReaderGroupMember), rows)
    force_full_sync(session, readers)


def _views(session: Session, groups: Sequence[ReaderGroup]) -> list[ReaderGroupSetting]:
    readers: dict[int, list[str]] = defaultdict(list)
    for group_id, code in session.execute(
        select(ReaderGroupMember.group_id, Reader.code)
        .join(Reader, Reader.id == ReaderGroupMember.reader_id)
        .where(ReaderGroupMember.group_id.in_([group.id for group in groups]))
        .order_by(Reader.code)
    ):
        readers[group_id].append(code)
    return [
        ReaderGroupSetting.model_construct(
            name=group.name, note=group.note, readers=readers[group.id]
        )
        for group in groups
    ]


def _audit_fields(setting: ReaderGroupSetting) -> dict[str, object]:
    readers = sorted(set(setting.readers))
    return {"name": setting.name, "note": setting.note, "readers": readers}


def _check_free(session: Session, name: str) -> None:
    if find_group(session, name) is not None:
        raise InvalidRequest(f"there is a group of readers {name!r} already: choose another name")
    if find_reader(session, name) is not None:
        raise InvalidRequest(f"{name} is the code of a reader: choose another name for the group")
