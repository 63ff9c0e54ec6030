"""The table of Kormitel's fields, against the client's contract, the database, CSV and the lists.

Most models follow from the table by themselves; these hold it to what is written elsewhere.
"""

import pytest

from hub.hub_site import ON_SQLITE
from hub.kormitel_client import CONTRACT, KINDS, OWN
from hub.kormitel_items import flat, send, stay, uid
from hub_command import runner
from kalitka_hub.kormitel.fields import FIELDS
from kalitka_hub.store.kormitel_models import KEY_MAX, KormitelObject
from kalitka_hub.tables.csv_tables import export


def names(kind, **like):
    """Return the names of a kind's fields with these values in the table."""
    return [
        name
        for name, field in FIELDS[kind].items()
        if all(getattr(field, of) == value for of, value in like.items())
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sent_are_the_fields_of_the_contract_in_its_order(kind):
    assert names(kind, sent=True) == CONTRACT[kind]


def test_kormitels_own_fields_are_known_and_not_sent():
    assert names("badges", sent=False) == [*OWN]


def test_every_reference_has_its_column_in_the_database():
    references = {name for kind in FIELDS for name in names(kind, type="reference")}
    columns = KormitelObject.__table__.columns
    assert references == {
        column.name
        for column in columns
        if column.index and getattr(column.type, "length", None) == KEY_MAX
    }


@pytest.mark.parametrize("kind", FIELDS)
def test_no_incoming_name_means_two_fields(kind):
    aliases = [field.alias for field in FIELDS[kind].values() if field.alias]
    assert len({*FIELDS[kind], *aliases}) == len(FIELDS[kind]) + len(aliases)


@pytest.mark.parametrize("kind", FIELDS)
def test_every_choice_has_values_to_choose_from(kind):
    assert all(FIELDS[kind][name].allowed for name in names(kind, type="choice"))


@ON_SQLITE
@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        (
            "badges",
            "id name first_name last_name number feed qr is_blocked kitchen gender phone batch "
            "role position comment vegan infant",
        ),
        (
            "arrivals",
            "id badge status arrival_date departure_date arrival_transport departure_transport",
        ),
    ],
)
def test_the_columns_of_a_csv_table_keep_their_places(database, kind, columns):
    header = b"".join(export(database, kind)).decode("utf-8-sig").splitlines()[0]
    assert header == columns.replace(" ", ",")
    places = [field.csv for field in FIELDS[kind].values() if field.csv]
    assert sorted(places) == [*range(1, len(places) + 1)]


@ON_SQLITE
@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("badges", "name number feed kitchen qr blocked"),
        ("arrivals", "badge status arrival_date departure_date"),
        ("persons", "name phone city"),
        ("engagements", "person direction year role"),
        ("directions", "name type"),
    ],
)
def test_a_list_shows_fields_of_the_table(where, database, kind, columns):
    assert {"blocked", *FIELDS[kind]} >= {*columns.split()}
    send(database, badges=[flat(uid(1))])
    send(database, **{kind: [flat(uid(1), **(stay(uid(1)) if kind == "arrivals" else {}))]})
    heading = runner(where, "kormitel")("list", kind).stdout.splitlines()[1]
    assert heading.replace("┃", " ").split() == ["id", *columns.split(), "withheld"]
