"""Point 15: any server of the API will do, below a path too; errors as text or JSON by Accept."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from hub.hub_site import ON_SQLITE, SECRET, SYNC, headers
from hub.served import served
from kalitka_hub.reader_api import reader_auth, token_reader_api
from kalitka_hub.server.app import create_app
from test_sim_by_hand import Sim

pytestmark = ON_SQLITE
TIMES = "/api/v2/token-reader/time"


@pytest.mark.parametrize("end", ["", "/"])
def test_15_sim_takes_a_server_below_a_path(site, end):
    site.set("55667788", "9_1")
    with served(site.database, "/access/hub") as root:
        options = ["--server", f"{root}/access/hub{end}", "--reader", "GATE-1"]
        with Sim(*options, "--poll-seconds", "1", KALITKA_HUB_SECRET=SECRET) as sim:
            sim.expect("clock: set by the server")
            sim.expect("sync: full")
            sim.type("card 55667788")
            sim.expect("55667788: allowed; the lock opened")
            assert sim.end() == 0
        with Sim("--server", root, *options[2:], KALITKA_HUB_SECRET=SECRET) as sim:
            sim.expect(r"sync: failed: the server answered 404 \(not the hub\)")
            assert sim.end() == 0


JSON_ASKED = [
    "application/json",
    "Application/JSON",
    "application/json; charset=utf-8",
    "application/*",
    "application/json, text/plain, */*",
    "text/plain;q=0.5, application/json;q=0.9",
    "*/*;q=0.1,application/json",
]
TEXT_ASKED = [
    None,
    "",
    "*/*",
    "text/plain",
    "text/*",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "text/plain, application/json;q=0.9",
    "application/json;q=0",
    "application/json;q=none, */*",
    ";;,,",
]


def refusals(client, accept):
    """Yield a (status, answer) of each kind of error."""
    asked = {} if accept is None else {"Accept": accept}
    if accept is None:
        client.headers.pop("accept", None)
    sent = headers() | asked
    yield 403, client.post(SYNC, content="0", headers=headers("GATE-9") | asked)
    yield 401, client.get(TIMES, headers=asked)
    yield 400, client.post(SYNC, content="nonsense", headers=sent)
    yield 405, client.get(SYNC, headers=sent)
    yield 413, client.post(SYNC, content=b"A" * (token_reader_api.BODY_MAX + 1), headers=sent)
    yield 404, client.get("/no/such/path", headers=sent)


@pytest.mark.parametrize("accept", JSON_ASKED)
def test_15_a_client_that_reads_json_sees_the_reason(site, accept):
    plain = [answer.text for _, answer in refusals(site.client, "text/plain")]
    for (status, answer), text in zip(refusals(site.client, accept), plain, strict=True):
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/json"
        told = answer.json()
        assert told["error"] + "\n" == told["message"] + "\n" == text
        assert SECRET not in answer.text


@pytest.mark.parametrize("accept", TEXT_ASKED)
def test_15_everybody_else_gets_a_line_of_text_as_before(site, accept):
    for status, answer in refusals(site.client, accept):
        assert answer.status_code == status
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.text.count("\n") == 1


def test_15_the_headers_of_an_error_stay(site):
    answer = site.client.get(SYNC, headers=headers() | {"Accept": "application/json"})
    assert answer.headers["allow"] == "POST"
    assert answer.headers["x-kalitka"] == "1"


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (OperationalError("", None, Exception("locked")), 503, "the database is busy"),
        (RuntimeError("a bug"), 500, "internal error: see the hub's log"),
    ],
)
def test_15_an_error_of_the_hub_is_told_in_json_too(database, monkeypatch, fault, status, reason):
    def fail(*_):
        raise fault

    monkeypatch.setattr(reader_auth, "authenticate", fail)
    with TestClient(create_app(database), raise_server_exceptions=False) as client:
        sent = headers() | {"Accept": "application/json"}
        answer = client.post(SYNC, content="0", headers=sent)
    assert answer.status_code == status
    assert answer.json()["message"].startswith(reason)


def test_15_good_answers_are_the_protocols_whatever_is_accepted(site):
    site.set("A", "9_1")
    answer = site.client.post(SYNC, content="0", headers=headers() | {"Accept": JSON_ASKED[0]})
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.endswith("%A%\nA_/9_1")
