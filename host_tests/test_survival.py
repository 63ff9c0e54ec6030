"""A sync survives everything between the reader and its server, over real sockets and real TLS.

The firmware in real MicroPython polls servers that do all that servers, proxies and networks do
wrong. In each case: cards are decided meanwhile, the table is the old one or the new one, the
reason is told in words, and the next good poll heals it. The number of cases is printed.
"""

import json
import resource
import socket
import subprocess
import threading

import pytest

import certificates
import micropython_peer
import name_server
from name_server import NAME_ERROR, REFUSED, SERVER_FAILURE, Answer, NameServer
from scripted_server import Script, ScriptedServer, chunked, reply
from time_server import ERA_1, UNSYNCHRONISED, Reply, TimeServer
from wrong_answers import CHANGE, WRONG

OLD = reply(b"29921460%%\nA1_/3_480_1200_1111100\nB2_/9_1")
OLD_TABLE = [29921460, {"A1": ["3_480_1200_1111100"], "B2": ["9_1"]}]
NEW = reply(CHANGE)
NEW_TABLE = [29921461, {"A1": ["3_480_1200_1111100"], "C3": ["1_29921461_29929999", "9_1"]}]
CHUNKED = chunked(CHANGE, 9)

DESCRIPTORS = 16  # of all files and sockets of the reader

cases = {"polls": 0, "kinds": 0, "decisions": 0}


@pytest.fixture(scope="module", autouse=True)
def count():
    yield
    print(
        f"\n# {cases['kinds']} kinds of misbehaviour, {cases['polls']} polls against them, "
        f"{cases['decisions']} cards decided meanwhile"
    )


def _few_descriptors():
    # A chip has some ten sockets: whoever loses one at each failure is soon without.
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


class World:
    """Servers on loopback, and a reader in MicroPython that polls them."""

    def __init__(self, folder, secure):
        self.secure = secure
        self._folder = folder
        self._ca = folder / "ca.pem"
        self._ca.write_bytes(certificates.authority().pem)

    def reader(self, **options):
        """Run the reader to its end; return what came of it."""
        options = {
            "folder": str(self._folder / "table"),
            "ca": str(self._ca),
            "certain": "A1",
            "patience": 1,
            **options,
        }
        done = subprocess.run(
            micropython_peer.command("sync_runner", "device/sync_runner.py"),
            input=json.dumps(options),
            capture_output=True,
            text=True,
            check=False,
            env=micropython_peer.ENVIRONMENT,
            preexec_fn=_few_descriptors,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        outcome = json.loads(done.stdout)
        assert outcome["wrongly"] == 0
        cases["decisions"] += outcome["decided"]
        cases["polls"] += len(outcome["polls"])
        return outcome

    def url(self, server, host="127.0.0.1"):
        """Return the server's address as a setting."""
        return f"http{'s' if self.secure else ''}://{host}:{server.port}"

    def server(self, scripts, kind="good", algorithm="ecdsa"):
        """Return a server that follows these scripts."""
        tls = certificates.server_context(kind, algorithm) if self.secure else None
        return ScriptedServer(scripts, tls)

    def polls(self, scripts, **options):
        """Poll once a script; return what came of it, and the server."""
        with self.server(scripts) as server:
            outcome = self.reader(**{"url": self.url(server), "polls": len(scripts), **options})
        return outcome, server


@pytest.fixture(params=["http", "https"])
def world(request, tmp_path):
    return World(tmp_path, request.param == "https")


@pytest.fixture
def secure_world(tmp_path):
    return World(tmp_path, True)


@pytest.fixture
def plain_world(tmp_path):
    return World(tmp_path, False)


def failed(result, words, state=OLD_TABLE):
    """Assert that a poll failed for this reason, told once, and left the table."""
    worked, error, minute, table, lines = result
    assert (worked, [minute, table]) == (False, state)
    assert words in error
    assert [line for line in lines if words in line] == [f"sync: failed: {error}"]
    cases["kinds"] += 1


def worked(result, state):
    """Assert that a poll worked."""
    assert (result[0], result[1], result[2:4]) == (True, "", state), result


def survived(world, bad, words, **options):
    """One bad poll between two good ones."""
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
    # Each handshake takes its time: over TLS resets come at every seventh byte.
    step = 7 if world.secure and reset else 1
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
    assert outcome["decided"] > 400


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


def test_a_body_longer_than_it_said_ends_where_it_said(world):
    longer = Script([NEW + b"\nD4_/9_1", reply(b"29921462%%")])
    outcome, server = world.polls([Script(OLD), longer, Script(reply(b"29921462%%"))], same=True)
    worked(outcome["polls"][1], NEW_TABLE)
    # What came behind the body is not taken for the beginning of the next answer.
    worked(outcome["polls"][2], [29921462, NEW_TABLE[1]])
    assert server.carried == [1, 1, 1]
    cases["kinds"] += 1


def test_a_403_keeps_the_table_and_is_followed_by_a_full_sync(world):
    refused = Script(reply(b'{"code": "FORBIDDEN"}', "403 Forbidden"))
    everything = Script(reply(b"29921490%%\nA1_/9_1"))
    outcome, server = world.polls([Script(OLD), refused, refused, everything], same=True)
    assert server.bodies == ["0", "29921460", "0", "0"]
    failed(outcome["polls"][1], "does not accept this reader's code or token")
    # The same fault again is not told again.
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
        ((), 1, [3]),  # nothing said: only soon after
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
    outcome, server = world.polls([Script(OLD), deaf, Script(NEW)], same=True)
    worked(outcome["polls"][2], NEW_TABLE)
    assert server.connections == 3
    cases["kinds"] += 1


def test_nobody_at_the_address(world):
    with world.server([Script(OLD)]) as server:
        url = world.url(server)
        world.reader(url=url)
    outcome = world.reader(url=url)
    failed(outcome["polls"][0], "refused while")
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        # Further connections wait for ever.
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        address = f"http://127.0.0.1:{full.getsockname()[1]}"
        outcome = world.reader(url=address, polls=4, same=True)
        failed(outcome["polls"][0], "no answer in 1 s while")
        # Nothing was heard three times in a row: it may be the link.
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
        # Nothing was asked: the secret went to nobody.
        assert not server.requests
    with world.server([Script(NEW)], algorithm=algorithm) as server:
        worked(world.reader(url=world.url(server))["polls"][0], NEW_TABLE)


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
    [(None, "cannot be read: https:// needs it"), (b"not a certificate", "is no certificate")],
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
    # What was sent to the one in the middle was no request that could be read.
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


# Names

NO_NAME = {
    "no such name": (Answer(code=NAME_ERROR), "there is no such name"),
    "a failing name server": (Answer(code=SERVER_FAILURE), "name server error 2"),
    "a refusing name server": (Answer(code=REFUSED), "name server error 5"),
    "no address": (Answer(), "no address comes with the name"),
    "an alias without an address": (Answer(aliases=("a.example",)), "no address comes"),
    "no answer": (Answer(silent=True), "no answer in 0.25 s while looking up"),
    "an answer to another question": (
        Answer(("127.0.0.1",), wrong_question=True),
        "an answer to another question",
    ),
    "an answer with another number": (
        Answer(("127.0.0.1",), wrong_id=True),
        "no answer in 0.25 s",
    ),
    "an answer of somebody else": (Answer(("127.0.0.1",), stranger=True), "no answer in 0.25 s"),
    "a cut answer": (Answer(("127.0.0.1",), cut=40), "a broken answer"),
    "a shorter answer": (Answer(("127.0.0.1",), cut=13), "another question"),
    "garbage": (Answer(raw=b"\x81\xff" + b"\xff" * 300), "name server error 15"),
}


@pytest.mark.parametrize("what", NO_NAME)
def test_a_name_that_is_not_found_stops_only_who_was_never_reached(plain_world, what):
    answer, words = NO_NAME[what]
    world = plain_world
    with world.server([Script(OLD), Script(NEW)]) as server, NameServer(answer) as names:
        options = {"url": world.url(server, "hub.example"), "dns": f"127.0.0.1:{names.port}"}
        failed(world.reader(**options)["polls"][0], words, [0, {}])
        names.follow([Answer(("127.0.0.1",), ttl=60), answer])
        # The second poll comes when the name has to be looked up again.
        outcome = world.reader(**options, polls=2, same=True, seconds=[3600, 0])
    worked(outcome["polls"][0], OLD_TABLE)
    worked(outcome["polls"][1], NEW_TABLE)
    assert len(names.queries) >= 3


GOOD_NAME = {
    "aliases": Answer(("127.0.0.1",), aliases=("a.example", "b.example")),
    "uncompressed": Answer(("127.0.0.1",), aliases=("a.example",), compressed=False),
    "several addresses": Answer(("127.0.0.1", "192.0.2.1")),
    "said to be cut": Answer(("127.0.0.1",), truncated=True),
    "late": Answer(("127.0.0.1",), delay=0.1),
    "twice": Answer(("127.0.0.1",), times=2),
    "odd names": Answer(("127.0.0.1",), loop=True),
}


@pytest.mark.parametrize("what", GOOD_NAME)
def test_a_name_is_found_through_what_name_servers_answer(secure_world, what):
    world = secure_world
    with world.server([Script(OLD)]) as server, NameServer(GOOD_NAME[what]) as names:
        options = {"url": world.url(server, "localhost"), "dns": f"127.0.0.1:{names.port}"}
        worked(world.reader(**options)["polls"][0], OLD_TABLE)
        assert set(names.names) == {"localhost"}


def test_a_lost_question_is_asked_again(plain_world):
    lost_once = [Answer(silent=True), Answer(("127.0.0.1",))]
    with plain_world.server([Script(OLD)]) as server, NameServer(lost_once) as names:
        options = {"url": plain_world.url(server, "hub.example"), "dns": f"127.0.0.1:{names.port}"}
        worked(plain_world.reader(**options)["polls"][0], OLD_TABLE)


def test_a_server_whose_address_changed_is_found_at_the_new_one(plain_world):
    world = plain_world
    # The name is good for an hour, but nobody is at the old address any more.
    moved = [Answer(("127.0.0.2",), ttl=3600), Answer(("127.0.0.1",), ttl=3600)]
    with world.server([Script(OLD)]) as server, NameServer(moved) as names:
        options = {"url": world.url(server, "hub.example"), "dns": f"127.0.0.1:{names.port}"}
        outcome = world.reader(**options, polls=3, same=True)
    failed(outcome["polls"][0], "refused while", [0, {}])
    worked(outcome["polls"][1], OLD_TABLE)
    assert len(names.queries) == 2


def test_a_local_name_is_asked_for_in_the_local_network(plain_world):
    group = socket.inet_aton("224.0.0.251")
    with (
        plain_world.server([Script(OLD)]) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as responder,
    ):
        responder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            responder.bind(("224.0.0.251", 5353))
            responder.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + bytes(4))
            responder.sendto(b"", ("224.0.0.251", 5353))
        except OSError as fault:
            pytest.skip(f"this computer has no network for multicast: {fault}")

        def respond():
            data = sender = b""
            while not data:
                data, sender = responder.recvfrom(600)
            answer = Answer(("127.0.0.1",))
            query = name_server.Query(
                int.from_bytes(data[:2], "big"), "hub.local", 1, True, sender
            )
            responder.sendto(name_server.packet(query, answer), sender)

        responding = threading.Thread(target=respond, daemon=True)
        responding.start()
        outcome = plain_world.reader(url=plain_world.url(server, "hub.local"))
        responding.join()
    worked(outcome["polls"][0], OLD_TABLE)


def test_no_name_server_is_told(plain_world):
    failed(
        plain_world.reader(url="http://hub.example")["polls"][0],
        "no name server is known while looking up hub.example",
        [0, {}],
    )


# The time

NOW = 1795415400
TIME = Script([reply(b"5,MSK-3,%d" % NOW, headers=("Keep-Alive: timeout=75",)), OLD])


def timed(world, scripts, replies, **options):
    """Poll with a clock that is not set; return the outcome."""
    with world.server(scripts) as server, TimeServer(replies) as time:
        options = {"ntp": f"127.0.0.1:{time.port}", "clock_due": True, **options}
        outcome = world.reader(url=world.url(server), **options)
    return outcome, server, time


def test_the_server_is_asked_for_the_time_over_the_same_connection(plain_world):
    outcome, server, time = timed(plain_world, [TIME], Reply())
    assert (outcome["set_to"], outcome["zone"]) == (NOW, "MSK-3")
    assert server.carried == [2]
    assert not time.requests


def test_a_time_server_comes_first_where_certificates_have_to_be_checked(secure_world):
    outcome, server, time = timed(secure_world, [TIME], Reply(at=NOW - 60))
    assert len(time.requests) == 1
    assert outcome["set_to"] == NOW
    lines = outcome["polls"][0][4]
    assert lines[:2] == ["clock: set by a time server", "clock: set by the server, 60 s forward"]
    assert server.requests[0][0].startswith("GET /api/v2/token-reader/time ")


def test_an_older_server_has_the_zone_in_hours(plain_world):
    missing = reply(b"<html>", "404 Not Found")
    for hours, zone in ((b"3", "<+03>-3"), (b"-5", "<-05>5"), (b"0", "<+00>0")):
        older = Script([missing, reply(b"29923590,%s,%d" % (hours, NOW)), OLD])
        outcome, server, _ = timed(plain_world, [older], Reply())
        assert (outcome["set_to"], outcome["zone"]) == (NOW, zone)
        assert "/v1/token-reader/time" in server.requests[1][0]


@pytest.mark.parametrize("at", [NOW, ERA_1 + 500], ids=["now", "after 2036"])
def test_a_time_server_is_asked_where_the_server_has_no_time(plain_world, at):
    missing = reply(b"no", "404 Not Found")
    outcome, *_ = timed(plain_world, [Script([missing, missing, OLD])], Reply(at=at))
    assert outcome["set_to"] == at
    worked(outcome["polls"][0], OLD_TABLE)


NO_TIME = {
    "a kiss of death": (Reply(stratum=0), "has no time"),
    "unsynchronised": (Reply(leap=UNSYNCHRONISED), "has no time"),
    "no transmit time": (Reply(no_time=True), "has no time"),
    "stratum 16": (Reply(stratum=16), "has no time"),
    "not to our question": (Reply(foreign=True), "no answer in 0.25 s"),
    "a wrong mode": (Reply(mode=5), "no answer in 0.25 s"),
    "a short packet": (Reply(size=47), "no answer in 0.25 s"),
    "no answer": (Reply(silent=True), "no answer in 0.25 s while asking 127.0.0.1 for the time"),
}


@pytest.mark.parametrize("what", NO_TIME)
def test_a_wrong_time_server_sets_no_clock_and_is_told(plain_world, what):
    answer, words = NO_TIME[what]
    missing = reply(b"no", "404 Not Found")
    outcome, *_ = timed(plain_world, [Script([missing, missing, OLD])], answer)
    assert outcome["set_to"] is None
    lines = outcome["polls"][0][4]
    assert [
        line
        for line in lines
        if line.startswith("clock: not set by a time server: ") and words in line
    ]
    worked(outcome["polls"][0], OLD_TABLE)
    cases["kinds"] += 1


# When everything is asked for


def test_everything_is_asked_for_at_the_start_once_a_day_and_after_changes(plain_world):
    nothing = reply(b"29921470%%\n")
    answers = [OLD, NEW, reply(b"29921462%%\n"), OLD, nothing, OLD, nothing]
    _, server = plain_world.polls(
        [Script(data) for data in answers],
        same=True,
        seconds=[60, 60, 300, 3600, 86400, 60, 0],
        settings={"full_sync_at_start": True},
    )
    assert server.bodies == ["0", "29921460", "29921461", "0", "29921460", "0", "29921460"]


def test_each_of_these_can_be_switched_off(plain_world):
    settings = {"full_sync_hours": 0, "full_sync_after_changes_minutes": 0}
    scripts = [Script(OLD), Script(NEW), Script(NEW)]
    passed = [60, 864000, 0]
    _, server = plain_world.polls(scripts, same=True, seconds=passed, settings=settings)
    assert server.bodies == ["0", "29921460", "29921461"]


def test_a_full_sync_that_fails_does_not_keep_changes_away(plain_world):
    # A proxy that cuts long answers, say: what is due once a day waits, the changes come.
    scripts = [Script(OLD), Script(OLD, after=60), Script(NEW), Script(OLD)]
    passed = [86400, 5, 700, 0]
    outcome, server = plain_world.polls(scripts, same=True, seconds=passed)
    assert server.bodies == ["0", "0", "29921460", "0"]
    worked(outcome["polls"][2], NEW_TABLE)


def test_a_reader_that_has_a_table_asks_for_everything_at_its_start(plain_world):
    always = Script(OLD, repeat=True)
    for wanted, asked in ((True, "0"), (False, "29921460")):
        plain_world.polls([Script(OLD)])
        _, server = plain_world.polls([always], settings={"full_sync_at_start": wanted})
        assert server.bodies == [asked]


def test_a_reader_limited_to_some_codes_asks_for_these(plain_world):
    settings = {"codes": ["A1", "C3"]}
    outcome, server = plain_world.polls([Script(OLD), Script(NEW)], settings=settings)
    assert server.bodies == ["0%A1,C3", "29921460%A1,C3"]
    worked(outcome["polls"][1], NEW_TABLE)


@pytest.mark.parametrize("on", [True, False])
def test_an_unknown_card_is_asked_for_where_the_settings_say_so(plain_world, on):
    plain_world.polls([Script(OLD)])
    card = Script(reply(b"5%D4%\nD4_/9_1"))
    scripts = [card, Script(reply(b"29921461%%"))] if on else [Script(reply(b"29921461%%"))]
    outcome, server = plain_world.polls(
        scripts, polls=1, wanted="D4", settings={"ask_unknown_cards": on}
    )
    assert server.bodies == ["%D4", "29921460"][1 - on :]
    table = {**OLD_TABLE[1], "D4": ["9_1"]} if on else OLD_TABLE[1]
    worked(outcome["polls"][0], [29921461, table])


def test_an_unknown_card_the_server_does_not_know_changes_nothing(plain_world):
    plain_world.polls([Script(OLD)])
    scripts = [Script(reply(b"5%D4%\n")), Script(reply(b"29921461%%"))]
    settings = {"ask_unknown_cards": True}
    outcome, _ = plain_world.polls(scripts, polls=1, wanted="D4", settings=settings)
    worked(outcome["polls"][0], [29921461, OLD_TABLE[1]])
