"""A sync survives every failure between the reader and its server, over real sockets and TLS.

The firmware in real MicroPython polls servers with all the failures of servers, proxies and
networks. In each case: cards are decided meanwhile, the table is the old one or the new one, the
reason is reported in words, and the next good poll succeeds. The number of cases is printed.
"""

import os
import socket

import pytest

import certificates
from scripted_server import Script, ScriptedServer, chunked, reply
from world import NEW, NEW_TABLE, OLD, OLD_TABLE, cases, failed, print_counts, worked
from wrong_answers import CHANGE, WRONG

CHUNKED = chunked(CHANGE, 9)


@pytest.fixture(scope="module", autouse=True)
def count():
    yield
    print_counts()


def survived(world, bad, words, **options):
    """Assert that a bad poll between two good ones fails with these words."""
    outcome, server = world.polls([Script(OLD), bad, Script(NEW)], **options)
    first, second, third = outcome["polls"]
    worked(first, OLD_TABLE)
    failed(second, words)
    worked(third, NEW_TABLE)
    assert "sync: works again" in third[4] or not options.get("same")
    return outcome, server


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("answer", [NEW, CHUNKED], ids=["length", "chunks"])
def test_a_connection_that_ends_at_any_byte(world, answer, reset):
    # A handshake takes time: over TLS only every seventh byte is tried, unless `make test-long`
    # asks for every one.
    step = 7 if world.secure and (reset or not os.environ.get("KALITKA_EVERY_BYTE")) else 1
    ends = [Script(answer, after=n, reset=reset) for n in range(0, len(answer), step)]
    outcome, _ = world.polls([Script(OLD), *ends, Script(NEW)], same=True)
    first, *cut, last = outcome["polls"]
    worked(first, OLD_TABLE)
    for result in cut:
        assert (result[0], result[2:4]) == (False, OLD_TABLE)
        assert result[1]
    cases["kinds"] += len(ends)
    worked(last, NEW_TABLE)


@pytest.mark.parametrize("after", range(0, len(NEW), 24))
def test_a_network_that_is_gone_in_the_middle(world, after):
    survived(world, Script(NEW, after=after, hang=True), "no answer in 1 s while")


def test_a_server_that_trickles_one_byte_a_second_is_given_up_in_the_end(world):
    trickle = Script(NEW, piece=1, pause=0.9)
    outcome, _ = survived(world, trickle, "trickled for too long", longest=4)
    assert outcome["decided"] > 100


def test_a_server_that_only_is_slow_is_waited_for(world):
    slow = Script(NEW, piece=16, pause=0.3, delay=0.5)
    outcome, _ = world.polls([Script(OLD), slow])
    worked(outcome["polls"][1], NEW_TABLE)


@pytest.mark.parametrize(
    "silence",
    [Script(accept_only=True), Script(never_read=True), Script(hang=True), Script(hang=True)],
    ids=["nothing is read", "no request is read", "no answer", "no answer, asked for more"],
)
def test_a_server_that_never_answers(world, silence):
    survived(world, silence, "no answer in 1 s while")


def test_a_server_that_never_closes_has_answered_all_the_same(world):
    outcome, _ = world.polls([Script(OLD, hang=True), Script(NEW, hang=True)])
    assert [result[0] for result in outcome["polls"]] == [True, True]
    worked(outcome["polls"][1], NEW_TABLE)


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_answer_changes_nothing_and_is_told_in_words(world, what):
    data, words = WRONG[what]
    survived(world, Script(data), words)
    cases["answers"] += 1


def test_a_body_longer_than_it_said_ends_where_it_said(world):
    longer = Script([NEW + b"\nD4_/9_1", reply(b"29921462%%")])
    outcome, server = world.polls([Script(OLD), longer, Script(reply(b"29921462%%"))], same=True)
    worked(outcome["polls"][1], NEW_TABLE)
    # Bytes behind the body are not taken for the beginning of the next answer.
    worked(outcome["polls"][2], [29921462, NEW_TABLE[1]])
    assert server.carried == [1, 1, 1]
    cases["kinds"] += 1


def test_a_403_keeps_the_table_and_is_followed_by_a_full_sync(world):
    refused = Script(reply(b'{"code": "FORBIDDEN"}', "403 Forbidden"))
    everything = Script(reply(b"29921490%%\nA1_/9_1"))
    outcome, server = world.polls([Script(OLD), refused, refused, everything], same=True)
    assert server.bodies == ["0", "29921460", "0", "0"]
    failed(outcome["polls"][1], "does not accept this reader's code or token")
    # The same failure is not reported again.
    assert outcome["polls"][2][4] == []
    worked(outcome["polls"][3], [29921490, {"A1": ["9_1"]}])
    _, server = world.polls(
        [Script(OLD), refused, Script(NEW)],
        same=True,
        settings={"full_sync_after_403": False},
        folder=str(world._folder / "other"),
    )
    assert server.bodies == ["0", "29921460", "29921460"]


def test_a_minute_of_zero_is_asked_again_at_once(world):
    zero = Script([reply(b"0%B2%\n"), reply(b"29921470%%\nA1_/9_1\nC3_/9_1")])
    outcome, server = world.polls([Script(OLD), zero], same=True)
    assert server.bodies == ["0", "29921460", "0"]
    worked(outcome["polls"][1], [29921470, {"A1": ["9_1"], "C3": ["9_1"]}])
    cases["kinds"] += 1


def test_a_minute_of_zero_for_ever_is_no_endless_loop(world):
    zero = Script(reply(b"0%%\nA1_/9_1"), repeat=True)
    outcome, server = world.polls([Script(OLD), zero, zero], same=True)
    assert [result[:3] for result in outcome["polls"][1:]] == [[True, "", 0]] * 2
    assert server.bodies == ["0", "29921460", "0", "0"]
    cases["kinds"] += 1


# Connections


def test_a_connection_is_used_again_where_the_server_keeps_it(world):
    kept = reply(b"29921460%%\nA1_/9_1", headers=("Keep-Alive: timeout=75",))
    outcome, server = world.polls(
        [Script(kept, repeat=True)], polls=5, same=True, seconds=[60] * 5
    )
    assert all(result[0] for result in outcome["polls"])
    assert server.carried == [5]


@pytest.mark.parametrize(
    ("headers", "seconds", "carried"),
    [
        ((), 1, [3]),  # not announced: kept for a short time only
        ((), 60, [1, 1, 1]),
        (("Connection: close",), 1, [1, 1, 1]),
        (("Keep-Alive: timeout=5, max=100",), 60, [1, 1, 1]),
        (("Keep-Alive: timeout=x",), 1, [3]),
    ],
)
def test_a_connection_is_not_used_longer_than_it_is_kept(world, headers, seconds, carried):
    kept = Script(reply(b"29921460%%\nA1_/9_1", headers=headers), repeat=True)
    outcome, server = world.polls([kept], polls=3, same=True, seconds=[seconds] * 3)
    assert all(result[0] for result in outcome["polls"])
    assert server.carried == carried


def test_a_kept_connection_that_the_server_let_go_of_is_no_fault(world):
    kept = Script(reply(CHANGE, headers=("Keep-Alive: timeout=75",)))
    outcome, server = world.polls([Script(OLD), kept, kept, kept], same=True)
    for result in outcome["polls"][1:]:
        worked(result, NEW_TABLE)
    assert server.carried == [1, 1, 1, 1]
    cases["kinds"] += 1


def test_a_kept_connection_that_has_become_deaf_is_left(world):
    deaf = Script(reply(CHANGE, headers=("Keep-Alive: timeout=75",)), hang=True)
    outcome, server = world.polls([Script(OLD), deaf, Script(NEW)], same=True, polls=4)
    # Silence may mean a slow server, so the same request is not sent again at once.
    failed(outcome["polls"][2], "no answer in 1 s while reading the answer", NEW_TABLE)
    worked(outcome["polls"][3], NEW_TABLE)
    assert server.connections == 3 and len(server.requests) == 4


def test_nobody_at_the_address(world):
    with world.server([Script(OLD)]) as server:
        url = world.url(server)
        world.reader(url=url)
    outcome = world.reader(url=url)
    failed(outcome["polls"][0], "refused while")
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        # Fill the backlog: further connections wait for ever.
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        address = f"http://127.0.0.1:{full.getsockname()[1]}"
        outcome = world.reader(url=address, polls=4, same=True, silent=True)
        failed(outcome["polls"][0], "no answer in 1 s while")
        # No reply three times in a row: the link itself may be down.
        assert outcome["distrusted"] == 1
        for one in waiting:
            one.close()


# TLS

CERTIFICATES = {
    "other name": "does not match",
    "expired": "validity has expired",
    "not yet valid": "starts in the future",
    "other CA": "not correctly signed by the trusted CA",
    "self-signed": "not correctly signed by the trusted CA",
    "intermediate not sent": "not correctly signed by the trusted CA",
}


@pytest.mark.parametrize("algorithm", ["ecdsa", "rsa"])
@pytest.mark.parametrize("kind", CERTIFICATES)
def test_a_wrong_certificate_is_not_accepted(secure_world, kind, algorithm):
    world = secure_world
    world._ca.write_bytes(certificates.authority("site", algorithm).pem)
    with world.server([Script(OLD)], algorithm=algorithm) as server:
        worked(world.reader(url=world.url(server))["polls"][0], OLD_TABLE)
    with world.server([Script(NEW)], kind, algorithm) as server:
        result = world.reader(url=world.url(server))["polls"][0]
        failed(result, CERTIFICATES[kind])
        assert "certificate not accepted" in result[1]
        # There was no request: the secret was not sent.
        assert not server.requests
    with world.server([Script(NEW)], algorithm=algorithm) as server:
        worked(world.reader(url=world.url(server))["polls"][0], NEW_TABLE)
    cases["certificates"] += 1


def test_no_failure_costs_a_socket(secure_world):
    failures = [Script(handshake="half"), Script(NEW, handshake="plain")] * 10
    failures += [Script(hang=True)] * 2
    outcome, _ = secure_world.polls([Script(OLD), *failures, Script(NEW)], same=True)
    assert not any(result[0] for result in outcome["polls"][1:-1])
    worked(outcome["polls"][-1], NEW_TABLE)
    with secure_world.server([Script(NEW)], "expired") as server:
        outcome = secure_world.reader(url=secure_world.url(server), polls=40, same=True)
    assert {result[1] for result in outcome["polls"]} == {outcome["polls"][0][1]}


def test_a_certificate_through_an_intermediate_is_accepted(secure_world):
    with secure_world.server([Script(OLD)], "intermediate") as server:
        outcome = secure_world.reader(url=secure_world.url(server))
    worked(outcome["polls"][0], OLD_TABLE)


def test_a_certificate_is_not_blamed_where_the_clock_is_not_set(secure_world):
    world = secure_world
    with world.server([Script(NEW)], "not yet valid") as server:
        result = world.reader(url=world.url(server), clock_due=True)["polls"][0]
    assert not result[0]
    assert result[1].startswith("the clock is not set, so no certificate is valid: ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: https:// needs it"),
        (b"not a certificate", "does not hold a certificate"),
    ],
)
def test_without_the_sites_ca_nothing_is_believed(secure_world, tmp_path, content, words):
    ca = tmp_path / "other.pem"
    if content:
        ca.write_bytes(content)
    with secure_world.server([Script(OLD)]) as server:
        result = secure_world.reader(url=secure_world.url(server), ca=str(ca))["polls"][0]
        assert not server.connections
    failed(result, words, [0, {}])


@pytest.mark.parametrize("which", ["der", "two in one file"])
def test_the_ca_may_be_given_in_other_ways(secure_world, tmp_path, which):
    site = certificates.authority()
    ca = tmp_path / "other.pem"
    ca.write_bytes(site.der if which == "der" else certificates.authority("old").pem + site.pem)
    with secure_world.server([Script(OLD)]) as server:
        outcome = secure_world.reader(url=secure_world.url(server), ca=str(ca))
    worked(outcome["polls"][0], OLD_TABLE)


@pytest.mark.parametrize("ending", [{"hang": True}, {}, {"reset": True}])
def test_a_handshake_that_stops_in_the_middle(secure_world, ending):
    survived(secure_world, Script(NEW, handshake="half", **ending), "")


def test_a_server_that_speaks_plainly_where_tls_is_wanted(secure_world):
    _, server = survived(secure_world, Script(NEW, handshake="plain"), "while the handshake with")
    # The man in the middle got no request that it could read.
    assert len(server.requests) == 2


def test_a_server_that_wants_tls_where_plain_is_spoken(plain_world):
    with plain_world.server([Script(OLD)]) as server:
        plain_world.reader(url=plain_world.url(server))
    with ScriptedServer([Script(NEW)], certificates.server_context("good")) as server:
        result = plain_world.reader(url=f"http://127.0.0.1:{server.port}")["polls"][0]
    failed(result, "")


def test_an_end_without_close_notify_is_no_fault_if_the_body_is_whole(secure_world):
    outcome, _ = secure_world.polls([Script(OLD), Script(NEW, close_notify=False)])
    worked(outcome["polls"][1], NEW_TABLE)
