"""The REST API of the site's resources, its access log, and explanations of verdicts."""

from dataclasses import asdict
from datetime import date
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from sqlalchemy import event

from hub.hub_accounts import API, error_of, everything_in, program
from hub.hub_site import ON_SQLITE, SECRET, START, SYNC, headers
from kalitka.access import decision
from kalitka_hub.site.explain import explain
from kalitka_hub.site.grants import GrantSetting, add_grant
from kalitka_hub.site.inputs import NAMES_MAX
from kalitka_hub.site.people import PersonGroupSetting, PersonSetting, add_group, add_person
from kalitka_hub.site.reader_groups import ReaderGroupSetting, add_reader_group
from kalitka_hub.site.resources import RESOURCES
from kalitka_hub.site.schedules import ScheduleSetting, WindowSetting, add_schedule
from kalitka_hub.site.tokens import TokenRecord, add_token
from kalitka_hub.store.changes import write_transaction

LOG = "/api/v1/token-reader/access-logs"
NIGHT = {"start": "22:00", "end": "06:00", "days": "1111100"}
WEDNESDAY = (date(2026, 11, 25) - date(1970, 1, 1)).days * 24 * 60  # minutes
MARKED = "<b>'; DROP TABLE people; --"


class Example(NamedTuple):
    """An example of a resource: three settings to add, in the order of their keys.

    changed: the later setting of the first. found: filters, and how many of the three match.
    wrong: a setting that is refused, and the error.
    """

    settings: tuple[dict[str, Any], dict[str, Any], dict[str, Any]]
    changed: dict[str, Any]
    found: tuple[tuple[dict[str, Any], int], ...]
    wrong: tuple[dict[str, Any], str]


EXAMPLES = {
    "people": Example(
        (
            {"name": "Anna", "note": "cook\nat night", "groups": ["Kitchen"]},
            {"name": MARKED},
            {"name": "Иван"},
        ),
        {"name": "Anna B."},
        (({"group": "Kitchen"}, 1), ({"name": "drop TABLE"}, 1), ({"name": "%"}, 0)),
        ({"name": "Boris", "groups": ["Nobody"]}, "'Nobody'"),
    ),
    "person-groups": Example(
        ({"name": "A/B 5%", "note": "two"}, {"name": MARKED}, {"name": "Yard"}),
        {"name": "A/C", "note": None},
        (),
        ({"name": "*"}, "name: "),
    ),
    "tokens": Example(
        (
            {"code": "04A1B2C3", "person": 1, "rules": ["9_1"], "readers": ["GATE-1"]},
            {"code": "AB/secret", "name": MARKED},
            {"code": "ABC", "blocked": True, "rules": ["9_0"]},
        ),
        {"code": "04A1B2C3", "name": "spare"},
        (({"person": 1}, 1), ({"blocked": "true"}, 1), ({"name": "<B>"}, 1)),
        ({"code": "A%B"}, "code: "),
    ),
    "schedules": Example(
        (
            {
                "name": "Day/Night",
                "windows": [{"start": "08:00", "end": "18:00", "days": "1111111"}, NIGHT],
            },
            {"name": MARKED, "windows": []},
            {"name": "Week", "windows": [{"first": "2026-12-01T08:00"}]},
        ),
        {"name": "Night", "windows": [NIGHT]},
        (),
        ({"name": "X", "windows": [{"start": "08:00"}]}, "windows.0: a time window needs both"),
    ),
    "holidays": Example(
        (
            {"date": "2026-12-31", "name": MARKED},
            {"date": "2026-12-31", "schedule": "Always"},
            {"date": "2027-01-01", "hours": [{"start": "08:00", "end": "12:00"}]},
        ),
        {"date": "2026-12-30"},
        (({"since": "2027-01-01"}, 1), ({"until": "2026-12-31"}, 2), ({"schedule": "Always"}, 1)),
        ({"date": "2026-02-30"}, "date: "),
    ),
    "readers": Example(
        (
            {"code": "DOOR", "name": MARKED, "groups": ["Gates"]},
            {"code": "secret"},
            {"code": "t:1", "note": "by the oak"},
        ),
        {"code": "DOOR", "note": "painted"},
        (({"group": "Gates"}, 1), ({"name": "drop"}, 1)),
        ({"code": "a/b"}, "code: "),
    ),
    "reader-groups": Example(
        ({"name": "A/B", "readers": ["GATE-1"]}, {"name": MARKED}, {"name": "Yard"}),
        {"name": "Doors", "readers": ["GATE-2"]},
        (),
        ({"name": "X", "readers": ["GATE-9"]}, "GATE-9"),
    ),
    "grants": Example(
        (
            {"people": "Kitchen", "readers": "*", "schedule": "Always"},
            {"people": "Kitchen", "readers": "Gates", "schedule": "Always"},
            {"people": "Kitchen", "readers": "GATE-1", "schedule": "Always"},
        ),
        {
            "people": "Kitchen",
            "readers": "GATE-2",
            "schedule": "Always",
            "first": "2026-11-01T00:00",
        },
        (({"people": "Kitchen"}, 3), ({"readers": "Gates"}, 1), ({"schedule": "Never"}, 0)),
        ({"people": "Nobody", "readers": "*", "schedule": "Always"}, "'Nobody'"),
    ),
}


@pytest.fixture
def operator(database):
    return program(database, "robot", "operator")


@pytest.fixture
def viewer(database):
    return program(database, "screen", "viewer")


@pytest.fixture
def furnished(site):
    """A site with one person, and the resources that the examples name."""
    with write_transaction(site.database) as session:
        add_group(session, PersonGroupSetting(name="Kitchen"))
        add_person(session, PersonSetting(name="Olga", groups=["Kitchen"]))
        add_schedule(session, ScheduleSetting(name="Always", windows=[WindowSetting()]))
        add_reader_group(session, ReaderGroupSetting(name="Gates"))
    return site


def path_of(name, key):
    return f"{API}/{name}/{quote(str(key), safe='')}"


def written_in(view, resource):
    return {field: view[field] for field in resource.setting.model_fields}


def listed(client, path, sent, **params):
    """Return all items of a list, read in pages of two."""
    items = []
    while True:
        answer = client.get(path, params={"limit": 2} | params, headers=sent)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += page["items"]
        if page["next"] is None:
            return items
        assert len(page["items"]) == 2
        params["after"] = page["next"]


def test_there_is_an_example_of_each():
    assert set(EXAMPLES) == set(RESOURCES)


@pytest.mark.parametrize("name", RESOURCES)
def test_one_is_added_listed_shown_changed_and_removed(furnished, operator, viewer, name):
    client, resource, example = furnished.client, RESOURCES[name], EXAMPLES[name]
    path = f"{API}/{name}"
    present = listed(client, path, viewer)

    # Add, and show.
    added = []
    for setting in example.settings:
        answer = client.post(path, json=setting, headers=operator)
        assert answer.status_code == 201, answer.text
        view = answer.json()
        for once in set(resource.creation.view.model_fields) - set(resource.view.model_fields):
            del view[once]  # shown in this answer alone
        assert written_in(view, resource) == resource.setting(**setting).model_dump()
        assert client.get(path_of(name, view[resource.key]), headers=viewer).json() == view
        added.append(view)
    keys = [view[resource.key] for view in added]
    if not resource.is_numbered:
        again = client.post(path, json=example.settings[0], headers=operator)
        assert again.status_code == 422
        assert "already" in error_of(again)

    # List, in pages and by filters.
    everything = listed(client, path, viewer)
    assert len(everything) == len(present) + 3
    assert all(view in everything for view in added)
    if resource.is_numbered:
        assert everything == sorted(everything, key=lambda view: view["id"])
    for params, count in example.found:
        found = listed(client, path, viewer, **params)
        assert len([view for view in found if view in added]) == count, params
        assert all(view in everything for view in found)

    # Replace: fields left out get their defaults.
    answer = client.put(path_of(name, keys[0]), json=example.changed, headers=operator)
    assert answer.status_code == 200, answer.text
    changed = answer.json()
    assert written_in(changed, resource) == resource.setting(**example.changed).model_dump()
    key = changed[resource.key]
    assert client.get(path_of(name, key), headers=viewer).json() == changed
    if key != keys[0]:
        assert client.get(path_of(name, keys[0]), headers=viewer).status_code == 404
    same = client.put(path_of(name, key), json=example.changed, headers=operator)
    assert same.json() == changed

    # Refuse invalid bodies.
    for data, said in (example.wrong, (example.changed | {"rule": 1}, "rule is not known")):
        for method, where in (("POST", path), ("PUT", path_of(name, keys[1]))):
            answer = client.request(method, where, json=data, headers=operator)
            assert answer.status_code == 422
            assert said in error_of(answer)

    # Refuse changes by a viewer.
    for method, where in (
        ("POST", path),
        ("PUT", path_of(name, key)),
        ("DELETE", path_of(name, key)),
    ):
        answer = client.request(method, where, json=example.changed, headers=viewer)
        assert answer.status_code == 403
        assert "operator" in error_of(answer)
    assert client.get(path_of(name, key), headers=viewer).json() == changed

    # Remove.
    assert client.delete(path_of(name, key), headers=operator).status_code == 204
    for method, sent in (("GET", viewer), ("PUT", operator), ("DELETE", operator)):
        data = None if method == "GET" else example.changed
        answer = client.request(method, path_of(name, key), json=data, headers=sent)
        assert answer.status_code == 404
        error_of(answer)
    assert listed(client, path, viewer) == [
        view for view in everything if view[resource.key] != keys[0]
    ]

    who = "robot (token a program)"
    audit = listed(client, f"{API}/audit", viewer, kind=name, who=who)
    assert [entry["action"] for entry in audit] == ["remove", "change", "add", "add", "add"]
    assert [entry["object"] for entry in audit[2:]] == [str(key) for key in reversed(keys)]


@ON_SQLITE
def test_everything_is_described(site):
    described = site.client.get(f"{API}/openapi.json").json()
    schemas = described["components"]["schemas"]
    ids = []
    for name, resource in RESOURCES.items():
        of_all = described["paths"][f"/{name}"]
        of_one = described["paths"][f"/{name}/{{{resource.key}}}"]
        assert (set(of_all), set(of_one)) == ({"get", "post"}, {"get", "put", "delete"})
        told = {parameter["name"]: parameter for parameter in of_all["get"]["parameters"]}
        assert set(told) == {"after", "limit", *resource.filters.model_fields}
        assert all(parameter["description"] for parameter in told.values())
        for operation, setting in (
            (of_all["post"], resource.creation.setting),
            (of_one["put"], resource.setting),
        ):
            body = operation["requestBody"]["content"]["application/json"]["schema"]
            assert body["$ref"].endswith(f"/{setting.__name__}")
        shown = of_one["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert shown["$ref"].endswith(f"/{resource.view.__name__}")
        page = schemas[f"Page_{resource.view.__name__}_"]
        assert page["properties"]["items"]["items"] == shown
        ids += [operation["operationId"] for operation in (*of_all.values(), *of_one.values())]
    assert {"add_person", "list_person_groups", "change_grant", "remove_token"} <= set(ids)
    assert len(ids) == len(set(ids)) == 5 * len(RESOURCES)
    assert {"/site", "/log", "/log/{id}", "/explain"} <= set(described["paths"])


def test_no_character_is_taken_that_a_database_does_not(site, operator):
    client = site.client
    asked = [("GET", f"{API}/log", {"reader": "\0"}), ("GET", f"{API}/log", {"code": "a\0"})]
    asked.append(("GET", f"{API}/explain", {"reader": "GATE-1", "code": "\0"}))
    for name, resource in RESOURCES.items():
        asked.append(("GET", f"{API}/{name}", {"after": "\0"}))
        asked += [
            ("GET", f"{API}/{name}", {field: "x\0"}) for field in resource.filters.model_fields
        ]
        asked += [(method, f"{API}/{name}/a%00", None) for method in ("GET", "DELETE")]
    for method, path, params in asked:
        answer = client.request(method, path, params=params, headers=operator)
        assert answer.status_code == 422, (method, path, params)
        error_of(answer)
    sent = operator | {"Content-Type": "application/json"}
    for odd in (b"\\u0000", b"\\ud800"):
        for path, body in (
            ("people", b'{"name": "A", "groups": ["%s"]}'),
            ("people", b'{"name": "%s"}'),
            ("tokens", b'{"code": "A", "rules": ["9_1"], "readers": ["%s"]}'),
            ("reader-groups", b'{"name": "A", "readers": ["%s"]}'),
            ("readers", b'{"code": "A", "groups": ["%s"]}'),
            ("holidays", b'{"date": "2026-12-31", "schedule": "%s"}'),
            ("grants", b'{"people": "%s", "readers": "*", "schedule": "Always"}'),
            ("grants", b'{"people": "Kitchen", "readers": "%s", "schedule": "%s"}'),
        ):
            content = body.replace(b"%s", odd)
            answer = client.post(f"{API}/{path}", content=content, headers=sent)
            assert answer.status_code == 422, (path, content)
            error_of(answer)


@ON_SQLITE
def test_no_number_is_taken_that_a_database_does_not(site, operator):
    for path in ("people/9223372036854775808", "grants/-1", "log/99999999999999999999"):
        answer = site.client.get(f"{API}/{path}", headers=operator)
        assert answer.status_code == 422
        assert "id: " in error_of(answer)
    for field in ("since", "until"):
        answer = site.client.get(f"{API}/log", params={field: 1 << 63}, headers=operator)
        assert field in error_of(answer)
    assert site.client.get(f"{API}/people/{(1 << 62) - 1}", headers=operator).status_code == 404


@ON_SQLITE
def test_no_date_is_taken_that_is_not_of_the_calendar(site, operator):
    for path, data in (
        ("holidays", {"date": "2026-W01-1"}),  # Python would accept it as an ISO date
        ("schedules", {"name": "A", "windows": [{"first": "0001-01-01T00:00+23:59"}]}),
        ("schedules", {"name": "A", "windows": [{"last": "9999-12-31T23:59-23:59"}]}),
    ):
        answer = site.client.post(f"{API}/{path}", json=data, headers=operator)
        assert answer.status_code == 422, data
        assert "write it like 2026-1" in error_of(answer)


@ON_SQLITE
def test_long_lists_of_names_have_a_bound_and_are_looked_up_at_once(site, operator):
    statements = []
    event.listen(
        site.database._engine, "before_cursor_execute", lambda *given: statements.append(given[2])
    )
    for path, data, field in (
        ("people", {"name": "A"}, "groups"),
        ("readers", {"code": "A"}, "groups"),
        ("reader-groups", {"name": "A"}, "readers"),
        ("tokens", {"code": "A", "rules": ["9_1"]}, "readers"),
    ):
        known = ["GATE-1"] * (NAMES_MAX - 1) if field == "readers" else []
        for names, said in (
            ([*known, "N"], "there is no"),
            (["N"] * (NAMES_MAX + 1), f"{field}: list should have at most {NAMES_MAX}"),
        ):
            statements.clear()
            sent = data | {field: names}
            answer = site.client.post(f"{API}/{path}", json=sent, headers=operator)
            assert answer.status_code == 422
            assert said in error_of(answer)
            assert len(statements) < 20


# Secrets of readers


def test_a_readers_own_secret_is_made_by_an_admin_shown_once_and_taken_back(site, operator):
    admin = program(site.database, "anna", "admin")
    path = f"{API}/readers/GATE-1/secret"

    def polls(secret):
        sent = headers() | {"X-AuthToken": secret}
        return site.client.post(SYNC, content="0", headers=sent).status_code == 200

    for method in ("PUT", "DELETE"):
        assert site.client.request(method, path, headers=operator).status_code == 403
    secret = site.client.put(path, headers=admin).json()["secret"]
    assert (polls(secret), polls(SECRET)) == (True, False)
    other = site.client.put(path, headers=admin).json()["secret"]
    assert (polls(secret), polls(other)) == (False, True)
    shown = site.client.get(f"{API}/readers/GATE-1", headers=operator)
    assert shown.json()["own_secret"] is True
    assert not {secret, other} & set(everything_in(site.database).split("'"))
    assert site.client.delete(path, headers=admin).status_code == 204
    assert (polls(other), polls(SECRET)) == (False, True)
    missing = site.client.put(f"{API}/readers/GATE-9/secret", headers=admin)
    assert (missing.status_code, "GATE-9" in error_of(missing)) == (404, True)


# The access log and explanations


def send_log(site, body, log=None, reader="GATE-1"):
    sent = headers(reader) | ({"X-Kalitka-Log": log} if log else {})
    assert site.client.post(LOG, content=body, headers=sent).status_code == 200


def test_the_log_is_paged_from_its_newest_entry_while_others_arrive(site, viewer):
    def page(**params):
        answer = site.client.get(f"{API}/log", params={"limit": 2} | params, headers=viewer)
        assert answer.status_code == 200, answer.text
        return answer.json()

    send_log(site, "50_A_1,40_B_1,40_C_0,30_D_1,20_E_1")
    first = page()
    assert [entry["code"] for entry in first["items"]] == ["A", "C"]
    # One entry is newer than the first page, one belongs after it.
    send_log(site, "60_F_1,25_G_1", reader="GATE-2")
    second = page(after=first["next"])
    assert [entry["code"] for entry in second["items"]] == ["B", "D"]
    third = page(after=second["next"])
    assert [entry["code"] for entry in third["items"]] == ["G", "E"]
    assert third["next"] is None
    assert [entry["code"] for entry in page()["items"]] == ["F", "A"]
    for params, codes in (
        ({"reader": "GATE-2"}, "FG"),
        ({"code": "B"}, "B"),
        ({"since": 40, "until": 60, "limit": 9}, "ACB"),
        ({"denied": True}, "C"),
    ):
        assert "".join(entry["code"] for entry in page(**params)["items"]) == codes
    for after, status in (("0", 404), ("x", 422)):
        answer = site.client.get(f"{API}/log", params={"after": after}, headers=viewer)
        assert answer.status_code == status


def test_an_entry_of_the_log_is_told_in_words_and_names(furnished, viewer):
    site = furnished
    with write_transaction(site.database) as session:
        add_token(session, TokenRecord(code="0A", person=1, name="blue", rules=[]))
    entries = f"50_0A_0_{decision.UNKNOWN_CODE}_0_1,60_btn-exit_1_0_1_2"
    send_log(site, entries, log="0123abcd")
    send_log(site, b"70_\xff_1,0_0B_1", reader="GATE-2")
    entries = {
        entry["code"]: entry
        for entry in site.client.get(f"{API}/log", headers=viewer).json()["items"]
    }
    known = entries["0A"]
    assert known == site.client.get(f"{API}/log/{known['id']}", headers=viewer).json()
    told = ("reader", "reader_name", "token_name", "person", "person_name", "state", "source")
    assert [known[field] for field in told] == [
        "GATE-1",
        "North gate",
        "blue",
        1,
        "Olga",
        "denied",
        "scanner",
    ]
    assert known["reason"] == decision.REASONS[decision.UNKNOWN_CODE]
    assert (known["at"], known["timed"]) == (50, True)
    button = entries["btn-exit"]
    assert (button["source"], button["person"], button["state"]) == (
        "exit button",
        None,
        "allowed",
    )
    plain = entries[r"\xff"]
    assert (plain["reader_name"], plain["reason"], plain["source"]) == (None, None, None)
    timeless = entries["0B"]
    assert (timeless["timed"], timeless["at"]) == (False, timeless["received"])
    missing = site.client.get(f"{API}/log/999", headers=viewer)
    assert (missing.status_code, "999" in error_of(missing)) == (404, True)


def test_rest_explains_as_the_hub_does(furnished, viewer):
    site = furnished
    with write_transaction(site.database) as session:
        window = WindowSetting(start="08:00", end="18:00", days="1111100")
        add_schedule(session, ScheduleSetting(name="Day", windows=[window]))
        add_grant(session, GrantSetting(people="Kitchen", readers="GATE-1", schedule="Day"))
        add_token(session, TokenRecord(code="0A", person=1, rules=[]))

    def ask(**params):
        return site.client.get(f"{API}/explain", params=params, headers=viewer)

    allowed = set()
    for at, minute in (
        (None, START),
        (str(START * 60 + 59), START),
        ("1970-01-01T00:07Z", 7),
        ("2026-11-25T09:00", WEDNESDAY + 9 * 60),
        ("2026-11-25T21:00", WEDNESDAY + 21 * 60),
    ):
        for reader, code in (("GATE-1", "0A"), ("GATE-2", "0A"), ("GATE-1", "FF")):
            params = {"reader": reader, "code": code} | ({"at": at} if at else {})
            with site.database.snapshot() as session:
                expected = asdict(explain(session, reader, code, minute, START))
            got = ask(**params).json()
            assert got["rules"] == [
                rule | {"sources": list(rule["sources"])} for rule in expected.pop("rules")
            ]
            assert got["notes"] == list(expected.pop("notes"))
            assert got.items() >= expected.items()
            if got["allowed"]:
                allowed.add((at, reader, code))
    assert allowed == {("2026-11-25T09:00", "GATE-1", "0A")}
    for params, status, said in (
        ({"reader": "GATE-9", "code": "0A"}, 404, "GATE-9"),
        ({"reader": "GATE-1", "code": "A%"}, 422, "token code"),
        ({"reader": "GATE-1", "code": "0A", "at": "noon"}, 422, "2026-11-01T08:00"),
        ({"reader": "GATE-1", "code": "0A", "at": "9" * 11}, 422, "is not a valid time"),
        ({"reader": "GATE-1"}, 422, "code is missing"),
    ):
        answer = ask(**params)
        assert (answer.status_code, said in error_of(answer)) == (status, True)


def test_the_site_tells_what_it_has_and_who_is_late(furnished, viewer):
    site = furnished
    site.set("A", "9_1")
    site.set("B", "9_1")
    site.remove("B")

    def shown():
        return site.client.get(f"{API}/site", headers=viewer).json()

    told = shown()
    assert (told["readers"], told["people"], told["tokens"]) == (2, 1, 1)
    assert [reader["code"] for reader in told["late"]] == ["GATE-1", "GATE-2"]
    # `last_seen` is written up to a minute late.
    for reader in ("GATE-1", "GATE-2") * 2:
        site.ask("0", reader)
        site.clock.minute += reader == "GATE-2"
    told = shown()
    assert (told["late_readers"], told["late"], told["minute"]) == (0, [], START + 1)
    assert told["now"] == site.clock.minute * 60 + site.clock.second
    site.clock.minute += 10
    for _ in range(2):
        site.ask("0", "GATE-2")
        site.clock.minute += 1
    told = shown()
    assert [reader["code"] for reader in told["late"]] == ["GATE-1"]
    assert told["late"][0]["name"] == "North gate"
    assert told["late"][0]["last_seen"] in (START, START + 1)
    assert told["late_readers"] == 1
    assert (told["zone"], told["zone_name"], told["zone_text"]) == ("UTC0", None, "not set")
