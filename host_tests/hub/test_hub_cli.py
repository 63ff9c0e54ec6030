"""`kalitka hub` as people use it, and the server as a process behind a real socket."""

import json
import re
import shutil
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.main import get_command

from hub.hub_site import SECRET, SYNC, headers
from hub.served import ServeCommand
from hub_command import invoke
from kalitka_hub.cli.main import hub
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.reader_api.token_reader_api import BODY_MAX
from kalitka_hub.server import certificates, http_server
from kalitka_hub.site.site_secret import sha256_of
from kalitka_hub.site.tokens import TokenSetting, set_tokens
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database
from kalitka_hub.store.models import Site


@pytest.fixture
def path(tmp_path, monkeypatch):
    for variable in ("KALITKA_HUB_SECRET", "KALITKA_DATABASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("KALITKA_HUB_DB", str(tmp_path / "hub.sqlite"))
    return tmp_path / "hub.sqlite"


@pytest.fixture
def named(nowhere, monkeypatch):
    """Name a database that does not exist yet in the environment."""
    monkeypatch.setenv("KALITKA_DATABASE_URL", nowhere)


def run(*words, status=0):
    result = invoke(*words)
    assert result.exit_code == status, result.output
    return result


def listed(what):
    return json.loads(run(what, "list", "--json").stdout)


def test_the_help_lists_each_command_with_its_own_first_sentence():
    command = get_command(hub)
    context = command.make_context("kalitka hub", [], resilient_parsing=True)
    assert len(command.commands) > 20
    for word, listed in command.commands.items():
        _, found, _ = command.resolve_command(context, [word])
        if hasattr(found, "commands"):
            assert found.help
        else:
            assert found.help.startswith(listed.help)


def test_readers_are_added_listed_and_removed(named):
    run("reader", "add", "GATE-2")
    run("reader", "add", "GATE-1", "--name", "North [gate]")
    assert "already registered" in run("reader", "add", "GATE-1").stderr
    assert [
        (reader["code"], reader["name"], reader["last_seen"]) for reader in listed("reader")
    ] == [
        ("GATE-1", "North [gate]", None),
        ("GATE-2", None, None),
    ]
    assert "North [gate]" in run("reader", "list").stdout
    run("reader", "remove", "GATE-2")
    assert [reader["code"] for reader in listed("reader")] == ["GATE-1"]


def test_tokens_are_set_listed_and_removed(named):
    run("reader", "add", "GATE-1")
    run("token", "add", "04A1B2C3", "--rule", "3_480_1200_1111100", "--rule", "9_0")
    run("token", "add", "BEEF", "--rule", "9_1", "--reader", "GATE-1")
    run("token", "add", "04A1B2C3", "--rule", "3_480_1200_1111100")
    assert "unchanged" in run("token", "add", "BEEF", "--rule", "9_1", "--reader", "GATE-1").stdout
    assert [(token["code"], token["rules"], token["readers"]) for token in listed("token")] == [
        ("BEEF", ["9_1"], ["GATE-1"]),
        ("04A1B2C3", ["3_480_1200_1111100"], None),
    ]
    shown = run("token", "list").stdout
    assert "04A1B2C3" in shown
    assert "3_480_1200_1111100" in shown
    run("token", "remove", "BEEF")
    assert [token["code"] for token in listed("token")] == ["04A1B2C3"]


def test_a_long_code_is_listed_whole(path):
    code = "X" * 255
    run("token", "add", code, "--rule", "9_1")
    assert run("token", "list").stdout.count("X") == 255


@pytest.mark.parametrize(
    ("words", "status", "named"),
    [
        (["token", "add", "A,B", "--rule", "9_1"], 2, "'A,B'"),
        (["token", "add", "A", "--rule", "1_9_8"], 2, "from is after to"),
        (["token", "add", "A", "--rule", "9_1", "--rule", "3_1_2_11"], 2, "week mask"),
        (["token", "add", "A", "--rule", "9_1", "--reader", "GATE-9"], 2, "reader add GATE-9"),
        (["token", "remove", "A"], 1, "token list"),
        (["token", "remove", "A%"], 2, "'A%'"),
        (["reader", "add", "GATE 1"], 2, "'GATE 1'"),
        (["reader", "remove", "GATE-9"], 1, "reader list"),
        (["serve", "--zone", "Europe/Moscow"], 2, "`kalitka hub site set --zone Europe/Moscow`"),
        (["site", "set", "--zone", "Europe/Moskow"], 2, "Europe/Moscow"),
        (["site", "set", "--zone", "MSK3,M3.5.0"], 2, "MSK-3"),
        (["site", "set"], 2, "--zone"),
        (["reader", "list", "--db", "/nowhere/hub.sqlite"], 1, "--db"),
        (["reader", "add", "A", "--db", "/nowhere/hub.sqlite"], 2, "--db"),
        (["reader", "add", "A", "--db", "nothing://u:passw0rd@h/d"], 2, "--db"),
    ],
)
def test_what_is_wrong_is_one_line_on_stderr_and_writes_nothing(path, words, status, named):
    run("reader", "add", "GATE-1")
    before = (listed("reader"), listed("token"))
    result = run(*words, status=status)
    assert named in result.stderr
    assert result.stderr.count("\n") == 1
    assert "passw0rd" not in result.stderr
    assert result.stdout == ""
    assert (listed("reader"), listed("token")) == before


def test_a_file_that_is_no_database_is_named_and_left_alone(path):
    path.write_text("notes\n" * 300)
    assert "file is not a database" in run("reader", "add", "A", status=2).stderr
    assert path.read_text() == "notes\n" * 300


def test_a_new_secret_is_printed_alone_and_works(path):
    first = run("secret").stdout
    second = run("secret").stdout
    assert re.fullmatch(r"[A-Za-z0-9_-]{40,}\n", second)
    database = open_database(path)
    with database.snapshot() as session:
        stored = session.scalars(select(Site.secret_sha256)).one()
    assert stored == sha256_of(second.strip().encode())
    assert stored != sha256_of(first.strip().encode())
    database.close()


def test_a_secret_from_the_environment_is_set_and_not_printed(path, monkeypatch):
    monkeypatch.setenv("KALITKA_HUB_SECRET", SECRET)
    assert SECRET not in run("secret").output
    monkeypatch.setenv("KALITKA_HUB_SECRET", "")
    assert "secret" in run("secret", status=2).stderr


def test_a_port_that_is_taken_is_said_in_one_line(path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("serve", "--port", str(port), status=2)
    assert str(port) in result.stderr
    assert "--port" in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_address_of_another_computer_is_refused():
    with pytest.raises(InvalidRequest, match=r"192\.0\.2\.1"):
        http_server.listen("192.0.2.1", 0)


@pytest.fixture(scope="module")
def served_path(new_site, tmp_path_factory):
    return shutil.copy(new_site, tmp_path_factory.mktemp("served") / "hub.sqlite")


@pytest.fixture(scope="module")
def served(served_path):
    process = ServeCommand("--db", str(served_path))
    yield process
    process.stop()


def test_the_server_tells_what_the_command_line_wrote_meanwhile(served, served_path):
    def change(*words):
        run("token", *words, "--db", str(served_path))

    answer = served.post("0")
    body = answer.read().decode()
    minute = int(body.partition("%")[0])
    assert body == f"{minute}%%\n"
    assert answer.getheader("Content-Length") == str(len(body))
    change("add", "CAFE", "--rule", "9_1")
    changed = served.post(str(minute)).read().decode()
    assert re.fullmatch(r"\d+%CAFE%\nCAFE_/9_1", changed)
    change("remove", "CAFE")
    assert re.fullmatch(r"\d+%CAFE%\n", served.post(str(minute)).read().decode())
    # The reader may not have had that answer.
    assert re.fullmatch(r"\d+%CAFE%\n", served.post("0").read().decode())


def test_a_long_answer_is_chunked_whole_and_never_compressed(served, served_path):
    set_many(served_path)
    answer = served.post("0", **{"Accept-Encoding": "gzip"})
    assert answer.getheader("Transfer-Encoding") == "chunked"
    assert answer.getheader("Content-Encoding") is None
    assert answer.getheader("Content-Type") == "text/plain; charset=utf-8"
    head, _, lines = answer.read().decode().partition("\n")
    codes = [f"{i:08X}" for i in range(2000)]
    deletes = head.split("%")[1].split(",")
    assert [code for code in deletes if code != "CAFE"] == codes  # of another test
    assert lines == "\n".join(f"{code}_/9_1" for code in codes)


def set_many(path):
    """Set 2000 tokens, enough for a streamed answer."""
    database = open_database(path)
    with write_transaction(database) as session:
        set_tokens(session, (TokenSetting(f"{i:08X}", ("9_1",)) for i in range(2000)))
    database.close()


def assert_kept(connection):
    """Assert that all kinds of answers keep the connection and announce its timeout."""
    lengths = []
    for body, more, status in (
        ("0", {}, 200),
        ("0", {"X-AuthToken": "wrong"}, 403),
        ("nonsense", {}, 400),
        ("0", {}, 200),
        ("99999999", {}, 200),
    ):
        connection.request("POST", SYNC, body=body, headers=headers() | more)
        first = connection.sock
        answer = connection.getresponse()
        lengths.append(len(answer.read()))
        assert answer.status == status
        assert answer.getheader("Keep-Alive") == "timeout=75"
        assert answer.getheader("Connection") is None
        assert connection.sock is first is not None
    assert lengths[0] == lengths[3] > 20_000
    connection.close()


def test_a_connection_is_kept_and_the_answers_say_for_how_long(served, served_path):
    set_many(served_path)
    assert_kept(served.connect())


def with_tls(folder):
    certificate, key = (str(folder / name) for name in ("hub.pem", "hub.key"))
    return ["--tls-certificate", certificate, "--tls-key", key]


def test_the_same_over_tls(new_site, path, tmp_path):
    shutil.copy(new_site, path)
    set_many(path)
    run("certificate", "127.0.0.1", "--folder", str(tmp_path / "tls"))
    run("site", "set", "--zone", "Europe/Moscow")
    hub_process = ServeCommand(*with_tls(tmp_path / "tls"), ca=tmp_path / "tls/ca.pem")
    assert "zone Europe/Moscow (UTC+03:00)," in hub_process.line
    assert "https://127.0.0.1:" in hub_process.line
    idle = hub_process.connect()
    idle.connect()
    assert_kept(hub_process.connect())
    # An idle connection does not keep the server from stopping.
    status, out, err = hub_process.stop()
    assert (status, out) == (0, "")
    assert "fault" not in err


def test_a_certificate_that_ends_soon_is_told_at_the_start(new_site, path, tmp_path):
    shutil.copy(new_site, path)
    made = datetime.now(UTC) - certificates.SERVER_LIFE + timedelta(days=5)
    certificates.renew(tmp_path, ["127.0.0.1"], made)
    hub_process = ServeCommand(*with_tls(tmp_path), ca=tmp_path / "ca.pem")
    assert hub_process.post("0").status == 200
    status, _, err = hub_process.stop()
    assert status == 0
    assert "renew it with `kalitka hub certificate`" in err


def test_a_body_that_is_too_long_is_refused_over_a_real_socket(served):
    answer = served.post(b"%" + b"A" * BODY_MAX)
    assert answer.status == 413
    assert b"longer than" in answer.read()
    assert served.post("0").status == 200


def test_ctrl_c_ends_the_server_quietly_and_keeps_who_was_seen(new_site, path):
    shutil.copy(new_site, path)
    hub_process = ServeCommand("--log-level", "warning")
    hub_process.post("0").read()
    status, said, told = hub_process.stop()
    assert (status, said) == (0, "")
    # One line without a code, since stderr is not a terminal.
    assert told == (
        "kalitka hub: the hub has no users yet: run `kalitka hub setup-code` to create the first "
        "admin\n"
    )
    assert listed("reader")[0]["last_seen"] is not None


def test_a_setup_code_is_shown_on_demand_while_there_are_no_users(path):
    assert re.search(r"one-time code .*: (\w{4}-){3}\w{4}$", run("setup-code").stderr, re.M)


def test_a_server_without_readers_says_how_to_add_one(path):
    hub_process = ServeCommand()
    assert str(path) in hub_process.line and "http://127.0.0.1:" in hub_process.line
    assert hub_process.post("0").status == 403
    status, _, err = hub_process.stop()
    assert status == 0
    assert "kalitka hub reader add" in err
    assert Path(path).exists()


def test_a_server_says_which_readers_are_refused_for_lack_of_a_secret(path):
    run("reader", "add", "GATE-1")
    assert "kalitka hub reader" not in ServeCommand().stop()[2]
    run("reader", "add", "GATE-2", "--site-secret")
    told = ServeCommand().stop()[2]
    assert "readers without a secret, which are refused: 1;" in told
    assert "kalitka hub reader secret CODE" in told
    run("secret")
    assert "kalitka hub reader secret" not in ServeCommand().stop()[2]


@pytest.mark.parametrize(("host", "warns"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_a_hub_that_the_network_reaches_without_tls_says_what_others_can_do(tmp_path, host, warns):
    server = ServeCommand("--db", str(tmp_path / "hub.sqlite"), "--host", host)
    assert ("can open the doors" in server.stop()[2]) == warns
