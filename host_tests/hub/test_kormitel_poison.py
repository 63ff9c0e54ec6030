"""Nothing that the hub tells stops the client, whatever is stored or written here.

An object that the client cannot save stops it until it is restarted (kormitel.md, "Poison"). The
limits stand in the model of the client, which knows nothing of the hub's.
"""

import pytest

from hub.hub_site import ON_SQLITE
from hub.kormitel_client import BATCH_MAX, SHORT, SHORT_MAX, Broke
from hub.kormitel_exchange import Exchange
from hub.kormitel_items import GONE, fields, stay, uid

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


@pytest.mark.xfail(raises=Broke, strict=True, reason="the hub does not know these limits yet")
@pytest.mark.parametrize(("kind", "name", "value"), POISON)
def test_fact_1_what_the_client_cannot_save_is_not_told(exchange, kind, name, value):
    put_everything(exchange, **{kind: {name: value}})
    exchange.put("badges", OTHER, new=True, name="Boris")
    assert exchange.poll()["badges"][OTHER]["name"] == "Boris"
