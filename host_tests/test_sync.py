"""The poll loop against real sockets: the same cases in CPython and in real MicroPython.

The checks are of the reader's state afterwards: the table, the minute, the reason in words.
"""

import json
import os
from pathlib import Path

import pytest

import micropython_peer
from device import sync_runner
from reader_clock import InProcessClock, ReaderClock
from scripted_server import Script, ScriptedServer, chunked, reply
from wrong_answers import WRONG

VECTORS = json.loads((Path(__file__).parent / "data" / "vectors.json").read_text())["vectors"]
SYNCS = [v for v in VECTORS if v["endpoint"].endswith("/sync") and v["status"] == 200]
FULL = b"29921460%A1,B2%\nA1_/3_480_1200_1111100\nB2_/9_1"
AFTER_FULL = {"A1": ["3_480_1200_1111100"], "B2": ["9_1"]}


class Runner:
    """A runner of `sync_runner` in one of the two runtimes."""

    def __init__(self, runtime: str, folder: Path):
        self.runtime = runtime
        self.folder = str(folder)
        self.clock = InProcessClock() if runtime == "cpython" else ReaderClock()

    def __call__(self, server: ScriptedServer, **options) -> dict:
        options = {"port": server.port, "folder": self.folder, **options}
        if self.runtime == "cpython":
            with self.clock.running():
                outcome = sync_runner.run(self.clock, **options)
            # Through JSON as well, so that both runtimes return the same types.
            return json.loads(json.dumps(outcome))
        return micropython_peer.run_script("sync_runner", options, self.clock)

    def polls(self, scripts: list[Script], polls: int | None = None, **options):
        """Poll once for each script; return (the result of each poll, the server)."""
        with ScriptedServer(scripts, pass_time=self.clock.advance) as server:
            results = self(server, polls=polls or len(scripts), **options)["polls"]
        return results, server


@pytest.fixture(params=["cpython", "micropython"])
def runner(request, tmp_path):
    return Runner(request.param, tmp_path / "table")


def good(body: bytes = FULL) -> Script:
    return Script(reply(body))


def test_a_full_sync_fills_the_table_and_stores_the_servers_minute(runner):
    [[worked, error, minute, table, _]], server = runner.polls([good()])
    assert (worked, error, minute, table) == (True, "", 29921460, AFTER_FULL)
    assert server.bodies == ["0"]


def test_the_request_carries_what_the_protocol_asks_for(runner):
    _, server = runner.polls([good()])
    head = server.requests[0][0].split("\r\n")
    assert head[0] == "POST /api/v1/token-reader/access-tokens/sync HTTP/1.1"
    fields = {line.split(": ")[0].lower(): line.split(": ")[1] for line in head[1:]}
    assert fields["x-authtoken"] == "the-secret"
    assert fields["x-authreader"] == "GATE-1"
    assert fields["content-type"] == "text/plain"
    assert fields["content-length"] == "1"
    assert "accept-encoding" not in fields


def test_every_recorded_answer_is_applied_as_the_server_meant_it(runner):
    # As answers to minute 0 the vectors replace each other, whatever the framing.
    scripts, expected = [], []
    for vector in SYNCS:
        body = vector["answer"].encode()
        for data in (reply(body), chunked(body, 5)):
            scripts.append(Script(data))
            held: dict = {}
            for line in vector["answer"].split("\n")[1:]:
                if line:
                    code, rule = line.split("_/")
                    held.setdefault(code, set()).add(rule)
            expected.append({code: sorted(held[code]) for code in held})
    # Minute 0 for each: the table is reset before every poll.
    for script, wanted in zip(scripts, expected, strict=True):
        empty = Script(reply(b"0%%"))
        # The second poll is incremental if the first answered a minute; 0 keeps it full.
        results, server = runner.polls([empty, script])
        held = {code: sorted(texts) for code, texts in results[1][3].items()}
        assert results[1][0] and held == wanted
        assert server.bodies[1] == "0"


def test_a_large_answer_out_of_order_is_asked_for_again_only_if_it_is_not_the_table(runner):
    # More than the sort buffer holds, and the last code first.
    held = {f"{'GUEST-' * 10}{n:04d}": ["9_1"] for n in range(400, 0, -1)}
    changed = {**held, "A1": ["9_0"]}

    def answer(rules):
        lines = [f"{code}_/{texts[0]}" for code, texts in rules.items()]
        return good(("29921460%%\n" + "\n".join(lines)).encode())

    same, other, everything = answer(held), answer(changed), good(b"0%%")
    results, server = runner.polls([same, everything, same, everything, other, other], 3)
    assert server.bodies == ["0", "29921460", "0", "29921460", "0", "0"]
    assert [result[3] for result in results] == [held, held, changed]
    told = [[x for x in result[4] if "full," in x or "again" in x] for result in results]
    assert told[1][-1] == "sync: full, 400 rules, 0 codes changed, minute 29921460"
    assert told[2] == [
        "sync: the answer is not the table: asked for again",
        "sync: full, 401 rules, 401 codes changed, minute 29921460",
    ]


def test_point_16_a_changed_table_out_of_order_is_fetched_once_at_a_start(runner):
    # More than the sort buffer holds, in another order each time.
    codes = [f"{'GUEST-' * 10}{n * 7919 % 400:04d}" for n in range(400)]

    def everything(minute, some):
        lines = "\n".join(f"{code}_/9_1" for code in some)
        return good(f"{minute}%%\n{lines}".encode())

    runner.polls([everything(29921460, codes)])
    change = f"29921461%{codes[7]},NEW%\nNEW_/9_1"
    after = ["NEW", *reversed(codes[:7]), *codes[8:]]
    for _ in range(3):
        scripts = [good(change.encode()), everything(29921461, after)]
        settings = {"full_sync_at_start": True}
        results, server = runner.polls(scripts, same=True, settings=settings)
        assert server.bodies[1:] == ["0"] and server.bodies[0] != "0"
        assert results[1][3] == {code: ["9_1"] for code in after}
        assert "sync: full, 400 rules, 0 codes changed, minute 29921461" in results[1][4]


def test_an_incremental_answer_deletes_then_adds_without_duplicates(runner):
    scripts = [
        good(),
        good(b"29921461%A1%\nA1_/9_0\nA1_/9_0\nB2_/1_5_6\nC3_/9_1"),
        good(b"29921462%C3,NEVER-SEEN%\n"),
    ]
    results, server = runner.polls(scripts)
    assert server.bodies == ["0", "29921460", "29921461"]
    assert results[1][3] == {"A1": ["9_0"], "B2": ["1_5_6", "9_1"], "C3": ["9_1"]}
    assert results[2][3] == {"A1": ["9_0"], "B2": ["1_5_6", "9_1"]}
    assert results[2][2] == 29921462


def test_a_full_answer_replaces_the_table_and_an_empty_one_empties_it(runner):
    scripts = [good(b"0%X1%\nX1_/9_1"), good(b"0%%"), good()]
    results, server = runner.polls(scripts)
    assert [r[3] for r in results] == [{"X1": ["9_1"]}, {}, AFTER_FULL]
    assert server.bodies == ["0", "0", "0"]


def test_13_a_full_answer_may_name_deletes_that_are_pending(runner):
    again = b"29921461%0000FF01,A1,B2,ZZ%\nA1_/3_480_1200_1111100"
    scripts = [good(), good(b"0%%\n"), good(again), good(b"0%%\n"), good(b"29921462%A1%\n")]
    results, server = runner.polls(scripts, 3)
    assert server.bodies == ["0", "29921460", "0", "29921461", "0"]
    tables = [result[3] for result in results]
    assert tables == [AFTER_FULL, {"A1": ["3_480_1200_1111100"]}, {}]


def test_an_answer_minute_of_zero_asks_for_everything_at_once(runner):
    scripts = [good(), good(b"0%A1%\n"), good(b"29921470%C3%\nC3_/9_1")]
    results, server = runner.polls(scripts, polls=2)
    assert server.bodies == ["0", "29921460", "0"]
    assert results[1][2:4] == [29921470, {"C3": ["9_1"]}]


def test_the_minute_is_the_servers_word_also_where_it_goes_back(runner):
    results, server = runner.polls([good(), good(b"5%%"), good(b"9999999999%%"), good(b"7%%")])
    assert [r[2] for r in results] == [29921460, 5, 9999999999, 7]
    assert server.bodies == ["0", "29921460", "5", "9999999999"]


def test_an_answer_cut_at_any_byte_is_never_believed(runner):
    change = b"29921461%A1,B2%\nC3_/9_1\nC3_/1_29921461_29929999"
    whole = [reply(change), chunked(change, 9)]
    # At every byte if `make test-long` asks for it.
    step = 1 if os.environ.get("KALITKA_EVERY_BYTE") else 5
    cuts = [Script(data[:n]) for data in whole for n in range(0, len(data), step)]
    # The last bytes of the chunked answer only end the trailers.
    results, _ = runner.polls([good(), *cuts, good(change)])
    for worked, error, minute, table, _ in results[1:-1]:
        assert (worked, minute, table) == (False, 29921460, AFTER_FULL)
        assert error
    assert results[-1][0]
    assert results[-1][2:4] == [29921461, {"C3": ["1_29921461_29929999", "9_1"]}]


def test_after_a_failure_the_table_is_the_same_from_flash(runner):
    results, _ = runner.polls([good(), Script(reply(b"29921461%A1%\n")[:-1])], reopen=True)
    assert results[1][:4] == [False, results[1][1], 29921460, AFTER_FULL]


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_answer_changes_nothing_and_is_told_in_words(tmp_path, what):
    # In MicroPython, with and without TLS: see test_survival.
    runner = Runner("cpython", tmp_path / "table")
    data, words = WRONG[what]
    results, _ = runner.polls([good(), Script(data), good(b"29921461%A1%\n")])
    worked, error, minute, table, lines = results[1]
    assert (worked, minute, table) == (False, 29921460, AFTER_FULL)
    assert words in error
    assert any(words in line for line in lines)
    assert results[2][:4] == [True, "", 29921461, {"B2": ["9_1"]}]


def test_a_server_that_says_nothing_is_given_up(runner):
    results, _ = runner.polls([good(), Script(b"", hang=True), good()], patience=1)
    assert results[1][:4] == [
        False,
        "no answer in 1 s while reading the answer",
        29921460,
        AFTER_FULL,
    ]
    assert results[2][0]


def test_a_server_that_is_not_there_is_told(runner):
    with ScriptedServer([good()]) as server:
        pass
    [[worked, error, *_]] = runner(server)["polls"]
    assert not worked
    assert f"ing to 127.0.0.1:{server.port}" in error


DROPPED = {
    "an unknown kind": (b"D4_/5_1_2", "unknown kind of rule", ["D4"]),
    "a mask of six digits": (b"D4_/3_1_2_111111", "week mask is not seven digits", ["D4"]),
    "a number of 30 digits": (b"D4_/1_5_" + b"9" * 30, "more than ten digits", ["D4"]),
    "a code of 300 characters": (b"D" * 300 + b"_/9_1", "code longer than 255 bytes", []),
    "an empty code": (b"_/9_1", "empty code", []),
    "a line without a separator": (b"hello", "no _/ in line", []),
    "from after to": (b"D4_/1_6_5", "from is after to", ["D4"]),
    "a rule without an end": (b"D4_/" + b"9" * 5000, "rule longer than 64 bytes", ["D4"]),
}


@pytest.mark.parametrize("what", DROPPED)
def test_a_bad_line_is_dropped_and_told_and_the_rest_applied(runner, what):
    line, words, known = DROPPED[what]
    body = b"29921461%A1%\nC3_/9_1\r\n" + line + b"\nB2_/9_0\n"
    results, _ = runner.polls([good(), good(body)])
    worked, error, minute, table, lines = results[1]
    assert (worked, error, minute) == (True, "", 29921461)
    assert table == {"B2": ["9_0", "9_1"], "C3": ["9_1"], **{code: [] for code in known}}
    assert [reported for reported in lines if "dropped 1" in reported and words in reported]


def test_the_clock_is_set_from_the_time_endpoint(runner):
    time = next(v["answer"] for v in VECTORS if v["name"] == "time v2")
    with ScriptedServer([Script(reply(time.encode())), good()]) as server:
        result = runner(server, clock_due=True)
    assert (result["set_to"], result["zone"]) == (1795287578, "EET-2EEST,M3.5.0/3,M10.4.0/4")
    assert server.requests[0][0].startswith("GET /api/v2/token-reader/time HTTP/1.1")
    assert server.bodies[1] == "0"


@pytest.mark.parametrize(("hours", "asked"), [(0, "29921460"), (1, "29921470")])
def test_a_minute_without_changes_is_written_down_once_an_hour(runner, hours, asked):
    answers = [good(), good(b"29921470%%\n"), good(b"29921480%%\n")]
    _, server = runner.polls(answers, reopen=True, hours=hours)
    assert server.bodies == ["0", "29921460", asked]


@pytest.mark.parametrize(
    "body", [b"<html>", b"5,6", b"1,MSK-3,", b"1,MSK-3,x", b"1,MSK-3,99999999999"]
)
def test_a_wrong_time_is_told_and_the_sync_goes_on(runner, body):
    with ScriptedServer([Script(reply(body)), good()]) as server:
        result = runner(server, clock_due=True)
    assert result["set_to"] is None
    [[worked, _, _, table, lines]] = result["polls"]
    assert worked
    assert table == AFTER_FULL
    assert any(
        line.startswith("clock: not set by the server: not an answer of the time")
        for line in lines
    )


def test_no_message_names_the_secret(runner):
    scripts = [Script(reply(b"no", "403 Forbidden")), Script(b""), good()]
    results, _ = runner.polls(scripts)
    assert "the-secret" not in json.dumps(results)
