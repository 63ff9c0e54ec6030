"""The frame of the REST API: its errors, its limits, its paging, and the roles it requires."""

import re

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from hub.hub_accounts import API, OWN_PAGE, add_user, error_of, log_in, program
from hub.hub_site import ON_SQLITE, SYNC, headers
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.reader_api.state import HubState
from kalitka_hub.rest import api, auth
from kalitka_hub.web import bounded_body

OPEN = {("get", "/setup"), ("post", "/setup"), ("post", "/login")}
FOR_ADMINS = "/users"


@pytest.fixture
def admin(database):
    return program(database, "robot", "admin")


def operations(client):
    described = client.get(f"{API}/openapi.json").json()
    for path, methods in described["paths"].items():
        for method in methods:
            yield method, path


@ON_SQLITE
def test_the_description_and_the_page_of_it_are_there(site):
    described = site.client.get(f"{API}/openapi.json").json()
    assert described["openapi"].startswith("3.")
    assert {"/me", "/users", "/users/{name}", "/api-tokens", "/audit"} <= set(described["paths"])
    page = site.client.get(f"{API}/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for method, path in operations(site.client):
        assert f"{method.upper()} {API}{path}" in page.text


@ON_SQLITE
def test_the_page_runs_nothing_and_fetches_nothing(site):
    page = site.client.get(f"{API}/docs")
    assert "<script" not in page.text
    assert not re.search(r"(src|href)=['\"]?(https?:)?//", page.text)
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


@ON_SQLITE
def test_nobody_unknown_gets_in_anywhere(site):
    asked = set(operations(site.client))
    assert asked > OPEN
    for method, path in asked - OPEN:
        answer = site.client.request(method, f"{API}{path}".replace("{token_id}", "1"), json={})
        assert answer.status_code == 401, (method, path)
        error_of(answer)


@ON_SQLITE
@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_users_are_for_admins_alone(site, database, role):
    sent = program(database, "robot", role)
    for method, path in operations(site.client):
        if path.startswith(FOR_ADMINS):
            data = {"name": "x", "role": "admin"} if method == "post" else {}
            answer = site.client.request(method, f"{API}{path}", json=data, headers=sent)
            assert answer.status_code == 403
            assert "admin" in error_of(answer)
    assert site.client.get(f"{API}/audit", headers=sent).status_code == 200


@ON_SQLITE
def test_every_answer_is_for_nobodys_cache(site, admin):
    for path in ("/me", "/users", "/nowhere", "/docs"):
        answer = site.client.get(f"{API}{path}", headers=admin)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-kalitka"] == "1"


@ON_SQLITE
def test_unknown_paths_and_methods_are_told_in_json_and_to_readers_in_text(site, admin):
    assert "docs" in error_of(site.client.get(f"{API}/nowhere", headers=admin))
    answer = site.client.put(f"{API}/users", json={}, headers=admin)
    assert answer.status_code == 405
    assert "PUT" in error_of(answer)
    for answer in (site.client.get("/nowhere"), site.client.post(SYNC, content="0")):
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert site.client.post(SYNC, content="x", headers=headers()).status_code == 400


@ON_SQLITE
@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "name is missing; role is missing"),
        ({"name": "x"}, "role is missing"),
        ({"name": "x", "role": "king"}, "role: input should be 'integration', 'viewer'"),
        ({"name": "a:b", "role": "viewer"}, "name: use 1 to 64 letters"),
        ({"name": 5, "role": "viewer"}, "name: input should be a valid string"),
        ({"name": "x", "role": "viewer", "rule": 1}, "rule is not known here"),
        ({"name": "x", "role": "viewer", "a": 1, "b": 1, "c": 1, "d": 1}, "; and 1 more"),
        ({"name": "x", "role": "viewer", "password": "x" * 600}, "password: "),
        ([], "the body must be a JSON object"),
        ("text", "the body must be a JSON object"),
        (None, "the body must be a JSON object"),
    ],
)
def test_a_wrong_field_is_named(site, admin, data, said):
    answer = site.client.post(f"{API}/users", json=data, headers=admin)
    assert answer.status_code == 422
    assert said in error_of(answer)


@ON_SQLITE
@pytest.mark.parametrize(
    "body", [b"", b"{", b"{]", b'{"name": "x"', b"\xff\xfe", b'{"name": NaN}', b"[" * 100_000]
)
def test_a_body_that_is_no_json_is_told_so(site, admin, body):
    sent = admin | {"Content-Type": "application/json"}
    answer = site.client.post(f"{API}/users", content=body, headers=sent)
    assert 400 <= answer.status_code < 500
    assert len(error_of(answer)) < 250
    assert "There was" not in error_of(answer)


@ON_SQLITE
def test_what_was_sent_is_never_repeated(site, admin):
    data = {"name": "x<script>y", "role": "the secret", "password": ["the secret"]}
    answer = site.client.post(f"{API}/users", json=data, headers=admin)
    assert "secret" not in error_of(answer)
    assert "script" not in answer.text


def test_lists_come_in_pages_to_the_end(site, database, admin):
    names = sorted(["robot", *(f"user{number}" for number in range(6))])
    for name in names:
        if name != "robot":
            program(database, name, "viewer")
    for limit in (1, 3, 7, 8):
        got, after = [], None
        while True:
            params = {"limit": limit} | ({"after": after} if after else {})
            page = site.client.get(f"{API}/users", params=params, headers=admin).json()
            assert 0 < len(page["items"]) <= limit
            got += [user["name"] for user in page["items"]]
            after = page["next"]
            if after is None:
                break
        assert got == names


def test_the_audit_is_read_from_its_newest_entry_on(site, admin):
    for name in ("bob", "carl", "dora"):
        data = {"name": name, "role": "viewer"}
        site.client.post(f"{API}/users", json=data, headers=admin)
    ask = {"limit": 2, "kind": "users", "who": "robot (token a program)"}
    first = site.client.get(f"{API}/audit", params=ask, headers=admin).json()
    assert [entry["object"] for entry in first["items"]] == ["dora", "carl"]
    ask["after"] = first["next"]
    second = site.client.get(f"{API}/audit", params=ask, headers=admin).json()
    assert [entry["object"] for entry in second["items"]] == ["bob"]
    assert second["next"] is None


@ON_SQLITE
@pytest.mark.parametrize(
    "params", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"after": "x"}, {"after": "9" * 30}]
)
def test_a_bad_page_is_refused(site, admin, params):
    answer = site.client.get(f"{API}/audit", params=params, headers=admin)
    assert answer.status_code == 422
    assert next(iter(params)) in error_of(answer)


def test_names_that_look_like_sql_or_paths_are_just_not_there(site, admin):
    for name in ("'; DROP TABLE users; --", "%2e%2e", "x" * 200, "<b>", "%00"):
        answer = site.client.get(f"{API}/users/{name}", headers=admin)
        assert answer.status_code == 404
    data = {"name": "x\0", "password": "x\0"}
    assert site.client.post(f"{API}/login", json=data).status_code == 401
    for params in ({"who": "\0"}, {"object": "' OR 1=1"}):
        answer = site.client.get(f"{API}/audit", params=params, headers=admin)
        assert answer.status_code == 422 or answer.json()["items"] == []
    assert site.client.get(f"{API}/users/{'x' * 201}", headers=admin).status_code == 422
    assert site.client.get(f"{API}/users/robot", headers=admin).status_code == 200


def test_users_are_added_changed_and_removed(site, database):
    add_user(database, "anna", "admin")
    log_in(site.client, "anna")
    path = f"{API}/users"
    data = {"name": "bob", "role": "viewer", "password": "long enough for bob"}
    made = site.client.post(path, json=data, headers=OWN_PAGE)
    assert made.status_code == 201
    assert made.json() == site.client.get(f"{path}/bob").json()
    assert "password" not in made.json()
    again = site.client.post(path, json=data, headers=OWN_PAGE)
    assert "already" in error_of(again)
    changed = site.client.patch(f"{path}/bob", json={"role": "operator"}, headers=OWN_PAGE)
    assert changed.json()["role"] == "operator"
    assert site.client.delete(f"{path}/bob", headers=OWN_PAGE).status_code == 204
    assert site.client.get(f"{path}/bob").status_code == 404
    answer = site.client.delete(f"{path}/anna", headers=OWN_PAGE)
    assert (answer.status_code, "last admin" in error_of(answer)) == (422, True)


# The frame around other paths


@pytest.fixture
def framed(database):
    router = APIRouter()

    @router.get("/operators")
    def operators(caller: auth.Operator) -> str:
        return caller.who

    @router.post("/count")
    async def count(request: Request) -> int:
        return sum([len(part) async for part in request.stream()])

    @router.post("/large", dependencies=[Depends(bounded_body.allow_body_size(3 << 20))])
    async def large(request: Request) -> int:
        return sum([len(part) async for part in request.stream()])

    @router.get("/fails/{how}")
    def fails(how: str) -> None:
        raise {
            "refused": InvalidRequest("this is wrong: do that"),
            "missing": NotFound("there is none"),
            "busy": OperationalError("SELECT secret", None, Exception("locked")),
            "broken": RuntimeError("the secret is x"),
        }[how]

    outer = FastAPI()
    outer.mount(api.PREFIX, api.create_api(HubState(database), [router]))
    with TestClient(outer, raise_server_exceptions=False) as client:
        yield client


@ON_SQLITE
@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("refused", 422, "do that"),
        ("missing", 404, "there is none"),
        ("busy", 503, "again later"),
        ("broken", 500, "nothing was changed"),
    ],
)
def test_every_fault_is_a_sentence(framed, how, status, said):
    answer = framed.get(f"{API}/fails/{how}")
    assert answer.status_code == status
    assert said in error_of(answer)
    assert "secret" not in answer.text


@ON_SQLITE
def test_a_role_is_asked_of_the_caller(framed, database):
    roles = {"integration": 403, "viewer": 403, "operator": 200, "admin": 200}
    for role, status in roles.items():
        sent = program(database, f"a.{role}", role)
        assert framed.get(f"{API}/operators", headers=sent).status_code == status


@ON_SQLITE
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_has_an_end(framed, declared):
    def body(size):
        parts = [b"x" * (1 << 16)] * (size >> 16) + [b"x" * (size & 0xFFFF)]
        return b"".join(parts) if declared else iter(parts)

    for path, most in (("count", api.BODY_MAX), ("large", 3 << 20)):
        assert framed.post(f"{API}/{path}", content=body(most)).json() == most
        answer = framed.post(f"{API}/{path}", content=body(most + 1))
        assert answer.status_code == 413
        assert str(most) in error_of(answer)
