"""kormitel.md line by line: what breaks the client, and what it sends that surprises.

Each line is sent to the hub over HTTP, and the model of the client takes the hub's answer, or
breaks. The words of each line stand above its test.
"""

import pytest

from hub.hub_site import ON_SQLITE
from hub.kormitel_client import Broke
from hub.kormitel_exchange import Exchange
from hub.kormitel_items import GONE, flat, known, stay, uid
from kalitka_hub.kormitel import quarantine, service
from kalitka_hub.kormitel.dates import SECOND, utc_text
from kalitka_hub.kormitel.settings import CanteenSetting, change_settings
from kalitka_hub.store.changes import write_transaction

pytestmark = ON_SQLITE

BADGE, OTHER, ARRIVAL = uid(1), uid(2), uid(3)
PERSON, DIRECTION, ENGAGEMENT, DUTY = uid(4), uid(5), uid(6), uid(7)
FULL_ENGAGEMENT = {
    **{"year": 2026, "person": PERSON, "direction": DIRECTION},
    **{"role": "MEDIC", "position": "p", "status": "s"},
}
FULL_DIRECTION = {"name": "d", "first_year": 2020, "last_year": 2026, "type": "CITY_SERVICE"}


@pytest.fixture
def exchange(site):
    return Exchange(site)


# What breaks the client


def test_the_model_of_the_client_breaks(exchange):
    for told in (
        {"badges": [{"id": BADGE, "deleted": False, "role": None}]},
        {"badges": [{"id": BADGE, "deleted": False, "batch": "x"}]},
        {"badges": [{"id": BADGE, "deleted": False, "qr": "x"}]},
        {"badges": [{"id": BADGE.upper(), "deleted": False}]},
        {"badges": None},
        {"arrivals": [{"id": ARRIVAL, "deleted": False, **stay(BADGE)}]},
        {"directions": [{"id": DIRECTION, "deleted": True}]},
    ):
        with pytest.raises(Broke):
            exchange.kormitel.save({"badges": [], "arrivals": [], **told})
        exchange.kormitel.restart()


# "badge: role: null or vegan: null (leave them out)"
def test_role_and_vegan_of_a_badge_are_left_out_if_they_are_null(exchange):
    exchange.post(badges=[flat(BADGE, name="A", role=None, vegan=None, comment=None)])
    (badge,) = exchange.asked()["badges"]
    assert badge == {"id": BADGE, "deleted": False, "name": "A", "comment": None}


# "a batch that is not numeric"
def test_a_batch_that_is_no_number_is_held_back(exchange):
    exchange.post(badges=[flat(BADGE, batch="3-b", name="A"), flat(OTHER, batch="3")])
    told = {badge["id"]: badge for badge in exchange.asked()["badges"]}
    assert told[BADGE] == {"id": BADGE, "deleted": False, "name": "A"}
    assert told[OTHER]["batch"] == "3"
    assert "batch" in exchange.held()[BADGE]


# "an unchanged qr (leave qr out, always)"
def test_a_qr_is_never_told(exchange):
    exchange.post(badges=[flat(BADGE, qr="A", name="A")])
    exchange.put("badges", BADGE, qr="B")
    assert "qr" not in exchange.asked()["badges"][0]


# "arrival: any of badge, status, both dates, both transports missing or null, also when it is
# deleted"
@pytest.mark.parametrize("lacking", [name for name in stay(BADGE) if name != "badge"])
def test_an_arrival_that_lacks_anything_is_never_told(exchange, lacking):
    for value in (GONE, None):
        exchange.post(
            badges=[flat(BADGE)], arrivals=[flat(ARRIVAL, **{**stay(BADGE), lacking: value})]
        )
        assert exchange.asked()["arrivals"] == []
    assert lacking in exchange.held()[ARRIVAL]
    exchange.post(arrivals=[flat(ARRIVAL, deleted=True)])
    assert exchange.asked()["arrivals"] == []


# "a date-time instead of a date"
def test_a_date_time_is_no_date(exchange):
    exchange.post(badges=[flat(BADGE)])
    exchange.post(arrivals=[flat(ARRIVAL, **stay(BADGE, first="2026-11-20T00:00:00"))])
    assert exchange.asked()["arrivals"] == []
    assert "arrival_date is not a valid date" in exchange.aside()[0]


# "a badge that does not exist"
def test_an_arrival_of_nobody_is_never_told(exchange):
    exchange.post(arrivals=[flat(ARRIVAL, **stay(OTHER))])
    assert exchange.asked()["arrivals"] == []
    assert "is not known here" in exchange.aside()[0]


# "engagement and direction need the full object, also when deleted"
def test_engagements_and_directions_are_told_whole_or_not_at_all(exchange):
    exchange.post(
        persons=[flat(PERSON)],
        directions=[flat(DIRECTION, **FULL_DIRECTION), flat(DUTY, name="only that")],
        engagements=[
            flat(ENGAGEMENT, **FULL_ENGAGEMENT),
            flat(uid(8), **FULL_ENGAGEMENT | {"role": None}),
        ],
    )
    told = exchange.asked()
    assert [one["id"] for one in told["directions"]] == [DIRECTION]
    assert [one["id"] for one in told["engagements"]] == [ENGAGEMENT]
    assert set(exchange.held()) == {DUTY, uid(8)}
    exchange.remove("engagements", ENGAGEMENT)
    (engagement,) = exchange.asked()["engagements"]
    assert engagement == {"id": ENGAGEMENT, "deleted": True, **FULL_ENGAGEMENT}


# "a direction that an engagement still refers to cannot be deleted, not even with that engagement
# in the same answer"
def test_a_direction_is_deleted_in_a_later_answer_than_its_engagement(exchange):
    exchange.post(
        persons=[flat(PERSON)],
        directions=[flat(DIRECTION, **FULL_DIRECTION)],
        engagements=[flat(ENGAGEMENT, **FULL_ENGAGEMENT)],
    )
    assert DIRECTION in exchange.poll()["directions"]
    exchange.post(directions=[flat(DIRECTION, deleted=True)])
    assert DIRECTION in exchange.poll()["directions"]
    exchange.remove("engagements", ENGAGEMENT)
    assert exchange.poll()["engagements"] == {}
    for _ in range(5):
        exchange.poll()
    assert exchange.kormitel.known["directions"] == {}


# "Badge and person may be {id, deleted: true}"
def test_of_badges_and_persons_that_are_deleted_nothing_else_is_told(exchange):
    exchange.post(badges=[flat(BADGE, name="A")], persons=[flat(PERSON, name="A")])
    exchange.remove("badges", BADGE)
    exchange.remove("persons", PERSON)
    told = exchange.asked()
    assert told["badges"] == [{"id": BADGE, "deleted": True}]
    assert told["persons"] == [{"id": PERSON, "deleted": True}]


# "send the badge along with its changed arrivals"
def test_a_badge_comes_with_its_changed_arrival(exchange):
    exchange.post(badges=[flat(BADGE, name="A")], arrivals=[flat(ARRIVAL, **stay(BADGE))])
    exchange.poll()
    exchange.put("arrivals", ARRIVAL, status="LEFT")
    exchange.poll()  # an arrival alone would break the client
    assert exchange.kormitel.known["arrivals"][ARRIVAL]["status"] == "LEFT"


# "{id, deleted: false} is enough for a badge that goes along; all its fields rewrite what was
# changed there without history"
def test_fact_5_a_badge_that_goes_along_undoes_nothing_that_was_never_posted(exchange):
    exchange.post(
        badges=[flat(BADGE, name="A", comment="x")], arrivals=[flat(ARRIVAL, **stay(BADGE))]
    )
    exchange.poll()
    exchange.poll()
    exchange.kormitel.change_quietly("badges", BADGE, comment="quiet")
    exchange.put("arrivals", ARRIVAL, status="LEFT")
    exchange.poll()
    assert exchange.told["badges"] == [{"id": BADGE, "deleted": False}]
    assert exchange.kormitel.known["arrivals"][ARRIVAL]["status"] == "LEFT"
    assert exchange.kormitel.known["badges"][BADGE]["comment"] == "quiet"


# "ids are lower-case uuids with dashes (compared as strings)"
def test_ids_are_told_as_the_client_compares_them(exchange):
    exchange.post(badges=[flat(BADGE.replace("-", "").upper()), flat(17), flat("guid")])
    assert [badge["id"] for badge in exchange.asked()["badges"]] == [BADGE]
    assert set(exchange.held()) == {"17", "guid"}


# What it sends that surprises


# "qr null or empty means on no scanner, not the id"
@pytest.mark.parametrize("cleared", [None, ""])
def test_fact_7_a_badge_whose_qr_is_cleared_opens_nothing(exchange, cleared):
    with write_transaction(exchange.database) as session:
        change_settings(session, CanteenSetting(kitchens={"*": ["GATE-1"]}, meals=[]))
    digits = BADGE.replace("-", "")
    exchange.post(badges=[flat(BADGE, feed="FREE")], arrivals=[flat(ARRIVAL, **stay(BADGE))])
    assert exchange.opens(digits)
    exchange.post(badges=[flat(BADGE, qr="AB12")])
    assert exchange.opens("AB12") and not exchange.opens(digits)
    exchange.post(badges=[flat(BADGE, qr=cleared)])
    assert not exchange.opens("AB12") and not exchange.opens(digits)
    exchange.post(badges=[flat(BADGE, qr="CD34")])
    assert exchange.opens("CD34")


# "data also carries its own fields: qr, is_blocked, kitchen, ..."
def test_its_own_fields_are_kept(exchange):
    own = {"qr": "Q", "is_blocked": True, "kitchen": 2, "main_role": "x", "ticket": [1]}
    exchange.post(badges=[flat(BADGE, **own, directions=["d"])])
    assert known(exchange.database, "badges", BADGE).fields == {**own, "directions": ["d"]}
    assert exchange.asked()["badges"] == [{"id": BADGE, "deleted": False}]


# "feed_type (1 FREE, 2 PAID, 3 CHILD, 4 NO)", "A mass edit sends is_vegan and feed_type instead"
@pytest.mark.parametrize("number, feed", [(1, "FREE"), (2, "PAID"), (3, "CHILD"), (4, "NO")])
def test_a_mass_edit_has_other_names(exchange, number, feed):
    exchange.post(badges=[flat(BADGE, vegan=False, feed="FREE")])
    exchange.post(badges=[flat(BADGE, is_vegan=True, feed_type=number)])
    assert known(exchange.database, "badges", BADGE).fields == {"vegan": True, "feed": feed}


# "An unset feed comes as feed: NO, feed_type: null: where feed_type is present it counts, and null
# eats as FREE."
def test_fact_3_an_unset_feed_is_neither_no_nor_told_back_as_no(exchange):
    exchange.put("badges", BADGE, new=True, name="A", feed="PAID")
    exchange.poll()
    exchange.kormitel.change("badges", BADGE, feed_type=None)
    exchange.poll()
    assert known(exchange.database, "badges", BADGE).fields["feed"] is None
    exchange.put("badges", BADGE, name="B")
    exchange.poll()
    badge = exchange.kormitel.known["badges"][BADGE]
    assert (badge["name"], badge["feed"]) == ("B", None)


@pytest.mark.parametrize("number, feed", [(1, "FREE"), (2, "PAID"), (3, "CHILD"), (4, "NO")])
def test_fact_3_of_two_names_of_a_feed_its_number_counts(exchange, number, feed):
    exchange.post(badges=[flat(BADGE, feed="ANYTHING", feed_type=number, vegan=True)])
    assert known(exchange.database, "badges", BADGE).fields == {"vegan": True, "feed": feed}
    exchange.post(badges=[flat(BADGE, feed="CHILD")])
    assert known(exchange.database, "badges", BADGE).fields["feed"] == "CHILD"


# "Status has an eleventh value, UNDEFINED ("no badge"): does not eat"
def test_fact_6_the_eleventh_status_is_taken_and_told_and_does_not_eat(exchange):
    with write_transaction(exchange.database) as session:
        change_settings(session, CanteenSetting(kitchens={"*": ["GATE-1"]}, meals=[]))
    exchange.post(badges=[flat(BADGE, qr="Q")], arrivals=[flat(ARRIVAL, **stay(BADGE))])
    assert exchange.opens("Q")
    exchange.post(arrivals=[flat(ARRIVAL, status="UNDEFINED")])
    assert not exchange.opens("Q")
    exchange.poll()
    exchange.poll()
    assert exchange.kormitel.known["arrivals"][ARRIVAL]["status"] == "UNDEFINED"
    assert exchange.aside() == []


# An item with one bad field keeps its good ones; only the rest is set aside.
def test_fact_6_of_an_item_only_the_bad_field_is_set_aside(exchange):
    exchange.post(badges=[flat(BADGE)], arrivals=[flat(ARRIVAL, **stay(BADGE))])
    exchange.clock.minute += 1
    bad = {"status": "LOST", "departure_date": "2026-11-25"}
    for applied, unchanged, set_aside in ((1, 0, 1), (0, 2, 0)):
        counts = exchange.post(arrivals=[flat(ARRIVAL, **bad)])
        assert [*counts.values()] == [2, applied, unchanged, set_aside]
    arrival = known(exchange.database, "arrivals", ARRIVAL).fields
    assert (arrival["status"], arrival["departure_date"]) == ("ARRIVED", "2026-11-25")
    assert "status is not one of" in exchange.aside()[0]
    with write_transaction(exchange.database, "anna") as session:
        number = quarantine.list_items(session)[0].id
        assert quarantine.list_items(session)[0].item["data"] == {"id": ARRIVAL, "status": "LOST"}
        service.apply_quarantined(session, number, {"status": "LEFT"})
    assert known(exchange.database, "arrivals", ARRIVAL).fields["status"] == "LEFT"


# A change that was set aside is not overwritten by telling the old value back.
def test_fact_4_what_was_set_aside_is_not_told_back_until_it_is_decided(exchange):
    exchange.put("badges", BADGE, new=True, name="A", phone="1")
    exchange.poll()
    bad = {"phone": 12345, "comment": "good"}
    exchange.kormitel.change_quietly("badges", BADGE, phone="2", comment="good")
    exchange.kormitel.queue_item("badges", {"id": BADGE, **bad})
    exchange.poll()
    exchange.put("badges", BADGE, name="B", phone="3")
    exchange.poll()
    badge = exchange.kormitel.known["badges"][BADGE]
    assert (badge["name"], badge["phone"], badge["comment"]) == ("B", "2", "good")
    with exchange.database.snapshot() as session:
        number = quarantine.list_items(session)[0].id
    said = f"a change of its phone was set aside as item {number}: apply or dismiss it first"
    assert said in exchange.held()[BADGE]
    with write_transaction(exchange.database, "anna") as session:
        service.dismiss_quarantined(session, number)
    assert exchange.held() == {}
    exchange.poll()
    assert exchange.kormitel.known["badges"][BADGE]["phone"] == "3"


def test_fact_4_an_arrival_is_held_back_until_what_was_set_aside_of_it_is_applied(exchange):
    exchange.put("badges", BADGE, new=True, name="A")
    exchange.put("arrivals", ARRIVAL, new=True, **stay(BADGE))
    exchange.poll()
    exchange.kormitel.change_quietly("arrivals", ARRIVAL, status="LOST")
    exchange.kormitel.queue_item("arrivals", {"id": ARRIVAL, "status": "LOST"})
    exchange.poll()
    exchange.put("arrivals", ARRIVAL, departure_date="2026-11-25")
    exchange.poll()
    exchange.poll()
    arrival = exchange.kormitel.known["arrivals"][ARRIVAL]
    assert (arrival["status"], arrival["departure_date"]) == ("LOST", "2026-11-22")
    assert "a change of its status was set aside" in exchange.held()[ARRIVAL]
    with write_transaction(exchange.database, "anna") as session:
        number = quarantine.list_items(session)[0].id
        service.apply_quarantined(session, number, {"status": "LEFT"})
    exchange.poll()
    arrival = exchange.kormitel.known["arrivals"][ARRIVAL]
    assert (arrival["status"], arrival["departure_date"]) == ("LEFT", "2026-11-25")


def test_fact_4_an_arrival_moves_to_a_badge_that_comes_later(exchange):
    exchange.put("badges", BADGE, new=True, name="A")
    exchange.put("arrivals", ARRIVAL, new=True, **stay(BADGE))
    exchange.poll()
    exchange.clock.minute += 1
    exchange.post(arrivals=[flat(ARRIVAL, utc_text(int(exchange.clock() * SECOND)), badge=OTHER)])
    assert "a change of its badge was set aside" in exchange.held()[ARRIVAL]
    exchange.post(badges=[flat(OTHER, name="B")])
    assert exchange.held() == {} and exchange.aside() == []
    exchange.poll()
    assert exchange.kormitel.known["arrivals"][ARRIVAL]["badge"] == OTHER


# "its undo sends items with no id"
def test_the_undo_of_a_mass_edit_has_no_id(exchange):
    counts = exchange.post(badges=[{"actor_badge": OTHER, "data": {"is_vegan": False}}])
    assert counts["set_aside"] == 1
    assert "there is no id" in exchange.aside()[0]


# "A patch of an arrival comes without badge"
def test_a_patch_of_an_arrival_is_of_the_badge_that_is_known(exchange):
    exchange.post(badges=[flat(BADGE)], arrivals=[flat(ARRIVAL, **stay(BADGE))])
    assert exchange.post(arrivals=[flat(ARRIVAL, status="LEFT")])["applied"] == 1
    assert exchange.asked()["arrivals"][0]["badge"] == BADGE


# "The same object can come several times in one body, in order of time"
def test_an_object_comes_several_times_in_one_body(exchange):
    dates = [f"2026-11-20T10:00:00.00000{number}Z" for number in range(3)]
    sent = [flat(BADGE, date, name=date[-2:-1]) for date in dates]
    assert exchange.post(badges=sent)["applied"] == 3
    assert known(exchange.database, "badges", BADGE).fields == {"name": "2"}


# "a portion can repeat items or miss some. Be idempotent and apply by date"
def test_portions_repeat_and_miss(exchange):
    dates = [f"2026-11-20T10:00:00.00000{number}Z" for number in range(4)]
    first, second, third, fourth = (flat(BADGE, date, name=date[-2:-1]) for date in dates)
    exchange.post(badges=[first, second])
    exchange.post(badges=[second, fourth])
    before = known(exchange.database, "badges", BADGE)
    assert before.fields == {"name": "3"}
    assert exchange.post(badges=[first, third, fourth])["applied"] == 0
    assert known(exchange.database, "badges", BADGE).fields == {"name": "3"}


# "actor_badge is null when a service user acted"
def test_who_did_it_is_a_badge_or_nobody(exchange):
    date = "2026-11-20T10:00:00.123456Z"
    exchange.post(badges=[{**flat(BADGE, date, name="A"), "actor_badge": None}])
    assert known(exchange.database, "badges", BADGE).by == "kormitel"
    exchange.post(badges=[{**flat(OTHER, date, name="A"), "actor_badge": BADGE}])
    assert known(exchange.database, "badges", OTHER).by == f"kormitel (badge {BADGE})"
