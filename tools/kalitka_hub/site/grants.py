"""Grants: a group of people may pass a group of readers at the times of a schedule.

Functions that write require a session from `changes.write_transaction`. Changes reach each reader
with its next poll.
"""

from collections.abc import Collection

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.site import people, rule_compiler, schedules
from kalitka_hub.site.inputs import Filters, InputModel, NameFilter
from kalitka_hub.site.local_time import first_minute_of, last_minute_of, local_text
from kalitka_hub.site.readers import ALL_READERS, groups_by_label, label_of
from kalitka_hub.site.site_zone import zone_of
from kalitka_hub.store import audit
from kalitka_hub.store.changes import change_stamp
from kalitka_hub.store.models import EVERY_READER, Grant, PersonGroup, ReaderGroup, Schedule

GRANTS = "grants"  # the resource's name, also its kind in the audit


class GrantSetting(InputModel):
    """A grant as written. people, schedule: names of a group of people and of a schedule.

    readers: the name of a group of readers, the code of a reader, or `*` for all readers. first,
    last: the bounds, both inclusive, as local times such as `2026-11-01T00:00`; None is without a
    bound.
    """

    people: str
    readers: str
    schedule: str
    first: str | None = None
    last: str | None = None


class GrantView(GrantSetting):
    """A grant as read."""

    id: int


class GrantFilters(Filters):
    """The filters of `list_grants`."""

    people: NameFilter = Field(None, description="By the name of the group of people.")
    readers: NameFilter = Field(
        None, description="By reader or group of readers; `*` for those at all readers."
    )
    schedule: NameFilter = Field(None, description="By the name of the schedule.")


def add_grant(session: Session, setting: GrantSetting) -> int:
    """Add a grant; return its id. Raises NotFound, InvalidRequest."""
    change_stamp(session)
    grant = Grant(**_values(session, setting))
    session.add(grant)
    session.flush()
    rule_compiler.recompute(session, _tokens_of(session, [grant.person_group_id]))
    after = find_grant(session, grant.id).model_dump(exclude={"id"})
    audit.record(session, "add", GRANTS, str(grant.id), None, after)
    return grant.id


def change_grant(session: Session, grant_id: int, setting: GrantSetting) -> bool:
    """Replace a grant; return whether anything changed. Raises NotFound, InvalidRequest."""
    change_stamp(session)
    grant = _existing(session, grant_id)
    before = find_grant(session, grant_id).model_dump(exclude={"id"})
    # Before the change, as in `remove_grant`: this may have been its old group's last grant.
    token_ids = _tokens_of(session, [grant.person_group_id])
    for field, value in _values(session, setting).items():
        setattr(grant, field, value)
    session.flush()
    after = find_grant(session, grant_id).model_dump(exclude={"id"})
    if before == after:
        return False
    rule_compiler.recompute(session, {*token_ids, *_tokens_of(session, [grant.person_group_id])})
    audit.record(session, "change", GRANTS, str(grant_id), before, after)
    return True


def remove_grant(session: Session, grant_id: int) -> None:
    """Remove a grant. Raises NotFound."""
    change_stamp(session)
    grant = _existing(session, grant_id)
    before = find_grant(session, grant_id).model_dump(exclude={"id"})
    # Before the delete: tokens are found by their groups' grants, and this may be the last one.
    token_ids = _tokens_of(session, [grant.person_group_id])
    session.delete(grant)
    session.flush()
    rule_compiler.recompute(session, token_ids)
    audit.record(session, "remove", GRANTS, str(grant_id), before, None)


def find_grant(session: Session, grant_id: int) -> GrantView:
    """Return a grant. Raises NotFound."""
    _existing(session, grant_id)
    return list_grants(session, grant_id - 1, 1)[0]


def list_grants(
    session: Session,
    after: int = 0,
    limit: int = 100,
    *,
    people: str | None = None,
    readers: str | None = None,
    schedule: str | None = None,
) -> list[GrantView]:
    """Return grants in id order: ids above `after`, at most `limit`.

    people, readers, schedule: only grants that name exactly this. Raises NotFound for unknown
    readers.
    """
    wanted = (
        select(Grant, PersonGroup.name, ReaderGroup.kind, ReaderGroup.name, Schedule.name)
        .join(PersonGroup, PersonGroup.id == Grant.person_group_id)
        .join(ReaderGroup, ReaderGroup.id == Grant.reader_group_id)
        .join(Schedule, Schedule.id == Grant.schedule_id)
        .where(Grant.id > after)
        .order_by(Grant.id)
        .limit(limit)
    )
    if people is not None:
        wanted = wanted.where(PersonGroup.name == people)
    if readers is not None:
        wanted = wanted.where(Grant.reader_group_id == _reader_group(session, readers))
    if schedule is not None:
        wanted = wanted.where(Schedule.name == schedule)
    zone = zone_of(session)
    return [
        GrantView.model_construct(
            id=grant.id,
            people=of_people,
            readers=label_of(kind, name),
            schedule=times,
            first=local_text(grant.first_minute, zone),
            last=local_text(grant.last_minute, zone),
        )
        for grant, of_people, kind, name, times in session.execute(wanted)
    ]


def _values(session: Session, setting: GrantSetting) -> dict[str, int | None]:
    zone = zone_of(session)
    first, last = first_minute_of(setting.first, zone), last_minute_of(setting.last, zone)
    if first is not None and last is not None and first > last:
        raise InvalidRequest(
            f"a grant from {setting.first} to {setting.last} never holds: swap the two times"
        )
    return {
        "person_group_id": people.existing_group(session, setting.people).id,
        "reader_group_id": _reader_group(session, setting.readers),
        "schedule_id": schedules.existing_schedule(session, setting.schedule).id,
        "first_minute": first,
        "last_minute": last,
    }


def _reader_group(session: Session, label: str) -> int:
    if label == ALL_READERS:
        return EVERY_READER
    group = groups_by_label(session).get(label)
    if group is None:
        raise NotFound(f"there is neither a reader nor a group of readers {label!r}: add it first")
    return group


def _tokens_of(session: Session, person_groups: Collection[int]) -> list[int]:
    return rule_compiler.tokens_with_grants(session, Grant.person_group_id.in_(person_groups))


def _existing(session: Session, grant_id: int) -> Grant:
    grant = session.get(Grant, grant_id)
    if grant is None:
        raise NotFound(f"there is no grant {grant_id}: look for the number in the list")
    return grant
