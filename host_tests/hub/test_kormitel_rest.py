"""The REST API of the exchange with Kormitel: objects, quarantine, and why a person eats."""

import pytest

from hub.hub_accounts import API, PASSWORD, add_user, error_of, program
from hub.hub_site import ON_SQLITE
from hub.kormitel_items import flat, known, send, stay, uid
from kalitka_hub.kormitel.operator_models import KORMITEL

ANNA, BORIS, CLARA = uid(1), uid(2), uid(3)
STAY, NEXT = uid(11), uid(12)
KORMITEL_API = f"{API}/kormitel"


class Api:
    """The requests of an operator's or a viewer's program."""

    def __init__(self, site, role):
        self.client = site.client
        self.headers = program(site.database, role, role)

    def ask(self, method, path, status=200, **options):
        answer = self.client.request(method, f"{API}{path}", headers=self.headers, **options)
        assert answer.status_code == status, answer.text
        if status >= 400:
            return error_of(answer)
        return None if status == 204 else answer.json()

    def get(self, path, status=200, /, **params):
        return self.ask("GET", path, status, params=params)

    def post(self, path, status=201, /, **data):
        return self.ask("POST", path, status, json=data)

    def put(self, path, status=200, /, **data):
        return self.ask("PUT", path, status, json=data)

    def delete(self, path, status=204):
        return self.ask("DELETE", path, status)

    def pages(self, path, **params):
        """Return all items of a list, fetched one by one."""
        items = []
        while True:
            page = self.get(path, limit=1, **params)
            items += page["items"]
            if page["next"] is None:
                return items
            params["after"] = page["next"]


@pytest.fixture
def api(site):
    return Api(site, "operator")


@pytest.fixture
def viewer(site):
    return Api(site, "viewer")


def test_a_badge_is_added_listed_shown_changed_and_removed(api, viewer, site):
    anna = api.post("/badges", id=ANNA.upper(), name="Анна", feed="FREE", number=7, qr="Q-1")
    assert (anna["id"], anna["number"], anna["held"]) == (ANNA, 7, None)
    assert anna["by"] == "operator (token a program)"
    made = api.post("/badges", name="B%ris", is_blocked=True, other={"ticket": [1]})
    assert len(made["id"]) == 36
    assert "already" in api.post("/badges", 422, id=ANNA)
    assert viewer.get(f"/badges/{ANNA}") == anna
    assert viewer.pages("/badges") == sorted([anna, made], key=lambda view: view["id"])
    assert viewer.get("/badges", name="b%")["items"] == [made]
    assert viewer.get("/badges", blocked=True)["items"] == [made]
    assert viewer.get("/badges", blocked=False)["items"] == [anna]

    # PUT replaces: a field that is left out becomes null, except the fields in `other`.
    changed = api.put(f"/badges/{made['id']}", name="Boris")
    assert (changed["name"], changed["is_blocked"]) == ("Boris", None)
    assert changed["other"] == {"ticket": [1]}
    assert api.put(f"/badges/{made['id']}", name="Boris", id=made["id"], other={})["other"] == {
        "ticket": None
    }
    assert "an id cannot change" in api.put(f"/badges/{made['id']}", 422, id=ANNA)

    viewer.delete(f"/badges/{ANNA}", 403)
    viewer.post("/badges", 403)
    api.delete(f"/badges/{ANNA}")
    assert "deleted" in api.get(f"/badges/{ANNA}", 404)
    api.put(f"/badges/{ANNA}", 404)
    api.delete(f"/badges/{ANNA}", 404)
    assert [view["id"] for view in viewer.pages("/badges")] == [made["id"]]
    # A badge that comes back has none of its old fields.
    assert api.post("/badges", id=ANNA, name="Anna")["qr"] is None
    assert known(site.database, "badges", ANNA).fields["qr"] is None


def test_arrivals_are_found_by_badge_and_status(api):
    api.post("/badges", id=ANNA)
    api.post("/badges", id=BORIS)
    mine = api.post("/arrivals", **stay(ANNA))
    other = api.post("/arrivals", **stay(BORIS, "LEFT"))
    assert api.get("/arrivals", badge=ANNA.upper())["items"] == [mine]
    assert api.get("/arrivals", status="LEFT")["items"] == [other]
    api.get("/arrivals", 422, status="GONE")
    assert "not known" in api.post("/arrivals", 422, **stay(CLARA))
    assert "badge is missing" in api.post("/arrivals", 422, status="LEFT")


def test_ids_that_are_no_uuids_are_taken_for_the_grouped_shape(api):
    api.post("/badges", id="17", name="Anna")
    assert api.post("/arrivals", **stay("17"))["badge"] == 17


def test_persons_engagements_and_directions_go_the_same_way(api):
    person = api.post("/persons", name="Anna", birth_date="2000-02-29")
    direction = api.post(
        "/directions", name="Kitchen", first_year=2025, last_year=2026, type="GRANT_LOCATION"
    )
    engagement = api.post(
        "/engagements",
        **{"year": 2026, "person": person["id"], "direction": direction["id"]},
        **{"role": "CONTRACTOR", "position": "cook", "status": "on"},
    )
    assert engagement["held"] is None
    assert api.get(f"/engagements/{engagement['id']}") == engagement
    assert "refers to" in api.delete(f"/directions/{direction['id']}", 422)


@ON_SQLITE
@pytest.mark.parametrize(
    ("group", "data", "said"),
    [
        ("badges", {"feed": "SOME"}, "feed: "),
        ("badges", {"gender": "male"}, "gender: 'male' is not one of MALE, FEMALE, OTHER"),
        ("badges", {"vegan": "yes"}, "vegan: "),
        ("badges", {"name": 7}, "name: "),
        ("badges", {"number": True}, "number: it is neither"),
        ("badges", {"name": "a\0"}, "name: "),
        ("badges", {"id": " "}, "id: "),
        ("badges", {"rule": 1}, "rule is not known"),
        ("badges", {"other": {"qr": "Q"}}, "other: qr is a field of its own"),
        ("badges", {"other": {"feed_type": 2}}, "other: feed is a field of its own"),
        ("badges", {"other": {"deleted": True}}, "other: deleted is a field"),
        ("arrivals", {"badge": ANNA, "arrival_date": "2026-02-30"}, "arrival_date: "),
        ("arrivals", {"badge": ANNA, "arrival_transport": "ROCKET"}, "arrival_transport: "),
        ("directions", {"type": "BAR"}, "type: "),
        ("directions", {"first_year": "2025"}, "first_year: "),
    ],
)
def test_what_is_wrong_is_refused_by_its_field(api, group, data, said):
    assert said in api.post(f"/{group}", 422, **data)
    assert api.get(f"/{group}")["items"] == []


def test_what_an_operator_does_not_touch_is_not_written(api, site):
    # An old value that no operator may write stays, and so do later values from Kormitel.
    date = "2026-11-21T10:00:00Z"
    send(site.database, badges=[flat(ANNA, date, name="A", gender="X", feed="FREE")])
    api.put(f"/badges/{ANNA}", 422, name="B", gender="Y")
    api.put("/kormitel/objects/badges/" + ANNA, fields={"name": "B", "kitchen": 3})
    shown = api.get(f"/badges/{ANNA}")
    assert (shown["name"], shown["gender"], shown["kitchen"]) == ("B", "X", 3)
    assert "gender" in shown["held"]
    send(site.database, badges=[flat(ANNA, "2026-11-21T11:00:00Z", gender="FEMALE", name="C")])
    shown = api.get(f"/badges/{ANNA}")
    same = {name: shown[name] for name in ("name", "gender", "kitchen", "feed")}
    api.put(f"/badges/{ANNA}", **same, comment="x")
    send(site.database, badges=[flat(ANNA, "2026-11-21T12:00:00Z", feed="PAID")])
    assert api.get(f"/badges/{ANNA}")["feed"] == "PAID"
    assert (shown["name"], shown["gender"], shown["held"]) == ("B", "FEMALE", None)


def test_further_groups_have_objects_too(api, viewer):
    api.post("/badges", id=ANNA)
    path = "/kormitel/objects/paid_arrivals"
    fields = {"badge": ANNA, "is_free": True, "departure_date": "2026-11-20", "meals": ["lunch"]}
    lacking = {**fields, "is_free": None}
    assert "is_free is missing" in api.put(f"{path}/5", 422, fields=lacking)
    made = api.put(f"{path}/5", fields=fields)
    assert (made["id"], made["fields"], made["deleted"]) == ("5", fields, False)
    assert api.put(f"{path}/5", fields={"meals": []})["fields"] == fields | {"meals": []}
    api.put(f"{path}/6", fields=fields)
    assert [one["id"] for one in viewer.pages(path)] == ["5", "6"]
    api.delete(f"{path}/5")
    assert viewer.get(f"{path}/5")["deleted"]
    assert [one["id"] for one in viewer.pages(path, deleted=False)] == ["6"]
    assert "not a field" in api.put(f"{path}/6", 422, fields={"id": "7"})
    assert "not a valid group" in api.put("/kormitel/objects/1x/6", 422, fields={})
    viewer.put(f"{path}/6", 403, fields={})


def test_the_exchange_is_seen_at_a_glance(api, viewer, site):
    api.put("/kormitel/settings", kitchens={"North": ["GATE-1"]})
    sent = [flat(uid(1), kitchen="North"), flat(uid(2), kitchen=2), flat(uid(3), kitchen="2")]
    send(site.database, badges=[*sent, flat(uid(4), batch="x")], arrivals=[flat(1, status="LEFT")])
    program(site.database, "partner", "integration")
    shown = viewer.get("/kormitel")
    assert shown["objects"] == {"badges": 4}
    assert (shown["held"], shown["set_aside"], shown["silent"]) == (1, 1, ["partner"])
    assert shown["unserved"] == [
        {"kitchen": None, "badges": 1},
        {"kitchen": "2", "badges": 2},
    ]
    assert shown["paused"] is None
    viewer.post("/kormitel/pause", 403)
    since = api.post("/kormitel/pause", 200)["paused"]
    assert viewer.get("/kormitel")["paused"] == since is not None
    assert api.post("/kormitel/resume", 200) == {"paused": None}


def test_exchanges_are_listed_and_the_last_of_each_way_is_shown(api, site):
    add_user(site.database, "partner", "integration")
    for path in ("/sync", "/sync?from_date=never", "/api/v1/feeder/sync"):
        site.client.get(path, auth=("partner", PASSWORD))
    newest, failed, oldest = api.pages("/kormitel/exchanges")
    assert [newest["shape"], oldest["shape"]] == ["flat", "grouped"]
    assert failed["error"]
    assert api.get("/kormitel/exchanges", failed=True)["items"] == [failed]
    assert api.get("/kormitel/exchanges", user="nobody")["items"] == []
    (last,) = api.get("/kormitel")["last"]
    assert (last["user"], last["way"], last["id"], last["ago"]) == (
        *("partner", "sync", newest["id"]),
        0,
    )


def test_what_is_held_back_is_listed_with_its_reason(api, site):
    # Two groups with the same ids.
    send(site.database, badges=[flat(1, name="Anna"), flat(2)], persons=[flat(1), flat(uid(1))])
    held = api.pages("/kormitel/held")
    assert [(one["group"], one["id"]) for one in held] == [
        ("badges", "1"),
        ("badges", "2"),
        ("persons", "1"),
    ]
    assert held[0]["name"] == "Anna"
    assert "not a uuid" in held[0]["reason"]


def test_what_was_set_aside_is_applied_or_dismissed(api, viewer, site):
    database = site.database
    send(database, badges=[flat(ANNA)], arrivals=[flat(STAY, **stay(CLARA))])
    send(database, arrivals=[flat(NEXT, status="GONE")])
    later, first = viewer.pages("/kormitel/set-aside", state="open")
    assert (first["group"], first["reason"]) == (
        "arrivals",
        f"its badge {CLARA} is not known here",
    )
    path = f"/kormitel/set-aside/{first['id']}"
    assert viewer.get(path) == first
    assert CLARA in api.post(f"{path}/apply", 422)
    viewer.post(f"{path}/apply", 403)
    applied = api.post(f"{path}/apply", 200, edits={"badge": ANNA, "kind": "x", "sent": 1})
    assert (applied["state"], applied["settled_by"]) == ("applied", "operator (token a program)")
    assert known(database, "arrivals", STAY).fields["badge"] == ANNA
    assert "already" in api.post(f"{path}/apply", 422)
    away = api.post(f"/kormitel/set-aside/{later['id']}/dismiss", 200)
    assert away["state"] == "dismissed"
    assert viewer.get("/kormitel/set-aside", state="open")["items"] == []
    assert len(viewer.pages("/kormitel/set-aside")) == 2
    api.post("/kormitel/set-aside/99/dismiss", 404)


def test_a_kitchen_is_set_and_it_is_told_why_somebody_eats(api, viewer):
    setting = {
        "kitchens": {"*": ["GATE-1"]},
        "meals": [{"name": "lunch", "start": "12:00", "end": "15:00", "night": False}],
    }
    viewer.put("/kormitel/settings", 403, **setting)
    assert api.put("/kormitel/settings", **setting) == setting
    assert viewer.get("/kormitel/settings") == setting
    assert "GATE-9" in api.put("/kormitel/settings", 422, kitchens={"*": ["GATE-9"]})
    api.post("/badges", id=ANNA, name="Anna", feed="FREE")
    api.post("/arrivals", **stay(ANNA, last="2026-11-25"))
    said = viewer.get("/kormitel/why", asked="anna", at="2026-11-23T12:30")
    assert (said["eats"], said["badge"]) == (True, ANNA)
    assert not viewer.get("/kormitel/why", asked="anna", at="2026-11-23T11:59")["eats"]
    assert not viewer.get("/kormitel/why", asked=ANNA, reader="GATE-2", at="2026-11-23T12:30")[
        "eats"
    ]
    viewer.get("/kormitel/why", 404, asked="Boris")
    assert "after 2099" in viewer.get("/kormitel/why", 422, asked="anna", at="9999-12-31T23:59")


@ON_SQLITE
def test_all_of_it_is_described(site):
    described = site.client.get(f"{API}/openapi.json").json()
    ids = [
        operation["operationId"]
        for path in described["paths"].values()
        for operation in path.values()
    ]
    assert len(ids) == len(set(ids))
    for name in KORMITEL:
        assert {f"/{name}", f"/{name}/{{id}}"} <= described["paths"].keys()
    written = described["components"]["schemas"]["BadgeSetting"]["properties"]["gender"]
    assert written["anyOf"][0]["enum"] == ["MALE", "FEMALE", "OTHER"]
    # A stored value may be another.
    read = described["components"]["schemas"]["BadgeView"]["properties"]["gender"]
    assert "enum" not in read["anyOf"][0]
