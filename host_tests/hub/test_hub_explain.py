"""The hub's explanations why a reader allows or denies a token."""

from datetime import date

import pytest

from hub.hub_site import START, TokenAssignment, assign_tokens
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.site.explain import explain
from kalitka_hub.site.grants import GrantSetting, add_grant
from kalitka_hub.site.people import (
    PersonGroupSetting,
    PersonSetting,
    add_group,
    add_person,
)
from kalitka_hub.site.schedules import (
    HolidaySetting,
    HoursSetting,
    ScheduleSetting,
    WindowSetting,
    add_holiday,
    add_schedule,
)
from kalitka_hub.store.changes import write_transaction

DAY = WindowSetting(start="08:00", end="18:00", days="1111100")
GRANT = "grant 1: Kitchen at GATE-1, Day shift"


@pytest.fixture
def why(database):
    with write_transaction(database) as session:
        add_group(session, PersonGroupSetting(name="Kitchen"))
        add_schedule(session, ScheduleSetting(name="Day shift", windows=[DAY]))
        grant = GrantSetting(
            people="Kitchen", readers="GATE-1", schedule="Day shift", last="2027-03-31T23:59"
        )
        add_grant(session, grant)
        anna = add_person(session, PersonSetting(name="Anna", groups=["Kitchen"]))
        assign_tokens(
            session, [TokenAssignment("A1", anna), TokenAssignment("A2", anna, blocked=True)]
        )
        add_holiday(session, HolidaySetting(date="2026-11-26"))
        short = [HoursSetting(start="10:00", end="12:00")]
        add_holiday(session, HolidaySetting(date="2026-11-27", hours=short))

    def ask(at: str, code: str = "A1", reader: str = "GATE-1"):
        day, _, time = at.partition(" ")
        minutes = (date.fromisoformat(day) - date(1970, 1, 1)).days * 1440
        hours, _, rest = time.partition(":")
        with database.snapshot() as session:
            return explain(session, reader, code, minutes + int(hours) * 60 + int(rest), START)

    return ask


def test_an_allowed_pass_names_its_rule_and_grant(why):
    said = why("2026-11-25 09:00")
    assert (said.allowed, said.reason, said.local) == (
        True,
        "allowed",
        "Wednesday 2026-11-25T09:00",
    )
    assert said.rule in [rule.text for rule in said.rules if rule.sources == (GRANT,)]


def test_outside_the_hours(why):
    said = why("2026-11-25 18:01")
    assert (said.allowed, said.reason) == (False, "outside its hours")


def test_a_holiday_is_named(why):
    said = why("2026-11-26 09:00")
    assert not said.allowed
    assert "2026-11-26 is a holiday of Day shift: closed" in said.notes
    assert not why("2026-11-27 09:00").allowed
    said = why("2026-11-27 11:00")
    assert said.allowed
    assert "2026-11-27 is a holiday of Day shift: 10:00 to 12:00" in said.notes


def test_the_end_of_a_grant_is_told(why):
    said = why("2027-04-01 09:00")
    assert (said.allowed, said.reason) == (False, "unknown code")
    assert f"{GRANT} ended 2027-03-31T23:59" in said.notes
    assert any("later than the holidays" in note for note in said.notes)
    assert why("2027-03-31 09:00").allowed


def test_at_another_reader_nothing_is_granted(why):
    said = why("2026-11-25 09:00", reader="GATE-2")
    assert (said.allowed, said.reason, said.rules) == (False, "unknown code", ())
    assert "the groups of its person have no grant at GATE-2" in said.notes
    assert f"elsewhere there is {GRANT}" in said.notes


def test_a_blocked_token_and_one_that_nobody_knows(why):
    assert "the token is blocked: it has no rules" in why("2026-11-25 09:00", "A2").notes
    said = why("2026-11-25 09:00", "FFFF")
    assert (said.reason, said.notes) == ("unknown code", ("the hub does not know this code",))


def test_the_past_is_by_what_is_set_now(why):
    said = why("2026-11-18 09:00")
    assert said.allowed
    assert said.notes[0].startswith("in the past")


def test_rules_by_hand_are_named_beside_those_of_grants(why, site):
    site.set("A1", "9_1")
    said = why("2026-11-28 03:00")
    assert (said.allowed, said.rule) == (True, "9_1")
    assert ("manual rule for all readers",) in [rule.sources for rule in said.rules]


def test_what_cannot_be_asked(why):
    with pytest.raises(NotFound, match="no reader GATE-9"):
        why("2026-11-25 09:00", reader="GATE-9")
    with pytest.raises(InvalidRequest, match="not a valid token code"):
        why("2026-11-25 09:00", code="a,b")
