"""Writers that change a site at random, each in its own process, as a command would.

Some tokens have a version, the first minute of their rules, and only their own writer changes
them: so a reader's table shows which change it has seen. A writer publishes the version that it
begins to write, and the version whose commit succeeded, so a reader that polls in between must
hold exactly one of a few versions. Everything else is shared by all writers: groups, grants,
schedules, holidays, readers.

A writer killed at any moment leaves what it published in shared memory, and another goes on from
there.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from typing import Any

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from hub.fast_hub import FastClock
from hub.hub_site import TokenAssignment, assign_tokens
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.site import grants, people, reader_groups, readers, schedules
from kalitka_hub.site.tokens import TokenSetting, remove_token, set_tokens
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import Database, open_database

HANDED = 6  # of each writer's tokens with a version: those set, blocked and removed directly
GATES = [f"GATE-{number}" for number in range(1, 7)]  # from the fourth on, their groups change
STEADY = 3
SOLD = ["SOLD-1", "SOLD-2"]  # readers that are removed and added again
NOISE = [f"N{number}" for number in range(30)]  # tokens without a version
PEOPLE_GROUPS = ["Kitchen", "Guards", "Guests", "Band"]
READER_GROUPS = ["Gates", "Cellar", "Roof"]
SCHEDULES = ["Always", "Day", "Night", "Fair"]
LAST = 60_000_000  # minute; the last one of every rule with a version

Op = Callable[[Session, random.Random], object]


# Tokens with a version


def versioned(writers: int) -> list[str]:
    """Return the codes of all tokens that have a version, in the order of their places."""
    return [code for number in range(writers) for code in versioned_of(number)]


def versioned_of(writer: int) -> list[str]:
    """Return the codes of one writer: HANDED ones, one granted by a schedule, and its marker."""
    return [*(f"V{writer}-{i}" for i in range(HANDED)), f"S{writer}", f"M{writer}"]


def is_told(code: str, version: int) -> bool:
    """Return whether a reader with this version has rules: version 0 was never written."""
    return version > 0 and not (code.startswith("V") and version % 4 == 0)


def version_in(rules: Collection[str]) -> int | None:
    """Return the version of a reader's rules of a token, None without rules.

    A holiday splits the dates of a rule, and the first part has the version.
    """
    return min((int(text.split("_")[-2]) for text in rules), default=None)


@dataclass(frozen=True)
class Said:
    """The versions of each token as published by the writers, in shared memory.

    begun: the version that is being written, or was written last. written: the last version whose
    commit succeeded.
    """

    begun: Any
    written: Any

    def expected(self, place: int, code: str, before: int) -> set[int | None]:
        """Return the versions that a reader may hold now, if `before` was written at its poll."""
        versions = range(before, self.begun[place] + 1)
        return {version if is_told(code, version) else None for version in versions}


# The site at its beginning


def furnish(database: Database, writers: int) -> None:
    """Create the readers, groups and people that the writers change."""
    with write_transaction(database) as session:
        for code in (*GATES, *SOLD):
            readers.add_or_update_reader(session, code)
        for name in PEOPLE_GROUPS:
            people.add_group(session, people.PersonGroupSetting(name=name))
        for name in READER_GROUPS:
            setting = reader_groups.ReaderGroupSetting(name=name)
            reader_groups.add_reader_group(session, setting)
        for name in SCHEDULES:
            schedules.add_schedule(session, schedules.ScheduleSetting(name=name, windows=[]))
        for name in ("Ann", "Bob", "Cyd", "Dan"):
            setting = people.PersonSetting(name=name, groups=["Guards"])
            person = people.add_person(session, setting)
            assign_tokens(session, [TokenAssignment(f"P-{name}", person)])
        for number in range(writers):
            _furnish_desk(session, number)


def _furnish_desk(session: Session, number: int) -> None:
    """Create the person whose token shows the version of this writer's schedule."""
    name = _desk(number)
    people.add_group(session, people.PersonGroupSetting(name=name))
    person = people.add_person(session, people.PersonSetting(name=name, groups=[name]))
    assign_tokens(session, [TokenAssignment(f"S{number}", person)])
    schedules.add_schedule(session, schedules.ScheduleSetting(name=name, windows=[]))
    grant = grants.GrantSetting(people=name, readers=readers.ALL_READERS, schedule=name)
    grants.add_grant(session, grant)


def _desk(number: int) -> str:
    return f"desk {number}"


# A writer


def write(
    where: str, clock: FastClock, number: int, seed: int, said: Said, orders: Connection
) -> None:
    """Change things from each `True` received from `orders` to the next `False`; return at `None`.

    After each False, send a Counter of what was done, and the transactions the database gave up.
    """
    database = open_database(where, clock)
    writer = _Writer(database, number, random.Random(seed), said)
    orders.send("ready")
    while orders.recv():
        while not orders.poll():
            writer.change()
            time.sleep(writer.chance.choice((0, 0.01, 0.05, 0.1)))
        if orders.recv() is None:
            return
        orders.send((writer.done, writer.given_up))
        writer.done.clear()
        writer.given_up.clear()


class _Writer:
    def __init__(self, database: Database, number: int, chance: random.Random, said: Said) -> None:
        self.chance = chance
        self.done: Counter[str] = Counter()
        self.given_up: list[str] = []
        self._database = database
        self._number = number
        self._said = said
        self._codes = versioned_of(number)
        self._first = number * len(self._codes)  # place

    def change(self) -> None:
        """Do one transaction; the hub may refuse it, or the database give it up."""
        chance = self.chance
        codes = {self._codes[-1], *chance.sample(self._codes, chance.choice((0, 1, 2)))}
        begun = {code: self._begin(code) for code in sorted(codes)}
        names = [chance.choice(list(_OPS)) for _ in range(chance.choice((0, 0, 1, 1, 2)))]
        try:
            with write_transaction(self._database, _desk(self._number)) as session:
                for code, version in begun.items():
                    self._set_version(session, code, version)
                for name in names:
                    _OPS[name](session, chance)
                # Now and then a transaction spans one or two minutes of the fast clock.
                time.sleep(chance.choice((*[0] * 10, 0.1, 0.5)))
        except (InvalidRequest, NotFound):
            self.done["refused"] += 1
            return
        except (OperationalError, InterfaceError) as fault:
            self.given_up.append(str(fault.orig))
            return
        for code, version in begun.items():
            self._said.written[self._place(code)] = version
        self.done["transactions"] += 1
        self.done.update(names)

    def _begin(self, code: str) -> int:
        place = self._place(code)
        self._said.begun[place] += 1
        return self._said.begun[place]

    def _place(self, code: str) -> int:
        return self._first + self._codes.index(code)

    def _set_version(self, session: Session, code: str, version: int) -> None:
        if code.startswith("S"):
            window = schedules.WindowSetting(first=_text_of(version), last=_text_of(LAST))
            setting = schedules.ScheduleSetting(name=_desk(self._number), windows=[window])
            schedules.change_schedule(session, _desk(self._number), setting)
        elif is_told(code, version):
            assign_tokens(session, [TokenAssignment(code, None)])
            set_tokens(session, [TokenSetting(code, (f"1_{version}_{LAST}",))])
        elif version % 8:
            assign_tokens(session, [TokenAssignment(code, None, None, blocked=True)])
        else:
            # The previous version may have been refused or lost, so the token may not exist: first
            # make sure that it does.
            assign_tokens(session, [TokenAssignment(code, None)])
            remove_token(session, code)


def _text_of(minute: int) -> str:
    time_ = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    return f"{time_:%Y-%m-%dT%H:%M}Z"


# Changes shared by all writers


def _some(chance: random.Random, names: Sequence[str]) -> list[str]:
    return chance.sample(names, chance.randrange(len(names)))


def _set_token(session: Session, chance: random.Random) -> None:
    rules = chance.sample(("9_1", "3_480_1200_1111100", "3_1320_360_0000011", "9_0"), 2)
    where = chance.choice((None, GATES[:2], SOLD, READER_GROUPS[:2], GATES[3:4]))
    readers_ = None if where is None else tuple(where)
    set_tokens(session, [TokenSetting(chance.choice(NOISE), tuple(rules), readers_)])


def _remove_token(session: Session, chance: random.Random) -> None:
    remove_token(session, chance.choice(NOISE))


def _give_token(session: Session, chance: random.Random) -> None:
    person = chance.choice([None, *(person.id for person in people.list_people(session))])
    blocked = chance.random() < 0.3
    assign_tokens(session, [TokenAssignment(chance.choice(NOISE), person, None, blocked)])


def _add_person(session: Session, chance: random.Random) -> None:
    setting = people.PersonSetting(name="Guest", groups=_some(chance, PEOPLE_GROUPS))
    person = people.add_person(session, setting)
    assign_tokens(session, [TokenAssignment(chance.choice(NOISE), person)])


def _change_person(session: Session, chance: random.Random) -> None:
    person = chance.choice([p for p in people.list_people(session) if "desk" not in p.name])
    setting = people.PersonSetting(name=person.name, groups=_some(chance, PEOPLE_GROUPS))
    people.change_person(session, person.id, setting)


def _remove_person(session: Session, chance: random.Random) -> None:
    found = people.list_people(session, name="Guest")
    if found:
        people.remove_person(session, chance.choice(found).id)


def _add_grant(session: Session, chance: random.Random) -> None:
    grants.add_grant(session, _grant(chance))


def _change_grant(session: Session, chance: random.Random) -> None:
    found = [grant for grant in grants.list_grants(session) if "desk" not in grant.people]
    if found:
        grants.change_grant(session, chance.choice(found).id, _grant(chance))


def _remove_grant(session: Session, chance: random.Random) -> None:
    found = [grant for grant in grants.list_grants(session) if "desk" not in grant.people]
    if found:
        grants.remove_grant(session, chance.choice(found).id)


def _grant(chance: random.Random) -> grants.GrantSetting:
    return grants.GrantSetting(
        people=chance.choice(PEOPLE_GROUPS),
        readers=chance.choice(("*", *GATES, *SOLD, *READER_GROUPS)),
        schedule=chance.choice(SCHEDULES),
        last=chance.choice((None, "2027-01-31T12:00", "2028-02-29T00:00")),
    )


def _change_schedule(session: Session, chance: random.Random) -> None:
    name = chance.choice(SCHEDULES)
    kinds = [
        {"start": "08:00", "end": f"{chance.randrange(12, 24)}:00", "days": "1111100"},
        {"start": "22:00", "end": "06:00"},
        {"first": "2026-11-01T00:00", "last": "2026-12-01T00:00"},
        {},
    ]
    windows = [schedules.WindowSetting(**kind) for kind in chance.sample(kinds, 2)]
    schedules.change_schedule(session, name, schedules.ScheduleSetting(name=name, windows=windows))


def _add_holiday(session: Session, chance: random.Random) -> None:
    hours = [{"start": "10:00", "end": "12:00"}] if chance.random() < 0.5 else []
    schedules.add_holiday(
        session,
        schedules.HolidaySetting(
            date=f"2026-12-{chance.randrange(1, 20):02}",
            schedule=chance.choice((None, *SCHEDULES)),
            hours=[schedules.HoursSetting(**each) for each in hours],
        ),
    )


def _remove_holiday(session: Session, chance: random.Random) -> None:
    found = schedules.list_holidays(session)
    if found:
        schedules.remove_holiday(session, chance.choice(found).id)


def _change_reader_group(session: Session, chance: random.Random) -> None:
    name = chance.choice(READER_GROUPS)
    setting = reader_groups.ReaderGroupSetting(name=name, readers=_some(chance, GATES[STEADY:]))
    reader_groups.change_reader_group(session, name, setting)


def _remove_reader(session: Session, chance: random.Random) -> None:
    readers.remove_reader(session, chance.choice(SOLD))


def _add_reader(session: Session, chance: random.Random) -> None:
    readers.add_or_update_reader(session, chance.choice(SOLD))


_OPS: dict[str, Op] = {
    op.__name__.strip("_").replace("_", " "): op
    for op in (
        _set_token,
        _remove_token,
        _give_token,
        _add_person,
        _change_person,
        _remove_person,
        _add_grant,
        _change_grant,
        _remove_grant,
        _change_schedule,
        _add_holiday,
        _remove_holiday,
        _change_reader_group,
        _remove_reader,
        _add_reader,
    )
}
