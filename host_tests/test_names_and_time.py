"""What the reader asks for and when, how it finds a server by its name, where its time comes from.

The firmware in real MicroPython against name servers and time servers that do all that these do
wrong. The poll loop itself is tried in virtual time: see device/case_poller.py.
"""

import socket
import threading

import pytest

import name_server
from kalitka_sim.timeouts import HANG_TIMEOUT_S
from name_server import NAME_ERROR, REFUSED, SERVER_FAILURE, Answer, NameServer
from scripted_server import Script, reply
from time_server import ERA_1, UNSYNCHRONISED, Reply, TimeServer
from world import NEW, NEW_TABLE, OLD, OLD_TABLE, cases, failed, print_counts, worked


@pytest.fixture(scope="module", autouse=True)
def count():
    yield
    print_counts()


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
    with (
        world.server([Script(OLD), Script(NEW)]) as server,
        NameServer(answer, world.clock.advance) as names,
    ):
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
    with (
        world.server([Script(OLD)]) as server,
        NameServer(GOOD_NAME[what], world.clock.advance) as names,
    ):
        options = {"url": world.url(server, "localhost"), "dns": f"127.0.0.1:{names.port}"}
        worked(world.reader(**options)["polls"][0], OLD_TABLE)
        assert set(names.names) == {"localhost"}


def test_a_lost_question_is_asked_again(plain_world):
    world = plain_world
    lost_once = [Answer(silent=True), Answer(("127.0.0.1",))]
    with (
        world.server([Script(OLD)]) as server,
        NameServer(lost_once, world.clock.advance) as names,
    ):
        options = {"url": world.url(server, "hub.example"), "dns": f"127.0.0.1:{names.port}"}
        worked(world.reader(**options)["polls"][0], OLD_TABLE)
        assert len(names.queries) == 2


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
        responder.settimeout(HANG_TIMEOUT_S)
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
    with world.server(scripts) as server, TimeServer(replies, world.clock.advance) as time:
        options = {"ntp": f"127.0.0.1:{time.port}", "clock_due": True, **options}
        outcome = world.reader(url=world.url(server), **options)
    return outcome, server, time


def test_the_server_is_asked_for_the_time_over_the_same_connection(plain_world):
    outcome, server, time = timed(plain_world, [TIME], Reply(at=NOW))
    assert (outcome["set_to"], outcome["zone"]) == (NOW, "MSK-3")
    assert server.carried == [2]
    # Nothing proves it, so that the time server is asked as well.
    assert len(time.requests) == 1
    assert "clock: set by a time server, provisional" in outcome["polls"][0][4]


def test_a_time_server_comes_first_where_certificates_have_to_be_checked(secure_world):
    outcome, server, time = timed(secure_world, [TIME], Reply(at=NOW - 60))
    assert len(time.requests) == 2
    assert outcome["set_to"] == NOW
    lines = outcome["polls"][0][4]
    assert lines[:2] == [
        "clock: set by a time server, provisional",
        "clock: set by the server, 60 s forward",
    ]
    assert server.requests[0][0].startswith("GET /api/v2/token-reader/time ")


def test_a_time_that_trickles_is_given_up_in_the_end(plain_world):
    trickle = Script(reply(b"5,MSK-3,%d" % NOW), piece=1, pause=0.9)
    outcome, *_ = timed(plain_world, [trickle, Script(OLD)], Reply(), ntp="")
    assert outcome["set_to"] is None
    lines = outcome["polls"][0][4]
    assert lines[0] == "clock: not set by the server: the answer trickled for too long"


def test_an_older_server_has_the_zone_in_hours(plain_world):
    missing = reply(b"<html>", "404 Not Found")
    for hours, zone in ((b"3", "<+03>-3"), (b"-5", "<-05>5"), (b"0", "<+00>0")):
        older = Script([missing, reply(b"29923590,%s,%d" % (hours, NOW)), OLD])
        outcome, server, _ = timed(plain_world, [older], Reply(silent=True))
        assert (outcome["set_to"], outcome["zone"]) == (NOW, zone)
        assert "/v1/token-reader/time" in server.requests[1][0]


@pytest.mark.parametrize("at", [NOW, ERA_1 + 500], ids=["now", "after 2036"])
def test_a_time_server_is_asked_where_the_server_has_no_time(plain_world, at):
    missing = reply(b"no", "404 Not Found")
    outcome, *_ = timed(plain_world, [Script([missing, missing, OLD])], Reply(at=at))
    assert outcome["set_to"] == at
    worked(outcome["polls"][0], OLD_TABLE)


@pytest.mark.parametrize("missing", ["a server", "no server"])
def test_1_one_answer_of_2036_is_outvoted_by_those_that_follow(plain_world, missing):
    # The first answer of a time server that has just begun: NTP seconds 3600.
    replies = [Reply(at=ERA_1 + 3600), Reply(at=NOW)]
    no = reply(b"no", "404 Not Found")
    first = [no, no] if missing == "no server" else [reply(b"5,MSK-3,%d" % NOW)] * 2
    outcome, _, time = timed(plain_world, [Script([*first, OLD])], replies)
    assert outcome["set_to"] == NOW
    assert len(time.requests) == (3 if missing == "no server" else 1)
    worked(outcome["polls"][0], OLD_TABLE)


def test_5_a_server_that_has_no_right_time_is_quoted_and_the_rest_goes_on(plain_world):
    said = b"this hub's clock is 15 days before the newest change in its own database: set it"
    wrong = reply(said, "503 Service Unavailable")
    outcome, *_ = timed(plain_world, [Script([wrong, OLD])], Reply(at=NOW))
    assert outcome["set_to"] == NOW
    lines = outcome["polls"][0][4]
    words = f"clock: not set by the server: the server answered 503 ({said.decode()})"
    assert words in lines, lines
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
        settings = {"full_sync_at_start": wanted}
        _, server = plain_world.polls([always], polls=2, same=True, settings=settings)
        # Changes first: a card that was disabled meanwhile must not wait for everything else.
        assert server.bodies == ["29921460", asked]


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
