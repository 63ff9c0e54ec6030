"""Writing people, groups, schedules and grants: accepted, refused and audited input."""

import pytest
from pydantic import ValidationError
from sqlalchemy import select

from hub.hub_site import TokenAssignment, assign_tokens
from kalitka.access.timezone import Zone
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.site import grants, local_time, people, reader_groups, schedules
from kalitka_hub.site.grants import GrantSetting
from kalitka_hub.site.people import PersonGroupSetting, PersonSetting
from kalitka_hub.site.reader_groups import ReaderGroupSetting
from kalitka_hub.site.schedules import HolidaySetting, ScheduleSetting, WindowSetting
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.models import Audit, PersonGroup, Schedule

BERLIN = Zone("CET-1CEST,M3.5.0,M10.5.0/3")
ALWAYS = ScheduleSetting(name="Always", windows=[WindowSetting()])


@pytest.fixture
def session(database):
    with write_transaction(database, "olga") as session:
        people.add_group(session, PersonGroupSetting(name="Kitchen"))
        schedules.add_schedule(session, ALWAYS)
        yield session


def audited(session) -> list[tuple]:
    entries = session.scalars(select(Audit).where(Audit.who == "olga").order_by(Audit.id))
    return [(entry.action, entry.kind, entry.object) for entry in entries]


def test_a_person_is_found_as_written_and_each_change_is_audited(session):
    anna = people.add_person(session, PersonSetting(name=" Anna ", groups=["Kitchen"]))
    assign_tokens(session, [TokenAssignment("FF", anna), TokenAssignment("0A", anna, "spare")])
    view = people.find_person(session, anna)
    assert (view.name, view.groups, view.tokens) == ("Anna", ["Kitchen"], ["0A", "FF"])
    setting = PersonSetting(name="Anna", note="cook", groups=["Kitchen"])
    assert people.change_person(session, anna, setting)
    assert not people.change_person(session, anna, setting)
    people.remove_person(session, anna)
    with pytest.raises(NotFound, match=f"no person {anna}"):
        people.find_person(session, anna)
    number = str(anna)
    assert audited(session)[2:] == [
        ("add", "people", number),
        ("add", "tokens", "FF"),
        ("add", "tokens", "0A"),
        ("change", "people", number),
        ("remove", "tokens", "0A"),
        ("remove", "tokens", "FF"),
        ("remove", "people", number),
    ]


def test_a_number_is_never_given_again(session):
    first = people.add_person(session, PersonSetting(name="Ivan"))
    people.remove_person(session, first)
    # A CSV file of last month still has this id, which must not come to mean another person.
    assert people.add_person(session, PersonSetting(name="Olga")) > first


def test_people_are_listed_by_group_and_by_part_of_the_name(session):
    anna = people.add_person(session, PersonSetting(name="Anna 100%", groups=["Kitchen"]))
    boris = people.add_person(session, PersonSetting(name="Boris"))
    assert [view.id for view in people.list_people(session)] == [anna, boris]
    assert [view.id for view in people.list_people(session, anna)] == [boris]
    assert [view.id for view in people.list_people(session, group="Kitchen")] == [anna]
    assert [view.id for view in people.list_people(session, name="0%")] == [anna]
    assert [view.id for view in people.list_people(session, name="bor")] == [boris]


def test_a_group_of_an_odd_old_name_is_listed_and_renamed(session):
    session.add(PersonGroup(name="=\x1b"))
    session.flush()
    assert [group.name for group in people.list_groups(session)] == ["=\x1b", "Kitchen"]
    assert people.change_group(session, "=\x1b", PersonGroupSetting(name="Guests"))
    assert people.find_group(session, "Guests").note is None


def test_a_schedule_of_an_odd_old_name_is_renamed(session):
    session.add(Schedule(name="\x1b"))
    session.flush()
    assert schedules.change_schedule(session, "\x1b", ScheduleSetting(name="Night", windows=[]))
    assert schedules.find_schedule(session, "Night").windows == []


def test_what_grants_name_is_not_removed(session):
    reader_groups.add_reader_group(session, ReaderGroupSetting(name="Gates"))
    setting = GrantSetting(people="Kitchen", readers="Gates", schedule="Always")
    grant = grants.add_grant(session, setting)
    for remove, name in (
        (people.remove_group, "Kitchen"),
        (reader_groups.remove_reader_group, "Gates"),
        (schedules.remove_schedule, "Always"),
    ):
        with pytest.raises(InvalidRequest, match="remove these first"):
            remove(session, name)
    grants.remove_grant(session, grant)
    people.remove_group(session, "Kitchen")
    reader_groups.remove_reader_group(session, "Gates")
    schedules.remove_schedule(session, "Always")


def test_grants_are_listed_as_they_were_written(session):
    setting = GrantSetting(
        people="Kitchen", readers="GATE-1", schedule="Always", first="2026-11-01T00:00"
    )
    number = grants.add_grant(session, setting)
    assert grants.find_grant(session, number).model_dump(exclude={"id"}) == setting.model_dump()
    for_all = setting.model_copy(update={"readers": "*"})
    assert grants.change_grant(session, number, for_all)
    assert not grants.change_grant(session, number, for_all)
    assert [grant.id for grant in grants.list_grants(session, readers="*")] == [number]
    assert grants.list_grants(session, readers="GATE-1") == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("people", "Nobody"), ("readers", "GATE-9"), ("schedule", "Never")],
)
def test_a_grant_of_what_there_is_not_is_not_found(session, field, value):
    good = {"people": "Kitchen", "readers": "GATE-1", "schedule": "Always"}
    with pytest.raises(NotFound, match=value):
        grants.add_grant(session, GrantSetting(**good | {field: value}))


@pytest.mark.parametrize(
    "write",
    [
        lambda session: people.add_group(session, PersonGroupSetting(name="Kitchen")),
        lambda session: schedules.add_schedule(session, ALWAYS),
        lambda session: reader_groups.add_reader_group(session, ReaderGroupSetting(name="GATE-1")),
        lambda session: grants.add_grant(
            session,
            GrantSetting(
                people="Kitchen",
                readers="*",
                schedule="Always",
                first="2026-12-02T00:00",
                last="2026-12-01T00:00",
            ),
        ),
    ],
)
def test_what_is_there_or_never_holds_is_refused(session, write):
    with pytest.raises(InvalidRequest):
        write(session)


def test_a_date_is_a_holiday_once_of_all_and_once_of_each_schedule(session):
    number = schedules.add_holiday(session, HolidaySetting(date="2026-12-31", name="Eve"))
    schedules.add_holiday(session, HolidaySetting(date="2026-12-31", schedule="Always"))
    for schedule in (None, "Always"):
        with pytest.raises(InvalidRequest, match="is a holiday already"):
            schedules.add_holiday(session, HolidaySetting(date="2026-12-31", schedule=schedule))
    setting = HolidaySetting(date="2026-12-30", name="Eve")
    assert schedules.change_holiday(session, number, setting)
    assert schedules.find_holiday(session, number).date == "2026-12-30"
    assert len(schedules.list_holidays(session, since="2026-12-31")) == 1


def test_a_schedule_comes_back_as_it_was_written(session):
    windows = [
        WindowSetting(start="22:00", end="24:00", days="1111100"),
        WindowSetting(start="08:00", end="09:30", first="2026-11-01T00:00"),
        WindowSetting(last="2026-12-01T00:00"),
    ]
    schedules.add_schedule(session, ScheduleSetting(name="Mixed", windows=windows))
    found = schedules.find_schedule(session, "Mixed").windows
    assert {(window.start, window.end, window.days) for window in found} == {
        ("22:00", "23:59", "1111100"),
        ("08:00", "09:30", "1111111"),
        (None, None, None),
    }
    with pytest.raises(InvalidRequest, match="is a schedule"):
        schedules.change_schedule(session, "Mixed", ALWAYS)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: PersonSetting(name=""),
        lambda: PersonSetting(name="a\nb"),
        lambda: PersonSetting(name="a" * 201),
        lambda: PersonSetting(name="Anna", phone="1"),
        lambda: PersonGroupSetting(name="*"),
        lambda: ReaderGroupSetting(name="=GATE-1"),
        lambda: WindowSetting(start="08:00"),
        lambda: WindowSetting(days="1111100"),
        lambda: WindowSetting(start="8", end="9"),
        lambda: WindowSetting(start="08:60", end="09:00"),
        lambda: WindowSetting(start="08:00", end="24:01"),
        lambda: WindowSetting(start="08:00", end="09:00", days="mon"),
        lambda: HolidaySetting(date="2026-02-29"),
        lambda: HolidaySetting(date="1.1.2027"),
    ],
)
def test_what_cannot_be_written_is_refused_at_the_border(wrong):
    with pytest.raises(ValidationError):
        wrong()


@pytest.mark.parametrize(
    ("text", "minutes", "back"),
    [
        ("2026-11-01T08:00", [29891940], "2026-11-01T08:00"),
        ("2026-11-01 08:00", [29891940], "2026-11-01T08:00"),
        ("2026-11-01T08:00Z", [29892000], "2026-11-01T09:00"),
        ("2026-10-25T02:30", [29881470, 29881530], "2026-10-25T02:30+02:00"),
    ],
)
def test_local_times_are_minutes_and_come_back(text, minutes, back):
    assert local_time.minutes_of(text, BERLIN) == minutes
    written = local_time.local_text(minutes[0], BERLIN)
    assert written == back
    assert local_time.minutes_of(written, BERLIN) == minutes[:1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-03-29T02:30", "the clocks are put forward"),
        ("2026-13-01T00:00", "is not a valid time"),
        ("tomorrow", "write it like 2026-11-01T08:00"),
        ("1969-12-31T00:00", "before 1970"),
    ],
)
def test_what_is_no_local_time_is_refused(text, said):
    with pytest.raises(InvalidRequest, match=said):
        local_time.minutes_of(text, BERLIN)
