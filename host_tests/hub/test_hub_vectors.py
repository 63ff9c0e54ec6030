"""The answers recorded from a public server of this API (see `source` in the file), asked of our
hub.

Made equal before comparing, since the protocol leaves them to a server: the order of codes and
rules (ours is code order), and the minute where that server answered 0 to a minute it knew (ours
answers its own). Where that server fails on a good request or hides a reason, ours does not; and
ours stores the access log of unknown codes too.
"""

import json
from pathlib import Path

import pytest

from hub.hub_site import START, SYNC, headers
from hub.plain_reader import parse
from kalitka_hub.access_log import list_entries

VECTORS = {
    vector["name"]: vector
    for vector in json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text())[
        "vectors"
    ]
}
SYNCS = [
    vector
    for vector in VECTORS.values()
    if vector["endpoint"].endswith("/sync") and vector["status"] == 200
]
FUTURE = "a minute of the future"


@pytest.mark.parametrize("vector", SYNCS, ids=lambda vector: vector["name"])
def test_the_hub_gives_the_recorded_answer(site, vector):
    minute, deletes, lines = parse(vector["answer"])
    asked = int(vector["request"])
    if vector["name"] == FUTURE:
        # That server believed the reader, and forgot its pending changes over it.
        assert site.ask(vector["request"]) == "0%%\n"
        return
    site.clock.minute = minute or asked
    site.ask("0")
    rules = {code: [rule for of, rule in lines if of == code] for code in deletes}
    for code in deletes:
        site.set(code, *(rules[code] or ["9_1"]))
        if not rules[code]:
            site.remove(code)
    ours = site.ask(vector["request"])
    if not deletes:
        assert ours == vector["answer"]
        return
    our_minute, our_deletes, our_lines = parse(ours)
    assert our_minute == (minute or asked)
    assert sorted(our_deletes) == sorted(deletes)
    assert sorted(our_lines) == sorted(lines)
    # Rules of a code stay together, codes come in one order in both parts.
    in_lines = list(dict.fromkeys(code for code, _ in our_lines))
    assert in_lines == [code for code in our_deletes if rules[code]]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("logs of all kinds", VECTORS["logs of all kinds"]["answer"]),
        ("log of an unknown tag", "ok,1"),
        ("log with a trailing newline loses its last entry", "ok,1"),
    ],
)
def test_the_access_log_of_the_recorded_reader_is_stored(site, name, answer):
    path = VECTORS[name]["endpoint"].partition(" ")[2]
    body = VECTORS[name]["request"]
    response = site.client.post(path, content=body, headers=headers())
    assert (response.status_code, response.text) == (200, answer)
    with site.database.snapshot() as session:
        stored = [f"{row.at}_{row.code}_{row.state}" for row in list_entries(session, 10)]
    assert stored == body.strip().split(",")


@pytest.mark.parametrize(
    ("name", "sent", "status"),
    [("no headers", {}, 401), ("wrong token", headers() | {"X-AuthToken": "x"}, 403)],
)
def test_who_may_not_ask_is_told_so(site, name, sent, status):
    answer = site.client.post(SYNC, content=VECTORS[name]["request"], headers=sent)
    assert answer.status_code == status


def test_an_empty_body_is_the_request_that_is_wrong_not_the_server(site):
    assert site.client.post(SYNC, content="", headers=headers()).status_code == 400


def test_only_tokens_is_a_good_request(site):
    assert site.ask(VECTORS["only tokens"]["request"]) == f"{START}%04A1B2C3%\n"


def test_the_time_is_told_as_recorded(database, clock):
    from fastapi.testclient import TestClient

    from kalitka_hub.app import create_app

    clock.minute, clock.second = divmod(1795287578, 60)
    with TestClient(create_app(database, "EET-2EEST,M3.5.0/3,M10.4.0/4")) as client:
        for name in ("time v1", "time v2"):
            path = VECTORS[name]["endpoint"].partition(" ")[2]
            assert client.get(path, headers=headers()).text == VECTORS[name]["answer"]
