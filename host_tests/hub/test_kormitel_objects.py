"""The service: items and operators' changes become objects, or items are quarantined."""

import re

import pytest
from sqlalchemy import select, update

from hub.kormitel_items import GONE, flat, known, send, stay, uid
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel import quarantine, service
from kalitka_hub.kormitel.dates import micros_of
from kalitka_hub.kormitel.documents import parse_document, read_document
from kalitka_hub.store.audit_trail import list_audit
from kalitka_hub.store.bulk import BATCH
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.kormitel_models import KormitelObject, KormitelQuarantined
from kalitka_hub.store.models import Site

BADGE, OTHER, ARRIVAL = uid(1), uid(2), uid(3)
PERSON, DIRECTION, ENGAGEMENT = uid(4), uid(5), uid(6)
EARLY, LATE = "2026-11-20T10:00:00.000001Z", "2026-11-20T10:00:00.000002Z"


def everything(database):
    """Return the rows of all objects."""
    columns = KormitelObject.__table__.columns
    with database.snapshot() as session:
        return [tuple(row) for row in session.execute(select(*columns).order_by(columns.id))]


def aside(database, state="open"):
    with database.snapshot() as session:
        return [
            (view.group, view.reason) for view in quarantine.list_items(session, state=state)[::-1]
        ]


def put(database, kind, key, new=False, **given):
    with write_transaction(database, "anna") as session:
        return service.put_object(session, kind, key, given, new=new)


def remove(database, kind, key):
    with write_transaction(database, "anna") as session:
        service.remove_object(session, kind, key)


def held(database, kind, key):
    return known(database, kind, key).held


def micros(clock):
    return int(clock() * 1_000_000)


# Items


def test_both_shapes_come_to_the_same(database):
    flatly = [flat(BADGE, name="A", feed="FREE"), flat(OTHER, name="B")]
    assert send(database, badges=flatly) == (2, 2, 0, 0)
    assert send(database, badges=[flat(OTHER, deleted=True)]) == (1, 1, 0, 0)
    items = {
        "inserted": [{"id": BADGE.upper(), "badge": BADGE, "data": {"name": "A"}}],
        "updated": [{"id": BADGE, "badge": BADGE, "data": {"feed": "FREE"}}],
        "deleted": [OTHER],
    }
    assert send(database, badges=items, from_date="2026-11-20T10:00:00Z") == (3, 0, 3, 0)
    one, other = known(database, "badges", BADGE), known(database, "badges", OTHER)
    assert (one.fields, one.deleted) == ({"name": "A", "feed": "FREE"}, False)
    assert other.deleted


def test_the_example_of_the_seed_is_taken(database):
    data = {"name": "новое имя", "notion_id": None}
    items = {
        "inserted": [{"id": "guid", "badge": "guid", "data": data}],
        "updated": [{"id": "guid", "badge": "guid", "data": data}],
        "deleted": [{"id": "guid", "badge": "guid"}],
    }
    counts = send(database, from_date="2024-01-01T12:12:00Z", badges=items, arrivals=items)
    # In either group: added, repeated, deleted.
    assert counts == (6, 4, 2, 0)
    with pytest.raises(NotFound):
        known(database, "arrivals", "guid")
    again = {"inserted": [{"id": "guid", "badge": "guid", "data": {**data, "name": "B"}}]}
    send(database, from_date="2024-01-01T12:13:00Z", badges=again, arrivals=again)
    arrival = known(database, "arrivals", "guid")
    assert arrival.fields == {"badge": "guid", "name": "B", "notion_id": None}


def test_an_object_that_comes_several_times_is_taken_in_the_order_of_its_dates(database):
    sent = [flat(BADGE, LATE, feed="NO"), flat(BADGE, EARLY, feed="FREE", name="A")]
    assert send(database, badges=sent).applied == 2
    assert known(database, "badges", BADGE).fields == {"feed": "NO", "name": "A"}


def test_the_same_again_changes_nothing_whatever_its_shape(database, clock):
    arrivals = [flat(ARRIVAL, EARLY, **stay(BADGE)), flat("", EARLY), flat(uid(9), badge=uid(8))]
    grouped = {"updated": [{"id": OTHER, "badge": OTHER, "data": {"name": "B"}}]}
    sent = {"badges": [flat(BADGE, EARLY, name="A")], "arrivals": arrivals, "teams": grouped}
    counts = send(database, **sent)
    assert counts == (5, 2, 0, 3)
    before = everything(database)
    for _ in range(3):
        clock.minute += 1
        assert send(database, **sent) == (5, 0, 5, 0)
    assert everything(database) == before
    assert len(aside(database)) == 3


def test_what_comes_again_without_a_date_does_not_undo_what_was_changed_since(database):
    items = {"updated": [{"id": BADGE, "badge": BADGE, "data": {"name": "A"}}]}
    first = {"from_date": "2026-11-20T10:00:00Z", "badges": items}
    send(database, **first)
    put(database, "badges", BADGE, name="B")
    assert send(database, **first).applied == 0
    assert known(database, "badges", BADGE).fields["name"] == "B"
    # In a document of a later date the same item is another change.
    assert send(database, **{**first, "from_date": "2026-11-20T11:00:00Z"}).applied == 1


def test_a_long_document_that_comes_again_changes_nothing_either(database):
    others = [{"id": uid(number), "data": {}} for number in range(10, 10 + BATCH)]
    first = {"inserted": [{"id": BADGE, "data": {"name": "A"}}, *others]}
    sent = {"badges": first | {"updated": [{"id": BADGE, "data": {"name": "B"}}]}}
    send(database, **sent)
    put(database, "badges", BADGE, name="C")
    assert send(database, **sent).applied == 0
    assert known(database, "badges", BADGE).fields["name"] == "C"


def test_what_comes_again_with_a_date_to_come_does_not_undo_what_was_changed_since(database):
    ahead = {"badges": [flat(BADGE, "2099-01-01T00:00:00Z", name="A")]}
    send(database, **ahead)
    put(database, "badges", BADGE, name="B")
    assert send(database, **ahead).applied == 0
    assert known(database, "badges", BADGE).fields["name"] == "B"


def test_fields_of_mass_edits_and_unknown_ones_are_kept(database):
    own = {"ticket": {"n": [1]}, "directions": ["x"], "main_role": None, "is_blocked": True}
    send(database, badges=[flat(BADGE, feed_type=4, is_vegan=True, **own)])
    assert known(database, "badges", BADGE).fields == {"feed": "NO", "vegan": True, **own}


def test_a_patch_of_an_arrival_comes_without_its_badge(database):
    send(database, badges=[flat(BADGE, name="A")], arrivals=[flat(ARRIVAL, **stay(BADGE))])
    send(database, arrivals=[flat(ARRIVAL, status="LEFT")])
    assert known(database, "arrivals", ARRIVAL).fields == stay(BADGE, "LEFT")


def test_who_did_it_is_known(database):
    item = {**flat(BADGE, EARLY, name="A"), "actor_badge": OTHER.upper()}
    send(database, badges=[item])
    assert known(database, "badges", BADGE).by == f"kormitel (badge {OTHER})"


def test_a_further_group_is_kept_as_it_is(database):
    send(database, teams=[flat(7, name="T", size=3)], nothing=None)
    assert known(database, "teams", 7).fields == {"name": "T", "size": 3}


@pytest.mark.parametrize(
    "group, item, reason",
    [
        ("badges", {"date": EARLY, "data": {"is_vegan": True}}, "there is no id"),
        ("badges", {"data": {"id": ""}}, "there is no id"),
        ("badges", {"data": {"id": True}}, "there is no id"),
        ("badges", "text", "not a JSON object"),
        ("badges", {"data": []}, "data is not a JSON object"),
        ("badges", flat(BADGE, feed="LUNCH"), "feed is not one of FREE"),
        ("badges", flat(BADGE, feed_type=5), "feed_type is not one of 1"),
        ("badges", flat(BADGE, is_blocked="no"), "is_blocked is neither true nor false"),
        ("badges", flat(BADGE, qr=5), "qr is not text"),
        ("badges", flat(BADGE, name="\0"), "name: it has a character"),
        ("badges", flat(BADGE, other=["\ud800"]), "other: it has a character"),
        ("badges", flat(BADGE, other=1 << 70), "more than 64 bits"),
        ("badges", flat(BADGE, deleted=1), "deleted is neither true nor false"),
        ("badges", flat(BADGE, date=EARLY[:9]), "is not a valid date"),
        ("badges", {"id": BADGE, "data": {"id": OTHER}}, "differ"),
        ("arrivals", flat(ARRIVAL, **stay(OTHER)), "badge .* is not known here"),
        ("arrivals", flat(ARRIVAL, **stay(None)), "badge is null"),
        ("arrivals", flat(ARRIVAL, status="LEFT"), "names no badge"),
        ("arrivals", flat(ARRIVAL, **stay(BADGE, "GONE")), "status is not one of"),
        (
            "arrivals",
            flat(ARRIVAL, **stay(BADGE, first="2026-11-31")),
            "arrival_date is not a valid date",
        ),
        ("arrivals", flat(ARRIVAL, **stay(BADGE, last="2026-11-20T00:00:00")), "departure_date"),
        ("b/d", flat(BADGE), "not a valid group"),
        ("paid_arrivals", flat(ARRIVAL, badge=OTHER), "is not known here"),
    ],
)
def test_what_cannot_be_applied_is_set_aside_with_its_reason_and_the_rest_taken(
    database, group, item, reason
):
    sent = {"badges": [flat(uid(10), name="A")], group: [item]}
    if group == "badges":
        sent["badges"] = [flat(uid(10), name="A"), item]
    counts = send(database, **sent)
    assert counts == (2, 1, 0, 1)
    ((_, told),) = aside(database)
    with database.snapshot() as session:
        assert quarantine.count_open(session) == 1
    assert re.search(reason, told)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'"a"', b"7", b"null", b"{", b"\xff{}", b'{"a":NaN}']
)
def test_what_is_no_such_document_is_refused(body):
    with pytest.raises(InvalidRequest, match="send"):
        parse_document(body)


def test_a_document_that_is_nested_too_deeply_is_refused():
    with pytest.raises(InvalidRequest, match="not valid JSON"):
        parse_document(b"[" * 200_000)


def test_a_number_that_is_too_large_is_kept_as_it_was_written():
    (item,) = parse_document(b'{"badges": [{"data": {"id": 1, "size": 1e999}}]}').items
    assert item.fields == {"size": "1e999"}
    digits = "9" * 5000
    (item,) = parse_document(b'{"teams": [{"id": 1, "size": %s}]}' % digits.encode()).items
    assert item.fields == {"size": digits}


def test_what_can_just_be_read_of_nested_data_is_set_aside_too(database):
    read_at_all = 0
    for depth in (40, *range(900, 1000, 5)):
        body = f'{{"badges": [{{"data": {{"id": 1, "x": {"[" * depth}{"]" * depth}}}}}]}}'
        try:
            items = parse_document(body.encode()).items
        except InvalidRequest:
            continue
        with write_transaction(database, "kormitel") as session:
            service.apply_items(session, items, "kormitel")
        read_at_all += 1
    assert read_at_all > 1
    assert set(aside(database)) == {("badges", "x: it is nested more than 20 levels deep")}


def test_of_a_document_without_groups_nothing_comes():
    assert read_document({"from_date": "nonsense"}).items == []
    assert read_document({"badges": None, "arrivals": {}}).items == []


# Quarantine


def test_what_waits_for_a_badge_is_applied_when_it_comes_in_the_order_of_its_dates(database):
    sent = [flat(ARRIVAL, LATE, status="LEFT"), flat(ARRIVAL, EARLY, **stay(BADGE))]
    assert send(database, arrivals=sent).set_aside == 2
    send(database, by="another", badges=[flat(BADGE, name="A")])
    arrival = known(database, "arrivals", ARRIVAL)
    assert arrival.fields == stay(BADGE, "LEFT")
    assert arrival.by == "kormitel"
    assert aside(database) == []
    assert len(aside(database, "applied")) == 2


def test_an_operator_applies_what_was_set_aside_with_what_it_lacked(database):
    send(database, badges=[flat(BADGE, LATE, name="A"), {"date": EARLY, "data": {"name": "B"}}])
    with write_transaction(database, "anna") as session:
        with pytest.raises(InvalidRequest, match="item 1 cannot be applied: there is no id"):
            service.apply_quarantined(session, 1, {})
        assert service.apply_quarantined(session, 1, {"id": OTHER}) == (1, 1, 0, 0)
    assert known(database, "badges", OTHER).fields == {"name": "B"}
    with write_transaction(database, "anna") as session:
        with pytest.raises(InvalidRequest, match="applied already"):
            service.apply_quarantined(session, 1, {})
        with pytest.raises(NotFound, match="item 7"):
            service.apply_quarantined(session, 7, {})
    assert aside(database, None)[0][1].startswith("there is no id")


def test_what_came_in_a_group_whose_name_is_none_is_never_applied(database):
    send(database, **{"a b": [flat(BADGE, name="A")]})
    with (
        write_transaction(database, "anna") as session,
        pytest.raises(InvalidRequest, match="is not a valid group"),
    ):
        service.apply_quarantined(session, 1, {"id": OTHER})


def test_what_is_applied_late_does_not_undo_what_is_newer(database):
    send(database, badges=[{"date": EARLY, "data": {"name": "B"}}, flat(BADGE, LATE, name="A")])
    with write_transaction(database, "anna") as session:
        assert service.apply_quarantined(session, 1, {"id": BADGE}).unchanged == 1
    assert known(database, "badges", BADGE).fields == {"name": "A"}


def test_what_was_dismissed_is_not_set_aside_again(database):
    bad = {"badges": [{"data": {"name": "B"}}]}
    send(database, **bad)
    with write_transaction(database, "anna") as session:
        quarantine.dismiss(session, 1, service.object_stamp(session))
    assert send(database, **bad) == (1, 0, 1, 0)
    assert aside(database) == []
    with database.snapshot() as session:
        row = session.get_one(KormitelQuarantined, 1)
        assert (row.state, row.settled_by) == ("dismissed", "anna")


# Operators' changes


def test_operators_write_by_the_same_door_and_it_is_audited(database):
    badge = put(database, "badges", None, new=True, name="A", feed="PAID")
    put(database, "badges", badge.upper(), feed="FREE", qr="Q1")
    assert known(database, "badges", badge).by == "anna"
    with pytest.raises(InvalidRequest, match="already"):
        put(database, "badges", badge, new=True, name="B")
    with pytest.raises(InvalidRequest, match="feed is not one of"):
        put(database, "badges", badge, feed="x")
    with pytest.raises(InvalidRequest, match="is not known here"):
        put(database, "arrivals", None, new=True, **stay(OTHER))
    remove(database, "badges", badge)
    for act in (lambda: remove(database, "badges", badge), lambda: put(database, "badges", badge)):
        with pytest.raises(NotFound, match="in badges"):
            act()
    with database.snapshot() as session:
        audited = list_audit(session, None, 10, kind="kormitel badges")
        assert [entry.action for entry in audited] == ["remove", "change", "add"]
        assert audited[1].before == {"name": "A", "feed": "PAID"}
        assert audited[1].after == {"name": "A", "feed": "FREE", "qr": "Q1"}


def test_what_an_operator_wrote_is_newer_than_what_was_dated_before(database, clock):
    send(database, badges=[flat(BADGE, name="A")])
    put(database, "badges", BADGE, name="B")
    send(database, badges=[flat(BADGE, EARLY, name="C")])
    assert known(database, "badges", BADGE).fields["name"] == "B"
    clock.minute += 2
    dated = "2027-01-01T00:00:00Z"
    assert micros_of(dated) > micros(clock)
    send(database, badges=[flat(BADGE, dated, name="C")])
    assert known(database, "badges", BADGE).fields["name"] == "C"
    put(database, "badges", BADGE, name="D")
    assert known(database, "badges", BADGE).fields["name"] == "D"


def test_changes_are_stamped_no_earlier_than_the_last_answer(database, clock):
    answered = micros(clock) + 7_000_000
    with write_transaction(database) as session:
        session.execute(update(Site).values(kormitel_answered=answered))
    put(database, "badges", BADGE, new=True)
    assert known(database, "badges", BADGE).changed == answered


def test_lists_are_by_key_and_have_what_is_deleted_only_if_asked(database):
    send(database, badges=[flat(uid(n), name="x") for n in (3, 1, 2)])
    send(database, badges=[flat(uid(2), deleted=True), flat(uid(8), deleted=True)])
    send(database, arrivals=[flat(ARRIVAL, **stay(uid(1)))])
    with database.snapshot() as session:
        listed = service.list_objects(session, "badges")
        assert [one.key for one in listed] == [uid(1), uid(3)]
        assert [one.key for one in service.list_objects(session, "badges", uid(1), 1)] == [uid(3)]
        gone = service.list_objects(session, "badges", deleted=True)
        assert [one.key for one in gone] == [uid(2)]
        of_badge = service.list_objects(session, None, badge=uid(1))
        assert [one.key for one in of_badge] == [ARRIVAL]
        with pytest.raises(NotFound):
            service.find_object(session, "badges", uid(8))


# Withheld objects


def full_engagement(**more):
    return {
        "year": 2026, "person": PERSON, "direction": DIRECTION, "role": "MEDIC", "position": "p",
        "status": "s", **more,
    }  # fmt: skip


FULL_DIRECTION = {"name": "d", "first_year": 2020, "last_year": 2026, "type": "CITY_SERVICE"}


@pytest.mark.parametrize(
    "lacking",
    ["status", "arrival_date", "departure_date", "arrival_transport", "departure_transport"],
)
@pytest.mark.parametrize("value", [GONE, None])
def test_an_arrival_that_lacks_something_is_held_back_also_when_it_is_deleted(
    database, lacking, value
):
    send(database, badges=[flat(BADGE, name="A")])
    send(database, arrivals=[flat(ARRIVAL, **{**stay(BADGE), lacking: value})])
    assert held(database, "arrivals", ARRIVAL) == f"it has no {lacking}"
    send(database, arrivals=[flat(ARRIVAL, deleted=True)])
    assert held(database, "arrivals", ARRIVAL) == f"it has no {lacking}"


@pytest.mark.parametrize(
    "key, given, reason",
    [
        (BADGE, {"batch": "12a"}, "batch is '12a'"),
        (BADGE, {"batch": "12"}, None),
        (BADGE, {"batch": None, "role": None, "vegan": None}, None),
        (BADGE, {"gender": "X"}, "gender is 'X'"),
        (7, {"name": "A"}, "not a uuid"),
        ("guid", {"name": "A"}, "not a uuid"),
        (BADGE.replace("-", "").upper(), {}, None),
        (BADGE, {"person": 17}, "person is not a uuid"),
    ],
)
def test_what_of_a_badge_the_client_cannot_take_is_held_back(database, key, given, reason):
    send(database, badges=[flat(key, **given)])
    told = held(database, "badges", key)
    assert told is None if reason is None else reason in told


def test_an_arrival_is_held_back_with_its_badge_and_released_with_it(database, clock):
    # Deleted before it was known here: never sent.
    send(database, badges=[flat(BADGE, deleted=True)], arrivals=[flat(ARRIVAL, **stay(BADGE))])
    assert "badge" in held(database, "arrivals", ARRIVAL)
    before = known(database, "arrivals", ARRIVAL).changed
    clock.minute += 5
    put(database, "badges", BADGE, new=True, batch="3")
    arrival = known(database, "arrivals", ARRIVAL)
    assert arrival.held is None
    assert arrival.changed == micros(clock) > before


def test_a_field_that_is_held_back_is_released_with_a_stamp(database, clock):
    send(database, badges=[flat(BADGE, batch="x", name="A")])
    assert held(database, "badges", BADGE).startswith("only batch: its batch is 'x'")
    clock.minute += 5
    put(database, "badges", BADGE, batch="3")
    assert held(database, "badges", BADGE) is None
    assert known(database, "badges", BADGE).changed == micros(clock)


def test_an_engagement_needs_a_person_and_a_direction_that_are_told(database):
    send(database, engagements=[flat(ENGAGEMENT, **full_engagement())])
    assert f"person {PERSON} is not known" in held(database, "engagements", ENGAGEMENT)
    send(database, persons=[flat(PERSON)])
    assert f"direction {DIRECTION} is not known" in held(database, "engagements", ENGAGEMENT)
    send(database, directions=[flat(DIRECTION, **FULL_DIRECTION | {"last_year": None})])
    assert "it has no last_year" in held(database, "engagements", ENGAGEMENT)
    send(database, directions=[flat(DIRECTION, last_year=2026)])
    assert held(database, "engagements", ENGAGEMENT) is None
    put(database, "engagements", ENGAGEMENT, role=None)
    assert held(database, "engagements", ENGAGEMENT) == "it has no role"


def test_a_direction_stays_while_an_engagement_refers_to_it(database, clock):
    send(
        database,
        persons=[flat(PERSON)],
        directions=[flat(DIRECTION, **FULL_DIRECTION)],
        engagements=[flat(ENGAGEMENT, **full_engagement())],
    )
    with pytest.raises(InvalidRequest, match=f"engagement {ENGAGEMENT} refers to"):
        remove(database, "directions", DIRECTION)
    send(database, directions=[flat(DIRECTION, deleted=True)])
    assert f"engagement {ENGAGEMENT} still refers" in held(database, "directions", DIRECTION)
    assert held(database, "engagements", ENGAGEMENT) is None
    clock.minute += 5
    remove(database, "engagements", ENGAGEMENT)
    direction = known(database, "directions", DIRECTION)
    assert (direction.deleted, direction.held, direction.changed) == (True, None, micros(clock))
    with database.snapshot() as session:
        dropped = select(KormitelObject.dropped).where(KormitelObject.key == DIRECTION)
        assert session.execute(dropped).scalar_one() == micros(clock)
    # Deleted now: an engagement that refers to the direction is withheld.
    send(database, engagements=[flat(uid(7), **full_engagement())])
    assert "is deleted" in held(database, "engagements", uid(7))


def test_a_direction_that_goes_with_its_engagement_is_dropped_then(database, clock):
    send(
        database,
        persons=[flat(PERSON)],
        directions=[flat(DIRECTION, **FULL_DIRECTION), flat(uid(8), **FULL_DIRECTION)],
        engagements=[flat(ENGAGEMENT, **full_engagement())],
    )
    clock.minute += 5
    send(
        database,
        directions=[flat(DIRECTION, deleted=True)],
        engagements=[flat(ENGAGEMENT, direction=uid(8))],
    )
    assert held(database, "directions", DIRECTION) is None
    with database.snapshot() as session:
        dropped = select(KormitelObject.dropped).where(KormitelObject.key == DIRECTION)
        assert session.execute(dropped).scalar_one() == micros(clock)


def test_an_engagement_that_is_held_back_keeps_every_direction_that_it_was_told_with(
    database, clock
):
    others = [uid(8), uid(9)]
    send(
        database,
        persons=[flat(PERSON)],
        directions=[flat(key, **FULL_DIRECTION) for key in (DIRECTION, *others)],
        engagements=[flat(ENGAGEMENT, **full_engagement())],
    )
    # A client may not have been sent the second direction yet.
    send(database, engagements=[flat(ENGAGEMENT, direction=others[0])])
    send(database, engagements=[flat(ENGAGEMENT, direction=others[1], role=None)])
    gone = [DIRECTION, *others]
    send(database, directions=[flat(key, deleted=True) for key in gone])
    for key in gone[:2]:
        assert f"engagement {ENGAGEMENT}" in held(database, "directions", key)
    assert held(database, "directions", others[1]) is None
    clock.minute += 5
    remove(database, "engagements", ENGAGEMENT)
    assert held(database, "engagements", ENGAGEMENT) == "it has no role"
    assert held(database, "directions", DIRECTION) is not None
    put(database, "engagements", ENGAGEMENT, new=True, role="MEDIC", direction=others[1])
    assert "is deleted" in held(database, "engagements", ENGAGEMENT)
    put(database, "directions", uid(7), new=True, **FULL_DIRECTION)
    put(database, "engagements", ENGAGEMENT, direction=uid(7))
    released = [known(database, "directions", key) for key in gone[:2]]
    assert [(one.held, one.changed) for one in released] == [(None, micros(clock))] * 2


def test_a_group_cannot_be_called_as_what_stands_beside_the_groups(database):
    with pytest.raises(InvalidRequest, match="not a valid group"):
        put(database, "from_date", BADGE, new=True)
