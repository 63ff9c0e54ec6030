"""The access log reaches the server through every failure on the way, over real sockets and TLS.

The firmware in real MicroPython uploads to servers with all the failures of servers, proxies and
networks. The server's own record of requests says which entries arrived. In each case: every entry
arrives at least once, first arrivals are in order, an entry with a good answer is not sent again,
and there are exactly as many duplicates as entries in batches that arrived whole and got no good
answer.
"""

import math
import re
import resource
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import micropython_peer
from kalitka.access import decision
from kalitka.journal import entries
from kalitka_hub.reader_api import access_log
from scripted_server import Script, chunked, reply
from world import DESCRIPTORS
from wrong_answers import WRONG, framed

OK = reply(b"ok,3")
OLDER = reply(b"ok")
CHUNKED = chunked(b"ok,3", 2)
HUB = reply(b"ok,3", headers=("X-Kalitka: 1",))
POLL = reply(b"29923590%%", headers=("X-Kalitka: 1",))
GOOD = (OK, OLDER, CHUNKED, HUB)
BODY_MAX = 4096

# Answers that are wrong for the sync endpoint only, and refusals of a batch: see REFUSED.
_NOT_HERE = (
    "a wrong minute",
    "a minute of 30 digits",
    "a negative minute",
    "400",
    "412",
    "413",
)
WRONG_UPLOADS = {
    **{what: WRONG[what] for what in WRONG if what not in _NOT_HERE},
    "a wrong body": (reply(b"29923590%%"), "not an answer of the access-logs endpoint: 2992"),
    "an ok that is cut": (reply(b"o"), "not an answer of the access-logs endpoint: o"),
    "an ok without its number": (reply(b"ok,"), "not an answer of the access-logs endpoint: ok,"),
    "an ok with a word": (reply(b"ok,all"), "not an answer"),
    "an ok with a negative number": (reply(b"ok,-1"), "not an answer"),
    "an ok with two numbers": (reply(b"ok,1,2"), "not an answer"),
    "an ok with a blank": (reply(b"ok 3"), "not an answer"),
    "an ok in capitals": (reply(b"OK,3"), "not an answer"),
    "okay": (reply(b"okay"), "not an answer"),
    "a page that begins with ok": (reply(b"ok<html>"), "not an answer"),
    "an ok that is shorter than it said": (
        framed("Content-Length: 4", body=b"ok"),
        "ended in the middle of the body",
    ),
    "an ok without a length": (framed(body=b"ok,3"), "announced no length"),
    "an ok without its last chunk": (
        framed("Transfer-Encoding: chunked", body=b"4\r\nok,3\r\n"),
        "ended in the middle of a line",
    ),
    "an ok in gzip": (reply(b"ok,3", headers=("Content-Encoding: gzip",)), "compressed"),
    "an ok that was only accepted": (reply(b"ok,3", "202 Accepted"), "answered 202 (ok,3)"),
    "an ok of a partial content": (reply(b"ok,3", "206 Partial Content"), "answered 206"),
    "501": (reply(b"", "501 Not Implemented"), "answered 501"),
}
# The words for these answers differ from those of a sync.
for what in ("a portal's page with 200", "JSON with 200", "an empty body"):
    WRONG_UPLOADS[what] = (WRONG[what][0], "not an answer of the access-logs endpoint")

counted = {"kinds": 0, "entries": 0, "duplicates": 0}


@pytest.fixture(scope="module", autouse=True)
def count():
    yield
    print(
        f"\n# uploads: {counted['kinds']} kinds of misbehaviour, {counted['entries']} entries; "
        f"{counted['duplicates']} came again, each of them without a good answer before"
    )


class Story:
    """The steps of a reader, and the entries that it logs on the way.

    world: the servers, and a folder for the log. scripts: the server's, one for each upload.
    outcome: the printed result of `device/upload_runner.py`.
    """

    def __init__(self, world):
        self.scripts = []
        self.outcome = {}
        self.truth = []  # (source, state, reason, code) of each entry
        self.world = world
        self._steps = []

    def do(self, *step):
        """Add a step of `device/upload_runner.py`."""
        self._steps.append(step)

    def append(self, count=1):
        """Log `count` passes, each with a code of its own."""
        for _ in range(count):
            self._steps.append(("append", *self._entry(b"%08X" % (len(self.truth) + 1))))

    def append_entry(self, code, source=entries.SCANNER, state=1, reason=decision.ALLOWED):
        """Log an entry."""
        self._steps.append(("append", *self._entry(code, source, state, reason)))

    def _entry(self, code, source=entries.SCANNER, state=1, reason=decision.ALLOWED):
        self.truth.append((source, state, reason, code))
        return source, state, reason, code.hex()

    def upload(self, script, meanwhile=0):
        """Upload once, answered by the script. meanwhile: passes to log during the upload."""
        self.scripts.append(script)
        passes = [self._entry(b"%08X" % (len(self.truth) + 1)) for _ in range(meanwhile)]
        self._steps.append(("send", *passes))

    def run(self, url):
        """Let the reader do all steps; the result is in `outcome` afterwards."""
        options = {
            "folder": str(self.world._folder / "journal"),
            "url": url,
            "ca": str(self.world._ca),
            "steps": self._steps,
        }
        self.outcome = micropython_peer.run_script(
            "upload_runner", options, self.world.clock, preexec_fn=_few_descriptors
        )
        assert not self.outcome["damaged"]
        counted["entries"] += len(self.truth)

    def upload_all(self, last):
        """Run all steps, then upload until nothing is left, answered by `last`.

        Return the batches: (head, body, whether a good answer was sent whole) of each.
        """
        self.scripts.append(last)
        self._steps.append(("send_all", 700))
        with self.world.server(self.scripts) as server:
            self.run(self.world.url(server))
        return _batches(server, self.scripts)

    def texts(self):
        """Return the text of each entry in the form for a plain server."""
        told = zip(self.outcome["noted"], self.truth, strict=True)
        return [f"{at}_{code.decode()}_{state}" for at, (_, state, _, code) in told]


def _few_descriptors():
    # As on a chip: see world.World.
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


def _batches(server, scripts):
    requests = iter(server.requests)
    found = []
    for number, carried in enumerate(server.carried):
        script = scripts[min(number, len(scripts) - 1)]
        answers = script.answers
        left = math.inf if script.after is None else script.after
        for turn in range(carried):
            answer = answers[min(turn, len(answers) - 1)]
            left -= len(answer)
            good = answer in GOOD and left >= 0 and (turn < len(answers) or script.repeat)
            head, body = next(requests)
            if "/access-logs" in head:
                found.append((head, body.decode("latin-1"), good))
    return found


def codes_of(bodies):
    """Return the codes of the entries in these bodies, in either form."""
    return [re.split("[_,]", text)[1] for text in bodies]


def arrived(story, batches, expected, key=list):
    """Assert that these entries (texts) arrived, as this module's docstring says."""
    first, done = [], set()
    duplicates = unanswered = 0
    for _, body, good in batches:
        assert len(body) <= BODY_MAX
        texts = key(body.split(","))
        assert not done.intersection(texts), "sent again after a good answer"
        fresh = [text for text in texts if text not in first]
        duplicates += len(texts) - len(fresh)
        first += fresh
        if good:
            done.update(texts)
        else:
            unanswered += len(texts)
    assert first == expected
    assert done == set(expected)
    assert duplicates == unanswered
    assert story.outcome["mark"] == story.outcome["last"]
    counted["duplicates"] += duplicates


@pytest.fixture
def story(world):
    """A reader whose clock is set, before its first entry."""
    return _story(world)


@pytest.fixture
def plain_story(plain_world):
    """The same over HTTP only, for tests in which TLS makes no difference."""
    return _story(plain_world)


def _story(world):
    story = Story(world)
    story.do("set_clock")
    return story


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("answer", [OK, OLDER, CHUNKED], ids=["ok,N", "ok", "chunks"])
def test_a_connection_that_ends_at_any_byte(world, story, answer, reset):
    # A handshake takes time: over TLS only every seventh byte is tried.
    for n in range(0, len(answer), 7 if world.secure else 1):
        story.append()
        story.upload(Script(answer, after=n, reset=reset))
        counted["kinds"] += 1
        if n % 10 == 9:
            story.append(2)
            story.upload(Script(answer))
    batches = story.upload_all(Script(answer))
    arrived(story, batches, story.texts())
    assert all(error for due, error, _ in story.outcome["uploads"][:5])


def test_a_network_that_is_gone_in_the_middle(story):
    for n in range(0, len(OK), 20):
        story.append()
        story.upload(Script(OK, after=n, hang=True))
        counted["kinds"] += 1
    batches = story.upload_all(Script(OK))
    arrived(story, batches, story.texts())
    assert "no answer in 40 s while" in story.outcome["uploads"][0][1]


@pytest.mark.parametrize(
    "silence",
    [Script(accept_only=True), Script(never_read=True), Script(hang=True), Script(reset=True)],
    ids=["nothing is read", "no request is read", "no answer", "reset at once"],
)
def test_a_server_that_never_answers(story, silence):
    story.append(3)
    story.upload(silence)
    story.append(1)
    story.upload(silence)
    counted["kinds"] += 1
    arrived(story, story.upload_all(Script(OK)), story.texts())
    assert story.outcome["uploads"][0][1]


def test_a_server_that_trickles_for_ever_is_given_up(plain_story):
    story = plain_story
    # Not a good answer, because it does not end within two minutes.
    endless = reply(b"ok,3", headers=("X: " + "y" * 200,))
    story.append(3)
    story.upload(Script(endless, piece=1, pause=1), meanwhile=5)
    counted["kinds"] += 1
    arrived(story, story.upload_all(Script(OK)), story.texts())
    assert story.outcome["uploads"][0][1] == "the answer trickled for too long"


def test_a_server_that_only_is_slow_is_waited_for(story):
    story.append(3)
    story.upload(Script(OK, piece=4, pause=0.4, delay=10), meanwhile=20)
    batches = story.upload_all(Script(OK))
    arrived(story, batches, story.texts())
    assert [len(body.split(",")) for _, body, _ in batches] == [3, 20]


def test_wrong_answers_lose_nothing_and_are_told_in_words(world, story):
    # TLS makes no difference to the answers: a few of them are enough.
    kinds = list(WRONG_UPLOADS.items())[:: 5 if world.secure else 1]
    for _, (data, _) in kinds:
        story.append(2)
        story.upload(Script(data))
        story.append(1)
        story.upload(Script(OK))
        counted["kinds"] += 1
    arrived(story, story.upload_all(Script(OK)), story.texts())
    told = iter(story.outcome["uploads"])
    for what, (_, words) in kinds:
        _, error, lines = next(told)
        assert words in error, what
        assert lines == [f"log: not sent: {error}"], what
        assert next(told) == [True, "", ["log: the server takes entries again"]]


def test_the_same_fault_again_is_told_once(plain_story):
    story = plain_story
    story.append(2)
    for _ in range(5):
        story.upload(Script(reply(b"", "502 Bad Gateway")))
    arrived(story, story.upload_all(Script(OK)), story.texts())
    told = [lines for _, _, lines in story.outcome["uploads"]]
    assert told[0] == ["log: not sent: the server answered 502"]
    assert told[1:6] == [[], [], [], [], ["log: the server takes entries again"]]


@pytest.mark.parametrize("answer", [b"ok", b"ok,0", b"ok,1", b"ok,999999999", b"ok,2\n"])
def test_however_many_the_server_says_that_it_stored_none_is_sent_again(plain_story, answer):
    story = plain_story
    story.append(3)
    story.upload(Script(reply(answer)))
    story.append(2)
    with story.world.server([Script(reply(answer)), Script(OK)]) as server:
        story.do("send_all", 9)
        story.run(story.world.url(server))
    texts = story.texts()
    assert server.bodies == [",".join(texts[:3]), ",".join(texts[3:])]
    assert story.outcome["mark"] == 5


# Connections that are kept


def test_a_kept_connection_that_the_server_closed_is_no_fault(story):
    kept = Script(reply(b"ok,3", headers=("Keep-Alive: timeout=900",)))
    for _ in range(4):
        story.append(2)
        story.upload(kept)
    with story.world.server([kept]) as server:
        story.run(story.world.url(server))
    assert server.carried == [1, 1, 1, 1]
    assert [error for _, error, _ in story.outcome["uploads"]] == [""] * 4
    assert ",".join(server.bodies) == ",".join(story.texts())
    counted["kinds"] += 1


def test_a_kept_connection_that_ends_after_it_took_a_batch_repeats_that_batch_alone(story):
    kept = reply(b"ok,3", headers=("Keep-Alive: timeout=900",))
    for _ in range(4):
        story.append(2)
        story.upload(Script(kept, idle=6))
    with story.world.server([Script(kept, idle=6)]) as server:
        story.run(story.world.url(server))
    texts = story.texts()
    # The first request of a connection is answered, the next one is received but not answered.
    pairs = [",".join(texts[n : n + 2]) for n in range(0, 8, 2)]
    assert server.bodies == [pairs[0], pairs[1], pairs[1], pairs[2], pairs[2], pairs[3], pairs[3]]
    counted["kinds"] += 1
    counted["duplicates"] += 6


def test_a_connection_that_gave_no_answer_in_time_is_not_used_again(plain_story):
    # A late answer over the connection would be taken for the answer to another request.
    story = plain_story
    kept = reply(b"ok,3", headers=("Keep-Alive: timeout=900",))
    for _ in range(3):
        story.append(2)
        story.do("send")
    late = Script(kept, delay=54, repeat=True)  # the reader waits for 40 s
    refusing = Script(reply(b"", "503 Service Unavailable"))
    with story.world.server([Script(kept, idle=6), late, refusing]) as server:
        story.run(story.world.url(server))
    assert server.carried == [2, 1, 1]
    assert ["no answer" in error for _, error, _ in story.outcome["uploads"]] == [
        False,
        True,
        False,
    ]
    assert story.outcome["mark"] == 2
    counted["kinds"] += 1


def test_point_12_a_slow_server_gets_each_passage_once(story):
    kept = reply(b"ok", headers=("Keep-Alive: timeout=900",))
    for _ in range(3):
        story.append(2)
        story.do("send")
    with story.world.server([Script(kept, delay=35, repeat=True)]) as server:
        story.run(story.world.url(server))
    assert [error for _, error, _ in story.outcome["uploads"]] == ["", "", ""]
    assert len(server.requests) == 3 and server.carried == [3]
    counted["kinds"] += 1


def test_point_12_the_patience_with_a_server_that_is_slower_still_grows(story):
    story.append(2)
    for _ in range(3):
        story.do("send")
    with story.world.server([Script(hang=True), Script(OK, delay=70)]) as server:
        story.run(story.world.url(server))
    errors = [error for _, error, _ in story.outcome["uploads"]]
    assert "no answer in 40 s" in errors[0] and errors[1:] == ["", ""]
    assert len(server.requests) == 2  # the third time there was nothing left
    counted["kinds"] += 1


def test_a_kept_connection_carries_many_batches(story):
    kept = reply(b"ok", headers=("Keep-Alive: timeout=900",))
    for _ in range(5):
        story.append(2)
        story.do("send")
    with story.world.server([Script(kept, repeat=True)]) as server:
        story.run(story.world.url(server))
    assert server.carried == [5]
    assert ",".join(server.bodies) == ",".join(story.texts())


# Many entries


def test_many_entries_go_in_batches_and_each_bad_answer_repeats_its_batch_only(story):
    story.append(700)
    for n in range(12):
        story.upload(Script(OK, after=len(OK) - n % 2 - (n % 3 == 0), reset=n % 2 > 0))
        story.upload(Script(OK))
    batches = story.upload_all(Script(OK))
    arrived(story, batches, story.texts())
    assert len({body for _, body, _ in batches}) == 4


def test_a_restart_at_any_time_repeats_at_most_what_was_not_answered(story):
    for n in range(0, len(OK), 3):
        story.append(2)
        story.upload(Script(OK, after=n, reset=n % 2 > 0))
        if n % 2:
            story.do("restart", 60)
            story.do("set_clock")
        if n % 5 == 0:
            story.upload(Script(OK))
    arrived(story, story.upload_all(Script(OK)), story.texts())


# Refusals


class Judging:
    """A server that answers each body with the status `judge(texts)` of its entries.

    requests: [(texts, status)] so far.
    """

    def __init__(self, judge):
        requests = self.requests = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1024  # an answer is sent in one piece

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if "sync" in self.path:
                    self._answer(200, b"29923590%%")
                    return
                texts = body.decode().split(",")
                status = judge(texts)
                requests.append((texts, status))
                self._answer(status, b"ok,1" if status == 200 else b"entry 1 is wrong")

            def _answer(self, status, answer):
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def failing_at_first(count, status):
    """Return a judge that gives the first `count` bodies this status. `bodies`: all of them."""

    def judge(texts):
        judge.bodies.append(texts)
        return status if len(judge.bodies) <= count else 200

    judge.bodies = []
    return judge


def judged(story, judge, most=300, polls=False):
    """Upload everything to a judge; return the accepted entries in order, and the console's lines.

    polls: poll, successfully, between the uploads.
    """
    story.do("send_all", most, polls)
    with Judging(judge) as server:
        story.run(server.url)
    counted["kinds"] += 1
    taken = [text for texts, status in server.requests if status == 200 for text in texts]
    assert len(taken) == len(set(taken)), "sent again after a good answer"
    return taken, [line for _, _, lines in story.outcome["uploads"] for line in lines]


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        ([1], 400),
        ([8], 412),
        ([29], 413),
        ([14, 15], 422),
        ([1, 2, 3, 4, 5], 400),
        ([3, 9, 10, 28], 400),
        (range(5, 20), 400),
    ],
    ids=lambda bad: str(bad) if isinstance(bad, int) else f"{len(bad)} from {bad[0]} on",
)
def test_an_entry_that_is_refused_blocks_no_other(plain_story, bad, status):
    story = plain_story
    story.append(30)
    codes = [f"{n:08X}" for n in bad]
    taken, lines = judged(
        story, lambda texts: status if set(codes_of(texts)) & set(codes) else 200
    )
    assert taken == [text for text in story.texts() if codes_of([text])[0] not in codes]
    words = f"the server answered {status} (entry 1 is wrong)"
    refused = [text for text in story.texts() if codes_of([text])[0] in codes]
    told = [line for line in lines if "refuses" in line]
    assert told == [f"log: the server refuses {text}: {words}" for text in refused]
    assert sum(int(line.split()[1]) for line in lines if "passed over" in line) == len(bad)
    assert story.outcome["lost"] == len(bad)
    assert story.outcome["mark"] == 30


def test_the_last_entry_is_given_up_only_when_a_later_one_is_taken(plain_story):
    story = plain_story
    story.append(3)

    def judge(texts):
        return 400 if "00000003" in codes_of(texts) else 200

    story.do("send_all", 50)
    story.do("restart", 60)
    story.do("set_clock")
    story.do("send_all", 50)
    with Judging(judge) as server:
        story.run(server.url)
        assert story.outcome["mark"] == 2
        # The server may have been at fault: after a restart the entry is sent again.
        assert [texts for texts, status in server.requests if status == 400][-1] == [
            story.texts()[2]
        ]
    later = _story(story.world)
    later.append_entry(b"LATER")
    taken, lines = judged(later, judge)
    assert codes_of(taken) == ["LATER"]
    assert "log: 1 entries passed over, refused" in lines
    assert later.outcome["mark"] == 4


def test_more_refused_in_a_row_than_can_be_told_from_a_server_in_trouble_block_for_hours_only(
    plain_story,
):
    story = plain_story
    story.append(60)
    codes = [f"{n:08X}" for n in range(11, 51)]
    taken, lines = judged(story, lambda texts: 400 if set(codes_of(texts)) & set(codes) else 200)
    assert codes_of(taken) == [f"{n:08X}" for n in (*range(1, 11), *range(51, 61))]
    # After 16 refusals and after 32; 64 would be too many.
    assert lines.count("log: the server refuses every entry; again in an hour") == 2
    assert story.outcome["lost"] == 40


def test_a_server_that_refuses_everything_loses_nothing(plain_story):
    story = plain_story
    story.append(50)
    alone = []

    def judge(texts):
        # The server recovers when a third round begins.
        if texts == alone or not alone:
            judge.rounds += len(texts) == 1
            if len(texts) == 1:
                alone[:] = texts
        return 200 if judge.rounds > 2 else 400

    judge.rounds = 0
    taken, lines = judged(story, judge)
    assert taken == story.texts()
    assert lines.count("log: the server refuses every entry; again in an hour") == 2
    assert not [line for line in lines if "passed over" in line]
    assert story.outcome["mark"] == 50


@pytest.mark.parametrize("refusals", [5, 12, 19])
def test_a_server_that_recovers_while_its_refusals_are_counted_loses_nothing(
    plain_story, refusals
):
    story = plain_story
    story.append(30)
    taken, lines = judged(story, failing_at_first(refusals, 400))
    texts = story.texts()
    refused = refusals - 4  # 30, 15, 7 and 3 entries were refused before
    # The refused entries are sent again, after the first accepted one.
    assert taken == texts[refused : refused + 1] + texts[:refused] + texts[refused + 1 :]
    assert len([line for line in lines if "refuses" in line]) == refused
    assert not [line for line in lines if "passed over" in line]
    assert (story.outcome["lost"], story.outcome["mark"]) == (0, 30)


def test_of_those_that_are_asked_for_again_only_what_is_refused_again_is_passed_over(plain_story):
    story = plain_story
    story.append(30)
    calls = []

    def judge(texts):
        calls.append(texts)
        bad = set(codes_of(texts)) & {"00000003", "00000006", "00000009"}
        return 400 if len(calls) <= 12 or bad else 200

    taken, lines = judged(story, judge)
    texts = story.texts()
    assert sorted(taken) == [text for n, text in enumerate(texts, 1) if n not in (3, 6, 9)]
    assert "log: 3 entries passed over, refused" in lines
    assert (story.outcome["lost"], story.outcome["mark"]) == (3, 30)


def test_a_power_cut_while_they_are_asked_for_again_repeats_one_entry(plain_story):
    story = plain_story
    story.append(20)
    for _ in range(5 + 6):  # of 20, 10, 5, 2, and then of seven entries alone; one is taken
        story.do("send")
    story.do("send")
    story.do("send")
    story.do("restart", 60)
    story.do("set_clock")
    story.do("send_all", 60)
    with Judging(failing_at_first(10, 400)) as server:
        story.run(server.url)
    taken = [text for texts, status in server.requests if status == 200 for text in texts]
    texts = story.texts()
    assert sorted(taken) == sorted([*texts, texts[6]])
    assert taken[:3] == [texts[6], *texts[:2]]
    assert story.outcome["mark"] == 20


@pytest.mark.parametrize("status", [401, 403, 404, 405, 407, 408, 425, 429, 500, 502, 503, 599])
def test_what_is_not_said_of_the_entries_passes_over_none(plain_story, status):
    story = plain_story
    story.append(20)
    judge = failing_at_first(20, status)
    taken, lines = judged(story, judge)
    assert taken == story.texts()
    assert [len(texts) for texts in judge.bodies] == [20] * 21
    assert len(lines) == 2 and f"answered {status}" in lines[0]
    assert story.outcome["lost"] == 0
    counted["duplicates"] += 400


@pytest.mark.parametrize("bad", [[1], [17], [29], [11, 12, 13]], ids=str)
def test_an_entry_that_is_answered_with_500_blocks_no_other_for_ever(plain_story, bad):
    # The protocol: "a status of 500 can mean our request".
    story = plain_story
    story.append(30)
    codes = [f"{n:08X}" for n in bad]
    taken, _ = judged(
        story, lambda texts: 500 if set(codes_of(texts)) & set(codes) else 200, polls=True
    )
    assert taken == [text for text in story.texts() if codes_of([text])[0] not in codes]
    assert (story.outcome["lost"], story.outcome["mark"]) == (len(bad), 30)


@pytest.mark.parametrize("failures", [7, 60, 200])
def test_a_server_that_answers_everything_with_500_for_a_while_loses_nothing(
    plain_story, failures
):
    story = plain_story
    story.append(30)
    taken, lines = judged(story, failing_at_first(failures, 500), polls=True)
    assert sorted(taken) == story.texts()
    assert not [line for line in lines if "passed over" in line]
    assert (story.outcome["lost"], story.outcome["mark"]) == (0, 30)


# The form of the entries

_KINDS = (
    (b"04A1B2C3", entries.SCANNER, 1, decision.ALLOWED, "04A1B2C3", "04A1B2C3"),
    (b"FFFF", entries.SCANNER, 0, decision.UNKNOWN_CODE, "FFFF", "FFFF"),
    (b"", entries.EXIT_BUTTON, 1, 0, "btn-exit", "btn-exit"),
    (b"", entries.DOOR, 1, entries.FORCED, "alarm", "door-forced"),
    (b"", entries.DOOR, 0, entries.FORCED, "alarm", "door-forced"),
    (b"", entries.DOOR, 1, entries.HELD, "alarm", "door-held"),
    (b"", entries.DOOR, 0, entries.HELD, "alarm", "door-held"),
    (b"", entries.ALARM, 1, 0, "alarm", "alarm"),
    (b"", entries.ALARM, 0, 0, "alarm", "alarm"),
)


def test_any_server_is_told_what_the_protocol_has(story):
    for code, source, state, reason, _, _ in _KINDS:
        story.append_entry(code, source, state, reason)
    (head, body, _), *more = story.upload_all(Script(OK))
    assert not more and "X-Kalitka" not in head
    told = zip(story.outcome["noted"], _KINDS, strict=True)
    assert body.split(",") == [f"{at}_{kind[4]}_{kind[2]}" for at, kind in told]


def test_our_hub_is_told_everything_once_it_has_said_who_it_is(world):
    story = Story(world)
    story.do("poll")
    story.scripts.append(Script(POLL))
    for number, (code, source, state, reason, _, _) in enumerate(_KINDS):
        if number == 4:
            # Setting the clock is a record of its own, so its number belongs to no entry.
            story.do("set_clock")
        story.append_entry(code, source, state, reason)
    (head, body, _), *more = story.upload_all(Script(HUB))
    assert not more and f"X-Kalitka-Log: {story.outcome['id']}\r" in head
    assert re.fullmatch("[0-9a-f]{8}", story.outcome["id"])
    told = zip(story.outcome["noted"], _KINDS, [1, 2, 3, 4, 6, 7, 8, 9, 10], strict=True)
    assert body.split(",") == [
        f"{at}_{kind[5]}_{kind[2]}_{kind[3]}_{kind[1]}_{number}" for at, kind, number in told
    ]
    assert len(access_log.parse(body.encode(), story.outcome["id"]).entries) == 9


@pytest.mark.parametrize(
    ("answer", "knows"),
    [
        (framed("X-Kalitka: 1", "Content-Length: 99", body=b"29923590%FF%"), True),
        (reply(b"no", "500 Internal Server Error", ("X-Kalitka: 1",)), True),
        (framed("Content-Length: 99", body=b"29923590%FF%"), False),
    ],
    ids=["cut", "refused", "cut, of a plain server"],
)
def test_who_the_server_is_shows_in_a_sync_that_fails(plain_story, answer, knows):
    # A reader whose syncs always fail uploads its log all the same.
    story = plain_story
    story.do("poll", True)
    story.scripts.append(Script(answer))
    story.append(2)
    with story.world.server([*story.scripts, Script(HUB if knows else OK)]) as server:
        story.do("send")
        story.run(story.world.url(server))
    assert story.outcome["from_hub"] == [None, knows]
    assert ("X-Kalitka-Log" in server.requests[-1][0]) == knows


def test_the_form_follows_the_server(plain_story):
    story = plain_story
    for answer in (OK, HUB, HUB, OK, OK, HUB, reply(b"", "502 Bad", ("X-Kalitka: 1",)), HUB):
        story.append(2)
        story.upload(Script(answer))
    batches = story.upload_all(Script(HUB))
    arrived(story, batches, [f"{n:08X}" for n in range(1, 17)], codes_of)
    logged = ["X-Kalitka-Log" in head for head, _, _ in batches]
    assert logged == [False, False, True, True, False, False, True, True]


def test_a_hub_that_was_met_is_told_everything_also_after_an_answer_that_was_cut(story):
    # A batch that the hub stored must not be sent in the other form: it would be stored twice.
    for n in range(0, len(HUB), 3):
        story.append()
        story.upload(Script(HUB))
        story.append()
        story.upload(Script(HUB, after=n, reset=n % 2 > 0))
    batches = story.upload_all(Script(HUB))
    arrived(story, batches, [f"{n + 1:08X}" for n in range(len(story.truth))], codes_of)
    logged = ["X-Kalitka-Log" in head for head, _, _ in batches]
    assert logged == [False] + [True] * (len(batches) - 1)


@pytest.mark.parametrize(
    "between",
    [reply(b"<html>", "502 Bad Gateway"), reply(b"<html>Log in"), framed(body=b"ok,2"), b""],
    ids=["502 of a proxy", "a portal's page", "no length", "nothing"],
)
def test_a_hub_that_was_met_is_told_everything_also_after_somebody_in_between_spoke(
    plain_story, between
):
    story = plain_story
    story.do("poll")
    story.scripts.append(Script(POLL))
    story.append(2)
    story.upload(Script(between))
    batches = story.upload_all(Script(HUB))
    assert ["X-Kalitka-Log" in head for head, _, _ in batches] == [True, True]


# Times


def test_entries_of_before_the_clock_was_set_have_their_time(plain_world):
    story = Story(plain_world)
    for seconds in (5, 3, 12, 0):
        story.do("move", seconds)
        story.append()
    story.do("set_clock")
    story.append(2)
    arrived(story, story.upload_all(Script(OK)), story.texts())


def test_they_have_it_after_a_restart_too(plain_world):
    story = Story(plain_world)
    for seconds in (60, 7, 3600):
        story.do("move", 4)
        story.append(2)
        story.do("move", 9)
        story.append()
        story.do("set_clock")
        story.do("move", 2)
        story.append()
        story.do("restart", seconds)
    story.do("move", 3)
    story.append(2)
    story.do("move", 30)
    story.do("set_clock")
    arrived(story, story.upload_all(Script(OK)), story.texts())


def test_where_it_never_became_known_the_server_is_told_0(plain_world):
    story = Story(plain_world)
    known = []
    for number, is_set in enumerate((True, False, True, False, False, True, False)):
        if number:
            story.do("restart", 60)
        story.do("move", 5)
        story.append(2)
        if is_set:
            story.do("set_clock")
        known += [is_set] * 2
    story.do("send")
    # Entries of this start wait, because they may still get a time.
    batches = story.upload_all(Script(OK))
    texts = story.texts()
    expected = [
        text if is_set else "0" + text[text.index("_") :]
        for text, is_set in zip(texts, known, strict=True)
    ]
    arrived(story, batches, expected)
    # A body has entries of at most one session without a time, so that their session is known.
    assert [len(body.split(",")) for _, body, _ in batches][-1] == 2


def test_entries_wait_ten_minutes_for_the_clock_and_no_longer(plain_world):
    story = Story(plain_world)
    story.append(2)
    story.do("send_all", 700)
    with plain_world.server([Script(OK)]) as server:
        story.run(plain_world.url(server))
    assert server.bodies == ["0_00000001_1,0_00000002_1"]
    assert 595 < len(story.outcome["uploads"]) < 605
    for wait in (1, 300, 590):
        story = Story(plain_world)
        story.append(2)
        for _ in range(wait):
            story.do("send")
        story.do("set_clock")
        arrived(story, story.upload_all(Script(OK)), story.texts())


# Codes

ODD = (
    b"A,B",
    b"5_FF_1,6_AA_1",
    b"50%",
    b"%41",
    b"A_/B",
    b"_/",
    b"line\nend",
    b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    b"\0",
    b"\xff\xfe\x80",
    "\u00fc\u20ac\U0001f512".encode(),
    b"a b",
    b" ",
    b"\t",
    b"_",
    b"a_b",
    b"1_2_3_4_5",
    b"",
    b"x" * 255,
    b"y" * 300,
    bytes(range(255)),
    b"," * 255,
)


@pytest.mark.parametrize("from_hub", [False, True], ids=["any server", "our hub"])
def test_a_code_that_is_none_harms_nothing(plain_world, from_hub):
    story = _story(plain_world)
    if from_hub:
        story.do("poll")
        story.scripts.append(Script(POLL))
    for code in ODD:
        story.append()
        story.append_entry(code, state=0, reason=decision.UNKNOWN_CODE)
    story.append()
    batches = story.upload_all(Script(HUB if from_hub else OK))
    parsed = [
        entry
        for _, body, _ in batches
        for entry in access_log.parse(
            body.encode("latin-1"), story.outcome["id"] if from_hub else None
        ).entries
    ]
    assert [entry.seconds for entry in parsed] == story.outcome["noted"]
    passes = [f"{2 * n + 1:08X}" for n in range(len(ODD) + 1)]
    assert [(entry.code, entry.state) for entry in parsed[::2]] == [(code, 1) for code in passes]
    assert [entry.state for entry in parsed[1::2]] == [0] * len(ODD)
    if from_hub:
        assert [entry.number for entry in parsed] == list(range(1, len(parsed) + 1))
        # In the hub's form such codes arrive as scanned.
        assert {"1_2_3_4_5", "a b", "\u00fc\u20ac\U0001f512"} <= {entry.code for entry in parsed}
    else:
        assert all(re.fullmatch("[!-~]+", body) for _, body, _ in batches)
        assert all(
            len(piece.split("_")) == 3 for _, body, _ in batches for piece in body.split(",")
        )
