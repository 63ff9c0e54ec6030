"""Servers that are slow, over real sockets and TLS: what the reader waits for, and what it sends.

The reader runs in MicroPython and in virtual time; its usual patience is one second here.
"""

import pytest

from scripted_server import Script, reply
from world import NEW, NEW_TABLE, OLD, OLD_TABLE, World, cases, failed, print_counts, worked

KEPT = reply(b"29921460%%\nA1_/3_480_1200_1111100\nB2_/9_1", headers=("Keep-Alive: timeout=75",))
DAY = 86400


@pytest.fixture(params=["http", "https"])
def world(request, tmp_path):
    return World(tmp_path, request.param == "https")


@pytest.fixture
def plain_world(tmp_path):
    # Over TLS time passes as slowly as it does outside while the reader waits for an answer.
    return World(tmp_path, False)


@pytest.fixture(scope="module", autouse=True)
def counts():
    yield
    print_counts()


def test_point_11_a_full_answer_may_begin_late(world):
    outcome, _ = world.polls([Script(OLD, delay=3), Script(NEW, delay=3)])
    worked(outcome["polls"][0], OLD_TABLE)
    # Changes come from every server in time.
    failed(outcome["polls"][1], "no answer in 1 s while reading the answer")


def test_point_11_the_patience_grows_until_a_slow_server_has_begun(plain_world):
    scripts = [Script(hang=True)] * 3 + [Script(OLD, delay=18)]
    outcome, server = plain_world.polls(scripts, same=True)
    # 4 s, and 4 s more for each ten minutes by which the full sync was postponed.
    for poll, seconds in zip(outcome["polls"], (4, 8, 12), strict=False):
        assert poll[1] == f"no answer in {seconds} s while reading the answer"
    worked(outcome["polls"][3], OLD_TABLE)
    assert server.bodies == ["0"] * 4
    assert outcome["distrusted"] == 0
    cases["kinds"] += 1


def test_point_11_days_with_a_server_that_never_begins_its_full_answer(plain_world):
    _days(plain_world, "hang")


def test_point_11_days_with_a_server_that_does_not_even_read(world):
    _days(world, "accept_only")


def _days(world, kind):
    # Someone is disabled meanwhile: the reader knows it from the next answer with changes.
    silent = Script(b"", **{kind: True})
    nothing = Script(reply(b"29921461%%\n"))
    scripts = [Script(OLD), silent, Script(NEW)]
    passed = [DAY, 5, 700]
    bodies = ["0", "0", "29921460"]
    for pause in (1200, 2400, 3600, 3600, 3600):
        scripts += [silent, nothing, nothing]
        passed += [5, pause - 300, 400]
        bodies += ["0", "29921461", "29921461"]
    scripts.append(Script(NEW))
    bodies.append("0")
    passed.append(0)
    outcome, server = world.polls(scripts, same=True, seconds=passed)
    for n, poll in enumerate(outcome["polls"][2:-1]):
        assert poll[2:4] == NEW_TABLE, (n, poll)
        assert poll[0] == (n % 3 != 1), (n, poll)
    if kind == "hang":  # the others never read the request
        assert server.bodies == bodies
    worked(outcome["polls"][-1], [29921461, {"C3": ["1_29921461_29929999", "9_1"]}])
    assert outcome["distrusted"] == 0
    cases["kinds"] += 1


def test_point_14_changes_that_a_server_repeats_are_applied_once(world):
    # As many as do not fit the memory, each with its delete, as the public server sends them.
    codes = [f"{'GUEST-' * 10}{n * 7919 % 150:04d}" for n in range(150)]
    lines = "\n".join(f"{code}_/9_1" for code in codes)
    body = f"29921461%{','.join(codes)}%\n{lines}".encode()
    kept = ("Keep-Alive: timeout=75",)
    answer, last = reply(body, headers=kept), reply(body)
    outcome, server = world.polls(
        [Script(OLD), Script([answer] * 5 + [last])],
        same=True,
        polls=7,
        seconds=[5] * 7,
        settings={"full_sync_after_changes_minutes": 0},
    )
    assert server.bodies == ["0", "29921460", *["29921461"] * 5]
    table = {**OLD_TABLE[1], **{code: ["9_1"] for code in codes}}
    for poll in outcome["polls"][1:]:
        worked(poll, [29921461, table])
    told = [line for poll in outcome["polls"][1:] for line in poll[4] if "codes changed" in line]
    assert told == ["sync: incremental, 150 rules, 150 codes changed, minute 29921461"]
    cases["kinds"] += 1


def test_point_12_a_request_without_an_answer_is_not_sent_again_at_once(world):
    # Two seconds: in time for a full answer, too late for changes.
    slow = Script([KEPT, NEW], delay=2)
    outcome, server = world.polls([slow, Script(NEW)], same=True, polls=3)
    worked(outcome["polls"][0], OLD_TABLE)
    failed(outcome["polls"][1], "no answer in 1 s while reading the answer")
    worked(outcome["polls"][2], NEW_TABLE)
    assert server.carried == [2, 1]


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_point_12_a_request_over_a_connection_that_was_let_go_of_is_sent_again(world, how):
    # Reset at the second request: a reset right behind an answer takes from the client what it has
    # not read yet.
    reset = Script([KEPT, b""], reset=True)
    outcome, server = world.polls(
        [reset if how == "reset" else Script(KEPT), Script(NEW)], same=True
    )
    worked(outcome["polls"][0], OLD_TABLE)
    worked(outcome["polls"][1], NEW_TABLE)
    assert server.bodies == ["0", *["29921460"] * (2 if how == "reset" else 1)]
    cases["kinds"] += 1
