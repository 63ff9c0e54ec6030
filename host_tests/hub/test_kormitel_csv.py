"""Badges and arrivals as CSV: everything Kormitel sent is exported, and imports unchanged."""

import io

import pytest

from hub.hub_accounts import everything_in
from hub.kormitel_items import GONE, flat, known, send, stay, uid
from kalitka_hub.kormitel import service
from kalitka_hub.kormitel.settings import CanteenSetting, change_settings
from kalitka_hub.site.explain import explain
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.tables.csv_import import import_table, preview
from kalitka_hub.tables.csv_tables import export

ANNA, BORIS, CLARA = uid(1), uid(2), uid(3)
STAY = uid(11)
ODD = '=1+"2",;|\\\r\n \'x\t'


def text_of(database, name):
    return b"".join(export(database, name)).decode()


def put(database, name, text, **options):
    report = import_table(database, "olga", name, io.BytesIO(text.encode()), **options)
    assert report.is_valid, report
    return report.added, report.changed, report.left, report.removed


def problems(database, name, text):
    """Return the problems of a preview: lines, columns and sentences."""
    before = everything_in(database)
    report = preview(database, name, io.BytesIO(text.encode()))
    refused = import_table(database, "olga", name, io.BytesIO(text.encode()))
    assert refused.problems == report.problems
    assert everything_in(database) == before
    return [(one.line, one.column, one.error) for one in report.problems]


@pytest.fixture
def sent(database):
    """Send, as Kormitel, values that are hard to write as CSV or that no operator may write."""
    badges = [
        flat(ANNA, name=ODD, number=7, batch="07", feed="FREE", vegan=True, ticket={"a": [1]}),
        flat(BORIS, first_name=" B ", gender="x", kitchen=2, infant=False, qr=" Q ", role=""),
        flat(7, is_blocked=False, position=None, person=GONE),
    ]
    transport = {"arrival_transport": "ROCKET ", "departure_transport": None}
    arrivals = [flat(STAY, **stay(ANNA)), flat(5, **stay(7, "LEFT") | transport)]
    counts = send(database, badges=badges, arrivals=arrivals)
    assert counts.set_aside == 0
    return database


def test_what_is_exported_is_imported_again_and_changes_nothing(sent):
    before = everything_in(sent)
    for name, count in (("badges", 3), ("arrivals", 2)):
        assert put(sent, name, text_of(sent, name), replace=True) == (0, 0, count, 0)
    assert everything_in(sent) == before


def test_only_what_a_file_says_otherwise_is_written(sent):
    assert put(sent, "badges", f"id,comment\n{BORIS},x\n{ANNA},\n") == (0, 1, 1, 0)
    boris = known(sent, "badges", BORIS)
    assert boris.fields["comment"] == "x"
    assert (boris.fields["gender"], boris.fields["kitchen"], boris.by) == ("x", 2, "olga")
    assert known(sent, "badges", ANNA).by == "kormitel"


def test_a_row_does_not_undo_what_kormitel_wrote_before_it_came_here(database):
    send(database, badges=[flat(ANNA, "2026-11-21T10:00:00Z", name="A", gender="MALE")])
    assert put(database, "badges", f"id,name,gender\n{ANNA},B,MALE\n") == (0, 1, 0, 0)
    send(database, badges=[flat(ANNA, "2026-11-21T11:00:00Z", name="C", gender="FEMALE")])
    assert known(database, "badges", ANNA).fields == {"name": "B", "gender": "FEMALE"}


def test_new_ones_are_added_with_an_id_and_without_one(database):
    text = f"id;name;vegan;is_blocked\n{ANNA.upper()};Anna;yes;\n;Boris;no;yes\n"
    assert put(database, "badges", text) == (2, 0, 0, 0)
    anna = known(database, "badges", ANNA)
    assert anna.fields == {"name": "Anna", "vegan": True}
    with database.snapshot() as session:
        (boris,) = (one for one in service.list_objects(session, "badges") if one.key != ANNA)
    assert boris.fields == {"name": "Boris", "vegan": False, "is_blocked": True}
    assert len(boris.key) == 36
    assert put(database, "arrivals", f"id,badge,status\n,{ANNA},ARRIVED\n") == (1, 0, 0, 0)


def test_what_a_file_lacks_is_deleted_and_comes_back_as_it_was(sent):
    lost = text_of(sent, "badges")
    assert put(sent, "badges", f"id\n{ANNA}\n", replace=True) == (0, 0, 1, 2)
    assert known(sent, "badges", BORIS).deleted
    with sent.snapshot() as session:
        assert [one.key for one in service.list_objects(session, "badges")] == [ANNA]
    lost = lost.replace(",x,", ",MALE,")
    assert put(sent, "badges", lost) == (2, 0, 1, 0)
    assert text_of(sent, "badges") == lost


def test_what_is_wrong_is_told_by_line_and_column(sent):
    text = f"id,feed,vegan,gender\n{ANNA},SOME,,\n{BORIS},,often,y\n{CLARA},,,\n{CLARA},,,\n"
    assert [where[:2] for where in problems(sent, "badges", text)] == [
        (2, "feed"),
        (3, "vegan"),
        (5, "id"),
    ]
    ((line, column, said),) = problems(sent, "badges", f"id,gender\n{ANNA},y\n")
    assert (line, column, said) == (2, "gender", "'y' is not one of MALE, FEMALE, OTHER")
    text = f"id,badge,arrival_date\n,{CLARA},2026-11-20\n,,2026-11-20\n,{ANNA},20.11.2026\n"
    found = problems(sent, "arrivals", text)
    assert [where[:2] for where in found] == [(2, "badge"), (3, "badge"), (4, "arrival_date")]
    assert found[0][2] == f"there is no badge {CLARA}: add it first"
    assert "missing" in problems(sent, "badges", "name\nAnna\n")[0][2]


def test_a_file_opens_and_closes_the_gate(database):
    with write_transaction(database) as session:
        change_settings(session, CanteenSetting(kitchens={"*": ["GATE-1"]}, meals=[]))
    put(database, "badges", f"id,qr\n{ANNA},04A1\n")
    minute = 29921459  # during the stay
    for status, eats in (("ARRIVED", True), ("LEFT", False)):
        row = f"{STAY},{ANNA},{status},2026-11-20,2026-11-22"
        put(database, "arrivals", f"id,badge,status,arrival_date,departure_date\n{row}\n")
        with database.snapshot() as session:
            assert explain(session, "GATE-1", "04A1", minute, minute).allowed is eats
