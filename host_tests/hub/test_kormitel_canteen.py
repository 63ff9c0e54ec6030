"""The readers' rules of badges, as badges and arrivals change."""

import random
from typing import Any

import pytest
from sqlalchemy import select

from hub.hub_site import START
from hub.kormitel_site import ANNA, DIGITS, MEALS, THERE, TODAY, Canteen, an_object
from kalitka.access.timezone import Zone
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel import canteen
from kalitka_hub.kormitel.badge_rules import Meal, badge_codes, fed_windows, rule_texts
from kalitka_hub.kormitel.settings import (
    find_settings,
    paused_since,
    set_paused,
)
from kalitka_hub.site.explain import explain
from kalitka_hub.site.people import PersonSetting, add_person
from kalitka_hub.site.reader_groups import (
    ReaderGroupSetting,
    add_reader_group,
    remove_reader_group,
)
from kalitka_hub.site.readers import remove_reader
from kalitka_hub.site.rule_compiler import refresh_horizon
from kalitka_hub.site.site_zone import set_zone
from kalitka_hub.site.tokens import TokenRecord, change_token, find_record, remove_token
from kalitka_hub.store.changes import change_context
from kalitka_hub.store.kormitel_models import KormitelToken
from kalitka_hub.store.models import Audit, Token


@pytest.fixture
def eaters(database) -> Canteen:
    return Canteen(database)


# From badges and arrivals to rules


def test_who_is_there_is_let_in_by_both_forms_of_the_code(eaters, site):
    assert eaters.badge() == 0
    assert eaters.arrival() == 2
    assert eaters.reader_rules() == {DIGITS: {TODAY}, ANNA: {TODAY}}
    assert site.ask("0").splitlines()[1:] == [f"{DIGITS}_/{TODAY}", f"{ANNA}_/{TODAY}"]
    assert site.ask("0", "GATE-2").splitlines()[1:] == []


def test_an_arrival_before_its_badge_counts_once_that_is_there(eaters):
    with eaters.write_transaction() as session:
        an_object(session, "arrivals", "1", {"badge": ANNA, **THERE})
    eaters.badge()
    assert eaters.reader_rules()[DIGITS] == {TODAY}


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        (lambda eaters: eaters.arrival(status="LEFT"), set()),
        (lambda eaters: eaters.arrival(departure_date="2026-11-23"), {"1_29919120_29924879"}),
        (lambda eaters: eaters.remove("arrivals", "1"), set()),
        (lambda eaters: eaters.arrival("2", arrival_date="2026-11-25"), {TODAY}),
        (lambda eaters: eaters.badge(feed="NO"), set()),
        (lambda eaters: eaters.badge(feed="PAID"), set()),
        (lambda eaters: eaters.badge(feed="CHILD"), {TODAY}),
        (lambda eaters: eaters.badge(is_blocked=True), set()),
        (lambda eaters: eaters.badge(qr="new-1"), set()),
        (lambda eaters: eaters.badge(kitchen=1), {TODAY}),
        (lambda eaters: eaters.remove("badges", ANNA), set()),
    ],
)
def test_each_change_is_told_and_its_undoing_too(eaters, change, rules):
    eaters.badge()
    eaters.arrival()
    before = eaters.reader_rules()
    change(eaters)
    assert eaters.reader_rules()[DIGITS] == rules
    eaters.badge()
    eaters.arrival()
    if eaters.reader_rules() != before:  # of two arrivals the second remains
        eaters.remove("arrivals", "2")
    assert eaters.reader_rules() == before


def test_a_token_without_rules_is_removed_and_comes_back(eaters, clock, site):
    reader = site.reader()
    eaters.badge()
    eaters.arrival()
    reader.poll()
    assert eaters.tokens() == {DIGITS: False, ANNA: False}
    clock.minute += 1
    eaters.arrival(status="LEFT")
    assert eaters.tokens() == {DIGITS: True, ANNA: True}
    reader.poll()
    assert reader.table == {}
    eaters.arrival()
    assert eaters.tokens() == {DIGITS: False, ANNA: False}
    reader.poll()
    assert set(reader.table) == {DIGITS, ANNA}


def test_a_new_qr_moves_the_rules(eaters):
    eaters.badge(name="Anna")
    eaters.arrival()
    eaters.badge(name="Anna", qr="AB-12")
    assert eaters.reader_rules() == {"AB12": {TODAY}, "AB-12": {TODAY}}
    with eaters.database.snapshot() as session:
        assert find_record(session, "AB12").name == "Anna"


def test_of_who_pays_paid_arrivals_count(eaters):
    eaters.badge(feed="PAID")
    eaters.arrival()
    assert eaters.reader_rules() == {}
    eaters.put("paid_arrivals", "1", **{**THERE, "badge": ANNA, "status": None})
    assert eaters.reader_rules()[DIGITS] == {TODAY}


def test_an_object_deleted_before_it_was_known_counts_for_nothing(eaters):
    eaters.badge()
    with eaters.write_transaction() as session:
        an_object(session, "arrivals", "1", {"badge": ANNA, **THERE}, born=None)
        canteen.recompute_all(session)
    assert eaters.reader_rules() == {}


def test_what_changes_nothing_is_not_stamped(eaters, clock):
    eaters.badge()
    eaters.arrival()
    clock.minute += 5
    assert eaters.badge(phone="1") == 0
    with eaters.write_transaction() as session:
        assert canteen.recompute_all(session) == 0
    with eaters.database.snapshot() as session:
        assert set(session.scalars(select(Token.changed))) == {START}


def test_windows_beyond_what_a_reader_holds_wait(eaters, clock, caplog):
    eaters.choose(kitchens={"*": ["GATE-1"]}, meals=MEALS)
    eaters.badge()
    with eaters.write_transaction() as session:
        for number in range(60):
            day = f"{2027 + number // 12}-{number % 12 + 1:02}-01"
            dates = {"arrival_date": day, "departure_date": day}
            an_object(session, "arrivals", str(number), {"badge": ANNA, **THERE, **dates})
        assert canteen.recompute_all(session) == 2
    told = eaters.reader_rules()[DIGITS]
    assert len(told) < 120
    assert "more windows than a reader holds" in caplog.text
    clock.minute += 450 * 1440
    assert canteen.refresh_daily(eaters.database) == 2
    later = eaters.reader_rules()[DIGITS]
    assert later - told
    assert told - later


# The owner of a code


def test_the_badge_that_came_to_a_code_last_has_it(eaters, clock):
    eaters.badge("1", qr="X")
    eaters.arrival("1", badge="1")
    clock.minute += 1
    eaters.badge("2", qr="x?")
    assert eaters.reader_rules() == {"X": {TODAY}}
    eaters.badge("2", qr="X?")
    assert eaters.reader_rules() == {}
    eaters.badge("1", qr="X", name="older")
    assert eaters.reader_rules() == {}
    eaters.badge("2", qr="Y")
    assert eaters.reader_rules() == {"X": {TODAY}}


def test_a_code_goes_back_when_the_badge_that_has_it_is_deleted(eaters, clock):
    eaters.badge("1", qr="X", name="First")
    eaters.arrival("1", badge="1")
    clock.minute += 1
    eaters.badge("2", qr="X", name="Second")
    eaters.arrival("2", badge="2", departure_date="2026-11-23")
    with eaters.database.snapshot() as session:
        assert find_record(session, "X").name == "Second"
    assert eaters.reader_rules() == {"X": {"1_29919120_29924879"}}
    eaters.remove("badges", "2")
    assert eaters.reader_rules() == {"X": {TODAY}}
    with eaters.database.snapshot() as session:
        assert find_record(session, "X").name == "First"
        assert session.scalars(select(KormitelToken.made)).all() == [True]


# Operators' changes of such a token


def test_a_token_given_by_hand_keeps_what_it_has(eaters, site):
    site.set(DIGITS, "3_0_60_1111111")
    eaters.badge()
    eaters.arrival()
    assert eaters.reader_rules()[DIGITS] == {"3_0_60_1111111", TODAY}
    eaters.remove("badges", ANNA)
    assert eaters.reader_rules() == {DIGITS: {"3_0_60_1111111"}}
    assert eaters.tokens() == {DIGITS: False, ANNA: True}


@pytest.mark.parametrize("given", ["rules", "person", "blocked"])
def test_a_token_that_was_given_something_since_stays(eaters, given):
    eaters.badge(qr="X")
    eaters.arrival()
    with eaters.write_transaction() as session:
        values: dict[str, Any] = {"rules": ["9_0"], "blocked": True}
        values["person"] = add_person(session, PersonSetting(name="Anna", groups=[]))
        change_token(session, "X", TokenRecord(code="X", **{given: values[given]}))
    eaters.arrival(status="LEFT")
    assert eaters.tokens() == {"X": False}


def test_a_blocked_token_has_no_rules(eaters):
    eaters.badge(qr="X")
    eaters.arrival()
    with eaters.write_transaction() as session:
        change_token(session, "X", TokenRecord(code="X", blocked=True))
    assert eaters.reader_rules() == {}
    eaters.arrival(departure_date="2026-11-23")
    assert eaters.reader_rules() == {}


def test_the_token_of_a_badge_is_not_removed(eaters):
    eaters.badge(qr="X")
    eaters.arrival()
    with (
        pytest.raises(InvalidRequest, match="X is a badge of Kormitel"),
        eaters.write_transaction() as session,
    ):
        remove_token(session, "X")
    eaters.arrival(status="LEFT")
    with pytest.raises(NotFound), eaters.write_transaction() as session:
        remove_token(session, "X")


def test_rules_of_a_badge_are_never_refused(eaters, site, caplog):
    rules = [f"7_{start}_{start + 9}_1111111_29919120_29923439" for start in range(200, 800, 10)]
    site.set("X", *rules)
    eaters.badge(qr="X")
    assert eaters.arrival() == 1
    assert len(eaters.reader_rules()["X"]) == 61
    assert "more rules than a reader holds" in caplog.text


def test_it_is_explained_whose_rule_it_is(eaters):
    eaters.badge(qr="X", name="Anna")
    eaters.arrival()
    with eaters.database.snapshot() as session:
        said = explain(session, "GATE-1", "X", START, START)
        assert (said.allowed, said.rule) == (True, TODAY)
        assert [rule.sources for rule in said.rules] == [("from Kormitel: badge Anna",)]
        assert said.notes == (
            "the token has no owner: it has only its manual rules and its badge's rules",
        )
        assert explain(session, "GATE-2", "X", START, START).rules == ()


# Kitchens, meals, days


def test_a_kitchen_has_its_readers_and_the_others_those_of_the_star(eaters):
    eaters.choose(kitchens={"*": ["GATE-1"], "2": ["GATE-2"]})
    eaters.arrival(badge=_badge(eaters, "2", kitchen=2), key="2")
    eaters.arrival(badge=_badge(eaters, "3", kitchen=3), key="3")
    eaters.arrival(badge=_badge(eaters, "4", kitchen=None), key="4")
    assert set(eaters.reader_rules("GATE-1")) == {"3", "4"}
    assert set(eaters.reader_rules("GATE-2")) == {"2"}
    _badge(eaters, "2", kitchen="3")
    assert set(eaters.reader_rules("GATE-1")) == {"2", "3", "4"}
    assert set(eaters.reader_rules("GATE-2")) == set()


def test_without_a_kitchen_that_has_readers_nothing_opens(eaters):
    eaters.choose(kitchens={"2": ["GATE-2"]})
    eaters.arrival(badge=_badge(eaters, "1", kitchen=1))
    assert eaters.reader_rules("GATE-1") == eaters.reader_rules("GATE-2") == {}
    assert eaters.tokens() == {}


def test_meals_and_kitchens_are_told_at_once_when_they_are_set(eaters):
    eaters.badge(qr="X", feed="PAID")
    eaters.put("paid_arrivals", "1", badge=ANNA, **THERE)
    with eaters.write_transaction() as session:
        add_reader_group(session, ReaderGroupSetting(name="Tents", readers=["GATE-2"]))
    assert eaters.choose(kitchens={"*": ["Tents", "*"]}, meals=MEALS)
    breakfast = "7_480_600_1111111_29919120_29923439"
    assert eaters.reader_rules("GATE-1") == eaters.reader_rules("GATE-2") == {"X": {breakfast}}
    with eaters.database.snapshot() as session:
        assert find_settings(session).model_dump() == {
            "kitchens": {"*": ["*", "Tents"]},
            "meals": MEALS,
        }
        assert session.scalars(select(Audit.action).where(Audit.kind == "kormitel")).all() == [
            "change",
            "change",
        ]
    assert not eaters.choose(kitchens={"*": ["*", "Tents", "*"]}, meals=MEALS)
    eaters.choose(kitchens={"*": ["Tents"]})
    assert eaters.reader_rules("GATE-1") == {}
    assert eaters.reader_rules("GATE-2") == {"X": {TODAY}}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"kitchens": {"1": []}}, "a kitchen needs at least one reader"),
        ({"kitchens": {"1": ["GATE-9"]}}, "there is no reader GATE-9"),
        ({"meals": [{"name": "Tea", "start": "25:00", "end": "26:00"}]}, "valid time of day"),
        ({"meals": [{"name": "Tea", "start": "15:00", "end": "16:00"}] * 2}, "two meals 'Tea'"),
    ],
)
def test_settings_that_are_refused(eaters, fields, sentence):
    with pytest.raises((InvalidRequest, NotFound), match=sentence):
        eaters.choose(**fields)


def test_readers_that_a_kitchen_has_are_not_removed(eaters):
    with eaters.write_transaction() as session:
        add_reader_group(session, ReaderGroupSetting(name="Tents", readers=["GATE-2"]))
    eaters.choose(kitchens={"7": ["Tents", "GATE-1"]})
    with (
        pytest.raises(InvalidRequest, match="kitchen 7 has the group"),
        eaters.write_transaction() as session,
    ):
        remove_reader_group(session, "Tents")
    with (
        pytest.raises(InvalidRequest, match="kitchen 7 has the reader"),
        eaters.write_transaction() as session,
    ):
        remove_reader(session, "GATE-1")
    eaters.choose()
    with eaters.write_transaction() as session:
        remove_reader_group(session, "Tents")
        remove_reader(session, "GATE-1")


def test_days_that_are_over_take_the_token_with_them(eaters, clock):
    eaters.badge()
    eaters.arrival()
    assert canteen.refresh_daily(eaters.database) is not None
    clock.minute = 29923439
    assert canteen.refresh_daily(eaters.database) == 0
    clock.minute += 1
    assert canteen.refresh_daily(eaters.database) is None
    clock.minute += 1440
    assert canteen.refresh_daily(eaters.database) == 2
    assert eaters.tokens() == {DIGITS: True, ANNA: True}
    assert refresh_horizon(eaters.database) is None


def test_another_zone_moves_the_days(eaters):
    eaters.badge()
    eaters.arrival()
    with eaters.write_transaction() as session:
        set_zone(session, "UTC0")
        assert canteen.recompute_all(session) == 2
    assert eaters.reader_rules()[DIGITS] == {"1_29919300_29923619"}


def test_the_exchange_is_paused_and_goes_on(eaters, clock):
    with eaters.write_transaction() as session:
        assert not set_paused(session, False)
        assert set_paused(session, True)
        assert paused_since(session) == change_context(session).micros
    clock.minute += 1
    with eaters.write_transaction() as session:
        assert not set_paused(session, True)
        assert paused_since(session) == change_context(session).micros - 60_000_000
        assert set_paused(session, False)
        assert paused_since(session) is None


def test_many_changes_come_to_what_all_at_once_does(eaters, clock):
    """Compare with an oracle that rebuilds everything, with few codes for many badges."""
    eaters.choose(kitchens={"*": ["GATE-1"]}, meals=MEALS)
    chance = random.Random(117)
    since: dict[str, tuple[str, int]] = {}
    badges: dict[str, dict[str, Any]] = {}
    arrivals: dict[str, dict[str, Any]] = {}
    for step in range(70):
        clock.minute += 1
        key = str(chance.randrange(1, 8))
        if chance.random() < 0.2 and key in badges:
            eaters.remove("badges", key)
            del badges[key]
            since.pop(key)
        elif chance.random() < 0.6 or key not in badges:
            badges[key] = {
                "qr": chance.choice(["A", "B", "C", None]),
                "feed": chance.choice(["FREE", "FREE", "CHILD", "NO"]),
                "is_blocked": chance.random() < 0.1,
            }
            eaters.badge(key, **badges[key])
            code = next(iter(badge_codes(key, badges[key])), key)
            if since.get(key, ("", 0))[0] != code:
                since[key] = code, step
        else:
            days = sorted(f"2026-11-{chance.randrange(20, 29)}" for _ in range(2))
            arrivals[key] = {
                "status": chance.choice(["ARRIVED", "JOINED", "LEFT"]),
                "arrival_date": days[0],
                "departure_date": days[1],
            }
            eaters.arrival(key, badge=key, **arrivals[key])
    assert eaters.reader_rules() == _oracle(badges, arrivals, since, clock.minute)
    with eaters.write_transaction() as session:
        assert canteen.recompute_all(session) == 0


def _oracle(badges, arrivals, since, now) -> dict[str, set[str]]:
    zone = Zone("MSK-3")
    meals = [Meal("Breakfast", 480, 600), Meal("Night", 1380, 120, night=True)]
    told = {}
    for _key, (code, _step) in since.items():
        owner = max((key for key in since if since[key][0] == code), key=lambda key: since[key][1])
        of_it = [arrivals[owner]] if owner in arrivals else []
        windows = fed_windows(badges[owner], of_it, [], zone)
        told[code] = set(rule_texts(windows, None, meals, now, zone).texts)
    return {code: texts for code, texts in told.items() if texts}


def _badge(eaters: Canteen, key: str, **fields: Any) -> str:
    eaters.badge(key, **fields)
    return key
