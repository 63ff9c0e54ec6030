"""People, groups of people, and people's tokens.

Access is granted to groups; see `grants`. The tokens of a person without a group have only their
manual rules. Removing a person removes their tokens. Functions that write require a session from
`changes.write_transaction`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated

from pydantic import Field
from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.site import rule_compiler
from kalitka_hub.site.inputs import Filters, GroupName, InputModel, Name, NameFilter, Names, Note
from kalitka_hub.site.tokens import (
    TokenChange,
    TokenOwner,
    find_records,
    remove_tokens,
    write_tokens,
)
from kalitka_hub.store import audit
from kalitka_hub.store.bulk import in_batches, in_values, insert_rows, update_rows
from kalitka_hub.store.changes import change_context, change_stamp
from kalitka_hub.store.models import Grant, Person, PersonGroup, PersonGroupMember, Token

PEOPLE, GROUPS = "people", "person-groups"  # resource names, also kinds in the audit


class PersonSetting(InputModel):
    """A person as written. groups: names of groups of people."""

    name: Name
    note: Note | None = None
    groups: Annotated[Names, Field(default_factory=list)]


class PersonRecord(PersonSetting):
    """A person as written together with their tokens, by code."""

    tokens: Annotated[list[str], Field(default_factory=list)]


class PersonView(PersonSetting):
    """A person as read. tokens: the codes of their tokens, in code order."""

    id: int
    tokens: list[str]


class PersonFilters(Filters):
    """The filters of `list_people`."""

    group: NameFilter = Field(None, description="By the name of a group.")
    name: NameFilter = Field(None, description="By a part of the name.")


class PersonGroupSetting(InputModel):
    """A group of people, as written and read."""

    name: GroupName
    note: Note | None = None


# People


def add_person(session: Session, setting: PersonSetting) -> int:
    """Add a person; return the id. Raises NotFound for an unknown group."""
    return add_people(session, [setting])[0]


def change_person(session: Session, person_id: int, setting: PersonSetting) -> bool:
    """Replace a person's data; return whether anything changed. Raises NotFound."""
    return change_people(session, {person_id: setting}) == 1


def remove_person(session: Session, person_id: int) -> None:
    """Remove a person and their tokens. Raises NotFound."""
    remove_people(session, [person_id])


def add_people(session: Session, settings: Iterable[PersonSetting]) -> list[int]:
    """Add people; return their ids, in order. Raises NotFound for an unknown group."""
    created = change_context(session).at
    ids: list[int] = []
    for batch in in_batches(settings):
        groups = _ids_of_groups(session, {name for setting in batch for name in setting.groups})
        rows = [
            {"name": setting.name, "note": setting.note, "created": created} for setting in batch
        ]
        # The ids above `newest` are ours: this transaction holds the site's lock, so nobody else
        # adds people, and ids grow in the order of insertion.
        newest = session.scalar(select(func.max(Person.id))) or 0
        insert_rows(session, Person, rows)
        new = select(Person.id).where(Person.id > newest).order_by(Person.id)
        made = dict(zip(session.scalars(new), batch, strict=True))
        _add_members(session, made, groups)
        records = [
            audit.AuditRecord("add", str(person_id), None, _audit_fields(setting))
            for person_id, setting in made.items()
        ]
        audit.record_all(session, PEOPLE, records)
        ids += made
    return ids


def change_people(session: Session, settings: Mapping[int, PersonSetting]) -> int:
    """Replace the data of people, by id; return how many changed. Raises NotFound."""
    change_stamp(session)
    return sum(_change(session, dict(batch)) for batch in in_batches(settings.items()))


def write_people(session: Session, people: Iterable[tuple[int | None, PersonRecord]]) -> None:
    """Add people (id None) and replace people, with their tokens.

    A token keeps its name, its block and its manual rules. Raises NotFound.
    """
    given = list(people)
    new = [record for person_id, record in given if person_id is None]
    known = {person_id: record for person_id, record in given if person_id is not None}
    before = {view.id: view.tokens for view in _existing(session, known)}
    records = dict(zip(add_people(session, new), new, strict=True)) | known
    change_people(session, known)
    owners: dict[str, int | None] = {
        code: None for key in known for code in before[key] if code not in known[key].tokens
    }
    for key, record in records.items():
        owners |= {code: key for code in record.tokens if code not in before.get(key, ())}
    found = find_records(session, owners.keys())
    kept = {code: TokenOwner(None, one.name, one.blocked) for code, one in found.items()}
    changes = (
        TokenChange(code, kept.get(code, TokenOwner())._replace(person=owner))
        for code, owner in owners.items()
    )
    write_tokens(session, changes)


def remove_people(session: Session, ids: Iterable[int]) -> int:
    """Remove people and their tokens; return how many. Raises NotFound."""
    change_stamp(session)
    return sum(_remove(session, set(batch)) for batch in in_batches(ids))


def find_person(session: Session, person_id: int) -> PersonView:
    """Return a person. Raises NotFound."""
    return _existing(session, [person_id])[0]


def find_people(session: Session, ids: Collection[int]) -> dict[int, PersonView]:
    """Return the people with these ids, by id; unknown ids are left out."""
    found = session.scalars(
        select(Person).where(in_values(session, Person.id, ids)).order_by(Person.id)
    )
    return {view.id: view for view in _views(session, found.all())}


def list_people(
    session: Session,
    after: int = 0,
    limit: int = 100,
    *,
    group: str | None = None,
    name: str | None = None,
) -> list[PersonView]:
    """Return people in id order: ids above `after`, at most `limit`.

    group: only members of the group with this name. name: only people whose name contains this,
    ignoring case. Raises NotFound for an unknown group.
    """
    wanted = select(Person).where(Person.id > after).order_by(Person.id).limit(limit)
    if group is not None:
        wanted = wanted.join(PersonGroupMember, PersonGroupMember.person_id == Person.id)
        wanted = wanted.where(PersonGroupMember.group_id == existing_group(session, group).id)
    if name is not None:
        wanted = wanted.where(Person.name.icontains(name, autoescape=True))
    return _views(session, session.scalars(wanted).all())


# Groups of people


def add_group(session: Session, setting: PersonGroupSetting) -> None:
    """Add a group of people. Raises InvalidRequest if the name is taken."""
    change_stamp(session)
    _check_free(session, setting.name)
    session.add(PersonGroup(name=setting.name, note=setting.note))
    session.flush()
    audit.record(session, "add", GROUPS, setting.name, None, setting.model_dump())


def change_group(session: Session, name: str, setting: PersonGroupSetting) -> bool:
    """Replace a group's data; return whether anything changed.

    Raises NotFound, and InvalidRequest if the new name is taken.
    """
    change_stamp(session)
    group = existing_group(session, name)
    before, after = find_group(session, name).model_dump(), setting.model_dump()
    if before == after:
        return False
    if setting.name != name:
        _check_free(session, setting.name)
    group.name, group.note = setting.name, setting.note
    session.flush()
    audit.record(session, "change", GROUPS, name, before, after)
    return True


def remove_group(session: Session, name: str) -> None:
    """Remove a group of people; its members stay.

    Raises NotFound, and InvalidRequest while the group has grants.
    """
    change_stamp(session)
    group = existing_group(session, name)
    if session.scalar(select(exists().where(Grant.person_group_id == group.id))):
        raise InvalidRequest(f"the group {name} has grants: remove these first")
    before = find_group(session, name).model_dump()
    session.delete(group)
    session.flush()
    audit.record(session, "remove", GROUPS, name, before, None)


def find_group(session: Session, name: str) -> PersonGroupSetting:
    """Return a group of people. Raises NotFound."""
    group = existing_group(session, name)
    return _group_view(group)


def list_groups(session: Session, after: str = "", limit: int = 100) -> list[PersonGroupSetting]:
    """Return groups of people in name order: names after `after`, at most `limit`."""
    wanted = select(PersonGroup).where(PersonGroup.name > after)
    found = session.scalars(wanted.order_by(PersonGroup.name).limit(limit))
    return [_group_view(group) for group in found]


def existing_group(session: Session, name: str) -> PersonGroup:
    """Return the row of a group of people. Raises NotFound."""
    wanted = select(PersonGroup).where(PersonGroup.name == name)
    group = session.scalars(wanted).one_or_none()
    if group is None:
        raise NotFound(f"there is no group of people {name!r}: add it first")
    return group


# Implementation


def _change(session: Session, settings: Mapping[int, PersonSetting]) -> int:
    before = {view.id: _audit_fields(view) for view in _existing(session, settings)}
    after = {
        person_id: described
        for person_id, setting in settings.items()
        if (described := _audit_fields(setting)) != before[person_id]
    }
    groups = _ids_of_groups(session, {name for one in settings.values() for name in one.groups})
    if not after:
        return 0
    values = [
        {"id": person_id, "name": settings[person_id].name, "note": settings[person_id].note}
        for person_id in after
    ]
    update_rows(session, Person, values)
    moved = {
        person_id: settings[person_id]
        for person_id in after
        if before[person_id]["groups"] != after[person_id]["groups"]
    }
    if moved:
        session.execute(
            delete(PersonGroupMember).where(in_values(session, PersonGroupMember.person_id, moved))
        )
        _add_members(session, moved, groups)
        rule_compiler.recompute(session, _tokens_of(session, moved))
    audit.record_all(
        session,
        PEOPLE,
        [audit.AuditRecord("change", str(one), before[one], after[one]) for one in after],
    )
    return len(after)


def _remove(session: Session, ids: Collection[int]) -> int:
    views = _existing(session, ids)
    remove_tokens(session, (code for view in views for code in view.tokens))
    # Rows of removed tokens, too, may still refer to the person.
    session.execute(
        update(Token).where(in_values(session, Token.person_id, ids)).values(person_id=None)
    )
    session.execute(delete(Person).where(in_values(session, Person.id, ids)))
    records = [
        audit.AuditRecord("remove", str(view.id), _audit_fields(view), None) for view in views
    ]
    audit.record_all(session, PEOPLE, records)
    return len(views)


def _existing(session: Session, ids: Collection[int]) -> list[PersonView]:
    found = find_people(session, ids)
    missing = set(ids) - found.keys()
    if missing:
        raise NotFound(f"there is no person {min(missing)}: look for the number in the list")
    return list(found.values())


def _views(session: Session, people: Sequence[Person]) -> list[PersonView]:
    ids = [person.id for person in people]
    groups: dict[int, list[str]] = defaultdict(list)
    tokens: dict[int, list[str]] = defaultdict(list)
    for person_id, name in session.execute(
        select(PersonGroupMember.person_id, PersonGroup.name)
        .join(PersonGroup, PersonGroup.id == PersonGroupMember.group_id)
        .where(in_values(session, PersonGroupMember.person_id, ids))
        .order_by(PersonGroup.name)
    ):
        groups[person_id].append(name)
    for person_id, code in session.execute(
        select(Person.id, Token.code)
        .join(Token, Token.person_id == Person.id)
        .where(in_values(session, Person.id, ids), Token.deleted.is_(False))
        .order_by(Token.key)
    ):
        tokens[person_id].append(code)
    return [
        PersonView.model_construct(
            id=person.id,
            name=person.name,
            note=person.note,
            groups=groups[person.id],
            tokens=tokens[person.id],
        )
        for person in people
    ]


def _group_view(group: PersonGroup) -> PersonGroupSetting:
    # Not validated: a stored name is shown even if it would be refused today.
    return PersonGroupSetting.model_construct(name=group.name, note=group.note)


def _audit_fields(setting: PersonSetting) -> dict[str, object]:
    groups = sorted(set(setting.groups))
    return {"name": setting.name, "note": setting.note, "groups": groups}


def _ids_of_groups(session: Session, names: Collection[str]) -> dict[str, int]:
    found = session.execute(
        select(PersonGroup.name, PersonGroup.id).where(in_values(session, PersonGroup.name, names))
    )
    ids = {row.name: row.id for row in found}
    for name in names:
        if name not in ids:
            raise NotFound(f"there is no group of people {name!r}: add it first")
    return ids


def _add_members(
    session: Session, people: Mapping[int, PersonSetting], groups: Mapping[str, int]
) -> None:
    rows = [
        {"group_id": groups[name], "person_id": person_id}
        for person_id, setting in people.items()
        for name in set(setting.groups)
    ]
    insert_rows(session, PersonGroupMember, rows)


def _tokens_of(session: Session, ids: Collection[int]) -> list[int]:
    return list(session.scalars(select(Token.id).where(in_values(session, Token.person_id, ids))))


def _check_free(session: Session, name: str) -> None:
    if session.scalar(select(exists().where(PersonGroup.name == name))):
        raise InvalidRequest(f"there is a group of people {name!r} already: choose another name")
