"""The access log: both forms of a body, each entry stored once, and `kalitka hub log list`."""

import http.client
import json
import os
import signal
import threading
from unittest.mock import Mock

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from hub.hub_site import ON_SQLITE, START, SYNC, headers
from hub.served import ServeCommand
from hub_command import invoke
from kalitka.access import decision
from kalitka.journal import entries
from kalitka_hub.reader_api.access_log import REPEAT_SECONDS, list_entries
from kalitka_hub.reader_api.token_reader_api import BODY_MAX
from kalitka_hub.site.readers import remove_reader
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import Database, open_database
from kalitka_sim.timeouts import HANG_TIMEOUT_S

LOGS = "/api/v1/token-reader/access-logs"
LOG = "0badcafe"
NOW = START * 60 + 38  # Unix seconds, by the clock of the tests
HOURS = decision.REASONS.index("outside its hours")


def with_log(log, reader="GATE-1"):
    return headers(reader) | ({"X-Kalitka-Log": log} if log else {})


def post(site, body, log=None, reader="GATE-1"):
    return site.client.post(LOGS, content=body, headers=with_log(log, reader))


def sent(site, body, log=None, reader="GATE-1"):
    """Return the answer to a valid body."""
    answer = post(site, body, log, reader)
    assert answer.status_code == 200, answer.text
    return answer.text


def kept(database):
    with database.snapshot() as session:
        return list_entries(session, 1_000_000)


def entry_tuples(database):
    """Return (seconds, code, state) of all entries, oldest first."""
    return [(row.at, row.code, row.state) for row in kept(database)]


def test_the_plain_form_is_stored(site):
    body = "1795288535_04A1B2C3_1,1795288536_FFFF_0,1795288537_btn-exit_1,1795288538_alarm_1"
    assert sent(site, body) == "ok,4"
    rows = kept(site.database)
    assert [(row.at, row.code, row.state) for row in rows] == [
        (1795288535, "04A1B2C3", 1),
        (1795288536, "FFFF", 0),
        (1795288537, "btn-exit", 1),
        (1795288538, "alarm", 1),
    ]
    assert [row.source for row in rows] == [None, None, entries.EXIT_BUTTON, entries.ALARM]
    for row in rows:
        assert (row.reader, row.timed, row.received) == ("GATE-1", True, NOW)
        assert (row.reason, row.log, row.number) == (None, None, None)


def test_the_long_form_is_stored(site):
    body = "1795288535_04A1B2C3_1_7_0_1,1795288536_FFFF_0_8_0_3,1795288537_door-held_1_1_2_900"
    assert sent(site, body, LOG) == "ok,3"
    rows = kept(site.database)
    assert [(row.code, row.state, row.reason, row.source, row.number) for row in rows] == [
        ("04A1B2C3", 1, decision.ALLOWED, entries.SCANNER, 1),
        ("FFFF", 0, decision.UNKNOWN_CODE, entries.SCANNER, 3),
        ("door-held", 1, entries.HELD, entries.DOOR, 900),
    ]
    assert {row.log for row in rows} == {LOG}


def test_the_bounds_of_the_long_form_are_taken(site):
    body = f"9999999999_A_0_255_3_{2**30 - 1},1_A_0_0_0_1"
    assert sent(site, body, LOG) == "ok,2"


@pytest.mark.parametrize(("log", "rest"), [(None, "_1"), (LOG, "_1_7_0_1")])
@pytest.mark.parametrize("code", ["a_b", "_", "__a__", "1_2_3", "a b", "https://x/?a=1&b=[2]"])
def test_a_code_may_have_lines_below_in_it(site, log, rest, code):
    assert sent(site, f"5_{code}{rest}", log) == "ok,1"
    assert entry_tuples(site.database) == [(5, code, 1)]


def test_a_code_that_is_not_utf_8_is_kept_readable(site):
    assert sent(site, b"5_\xffA\xc3\xbc_1") == "ok,1"
    assert entry_tuples(site.database) == [(5, "\\xffA\u00fc", 1)]


@ON_SQLITE
@pytest.mark.parametrize("end", ["\n", "\r\n", " ", " \t\n\n"])
def test_blanks_and_line_ends_at_the_end_are_forgiven(site, end):
    assert sent(site, "5_A_1" + end) == "ok,1"
    assert sent(site, "6_B_1_7_0_1" + end, LOG) == "ok,1"
    assert entry_tuples(site.database) == [(5, "A", 1), (6, "B", 1)]


@pytest.mark.parametrize(
    ("log", "body"),
    [(None, "0_A_1,5_B_1"), (LOG, "0_A_1_7_0_1,5_B_1_7_0_2")],
)
def test_without_a_time_the_server_takes_its_own(site, log, body):
    assert sent(site, body, log) == "ok,2"
    assert [(row.at, row.code, row.timed) for row in kept(site.database)] == [
        (5, "B", True),
        (NOW, "A", False),
    ]


def test_numbered_entries_are_kept_once_however_they_come_again(site):
    assert sent(site, "5_A_1_7_0_1,5_A_1_7_0_2", LOG) == "ok,2"
    assert sent(site, "5_A_1_7_0_1,5_A_1_7_0_2", LOG) == "ok,0"
    site.clock.minute += 60
    assert sent(site, "5_A_1_7_0_2,6_A_1_7_0_3,6_A_1_7_0_3", LOG) == "ok,1"
    assert [row.number for row in kept(site.database)] == [1, 2, 3]


DAY = 86400


def test_of_a_flash_that_was_put_back_nothing_is_missing(site, caplog):
    sent(site, "5_A_1_7_0_1,6_B_1_7_0_2,7_btn-exit_1_0_1_3", LOG)
    # The reader's flash was restored to the state after the second entry, so number 3 comes again;
    # presses of the exit button differ only in their times.
    later = f"{DAY + 6}_C_0_8_0_3,{DAY + 8}_btn-exit_1_0_1_4"
    assert sent(site, later, LOG) == "ok,2"
    assert "GATE-1: 1 entries reuse the numbers of other entries" in caplog.text
    assert sent(site, later, LOG) == "ok,0"
    again = f"{2 * DAY + 9}_btn-exit_1_0_1_3,0_D_1_7_0_4,6_B_1_7_0_2"
    assert sent(site, again, LOG) == "ok,2"
    assert entry_tuples(site.database) == [
        (5, "A", 1),
        (6, "B", 1),
        (7, "btn-exit", 1),
        (DAY + 6, "C", 0),
        (DAY + 8, "btn-exit", 1),
        (2 * DAY + 9, "btn-exit", 1),
        (NOW, "D", 1),
    ]
    assert [row.number for row in kept(site.database)] == [1, 2, 3, None, 4, None, None]


def test_a_time_that_was_put_right_meanwhile_makes_no_other_entry(site):
    sent(site, f"{DAY}_A_1_7_0_1,{DAY}_A_1_7_0_2", LOG)
    assert sent(site, f"{2 * DAY}_A_1_7_0_1,{DAY - 7200}_A_1_7_0_2", LOG) == "ok,0"
    assert entry_tuples(site.database) == [(DAY, "A", 1)] * 2


def test_an_entry_without_a_time_that_comes_again_keeps_its_first_one(site):
    sent(site, "0_A_1_7_0_1", LOG)
    site.clock.minute += 60
    assert sent(site, "9_A_1_7_0_1", LOG) == "ok,0"
    assert entry_tuples(site.database) == [(NOW, "A", 1)]


def test_another_log_and_another_reader_have_numbers_of_their_own(site):
    for log, reader in ((LOG, "GATE-1"), ("00000001", "GATE-1"), (LOG, "GATE-2")):
        assert sent(site, "5_A_1_7_0_1", log, reader) == "ok,1"


def test_plain_entries_are_kept_once_by_reader_time_code_and_state(site):
    assert sent(site, "5_A_1,5_A_1,5_A_0,6_A_1,5_B_1") == "ok,4"
    assert sent(site, "5_A_1,7_A_1,5_B_1") == "ok,1"
    assert sent(site, "5_A_1", reader="GATE-2") == "ok,1"
    assert len(kept(site.database)) == 6


def test_two_entries_without_a_time_in_one_body_are_two(site):
    assert sent(site, "0_btn-exit_1,0_btn-exit_1") == "ok,2"
    assert sent(site, "0_btn-exit_1,0_btn-exit_1") == "ok,0"
    assert entry_tuples(site.database) == [(NOW, "btn-exit", 1)] * 2


def test_a_body_without_times_that_comes_again_counts_once_for_a_quarter_of_an_hour(site):
    minutes = REPEAT_SECONDS // 60
    assert sent(site, "0_A_1") == "ok,1"
    assert sent(site, "0_A_1", reader="GATE-2") == "ok,1"
    for _ in range(minutes):
        site.clock.minute += 1
        assert sent(site, "0_A_1") == "ok,0"
        assert sent(site, "0_A_1", reader="GATE-2") == "ok,0"
    site.clock.minute += 1
    assert sent(site, "0_A_1") == "ok,1"


def test_another_body_between_makes_a_body_without_times_a_new_one(site):
    assert [sent(site, body) for body in ("0_A_1", "0_B_1", "0_A_1")] == ["ok,1"] * 3


def test_a_clock_set_back_does_not_silence_a_reader(site):
    sent(site, "0_A_1")
    site.clock.minute -= 600
    assert sent(site, "0_A_1") == "ok,1"


def test_ids_ascend_in_order_of_arrival(site):
    sent(site, "9_A_1,3_A_1")
    sent(site, "3_A_1,5_A_1")
    sent(site, "1_A_1")
    by_id = sorted(kept(site.database), key=lambda row: row.id)
    assert [row.at for row in by_id] == [9, 3, 5, 1]


def test_a_thousand_entries_and_more_are_one_body(site):
    body = ",".join(f"{second}_04A1B2C3_1" for second in range(1, 2502))
    assert sent(site, body) == "ok,2501"
    assert [row.at for row in kept(site.database)] == list(range(1, 2502))


def test_the_entries_of_a_removed_reader_stay(site):
    sent(site, "5_A_1", reader="GATE-2")
    with write_transaction(site.database) as session:
        remove_reader(session, "GATE-2")
    assert post(site, "6_A_1", reader="GATE-2").status_code == 403
    assert [(row.reader, row.at) for row in kept(site.database)] == [("GATE-2", 5)]


def line_of(answer):
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.endswith("\n")
    assert answer.text.count("\n") == 1
    assert len(answer.text) < 250
    return answer.text


@ON_SQLITE
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("", "''"),
        ("5", "too few"),
        ("5_A", "too few"),
        ("_A_1", "time"),
        ("-5_A_1", "time"),
        ("+5_A_1", "time"),
        ("5.5_A_1", "time"),
        ("12345678901_A_1", "time"),
        (" 5_A_1", "' 5_A_1'"),
        ("\uff15_A_1", "time"),
        ("5__1", "empty code"),
        (f"5_{'A' * 256}_1", "longer than 255"),
        ("5_A%B_1", "forbidden byte"),
        ("5_A_/B_1", "forbidden byte"),
        ("5_A\nB_1", "forbidden byte"),
        ("5_A\x00_1", "forbidden byte"),
        ("5_A_2", "state"),
        ("5_A_", "state"),
        ("5_A_01", "state"),
        ("5_A_1 ", "'5_A_1 '"),
        ("5_A_\uff11", "state"),
    ],
)
def test_a_wrong_entry_is_named_and_nothing_of_its_body_is_stored(site, wrong, named):
    answer = post(site, f"1_A_1,{wrong},2_A_1")
    assert answer.status_code == 400
    assert "entry 2, '" in line_of(answer)
    assert named in answer.text
    assert kept(site.database) == []
    # Nor was it recorded as the reader's last body.
    assert sent(site, "0_A_1") == "ok,1"


@ON_SQLITE
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("5_A_1", "too few"),
        ("5_A_1_7_0", "too few"),
        ("5_A_2_7_0_1", "state"),
        ("5_A_1_256_0_1", "reason"),
        ("5_A_1_-1_0_1", "reason"),
        ("5_A_1__0_1", "reason"),
        ("5_A_1_7_5_1", "source"),
        ("5_A_1_7_x_1", "source"),
        ("5_A_1_7_0_0", "number"),
        (f"5_A_1_7_0_{2**30}", "number"),
        ("5_A_1_7_0_00000000001", "number"),
        ("5_A_1_7_0_", "number"),
        ("5__1_7_0_1", "empty code"),
    ],
)
def test_a_wrong_entry_of_the_long_form_is_named_too(site, wrong, named):
    answer = post(site, f"1_A_1_7_0_1,{wrong}", LOG)
    assert answer.status_code == 400
    assert "entry 2, '" in line_of(answer)
    assert named in answer.text
    assert kept(site.database) == []


@ON_SQLITE
@pytest.mark.parametrize("log", ["", "0BADCAFE", "badcafe", "00badcafe", "0badcafg", "0x000001"])
def test_a_wrong_log_is_refused(site, log):
    sent_headers = headers() | {"X-Kalitka-Log": log}
    answer = site.client.post(LOGS, content="5_A_1_7_0_1", headers=sent_headers)
    assert answer.status_code == 400
    assert "X-Kalitka-Log" in line_of(answer)


@ON_SQLITE
@pytest.mark.parametrize("body", ["", "\n", " \r\n"])
def test_an_empty_body_is_refused(site, body):
    answer = post(site, body)
    assert answer.status_code == 400
    assert "SEC_CODE_STATE" in line_of(answer)


def test_the_longest_body_is_stored_and_one_byte_more_is_not(site):
    entry = "5_" + "A" * 251 + "_1,"
    body = entry * (BODY_MAX // 256 - 1) + "6_" + "A" * 252 + "_1"
    assert len(body) == BODY_MAX
    answer = post(site, body + "\n")
    assert answer.status_code == 413
    assert str(BODY_MAX) in line_of(answer)
    assert kept(site.database) == []
    assert sent(site, body) == "ok,2"


@ON_SQLITE
def test_who_may_not_ask_is_told_so_and_nothing_is_stored(site):
    assert post(site, "5_A_1", reader="GATE-9").status_code == 403
    wrong = headers() | {"X-AuthToken": "x"}
    assert site.client.post(LOGS, content="5_A_1", headers=wrong).status_code == 403
    assert site.client.post(LOGS, content="5_A_1").status_code == 401
    assert site.client.get(LOGS, headers=headers()).status_code == 405
    assert kept(site.database) == []


def test_every_answer_says_that_it_is_the_hubs(site, monkeypatch):
    client = site.client
    answers = [
        client.post(SYNC, content="0", headers=headers()),
        client.post(SYNC, content="nonsense", headers=headers()),
        client.post(SYNC, content="0"),
        client.post(SYNC, content="0", headers=headers("GATE-9")),
        client.get(SYNC, headers=headers()),
        client.get("/api/v1/token-reader/time", headers=headers()),
        client.get("/api/v2/token-reader/time", headers=headers()),
        client.get("/api/v3/token-reader/time", headers=headers()),
        client.post(LOGS, content="5_A_1", headers=headers()),
        client.post(LOGS, content="", headers=headers()),
        client.post(LOGS, content=b"A" * (BODY_MAX + 1), headers=headers()),
    ]
    for number in range(40):
        site.set(f"{number:0250}", "9_1")  # an answer that is streamed
    answers.append(client.post(SYNC, content="0", headers=headers()))
    quiet = TestClient(client.app, raise_server_exceptions=False)
    for fault in (OperationalError("", None, Exception("locked")), OSError()):
        monkeypatch.setattr(Database, "write_session", Mock(side_effect=fault))
        answers.append(quiet.post(LOGS, content="5_A_1", headers=headers()))
    monkeypatch.undo()
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 400, 401, 403, 404, 405, 413, 500, 503}
    assert [answer.headers.get_list("X-Kalitka") for answer in answers] == [["1"]] * len(answers)


def test_entries_are_no_change_of_the_rules(site):
    reader = site.reader()
    reader.poll()
    site.clock.minute += 1
    assert sent(site, "5_A_1") == "ok,1"
    assert site.ask(str(START)) == f"{START + 1}%%\n"


def answer_of(port, body, log):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_TIMEOUT_S)
    connection.request("POST", LOGS, body=body, headers=with_log(log))
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def test_two_servers_that_get_the_same_body_at_once_store_it_once(where):
    servers = [ServeCommand("--db", where) for _ in range(2)]
    rounds = 8
    answers = []
    together = threading.Barrier(4)

    def send(port):
        for number in range(1, rounds + 1):
            together.wait(HANG_TIMEOUT_S)
            rest = f"_1_7_0_{number}" if number % 2 else "_1"
            body = f"0_A{number}{rest}"
            answers.append(answer_of(port, body, LOG if number % 2 else None))

    # Two connections to each of two processes.
    senders = [threading.Thread(target=send, args=(server.port,)) for server in servers * 2]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    for server in servers:
        server.stop()
    assert sorted(answers) == ["ok,0"] * (3 * rounds) + ["ok,1"] * rounds
    database = open_database(where)
    assert sorted(row.code for row in kept(database)) == [f"A{n}" for n in range(1, rounds + 1)]
    database.close()


def test_what_was_answered_survives_a_killed_server(where):
    server = ServeCommand("--db", where)
    answer = answer_of(server.port, "5_A_1_7_0_1,6_B_1_7_0_2", LOG)
    server.stop(signal.SIGKILL)
    assert answer == "ok,2"
    database = open_database(where)
    assert entry_tuples(database) == [(5, "A", 1), (6, "B", 1)]
    database.close()


def run(site, *words, status=0):
    result = invoke("log", "list", "--db", site.where, *words, env={"COLUMNS": "120"})
    assert result.exit_code == status, result.output
    return result


def listed(site, *words):
    return json.loads(run(site, "--json", *words).stdout)


def test_the_log_is_listed_newest_last(site):
    sent(site, "1795288537_B_0,1795288535_A_1")
    sent(site, f"1795288536_A_0_{HOURS}_0_17", LOG, "GATE-2")
    rows = listed(site)
    assert [row["at"] for row in rows] == [1795288535, 1795288536, 1795288537]
    assert rows[1] == {
        "id": 3,
        "reader": "GATE-2",
        "at": 1795288536,
        "timed": True,
        "code": "A",
        "state": 0,
        "source": entries.SCANNER,
        "reason": HOURS,
        "log": LOG,
        "number": 17,
        "count": 0,
        "received": NOW,
    }
    lines = run(site).stdout.splitlines()[3:-1]
    assert [line.split()[2] for line in lines] == ["19:15:35", "19:15:36", "19:15:37"]


def test_an_entry_may_stand_for_several_cards_and_is_listed_with_their_number(site):
    body = "1795288536_A_0_8_0_17,1795288596_A_0_8_0_18x119,1795288597_reader_1_1_4_19x10"
    assert sent(site, body, LOG) == "ok,3"
    assert sent(site, body, LOG) == "ok,0"
    assert [(row["number"], row["count"]) for row in listed(site)] == [
        (17, 0),
        (18, 119),
        (19, 10),
    ]
    shown = run(site).stdout
    assert "unknown code, 119 times" in shown
    assert "codes are being guessed, 10 times" in shown
    assert [row["number"] for row in listed(site, "--denied")] == [17, 18]


@pytest.mark.parametrize("number", ["1x", "1x0", "1x65536", "1x-1", "1xx2", "x2", "1x2x3"])
def test_a_count_that_is_none_is_refused(site, number):
    answer = post(site, f"5_A_0_8_0_{number}", LOG)
    assert answer.status_code == 400
    assert "the count" in answer.text or "the number" in answer.text


def test_what_a_reader_reports_of_itself_is_a_warning_at_once(site, caplog):
    body = "1795288597_reader_1_1_4_19x10,1795288697_reader_0_1_4_20x14,1795288698_reader_1_0_4_21"
    sent(site, body, LOG)
    sent(site, body, LOG)
    alarms = [record for record in caplog.records if record.getMessage() == "reader alarm"]
    assert [record.kalitka_fields for record in alarms] == [
        {"reader": "GATE-1", "what": "codes are being guessed", "count": 10},
        {"reader": "GATE-1", "what": "restarted by its watchdog"},
    ]


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ([], [1, 2, 3, 4, 5, 6]),
        (["--reader", "GATE-1"], [1, 2, 3, 4, 5]),
        (["--reader", "GATE-7"], []),
        (["--code", "A"], [1, 2, 6]),
        (["--since", "2026-11-21T19:15:37"], [3, 4, 5, 6]),
        (["--since", "2026-11-21T22:15:37+03:00"], [3, 4, 5, 6]),
        (["--until", "2026-11-21 19:15:37"], [1, 2]),
        (["--since", "2026-11-21", "--until", "2026-11-22"], [1, 2, 3, 4, 5, 6]),
        (["--until", "2026-11-21"], []),
        (["--denied"], [2, 3, 6]),
        (["--limit", "2"], [5, 6]),
        (["--denied", "--code", "A", "--limit", "1"], [6]),
    ],
    ids=str,
)
def test_the_list_is_narrowed_down(site, words, numbers):
    sent(
        site,
        "1795288535_A_1_7_0_1,1795288536_A_0_8_0_2,1795288537_btn-exit_0_0_1_3,"
        "1795288538_alarm_0_0_3_4,1795288539_door-held_0_1_2_5",
        LOG,
    )
    sent(site, "1795288540_A_0", reader="GATE-2")
    assert [row["id"] for row in listed(site, *words)] == numbers


@ON_SQLITE
def test_the_list_says_what_happened_in_words(site):
    sent(
        site,
        f"1795288535_A_1_7_0_1,1795288536_A_0_{HOURS}_0_2,1795288537_btn-exit_1_0_1_3,"
        "1795288538_alarm_1_0_3_4,1795288539_door-held_0_1_2_5,1795288540_A_0_200_0_6",
        LOG,
    )
    lines = run(site).stdout.splitlines()[3:-1]
    cells = [[cell.strip() for cell in line.split("\u2502")[2:-1]] for line in lines]
    assert cells == [
        ["GATE-1", "A", "allowed", "allowed", "scanner"],
        ["GATE-1", "A", "denied", "outside its hours", "scanner"],
        ["GATE-1", "btn-exit", "allowed", "", "exit button"],
        ["GATE-1", "alarm", "on", "", "alarm"],
        ["GATE-1", "door-held", "off", "held open", "door contact"],
        ["GATE-1", "A", "denied", "reason 200", "scanner"],
    ]


def test_entries_without_a_time_are_marked(site):
    sent(site, "1795288535_A_1")
    assert "*" not in run(site).stdout
    sent(site, "0_A_1")
    shown = run(site).stdout
    assert "2026-11-21 18:59:38 *" in shown
    assert "clock was not set" in shown


@ON_SQLITE
@pytest.mark.parametrize("code", ["[bold]x[/]", "[/nothing]", "\\[x]", "x\\", ":smile:"])
def test_a_code_is_listed_as_it_is(site, code):
    sent(site, f"5_{code}_1")
    assert f" {code} " in run(site).stdout


def test_a_code_does_not_steer_the_terminal(site):
    sent(site, "5_A\u009b31m\u202eB_1".encode())
    shown = run(site).stdout
    assert "A\\x9b31m\\u202eB" in shown
    assert run(site, "--json").stdout.isascii()
    assert listed(site)[0]["code"] == "A\u009b31m\u202eB"


def test_a_code_that_is_not_utf_8_is_found(site):
    sent(site, b"5_\xffA_1,6_A_1")
    assert [row["at"] for row in listed(site, "--code", os.fsdecode(b"\xffA"))] == [5]


@ON_SQLITE
def test_a_long_code_is_listed_whole(site):
    sent(site, f"5_{'X' * 255}_1")
    assert run(site).stdout.count("X") == 255


@ON_SQLITE
@pytest.mark.parametrize(
    ("words", "status", "named"),
    [
        (["--since", "yesterday"], 2, "--since"),
        (["--until", "2026-13-01"], 2, "--until"),
        (["--limit", "0"], 2, "--limit"),
        (["--reader", "GATE 1"], 2, "'GATE 1'"),
        (["--db", "/nowhere/hub.sqlite"], 1, "--db"),
    ],
)
def test_what_is_wrong_with_the_list_is_told(site, words, status, named):
    assert named in run(site, *words, status=status).stderr


def test_an_empty_log_is_an_empty_list(site):
    assert listed(site) == []
    assert "reader" in run(site).stdout
