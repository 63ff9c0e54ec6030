"""The rules of tokens at readers, from manual rules and grants, on both kinds of databases."""

from datetime import date, timedelta

import pytest
from sqlalchemy import delete, event, select

from hub.hub_site import ON_SQLITE, START, TokenAssignment, assign_tokens
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site import rule_compiler, site_zone
from kalitka_hub.site.grants import GrantSetting, add_grant, change_grant, remove_grant
from kalitka_hub.site.people import (
    PersonGroupSetting,
    PersonSetting,
    add_group,
    add_person,
    change_person,
    remove_person,
)
from kalitka_hub.site.reader_groups import (
    ReaderGroupSetting,
    add_reader_group,
    change_reader_group,
)
from kalitka_hub.site.rule_compiler import recompute, recompute_all, refresh_horizon
from kalitka_hub.site.schedules import (
    HolidaySetting,
    HoursSetting,
    ScheduleSetting,
    WindowSetting,
    add_holiday,
    add_schedule,
    change_holiday,
    change_schedule,
    remove_holiday,
)
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.models import Token, TokenRule

DAY = WindowSetting(start="08:00", end="18:00", days="1111100")
WORK = "3_480_1080_1111100"


class Kitchen:
    """A site with a group of people, a schedule and one grant, at GATE-1."""

    def __init__(self, database) -> None:
        self.database = database
        with self.write_transaction() as session:
            add_group(session, PersonGroupSetting(name="Kitchen"))
            add_schedule(session, ScheduleSetting(name="Day shift", windows=[DAY]))
            setting = GrantSetting(people="Kitchen", readers="GATE-1", schedule="Day shift")
            self.grant = add_grant(session, setting)
            self.anna = add_person(session, PersonSetting(name="Anna", groups=["Kitchen"]))
            assign_tokens(session, [TokenAssignment("A1", self.anna)])

    def write_transaction(self):
        return write_transaction(self.database, "test")

    def compiled_rules(self, code: str = "A1") -> set[str]:
        wanted = select(TokenRule.text).join(Token, Token.id == TokenRule.token_id)
        with self.database.snapshot() as session:
            return set(session.scalars(wanted.where(Token.code == code)))

    def stamps(self) -> dict[str, int]:
        with self.database.snapshot() as session:
            return {row.code: row.changed for row in session.execute(select(Token)).scalars()}


@pytest.fixture
def kitchen(database) -> Kitchen:
    return Kitchen(database)


def test_a_person_may_pass_where_the_group_may(kitchen, site):
    assert kitchen.compiled_rules() == {WORK}
    assert site.ask("0", "GATE-1").splitlines()[1:] == [f"A1_/{WORK}"]
    assert site.ask("0", "GATE-2").splitlines()[1:] == []


def test_a_change_of_each_kind_is_told(kitchen):
    with kitchen.write_transaction() as session:
        night = WindowSetting(start="22:00", end="06:00")
        change_schedule(session, "Day shift", ScheduleSetting(name="Night", windows=[night]))
    assert kitchen.compiled_rules() == {"3_1320_360_1111111"}
    with kitchen.write_transaction() as session:
        change_grant(
            session,
            kitchen.grant,
            GrantSetting(people="Kitchen", readers="*", schedule="Night", last="2026-12-31T23:59"),
        )
    assert kitchen.compiled_rules() == {f"7_1320_360_1111111_0_{minute('2027-01-01') - 1}"}
    with kitchen.write_transaction() as session:
        assign_tokens(session, [TokenAssignment("A1", kitchen.anna, blocked=True)])
    assert kitchen.compiled_rules() == set()
    with kitchen.write_transaction() as session:
        assign_tokens(session, [TokenAssignment("A1", kitchen.anna)])
    assert len(kitchen.compiled_rules()) == 1
    with kitchen.write_transaction() as session:
        change_person(session, kitchen.anna, PersonSetting(name="Anna"))
    assert kitchen.compiled_rules() == set()
    with kitchen.write_transaction() as session:
        change_person(session, kitchen.anna, PersonSetting(name="Anna", groups=["Kitchen"]))
    assert len(kitchen.compiled_rules()) == 1
    with kitchen.write_transaction() as session:
        remove_grant(session, kitchen.grant)
    assert kitchen.compiled_rules() == set()


def test_whoever_is_removed_takes_the_tokens_along(kitchen, site):
    site.clock.minute += 5
    minute_before = site.ask("0").partition("%")[0]
    with kitchen.write_transaction() as session:
        remove_person(session, kitchen.anna)
    assert site.ask(minute_before).partition("%")[2] == "A1%\n"
    assert kitchen.compiled_rules() == set()


def test_rules_by_hand_and_by_grants_are_told_together(kitchen, site):
    site.set("A1", "9_1", readers=("GATE-1",))
    assert kitchen.compiled_rules() == {WORK, "9_1"}


def test_a_holiday_is_in_the_rules_as_soon_as_it_is_set_and_gone_when_it_is_removed(kitchen):
    with kitchen.write_transaction() as session:
        holiday = add_holiday(session, HolidaySetting(date="2026-11-26"))
    begin = minute("2026-11-26")
    before = f"7_480_1080_1111100_0_{begin - 1}"
    after = f"7_480_1080_1111100_{begin + 1440}_68374079"
    assert kitchen.compiled_rules() == {before, after}
    short = [HoursSetting(start="10:00", end="12:00")]
    with kitchen.write_transaction() as session:
        change_holiday(session, holiday, HolidaySetting(date="2026-11-26", hours=short))
    assert kitchen.compiled_rules() == {before, after, f"7_600_720_0001000_{begin}_{begin + 1439}"}
    with kitchen.write_transaction() as session:
        remove_holiday(session, holiday)
    assert kitchen.compiled_rules() == {WORK}


def test_a_holiday_of_the_schedule_comes_before_one_of_all(kitchen):
    with kitchen.write_transaction() as session:
        add_holiday(session, HolidaySetting(date="2026-11-26"))
        all_day = [HoursSetting(start="00:00", end="24:00")]
        add_holiday(
            session, HolidaySetting(date="2026-11-26", schedule="Day shift", hours=all_day)
        )
    begin = minute("2026-11-26")
    assert f"7_0_1439_0001000_{begin}_{begin + 1439}" in kitchen.compiled_rules()


def test_a_far_holiday_comes_into_the_rules_with_the_days(kitchen, clock):
    with kitchen.write_transaction() as session:
        add_holiday(session, HolidaySetting(date="2027-01-06"))
    assert kitchen.compiled_rules() == {WORK}
    assert refresh_horizon(kitchen.database) == 0
    assert refresh_horizon(kitchen.database) is None
    clock.minute += 1440
    assert refresh_horizon(kitchen.database) == 1
    assert len(kitchen.compiled_rules()) == 2


def test_what_changes_nothing_stamps_nothing(kitchen, clock):
    before = kitchen.stamps()
    clock.minute += 5
    with kitchen.write_transaction() as session:
        assert recompute_all(session) == 0
        add_holiday(session, HolidaySetting(date="2026-11-28"))  # a Saturday
        add_group(session, PersonGroupSetting(name="Office"))
        change_person(
            session, kitchen.anna, PersonSetting(name="Ann", groups=["Kitchen", "Office"])
        )
    assert kitchen.stamps() == before


def test_readers_that_come_into_a_group_have_its_rules_by_a_full_sync(kitchen, site, clock):
    with kitchen.write_transaction() as session:
        add_reader_group(session, ReaderGroupSetting(name="Gates", readers=["GATE-1"]))
        change_grant(
            session,
            kitchen.grant,
            GrantSetting(people="Kitchen", readers="Gates", schedule="Day shift"),
        )
    clock.minute += 5
    said = site.ask("0", "GATE-2").partition("%")[0]
    clock.minute += 5
    with kitchen.write_transaction() as session:
        setting = ReaderGroupSetting(name="Gates", readers=["GATE-1", "GATE-2"])
        change_reader_group(session, "Gates", setting)
    assert site.ask(said, "GATE-2").startswith("0%")
    assert site.ask("0", "GATE-2").splitlines()[1:] == [f"A1_/{WORK}"]
    assert site.ask("0", "GATE-1").splitlines()[1:] == [f"A1_/{WORK}"]


def test_the_rules_of_a_code_stay_within_what_a_reader_holds(kitchen, caplog):
    first = date(2026, 11, 23)
    with kitchen.write_transaction() as session:
        windows = [
            WindowSetting(start=f"{hour:02}:00", end=f"{hour:02}:30") for hour in range(6, 18)
        ]
        change_schedule(session, "Day shift", ScheduleSetting(name="Many", windows=windows))
        for week in range(6):
            add_holiday(
                session, HolidaySetting(date=(first + timedelta(days=7 * week)).isoformat())
            )
    texts = kitchen.compiled_rules()
    size = sum(rule_compiler._rule_size(text) for text in texts)
    assert 540 < size <= 720
    # The nearest holiday is in the rules; a warning names the date from which others are missing.
    assert any(text.endswith(f"_{minute('2026-11-23') - 1}") for text in texts)
    assert "holidays only up to" in caplog.text


def _of_forty_windows(name: str, hour: int) -> ScheduleSetting:
    windows = [
        WindowSetting(start=f"{hour:02}:{n:02}", end=f"{hour:02}:59", first="2026-11-01T00:00")
        for n in range(40)
    ]
    return ScheduleSetting(name=name, windows=windows)


def test_more_than_a_reader_holds_is_refused_unless_it_is_at_different_readers(kitchen):
    with kitchen.write_transaction() as session:
        add_schedule(session, _of_forty_windows("One", 8))
        add_schedule(session, _of_forty_windows("Two", 9))
        add_grant(session, GrantSetting(people="Kitchen", readers="GATE-1", schedule="One"))
        add_grant(session, GrantSetting(people="Kitchen", readers="GATE-2", schedule="Two"))
    assert len(kitchen.compiled_rules()) == 81
    refused = pytest.raises(InvalidRequest, match="A1 has more rules than a reader holds")
    with refused, kitchen.write_transaction() as session:
        add_grant(session, GrantSetting(people="Kitchen", readers="*", schedule="One"))
        add_grant(session, GrantSetting(people="Kitchen", readers="*", schedule="Two"))
    assert len(kitchen.compiled_rules()) == 81


@ON_SQLITE
def test_what_is_too_much_since_a_reader_came_into_a_group_can_be_taken_away(kitchen):
    names = ("One", "Two")
    with kitchen.write_transaction() as session:
        for hour, name in enumerate(names, 8):
            add_reader_group(session, ReaderGroupSetting(name=name))
            add_schedule(session, _of_forty_windows(name, hour))
            add_grant(session, GrantSetting(people="Kitchen", readers=name, schedule=name))
        for name in names:
            joined = ReaderGroupSetting(name=name, readers=["GATE-1"])
            change_reader_group(session, name, joined)
        night = WindowSetting(start="22:00", end="06:00")
        add_schedule(session, ScheduleSetting(name="Night", windows=[night]))
    more = GrantSetting(people="Kitchen", readers="GATE-1", schedule="Night")
    with pytest.raises(InvalidRequest, match="more rules"), kitchen.write_transaction() as session:
        add_grant(session, more)
    with kitchen.write_transaction() as session:
        remove_grant(session, kitchen.grant)
    assert len(kitchen.compiled_rules()) == 80
    assert WORK not in kitchen.compiled_rules()
    with kitchen.write_transaction() as session:
        change_schedule(session, "One", ScheduleSetting(name="One", windows=[]))
    assert len(kitchen.compiled_rules()) == 40


@ON_SQLITE
def test_in_bulk_it_is_the_same_as_one_by_one(kitchen):
    with kitchen.write_transaction() as session:
        for n in range(5):
            add_group(session, PersonGroupSetting(name=f"G{n}"))
            window = WindowSetting(start=f"{n + 6:02}:00", end="20:00")
            add_schedule(session, ScheduleSetting(name=f"S{n}", windows=[window]))
            add_grant(
                session,
                GrantSetting(people=f"G{n}", readers=["*", "GATE-1"][n % 2], schedule=f"S{n}"),
            )
        add_holiday(session, HolidaySetting(date="2026-12-01"))
        ids = [
            add_person(
                session,
                PersonSetting(name=f"P{n}", groups=[f"G{g}" for g in range(5) if n >> g & 1]),
            )
            for n in range(64)
        ]
        holdings = [TokenAssignment(f"{n:08X}", ids[n % 64]) for n in range(2000)]
        assert assign_tokens(session, holdings) == 2000
    bulk = _everything(kitchen.database)
    assert len(bulk) > 5000
    with kitchen.write_transaction() as session:
        # Every seventh token: owners repeat every 64 tokens, so every kind of owner is included.
        some = session.scalars(select(Token.id)).all()[::7]
        session.execute(delete(TokenRule).where(TokenRule.token_id.in_(some)))
        for token_id in some:
            recompute(session, [token_id])
    assert _everything(kitchen.database) == bulk


def test_a_run_over_all_tokens_reads_them_in_few_statements(kitchen):
    with kitchen.write_transaction() as session:
        assign_tokens(session, [TokenAssignment(f"{n:08X}", kitchen.anna) for n in range(2000)])
    statements: list[str] = []
    with kitchen.write_transaction() as session:
        connection = session.connection()
        event.listen(connection, "before_cursor_execute", lambda *args: statements.append(args[2]))
        assert recompute_all(session) == 0
    assert len(statements) < 40


def test_times_are_those_of_the_site(kitchen):
    with kitchen.write_transaction() as session:
        assert site_zone.set_zone(session, "Europe/Moscow")
        add_holiday(session, HolidaySetting(date="2026-11-26"))
    begin = minute("2026-11-26") - 180
    assert f"7_480_1080_1111100_0_{begin - 1}" in kitchen.compiled_rules()


def minute(day: str) -> int:
    return (date.fromisoformat(day) - date(1970, 1, 1)).days * 1440


def _everything(database) -> set[tuple]:
    with database.snapshot() as session:
        rows = session.execute(select(TokenRule.token_id, TokenRule.group_id, TokenRule.text))
        return {tuple(row) for row in rows}


def test_the_clock_of_these_tests_is_of_november_2026():
    assert minute("2026-11-21") < START < minute("2026-11-23")
