"""The upload of the access log, in virtual time: batches, pauses, refusals, restarts.

The log is a real one; the server is a fake client that takes a body or raises.
"""

import asyncio
import gc

from device.chip_time import BEGAN
from device.failing_flash import FailingFlash
from device.fake_time import Watch, now, run
from device.scratch import MICROPYTHON, Folder, read, write
from device.seconds import every_second
from kalitka.access import decision
from kalitka.journal.access_log import AccessLog
from kalitka.journal.entries import ALARM, DOOR, EXIT_BUTTON, FORCED, SCANNER
from kalitka.sync import uploader
from kalitka.sync.client import StatusError
from kalitka.sync.net import NetError, NoReply
from kalitka.sync.uploader import Uploader

SIZE = 65536
START = 1795415400
HOUR = 3600
_BODY_MAX = 4096
_PAUSE = 5  # the setting log_upload_seconds, unless a test gives another


class Clock:
    """A clock that runs in virtual time, set or not."""

    def __init__(self, is_set):
        self._watch = Watch()
        self.is_set = is_set

    def uptime(self):
        return BEGAN + self._watch.seconds()

    def seconds(self):
        return START - BEGAN + self.uptime()


class Server:
    """A client and server in one: takes bodies.

    trouble: raised instead. refuses: a predicate of entries that the server refuses. at_hub:
    whether it is our hub. takes: seconds that an answer takes. before: called when a request has
    begun. answered: whether the server has answered a poll, as in Client.
    """

    def __init__(self, from_hub):
        self.from_hub = from_hub
        self.answered = False
        self.trouble = None
        self.takes = 0
        self.times = []  # of all requests
        self.bodies = []  # taken
        self.said = []  # the extra headers

    def refuses(self, entry):
        return False

    def before(self):
        pass

    async def upload(self, size, pieces, more, patience):
        self.times.append(now())
        self.before()
        body = b"".join(pieces())
        if len(body) != size:
            raise NetError("the body was not as long as announced")
        assert 0 < size <= _BODY_MAX
        await asyncio.sleep(self.takes)
        if self.trouble:
            raise self.trouble
        if any(self.refuses(entry) for entry in body.split(b",")):
            raise StatusError(400, "the server answered 400 (an entry is wrong)")
        self.bodies.append(body)
        self.said.append(dict(more))

    def taken(self):
        """Return all entries (bytes) that were taken, in their order."""
        return [entry for body in self.bodies for entry in body.split(b",")]

    def cards(self):
        """Return the numbers of the cards (see `Reader.append`) that were taken, in order."""
        return [int(entry.split(b"_")[1]) for entry in self.taken()]


class Reader:
    """A reader's access log, and its uploader."""

    def __init__(self, path, seconds=_PAUSE, from_hub=False, is_set=True, size=SIZE):
        self.server = Server(from_hub)
        self.lines = []
        self.appended = 0
        self._given = path, seconds, size
        self.start(is_set)

    def start(self, is_set=True):
        """Restart the reader."""
        path, seconds, size = self._given
        self.clock = Clock(is_set)
        self.journal = AccessLog(path, size, self.clock, self.lines.append)
        self.log = self.journal.log
        self.uploader = Uploader(self.server, self.journal, self.clock, self.lines.append, seconds)

    def append(self, count=1):
        """Append entries of cards, each with its number as the code."""
        for _ in range(count):
            self.appended += 1
            self.journal.append(SCANNER, 1, decision.ALLOWED, b"%d" % self.appended)

    async def work(self, seconds, polls=False):
        """Send what is due for `seconds`. polls: whether polls are answered meanwhile."""
        end = now() + seconds
        while now() < end:
            self.server.answered = self.server.answered or polls
            if self.uploader.due(self.clock.uptime()):
                await self.uploader.send()
            # Over days the steps are coarser.
            await asyncio.sleep(0.5 if seconds <= 4 * HOUR else 10)


def at_work(scenario, **options):
    """Run `scenario(reader, server)`; return the lines that were reported."""
    with Folder() as path:

        async def main():
            reader = Reader(path + "/journal", **options)
            await scenario(reader, reader.server)
            return reader.lines

        return run(main)


def between(least, most, number):
    assert least <= number <= most, (least, number, most)


def test_entries_wait_for_others_to_be_sent_with():
    async def scenario(reader, server):
        await reader.work(20)
        assert not server.times
        for _ in range(3):
            began = now()
            reader.append()
            await reader.work(3)
            reader.append()
            await reader.work(17)
            between(5, 6.5, server.times[-1] - began)
        assert len(server.bodies) == 3
        assert server.cards() == [1, 2, 3, 4, 5, 6]
        assert reader.log.acked == 6
        await reader.work(HOUR)
        assert len(server.times) == 3

    assert at_work(scenario) == []


def test_without_a_pause_they_are_sent_at_once():
    async def scenario(reader, server):
        for _ in range(5):
            reader.append()
            await reader.work(0.5)
            assert server.cards()[-1] == reader.appended

    at_work(scenario, seconds=0)


def _note_all_kinds(reader):
    journal = reader.journal
    journal.append(SCANNER, 1, decision.ALLOWED, b"04A1B2C3")
    journal.append(SCANNER, 0, decision.UNKNOWN_CODE, b"A_B")
    journal.append(EXIT_BUTTON, 1, 0)
    journal.append(DOOR, 1, FORCED)
    journal.append(ALARM, 0, 0)


def test_a_plain_server_is_sent_what_the_protocol_says():
    async def scenario(reader, server):
        _note_all_kinds(reader)
        await reader.work(10)
        expected = "%d_04A1B2C3_1,%d_A?B_0,%d_btn-exit_1,%d_alarm_1,%d_alarm_0"
        assert server.bodies == [(expected % ((START,) * 5)).encode()]
        assert server.said == [{}]

    at_work(scenario)


def test_our_hub_is_sent_more_from_its_first_answer_on():
    async def scenario(reader, server):
        reader.append()
        await reader.work(10)
        server.from_hub = True
        reader.start()
        _note_all_kinds(reader)
        await reader.work(10)
        expected = (
            "%d_04A1B2C3_1_7_0_2,%d_A_B_0_8_0_3,%d_btn-exit_1_0_1_4,"
            "%d_door-forced_1_0_2_5,%d_alarm_0_0_3_6"
        )
        assert server.bodies[1:] == [(expected % ((START,) * 5)).encode()]
        assert server.said == [{}, {"X-Kalitka-Log": reader.journal.id, "X-Kalitka-Lost": "0"}]

    at_work(scenario)


def test_what_is_no_text_is_sent_to_our_hub_as_it_is():
    async def scenario(reader, server):
        for code in (b"\xff\xfe", "№".encode() + b"\x80", b"A_"):
            reader.journal.append(SCANNER, 0, decision.UNKNOWN_CODE, code)
        await reader.work(10)
        codes = [entry.split(b"_", 1)[1].rsplit(b"_", 4)[0] for entry in server.taken()]
        assert codes == [b"\xff\xfe", "№".encode() + b"\x80", b"A_"]

    assert at_work(scenario, from_hub=True) == []
    assert at_work(_refuse_no_text, from_hub=True) == [
        "log: the server refuses %d_???_0_8_0_1: the server answered 400 (an entry is wrong)"
        % START
    ]


async def _refuse_no_text(reader, server):
    server.refuses = lambda entry: True
    reader.journal.append(SCANNER, 0, decision.UNKNOWN_CODE, b"\xff\xfe\n")
    await reader.work(10)


def test_batches_are_as_large_as_they_may_be_and_have_everything_once():
    for from_hub in (False, True):

        async def scenario(reader, server):
            reader.append(900)
            await reader.work(30)
            assert server.cards() == list(range(1, 901))
            sizes = [len(body) for body in server.bodies]
            between(3, 10, len(sizes))
            for size in sizes[:-1]:
                between(_BODY_MAX - 40, _BODY_MAX, size)
            assert reader.log.acked == 900
            # Nothing is sent again after a restart.
            reader.start()
            await reader.work(HOUR)
            assert len(server.times) == len(sizes)

        at_work(scenario, from_hub=from_hub)


def test_the_largest_entries_fit_as_well():
    async def scenario(reader, server):
        for number in range(40):
            reader.journal.append(SCANNER, 0, decision.UNKNOWN_CODE, b"%0255d" % number)
        await reader.work(10)
        assert server.cards() == list(range(40))

    at_work(scenario)
    at_work(scenario, from_hub=True)


def test_what_is_noted_while_a_batch_is_under_way_comes_with_the_next():
    async def scenario(reader, server):
        server.before = lambda: reader.append(3)
        server.takes = 2
        reader.append(10)
        await reader.work(8)
        server.before = lambda: None
        await reader.work(20)
        cards = server.cards()
        assert cards == list(range(1, reader.appended + 1))

    at_work(scenario)


def test_a_server_in_trouble_is_tried_less_and_less_often_and_told_once():
    async def scenario(reader, server):
        server.trouble = NetError("refused")
        reader.append()
        await reader.work(2 * HOUR)
        assert reader.uploader.error == "refused"
        pauses = [server.times[i] - server.times[i - 1] for i in range(1, len(server.times))]
        for i in range(5):
            between(2 << i, (5 << i) + 3, pauses[i])
        for pause in pauses[7:]:
            between(150, 303, pause)
        server.trouble = NetError("the connection was reset")
        await reader.work(HOUR)
        server.trouble = None
        await reader.work(301)
        assert server.cards() == [1] and reader.uploader.error == ""
        # The failures are over: the next pause is the usual one.
        reader.append()
        await reader.work(7)
        assert server.cards() == [1, 2]

    assert at_work(scenario) == [
        "log: not sent: refused",
        "log: not sent: the connection was reset",
        "log: the server takes entries again",
    ]


def test_over_a_new_link_it_is_tried_at_once():
    async def scenario(reader, server):
        server.trouble = NetError("refused")
        reader.append()
        await reader.work(HOUR)
        tried = len(server.times)
        reader.uploader.retry_at = 0
        await reader.work(1)
        assert len(server.times) == tried + 1
        server.trouble = None
        reader.uploader.retry_at = 0
        await reader.work(1)
        assert server.cards() == [1]

    at_work(scenario)


def test_an_answer_that_takes_too_long_is_given_up():
    async def scenario(reader, server):
        server.takes = 2 * HOUR
        reader.append()
        await reader.work(3 * 60)
        assert reader.uploader.error == "the answer trickled for too long"
        server.takes = 1
        await reader.work(HOUR)
        assert server.cards() == [1]

    at_work(scenario)


def test_nothing_that_goes_wrong_comes_out_of_it():
    async def scenario(reader, server):
        reader.append()
        for trouble in (OSError(5), OSError("x"), ValueError("x"), MemoryError()):
            server.trouble = trouble
            reader.uploader.retry_at = 0
            await reader.work(10)
            assert reader.uploader.error
        server.trouble = None

        def fail(*arguments):
            raise OSError(5, "flash")

        records = reader.log.records
        reader.log.records = fail
        reader.uploader.retry_at = 0
        await reader.work(10)
        assert reader.uploader.error
        reader.log.records = records
        await reader.work(HOUR)
        assert server.cards() == [1] and reader.uploader.error == ""

    at_work(scenario)


def test_want_of_memory_is_a_failure_like_others():
    async def scenario(reader, server):
        def starve(size):
            raise MemoryError

        from kalitka.sync import upload

        reader.append()
        unload = uploader.unload
        uploader.unload = lambda *_: None  # the next import would bring a working module
        upload.bytearray = starve
        try:
            await reader.work(10)
        finally:
            del upload.bytearray
            uploader.unload = unload
        assert reader.uploader.error.startswith("not enough memory in Python's heap")
        await reader.work(HOUR)
        assert server.cards() == [1]

    short, again = at_work(scenario)
    assert short.startswith("log: not sent: not enough memory in Python's heap")
    assert again == "log: the server takes entries again"


def test_a_mark_that_cannot_be_kept_repeats_entries_only_after_a_restart():
    async def scenario(reader, server):
        def fail(*_):
            raise OSError(5, "flash")

        reader.log.ack = fail
        reader.append(3)
        await reader.work(HOUR)
        reader.append(2)
        await reader.work(HOUR)
        assert server.cards() == [1, 2, 3, 4, 5] and reader.log.acked == 0
        reader.start()
        await reader.work(HOUR)
        assert server.cards() == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]
        assert reader.log.acked == 5

    lines = at_work(scenario)
    assert len(lines) == 2 and "the mark cannot be kept" in lines[0]


def test_entries_that_gave_way_unsent_are_told_and_the_others_sent():
    async def scenario(reader, server):
        server.trouble = NetError("refused")
        reader.append(10)
        await reader.work(60)
        reader.append(2000)
        first = reader.log.first
        assert first > 10
        server.trouble = None
        await reader.work(HOUR)
        assert server.cards() == list(range(first, 2011))
        told = "log: up to %d entries in all are lost, the server had none" % (first - 1)
        assert reader.lines.count(told) == 1, reader.lines
        assert server.said[-1]["X-Kalitka-Lost"] == str(first - 1)
        reader.journal.dropped = 3  # by a flash that failed
        reader.append()
        await reader.work(10)
        assert server.said[-1]["X-Kalitka-Lost"] == str(first + 2)
        # Acknowledged entries are evicted without being counted as lost.
        reader.append(800)
        await reader.work(60)
        reader.append(800)
        await reader.work(60)
        assert server.cards()[-1600:] == list(range(2012, 3612))
        assert len([line for line in reader.lines if "are lost" in line]) == 1

    at_work(scenario, size=32768, from_hub=True)


def test_entries_that_give_way_while_they_are_sent_harm_no_others():
    async def scenario(reader, server):
        reader.append(600)

        def before():
            server.before = lambda: None
            reader.append(1500)

        server.before = before
        await reader.work(HOUR)
        first = 600 + 1500 - len(server.taken()) + 1
        assert server.cards() == list(range(first, 2101))
        assert reader.log.lost == first - 1 and reader.log.acked == 2100

    lines = at_work(scenario, size=32768)
    assert "log: the server takes entries again" in lines


def test_one_entry_that_the_server_refuses_does_not_keep_the_others():
    for bad in ((1,), (150,), (299,), (7, 8), (1, 100, 101, 298), tuple(range(50, 65))):

        async def scenario(reader, server, bad=bad):
            server.refuses = lambda entry: int(entry.split(b"_")[1]) in bad
            reader.append(300)
            await reader.work(120)
            assert server.cards() == [n for n in range(1, 301) if n not in bad], bad
            assert reader.log.lost == len(bad)
            assert reader.log.acked == 300
            assert len([line for line in reader.lines if "refuses %d" % START in line]) == len(bad)
            # In few requests: each refused entry costs two for every halving.
            assert len(server.times) <= 20 * len(bad) + 20, len(server.times)
            reader.start()
            await reader.work(60)
            assert len(server.cards()) == 300 - len(bad)
            # Later uploads report no other loss.
            reader.append(400)
            before = len(server.bodies)
            await reader.work(60)
            assert server.cards()[-400:] == list(range(301, 701))
            between(2, 3, len(server.bodies) - before)

        at_work(scenario)


def test_a_refused_entry_is_passed_over_only_when_a_later_one_is_taken():
    async def scenario(reader, server):
        server.refuses = lambda entry: int(entry.split(b"_")[1]) == 3
        reader.append(3)
        await reader.work(HOUR)
        assert server.cards() == [1, 2] and reader.log.acked == 2
        # Not again and again.
        between(2, 5, len(server.times))
        assert reader.log.lost == 0
        reader.append()
        await reader.work(60)
        assert server.cards() == [1, 2, 4] and reader.log.acked == 4
        assert reader.log.lost == 1

    lines = at_work(scenario)
    assert lines[-1] == "log: 1 entries passed over, refused", lines


def test_a_server_that_refuses_everything_loses_nothing():
    async def scenario(reader, server):
        server.refuses = lambda entry: True
        reader.append(100)
        await reader.work(HOUR - 60)
        tried = len(server.times)
        between(17, 30, tried)
        assert reader.uploader.error and reader.log.acked == 0
        await reader.work(HOUR)
        # After an hour it tries twice as many.
        between(32, 64, len(server.times) - tried)
        server.refuses = lambda entry: False
        await reader.work(HOUR)
        assert server.cards() == list(range(1, 101))
        assert reader.log.acked == 100 and reader.log.lost == 0
        assert reader.uploader.error == ""

    lines = at_work(scenario)
    assert len([line for line in lines if "refuses every entry; again in an hour" in line]) == 2


def test_behind_a_refused_one_a_single_entry_goes_first_and_then_it_comes_again():
    # After a power cut between the two, only that entry is sent twice.
    async def scenario(reader, server):
        server.refuses = lambda entry: True
        reader.append()
        await reader.work(10)
        server.refuses = lambda entry: False
        reader.append(50)
        await reader.work(10)
        assert server.cards()[:3] == [2, 1, 3]
        assert [len(body.split(b",")) for body in server.bodies[:3]] == [1, 1, 4]
        assert sorted(server.cards()) == list(range(1, 52)) and reader.log.acked == 51

    at_work(scenario)


def test_what_gives_way_while_it_is_asked_for_again_harms_no_others():
    async def scenario(reader, server):
        server.refuses = lambda entry: int(entry.split(b"_")[1]) <= 5
        reader.append(20)

        def before():
            if server.cards() == [6]:
                server.before = lambda: None
                reader.append(2000)

        server.before = before
        await reader.work(HOUR)
        cards = server.cards()
        assert cards[0] == 6 and cards[1:] == list(range(reader.log.first, 2021))
        assert reader.log.first > 20 and reader.log.acked == 2020

    lines = at_work(scenario, size=32768)
    assert len([line for line in lines if "refuses" in line]) == 5, lines


_BAD_DAYS = (
    NetError("the connection was reset"),
    NoReply("no answer in 20 s while reading the answer"),
    StatusError(500, "the server answered 500"),
    StatusError(502, "the server answered 502"),
    StatusError(302, "the server answered 302"),
)


def test_what_the_server_never_answers_while_it_answers_polls_blocks_no_other_for_ever():
    for trouble in _BAD_DAYS:

        async def scenario(reader, server, trouble=trouble):
            upload = server.upload

            async def judge(size, pieces, more, patience):
                server.times.append(now())
                if b"_7_" in b"".join(pieces()):
                    raise trouble
                await upload(size, pieces, more, patience)

            server.upload = judge
            reader.append(20)
            await reader.work(12 * HOUR)
            assert not server.cards(), trouble  # the fault may be the server's own
            await reader.work(12 * HOUR, polls=True)
            assert server.cards()[:6] == [1, 2, 3, 4, 5, 6], trouble
            assert server.cards() == [n for n in range(1, 21) if n != 7]
            assert reader.log.acked == 20 and reader.log.lost == 1

        lines = at_work(scenario)
        assert "log: 1 entries passed over, refused" in lines


def test_a_server_in_trouble_with_entries_alone_loses_nothing():
    for trouble in _BAD_DAYS[:3]:

        async def scenario(reader, server, trouble=trouble):
            server.trouble = trouble
            reader.append(40)
            await reader.work(4 * HOUR, polls=True)
            assert reader.log.acked == 0
            server.trouble = None
            # If all are quarantined, the next one shows that the server takes entries again.
            reader.append()
            await reader.work(2 * HOUR, polls=True)
            assert sorted(server.cards()) == list(range(1, 42)) and reader.log.lost == 0

        at_work(scenario)


def test_want_of_memory_is_no_fault_of_an_entry():
    async def scenario(reader, server):
        server.trouble = MemoryError()
        reader.append(40)
        await reader.work(24 * HOUR, polls=True)
        server.trouble = None
        await reader.work(HOUR)
        assert len(server.bodies) == 1 and server.cards() == list(range(1, 41))

    at_work(scenario)


def test_what_is_given_up_is_counted_once_whatever_fails_while_the_mark_is_set():
    async def scenario(reader, server):
        server.refuses = lambda entry: b"_3_" in entry
        reader.append(5)
        await reader.work(HOUR)
        # A mark that failed is made good with the next one.
        reader.append()
        await reader.work(HOUR)
        assert server.cards() == [1, 2, 4, 5, 6]
        marks.append(flash.writes)
        reader.append()
        await reader.work(HOUR)
        for _ in range(2):
            assert (reader.log.acked, reader.log.lost) == (7, 1)
            reader.start()

    for done in (False, True):
        at = 0
        marks = [1]
        while at < marks[-1]:
            at += 1
            with FailingFlash() as flash:
                flash.count(writes=(at,), done=done, named="/mark")
                at_work(scenario)
        assert at >= 4, at


def test_more_refused_entries_in_a_row_than_it_looks_at_first_are_passed_over_in_the_end():
    async def scenario(reader, server):
        server.refuses = lambda entry: int(entry.split(b"_")[1]) <= 40
        reader.append(60)
        await reader.work(4 * HOUR)
        assert server.cards() == list(range(41, 61))
        assert reader.log.acked == 60 and reader.log.lost == 40

    at_work(scenario)


def test_a_status_that_is_not_about_the_batch_passes_nothing_over():
    for status in (301, 401, 403, 404, 405, 407, 408, 425, 429, 500, 502, 503):

        async def scenario(reader, server, status=status):
            server.trouble = StatusError(status, "the server answered %d" % status)
            reader.append(50)
            await reader.work(300)
            between(4, 9, len(server.times))
            assert reader.uploader.error == "the server answered %d" % status
            server.trouble = None
            await reader.work(400)
            assert len(server.bodies) == 1 and server.cards() == list(range(1, 51))

        at_work(scenario)


def test_a_server_that_takes_smaller_bodies_only_gets_them():
    async def scenario(reader, server):
        upload = server.upload

        async def narrow(size, pieces, more, patience):
            if size > 500:
                server.times.append(now())
                raise StatusError(413, "the server answered 413")
            await upload(size, pieces, more, patience)

        server.upload = narrow
        reader.append(400)
        await reader.work(HOUR)
        assert server.cards() == list(range(1, 401)) and reader.log.lost == 0

    assert at_work(scenario) == []


def _seconds_of(server):
    return [int(entry.split(b"_")[0]) for entry in server.taken()]


def test_entries_without_a_time_wait_for_the_clock():
    async def scenario(reader, server):
        reader.append(2)
        await reader.work(300)
        assert not server.times
        reader.append()
        reader.clock.is_set = True
        reader.append()
        await reader.work(10)
        assert server.cards() == [1, 2, 3, 4]
        assert _seconds_of(server) == [START, START, START + 300, START + 300]

    assert at_work(scenario, is_set=False) == []


def test_after_ten_minutes_without_a_clock_they_go_with_the_servers_time():
    async def scenario(reader, server):
        reader.append(2)
        await reader.work(570)
        assert not server.times
        await reader.work(60)
        assert server.cards() == [1, 2] and _seconds_of(server) == [0, 0]
        # Later entries need not wait any more.
        reader.append()
        await reader.work(10)
        assert server.cards() == [1, 2, 3] and _seconds_of(server) == [0, 0, 0]
        reader.clock.is_set = True
        reader.append()
        await reader.work(10)
        between(START + 630, START + 645, _seconds_of(server)[-1])

    assert at_work(scenario, is_set=False) == []


def test_entries_with_a_time_do_not_wait_for_those_without():
    async def scenario(reader, server):
        server.trouble = NetError("refused")
        reader.append(2)
        reader.start(is_set=False)
        reader.append(2)
        server.trouble = None
        await reader.work(60)
        assert server.cards() == [1, 2]

    at_work(scenario)


def test_a_time_alone_is_not_sent_and_costs_no_write():
    async def scenario(reader, server):
        reader.append()
        await reader.work(660)
        assert server.cards() == [1]
        reader.clock.is_set = True
        job = asyncio.create_task(every_second(reader.journal.tick))
        await asyncio.sleep(3)
        assert reader.log.last == 2 and reader.log.acked == 1
        path = reader._given[0]
        marks = []
        reader.log.ack = marks.append
        before = read(path + "/mark")
        await reader.work(HOUR)
        assert len(server.times) == 1 and not marks
        assert read(path + "/mark") == before and reader.log.last == 2
        assert not reader.uploader.due(reader.clock.uptime())
        job.cancel()
        await asyncio.sleep(0)

    at_work(scenario, is_set=False)


def test_entries_of_several_starts_get_the_time_of_theirs():
    async def scenario(reader, server):
        server.trouble = NetError("refused")
        expected = []
        # Two starts whose clock was set in the end, and between them one whose clock never was.
        for is_set in (True, False, True):
            reader.start(is_set=False)
            await asyncio.sleep(20)
            reader.append(3)
            expected += [START + 20 if is_set else 0] * 3
            await asyncio.sleep(1000)
            if is_set:
                reader.clock.is_set = True
                reader.append(2)
                expected += [START + 1020] * 2
        reader.start()
        reader.append()
        server.trouble = None
        await reader.work(10)
        assert _seconds_of(server) == expected + [START]
        assert server.cards() == list(range(1, 15))
        # Entries without a time of different starts never share a body.
        assert len(server.bodies) == 3
        assert [len(body.split(b",")) for body in server.bodies] == [5, 3, 6]

    at_work(scenario)


def test_what_damage_left_out_is_not_looked_for_for_ever():
    async def scenario(reader, server):
        reader.append(60)
        await reader.work(10)
        assert reader.log.acked == 60
        path = reader._given[0]
        write(path + "/tail0", b"\xff" * 100)
        reader.start()
        # After damage the numbering goes on far above.
        assert reader.log.last > 500
        looked = []
        records = reader.log.records

        def counted(*arguments):
            looked.append(now())
            return records(*arguments)

        reader.log.records = counted
        await reader.work(HOUR)
        assert len(looked) <= 2, len(looked)
        reader.append()
        await reader.work(10)
        assert server.cards()[-1] == 61 and reader.log.acked == reader.log.last

    at_work(scenario)


def test_what_damage_destroyed_is_told_and_counted():
    async def scenario(reader, server):
        reader.append(800)
        path = reader._given[0]
        oldest = path + "/old/%08x" % 1
        data = bytearray(read(oldest))
        data[2048:5120] = b"\xff" * 3072
        write(oldest, data)
        reader.start()
        await reader.work(60)
        gone = 800 - len(server.cards())
        between(80, 320, gone)
        assert server.cards() == sorted(set(server.cards()))
        assert reader.log.acked == 800 and reader.log.lost == gone
        reader.append()
        await reader.work(10)
        assert server.said[-1]["X-Kalitka-Lost"] == str(gone)
        # The loss is known after a restart too, and not counted again.
        reader.start()
        reader.append()
        await reader.work(10)
        assert server.said[-1]["X-Kalitka-Lost"] == str(gone)
        told = "log: up to %d entries in all are lost, the server had none" % gone
        assert reader.lines.count(told) == 1, reader.lines

    at_work(scenario, from_hub=True)


def test_many_records_that_are_no_entries_are_read_a_few_at_a_time():
    async def scenario(reader, server):
        reader.append()
        for _ in range(1200):
            reader.log.append(b"\x7f of a later firmware")
        reader.append()
        spans = []
        records = reader.log.records

        def watched(*arguments):
            spans.append(0)
            for record in records(*arguments):
                spans[-1] += 1
                yield record

        reader.log.records = watched
        await reader.work(60)
        assert server.cards() == [1, 2] and max(spans) <= 260, max(spans)
        assert reader.log.acked == 1202 and reader.log.lost == 0

    at_work(scenario)


def test_without_a_log_nothing_is_due_and_later_everything_is_sent():
    async def scenario(reader, server):
        log = reader.journal.log
        reader.journal.log = None
        await reader.work(60)
        reader.journal.log = log
        reader.append()
        await reader.work(10)
        assert server.cards() == [1]

    at_work(scenario)


if MICROPYTHON:

    def test_many_batches_leave_nothing_in_memory():
        used = []

        async def scenario(reader, server):
            async def take(size, pieces, more, patience):
                for piece in pieces():
                    size -= len(piece)
                assert size == 0

            server.upload = take
            for i in range(80):
                reader.append(40)
                await reader.work(7)
                assert reader.log.acked == reader.appended
                if i % 10 == 9:
                    gc.collect()
                    used.append(gc.mem_alloc())

        at_work(scenario, from_hub=True)
        assert max(used[2:]) - min(used[1:]) < 2048, used
        print(
            "# log: %d bytes more in memory after 80 batches than after 10" % (used[-1] - used[0])
        )
