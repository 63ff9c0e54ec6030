"""Log-in, set-up and API tokens: who gets access, for how long, and after how many attempts."""

import logging
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice

import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient
from sqlalchemy import update

from hub.hub_accounts import (
    API,
    HASHER,
    OWN_PAGE,
    PASSWORD,
    add_user,
    error_of,
    everything_in,
    log_in,
    program,
)
from hub.hub_site import ON_SQLITE, SECRET, SYNC, headers
from kalitka_hub.accounts import (
    api_tokens,
    hashing,
    login,
    login_attempts,
    passwords,
    setup_code,
    users,
)
from kalitka_hub.accounts.login_attempts import TooManyAttempts, wait_after
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.rest.auth import COOKIE
from kalitka_hub.server.app import create_app
from kalitka_hub.site.reader_secrets import set_reader_secret
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.models import User
from kalitka_sim.timeouts import HANG_TIMEOUT_S

HERE = "192.0.2.1"


@pytest.fixture
def anna(database):
    add_user(database, "anna", "admin")
    return "anna"


def wrong_from(database, address=HERE, name="anna"):
    with pytest.raises((login.WrongLogin, TooManyAttempts)) as fault:
        login.log_in(database, name, "not the password", address)
    return fault.value


def me(client, **more):
    return client.get(f"{API}/me", **more)


# The cookie


def test_a_log_in_lasts_twelve_hours(site, anna, clock):
    assert me(site.client).status_code == 401
    answer = log_in(site.client, "anna")
    assert answer.json() == {"name": "anna", "role": "admin", "token": None}
    clock.minute += 12 * 60 - 1
    assert me(site.client).json()["name"] == "anna"
    clock.minute += 1
    assert "log in again" in error_of(me(site.client))


@ON_SQLITE
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_script_and_no_other_site_gets_the_cookie(database, anna, scheme):
    with TestClient(create_app(database), base_url=f"{scheme}://hub.example") as client:
        cookie = log_in(client, "anna").headers["set-cookie"]
    value, *attributes = cookie.split("; ")
    assert value.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"} <= set(attributes)
    assert ("Secure" in attributes) == (scheme == "https")
    assert not any(attribute.startswith("Domain") for attribute in attributes)


def test_logging_out_ends_this_log_in_and_no_other(site, anna):
    log_in(site.client, "anna")
    first = site.client.cookies[COOKIE]
    site.client.cookies.clear()
    log_in(site.client, "anna")
    second = site.client.cookies[COOKIE]
    assert site.client.post(f"{API}/logout", headers=OWN_PAGE).status_code == 204
    assert COOKIE not in site.client.cookies
    assert me(site.client, headers={"Cookie": f"{COOKIE}={second}"}).status_code == 401
    assert me(site.client, headers={"Cookie": f"{COOKIE}={first}"}).status_code == 200


def test_a_cookie_that_was_not_given_is_nobodys(site, anna):
    log_in(site.client, "anna")
    site.client.cookies.clear()
    for value in ("", "x", "None", "'--", "a" * 5000):
        assert me(site.client, headers={"Cookie": f"{COOKIE}={value}"}).status_code == 401


def test_what_happens_to_a_user_counts_at_once(site, anna, database):
    add_user(database, "bob", "operator")
    log_in(site.client, "bob")
    with write_transaction(database) as session:
        users.change_user(session, "bob", users.UserChange(role="viewer"))
    assert me(site.client).json()["role"] == "viewer"
    with write_transaction(database) as session:
        users.change_user(session, "bob", users.UserChange(disabled=True))
    assert me(site.client).status_code == 401
    assert log_in(site.client, "bob").status_code == 401


@ON_SQLITE
def test_ones_own_password_is_changed_with_the_old_one(site, anna, database):
    log_in(site.client, "anna")
    mine = site.client.cookies[COOKIE]
    site.client.cookies.clear()
    log_in(site.client, "anna")
    path, new = f"{API}/me/password", "a new and good one"
    send = {"old": "wrong", "new": new}
    answer = site.client.put(path, json=send, headers=OWN_PAGE)
    assert (answer.status_code, "old password" in error_of(answer)) == (422, True)
    send = {"old": PASSWORD, "new": "short"}
    assert site.client.put(path, json=send, headers=OWN_PAGE).status_code == 422
    send = {"old": PASSWORD, "new": new}
    assert site.client.put(path, json=send, headers=OWN_PAGE).status_code == 204
    assert me(site.client).status_code == 200
    assert me(site.client, headers={"Cookie": f"{COOKIE}={mine}"}).status_code == 401
    assert log_in(site.client, "anna").status_code == 401
    assert log_in(site.client, "anna", new).status_code == 200


@ON_SQLITE
def test_a_hash_of_old_parameters_is_made_anew(database, anna, monkeypatch):
    monkeypatch.setattr(passwords, "_HASHER", HASHER)
    old = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
    with write_transaction(database) as session:
        session.execute(update(User).values(password_hash=old))
    login.log_in(database, "anna", PASSWORD, HERE)
    with database.snapshot() as session:
        assert "m=19456,t=2,p=1" in users.existing_user(session, "anna").password_hash
    login.log_in(database, "anna", PASSWORD, HERE)


# Limited attempts


def test_unknown_disabled_and_wrong_are_told_alike(site, anna, database):
    add_user(database, "bob", "viewer")
    with write_transaction(database) as session:
        users.change_user(session, "bob", users.UserChange(disabled=True))
        users.add_user(session, users.NewUser(name="robot", role="viewer"))
    tries = [("anna", "wrong password"), ("nobody", PASSWORD), ("bob", PASSWORD)]
    answers = [log_in(site.client, *one) for one in [*tries, ("robot", "")]]
    assert {answer.status_code for answer in answers} == {401}
    assert len({error_of(answer) for answer in answers}) == 1


def test_waits_double_from_half_a_minute_to_a_quarter_of_an_hour():
    waits = [wait_after(failures) for failures in range(12)]
    assert waits == [0, 0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900]
    assert wait_after(10**6) == 900


def test_after_five_failures_a_name_waits_wherever_the_tries_come_from(database, anna, clock):
    for number in range(5):
        assert isinstance(wrong_from(database, f"192.0.2.{number}"), login.WrongLogin)
    fault = wrong_from(database, "198.51.100.7")
    assert isinstance(fault, TooManyAttempts)
    assert fault.seconds == 30
    with pytest.raises(TooManyAttempts):
        login.log_in(database, "anna", PASSWORD, "203.0.113.9")
    clock.minute += 1
    assert isinstance(wrong_from(database, "198.51.100.7"), login.WrongLogin)
    assert wrong_from(database, "198.51.100.8").seconds == 60
    clock.minute += 1
    login.log_in(database, "anna", PASSWORD, "203.0.113.9")
    # The log-in succeeded, so the failures of its address were forgiven.
    assert isinstance(wrong_from(database, "203.0.113.9"), login.WrongLogin)


def test_after_five_failures_an_address_waits_whatever_the_names(database, anna):
    for number in range(5):
        wrong_from(database, name=f"user{number}")
    assert isinstance(wrong_from(database, name="user9"), TooManyAttempts)
    with pytest.raises(TooManyAttempts):
        login.log_in(database, "anna", PASSWORD, HERE)
    login.log_in(database, "anna", PASSWORD, "192.0.2.2")


@ON_SQLITE
def test_logging_in_oneself_buys_no_more_guesses_of_others(database, anna):
    add_user(database, "mallory", "viewer")
    for number in range(5):
        assert isinstance(wrong_from(database, name=f"user{number}"), login.WrongLogin)
        if number < 4:
            login.log_in(database, "mallory", PASSWORD, HERE)
    assert isinstance(wrong_from(database, name="user9"), TooManyAttempts)


def test_a_network_of_ipv6_is_one_address():
    key = login_attempts.key_of_address
    assert key("2001:db8:1:2::1") == key("2001:db8:1:2:ffff::9") != key("2001:db8:1:3::1")
    assert key("::ffff:192.0.2.1") == key("192.0.2.1") != key("192.0.2.2")
    assert len(key("x" * 1000)) < 100


@ON_SQLITE
def test_a_name_waits_however_its_letters_are_composed(database):
    add_user(database, "r\u00e9my", "admin")
    for number in range(5):
        wrong_from(database, f"192.0.2.{number}", "r\u00e9my")
    fault = wrong_from(database, "192.0.2.9", "re\u0301my")
    assert isinstance(fault, TooManyAttempts)


@ON_SQLITE
def test_a_crowd_that_logs_in_is_told_to_come_again(site, anna, monkeypatch):
    monkeypatch.setattr(hashing, "_WAITING_MAX", 0)
    answer = log_in(site.client, "anna")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    error_of(answer)


def test_failures_are_forgotten_after_a_day(database, anna, clock):
    for _ in range(4):
        wrong_from(database)
    clock.minute += 24 * 60 + 1
    for _ in range(5):
        assert isinstance(wrong_from(database), login.WrongLogin)


@ON_SQLITE
def test_a_clock_that_was_wrong_locks_nobody_out(database, anna, clock):
    clock.minute += 100_000
    for _ in range(5):
        wrong_from(database)
    clock.minute -= 100_000
    login.log_in(database, "anna", PASSWORD, HERE)


def test_tries_at_the_same_time_are_no_more_than_one_after_another(database, anna):
    with ThreadPoolExecutor(8) as threads:
        faults = list(threads.map(lambda _: wrong_from(database), range(16)))
    assert sum(isinstance(fault, login.WrongLogin) for fault in faults) == 5


def test_too_many_tries_are_told_when_to_come_again(site, anna):
    for _ in range(5):
        assert log_in(site.client, "anna", "wrong").status_code == 401
    answer = log_in(site.client, "anna", "wrong")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "30"
    assert "30 seconds" in error_of(answer)
    with TestClient(create_app(site.database)) as another_process:
        assert log_in(another_process, "anna").status_code == 429


# Other sites' pages


@ON_SQLITE
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({}, 403),
        ({"X-Kalitka-CSRF": "1"}, 204),
        ({"Sec-Fetch-Site": "same-origin"}, 204),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "http://testserver"}, 204),
        ({"Origin": "https://testserver"}, 403),
        ({"Origin": "http://testserver:8080"}, 403),
        ({"Origin": "http://testserver.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[broken"}, 403),
        ({"Origin": "http://testserver", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_a_cookie_alone_changes_nothing(site, anna, sent, status):
    log_in(site.client, "anna")
    assert site.client.post(f"{API}/logout", headers=sent).status_code == status
    assert me(site.client).status_code == (401 if status == 204 else 200)


@ON_SQLITE
@pytest.mark.parametrize("path", ["login", "setup"])
def test_another_sites_page_logs_nobody_in(site, anna, path):
    data = {"name": "anna", "password": PASSWORD, "code": "x"}
    if path == "login":
        del data["code"]
    for sent in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = site.client.post(f"{API}/{path}", json=data, headers=sent)
        assert answer.status_code == 403
    # A form can send this cross-site without a preflight; the hub does not accept it as JSON.
    body = '{"name": "anna", "password": "x"}'
    sent = {"Content-Type": "text/plain"}
    assert site.client.post(f"{API}/{path}", content=body, headers=sent).status_code == 422


@ON_SQLITE
def test_the_hub_allows_no_page_from_elsewhere_to_ask(site, anna):
    asking = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = site.client.options(f"{API}/users", headers=asking)
    assert not any(name.startswith("access-control") for name in answer.headers)


# API tokens


def test_a_program_speaks_with_its_token(site, database):
    sent = program(database, "robot", "operator")
    told = {"name": "robot", "role": "operator", "token": "a program"}
    assert me(site.client, headers=sent).json() == told
    lower = {"authorization": sent["Authorization"].replace("Bearer", "bearer")}
    assert me(site.client, headers=lower).json() == told


@ON_SQLITE
@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Bearer ", "Bearer kal_", "Bearer x", "Basic YTpi", "kal_x", "Bearer é"]
)
def test_a_token_that_was_not_given_is_nobodys_even_with_a_cookie(site, anna, sent):
    log_in(site.client, "anna")
    answer = me(site.client, headers={"Authorization": sent.encode()})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    error_of(answer)


def test_a_token_is_made_shown_once_and_revoked(site, anna, database):
    log_in(site.client, "anna")
    path = f"{API}/api-tokens"
    made = site.client.post(path, json={"name": "backup"}, headers=OWN_PAGE).json()
    assert made["secret"].startswith("kal_")
    listed = site.client.get(path)
    assert [token["name"] for token in listed.json()["items"]] == ["backup"]
    assert made["secret"] not in listed.text
    assert made["secret"] not in everything_in(database)
    sent = {"Authorization": f"Bearer {made['secret']}"}
    assert me(site.client, headers=sent).status_code == 200
    one = f"{path}/{made['id']}"
    assert site.client.delete(one, headers=OWN_PAGE).status_code == 204
    assert me(site.client, headers=sent).status_code == 401
    assert site.client.delete(one, headers=OWN_PAGE).status_code == 404


def test_a_token_ends_with_its_days(database, anna, clock):
    with write_transaction(database) as session:
        _, secret = api_tokens.add_token(session, "anna", "for a day", 1)
        with pytest.raises(InvalidRequest):
            api_tokens.add_token(session, "anna", "for none", 0)
    now = int(clock())
    with database.snapshot() as session:
        assert api_tokens.authenticate(session, secret, now + 86399)
        assert api_tokens.authenticate(session, secret, now + 86400) is None


@ON_SQLITE
def test_a_token_makes_no_tokens_and_no_password(site, database):
    sent = program(database, "robot", "admin")
    for method, path, data in (
        ("POST", "api-tokens", {"name": "heir"}),
        ("PUT", "me/password", {"old": "", "new": PASSWORD}),
        ("POST", "logout", None),
    ):
        answer = site.client.request(method, f"{API}/{path}", json=data, headers=sent)
        assert answer.status_code == 403
        assert "logged in" in error_of(answer)


@ON_SQLITE
def test_only_an_admin_has_to_do_with_tokens_of_others(site, anna, database):
    add_user(database, "bob", "operator")
    with write_transaction(database) as session:
        of_anna, _ = api_tokens.add_token(session, "anna", "hers")
        api_tokens.add_token(session, "bob", "his")
    path = f"{API}/api-tokens"
    log_in(site.client, "bob")
    listed = site.client.get(path, params={"user": "anna"}).json()["items"]
    assert [token["user"] for token in listed] == ["bob"]
    assert site.client.delete(f"{path}/{of_anna.id}", headers=OWN_PAGE).status_code == 404
    data = {"name": "x", "user": "anna"}
    assert site.client.post(path, json=data, headers=OWN_PAGE).status_code == 403
    log_in(site.client, "anna")
    listed = site.client.get(path).json()["items"]
    assert [token["user"] for token in listed] == ["anna", "bob"]
    data = {"name": "x", "user": "bob"}
    assert site.client.post(path, json=data, headers=OWN_PAGE).status_code == 201
    assert site.client.delete(f"{path}/{of_anna.id}", headers=OWN_PAGE).status_code == 204


def test_the_use_of_a_token_is_written_down_once_a_minute(site, database, clock):
    sent = program(database, "robot", "viewer")

    def last_used():
        with database.snapshot() as session:
            return api_tokens.list_tokens(session)[0].last_used

    assert last_used() is None
    me(site.client, headers=sent)
    first = int(clock())
    assert last_used() == first
    clock.second += 20
    me(site.client, headers=sent)
    assert last_used() == first
    clock.minute += 1
    me(site.client, headers=sent)
    assert last_used() == first + 80


@ON_SQLITE
def test_programs_do_not_all_wait_to_write_down_their_use(site, database):
    sent = [program(database, f"robot-{n}", "viewer") for n in range(4)]
    with ThreadPoolExecutor(len(sent)) as pool:
        with write_transaction(database, "a long import"):
            asked = [pool.submit(me, site.client, headers=one) for one in sent]
            answered = list(islice(as_completed(asked, timeout=HANG_TIMEOUT_S), len(sent) - 1))
            assert [one.result().status_code for one in answered] == [200] * len(answered)
        assert [one.result().status_code for one in asked] == [200] * len(asked)


def test_the_changes_of_a_program_are_audited_as_its_own(site, database):
    sent = program(database, "robot", "admin")
    data = {"name": "carl", "role": "viewer"}
    assert site.client.post(f"{API}/users", json=data, headers=sent).status_code == 201
    newest = site.client.get(f"{API}/audit", headers=sent).json()["items"][0]
    assert (newest["who"], newest["object"]) == ("robot (token a program)", "carl")


# The first admin


def make_code(database):
    with write_transaction(database) as session:
        return setup_code.make_code(session)


def set_up(client, code, **more):
    data = {"code": code, "name": "anna", "password": PASSWORD} | more
    return client.post(f"{API}/setup", json=data)


def test_the_code_makes_the_first_admin_and_nothing_after(site, database):
    assert site.client.get(f"{API}/setup").json() == {"open": True}
    first, second = make_code(database), make_code(database)
    assert first not in everything_in(database)
    answer = set_up(site.client, first.upper().replace("-", " "))
    assert answer.status_code == 201
    assert answer.json()["role"] == "admin"
    assert log_in(site.client, "anna").status_code == 200
    for code in (first, second):
        answer = set_up(site.client, code, name="eva")
        assert (answer.status_code, "already" in error_of(answer)) == (422, True)
    assert site.client.get(f"{API}/setup").json() == {"open": False}
    assert make_code(database) is None
    assert "setup" not in everything_in(database).replace("'setup'", "")


@ON_SQLITE
def test_a_bad_password_does_not_spend_the_code(site, database):
    code = make_code(database)
    for more in ({"password": "short"}, {"name": "a:b"}, {"role": "viewer"}):
        assert set_up(site.client, code, **more).status_code == 422
    assert set_up(site.client, code).status_code == 201


def test_a_code_is_good_for_an_hour(site, database, clock):
    code = make_code(database)
    clock.minute += 60
    assert "too old" in error_of(set_up(site.client, code))
    assert set_up(site.client, make_code(database)).status_code == 201


def test_codes_are_not_to_be_guessed(site, database):
    code = make_code(database)
    for guess in ("", "x", code[:-1], code + "x", "setup"):
        assert set_up(site.client, guess).status_code == 422
    answer = set_up(site.client, code)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "30"


# Readers' own secrets


def test_a_readers_own_secret_counts_instead_of_the_sites(site, database):
    with write_transaction(database, "anna") as session:
        set_reader_secret(session, "GATE-1", "its-own")
    own = headers() | {"X-AuthToken": "its-own"}
    assert site.client.post(SYNC, content="0", headers=own).status_code == 200
    assert site.client.post(SYNC, content="0", headers=headers()).status_code == 403
    other = headers("GATE-2") | {"X-AuthToken": "its-own"}
    assert site.client.post(SYNC, content="0", headers=other).status_code == 403
    site.ask("0", "GATE-2")
    with write_transaction(database, "anna") as session:
        set_reader_secret(session, "GATE-1", None)
    site.ask("0", "GATE-1")
    assert site.client.post(SYNC, content="0", headers=own).status_code == 403


def test_a_readers_secret_is_checked_and_not_kept(database):
    with write_transaction(database, "anna") as session:
        with pytest.raises(NotFound):
            set_reader_secret(session, "GATE-9", "x")
        with pytest.raises(InvalidRequest):
            set_reader_secret(session, "GATE-1", "with space")
        set_reader_secret(session, "GATE-1", "its-own-secret")
    assert "its-own-secret" not in everything_in(database)


# Secrets


def test_no_secret_is_logged_or_kept(site, database, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    code = make_code(database)
    wrong, mistyped, new = "a wrong password!", "my-password-as-name", "another long password"
    set_up(site.client, "wrong-code-0000")
    assert set_up(site.client, code).status_code == 201
    log_in(site.client, "anna", wrong)
    log_in(site.client, mistyped, wrong)
    log_in(site.client, "anna")
    cookie = site.client.cookies[COOKIE]
    path = f"{API}/api-tokens"
    token = site.client.post(path, json={"name": "x"}, headers=OWN_PAGE).json()["secret"]
    site.client.patch(f"{API}/users/anna", json={"password": new, "x": 1}, headers=OWN_PAGE)
    site.client.patch(f"{API}/users/anna", json={"password": [new]}, headers=OWN_PAGE)
    send = {"old": PASSWORD, "new": new}
    assert site.client.put(f"{API}/me/password", json=send, headers=OWN_PAGE).status_code == 204
    assert me(site.client, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    with write_transaction(database, "anna") as session:
        set_reader_secret(session, "GATE-1", "its-own-secret")
    with database.snapshot() as session:
        kept = users.existing_user(session, "anna").password_hash
    told = "".join(capfd.readouterr()) + caplog.text
    stored = everything_in(database)
    audit = site.client.get(f"{API}/audit", params={"limit": 1000}).text
    assert "a log-in from testclient failed" in told
    secrets = [code, PASSWORD, wrong, mistyped, new, cookie, token, "its-own-secret", SECRET]
    for secret in secrets:
        for text in (told, stored, audit):
            assert secret not in text
    for text in (told, audit):
        assert kept not in text
        assert "argon2" not in text
