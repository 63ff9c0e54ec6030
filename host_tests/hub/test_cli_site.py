"""`kalitka hub` on the objects of a site: people, schedules, grants, users, log and audit."""

import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from hub.hub_site import ON_SQLITE
from hub_command import runner
from kalitka_hub.accounts import api_tokens, login, random_secrets
from kalitka_hub.cli import resources, terminal
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.reader_api import access_log
from kalitka_hub.reader_api.reader_auth import ReaderRequest, authenticate
from kalitka_hub.site.schedules import WindowSetting
from kalitka_hub.site.tokens import TokenSetting, set_tokens
from kalitka_hub.site.window_texts import parse_window, window_text
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database
from kalitka_hub.store.models import Person, Schedule

PASSWORD = "correct horse battery staple"


def fill(run):
    """Grant Ivan of the group Kitchen both gates on day shifts, to 31 January; add a holiday."""
    run("person-group", "add", "Kitchen")
    run("reader-group", "add", "Gates", "--reader", "GATE-1", "--reader", "GATE-2")
    run("person", "add", "Иван Петров", "--group", "Kitchen", "--token", "04A1B2C3")
    run("schedule", "add", "Day shift", "--window", "08:00-17:00 Mon-Fri")
    run("holiday", "add", "2026-12-31", "--name", "The last day", "--hours", "08:00-12:00")
    run(
        *("grant", "add", "--people", "Kitchen", "--readers", "Gates"),
        *("--schedule", "Day shift", "--last", "2027-01-31"),
    )


@pytest.fixture(scope="module")
def filled(new_site, tmp_path_factory):
    """Run `kalitka hub` on a filled site that no test may change."""
    run = runner(str(shutil.copy(new_site, tmp_path_factory.mktemp("filled") / "hub.sqlite")))
    fill(run)
    return run


def test_a_site_is_written_down_and_explained(run, read):
    fill(run)
    asked = ["explain", "--reader", "GATE-2", "--code", "04A1B2C3", "--at"]
    said = read(*asked, "2026-11-23T17:00")
    assert (said["allowed"], said["rules"][0]["sources"]) == (
        True,
        ["grant 1: Kitchen at Gates, Day shift"],
    )
    assert "allowed by " in run(*asked, "2026-11-23T17:00").stdout
    shown = run(*asked, "2026-11-23T17:01", status=1).stdout
    assert shown.startswith("denied, outside its hours")
    assert "Monday 2026-11-23T17:01" in shown
    on_holiday = run(*asked, "2026-12-31T13:00", status=1).stdout
    assert "holiday of Day shift: 08:00 to 12:00" in on_holiday
    unknown = read("explain", "--reader", "GATE-1", "--code", "F00D", status=1)
    assert unknown["reason"] == "unknown code"
    run("schedule", "remove", "Day shift", status=2)
    run("grant", "change", "1", "--readers", "GATE-1", "--first", "2026-11-24", "--last", "")
    assert read("grant", "list", "--readers", "GATE-1") == [
        {
            "people": "Kitchen",
            "readers": "GATE-1",
            "schedule": "Day shift",
            "first": "2026-11-24T00:00",
            "last": None,
            "id": 1,
        }
    ]
    assert not read(*asked, "2026-11-25T12:00", status=1)["allowed"]
    run("person", "remove", "1")
    assert read("token", "list") == []
    changes = [(entry["action"], entry["kind"]) for entry in read("audit", "list")]
    assert changes[-4:] == [
        ("add", "grants"),
        ("change", "grants"),
        ("remove", "tokens"),
        ("remove", "people"),
    ]


# (command, arguments of add, key, arguments of change, fields after the change)
THINGS = [
    ("person", ["Anna"], "2", ["--note", "x", "--add-group", "Kitchen"], {"groups": ["Kitchen"]}),
    ("person-group", ["Night"], "Night", ["--note", "x"], {"note": "x"}),
    ("token", ["BEEF", "--rule", "9_1"], "BEEF", ["--person", "1"], {"person": 1}),
    (
        "schedule",
        ["Night", "--window", "always", "--note", "x"],
        "Night",
        ["--window", "", "--note", ""],
        {"name": "Night", "note": None, "windows": []},
    ),
    (
        "holiday",
        ["2026-05-01", "--hours", "8:00-9:00"],
        "2",
        ["--hours", "", "--schedule", "Day shift", "--date", "2027-05-01"],
        {"date": "2027-05-01", "hours": [], "schedule": "Day shift"},
    ),
    ("reader", ["GATE-3", "--group", "Gates"], "GATE-3", ["--group", ""], {"groups": []}),
    (
        "reader-group",
        ["Doors", "--reader", "GATE-1"],
        "Doors",
        ["--add-reader", "GATE-2", "--remove-reader", "GATE-1"],
        {"readers": ["GATE-2"]},
    ),
    (
        "grant",
        ["--people", "Kitchen", "--readers", "*", "--schedule", "Day shift"],
        "2",
        ["--last", "2026-12-01T08:00"],
        {"readers": "*", "last": "2026-12-01T08:00"},
    ),
]


@ON_SQLITE
def test_each_thing_is_added_listed_shown_changed_and_removed(run, read):
    fill(run)
    for word, added, key, changed, after in THINGS:
        before = read(word, "list")
        run(word, "add", *added)
        one = read(word, "show", key)
        listed = read(word, "list")
        assert one in listed
        assert len(listed) == len(before) + 1
        assert key in run(word, "list").stdout
        shown = run(word, "show", key).stdout
        assert all(field in shown for field in one.values() if isinstance(field, str)), shown
        assert " changed" in run(word, "change", key, *changed).stdout
        assert read(word, "show", key).items() >= after.items()
        assert "unchanged" in run(word, "change", key, *changed[:2]).stdout
        run(word, "remove", key)
        assert read(word, "list") == before
        for command in ("show", "change", "remove"):
            assert run(word, command, key, status=1).stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "status", "named"),
    [
        (["person", "add", " "], 2, "name: "),
        (["person", "add", "A\x1b[31m"], 2, "name: "),
        (["person", "add", "A", "--group", "Night"], 1, "'Night'"),
        (["person", "add", "A", "--token", "BEEF", "--token", "04A1B2C3"], 2, "04A1B2C3 already"),
        (["person", "add", "A", "--token", "A%"], 2, "'A%'"),
        (["person", "change", "1", "--name", ""], 2, "name: "),
        (["person", "change", "1", "--remove-group", "Night"], 1, "Kitchen"),
        (["person", "list", "--group", "Night"], 1, "'Night'"),
        (["person", "list", "--name", "\udcff"], 2, "UTF-8"),
        (["person-group", "add", "=GATE-1"], 2, "name: "),
        (["person-group", "remove", "Kitchen"], 2, "grants"),
        (["token", "add", "BEEF", "--reader", "GATE-1"], 2, "--rule"),
        (["token", "add", "BEEF", "--person", "7"], 1, "no person 7"),
        (["token", "change", "04A1B2C3", "--rule", "9_2"], 2, "9_2"),
        (["token", "show", "A%"], 2, "'A%'"),
        (["schedule", "add", "Day shift"], 2, "already"),
        (["schedule", "add", "S", "--window", "8-17"], 2, "08:00-17:00 Mon-Fri"),
        (["schedule", "add", "S", "--window", "always", "--window", "25:00-26:00"], 2, "'25:00'"),
        (["schedule", "add", "S", "--window", "2026-12-02/2026-12-01"], 2, "swap the two times"),
        (["holiday", "add", "31.12.2026"], 2, "2026-12-31"),
        (["holiday", "add", "2026-12-31"], 2, "number 1"),
        (["holiday", "add", "2027-12-31", "--hours", "morning"], 2, "08:00-12:00"),
        (["holiday", "list", "--since", "today"], 2, "2026-12-31"),
        (["reader", "change", "GATE-1", "--add-group", "Doors"], 1, "'Doors'"),
        (["reader", "remove", "GATE-9"], 1, "reader list"),
        (["reader", "secret", "GATE-9"], 1, "reader list"),
        (["reader", "secret", "GATE-1", "--site", "--stdin"], 2, "--stdin"),
        (["reader-group", "add", "GATE-1"], 2, "code of a reader"),
        (["grant", "change", "1", "--people", "Night"], 1, "'Night'"),
        (["grant", "change", "1", "--first", "2027-02-01"], 2, "swap the two times"),
        (["grant", "show", str(2**62)], 1, "no grant"),
        (["explain", "--reader", "GATE-9", "--code", "A"], 1, "GATE-9"),
        (["explain", "--reader", "GATE-1", "--code", "A%"], 2, "'A%'"),
        (["explain", "--reader", "GATE-1", "--code", "A", "--at", "now"], 2, "2026-11-01T08:00"),
        (["user", "show", "nobody"], 1, "user list"),
        (["user", "change", "nobody", "--disabled"], 1, "user list"),
        (["user", "remove", "nobody"], 1, "user list"),
        (["user", "add", "a b", "--role", "viewer", "--no-password"], 2, "name: "),
        (["api-token", "add", "nobody", "till"], 1, "user list"),
        (["api-token", "list", "--user", "nobody"], 1, "user list"),
        (["api-token", "remove", "1"], 1, "no API token 1: `kalitka hub api-token list`"),
        (["log", "show", "1"], 1, "log list"),
        (["audit", "list", "--who", "\udcff"], 2, "UTF-8"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_and_writes_nothing(filled, words, status, named):
    before = filled("audit", "list", "--json").stdout
    result = filled(*words, status=status)
    assert named in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert filled("audit", "list", "--json").stdout == before


@ON_SQLITE
def test_a_list_has_all_pages(run, read, monkeypatch):
    monkeypatch.setattr(resources, "_PAGE", 2)
    names = ["a", "b", "c", "d"]
    for name in names:
        run("person-group", "add", name)
        run("person", "add", name)
    assert [group["name"] for group in read("person-group", "list")] == names
    assert [person["name"] for person in read("person", "list")] == names
    assert [person["id"] for person in read("person", "list", "--name", "C")] == [3]
    numbers = [entry["id"] for entry in read("audit", "list", "--limit", "5")]
    assert numbers == sorted(numbers)
    assert [entry["object"] for entry in read("audit", "list", "--kind", "people")] == list("1234")


@ON_SQLITE
def test_a_token_keeps_what_add_does_not_speak_of(run, read):
    run("person", "add", "Anna", "--token", "BEEF")
    run("token", "add", "BEEF", "--rule", "9_1", "--reader", "GATE-1")
    run("token", "add", "BEEF", "--blocked", "--name", "blue")
    whole = {"code": "BEEF", "person": 1, "name": "blue", "blocked": True}
    assert read("token", "show", "BEEF") == whole | {"rules": ["9_1"], "readers": ["GATE-1"]}
    run("token", "change", "BEEF", "--reader", "*", "--person", "0", "--not-blocked")
    freed = whole | {"person": None, "blocked": False}
    assert read("token", "show", "BEEF") == freed | {"rules": ["9_1"], "readers": None}
    run("token", "change", "BEEF", "--rule", "", "--name", "")
    assert read("token", "list") == [freed | {"name": None, "rules": [], "readers": None}]


# Windows


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("always", {}),
        ("8:00-17:00", {"start": "08:00", "end": "17:00"}),
        ("Mon-Fri 18:00-06:00", {"start": "18:00", "end": "06:00", "days": "1111100"}),
        ("sat-mon,WED", {"start": "00:00", "end": "23:59", "days": "1010011"}),
        ("00:00-24:00 0000011", {"start": "00:00", "end": "23:59", "days": "0000011"}),
        ("2026-12-01/2026-12-31", {"first": "2026-12-01T00:00", "last": "2026-12-31T23:59"}),
        ("/2026-12-31T18:00+03:00", {"last": "2026-12-31T18:00+03:00"}),
        (
            "2026-12-01T08:00/ 09:00-10:00 Tue",
            {"first": "2026-12-01T08:00", "start": "09:00", "end": "10:00", "days": "0100000"},
        ),
    ],
)
def test_a_window_is_read(text, window):
    assert parse_window(text) == WindowSetting(**window)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "/", "always Mon", "Mon Tue", "08:00", "08:00-17:00 18:00-19:00", "Mon-"),
        *("Funday", "1/2/3 1/2", "08:00-25:00", "\u0966\u096e:00-09:00", "11111000", "x" * 1000),
    ],
)
def test_what_is_no_window_is_refused_with_a_short_sentence(text):
    with pytest.raises(InvalidRequest) as fault:
        parse_window(text)
    assert len(str(fault.value)) < 200


CLOCKS = some.integers(0, 1439).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")
TIMES = some.none() | some.datetimes().map(lambda time: f"{time:%Y-%m-%dT%H:%M}".zfill(16))
DAYS = some.text("01", min_size=7, max_size=7)


@settings(max_examples=100, deadline=None)
@given(hours=some.none() | some.tuples(CLOCKS, CLOCKS), days=DAYS, first=TIMES, last=TIMES)
def test_a_window_is_shown_as_it_is_written(hours, days, first, last):
    start, end = hours or (None, None)
    window = WindowSetting(
        start=start, end=end, days=days if hours else None, first=first, last=last
    )
    again = parse_window(window_text(window))
    # All seven days and no days at all mean the same.
    assert again.model_copy(update={"days": again.days or "1111111"}) == window.model_copy(
        update={"days": window.days or "1111111"}
    )


# Users and secrets


@pytest.fixture
def opened(where):
    database = open_database(where)
    yield database
    database.close()


def may_log_in(opened, name, password):
    try:
        login.log_in(opened, name, password, "192.0.2.1")
    except login.WrongLogin:
        return False
    return True


@ON_SQLITE
def test_a_user_has_the_password_that_was_typed_twice(run, read, opened, monkeypatch):
    typed = iter([PASSWORD, PASSWORD, PASSWORD, "another"])
    monkeypatch.setattr("getpass.getpass", lambda _prompt: next(typed))
    added = run("user", "add", "anna", "--role", "admin")
    assert PASSWORD not in added.output
    assert may_log_in(opened, "anna", PASSWORD)
    assert "differ" in run("user", "add", "boris", "--role", "viewer", status=2).stderr
    assert [user["name"] for user in read("user", "list")] == ["anna"]
    assert PASSWORD not in run("audit", "list", "--json").stdout


@ON_SQLITE
def test_without_a_terminal_no_password_is_asked_for(where):
    command = "from kalitka_hub.cli.main import hub; hub()"
    words = ["user", "add", "anna", "--role", "admin", "--db", where]
    done = subprocess.run(
        [sys.executable, "-c", command, *words],
        input=f"{PASSWORD}\n{PASSWORD}\n",
        capture_output=True,
        text=True,
        start_new_session=True,  # a session without a terminal
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "--password-stdin" in done.stderr


@ON_SQLITE
def test_a_user_is_changed_and_removed(run, read, opened):
    given = ["--password-stdin"]
    run("user", "add", "anna", "--role", "admin", *given, typed=f"{PASSWORD}\r\n")
    run("user", "add", "till", "--role", "operator", "--no-password")
    assert "too short" in run("user", "change", "anna", *given, typed="a\n", status=2).stderr
    run("user", "change", "anna", *given, "--no-password", status=2)
    run("user", "change", "anna", *given, typed=f"{PASSWORD}!\n")
    assert may_log_in(opened, "anna", f"{PASSWORD}!")
    run("user", "change", "till", "--role", "viewer", "--disabled", "--name", "desk")
    assert (
        read("user", "show", "desk").items()
        >= {
            "role": "viewer",
            "disabled": True,
            "has_password": False,
        }.items()
    )
    assert "desk" in run("user", "list").stdout
    assert "last admin" in run("user", "remove", "anna", status=2).stderr
    run("user", "remove", "desk")
    assert [user["name"] for user in read("user", "list")] == ["anna"]


@ON_SQLITE
def test_an_api_token_is_shown_once_and_speaks_for_its_user(run, read, opened):
    run("user", "add", "till", "--role", "viewer", "--no-password")
    made = run("api-token", "add", "till", "the till", "--days", "30")
    secret = made.stdout.strip()
    with opened.snapshot() as session:
        assert api_tokens.authenticate(session, secret, 0).user.name == "till"
    assert read("api-token", "list", "--user", "till")[0]["name"] == "the till"
    kept = run("api-token", "list").stdout + run("audit", "list", "--json").stdout
    assert secret not in kept + made.stderr
    assert random_secrets.sha256_of(secret) not in kept
    run("api-token", "remove", "1")
    assert read("api-token", "list") == []


@ON_SQLITE
def test_a_reader_has_a_secret_of_its_own_until_it_has_the_sites_again(run, read, opened):
    def knows(secret):
        return authenticate(opened, [ReaderRequest("GATE-1", secret.encode())]) != [None]

    made = run("reader", "secret", "GATE-1").stdout.strip()
    assert knows(made)
    assert read("reader", "show", "GATE-1")["own_secret"]
    run("reader", "secret", "GATE-1", "--stdin", typed="typed-in\n")
    assert (knows("typed-in"), knows(made)) == (True, False)
    run("reader", "secret", "GATE-1", "--stdin", typed="\n", status=2)
    run("reader", "secret", "GATE-1", "--site")
    assert not knows("typed-in")


# Output


ODD = ["<script>alert(1)</script>", "'; DROP TABLE people; --", "[bold]x[/]", "[/nothing]", "\\"]


@ON_SQLITE
def test_odd_names_are_names(run, read):
    for name in ODD:
        run("person-group", "add", name)
        run("person", "add", name, "--group", name)
        assert read("person-group", "show", name)["name"] == name
    assert [person["name"] for person in read("person", "list")] == ODD
    shown = run("person", "list").stdout
    assert all(name in shown for name in ODD)


@ON_SQLITE
def test_a_very_long_list_is_whole_and_nothing_in_it_is_shortened(run, opened, monkeypatch):
    monkeypatch.setattr(terminal, "_BOXED_MAX", 2)
    long = "X" * 255
    with write_transaction(opened) as session:
        two = ("3_480_1200_1111100", "9_1")
        set_tokens(session, [TokenSetting("AA", two), TokenSetting("BB", two[:1])])
        set_tokens(session, [TokenSetting(long, ("9_0",), ("GATE-1",))])
    assert run("token", "list").stdout.splitlines() == [
        f"{'code':40}  person  name  blocked  rules               readers",
        f"{'AA':40}                         3_480_1200_1111100  all",
        f"{'':40}                         9_1",
        f"{'BB':40}                         3_480_1200_1111100  all",
        f"{long}                         9_0                 GATE-1",
    ]


@ON_SQLITE
def test_nothing_in_the_database_steers_the_terminal(run, read, opened):
    odd = "A\x1b[31m\u202eB\x9b\r\x7f"
    with write_transaction(opened) as session:
        # Names that today's hub refuses, but an older hub or another program may have written.
        session.add(Person(name=odd, note=f"one\ntwo{odd}", created=0))
        session.add(Schedule(name=odd))
        set_tokens(session, [TokenSetting("A\u202eB\x9b", ("9_1",))])
    printed = ""
    for word in ("person", "schedule", "token", "audit"):
        printed += run(word, "list").output + run(word, "list", "--json").output
    printed += run("person", "show", "1").output
    printed += run("token", "remove", "A\u202eB\x9b").output
    printed += run("token", "remove", "A\u202eB\x9b", status=1).output
    assert printed.replace("\n", "").isprintable()
    assert "\\x1b[31m" in printed
    assert read("person", "list")[0]["name"] == odd


@ON_SQLITE
def test_an_entry_of_the_log_is_shown(run, read, opened):
    batch = access_log.parse(b"1795288535_F00D_0")
    access_log.store_batches(opened, [access_log.ReceivedBatch("GATE-1", batch)])
    (entry,) = read("log", "list")
    assert read("log", "show", str(entry["id"])) == entry
    shown = run("log", "show", str(entry["id"])).stdout
    assert "2026-11-21 19:15:35" in shown
    assert "denied" in shown


@ON_SQLITE
def test_the_audit_says_who_changed_what(run, read):
    run("person-group", "add", "Kitchen")
    run("person-group", "change", "Kitchen", "--note", "two of them")
    (change,) = read("audit", "list", "--object", "Kitchen", "--limit", "1")
    assert change["who"].startswith("command line")
    assert (change["action"], change["after"]["note"]) == ("change", "two of them")
    assert read("audit", "list", "--who", change["who"], "--kind", "person-groups")[-1] == change
    assert "note: none -> two of them" in run("audit", "list").stdout
