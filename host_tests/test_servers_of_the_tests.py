"""The misbehaving servers themselves: that they do what a test tells them to.

The clients here are CPython's, so that a fault of the firmware cannot hide one of a server.
"""

import contextlib
import socket
import ssl
import struct
import threading
import time

import pytest

import certificates
import name_server
import time_server
from kalitka_sim.timeouts import HANG_TIMEOUT_S
from name_server import NameServer
from scripted_server import Script, ScriptedServer, reply
from time_server import TimeServer

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\ncontent-length: 3\r\n\r\nabc"
SHORT = 0.2  # seconds in which loopback would long have answered
AGES = 3600.0  # seconds that no test would wait

# Which one it is depends on the version of Python.
ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError)


def connected(server: ScriptedServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), HANG_TIMEOUT_S)


def exactly(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = client.recv(size - len(data))
        assert piece, f"ended after {data!r}"
        data += piece
    return data


def rest(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(4096), b""))


def says_nothing(client: socket.socket) -> bool:
    client.settimeout(SHORT)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    return False


# --- scripts over plain TCP


def test_several_answers_come_on_one_connection_each_after_its_request():
    first, second = reply(b"1", headers=("Connection: keep-alive",)), reply(b"22")
    with ScriptedServer([Script([first, second]), Script(first)]) as server:
        with connected(server) as client:
            client.sendall(REQUEST)
            assert exactly(client, len(first)) == first
            assert says_nothing(client)
            client.sendall(REQUEST)
            assert rest(client) == second
        with connected(server) as client:
            client.sendall(REQUEST)
            assert rest(client) == first
    assert (server.connections, server.carried) == (2, [2, 1])
    assert server.bodies == ["abc"] * 3


def test_the_last_answer_is_repeated_for_as_long_as_requests_come():
    with ScriptedServer([Script(reply(b"1"), repeat=True)]) as server, connected(server) as client:
        for _ in range(3):
            client.sendall(REQUEST)
            assert exactly(client, len(reply(b"1"))) == reply(b"1")
    assert server.carried == [3]


def test_a_hanging_connection_records_what_still_comes_and_blocks_no_other():
    with ScriptedServer([Script(reply(b"1"), hang=True), Script(reply(b"2"))]) as server:
        with connected(server) as hanging, connected(server) as other:
            hanging.sendall(REQUEST + REQUEST)
            assert exactly(hanging, len(reply(b"1"))) == reply(b"1")
            assert says_nothing(hanging)
            other.sendall(REQUEST)
            assert rest(other) == reply(b"2")
        assert server.carried == [2, 1]


def test_an_idle_connection_is_closed_after_its_time():
    over, told = threading.Event(), []

    def tell(seconds):
        told.append(seconds)
        over.wait()

    script = Script(b"1", idle=1)
    with ScriptedServer([script], pass_time=tell) as server, connected(server) as client:
        client.sendall(REQUEST)
        assert client.recv(1) == b"1"
        assert says_nothing(client)
        over.set()
        client.settimeout(HANG_TIMEOUT_S)
        assert client.recv(1) == b""
    assert sum(told) == 1
    with ScriptedServer([Script(b"1", idle=0.1)]) as server, connected(server) as client:
        client.sendall(REQUEST)
        assert rest(client) == b"1"


def test_a_trickle_comes_piece_by_piece():
    scripts = [Script(b"abcd", piece=1, pause=0.02), Script(b"abcd", piece=1, pause=AGES)]
    with ScriptedServer(scripts) as server:
        with connected(server) as client:
            client.sendall(REQUEST)
            assert rest(client) == b"abcd"
        with connected(server) as client:
            client.sendall(REQUEST)
            assert client.recv(4096) == b"a"
            assert says_nothing(client)


@pytest.mark.parametrize("after", [0, 5, 8])
def test_a_cut_comes_after_so_many_bytes_of_all_answers(after):
    script = Script([b"12345", b"67890"], after=after)
    with ScriptedServer([script]) as server, connected(server) as client:
        client.sendall(REQUEST + REQUEST)
        assert rest(client) == b"1234567890"[:after]


def test_a_reset_comes_behind_all_that_was_sent():
    script = Script(b"x" * 100_000, reset=True)
    with ScriptedServer([script]) as server, connected(server) as client:
        client.sendall(REQUEST)
        exactly(client, 100_000)
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_connection_can_be_reset_as_soon_as_it_is_there():
    with ScriptedServer([Script(accept_only=True, reset=True)]) as server:
        client = connected(server)
        with client, pytest.raises(ConnectionResetError):
            client.recv(1)


@pytest.mark.parametrize("script", [Script(accept_only=True), Script(never_read=True)])
def test_what_is_not_read_stops_a_client_that_sends_much(script):
    with ScriptedServer([script]) as server, connected(server) as client:
        client.settimeout(SHORT)
        with pytest.raises(TimeoutError):
            client.sendall(bytes(1 << 24))
    assert server.requests == []


def test_a_greeting_comes_before_the_request():
    script = Script([b"SSH-2.0\r\n", b"2"], greet=True)
    with ScriptedServer([script]) as server, connected(server) as client:
        assert exactly(client, 9) == b"SSH-2.0\r\n"
        client.sendall(REQUEST)
        assert rest(client) == b"2"


def test_a_close_is_none_by_reset_though_the_request_was_not_read():
    with ScriptedServer([Script(b"hello", greet=True)]) as server, connected(server) as client:
        client.sendall(REQUEST)
        assert rest(client) == b"hello"


def test_a_connection_without_a_whole_request_carries_none():
    with ScriptedServer([Script(b"1")]) as server:
        for data in (b"", REQUEST[:20], REQUEST[:-1]):
            with connected(server) as client:
                client.sendall(data)
        with connected(server) as client:
            client.sendall(REQUEST)
            assert rest(client) == b"1"
    assert (server.carried, server.requests[0][1]) == ([0, 0, 0, 1], b"abc")


ENDLESS = {
    "a trickle": Script(b"x" * 1000, piece=1, pause=AGES),
    "a delay": Script(b"x", delay=AGES),
    "hanging": Script(b"", hang=True),
    "a long idle time": Script(b"", idle=AGES),
    "a reset that waits for the reader": Script(b"x" * (1 << 24), reset=True),
    "more than the client takes": Script(b"x" * (1 << 24)),
    "nothing read": Script(never_read=True),
    "only accepted": Script(accept_only=True),
    "half a handshake": Script(handshake="half", hang=True),
    "a handshake that the client leaves out": Script(b""),
}


@pytest.mark.parametrize("what", ENDLESS)
@pytest.mark.parametrize("tls", [False, True])
def test_a_server_ends_and_leaves_no_thread_whatever_it_was_doing(what, tls):
    before = set(threading.enumerate())
    context = certificates.server_context("good") if tls else None
    with contextlib.ExitStack() as clients, ScriptedServer([ENDLESS[what]], tls=context) as server:
        speaking = clients.enter_context(connected(server))
        clients.enter_context(connected(server))
        with contextlib.suppress(TimeoutError):
            if tls and "handshake" not in what and "accepted" not in what:
                speaking = clients.enter_context(client_context().wrap_socket(speaking))
            speaking.sendall(REQUEST)
        while server.connections < 2:
            time.sleep(0.001)
    assert set(threading.enumerate()) <= before


# --- TLS


def client_context(*trusted: certificates.Issued) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not trusted:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for one in trusted:
        # As DER and as PEM: both have to be right.
        context.load_verify_locations(cadata=one.der)
        context.load_verify_locations(cadata=one.pem.decode())
    return context


def greeted(server: ScriptedServer, context: ssl.SSLContext, name: str) -> bytes:
    with connected(server) as tcp, context.wrap_socket(tcp, server_hostname=name) as client:
        client.sendall(REQUEST)
        return rest(client)


REFUSED_FOR = {
    "good": None,
    "intermediate": None,
    "other name": "not valid for 'localhost'",
    "expired": "certificate has expired",
    "not yet valid": "certificate is not yet valid",
    "other CA": "unable to get local issuer certificate",
    "self-signed": "self-signed certificate",
    "intermediate not sent": "unable to get local issuer certificate",
}


@pytest.mark.parametrize("algorithm", certificates.ALGORITHMS)
@pytest.mark.parametrize("kind", certificates.KINDS)
def test_each_kind_of_certificate_is_taken_or_refused_for_its_own_reason(kind, algorithm):
    context = client_context(certificates.authority(algorithm=algorithm))
    tls = certificates.server_context(kind, algorithm)
    with ScriptedServer([Script(b"hello")], tls=tls) as server:
        if REFUSED_FOR[kind] is None:
            assert greeted(server, context, "localhost") == b"hello"
            assert greeted(server, context, "127.0.0.1") == b"hello"
            assert server.carried == [1, 1]
        else:
            with pytest.raises(ssl.SSLCertVerificationError) as refused:
                greeted(server, context, "localhost")
            assert REFUSED_FOR[kind] in (refused.value.verify_message or str(refused.value))
            assert server.carried == [0]


def test_certificates_are_made_once_and_for_the_names_asked_for():
    names = ("gate.example", "10.1.2.3")
    assert certificates.authority("site") is certificates.authority(algorithm="ecdsa")
    tls = certificates.server_context("good", names=names)
    assert tls is certificates.server_context("good", "ecdsa", names)
    with ScriptedServer([Script(b"hello")], tls=tls) as server:
        context = client_context(certificates.authority())
        assert [greeted(server, context, name) for name in names] == [b"hello"] * 2
        with pytest.raises(ssl.SSLCertVerificationError):
            greeted(server, context, "localhost")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_answers_are_kept_alive_cut_and_trickled_in_tls_as_well(version):
    context = client_context()
    context.maximum_version = context.minimum_version = version
    script = Script([b"12345", b"67890"], after=8, piece=2, pause=0.01)
    tls = certificates.server_context("good")
    with ScriptedServer([script], tls=tls) as server, connected(server) as tcp:
        with context.wrap_socket(tcp, suppress_ragged_eofs=False) as client:
            client.sendall(REQUEST)
            assert exactly(client, 5) == b"12345"
            client.sendall(REQUEST)
            assert rest(client) == b"678"
        assert server.carried == [2]


def test_the_end_of_tls_can_be_missing():
    tls = certificates.server_context("good")
    with ScriptedServer([Script(b"1", close_notify=False)], tls=tls) as server:
        context = client_context()
        # Set by some versions of Python.
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        client = context.wrap_socket(connected(server), suppress_ragged_eofs=False)
        with client:
            client.sendall(REQUEST)
            assert client.recv(1) == b"1"
            with pytest.raises(ssl.SSLError):
                client.recv(1)


def test_the_end_of_tls_can_be_a_reset():
    tls = certificates.server_context("good")
    with ScriptedServer([Script(b"2", reset=True)], tls=tls) as server:
        tcp = connected(server)
        with tcp.dup() as bare, client_context().wrap_socket(tcp) as client:
            client.sendall(REQUEST)
            assert client.recv(1) == b"2"
            # CPython's TLS takes a reset for an end.
            with pytest.raises(ConnectionResetError):
                bare.recv(1)


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (Script(handshake="half"), ENDED),
        (Script(handshake="half", reset=True), ConnectionResetError),
        (Script(handshake="half", hang=True), TimeoutError),
        (Script(accept_only=True), TimeoutError),
        (Script(accept_only=True, idle=0), ENDED),
        (Script(reply(b"", "400 Bad Request"), handshake="plain"), ssl.SSLError),
    ],
)
def test_a_handshake_can_fail_in_every_way(script, fault):
    tls = certificates.server_context("good")
    with ScriptedServer([script], tls=tls) as server, connected(server) as tcp:
        tcp.settimeout(SHORT if fault is TimeoutError else HANG_TIMEOUT_S)
        with pytest.raises(fault) as failed:
            client_context().wrap_socket(tcp)
    if script.handshake == "plain":
        assert "WRONG_VERSION_NUMBER" in str(failed.value)


# --- names


def ask(server, name="hub.example", number=0x1234, seconds=HANG_TIMEOUT_S, connect=True) -> bytes:
    """Return the answer's bytes, b"" if none came."""
    labels = b"".join(bytes([len(x)]) + x.encode() for x in name.split("."))
    query = struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        if connect:
            client.connect(("127.0.0.1", server.port))
        client.settimeout(seconds)
        client.sendto(query, ("127.0.0.1", server.port)) if not connect else client.send(query)
        try:
            return client.recv(4096)
        except TimeoutError:
            return b""


def name_at(data: bytes, at: int) -> tuple[str, int]:
    """Return the name that begins there and where it ends."""
    labels, end = [], 0
    while data[at]:
        if data[at] >= 0xC0:
            end = end or at + 2
            at = int.from_bytes(data[at : at + 2], "big") & 0x3FFF
            assert len(labels) < 99, "a loop"
            continue
        labels.append(data[at + 1 : at + 1 + data[at]].decode())
        at += 1 + data[at]
    return ".".join(labels), end or at + 1


def records(data: bytes) -> list[tuple[str, str]]:
    """Return (owner, address or alias) of each record of an answer."""
    count = int.from_bytes(data[6:8], "big")
    at = name_at(data, 12)[1] + 4
    found = []
    for _ in range(count):
        owner, at = name_at(data, at)
        kind, _, _, size = struct.unpack_from(">HHIH", data, at)
        at += 10
        value = socket.inet_ntoa(data[at : at + 4]) if kind == 1 else name_at(data, at)[0]
        found.append((owner, value))
        at += size
    assert at == len(data)
    return found


@pytest.mark.parametrize("compressed", [True, False])
def test_addresses_come_behind_their_aliases(compressed):
    aliases = ("www.example", "a.cdn.example")
    answer = name_server.Answer(("10.0.0.1", "10.0.0.2"), aliases, compressed=compressed)
    with NameServer(answer) as server:
        data = ask(server)
    assert data[:4] == b"\x12\x34\x81\x80"
    assert name_at(data, 12)[0] == "hub.example"
    assert records(data) == [
        ("hub.example", "www.example"),
        ("www.example", "a.cdn.example"),
        ("a.cdn.example", "10.0.0.1"),
        ("a.cdn.example", "10.0.0.2"),
    ]
    # A pointer to "example", in the first alias.
    assert (b"\3www\xc0\x10" in data) == compressed


def test_the_answer_can_change_and_depend_on_the_question():
    with NameServer([name_server.Answer(("10.0.0.1",)), name_server.Answer()]) as server:
        assert [len(records(ask(server))) for _ in range(3)] == [1, 0, 0]
        server.follow(name_server.Answer(("10.0.0.9",)))
        assert records(ask(server, "b.example")) == [("b.example", "10.0.0.9")]
        known = {"c.example": ("10.0.0.3",)}
        server.follow(lambda query: name_server.Answer(known.get(query.name, ())))
        assert records(ask(server, "c.example")) == [("c.example", "10.0.0.3")]
        assert records(ask(server, "d.example")) == []
    assert server.names == ["hub.example"] * 3 + ["b.example", "c.example", "d.example"]
    assert server.queries[0].id == 0x1234
    assert server.queries[0].type == 1


@pytest.mark.parametrize(
    "code", [name_server.NAME_ERROR, name_server.SERVER_FAILURE, name_server.REFUSED]
)
def test_a_refusal_is_in_the_code(code):
    with NameServer(name_server.Answer(code=code)) as server:
        data = ask(server)
    assert (data[3] & 15, records(data)) == (code, [])


def test_an_answer_can_be_wrong_in_every_way():
    one = ("10.0.0.1",)
    answers = [
        name_server.Answer(one, wrong_id=True),
        name_server.Answer(one, wrong_question=True),
        name_server.Answer(one, truncated=True),
        name_server.Answer(one, cut=30),
        name_server.Answer(one, loop=True),
        name_server.Answer(raw=b"\xff" * 9),
        name_server.Answer(raw=b"\xff" * 9, wrong_id=True),
        name_server.Answer(one),
    ]
    with NameServer(answers) as server:
        got = [ask(server) for _ in answers]
    right = got.pop()
    assert got[0][:2] != right[:2]
    assert got[0][2:] == right[2:]
    assert name_at(got[1], 12)[0] == "not-hub.example"
    assert (got[2][2], got[2][4:]) == (right[2] | 2, right[4:])
    assert got[3] == right[:30]
    with pytest.raises(AssertionError, match="a loop"):
        records(got[4])
    assert got[5] == b"\x12\x34" + b"\xff" * 9
    assert got[6][:2] != b"\x12\x34"


def test_an_answer_can_come_late_twice_from_elsewhere_or_never():
    one = name_server.Answer(("10.0.0.1",))
    never, late = [name_server.Answer(("10.0.0.2",), delay=delay) for delay in (AGES, 0.05)]
    answers = [name_server.Answer(silent=True), name_server.Answer(stranger=True), never, one]
    with NameServer(answers) as server:
        assert ask(server, seconds=SHORT) == b""
        # A connected socket takes answers from its server only.
        assert ask(server, seconds=SHORT) == b""
        assert ask(server, seconds=SHORT) == b""
        # One that waits holds up nobody else.
        assert records(ask(server)) == [("hub.example", "10.0.0.1")]
        server.follow(late)
        assert records(ask(server)) == [("hub.example", "10.0.0.2")]
        server.follow(name_server.Answer(stranger=True))
        assert records(ask(server, connect=False)) == []
        server.follow(name_server.Answer(("10.0.0.1",), times=2))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(HANG_TIMEOUT_S)
            client.sendto(
                struct.pack(">6H", 7, 0, 1, 0, 0, 0) + b"\1x\0\0\1\0\1",
                ("127.0.0.1", server.port),
            )
            assert client.recv(4096) == client.recv(4096)


def test_servers_of_datagrams_leave_no_thread_behind_an_answer_that_is_due():
    before = set(threading.enumerate())
    with NameServer(name_server.Answer(delay=AGES)) as names:
        assert ask(names, seconds=0.1) == b""
        with TimeServer(time_server.Reply(delay=AGES)) as times:
            assert ask_time(times, seconds=0.1) == b""
    assert set(threading.enumerate()) <= before


# --- time

SENT = bytes(range(1, 9))  # the client's transmit timestamp


def ask_time(server: TimeServer, seconds: float = HANG_TIMEOUT_S) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(seconds)
        client.sendto(b"\x23" + bytes(39) + SENT, ("127.0.0.1", server.port))
        try:
            return client.recv(4096)
        except TimeoutError:
            return b""


def told(data: bytes) -> float:
    """Return the time of a reply as Unix seconds of era 0."""
    seconds, fraction = struct.unpack_from(">II", data, 40)
    return seconds - 2208988800 + fraction / (1 << 32)


def test_the_right_time_is_told_in_a_whole_reply():
    before = time.time()
    with TimeServer() as server:
        data = ask_time(server)
    assert len(data) == 48
    assert (data[0], data[1]) == (0x24, 2)
    assert data[24:32] == SENT
    assert before - 0.001 <= told(data) <= time.time()
    assert server.requests == [b"\x23" + bytes(39) + SENT]


def test_any_time_can_be_told_also_behind_the_end_of_the_era():
    last, later = time_server.ERA_1 - 0.5, time_server.ERA_1 + 100
    replies = [time_server.Reply(at=at) for at in (1795287578.25, last, later)]
    with TimeServer(replies) as server:
        assert told(ask_time(server)) == 1795287578.25
        assert ask_time(server)[40:] == b"\xff\xff\xff\xff\x80\0\0\0"
        assert ask_time(server)[40:] == b"\0\0\0\x64\0\0\0\0"


def test_a_reply_can_be_wrong_in_every_way():
    replies = [
        time_server.Reply(stratum=0, kiss=b"DENY"),
        time_server.Reply(leap=time_server.UNSYNCHRONISED),
        time_server.Reply(foreign=True),
        time_server.Reply(size=40),
        time_server.Reply(mode=3),
        time_server.Reply(no_time=True),
        time_server.Reply(stratum=15),
        time_server.Reply(times=2),
    ]
    with TimeServer(replies) as server:
        got = [ask_time(server) for _ in replies]
        server.follow(time_server.Reply(silent=True))
        assert ask_time(server, SHORT) == b""
        server.follow(lambda request: time_server.Reply(stratum=request[47]))
        assert ask_time(server)[1] == SENT[7]
    assert (got[0][1], got[0][12:16]) == (0, b"DENY")
    assert got[1][0] >> 6 == 3
    assert got[2][24:32] != SENT
    assert len(got[3]) == 40
    assert got[4][0] & 7 == 3
    assert got[5][40:] == bytes(8)
    assert got[6][1] == 15
