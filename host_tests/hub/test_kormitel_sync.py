"""The answers of `sync`: selection by date, exact under writers, in both shapes; and their log.

The tests insert objects with the times that they need; `test_kormitel_objects` tests how those
times arise.
"""

import json
import random
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hub.hub_site import ON_SQLITE
from hub.kormitel_items import flat as item
from hub.kormitel_items import send
from kalitka_hub.kormitel import back_sync, exchange_log, export, service
from kalitka_hub.kormitel.client_clock import DateAsked, lower_bound
from kalitka_hub.kormitel.dates import SECOND, utc_text
from kalitka_hub.kormitel.exchange_log import ExchangeOutcome, Paused
from kalitka_hub.kormitel.export import SyncAnswer, SyncQuery
from kalitka_hub.kormitel.service import Counts
from kalitka_hub.store.bulk import insert_rows
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database
from kalitka_hub.store.kormitel_models import KormitelExchange, KormitelObject
from kalitka_hub.store.models import Site

KINDS = ["persons", "directions", "engagements", "badges", "arrivals"]
GROUPED_KINDS = ["badges", "arrivals", "engagements", "persons", "directions"]
MINUTE = 60 * SECOND


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def fill(database, kind, number, born, **more: Any) -> str:
    """Insert an object that is alive since `born`, and last changed then; return its key."""
    key = uuid(number)
    ends = [time for time in (born, more.get("died")) if time is not None]
    columns = {"fields": {"name": f"{kind} {number}"}, "changed": max(ends), **more}
    with write_transaction(database) as session:
        row = KormitelObject(
            kind=kind, key=key, writes=[], created=born, born=born, by="somebody", **columns
        )
        session.add(row)
    return key


def answered(database, shape, from_date=None, user="kormitel", whole=False) -> dict[str, Any]:
    answer = SyncAnswer(database, SyncQuery(user, shape, from_date, whole))
    body = b"".join(answer.parts)
    answer.close()
    return json.loads(body)


def flat(database, from_date=None, **more):
    """Return the objects of a flat answer by kind, each with whether it is deleted."""
    told = answered(database, "flat", from_date, **more)
    return {
        kind: {one["id"]: one["deleted"] for one in found} for kind, found in told.items() if found
    }


def grouped(database, from_date=None, **more):
    """Return the ids of a grouped answer by kind and verb, without empty ones."""
    told = answered(database, "grouped", from_date, **more)
    ids = {
        kind: {
            verb: [one if verb == "deleted" else one["id"] for one in found]
            for verb, found in group.items()
            if found
        }
        for kind, group in told.items()
    }
    return {kind: group for kind, group in ids.items() if group}


def now_of(clock) -> int:
    return int(clock() * SECOND)


# Existing objects


@pytest.mark.parametrize(("shape", "kinds"), [("flat", KINDS), ("grouped", GROUPED_KINDS)])
def test_the_five_groups_are_always_there_and_further_ones_by_name(database, shape, kinds):
    empty = [] if shape == "flat" else {"inserted": [], "updated": [], "deleted": []}
    assert list(answered(database, shape).items()) == [(kind, empty) for kind in kinds]
    for kind in ("wishes", "paid_arrivals"):
        fill(database, kind, 1, 100)
    told = answered(database, shape, 50)
    assert list(told) == [*kinds, "paid_arrivals", "wishes"]
    found = told["wishes"] if shape == "flat" else told["wishes"]["inserted"]
    assert [one["name"] for one in found] == ["wishes 1"]
    assert list(answered(database, shape, 101)) == kinds


@pytest.mark.parametrize("shape", ["flat", "grouped"])
def test_the_bound_is_inclusive_and_what_is_told_is_told_again(database, shape):
    key = fill(database, "persons", 1, 1000)
    for from_date, is_told in ((None, True), (999, True), (1000, True), (1001, False)):
        for _ in range(2):
            assert (key in json.dumps(answered(database, shape, from_date))) == is_told


def test_the_flat_shape_tells_deletions_but_not_of_what_was_never_known(database):
    there = fill(database, "badges", 1, 100)
    gone = fill(database, "badges", 2, 100, died=200)
    fill(database, "badges", 3, None, died=200)
    fill(database, "badges", 4, 100, held="its batch is no number")
    again = fill(database, "badges", 5, None, died=300, lives=[[100, 200]])
    assert flat(database, 50) == {"badges": {there: False, gone: True, again: True}}


def test_a_badge_goes_along_with_its_changed_arrivals_once(database):
    badge = fill(database, "badges", 1, 100)
    fill(database, "badges", 2, 100)
    held = fill(database, "badges", 3, 100, held="why ever")
    arrivals = [fill(database, "arrivals", number, 500, badge=badge) for number in (1, 2)]
    arrivals.append(fill(database, "arrivals", 3, 100, died=600, badge=uuid(2)))
    fill(database, "arrivals", 4, 100, badge=badge)
    fill(database, "arrivals", 5, 500, badge=held, held="its badge is held back")
    told = answered(database, "flat", 500)
    assert [one["id"] for one in told["badges"]] == [badge, uuid(2)]
    assert [one["id"] for one in told["arrivals"]] == arrivals
    # The grouped shape has only the id of a deleted object, and withholds nothing.
    told = grouped(database, 500)
    assert told["badges"] == {"updated": [badge, held]}
    assert told["arrivals"] == {"inserted": [*arrivals[:2], uuid(5)], "deleted": [arrivals[2]]}
    assert "badges" not in flat(database, 601)


def test_what_an_engagement_refers_to_goes_along_with_it(database):
    # The client may never have been sent them: its clock may be ahead, which is not known yet.
    person, direction = fill(database, "persons", 1, 100), fill(database, "directions", 2, 100)
    fill(database, "persons", 3, 100)
    refers = {"person": person, "direction": direction}
    engagement = fill(database, "engagements", 4, 500, **refers)
    assert flat(database, 500) == {
        "persons": {person: False},
        "directions": {direction: False},
        "engagements": {engagement: False},
    }


def test_whole_objects_have_kormitels_own_fields(database):
    fields = {"name": "Anna", "qr": "x", "kitchen": 2}
    fill(database, "badges", 1, 100, fields=fields)
    for shape in ("flat", "grouped"):
        for whole in (False, True):
            told = answered(database, shape, whole=whole)["badges"]
            one = told[0] if shape == "flat" else told["inserted"][0]
            assert {name: one[name] for name in fields if name in one} == (
                fields if whole else {"name": "Anna"}
            )


# The grouped shape


@pytest.mark.parametrize(
    ("born", "died", "lives", "told"),
    [
        (900, None, None, "updated"),
        (1000, None, None, "inserted"),
        (1100, None, None, "inserted"),
        (900, 1000, None, "deleted"),
        (900, 1100, None, "deleted"),
        (1000, 1100, None, None),
        (1050, 1100, None, None),
        (1200, None, [[900, 1100]], "updated"),
        (1200, None, [[800, 900]], "inserted"),
        (1200, None, [[1010, 1100]], "inserted"),
        (1200, 1300, [[900, 1100]], "deleted"),
        (1200, 1300, [[700, 800], [900, 950]], None),
        (None, 1100, None, None),
    ],
)
def test_what_became_of_an_object_is_as_seen_from_the_bound(database, born, died, lives, told):
    changed = max(1200, born or 0, died or 0)
    key = fill(database, "persons", 1, born, died=died, lives=lives, changed=changed)
    assert grouped(database, 1000) == ({"persons": {told: [key]}} if told else {})


def test_what_the_client_may_have_seen_since_the_bound_is_told_as_deleted(database, clock):
    # The client asks from before its last answer, which had the object added in between.
    asked_at = now_of(clock)
    born = asked_at - SECOND
    key = fill(database, "persons", 1, born)
    assert grouped(database, asked_at - 20 * MINUTE) == {"persons": {"inserted": [key]}}
    with write_transaction(database) as session:
        service.remove_object(session, "persons", key)
    clock.minute += 15
    from_date = asked_at - 2 * SECOND
    assert grouped(database, from_date, user="another") == {}
    assert grouped(database, from_date) == {"persons": {"deleted": [key]}}
    # A client that asks from after the deletion has it already.
    assert grouped(database, now_of(clock)) == {}


# Exactness


def test_who_writes_while_somebody_asks_is_in_this_answer_or_in_the_next(database, clock):
    def put(number):
        with write_transaction(database) as session:
            service.put_object(session, "persons", uuid(number), {"name": "x"}, new=True)

    with ThreadPoolExecutor(1) as pool:
        with write_transaction(database) as session:
            service.put_object(session, "persons", uuid(1), {"name": "x"}, new=True)
            # The answer waits for the lock, and so has the object written under the lock.
            waiting = pool.submit(flat, database, now_of(clock) - MINUTE)
        assert waiting.result() == {"persons": {uuid(1): False}}
    begun = SyncAnswer(database, SyncQuery("kormitel", "flat", now_of(clock) - MINUTE))
    put(2)
    assert [one["id"] for one in json.loads(b"".join(begun.parts))["persons"]] == [uuid(1)]
    begun.close()
    assert uuid(2) in flat(database, now_of(clock))["persons"]


def test_a_clock_that_is_set_back_hides_no_change(database, clock):
    answered(database, "flat", 0)
    asked_at = now_of(clock)
    clock.minute -= 60
    with write_transaction(database) as session:
        service.put_object(session, "persons", uuid(1), {"name": "x"}, new=True)
    assert flat(database, asked_at) == {"persons": {uuid(1): False}}


def test_nothing_is_missed_while_many_write(where):
    database = open_database(where)
    written, known = 24, {}

    def write(numbers):
        for number in numbers:
            with write_transaction(database) as session:
                service.put_object(
                    session, "persons", uuid(number), {"name": str(number)}, new=True
                )

    def ask(from_date):
        asked_at = int(database.clock() * SECOND)
        for one in answered(database, "flat", from_date)["persons"]:
            known[one["id"]] = one["name"]
        return asked_at

    from_date = 0
    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, range(first, written, 3)) for first in range(3)]
        while not all(writer.done() for writer in writers):
            from_date = ask(from_date)
        for writer in writers:
            writer.result()
    ask(from_date)
    assert known == {uuid(number): str(number) for number in range(written)}
    database.close()


# A client's clock


def polls(ahead, lost=(), count=12, every=15 * MINUTE, answer_takes=SECOND // 3):
    """Yield (A, L, taken) of a client whose clock is ahead. lost: the numbers of failed polls."""
    begin = 1_800_000_000 * SECOND + 123_456
    from_date, asked = 0, []
    for number in range(count):
        at = begin + number * every
        yield at, lower_bound(from_date, at, asked), number not in lost
        asked = [*(one for one in asked if one.from_date != from_date), DateAsked(from_date, at)]
        if number not in lost:
            from_date = (at - answer_takes + ahead) // SECOND * SECOND


def uncovered(exchanged):
    """Return the times, of the answers and around them, whose changes no taken answer has."""
    exchanged = list(exchanged)
    taken = [(at, lower) for at, lower, is_taken in exchanged if is_taken]
    times = [at + off for at, _, _ in exchanged for off in range(0, 15 * MINUTE, 7 * SECOND)]
    return [
        time
        for time in times
        if time < taken[-1][0] and not any(low <= time < at for at, low in taken)
    ]


@pytest.mark.parametrize("seconds", [-7200, -600, -1, 0, 2, 5, 61, 600, 3500])
@pytest.mark.parametrize("lost", [(), (1, 4), (3, 4, 5, 6), tuple(range(5, 17))])
def test_a_change_is_told_whether_the_clients_clock_is_right_or_ahead(seconds, lost):
    exchanged = list(polls(seconds * SECOND, lost, 24))
    assert uncovered(exchanged) == []
    # And from then on little is sent twice.
    at, lower, _ = exchanged[-1]
    assert lower > at - 15 * MINUTE - 4 * SECOND + min(seconds, 0) * SECOND


def test_a_clock_that_is_set_meanwhile_is_learnt_anew():
    random_clock = random.Random(8)
    for _ in range(20):
        steps = [random_clock.choice((0, 10, 300, 3000)) * SECOND for _ in range(2)]
        asked, exchanged, from_date = [], [], 0
        for number in range(24):
            at = (number + 1) * 15 * MINUTE + random_clock.randrange(SECOND)
            exchanged.append((at, lower_bound(from_date, at, asked), True))
            asked.append(DateAsked(from_date, at))
            from_date = (at + steps[number // 12]) // SECOND * SECOND
        assert uncovered(exchanged) == []


def test_a_way_that_takes_longer_at_times_hides_no_client_that_is_ahead():
    ahead, asked, exchanged, from_date = 9 * MINUTE, [], [], 0
    for number, late in enumerate((5, 0, 0, 5, 0, 0, 5, 0)):
        at = (number + 1) * 15 * MINUTE + late * SECOND
        exchanged.append((at, lower_bound(from_date, at, asked), True))
        asked.append(DateAsked(from_date, at))
        from_date = at - late * SECOND + ahead
    assert uncovered(exchanged) == []


def test_answers_shortly_before_a_client_was_ahead_are_gone_back_over():
    # The first requests of the clock ahead are within a minute: these give no difference.
    ahead, times = 9 * MINUTE, [15, 30, 30.5, 31, 45, 60, 75, 90]
    asked, exchanged, from_date = [], [], 0
    for at in (int(minutes * MINUTE) for minutes in times):
        exchanged.append((at, lower_bound(from_date, at, asked), True))
        asked.append(DateAsked(from_date, at))
        from_date = at + ahead * (at >= 30 * MINUTE)
    assert uncovered(exchanged) == []


def test_a_date_that_a_person_asks_from_is_taken_as_it_is():
    now = 1_800_000_000 * SECOND
    for asked in (
        [],
        [DateAsked(now, now - MINUTE)],
        # Three are alike, but in quick succession.
        [DateAsked(now + number, now + number - 1) for number in range(5)],
        # Three are ahead, but by a different time each.
        [DateAsked(now + number * 5 * MINUTE, now + number * MINUTE) for number in range(4)],
        # Ahead by days: that is not a clock's error.
        [DateAsked(now * 2 + number * MINUTE, now + number * MINUTE) for number in range(5)],
    ):
        assert lower_bound(now + 30 * MINUTE, now + 20 * MINUTE, asked) == now + 30 * MINUTE


def test_a_client_that_is_ahead_gets_what_changed_meanwhile(database, clock):
    ahead = 5 * MINUTE
    from_date, told = 0, set()
    for number in range(6):
        told |= set(flat(database, from_date).get("persons", ()))
        from_date = now_of(clock) + ahead
        clock.minute += 1
        fill(database, "persons", number, now_of(clock))
        clock.minute += 14
    assert told == {uuid(number) for number in range(5)}


# Directions


@pytest.fixture
def dropped_direction(database, clock):
    """A direction that is deleted at once with the engagement that referred to it."""
    now = now_of(clock)
    direction = fill(database, "directions", 1, 1000, died=now, dropped=now)
    fill(database, "engagements", 2, 1000, died=now, direction=direction)
    return direction


def test_a_direction_is_deleted_after_its_engagement_was(database, clock, dropped_direction):
    clock.minute += 1
    first = now_of(clock)
    told = flat(database, first - 10 * MINUTE)
    # A client that has neither needs both.
    assert told == {"engagements": {uuid(2): True}, "directions": {dropped_direction: False}}
    clock.minute += 15
    # The client did not take the answer.
    assert flat(database, first - 10 * MINUTE) == told
    # The client took the second answer, but for an hour its clock may be ahead unknown to the hub.
    second = now_of(clock)
    for _ in range(3):
        clock.minute += 15
        assert flat(database, second) == {}
        second = now_of(clock)
    clock.minute += 15
    # The client takes this answer only the second time.
    for _ in range(2):
        assert flat(database, second) == {"directions": {dropped_direction: True}}
    third = now_of(clock)
    clock.minute += 15
    assert flat(database, third) == {}


def test_a_direction_waits_for_each_client_by_itself(database, clock, dropped_direction):
    clock.minute += 1
    asked_at = now_of(clock)
    flat(database, asked_at - 10 * MINUTE, user="one")
    asked_at += 61 * MINUTE
    clock.minute += 61
    flat(database, asked_at - 61 * MINUTE, user="one")
    clock.minute += 15
    assert flat(database, asked_at, user="another") == {}
    assert flat(database, asked_at, user="one") == {"directions": {dropped_direction: True}}
    # A client that asks for everything has no engagement that could refer to the direction.
    assert dropped_direction in flat(database, user="a new one")["directions"]


def test_who_never_had_a_direction_is_told_it_along_with_what_refers_to_it(database, clock):
    person, direction, engagement = map(uuid, (1, 2, 3))
    full = {"name": "D", "first_year": 1, "last_year": 2, "type": "CITY_SERVICE"}
    post = {"year": 1, "role": "MEDIC", "position": "p", "status": "s", "person": person}
    post["direction"] = direction
    told = {"directions": {direction: False}, "engagements": {engagement: False}}
    send(database, persons=[item(person, name="P")], directions=[item(direction, **full)])
    send(database, engagements=[item(engagement, **post)])
    first = now_of(clock)
    clock.minute += 1
    send(database, directions=[item(direction, deleted=True)])
    # The deletion waits for the engagement: so a client that has neither is sent the direction.
    for from_date in (None, 0, first):
        assert flat(database, from_date) == told | {"persons": {person: False}}
    clock.minute += 1
    send(database, engagements=[item(engagement, deleted=True)])
    later = {"directions": {direction: False}, "engagements": {engagement: True}}
    assert flat(database, 0) == later | {"persons": {person: False}}
    # The deletion waits for an hour, see `client_clock`.
    for _ in range(5):
        last = now_of(clock)
        clock.minute += 20
        told = flat(database, last)
    assert told == {"directions": {direction: True}}


def test_a_direction_that_is_there_again_is_told_as_what_it_is(database, clock, dropped_direction):
    clock.minute += 1
    asked_at = now_of(clock)
    flat(database, asked_at - 10 * MINUTE)
    clock.minute += 1
    with write_transaction(database) as session:
        service.put_object(session, "directions", dropped_direction, {}, new=True)
        row = session.query(KormitelObject).filter_by(kind="directions").one()
        row.held = None
    assert flat(database, asked_at) == {"directions": {dropped_direction: False}}


# Back-sync


def test_what_no_database_keeps_is_set_aside(database):
    texts = ["\0", "\ud800", "x" * 20_000, 1 << 70]
    items = [{"data": {"id": uuid(1), "name": text}} for text in texts]
    items += [{"data": {"id": text}} for text in texts]
    named = {text: [{"data": {"id": 1}}] for text in map(str, texts)}
    body = json.dumps({"persons": items, **named}).encode()
    for new in (12, 0):
        counts = back_sync.receive(database, "kormitel", body)
        assert counts == Counts(12, 0, 12 - new, new)


# The log


def shown(database, **wanted):
    with database.snapshot() as session:
        return exchange_log.list_exchanges(session, **wanted)


def test_an_answer_is_written_down(database, clock):
    fill(database, "persons", 1, 1000)
    fill(database, "badges", 1, 1000)
    fill(database, "badges", 2, 1000)
    size = len(json.dumps(answered(database, "flat", 500), separators=(",", ":")).encode())
    (view,) = shown(database)
    assert (view.user, view.way, view.shape, view.error) == ("kormitel", "sync", "flat", None)
    assert (view.at, view.from_date) == (utc_text(now_of(clock)), utc_text(500))
    assert view.counts == {"persons": 1, "badges": 2}
    assert view.bytes == size
    assert view.seconds is not None and 0 <= view.seconds < 60


def test_an_answer_that_breaks_off_is_written_down_and_its_snapshot_ends(database, monkeypatch):
    for number in range(3):
        fill(database, "persons", number, 1000)
    monkeypatch.setattr(export, "PART_BYTES", 1)
    answer = SyncAnswer(database, SyncQuery("kormitel", "flat"))
    assert shown(database)[0].bytes is None
    part = next(answer.parts)
    next(answer.parts)
    answer.close()
    assert shown(database)[0].error == f"broken off after {len(part)} bytes"
    begun = SyncAnswer(database, SyncQuery("kormitel", "flat"))
    begun.close()
    assert shown(database)[0].error == "broken off after 0 bytes"
    monkeypatch.setattr(export.wire, "flat_object", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        answered(database, "flat")
    with database.snapshot() as session:
        number = shown(database)[0].id
        assert session.get(KormitelExchange, number).error is None
    assert database.open_connections() == 0


def test_nothing_is_answered_while_it_is_paused(database):
    with write_transaction(database) as session:
        session.query(Site).one().kormitel_paused = 1
    with pytest.raises(Paused):
        SyncAnswer(database, SyncQuery("kormitel", "flat"))
    assert database.open_connections() == 0
    with database.snapshot() as session:
        assert session.query(Site).one().kormitel_answered is None


def test_exchanges_are_listed_from_the_newest_on(database):
    with write_transaction(database) as session:
        for number in range(6):
            error = "it failed" if number % 3 == 0 else None
            outcome = ExchangeOutcome({"badges": number}, number, 1_500_000, error)
            way = "sync" if number % 2 else "back-sync"
            exchange_log.record(session, f"user {number // 3}", way, outcome)
    found = shown(database)
    assert [view.counts["badges"] for view in found] == [5, 4, 3, 2, 1, 0]
    assert found[0].seconds == 1.5
    assert shown(database, after=found[1].id, limit=2) == found[2:4]
    assert shown(database, user="user 1", way="sync") == [found[0], found[2]]
    assert shown(database, failed=True) == [found[2], found[5]]


def test_the_log_forgets_but_not_what_a_client_had_last(database, clock, monkeypatch):
    monkeypatch.setattr(exchange_log, "KEPT_MAX", 50)

    def begin(user, count):
        with write_transaction(database) as session:
            return [exchange_log.begin(session, user, "sync") for _ in range(count)]

    winter = begin("winter", 20)
    clock.minute += 91 * 24 * 60
    summer = begin("summer", 180)
    kept = [view.id for view in shown(database, limit=1000)][::-1]
    assert kept == winter[-10:] + summer[-50:]


# Long answers


@ON_SQLITE
def test_an_answer_comes_in_parts_and_takes_little_memory(database):
    def peak_of(count):
        row = {"kind": "badges", "fields": {"name": "x" * 500}, "writes": [], "by": "x"}
        with write_transaction(database) as session:
            session.query(KormitelObject).delete()
            rows = [row | {"key": uuid(n), "born": 1, "changed": 1} for n in range(count)]
            insert_rows(session, KormitelObject, rows)
        answer = SyncAnswer(database, SyncQuery("kormitel", "flat"))
        tracemalloc.start()
        try:
            sizes = [len(part) for part in answer.parts]
            return sizes, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            answer.close()

    peak_of(1500)
    few, small = peak_of(1500)
    many, large = peak_of(3000)
    assert sum(many) > 1.9 * sum(few) and max(many) < 2 * export.PART_BYTES
    assert large < small + 300_000
