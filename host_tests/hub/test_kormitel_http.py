"""The exchange over HTTP: logins, requests, bodies, errors and the OpenAPI document."""

import asyncio
import base64
import json
import re

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from hub.hub_accounts import API, PASSWORD, add_user, error_of, everything_in, log_in, program
from hub.hub_site import ON_SQLITE
from kalitka_hub.accounts import basic, hashing, users
from kalitka_hub.kormitel import back_sync, bodies, exchange_log, export, http_api, service
from kalitka_hub.server.app import create_app
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.models import Site

# The same on both databases: test_kormitel_sync has the tests that depend on the database.
pytestmark = ON_SQLITE

SYNC, BACK_SYNC = "/sync", "/back-sync"
FLAT_SYNC, FLAT_BACK_SYNC = f"{http_api.PREFIX}/sync", f"{http_api.PREFIX}/back-sync"
BADGE = "0d3c2bbf-2f3e-4d0c-9d3a-3d1c5b0f1a01"
AUTH = ("kormitel", PASSWORD)


@pytest.fixture
def client(site):
    """A client of the hub which sends the password of an integration user."""
    add_user(site.database, "kormitel", "integration")
    site.client.auth = AUTH
    site.client.follow_redirects = False
    return site.client


def change_user(database, **changes):
    with write_transaction(database) as session:
        users.change_user(session, "kormitel", users.UserChange(**changes))


def authorization(credentials: bytes) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(credentials).decode()}"}


def last_exchange(database):
    with database.snapshot() as session:
        return exchange_log.list_exchanges(session, limit=1)[0]


# Logins


def test_whoever_sends_no_name_and_password_is_told_how(site):
    sent = ["Basic", "Basic ", "Basic !", "Basic a2Fs", "Bearer kal_x", "Basic é", "Digest a=b"]
    for headers in ({}, *({"Authorization": one.encode()} for one in sent)):
        for method, path in (("GET", SYNC), ("POST", BACK_SYNC), ("GET", FLAT_SYNC)):
            answer = site.client.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == 'Basic realm="kalitka"'
            assert "HTTP Basic" in error_of(answer)


def test_wrong_unknown_and_disabled_are_told_alike(client, site):
    add_user(site.database, "disabled", "integration")
    with write_transaction(site.database) as session:
        users.change_user(session, "disabled", users.UserChange(disabled=True))
    tries = [("kormitel", "wrong"), ("nobody", PASSWORD), ("disabled", PASSWORD)]
    answers = [client.get(SYNC, auth=auth) for auth in tries]
    assert {answer.status_code for answer in answers} == {401}
    assert len({error_of(answer) for answer in answers}) == 1


def test_only_another_system_exchanges_and_it_does_nothing_else(client, site):
    for role in users.ROLES[1:]:
        add_user(site.database, role, role)
        answer = client.get(SYNC, auth=(role, PASSWORD))
        assert (answer.status_code, "integration" in error_of(answer)) == (403, True)
    assert client.get(SYNC).status_code == 200
    client.auth = None
    sent = program(site.database, "robot", "integration")
    assert client.get(SYNC, headers=sent).status_code == 401
    log_in(client, "kormitel")
    for path in ("me", "people", "tokens", "readers", "audit", "users"):
        assert client.get(f"{API}/{path}", headers=sent).status_code == 403
        assert client.get(f"{API}/{path}").status_code == 403
        answer = client.post(f"{API}/{path}", json={}, headers=sent)
        assert answer.status_code in (403, 405)


def test_what_was_right_once_costs_no_hash_and_no_write_again(client, site, monkeypatch):
    hashed = []

    def counted(*arguments):
        hashed.append(arguments[1])
        return check_login(*arguments)

    check_login = basic.check_login
    monkeypatch.setattr(basic, "check_login", counted)
    for _ in range(3):
        assert client.get(SYNC).status_code == 200
    assert hashed == ["kormitel"]
    # Another client fails until the name and the address have to wait.
    for number in range(7):
        answer = client.get(SYNC, auth=("kormitel", f"wrong {number}"))
        assert answer.status_code == (401 if number < 5 else 429)
    assert int(answer.headers["retry-after"]) > 0
    assert client.get(SYNC).status_code == 200
    with TestClient(create_app(site.database)) as another_process:
        assert another_process.get(SYNC, auth=AUTH).status_code == 429
    assert PASSWORD not in everything_in(site.database)


@pytest.mark.parametrize("changes", [{"disabled": True}, {"password": None}, {"role": "viewer"}])
def test_what_happens_to_the_user_counts_at_once(client, site, changes):
    assert client.get(SYNC).status_code == 200
    change_user(site.database, **changes)
    assert client.get(SYNC).status_code in (401, 403)


def test_another_password_counts_at_once_and_the_old_one_no_more(client, site):
    assert client.get(SYNC).status_code == 200
    change_user(site.database, password="another good one")
    assert client.get(SYNC).status_code == 401
    assert client.get(SYNC, auth=("kormitel", "another good one")).status_code == 200
    assert client.get(SYNC, auth=("kormitel", "another good on")).status_code == 401


def test_no_more_are_remembered_than_there_is_room_for(site, monkeypatch):
    monkeypatch.setattr(basic, "_CACHE_MAX", 1)
    names = ("one", "two")
    for name in names:
        add_user(site.database, name, "integration")
    hashed = []
    check_login = basic.check_login
    monkeypatch.setattr(basic, "check_login", lambda *a: hashed.append(a[1]) or check_login(*a))
    for name in ("one", "one", "two", "two", "one"):
        assert site.client.get(SYNC, auth=(name, PASSWORD)).status_code == 200
    assert hashed == ["one", "two", "one"]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_names_and_passwords_are_of_any_letters(site, encoding):
    add_user(site.database, "Rémy", "integration", "die Brücke über den Fluß")
    text = "Rémy:die Brücke über den Fluß"
    answer = site.client.get(SYNC, headers=authorization(text.encode(encoding)))
    assert answer.status_code == 200
    assert last_exchange(site.database).user == "Rémy"


def test_a_password_may_have_a_colon(site):
    add_user(site.database, "kormitel", "integration", "correct: horse: battery")
    sent = authorization(b"kormitel:correct: horse: battery")
    assert site.client.get(SYNC, headers=sent).status_code == 200


def test_a_crowd_that_logs_in_is_told_to_come_again(client, monkeypatch):
    monkeypatch.setattr(hashing, "_WAITING_MAX", 0)
    answer = client.get(SYNC)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
    assert "too many people" in error_of(answer)


# Sync


def test_each_path_answers_in_its_shape_and_takes_both(client):
    for number, path in enumerate((BACK_SYNC, FLAT_BACK_SYNC)):
        grouped = {"persons": {"inserted": [{"id": 10 + number, "data": {"name": "Anna"}}]}}
        flat = {"persons": [{"data": {"id": 20 + number, "name": "Boris"}}]}
        for body in (grouped, flat):
            answer = client.post(path, json=body)
            assert answer.status_code == 200
            told = {"received": 1, "applied": 1, "unchanged": 0, "set_aside": 0}
            assert answer.json() == told
            assert client.post(path, json=body).json()["applied"] == 0
    told = client.get(SYNC).json()["persons"]
    assert {one["id"]: one["name"] for one in told["inserted"]} == {
        10: "Anna",
        11: "Anna",
        20: "Boris",
        21: "Boris",
    }
    assert (told["updated"], told["deleted"]) == ([], [])
    # Today's contract has only uuids.
    assert client.get(FLAT_SYNC).json()["persons"] == []
    client.post(BACK_SYNC, json={"persons": [{"data": {"id": BADGE, "name": "Vera"}}]})
    (told,) = client.get(FLAT_SYNC).json()["persons"]
    assert told == {"id": BADGE, "deleted": False, "name": "Vera"}


def test_an_answer_is_json_for_nobodys_cache(client):
    for path in (SYNC, FLAT_SYNC):
        answer = client.get(path)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-kalitka"] == "1"


def test_what_is_asked_from_is_a_date_of_any_form(client, site):
    assert site.clock() == 1795287578.25  # 2026-11-21T18:59:38.25Z
    client.post(BACK_SYNC, json={"persons": [{"data": {"id": BADGE, "name": "Vera"}}]})
    for query, is_told in (
        ("", True),
        ("?from_date=2013-06-13T00:00:00", True),
        ("?from_date=2026-11-21T18%3A59%3A38", True),
        ("?from_date=2026-11-21T18:59:38.25Z", True),
        ("?from_date=2026-11-21T18:59:38.250001Z", False),
        ("?from_date=2026-11-21T21:59:38%2B03:00", True),
        ("?from_date=2026-11-21T21:59:38+03:00", True),
        ("?from_date=2026-11-21T21:59:39+03:00", False),
        ("?fields=all", True),
    ):
        for path in (SYNC, FLAT_SYNC):
            answer = client.get(f"{path}{query}")
            assert (answer.status_code, BADGE in answer.text) == (200, is_told), query


def test_what_is_asked_wrongly_is_told_what_is_accepted(client, site):
    dates = ("", "yesterday", "2026-13-01T00:00:00", "0001-01-01T00:00:00%2B03:00")
    for query in (*(f"from_date={date}" for date in dates), "fields=name"):
        answer = client.get(f"{FLAT_SYNC}?{query}")
        assert answer.status_code == 400, query
        said = error_of(answer)
        assert ("2026-11-21T18:56:42" if query.startswith("from") else "all") in said
        noted = last_exchange(site.database)
        assert (noted.way, noted.user, noted.error) == ("sync", "kormitel", said)


def test_answers_are_zipped_for_those_who_take_it(client):
    items = [{"data": {"id": n, "name": "Анна"}} for n in range(500)]
    client.post(BACK_SYNC, json={"persons": items})
    plain = client.get(SYNC, headers={"Accept-Encoding": "identity"})
    zipped = client.get(SYNC, headers={"Accept-Encoding": "gzip, deflate"})
    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert zipped.content == plain.content
    assert "Анна" in plain.text


def test_a_client_that_goes_away_ends_the_answer(client, site, monkeypatch):
    client.post(BACK_SYNC, json={"persons": [{"data": {"id": n}} for n in range(50)]})
    monkeypatch.setattr(export, "PART_BYTES", 1)
    sent = []

    async def ask():
        gone = asyncio.Event()
        asked = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive():
            if not asked:
                await gone.wait()
            return asked.pop() if asked else {"type": "http.disconnect"}

        async def send(message):
            sent.append(message.get("body", b""))
            if len(sent) > 3:
                gone.set()
                await asyncio.sleep(60)  # a socket that accepts nothing more

        headers = authorization(":".join(AUTH).encode())
        scope = {
            "type": "http",
            "asgi": {"spec_version": "2.3"},
            "method": "GET",
            "path": SYNC,
            "query_string": b"",
            "headers": [(b"authorization", headers["Authorization"].encode())],
        }
        await client.app(scope, receive, send)

    asyncio.run(ask())
    told = sum(map(len, sent[:-1]))
    assert last_exchange(site.database).error == f"broken off after {told} bytes"
    assert site.database.open_connections() == 0


def test_nothing_is_ever_redirected(client):
    for path in (
        f"{SYNC}/",
        f"{BACK_SYNC}/",
        f"{FLAT_SYNC}/",
        f"{http_api.PREFIX}/",
        http_api.PREFIX,
    ):
        assert client.post(path, json={}).status_code == 404
    for method, path in (("POST", SYNC), ("GET", BACK_SYNC), ("PUT", FLAT_BACK_SYNC)):
        answer = client.request(method, path)
        assert (answer.status_code, method in error_of(answer)) == (405, True)


# Back-sync


def test_a_body_is_json_whatever_its_header_says(client):
    kinds = ("application/json", "text/plain", "application/x-www-form-urlencoded", None)
    for number, kind in enumerate(kinds):
        item = {"data": {"id": number, "name": "Анна"}}
        body = json.dumps({"persons": [item]}, ensure_ascii=False).encode()
        headers = {"Content-Type": kind} if kind else {}
        answer = client.post(FLAT_BACK_SYNC, content=body, headers=headers)
        assert answer.json()["applied"] == 1


def test_what_is_no_document_is_refused_and_written_down(client, site):
    for body in (b"", b"{", b"[]", b"1", b"\xff", b"[" * 10_000, b"null"):
        answer = client.post(BACK_SYNC, content=body)
        assert answer.status_code == 400
        noted = last_exchange(site.database)
        assert (noted.way, noted.error, noted.bytes) == ("back-sync", error_of(answer), len(body))


def test_what_cannot_be_applied_is_no_error(client, site):
    items = [
        {"data": {"name": "no id"}},
        {"data": {"id": BADGE, "name": "Vera"}},
        {"data": {"id": "x", "vegan": "perhaps"}},
        {"data": 5},
        7,
    ]
    answer = client.post(FLAT_BACK_SYNC, json={"persons": items, "badges": None, "?": [1]})
    told = {"received": 6, "applied": 1, "unchanged": 0, "set_aside": 5}
    assert (answer.status_code, answer.json()) == (200, told)
    noted = last_exchange(site.database)
    assert (noted.shape, noted.counts, noted.error) == ("flat", told, None)


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_has_an_end(client, site, monkeypatch, declared):
    with TestClient(create_app(site.database)) as bounded:
        body = b" " * (http_api.BODY_MAX + 1)
        parts = body if declared else iter((body[: http_api.BODY_MAX], body[http_api.BODY_MAX :]))
        answer = bounded.post(BACK_SYNC, content=parts, auth=AUTH)
    assert answer.status_code == 413
    assert str(http_api.BODY_MAX) in error_of(answer)
    assert last_exchange(site.database).error == error_of(answer)


def test_what_is_sent_by_who_may_not_is_neither_looked_at_nor_written_down(client, site):
    for auth in (None, ("kormitel", "wrong")):
        client.auth = auth
        assert client.post(BACK_SYNC, content=b"[").status_code == 401
    with site.database.snapshot() as session:
        assert exchange_log.list_exchanges(session) == []


def test_while_it_is_paused_nothing_is_taken_and_nothing_lost(client, site):
    with write_transaction(site.database) as session:
        session.query(Site).one().kormitel_paused = 1
    body = {"persons": [{"data": {"id": BADGE, "name": "Vera"}}]}
    for answer in (client.post(FLAT_BACK_SYNC, json=body), client.get(FLAT_SYNC)):
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert "paused" in error_of(answer)
        assert "paused" in last_exchange(site.database).error
    with site.database.snapshot() as session:
        assert service.list_objects(session, None) == []
    with write_transaction(site.database) as session:
        session.query(Site).one().kormitel_paused = None
    assert client.post(FLAT_BACK_SYNC, json=body).json()["applied"] == 1


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        (OperationalError("SELECT secret", None, Exception("locked")), 503, "again later"),
        (RuntimeError("the secret is x"), 500, "nothing was changed"),
    ],
)
def test_what_fails_here_is_told_and_leaves_nothing(
    client, site, monkeypatch, fault, status, said
):
    def apply(*arguments, **more):
        done(*arguments, **more)
        raise fault

    done = back_sync.service.apply_items
    monkeypatch.setattr(back_sync.service, "apply_items", apply)
    quiet = TestClient(client.app, raise_server_exceptions=False)
    body = {"persons": [{"data": {"id": BADGE, "name": "Vera"}}]}
    answer = quiet.post(BACK_SYNC, json=body, auth=AUTH)
    assert answer.status_code == status
    assert said in error_of(answer)
    assert "secret" not in answer.text
    with site.database.snapshot() as session:
        assert service.list_objects(session, None) == []
        noted = [view.error for view in exchange_log.list_exchanges(session)]
    failed = "the hub failed, and nothing was applied: RuntimeError"
    assert noted == ([failed] if status == 500 else [])


# The OpenAPI document


def operation_of(client, method, path):
    client.auth = None
    return client.get(f"{http_api.PREFIX}/openapi.json").json()["paths"][path][method]


def test_what_can_be_answered_is_described(client):
    for method, path in (("get", SYNC), ("get", FLAT_SYNC), ("post", BACK_SYNC)):
        described = operation_of(client, method, path)
        statuses = {"200", "400", "401", "403", "429", "503"}
        assert set(described["responses"]) >= statuses
        assert "422" not in described["responses"]
        assert described["security"] == [{"Basic": []}]
    assert set(operation_of(client, "post", FLAT_BACK_SYNC)["responses"]) >= {"408", "413"}
    described = client.get(f"{http_api.PREFIX}/openapi.json").json()
    assert described["components"]["securitySchemes"] == {
        "Basic": {"type": "http", "scheme": "basic"}
    }
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(described)))
    assert named == set(described["components"]["schemas"])
    page = client.get(f"{http_api.PREFIX}/docs")
    assert f"GET {FLAT_SYNC}" in page.text
    assert "<script" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("path", [BACK_SYNC, FLAT_BACK_SYNC])
def test_the_documents_examples_are_taken(client, path):
    posted = operation_of(client, "post", path)["requestBody"]["content"]["application/json"]
    client.auth = AUTH
    # Twice the same item of a badge and of an arrival, and the deletion of each.
    answer = client.post(path, json=posted["examples"]["grouped"]["value"])
    assert answer.json() == {"received": 6, "applied": 4, "unchanged": 2, "set_aside": 0}
    told = client.get(SYNC).json()
    assert told["badges"]["inserted"] == told["arrivals"]["inserted"] == []
    answer = client.post(path, json=posted["examples"]["flat"]["value"])
    assert answer.json() == {"received": 2, "applied": 2, "unchanged": 0, "set_aside": 0}
    (badge,) = client.get(FLAT_SYNC).json()["badges"]
    assert badge == {"id": BADGE, "deleted": False, "name": "Анна", "feed": "FREE"}


def test_the_seeds_example_of_an_answer_is_what_is_answered(client):
    described = operation_of(client, "get", SYNC)["responses"]["200"]["content"]
    example = described["application/json"]["example"]
    client.auth = AUTH
    kinds = {"persons": {"inserted": [], "updated": [], "deleted": []}}
    # The seed's example has the same object three times. Here each object occurs once.
    wanted = {
        "badges": {
            "inserted": [{"id": 4, "name": "123"}],
            "updated": [{"id": 5, "name": "123"}],
            "deleted": [1, 2, 3],
        },
        "arrivals": example["engagements"],
        "engagements": example["engagements"],
        **kinds,
        "directions": example["engagements"],
    }
    before = [{"data": {"id": number, "name": "122"}} for number in (1, 2, 3, 5)]
    client.post(BACK_SYNC, json={"badges": before})
    bodies.GroupedAnswer.model_validate(example)
    client.app.state.hub.database.clock.minute += 1
    changed = [{"data": {"id": number, "name": "123"}} for number in (4, 5)]
    gone = [{"data": {"id": number, "deleted": True}} for number in (1, 2, 3)]
    client.post(BACK_SYNC, json={"badges": changed + gone})
    answer = client.get(f"{SYNC}?from_date=2026-11-21T19:00:00")
    assert answer.json() == wanted
    assert list(answer.json()) == [*example, "persons", "directions"]


def test_the_example_of_a_flat_answer_is_what_is_answered(client):
    example = operation_of(client, "get", FLAT_SYNC)["responses"]["200"]["content"]
    example = example["application/json"]["example"]
    client.auth = AUTH
    posted = {
        kind: [{"data": {name: value for name, value in one.items() if name != "deleted"}}]
        for kind, found in example.items()
        for one in found
    }
    assert client.post(FLAT_BACK_SYNC, json=posted).json()["applied"] == 2
    assert client.get(FLAT_SYNC).json() == example
    assert list(client.get(FLAT_SYNC).json()) == list(example)
    bodies.FlatAnswer.model_validate(example)
