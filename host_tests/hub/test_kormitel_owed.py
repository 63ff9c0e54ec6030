"""What the hub changed in an object that the client posted in the same run reaches the client.

The client passes over what it posted in the answer of that run, and moves its date on
(kormitel.md, "Skip"): the model does so too.
"""

import pytest

from hub.hub_site import ON_SQLITE
from hub.kormitel_client import Lost
from hub.kormitel_exchange import Exchange
from hub.kormitel_items import flat, send, stay, uid
from kalitka_hub.store.kormitel_models import KormitelOwed

pytestmark = ON_SQLITE

BADGE, OTHER, ARRIVAL = uid(1), uid(2), uid(3)


@pytest.fixture
def exchange(site):
    """Both know a badge, a second one and an arrival."""
    found = Exchange(site)
    found.put("badges", BADGE, new=True, name="Anna", comment="old")
    found.put("badges", OTHER, new=True, name="Boris")
    found.put("arrivals", ARRIVAL, new=True, **stay(BADGE))
    found.poll()
    found.poll()
    return found


def owed(exchange):
    with exchange.database.snapshot() as session:
        return [row.key for row in session.query(KormitelOwed)]


def comment_of(exchange, badge=BADGE):
    return exchange.kormitel.known["badges"][badge].get("comment")


def test_fact_2_what_was_changed_here_before_the_client_posted_is_told_in_the_next_run(exchange):
    exchange.clock.minute += 5
    exchange.put("badges", BADGE, comment="new")
    exchange.kormitel.change("badges", BADGE, number="7")
    exchange.poll()
    assert comment_of(exchange) == "old"  # passed over
    exchange.poll()
    assert comment_of(exchange) == "new"
    assert exchange.kormitel.known["badges"][BADGE]["number"] == "7"


def test_fact_2_what_is_changed_here_between_its_post_and_its_question_is_told(exchange):
    exchange.kormitel.change("badges", BADGE, number="7")
    exchange.after_post = lambda: exchange.put("badges", BADGE, comment="new")
    exchange.poll()
    assert comment_of(exchange) == "old"
    exchange.poll()
    assert comment_of(exchange) == "new"


def test_fact_2_it_is_owed_until_an_answer_was_taken_and_no_longer(exchange):
    exchange.clock.minute += 5
    exchange.put("badges", BADGE, comment="new")
    exchange.kormitel.change("badges", BADGE, number="7")
    exchange.poll()
    assert owed(exchange) == [BADGE]
    for _ in range(3):
        # The answer does not arrive: the client asks from the same date again.
        exchange.lose_answers = True
        with pytest.raises(Lost):
            exchange.poll()
    exchange.lose_answers = False
    exchange.poll()
    assert comment_of(exchange) == "new"
    exchange.poll()
    assert owed(exchange) == []
    assert exchange.told["badges"] == []


def test_fact_2_an_object_that_is_posted_again_and_again_is_told_when_it_no_longer_is(exchange):
    exchange.clock.minute += 5
    exchange.put("badges", BADGE, comment="new")
    for number in range(4):
        exchange.kormitel.change("badges", BADGE, number=str(number))
        exchange.poll()
        assert comment_of(exchange) == "old"
    exchange.poll()
    assert comment_of(exchange) == "new"


def test_fact_2_a_back_sync_that_changed_nothing_is_owed_too(exchange):
    exchange.clock.minute += 5
    exchange.put("badges", BADGE, comment="new", number="7")
    exchange.kormitel.change("badges", BADGE, number="7")
    exchange.poll()
    assert comment_of(exchange) == "old"
    exchange.poll()
    assert comment_of(exchange) == "new"


def test_fact_2_a_back_sync_whose_answer_was_lost_and_that_is_repeated_is_owed(exchange):
    exchange.kormitel.change("badges", BADGE, number="7")
    exchange.lose_answers = True
    with pytest.raises(Lost):
        exchange.poll()
    exchange.lose_answers = False
    exchange.put("badges", BADGE, comment="new")
    exchange.poll()
    assert comment_of(exchange) == "old"
    exchange.poll()
    assert comment_of(exchange) == "new"


def test_fact_2_a_deletion_here_of_what_was_posted_is_told(exchange):
    exchange.clock.minute += 5
    exchange.remove("badges", OTHER)
    exchange.kormitel.queue_item("badges", {"id": OTHER, "number": "7"})
    exchange.poll()
    assert not exchange.kormitel.known["badges"][OTHER]["deleted"]
    exchange.poll()
    assert exchange.kormitel.known["badges"][OTHER]["deleted"]


def test_fact_2_an_arrival_is_told_with_its_badge(exchange):
    exchange.clock.minute += 5
    exchange.put("arrivals", ARRIVAL, departure_date="2026-11-29")
    exchange.kormitel.change("arrivals", ARRIVAL, status="LEFT")
    exchange.poll()
    assert exchange.kormitel.known["arrivals"][ARRIVAL]["departure_date"] == "2026-11-22"
    exchange.poll()  # without the badge the client would break
    assert exchange.kormitel.known["arrivals"][ARRIVAL]["departure_date"] == "2026-11-29"


def test_fact_2_a_newer_value_than_the_clients_is_told_again(exchange):
    # The client's change is older, and has no effect: it believes its own value until it is told.
    exchange.clock.minute += 5
    exchange.put("badges", BADGE, comment="new")
    exchange.poll()
    exchange.clock.minute -= 16
    exchange.kormitel.change("badges", BADGE, comment="older")
    exchange.clock.minute += 16
    exchange.poll()
    exchange.poll()
    assert comment_of(exchange) == "new"


def test_fact_2_what_was_withheld_until_the_client_posted_is_told(exchange):
    exchange.put("badges", BADGE, person=uid(9))
    exchange.poll()
    exchange.clock.minute += 5
    exchange.put("persons", uid(9), new=True, name="Anna")
    exchange.kormitel.change("badges", BADGE, number="7")
    exchange.poll()
    assert "person" not in exchange.kormitel.known["badges"][BADGE]
    exchange.poll()
    assert exchange.kormitel.known["badges"][BADGE]["person"] == uid(9)


def test_fact_2_what_changed_while_a_badge_was_deleted_is_told_when_the_client_brings_it_back(
    exchange,
):
    exchange.put("badges", BADGE, person=uid(9))
    exchange.kormitel.change("badges", BADGE, deleted=True)
    exchange.poll()
    exchange.put("persons", uid(9), new=True, name="Anna")
    for _ in range(3):
        exchange.poll()
    exchange.kormitel.change("badges", BADGE, deleted=False)
    exchange.poll()
    assert "person" not in exchange.kormitel.known["badges"][BADGE]
    exchange.poll()
    assert exchange.kormitel.known["badges"][BADGE]["person"] == uid(9)


def test_fact_2_what_was_set_aside_is_owed_like_what_was_applied(exchange):
    exchange.clock.minute += 5
    exchange.put("badges", BADGE, comment="new")
    exchange.kormitel.queue_item("badges", {"id": BADGE, "feed": "EVERYTHING"})
    exchange.poll()
    assert comment_of(exchange) == "old"
    exchange.poll()
    assert comment_of(exchange) == "new"


def test_fact_2_another_clients_change_is_owed_and_the_clients_own_is_not(exchange):
    exchange.clock.minute += 5
    send(exchange.database, "another", badges=[flat(BADGE, comment="new")])
    exchange.kormitel.change("badges", BADGE, number="7")
    exchange.kormitel.change("badges", OTHER, number="8")
    exchange.poll()
    assert owed(exchange) == [BADGE]
    exchange.poll()
    assert comment_of(exchange) == "new"
