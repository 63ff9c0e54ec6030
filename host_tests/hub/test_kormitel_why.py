"""Why a person eats or does not, in words for an operator."""

from datetime import datetime

import pytest
from sqlalchemy import update

from hub.hub_site import START
from hub.kormitel_site import ANNA, DIGITS, MEALS, TODAY, Canteen, an_object
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel import canteen
from kalitka_hub.kormitel.settings import set_paused
from kalitka_hub.kormitel.why import explain_eating
from kalitka_hub.site.reader_groups import ReaderGroupSetting, add_reader_group
from kalitka_hub.site.tokens import TokenRecord, change_token
from kalitka_hub.store.kormitel_models import KormitelObject, KormitelQuarantined


@pytest.fixture
def eaters(database) -> Canteen:
    made = Canteen(database)
    made.badge(name="Анна Иванова", qr="AB-12", number="117")
    return made


@pytest.fixture
def ask(eaters):
    def asked(who: str = ANNA, at: str = "2026-11-21T21:59", reader: str | None = None):
        minute = int(datetime.fromisoformat(f"{at}+03:00").timestamp()) // 60
        with eaters.database.snapshot() as session:
            return explain_eating(session, who, minute, START, reader)

    return asked


def test_who_eats_is_told_with_the_arrival_and_the_rule(eaters, ask):
    eaters.arrival()
    said = ask()
    assert (said.eats, said.because) == (True, "ARRIVED from 2026-11-20 to 2026-11-22")
    assert (said.badge, said.name, said.code) == (ANNA, "Анна Иванова", "AB12")
    assert (said.meal, said.next_meal, said.notes) == (None, None, ())
    [reader] = said.readers
    assert (reader.reader, reader.allowed, reader.rule) == ("GATE-1", True, TODAY)
    assert reader.sources == ("from Kormitel: badge Анна Иванова",)


def test_a_badge_is_found_by_id_code_number_and_name(ask):
    for asked in (ANNA, DIGITS.upper(), "AB-12", "AB12", "117", "иВАН"):
        assert ask(asked).badge == ANNA


def test_the_code_is_that_of_the_badge_that_has_it(eaters, ask, clock):
    eaters.arrival()
    clock.minute += 1
    eaters.badge("2", name="Other", qr="AB12")
    assert ask("AB-12").badge == "2"
    assert ask().because == "its code belongs to the badge Other (2) now, which got it later"


def test_several_that_are_meant_are_named_and_nobody_is_said(eaters, ask):
    for number in range(8):
        eaters.badge(str(number), name=f"Ivan {number}")
    with pytest.raises(
        InvalidRequest, match=r"'ivan' matches Ivan 0 \(0\), .*Ivan 4 \(4\) and 3 more: name"
    ):
        ask("ivan")
    with pytest.raises(NotFound, match="number or name 'Boris'"):
        ask("Boris")
    with pytest.raises(NotFound):
        ask("?" * 300)
    with pytest.raises(InvalidRequest, match="no badge is named"):
        ask(" ")


@pytest.mark.parametrize(
    ("change", "because"),
    [
        (lambda eaters: None, "there is no arrival that counts"),
        (lambda eaters: eaters.arrival(status="LEFT"), "there is no arrival that counts"),
        (
            lambda eaters: eaters.arrival(arrival_date="2026-11-22"),
            "no arrival covers this day: the next one begins 2026-11-22T07:00",
        ),
        (
            lambda eaters: eaters.arrival(departure_date="2026-11-20"),
            "no arrival covers this day: the last one ended 2026-11-21T06:59",
        ),
        (lambda eaters: eaters.badge(feed="NO"), "feed is NO: the badge is not fed"),
        (lambda eaters: eaters.badge(is_blocked=True), "the badge is blocked"),
        (lambda eaters: eaters.badge(feed="PAID"), "feed is PAID, and there is no paid arrival"),
        (lambda eaters: eaters.badge(qr="a" * 256), "the badge has no code"),
        (lambda eaters: eaters.remove("badges", ANNA), "the badge was deleted at 2026-11-21T18:"),
        (lambda eaters: eaters.choose(), "the badge names no kitchen, and no reader is set"),
    ],
)
def test_who_does_not_eat_is_told_why(eaters, ask, change, because):
    eaters.badge(feed="FREE")
    change(eaters)
    said = ask()
    assert (said.eats, said.because[: len(because)]) == (False, because)


def test_each_arrival_says_why_it_counts_or_not(eaters, ask):
    eaters.arrival("1")
    eaters.arrival("2", status="PLANNED")
    eaters.arrival("3", arrival_date="2026-11-22")
    eaters.arrival("4")
    eaters.remove("arrivals", "4")
    eaters.put("paid_arrivals", "5", badge=ANNA, arrival_date="2026-11-20")
    eaters.arrival("6", departure_date=None)
    said = ask()
    assert [(one.id, one.counts, one.said) for one in said.arrivals] == [
        ("1", True, "it counts now"),
        ("2", False, "its status is PLANNED: not present"),
        ("3", False, "it begins 2026-11-22T07:00"),
        ("4", False, "it is deleted"),
        ("5", False, "it counts for feed PAID only"),
        ("6", False, "a date is missing or invalid"),
    ]
    assert said.arrivals[4].paid
    eaters.badge(feed="PAID")
    assert ask().arrivals[0].said == "for PAID only paid arrivals count"


def test_the_meal_that_is_on_and_the_next_one(eaters, ask):
    eaters.choose(kitchens={"*": ["GATE-1"]}, meals=MEALS)
    eaters.arrival()
    said = ask(at="2026-11-21T21:59")
    assert (said.eats, said.meal) == (False, None)
    assert said.because == "no meal is on: the next one is Night, 23:00 to 02:00"
    assert said.readers[0].reason == "outside its hours"
    for at, meal in (("2026-11-22T02:00", "Night"), ("2026-11-22T08:00", "Breakfast")):
        said = ask(at=at)
        assert said.eats
        assert (said.meal or "").startswith(meal)
    assert said.next_meal == "Night, 23:00 to 02:00"


def test_a_night_meal_is_none_of_who_pays(eaters, ask):
    eaters.choose(kitchens={"*": ["GATE-1"]}, meals=MEALS[1:])
    eaters.badge(feed="PAID")
    dates = {"arrival_date": "2026-11-20", "departure_date": "2026-11-22"}
    eaters.put("paid_arrivals", "1", badge=ANNA, **dates)
    said = ask(at="2026-11-21T23:30")
    assert said.because == "the only meals are at night, which are not for PAID"


def test_the_reader_that_is_asked_about_is_the_one_that_counts(eaters, ask):
    eaters.arrival()
    assert ask(reader="GATE-1").eats
    said = ask(reader="GATE-2")
    assert (said.eats, said.because) == (False, "GATE-2 is not a reader of its kitchen")
    assert [one.reader for one in said.readers] == ["GATE-2"]
    with pytest.raises(NotFound):
        ask(reader="GATE-9")


def test_all_readers_of_the_kitchen_are_asked(eaters, ask):
    with eaters.write_transaction() as session:
        add_reader_group(session, ReaderGroupSetting(name="Tents", readers=["GATE-2"]))
    eaters.choose(kitchens={"*": ["GATE-1"], "2": ["Tents"], "3": ["*"]})
    eaters.badge(kitchen=2)
    eaters.arrival()
    assert [one.reader for one in ask().readers] == ["GATE-2"]
    eaters.badge(kitchen="3")
    assert [one.reader for one in ask().readers] == ["GATE-1", "GATE-2"]


def test_a_rule_by_hand_and_a_blocked_token_are_named(eaters, ask):
    eaters.arrival()
    with eaters.write_transaction() as session:
        change_token(session, "AB12", TokenRecord(code="AB12", rules=["9_1"]))
    eaters.arrival(status="LEFT")
    said = ask()
    assert (said.eats, said.because) == (
        True,
        "GATE-1 lets it in: manual rule for all readers",
    )
    with eaters.write_transaction() as session:
        change_token(session, "AB12", TokenRecord(code="AB12", blocked=True))
    assert ask().because == "its token AB12 is blocked at the hub"


def test_what_is_held_back_or_set_aside_and_the_pause_are_told(eaters, ask):
    sent = {
        "flat": {"date": "2026-11-21T00:00:00Z", "data": {"id": "x", "badge": ANNA.upper()}},
        "updated": {"id": "1", "data": {}},
        "deleted": ANNA,
        "inserted": {"id": "9", "badge": "another", "data": {}},
    }
    eaters.arrival("1")
    with eaters.write_transaction() as session:
        an_object(session, "arrivals", "2", {"badge": ANNA})
        incomplete = update(KormitelObject).where(KormitelObject.key == "2")
        session.execute(incomplete.values(held="status is missing"))
        for number, (verb, item) in enumerate(sent.items(), 1):
            kind = "badges" if verb == "deleted" else "arrivals"
            left = {"kind": kind, "item": [verb, item], "reason": f"{verb} is wrong"}
            state = {"sha256": str(number), "state": "open", "at": 1, "by": "client"}
            session.add(KormitelQuarantined(**left, **state))
        canteen.recompute_all(session)
        set_paused(session, True)
    assert ask().notes == (
        "the exchange with Kormitel is paused since 2026-11-21T18:59:38.250000Z",
        "arrivals 2 is withheld from Kormitel: status is missing",
        "quarantined item 3: deleted is wrong",
        "quarantined item 2: updated is wrong",
        "quarantined item 1: flat is wrong",
    )
