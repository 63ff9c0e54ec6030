"""People, the groups that they are in, and the tokens that they have.

What a person may do is granted to groups; see `grants`. Who is in no group has what their tokens
were given by hand. Whoever is removed takes their tokens along. Sessions that change something
come from `changes.changing`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from pydantic import Field
from sqlalchemy import delete, exists, insert, select, update
from sqlalchemy.orm import Session

from . import audit, compile
from .changes import change_of, stamp_of
from .faults import NotFound, Refused
from .models import Grant, Person, PersonGroup, PersonGroupMember, Token
from .tokens import key_of, remove_token
from .written_texts import GroupName, Name, Note, Written

PEOPLE, GROUPS, TOKENS = "people", "person-groups", "tokens"  # kinds, in the audit
_BATCH = 500  # tokens in memory at a time


class PersonSetting(Written):
    """What a person is to be. groups: names of groups of people."""

    name: Name
    note: Note | None = None
    groups: list[str] = Field(default_factory=list)


class PersonView(PersonSetting):
    """A person as others see it. tokens: their codes, in code order."""

    id: int
    tokens: list[str]


class PersonGroupSetting(Written):
    """What a group of people is to be."""

    name: GroupName
    note: Note | None = None


class Holding(NamedTuple):
    """Whose a token is: a person's id, None for nobody's. blocked: it opens nothing."""

    code: str
    person: int | None
    name: str | None = None
    blocked: bool = False


# People


def add_person(session: Session, setting: PersonSetting) -> int:
    """Add a person; return the id. Raises NotFound for a group that there is not."""
    groups = _ids_of_groups(session, setting.groups)
    person = Person(name=setting.name, note=setting.note, created=change_of(session).at)
    session.add(person)
    session.flush()
    _put_into(session, person.id, groups.values())
    audit.record(session, "add", PEOPLE, str(person.id), None, _described(setting))
    return person.id


def change_person(session: Session, person_id: int, setting: PersonSetting) -> bool:
    """Make a person exactly this; return whether that is a change. Raises NotFound."""
    person = _existing(session, person_id)
    before = _described(_views(session, [person])[0])
    groups = _ids_of_groups(session, setting.groups)
    after = _described(setting)
    if before == after:
        return False
    person.name, person.note = setting.name, setting.note
    if before["groups"] != after["groups"]:
        session.execute(delete(PersonGroupMember).where(PersonGroupMember.person_id == person_id))
        _put_into(session, person_id, groups.values())
        compile.recompute(session, _tokens_of(session, person_id))
    audit.record(session, "change", PEOPLE, str(person_id), before, after)
    return True


def remove_person(session: Session, person_id: int) -> None:
    """Remove a person and their tokens. Raises NotFound."""
    stamp_of(session)
    person = _existing(session, person_id)
    view = _views(session, [person])[0]
    for code in view.tokens:
        remove_token(session, code)
    # Also of the rows that only tell of a removal.
    session.execute(update(Token).where(Token.person_id == person_id).values(person_id=None))
    session.delete(person)
    session.flush()
    audit.record(session, "remove", PEOPLE, str(person_id), _described(view), None)


def find_person(session: Session, person_id: int) -> PersonView:
    """Return a person. Raises NotFound."""
    return _views(session, [_existing(session, person_id)])[0]


def list_people(
    session: Session,
    after: int = 0,
    limit: int = 100,
    *,
    group: str | None = None,
    name: str | None = None,
) -> list[PersonView]:
    """Return people by id, those above `after`, at most `limit`.

    group: only who is in the group of this name. name: only who is called so, or has it as a
    part, whatever the case of its letters.
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
    """Add a group of people. Raises Refused if there is one of this name."""
    stamp_of(session)
    _check_free(session, setting.name)
    session.add(PersonGroup(name=setting.name, note=setting.note))
    session.flush()
    audit.record(session, "add", GROUPS, setting.name, None, setting.model_dump())


def change_group(session: Session, name: str, setting: PersonGroupSetting) -> bool:
    """Make a group of people this; return whether that is a change. Raises NotFound, Refused."""
    stamp_of(session)
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
    """Remove a group of people, who stay. Raises NotFound, and Refused while it has grants."""
    stamp_of(session)
    group = existing_group(session, name)
    if session.scalar(select(exists().where(Grant.person_group_id == group.id))):
        raise Refused(f"the group {name} has grants: remove these first")
    before = find_group(session, name).model_dump()
    session.delete(group)
    session.flush()
    audit.record(session, "remove", GROUPS, name, before, None)


def find_group(session: Session, name: str) -> PersonGroupSetting:
    """Return a group of people. Raises NotFound."""
    group = existing_group(session, name)
    return PersonGroupSetting(name=group.name, note=group.note)


def list_groups(session: Session, after: str = "", limit: int = 100) -> list[PersonGroupSetting]:
    """Return groups of people by name, those behind `after`, at most `limit`."""
    wanted = select(PersonGroup).where(PersonGroup.name > after)
    found = session.scalars(wanted.order_by(PersonGroup.name).limit(limit))
    return [PersonGroupSetting(name=group.name, note=group.note) for group in found]


def existing_group(session: Session, name: str) -> PersonGroup:
    """Return the row of a group of people. Raises NotFound."""
    wanted = select(PersonGroup).where(PersonGroup.name == name)
    group = session.scalars(wanted).one_or_none()
    if group is None:
        raise NotFound(f"there is no group of people {name!r}: add it first")
    return group


# Whose a token is


def give_tokens(session: Session, holdings: Iterable[Holding]) -> int:
    """Say of tokens whose they are; return how many of them that changed.

    A code that nobody knew becomes a token, without rules by hand; a removed one comes back. Of
    several holdings of one code the last counts. Of any number of them a batch is in memory.
    Raises Refused and NotFound at the first that is wrong: leave the block then.
    """
    stamp_of(session)
    remaining = iter(holdings)
    changed = 0
    while batch := list(islice(remaining, _BATCH)):
        changed += _give(session, {key_of(holding.code): holding for holding in batch})
    return changed


def _give(session: Session, holdings: dict[bytes, Holding]) -> int:
    _check_people(session, {holding.person for holding in holdings.values()} - {None})
    known = {
        row.key: row
        for row in session.execute(
            select(Token.id, Token.key, Token.code, Token.person_id, Token.name)
            .add_columns(Token.blocked, Token.deleted)
            .where(Token.key.in_(holdings))
        )
    }
    before = {
        key: Holding(row.code, row.person_id, row.name, row.blocked)
        for key, row in known.items()
        if not row.deleted
    }
    changed = {key: value for key, value in holdings.items() if before.get(key) != value}
    if not changed:
        return 0
    values = {
        key: {
            "person_id": holding.person,
            "name": holding.name,
            "blocked": holding.blocked,
            "deleted": False,
        }
        for key, holding in changed.items()
    }
    old = [{"id": known[key].id} | values[key] for key in changed if key in known]
    new = [
        {"key": key, "code": changed[key].code, "changed": stamp_of(session)} | values[key]
        for key in changed
        if key not in known
    ]
    if old:
        session.execute(update(Token), old)
    if new:
        session.execute(insert(Token), new)
    compile.recompute(session, session.scalars(select(Token.id).where(Token.key.in_(changed))))
    for key, holding in changed.items():
        told = before.get(key)
        action = "change" if told else "add"
        audit.record(session, action, TOKENS, holding.code, told and _held(told), _held(holding))
    return len(changed)


def _check_people(session: Session, ids: Collection[int | None]) -> None:
    known = set(session.scalars(select(Person.id).where(Person.id.in_(ids))))
    missing = set(ids) - known
    if missing:
        raise NotFound(f"there is no person {min(missing, key=str)}: add the person first")


def _held(holding: Holding) -> dict[str, object]:
    return {"person": holding.person, "name": holding.name, "blocked": holding.blocked}


# What the above is made of


def _existing(session: Session, person_id: int) -> Person:
    person = session.get(Person, person_id)
    if person is None:
        raise NotFound(f"there is no person {person_id}: look for the number in the list")
    return person


def _views(session: Session, people: Sequence[Person]) -> list[PersonView]:
    ids = [person.id for person in people]
    groups: dict[int, list[str]] = defaultdict(list)
    tokens: dict[int, list[str]] = defaultdict(list)
    for person_id, name in session.execute(
        select(PersonGroupMember.person_id, PersonGroup.name)
        .join(PersonGroup, PersonGroup.id == PersonGroupMember.group_id)
        .where(PersonGroupMember.person_id.in_(ids))
        .order_by(PersonGroup.name)
    ):
        groups[person_id].append(name)
    for person_id, code in session.execute(
        select(Person.id, Token.code)
        .join(Token, Token.person_id == Person.id)
        .where(Person.id.in_(ids), Token.deleted.is_(False))
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


def _described(setting: PersonSetting) -> dict[str, object]:
    groups = sorted(set(setting.groups))
    return {"name": setting.name, "note": setting.note, "groups": groups}


def _ids_of_groups(session: Session, names: Collection[str]) -> dict[str, int]:
    found = session.execute(
        select(PersonGroup.name, PersonGroup.id).where(PersonGroup.name.in_(names))
    )
    ids = {row.name: row.id for row in found}
    for name in names:
        if name not in ids:
            raise NotFound(f"there is no group of people {name!r}: add it first")
    return ids


def _put_into(session: Session, person_id: int, groups: Collection[int]) -> None:
    rows = [{"group_id": group_id, "person_id": person_id} for group_id in groups]
    if rows:
        session.execute(insert(PersonGroupMember), rows)


def _tokens_of(session: Session, person_id: int) -> list[int]:
    return list(session.scalars(select(Token.id).where(Token.person_id == person_id)))


def _check_free(session: Session, name: str) -> None:
    if session.scalar(select(exists().where(PersonGroup.name == name))):
        raise Refused(f"there is a group of people {name!r} already: choose another name")
