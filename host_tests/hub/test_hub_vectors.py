"""Our hub against the answers recorded from a public server of this API (`source` in the file).

The protocol leaves two things to a server, so they are normalized before the comparison: the order
of codes and rules (ours is code order), and the minute where that server answered 0 to a minute
that it knew (ours answers its own). Where that server fails on a valid request or hides a reason,
ours does not; and ours also stores access log entries of unknown codes.
"""

import json
from pathlib import Path

import pytest

from hub.hub_site import ON_SQLITE, START, SYNC, headers
from hub.plain_reader import parse
from kalitka_hub.reader_api.access_log import list_entries

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
SYNCS_WITH_RULES = [vector for vector in SYNCS if "_/" in vector["answer"]]
# Our answers to the vectors of other kinds.
LOGS = {
    "logs of all kinds": VECTORS["logs of all kinds"]["answer"],
    "log of an unknown tag": "ok,1",
    "log with a trailing newline loses its last entry": "ok,1",
}
STATUSES = {"no headers": 401, "wrong token": 403, "empty body": 400, "only tokens": 200}
TIMES = ["time v1", "time v2"]


def set_up(site, vector):
    """Give the hub the rules that the recorded server had, and the minute of the request."""
    minute, deletes, lines = parse(vector["answer"])
    site.clock.minute = minute or int(vector["request"])
    site.ask("0")
    for code in deletes:
        rules = [rule for of, rule in lines if of == code]
        site.set(code, *(rules or ["9_1"]))
        if not rules:
            site.remove(code)


def test_every_recorded_answer_is_looked_at():
    looked_at = {vector["name"] for vector in SYNCS} | {*LOGS, *STATUSES, *TIMES}
    assert looked_at == VECTORS.keys()


@pytest.mark.parametrize("vector", SYNCS, ids=lambda vector: vector["name"])
def test_the_hub_gives_the_recorded_answer(site, vector):
    minute, deletes, lines = parse(vector["answer"])
    if vector["name"] == FUTURE:
        # That server believed the reader's minute, and lost the changes pending for it.
        assert site.ask(vector["request"]) == "0%%\n"
        return
    set_up(site, vector)
    ours = site.ask(vector["request"])
    if not deletes:
        assert ours == vector["answer"]
        return
    our_minute, our_deletes, our_lines = parse(ours)
    assert our_minute == (minute or int(vector["request"]))
    assert sorted(our_deletes) == sorted(deletes)
    assert sorted(our_lines) == sorted(lines)
    # The rules of a code are adjacent, and both parts have the codes in the same order.
    in_lines = list(dict.fromkeys(code for code, _ in our_lines))
    assert in_lines == [code for code in our_deletes if code in in_lines]


@ON_SQLITE
@pytest.mark.parametrize("vector", SYNCS_WITH_RULES, ids=lambda vector: vector["name"])
def test_the_other_forms_of_the_request_are_answered_alike(site, vector):
    set_up(site, vector)
    answer = site.ask(vector["request"])
    minute, deletes, lines = parse(answer)
    assert site.ask(f"{vector['request']}%") == answer
    assert site.ask(f"{vector['request']}%{','.join(deletes)}") == answer
    assert site.ask(f"%{','.join(deletes)}") == answer
    for code in deletes:
        of_it = [line for line in lines if line[0] == code]
        assert parse(site.ask(f"{vector['request']}%{code}")) == (minute, [code], of_it)
        assert parse(site.ask(f"%{code}")) == (minute, [code], of_it)


@pytest.mark.parametrize(("name", "answer"), LOGS.items())
def test_the_access_log_of_the_recorded_reader_is_stored(site, name, answer):
    path = VECTORS[name]["endpoint"].partition(" ")[2]
    body = VECTORS[name]["request"]
    response = site.client.post(path, content=body, headers=headers())
    assert (response.status_code, response.text) == (200, answer)
    with site.database.snapshot() as session:
        stored = [f"{row.at}_{row.code}_{row.state}" for row in list_entries(session, 10)]
    assert stored == body.strip().split(",")


@pytest.mark.parametrize(("name", "status"), STATUSES.items())
def test_a_request_that_is_wrong_is_told_so_and_a_good_one_answered(site, name, status):
    sent = {"no headers": {}, "wrong token": headers() | {"X-AuthToken": "x"}}.get(name, headers())
    answer = site.client.post(SYNC, content=VECTORS[name]["request"], headers=sent)
    assert answer.status_code == status
    if status == 200:
        assert answer.text == f"{START}%04A1B2C3%\n"
    else:
        assert answer.text.index("\n") == len(answer.text) - 1 > 20


def test_the_time_is_told_as_recorded(database, clock):
    from fastapi.testclient import TestClient

    from kalitka_hub.server.app import create_app
    from kalitka_hub.site.site_zone import set_zone
    from kalitka_hub.store.changes import write_transaction

    clock.minute, clock.second = divmod(1795287578, 60)
    with write_transaction(database) as session:
        set_zone(session, "EET-2EEST,M3.5.0/3,M10.4.0/4")
    with TestClient(create_app(database)) as client:
        for name in TIMES:
            path = VECTORS[name]["endpoint"].partition(" ")[2]
            assert client.get(path, headers=headers()).text == VECTORS[name]["answer"]
