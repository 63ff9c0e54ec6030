"""A hub that asks another hub, or an integrator, over real sockets; and its command."""

import json
import random
import shutil
import threading
import time
from contextlib import contextmanager
from email.utils import formatdate

import pytest
import typer
import uvicorn
from argon2 import PasswordHasher
from sqlalchemy import select
from typer.testing import CliRunner

import certificates
from hub.hub_accounts import PASSWORD, add_user, everything_in
from hub.hub_site import ON_SQLITE
from hub.kormitel_client import stay, uid
from kalitka_hub.accounts import passwords
from kalitka_hub.cli import kormitel_pull
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel import back_sync, exchange_log, service
from kalitka_hub.kormitel.dates import utc_text
from kalitka_hub.kormitel.exchange_log import Paused
from kalitka_hub.kormitel.peer import Peer, PeerFailed
from kalitka_hub.kormitel.pull import pull
from kalitka_hub.kormitel.service import Counts
from kalitka_hub.server import http_server
from kalitka_hub.server.app import create_app
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database
from kalitka_hub.store.kormitel_models import KormitelObject, KormitelPeer
from kalitka_hub.store.models import Site
from kalitka_sim.timeouts import HANG_TIMEOUT_S
from scripted_server import Script, ScriptedServer, reply

USER = "the other hub"
BASES = ("/", "/api/v1/feeder/")  # grouped and flat
EMPTY = reply(b"{}")
SECRET = "geheimnis-7"
HOUR = 3600


class TrueTime:
    """The time of both hubs: each call is a millisecond later."""

    def __init__(self):
        self._now = time.time()
        self._one = threading.Lock()

    def __call__(self):
        with self._one:
            self._now += 0.001
            return self._now


class SetClock:
    """A computer's clock. wrong: the seconds by which it is set wrong."""

    def __init__(self, true):
        self._true = true
        self.wrong = 0.0

    def __call__(self):
        return self._true() + self.wrong


class Hub:
    """A hub, with its operators' changes and its objects."""

    def __init__(self, database, clock=None):
        self.database = database
        self.clock = clock

    def put(self, kind, number, **fields):
        with write_transaction(self.database, "an operator") as session:
            service.put_objects(session, kind, {uid(number): fields})

    def remove(self, kind, number):
        with write_transaction(self.database, "an operator") as session:
            service.remove_object(session, kind, uid(number))

    @property
    def all(self):
        with self.database.snapshot() as session:
            rows = session.scalars(select(KormitelObject).where(KormitelObject.born.is_not(None)))
            return {(row.kind, row.key): (row.died is not None, dict(row.fields)) for row in rows}

    @property
    def log(self):
        with self.database.snapshot() as session:
            return exchange_log.list_exchanges(session)

    @property
    def peer(self):
        with self.database.snapshot() as session:
            peer = session.scalars(select(KormitelPeer)).one()
            return peer.from_date, (peer.sent, peer.sent_id)


@pytest.fixture(autouse=True)
def _hashes_cost_little(monkeypatch):
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_HASHER", cheap)


@pytest.fixture
def true(monkeypatch):
    clock = TrueTime()
    # A pull subtracts the time that an answer took: it has to be of the same clock.
    monkeypatch.setattr("requests.sessions.preferred_clock", clock)
    return clock


@pytest.fixture
def here(where, true):
    clock = SetClock(true)
    database = open_database(where, clock)
    yield Hub(database, clock)
    database.close()


@pytest.fixture
def there(new_site, tmp_path, true):
    database = open_database(shutil.copy(new_site, tmp_path / "there.sqlite"), true)
    add_user(database, "hub", "integration")
    yield Hub(database)
    database.close()


@pytest.fixture
def url(there, true):
    """The address of the other hub, on a real socket."""
    listener = http_server.listen("127.0.0.1", 0)
    app = dated(create_app(there.database), true)
    serving = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", date_header=False))
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [listener]})
    thread.start()
    yield http_server.address_of(listener, secure=False)
    serving.should_exit = True
    thread.join()
    listener.close()


def dated(app, clock):
    """Return an ASGI application whose answers have the date of a clock."""

    async def asked(scope, receive, send):
        async def send_dated(message):
            if message["type"] == "http.response.start":
                date = formatdate(clock(), usegmt=True).encode()
                message = {**message, "headers": [*message["headers"], (b"date", date)]}
            await send(message)

        await app(scope, receive, send_dated)

    return asked


def exchange(here, url, **more):
    return pull(here.database, url, "hub", PASSWORD, **more)


@contextmanager
def scripted(*scripts, tls=None):
    with ScriptedServer(list(scripts), tls) as one:
        yield one, f"{'https' if tls else 'http'}://127.0.0.1:{one.port}/"


def ids_in(body):
    return [item["data"]["id"] for group in json.loads(body).values() for item in group]


# Both ways


@pytest.mark.parametrize("base", BASES)
def test_everything_goes_both_ways_at_first_and_then_what_is_new(here, there, url, base):
    address = f"{url}{base.removesuffix('/')}"  # the hub adds a / at the end
    here.put("badges", 1, name="Anna", qr="aaa", is_blocked=True, vegan=None)
    there.put("badges", 2, name="Boris", kitchen=2)
    there.put("arrivals", 3, **stay(uid(2)))
    there.put("badges", 4)
    there.remove("badges", 4)
    pulled = exchange(here, address)
    assert (pulled.sent, pulled.refused) == (1, 0)
    assert abs(pulled.ahead) <= 1
    assert pulled.taken.set_aside == 0
    assert here.all[("badges", uid(2))] == (False, {"name": "Boris", "kitchen": 2})
    # The grouped shape has no objects that were added and deleted before the request.
    assert {key for key in there.all if key[1] != uid(4)} == {
        key for key in here.all if key[1] != uid(4)
    }
    assert there.all[("badges", uid(1))] == here.all[("badges", uid(1))]

    assert exchange(here, address).sent == 0
    here.put("arrivals", 3, status="LEFT")
    there.put("badges", 2, name="Boris the Great")
    there.remove("badges", 1)
    pulled = exchange(here, address)
    assert (pulled.sent, pulled.taken.applied) == (1, 2)
    for kind, number in (("badges", 1), ("badges", 2), ("arrivals", 3)):
        assert here.all[(kind, uid(number))] == there.all[(kind, uid(number))]
    assert here.all[("badges", uid(1))][0]

    here.remove("badges", 2)
    exchange(here, address)
    assert there.all[("badges", uid(2))][0]


def test_both_sides_write_down_what_was_exchanged(here, there, url):
    here.put("badges", 1, name="Anna")
    there.put("badges", 2, name="Boris")
    exchange(here, f"{url}/api/v1/feeder/")
    pulled, pushed = here.log
    assert (pushed.way, pushed.shape, pushed.counts) == ("push", "flat", {"badges": 1})
    assert (pulled.way, pulled.shape, pulled.error) == ("pull", "flat", None)
    assert pulled.counts["received"] == 2
    assert pulled.user == pushed.user == f"{url}/api/v1/feeder/"
    while there.log[0].bytes is None:
        time.sleep(0.01)  # the outcome is stored after the last byte was sent
    asked, sent = there.log
    assert (asked.way, asked.user, asked.counts) == ("sync", "hub", {"badges": 2})
    assert pulled.bytes == asked.bytes
    assert (sent.way, sent.counts["applied"]) == ("back-sync", 1)


def test_of_two_changes_of_a_field_the_later_one_counts_on_both_sides(here, there, url):
    there.put("badges", 1, name="Anna", phone="1", comment="x")
    exchange(here, url)
    here.put("badges", 1, name="earlier, here")
    there.put("badges", 1, name="later, there")
    there.put("badges", 1, phone="earlier, there")
    here.put("badges", 1, phone="later, here")
    exchange(here, url)
    told = {"name": "later, there", "phone": "later, here", "comment": "x"}
    assert here.all == there.all == {("badges", uid(1)): (False, told)}


def test_a_change_while_the_answer_is_under_way_stays_and_is_sent_next(
    here, there, url, monkeypatch
):
    there.put("badges", 1, name="Anna", phone="1")
    exchange(here, url)
    there.put("badges", 1, name="Anya", phone="2")
    get = Peer.get

    def get_slowly(*given):
        answer = get(*given)
        here.put("badges", 1, name="Annette")
        return answer

    monkeypatch.setattr(Peer, "get", get_slowly)
    assert exchange(here, url).sent == 0
    assert here.all[("badges", uid(1))][1] == {"name": "Annette", "phone": "2"}
    monkeypatch.undo()
    assert exchange(here, url).sent == 1
    assert there.all == here.all
    assert here.all[("badges", uid(1))][1] == {"name": "Annette", "phone": "2"}


@pytest.mark.parametrize(("wrong", "base"), [(-HOUR, BASES[0]), (HOUR, BASES[1])])
def test_a_clock_that_is_wrong_here_makes_no_difference(here, there, url, wrong, base):
    here.clock.wrong = wrong
    for name in ("Anna", "Anya", "Annette"):
        there.put("badges", 1, name=name)
        here.put("badges", 2, name=name)
        pulled = exchange(here, url + base)
        assert here.all == there.all
        assert abs(pulled.ahead + wrong) <= 1
        assert {fields["name"] for _, fields in here.all.values()} == {name}


def test_a_clock_that_was_put_back_loses_no_change_and_repeats_none(here, there, url):
    here.clock.wrong = HOUR
    here.put("badges", 1, name="Anna")
    here.clock.wrong = 0
    assert exchange(here, url).sent == 1
    there.put("badges", 1, name="Anya")
    assert exchange(here, url).sent == 0
    assert here.all[("badges", uid(1))][1] == {"name": "Anya"}
    here.put("badges", 1, name="Annette")
    assert exchange(here, url).sent == 1
    assert here.all == there.all


@pytest.mark.parametrize("base", BASES)
def test_two_hubs_agree_after_some_rounds_of_random_changes(here, there, url, base):
    chance = random.Random(8)
    for number in range(5):
        here.put("badges", number, name=f"badge {number}")
    exchange(here, url + base)
    for round in range(3):
        for change in range(12):
            hub = chance.choice((here, there))
            badge = chance.randrange(5)
            kind, number = chance.choice((("badges", badge), ("arrivals", 10 + badge)))
            is_there = (kind, uid(number)) in hub.all and not hub.all[(kind, uid(number))][0]
            if is_there and chance.random() < 0.3:
                hub.remove(kind, number)
            elif kind == "badges":
                hub.put(kind, number, **{chance.choice(("name", "qr")): f"{round}/{change}"})
            else:
                hub.put(
                    kind, number, **stay(uid(badge), status=chance.choice(("LEFT", "ARRIVED")))
                )
        exchange(here, url + base)
    exchange(here, url + base)
    # An object that was added and deleted between two exchanges is not sent.
    ours, theirs = here.all, there.all
    assert {key: one for key, one in ours.items() if not one[0]} == {
        key: one for key, one in theirs.items() if not one[0]
    }
    assert all(theirs[key][0] for key, one in ours.items() if one[0])
    assert [one.error for one in here.log if one.error] == []


# Batches and interruptions


def test_what_is_sent_is_in_the_clients_shape(here):
    here.put("persons", 5, name="Anna P.")
    arrived, left = ("2026-11-01T10:00:00.000001Z", "2026-11-02T10:00:00.000001Z")
    sent = {
        "badges": [{"date": arrived, "data": {"id": uid(1), "name": "Anna", "role": None}}],
        "arrivals": [
            {"date": arrived, "data": {"id": uid(2), **stay(uid(1))}},
            {"date": left, "data": {"id": uid(2), "badge": uid(1), "status": "LEFT"}},
        ],
    }
    back_sync.receive(here.database, "kormitel", json.dumps(sent).encode())
    here.remove("arrivals", 2)
    with scripted(Script([EMPTY, EMPTY])) as (peer, url):
        pull(here.database, url, "hub", SECRET)
    (post, body), (get, _) = peer.requests
    assert "POST /back-sync HTTP/1.1" in post
    assert "GET /sync?from_date=2013-06-13T00%3A00%3A00&fields=all HTTP/1.1" in get
    assert all("Authorization: Basic" in head for head, _ in peer.requests)
    assert all("Accept-Encoding: gzip, deflate" in head for head, _ in peer.requests)
    groups = json.loads(body)
    assert list(groups) == ["badges", "persons", "arrivals"]
    anna = {"id": uid(1), "name": "Anna", "role": None, "deleted": False}
    assert groups["badges"] == [{"actor_badge": None, "date": arrived, "data": anna}]
    # Of each write the fields that were not written again since; the first write has the badge.
    first, moved, gone = groups["arrivals"]
    names = ("arrival_date", "departure_date", "arrival_transport", "departure_transport")
    dates = {name: stay(uid(1))[name] for name in names}
    assert first == {
        "actor_badge": None,
        "date": arrived,
        "data": dates | {"id": uid(2), "badge": uid(1)},
    }
    assert moved["date"] == left
    assert moved["data"] == {"id": uid(2), "badge": uid(1), "status": "LEFT"}
    assert gone["data"] == {"id": uid(2), "deleted": True}


def test_batches_have_a_hundred_items_and_go_on_where_they_were_broken_off(here):
    with write_transaction(here.database, "an operator") as session:
        service.put_objects(session, "badges", {uid(n): {"name": f"{n}"} for n in range(250)})
    wanted = [uid(number) for number in range(250)]
    shown = []
    with scripted(Script([EMPTY, reply(b"no", "500 Out of order")])) as (peer, url):
        with pytest.raises(PeerFailed, match="status 500"):
            pull(here.database, url, "hub", SECRET, progress=lambda *given: shown.append(given))
        assert [ids_in(body) for body in peer.bodies] == [wanted[:100], wanted[100:200]]
    assert shown == [(100, 250)]
    failed, sent = here.log
    assert (failed.way, failed.counts, sent.error) == ("push", {"badges": 100}, None)
    assert "status 500" in failed.error
    # The next server has another port, but is the same peer to the hub.
    with scripted(Script([EMPTY, EMPTY, EMPTY])) as (peer, url):
        with write_transaction(here.database) as session:
            session.scalars(select(KormitelPeer)).one().url = url
        assert pull(here.database, url, "hub", SECRET).sent == 150
        assert [ids_in(body) for body in peer.bodies[:2]] == [wanted[100:200], wanted[200:]]
        assert "GET /sync" in peer.requests[2][0]


def test_a_batch_whose_answer_is_lost_is_sent_again(here):
    here.put("badges", 1, name="Anna")
    scripts = [Script(b""), Script([EMPTY, EMPTY])]
    with scripted(*scripts) as (peer, url):
        with pytest.raises(PeerFailed, match="cannot be reached"):
            pull(here.database, url, "hub", SECRET)
        assert pull(here.database, url, "hub", SECRET).sent == 1
        assert ids_in(peer.bodies[0]) == ids_in(peer.bodies[1]) == [uid(1)]


GOOD = json.dumps({"badges": [{"id": uid(1), "deleted": False, "name": "Anna"}]}).encode()
FAILING = {
    "cut": (Script(reply(GOOD), after=len(reply(GOOD)) - 9), "broke off after"),
    "silent": (Script(hang=True), "did not answer in time"),
    "stuck": (Script(reply(GOOD), after=len(reply(GOOD)) - 9, hang=True), "broke off after"),
    "not-json": (Script(reply(b"<html>Welcome")), "not a document of the exchange"),
    "no-object": (Script(reply(b"[1]")), "not a document of the exchange"),
    "no-content": (Script(reply(b"", "204 No Content")), "status 204"),
    "unknown": (
        Script(reply(b'{"error": "the password is wrong"}', "401 Unauthorized")),
        r"name and password \(the password is wrong\): check both",
    ),
    "forbidden": (Script(reply(b"", "403 Forbidden")), "does not let this user exchange"),
    "paused": (
        Script(reply(b'{"error": "paused\\nnow"}', "503 Later")),
        r"does not answer now \(paused now\): try again later",
    ),
    "busy": (Script(reply(b"slowly", "429 Slow")), r"does not answer now \(slowly\)"),
    "page": (Script(reply(b"<html>Oh", "404 Not Found")), "answered status 404: check"),
    "elsewhere": (
        Script(reply(b"", "301 Moved", ("Location: https://elsewhere.example/sync",))),
        "redirects to https://elsewhere.example/sync: write that address",
    ),
}


@ON_SQLITE
def test_an_answer_that_is_none_is_an_error_in_words_and_changes_nothing(here):
    scripts = [script for script, _ in FAILING.values()]
    with scripted(Script(reply(GOOD)), *scripts) as (peer, url):
        pull(here.database, url, "hub", SECRET)
        before = here.all, here.peer[0]
        for case, (script, words) in FAILING.items():
            seconds = 0.2 if script.hang else HANG_TIMEOUT_S
            with pytest.raises(PeerFailed, match=words) as failed:
                pull(here.database, url, "hub", SECRET, read_seconds=seconds)
            assert (here.all, here.peer[0]) == before, case
            assert here.log[0].way == "pull"
            assert here.log[0].error == str(failed.value)
            assert SECRET not in str(failed.value)
    assert peer.connections == 1 + len(FAILING)
    assert SECRET not in everything_in(here.database)


@ON_SQLITE
def test_a_peer_that_is_not_there_is_said_so(here):
    with scripted(Script(EMPTY)) as (_, url):
        pass
    for address in (url, "http://nowhere.invalid/"):
        with pytest.raises(PeerFailed, match=r"cannot be reached: [A-Z]") as failed:
            pull(here.database, address, "hub", SECRET)
        assert "Pool" not in str(failed.value)


@ON_SQLITE
def test_the_peers_clock_says_from_when_to_ask_next(here):
    date = ("Date: Sun, 22 Nov 2026 10:00:00 GMT",)
    with scripted(Script(reply(GOOD, headers=date)), Script(EMPTY)) as (peer, url):
        pull(here.database, url, "hub", SECRET)
        assert "2026-11-22T09:59:58" <= utc_text(here.peer[0]) < "2026-11-22T09:59:59"
        before = here.clock()
        pull(here.database, url, "hub", SECRET)
        assert "from_date=2026-11-22T09%3A59%3A58&" in peer.requests[1][0]
        # This answer has no date.
        assert here.peer[0] <= int((before - 0.9) * 1_000_000)


@ON_SQLITE
def test_a_certificate_is_verified_and_a_sites_own_ca_may_be_given(here, tmp_path):
    ca = tmp_path / "ca.crt"
    ca.write_bytes(certificates.authority().pem)
    for kind, given, is_good in (
        ("good", ca, True),
        ("good", None, False),
        ("other CA", ca, False),
        ("other name", ca, False),
    ):
        with scripted(Script(EMPTY), tls=certificates.server_context(kind)) as (_, url):
            if is_good:
                assert pull(here.database, url, "hub", SECRET, ca=given).taken.received == 0
                continue
            with pytest.raises(PeerFailed, match=r"cannot be trusted: .*certificate.*--ca"):
                pull(here.database, url, "hub", SECRET, ca=given)
    with pytest.raises(InvalidRequest, match="there is no file"):
        pull(here.database, "https://127.0.0.1/", "hub", SECRET, ca=tmp_path / "none")


@ON_SQLITE
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("hub.example/sync", "not a peer.s URL"),
        ("ftp://hub.example/", "not a peer.s URL"),
        ("http:///sync", "not a peer.s URL"),
        ("http://hub.example:port/", "not a valid URL"),
        ("http://[hub.example/", "not a valid URL"),
        ("http://hub.example/?a=b", "more than a path"),
        (f"http://hub:{SECRET}@hub.example/", "leave the name and the password out"),
        ("http://hub.example/" + "a" * 500, "longer than"),
    ],
)
def test_what_is_no_address_of_a_peer_is_refused(here, url, words):
    with pytest.raises(InvalidRequest, match=words) as refused:
        pull(here.database, url, "hub", SECRET)
    assert SECRET not in str(refused.value)
    assert here.log == []


@ON_SQLITE
def test_nothing_is_asked_while_the_exchange_is_paused(here):
    with write_transaction(here.database) as session:
        session.scalars(select(Site)).one().kormitel_paused = 1
    with scripted(Script(EMPTY)) as (peer, url):
        with pytest.raises(Paused):
            pull(here.database, url, "hub", SECRET)
        assert peer.requests == []


def test_names_and_passwords_have_any_letters(here, there, url):
    add_user(there.database, "кормитель", "integration", "пароль из двух слов")
    there.put("badges", 1, name="Анна")
    pulled = pull(here.database, url, "кормитель", "пароль из двух слов")
    assert pulled.taken == Counts(1, 1, 0, 0)
    with pytest.raises(PeerFailed, match="does not know this name and password"):
        pull(here.database, url, "кормитель", "пароль")


def test_items_that_the_peer_set_aside_are_counted(here):
    here.put("badges", 1, name="Anna")
    with scripted(Script([reply(b'{"set_aside": 1, "x": "y"}'), EMPTY])) as (_, url):
        pulled = pull(here.database, url, "hub", SECRET)
    assert (pulled.sent, pulled.refused) == (1, 1)


# The command

APP = typer.Typer()
kormitel_pull.register(APP)


@APP.callback()
def _group():
    """Make the app a group of commands, as in `kalitka hub`."""


def command(hub, url, *words, **options):
    name = str(hub.database._engine.url.render_as_string(hide_password=False))
    return CliRunner().invoke(APP, ["pull", url, "--user", "hub", "--db", name, *words], **options)


def test_the_command_says_what_was_sent_and_taken(here, there, url, tmp_path):
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\nanother line\n")
    here.put("badges", 1, name="Anna")
    there.put("badges", 2, name="Boris")
    told = command(here, url, "--password-file", str(file))
    assert (told.exit_code, told.stderr) == (0, "")
    assert told.stdout == "sent 1 changes; received 2 objects: 1 took effect\n"
    assert here.all[("badges", uid(2))] == (False, {"name": "Boris"})
    told = command(here, url, env={kormitel_pull.PASSWORD_VARIABLE: "another one"})
    assert (told.exit_code, told.stdout) == (1, "")
    assert "does not know this name and password" in told.stderr
    assert "another one" not in told.stderr


@ON_SQLITE
def test_the_command_refuses_what_it_cannot_use(here, tmp_path):
    told = command(here, "http://127.0.0.1/", "--password-file", str(tmp_path / "none"))
    assert (told.exit_code, "cannot be read" in told.stderr) == (2, True)
    told = command(here, "http://127.0.0.1/", input="")
    assert (told.exit_code, "no terminal to type the password on" in told.stderr) == (2, True)


@ON_SQLITE
def test_a_clock_that_is_wrong_is_told(here):
    date = ("Date: Sun, 22 Nov 2020 10:00:00 GMT",)
    with scripted(Script(reply(b"{}", headers=date))) as (_, url):
        told = command(here, url, env={kormitel_pull.PASSWORD_VARIABLE: SECRET})
    assert told.exit_code == 0
    assert "seconds behind this hub's" in told.stderr


@ON_SQLITE
def test_again_and_again_until_it_is_stopped_whatever_fails(here, monkeypatch):
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(kormitel_pull.time, "sleep", sleep)
    bad = Script(reply(b"", "500 Out of order"))
    with scripted(Script(reply(GOOD)), bad, Script(reply(GOOD))) as (_, url):
        told = command(here, url, "--every", "15", env={kormitel_pull.PASSWORD_VARIABLE: SECRET})
    assert (told.exit_code, waits) == (0, [900, 900, 900])
    assert told.stdout.count("received 1 objects") == 2
    assert told.stderr.count("answered status 500") == 1
    assert isinstance(PeerFailed("x"), NotFound)
