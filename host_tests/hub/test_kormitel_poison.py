"""Nothing that the hub tells stops the client, whatever is stored or written here.

An object that the client cannot save stops it until it is restarted (kormitel.md, "Poison"). The
limits stand in the model of the client, which knows nothing of the hub's.
"""

import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.hub_accounts import API, error_of, program
from hub.hub_site import ON_SQLITE
from hub.kormitel_client import BATCH_MAX, SHORT, SHORT_MAX, Broke
from hub.kormitel_exchange import Exchange
from hub.kormitel_items import GONE, fields, flat, known, send, stay, uid
from hub_command import invoke, runner
from kalitka_hub.kormitel.fields import FIELDS
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.kormitel_models import KormitelObject
from kalitka_hub.store.models import Site
from kalitka_hub.tables.csv_import import import_table

pytestmark = ON_SQLITE

BADGE, OTHER, ARRIVAL, STRANGER = uid(1), uid(2), uid(3), uid(99)
PERSON, DIRECTION, ENGAGEMENT, PAID = uid(4), uid(5), uid(6), uid(7)
LONG = "x" * (SHORT_MAX + 1)
WHOLE = {
    "persons": {"name": "Anna", "vegan": False},
    "directions": {
        **{"name": "d", "first_year": 2020, "last_year": 2026, "type": "CITY_SERVICE"},
    },
    "engagements": {
        **{"year": 2026, "person": PERSON, "direction": DIRECTION},
        **{"role": "MEDIC", "position": "p", "status": "s"},
    },
    "badges": {"name": "Anna", "role": "VOLUNTEER", "person": PERSON},
    "arrivals": stay(BADGE),
    "paid_arrivals": {
        **{"badge": BADGE, "is_free": False},
        **{"arrival_date": "2026-11-20", "departure_date": "2026-11-22"},
    },
}
KEYS = {
    **{"persons": PERSON, "directions": DIRECTION, "engagements": ENGAGEMENT},
    **{"badges": BADGE, "arrivals": ARRIVAL, "paid_arrivals": PAID},
}
POISON = [
    *(("badges", "role", role) for role in ("PARTICIPANT", "volunteer", "", 7)),
    *(("engagements", "role", role) for role in ("PARTICIPANT", "medic", "", 7)),
    *((kind, name, LONG) for kind, names in SHORT.items() for name in names),
    *(("directions", "name", name) for name in ("", " \t")),
    *(("badges", "batch", batch) for batch in (BATCH_MAX + 1, str(BATCH_MAX + 1), "9" * 5000)),
    ("badges", "person", STRANGER),
    ("persons", "vegan", None),
    *(("paid_arrivals", "is_free", value) for value in (GONE, None)),
    *(("paid_arrivals", "departure_date", value) for value in (GONE, None)),
]


@pytest.fixture
def exchange(site):
    return Exchange(site)


def put_everything(exchange, **changed):
    """Add an object of each kind, with these kinds' fields changed."""
    for kind, whole in WHOLE.items():
        exchange.put(kind, KEYS[kind], new=True, **fields(**whole | changed.get(kind, {})))


def test_the_model_takes_one_of_everything(exchange):
    put_everything(exchange)
    known = exchange.poll()
    assert {kind: known[kind][KEYS[kind]] for kind in known} == {
        kind: {**WHOLE[kind], "deleted": False} for kind in known
    }
    assert exchange.held() == {}


def test_the_model_is_stuck_at_what_it_cannot_save_until_it_is_restarted(exchange):
    told = {"badges": [{"id": BADGE, "deleted": False, "role": "X"}], "arrivals": []}
    with pytest.raises(Broke, match="role"):
        exchange.kormitel.save(told)
    told["badges"][0]["role"] = "MEDIC"
    with pytest.raises(Broke, match="until it is restarted"):
        exchange.kormitel.save(told)
    exchange.kormitel.restart()
    exchange.kormitel.save(told)
    assert exchange.kormitel.known["badges"][BADGE]["role"] == "MEDIC"


@pytest.mark.parametrize(("kind", "name", "value"), POISON)
def test_fact_1_what_the_client_cannot_save_is_not_told(exchange, kind, name, value):
    put_everything(exchange, **{kind: {name: value}})
    exchange.put("badges", OTHER, new=True, name="Boris")
    assert exchange.poll()["badges"][OTHER]["name"] == "Boris"
    if (name, value) != ("vegan", None):  # left out, as a person without it is saved
        assert name in exchange.held()[KEYS[kind]]


def in_csv(kind, name, value):
    """Return a file that sets a field of the object of a kind."""
    file = io.StringIO()
    columns = {"id": KEYS[kind], name: value}
    if kind == "arrivals":
        columns["badge"] = BADGE
    csv.writer(file).writerows([[*columns], [_cell(value) for value in columns.values()]])
    return io.BytesIO(file.getvalue().encode())


def _cell(value):
    return {None: "", True: "yes", False: "no"}.get(value, value)


REFUSED = [one for one in POISON if one[2] is not None and one[2] is not GONE]


@pytest.mark.parametrize(("kind", "name", "value"), REFUSED)
def test_fact_1_an_operator_cannot_write_what_the_client_cannot_save(
    exchange, site, kind, name, value
):
    put_everything(exchange)
    before = known(site.database, kind, KEYS[kind])
    path = f"{API}/kormitel/objects/{kind}/{KEYS[kind]}"
    answer = site.client.put(
        path, json={"fields": {name: value}}, headers=program(site.database, "anna", "operator")
    )
    assert answer.status_code == 422
    assert name in error_of(answer) and ": " in error_of(answer)
    column = FIELDS[kind][name].csv
    # An empty cell clears a field.
    if column and value:
        report = import_table(site.database, "anna", kind, in_csv(kind, name, value))
        assert [(one.line, one.column) for one in report.problems] == [(2, name)]
    assert known(site.database, kind, KEYS[kind]) == before


@pytest.mark.parametrize("value", ["PARTICIPANT", "volunteer", "7"])
def test_fact_1_the_command_line_names_the_roles(exchange, where, value):
    put_everything(exchange)
    told = runner(where, "kormitel")("set", "badges", BADGE, f"role={value}", status=2)
    assert f"'{value}' is not one of ORGANIZER, VICE" in told.stderr.replace("\n", " ")


def test_fact_1_what_was_stored_before_the_limits_were_known_is_looked_at_again(exchange):
    put_everything(exchange)
    exchange.poll()
    exchange.clock.minute += 1
    exchange.put("badges", BADGE, role="PARTICIPANT", comment="x")
    exchange.put("directions", DIRECTION, name=" ")
    with write_transaction(exchange.database) as session:
        session.query(KormitelObject).update({"held": None, "held_fields": None})
        session.query(Site).update({"kormitel_recheck": True})
    badge = exchange.poll()["badges"][BADGE]
    assert (badge["role"], badge["comment"]) == ("VOLUNTEER", "x")
    assert exchange.kormitel.known["directions"][DIRECTION]["name"] == "d"
    assert {"badges": BADGE, "directions": DIRECTION, "engagements": ENGAGEMENT}.items() >= {
        (kind, key) for key in exchange.held() for kind in KEYS if KEYS[kind] == key
    }
    with exchange.database.snapshot() as session:
        assert not session.query(Site).one().kormitel_recheck


def test_fact_1_a_person_that_comes_to_be_known_is_told_with_the_badges_that_refer_to_it(exchange):
    send(exchange.database, badges=[flat(BADGE, name="Anna", person=STRANGER)])
    badge = exchange.poll()["badges"][BADGE]
    assert badge == {"name": "Anna", "deleted": False}
    assert f"person {STRANGER} is not known" in exchange.held()[BADGE]
    exchange.put("persons", STRANGER, new=True, name="Anna")
    assert exchange.poll()["badges"][BADGE]["person"] == STRANGER
    assert exchange.held() == {}


def test_fact_1_a_person_goes_along_with_a_changed_badge(exchange):
    # A client whose clock is ahead, which is not known yet, may never have been sent the person.
    put_everything(exchange)
    exchange.clock.minute += 60
    exchange.kormitel.from_date = "2026-11-21T11:50:00"
    exchange.put("badges", BADGE, comment="x")
    told = exchange.asked_from(exchange.clock() - 60)
    assert [one["id"] for one in told["persons"]] == [PERSON]


TEXTS = st.sampled_from(
    ["", " ", "7", "x" * SHORT_MAX, LONG, "\u00e9" * (SHORT_MAX + 1), "A" * 9000]
)
NUMBERS = st.sampled_from([0, 7, BATCH_MAX, BATCH_MAX + 1, -1, (1 << 63) - 1])
CHOICES = st.sampled_from(
    ["VOLUNTEER", "PARTICIPANT", "medic", "FREE", "NO", "ARRIVED", "BUS", "MALE", "CITY_SERVICE"]
)
VALUES = (
    st.none()
    | st.booleans()
    | TEXTS
    | NUMBERS
    | CHOICES
    | st.sampled_from(["2026-11-20", "2026-11-20T00:00:00", "0001-01-01", "20.11.2026"])
    | st.sampled_from([PERSON, PERSON.upper(), STRANGER, DIRECTION, BADGE, "17", 17])
    | st.text(max_size=5)
)
PLACES = [(kind, name) for kind in WHOLE for name in FIELDS[kind]]


class Writers:
    """The ways in which a value comes to be stored; each returns whether it was."""

    def __init__(self, exchange, site, where):
        self._database, self._client, self._where = exchange.database, site.client, where
        self._sent = program(site.database, "anna", "operator")

    def rest(self, kind, name, value):
        path = f"{API}/kormitel/objects/{kind}/{KEYS[kind]}"
        answer = self._client.put(path, json={"fields": {name: value}}, headers=self._sent)
        assert answer.status_code in (200, 422), answer.text
        return answer.status_code == 200

    def csv(self, kind, name, value):
        if kind not in ("badges", "arrivals"):
            return False
        return import_table(self._database, "anna", kind, in_csv(kind, name, value)).is_valid

    def command_line(self, kind, name, value):
        words = ("set", kind, KEYS[kind], f"{name}={_cell(value)}")
        env = {"KALITKA_HUB_DB": self._where, "KALITKA_DATABASE_URL": None}
        return invoke("kormitel", *words, env=env).exit_code == 0

    def another_client(self, kind, name, value):
        return not send(
            self._database, "another", **{kind: [flat(KEYS[kind], **{name: value})]}
        ).set_aside


@pytest.mark.parametrize("way", ["rest", "csv", "command_line", "another_client"])
def test_fact_1_whatever_is_written_the_client_takes_the_answer(exchange, site, where, way):
    write = getattr(Writers(exchange, site, where), way)
    put_everything(exchange)
    exchange.poll()
    outcomes = set()

    @given(written=st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=8, max_size=16))
    @settings(
        max_examples=30, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck]
    )
    def take(written):
        exchange.kormitel.restart()
        exchange.clock.minute += 1
        for (kind, name), value in written:
            is_stored = write(kind, name, value)
            outcomes.add(((kind, name), is_stored))
        exchange.kormitel.run()

    take()
    # Not only refusals, but values of most fields that can be written in this way.
    places = {place for place in PLACES if way != "csv" or FIELDS[place[0]][place[1]].csv}
    assert len({place for place, is_stored in outcomes if is_stored}) > len(places) // 2
