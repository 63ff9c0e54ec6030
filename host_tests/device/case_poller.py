"""The poll loop in virtual time: when the reader polls, what it asks for, and failing servers."""

import asyncio

from device.chip_time import BEGAN
from device.fake_time import Watch, millis, now, run
from kalitka import settings
from kalitka.access.timezone import ZoneError
from kalitka.sync import net
from kalitka.sync.client import StatusError
from kalitka.sync.net import NetError, NoReply
from kalitka.sync.poller import Poller
from kalitka.sync.timekeeper import TimeKeeper

MINUTE, HOUR, DAY = 60, 3600, 86400
START = 1795415400
EARLIEST = START - 60 * DAY  # the build


class Clock:
    """A clock that runs in virtual time."""

    def __init__(self, is_set=True):
        self._watch = Watch()
        self.is_set = is_set
        self.ahead = START - BEGAN
        self.zone = ""

    def uptime(self):
        return BEGAN + self._watch.seconds()

    def truth(self):
        return START - BEGAN + self.uptime()

    def step_to(self, seconds):
        return int(seconds - self.ahead - self.uptime())

    def check(self, seconds):
        if seconds < EARLIEST:
            raise ValueError("the time given lies before this firmware's build")

    def set_utc(self, seconds):
        self.check(seconds)
        self.ahead = seconds - self.uptime()
        self.is_set = True

    def set_zone(self, zone):
        if zone == "Mars":
            raise ZoneError("position 5: no offset")
        self.zone = zone


class Wifi:
    """A link that is switched on and off by hand."""

    def __init__(self):
        self.up = True
        self.connects = 1
        self.distrusted = []

    def connected(self):
        return self.up

    def reset(self):
        self.distrusted.append(millis())

    def join(self):
        self.up = True
        self.connects += 1


class Table:
    """A table without rules."""

    def __init__(self, minute):
        self.minute = minute
        self.fault = ""
        self.seconds = False
        self.changed = self.overflowed = 0
        self.retry = 0
        self.size = 0

    def begin(self, full, retry=0):
        return self

    def set_minute(self, minute, seconds):
        self.minute = minute

    def scrub(self):
        return 0

    def delete(self, code):
        pass

    add_lines = drain = delete

    def commit(self, minute):
        self.minute = minute
        yield

    def abort(self):
        pass

    def save_minute(self):
        pass


class Answer:
    """The counters of a parser after an answer."""

    def __init__(self, rules):
        self.rules = rules
        self.dropped = 0
        self.reasons = {}


class Client:
    """A server. trouble: raised instead of an answer; rules: the number in each answer."""

    secure = False

    def __init__(self):
        self.asked = []  # (seconds, minute, names)
        self.patience = []  # with each full answer
        self.trouble = None
        self.rules = 0
        self.takes = 0  # seconds
        self.from_hub = None
        self.watch = Watch()

    async def sync(self, minute, sink, names, patience):
        self.asked.append((self.watch.seconds(), minute, names))
        if minute == 0:
            self.patience.append(patience)
        else:
            assert patience == 1, "only a full answer takes longer"
        await asyncio.sleep(self.takes)
        if self.trouble:
            raise self.trouble
        self.from_hub = False
        sink.minute(29921461)
        return Answer(self.rules)

    def expiring(self):
        return False

    def times(self):
        return [at for at, _, _ in self.asked]


class Keeper:
    """A TimeKeeper that only counts its calls."""

    doubt = TimeKeeper.doubt

    def __init__(self):
        self.online = self.alone = 0
        self.proved = True

    async def sync(self):
        self.online += 1

    def offline(self):
        self.alone += 1


class Uploader:
    """An uploader with as many batches as the test sets. Records each call with its time."""

    def __init__(self):
        self.began = now()
        self.waiting = 0  # batches
        self.takes = 0  # seconds
        self.sent = []
        self.journal = self
        self.hurried = []
        self.room = 0  # how often `free_space` can free some

    def due(self, uptime):
        return self.waiting > 0

    @property
    def retry_at(self):
        return 0

    @retry_at.setter
    def retry_at(self, uptime):
        self.hurried.append(now() - self.began)

    def free_space(self):
        self.room -= 1
        return self.room >= 0

    async def send(self):
        self.waiting -= 1
        self.sent.append(now() - self.began)
        await asyncio.sleep(self.takes)


class Site:
    """A poller with fakes of all that it needs; `values` are settings."""

    def __init__(self, minute=29921460, uploader=None, **values):
        self.client = Client()
        self.clock = Clock()
        self.table = Table(minute)
        self.wifi = Wifi()
        self.keeper = Keeper()
        self.lines = []
        given = {"full_sync_at_start": False, "full_sync_hours": 0}
        given.update(values)
        found, faults = settings.with_defaults(given)
        assert not faults, faults
        self.poller = Poller(
            self.client,
            self.table,
            self.clock,
            self.keeper,
            self.wifi,
            self.lines.append,
            found,
            uploader or Uploader(),
        )


def at_work(scenario, **options):
    """Run `scenario(site)` beside the poller of a site; return the site."""

    async def main():
        site = Site(**options)
        job = asyncio.create_task(site.poller.run())
        await scenario(site)
        assert not job.done(), "the loop has ended"
        job.cancel()
        await asyncio.sleep(0)
        return site

    return run(main)


def between(least, most, number):
    assert least <= number <= most, (least, number, most)


def test_it_asks_at_the_start_and_then_at_its_interval():
    async def scenario(site):
        await asyncio.sleep(10 * MINUTE)

    site = at_work(scenario, poll_seconds=60)
    times = site.client.times()
    between(10, 11, len(times))
    assert times[0] == 0
    for i in range(1, len(times)):
        between(60, 61, times[i] - times[i - 1])


def test_a_server_in_trouble_is_asked_less_and_less_often_but_for_ever():
    async def scenario(site):
        site.client.trouble = NetError("the server answered 500")
        await asyncio.sleep(4 * HOUR)

    times = at_work(scenario).client.times()
    pauses = [times[i] - times[i - 1] for i in range(1, len(times))]
    # Each pause is doubled, with a jitter between half and all of it.
    for i in range(5):
        between(2 << i, (5 << i) + 2, pauses[i])
    for pause in pauses[7:]:
        between(150, 302, pause)
    assert len(set(pauses[7:])) > 20, "readers would all come at the same time"


def test_a_long_interval_stays_the_longest_pause():
    async def scenario(site):
        site.client.trouble = NetError("no")
        await asyncio.sleep(6 * HOUR)

    times = at_work(scenario, poll_seconds=HOUR).client.times()
    # The pauses grow up to the interval.
    between(HOUR / 4, HOUR + 2, times[-1] - times[-2])


def test_after_the_trouble_it_asks_at_its_interval_again():
    async def scenario(site):
        site.client.trouble = NetError("no")
        await asyncio.sleep(HOUR)
        assert site.poller.error == "no" and site.poller.succeeded == -1
        site.client.trouble = None
        await asyncio.sleep(6 * MINUTE)
        before = len(site.client.asked)
        await asyncio.sleep(5 * MINUTE)
        between(4, 6, len(site.client.asked) - before)
        assert site.poller.error == ""
        between(0, 61, site.clock.uptime() - site.poller.succeeded)

    site = at_work(scenario)
    # Each is reported once; besides that, the state once an hour.
    assert [line for line in site.lines if "polls" not in line] == [
        "sync: failed: no",
        "sync: works, table of minute 29921461",
    ]


def test_the_state_is_told_once_an_hour():
    async def scenario(site):
        await asyncio.sleep(30 * MINUTE)
        site.client.trouble = StatusError(403, "the server answered 403")
        await asyncio.sleep(3 * HOUR)

    lines = [line for line in at_work(scenario).lines if "polls" in line]
    assert len(lines) == 3
    assert lines[0].startswith("sync: last worked ")
    assert "failed" in lines[0] and lines[0].endswith(
        "table of minute 29921461, the server answered 403"
    )


def test_a_network_that_came_back_is_used_at_once():
    async def scenario(site):
        site.client.trouble = NetError("no")
        await asyncio.sleep(HOUR)
        site.wifi.up = False
        asked = len(site.client.asked)
        await asyncio.sleep(HOUR)
        assert len(site.client.asked) == asked, "there was no network to ask over"
        site.client.trouble = None
        site.wifi.join()
        await asyncio.sleep(1)
        assert len(site.client.asked) == asked + 1
        # The same for a link that was down for a moment only.
        site.wifi.join()
        await asyncio.sleep(1)
        assert len(site.client.asked) == asked + 2

    site = at_work(scenario)
    assert site.keeper.alone > 3600, "without a network the clock chip is there"


def test_a_link_over_which_nothing_is_heard_is_not_believed():
    async def scenario(site):
        site.client.trouble = NoReply("no answer in 15 s while connecting")
        await asyncio.sleep(HOUR)

    site = at_work(scenario)
    assert len(site.wifi.distrusted) == len(site.client.asked) // 3


def test_point_11_a_server_that_is_off_is_no_fault_of_a_link_that_brings_other_answers():
    async def scenario(site):
        site.client.trouble = NoReply("no answer in 15 s while connecting")
        ask = site.client.sync

        async def sync(*arguments):
            net.answers += 1  # a name server's
            return await ask(*arguments)

        site.client.sync = sync
        await asyncio.sleep(HOUR)
        assert not site.wifi.distrusted
        site.client.sync = ask
        await asyncio.sleep(HOUR)
        assert site.wifi.distrusted

    at_work(scenario)


def test_a_server_that_speaks_is_no_fault_of_the_link():
    async def scenario(site):
        for error in (
            StatusError(500, "no"),
            NetError("refused while"),
            ValueError("not an answer"),
        ):
            site.client.trouble = error
            await asyncio.sleep(HOUR)

    assert not at_work(scenario).wifi.distrusted


def test_nothing_that_goes_wrong_ends_the_loop():
    async def scenario(site):
        errors = (
            OSError(28),
            OSError("no space"),
            ValueError("x"),
            MemoryError(),
            StatusError(418, "no"),
            asyncio.TimeoutError(),  # noqa: UP041 - MicroPython has no other
        )
        for error in errors:
            site.client.trouble = error
            await asyncio.sleep(20 * MINUTE)
            assert site.poller.error
        site.client.trouble = None
        await asyncio.sleep(10 * MINUTE)
        assert not site.poller.error

    at_work(scenario)


def test_an_answer_that_takes_too_long_is_given_up():
    async def scenario(site):
        site.client.takes = 2 * HOUR
        await asyncio.sleep(31 * MINUTE)
        assert site.poller.error == "the answer trickled for too long"

    at_work(scenario)


def test_an_unknown_card_is_asked_for_at_once_and_not_again_and_again():
    async def scenario(site):
        await asyncio.sleep(10)
        asked = site.client.asked
        del asked[:]
        site.poller.request(b"D4XXXX", 2)
        await asyncio.sleep(1)
        assert [(minute, names) for _, minute, names in asked] == [(None, [b"D4"])]
        for _ in range(20):
            site.poller.request(b"D4", 2)
            await asyncio.sleep(1)
        assert len(asked) == 1
        site.poller.request(b"E5", 2)
        # One card at a time: this one comes too early.
        site.poller.request(b"F6", 2)
        await asyncio.sleep(1)
        assert [names for _, _, names in asked] == [[b"D4"], [b"E5"]]
        await asyncio.sleep(31)
        site.poller.request(b"D4", 2)
        await asyncio.sleep(1)
        assert [names for _, _, names in asked if names][2:] == [[b"D4"]]
        # The minute is that of the last poll, not that of these answers.
        assert site.table.minute == 29921461

    at_work(scenario, ask_unknown_cards=True)


def test_an_unknown_card_is_not_asked_for_where_it_would_not_help():
    async def scenario(site):
        await asyncio.sleep(10)
        site.poller.request(b"D4", 2)
        await asyncio.sleep(5)
        assert not [names for _, _, names in site.client.asked if names == [b"D4"]]

    at_work(scenario)
    at_work(scenario, ask_unknown_cards=True, codes=["A1"])

    async def without_a_table(site):
        site.client.trouble = NetError("no")
        await scenario(site)

    at_work(without_a_table, minute=0, ask_unknown_cards=True)


# The access log


def with_log(scenario, **options):
    """Run `scenario(site, uploader)` beside a poller that sends the log as well."""

    async def main():
        uploader = Uploader()
        site = Site(uploader=uploader, **options)
        job = asyncio.create_task(site.poller.run())
        await scenario(site, uploader)
        assert not job.done(), "the loop has ended"
        job.cancel()
        await asyncio.sleep(0)

    run(main)


def test_the_log_is_sent_between_two_polls_as_soon_as_it_is_due():
    async def scenario(site, uploader):
        await asyncio.sleep(10)
        assert not uploader.sent
        uploader.waiting = 4
        await asyncio.sleep(2)
        assert len(uploader.sent) == 4
        between(10, 11.5, uploader.sent[-1])
        # Polls go on at their pace.
        uploader.takes = 5
        uploader.waiting = 10**6
        before = len(site.client.asked)
        await asyncio.sleep(10 * MINUTE)
        between(9, 10, len(site.client.asked) - before)
        assert len(uploader.sent) > 90

    with_log(scenario, poll_seconds=60)


def test_the_log_waits_for_the_first_good_poll_and_for_no_other():
    async def scenario(site, uploader):
        # Before the first answer it is unknown whether the server is our hub, and so what to send.
        site.client.trouble = StatusError(500, "the server answered 500")
        uploader.waiting = 3
        await asyncio.sleep(10 * MINUTE)
        assert not uploader.sent
        site.client.trouble = None
        await asyncio.sleep(6 * MINUTE)
        assert len(uploader.sent) == 3
        site.client.trouble = StatusError(500, "the server answered 500")
        await asyncio.sleep(10 * MINUTE)
        uploader.waiting = 3
        await asyncio.sleep(2)
        assert len(uploader.sent) == 6

    with_log(scenario)


def test_a_card_that_waits_at_the_door_comes_before_the_log():
    async def scenario(site, uploader):
        await asyncio.sleep(10)
        uploader.waiting = 1
        site.poller.request(b"D4", 2)
        site.client.takes = 20
        await asyncio.sleep(2)
        assert site.client.asked[-1][2] == [b"D4"] and not uploader.sent
        await asyncio.sleep(20)
        assert len(uploader.sent) == 1

    with_log(scenario, ask_unknown_cards=True)


def test_without_a_network_no_log_is_sent_and_over_a_new_link_it_hurries():
    async def scenario(site, uploader):
        await asyncio.sleep(10)
        # The first link is a new link as well.
        assert len(uploader.hurried) == 1
        site.wifi.up = False
        uploader.waiting = 1
        await asyncio.sleep(10 * MINUTE)
        assert not uploader.sent and len(uploader.hurried) == 1
        site.wifi.join()
        await asyncio.sleep(1)
        assert len(uploader.hurried) == 2 and len(uploader.sent) == 1
        await asyncio.sleep(10 * MINUTE)
        assert len(uploader.hurried) == 2

    with_log(scenario)


def test_a_sync_that_finds_the_flash_full_gets_room_from_the_log():
    async def scenario(site, uploader):
        await asyncio.sleep(10)
        uploader.room = 1
        site.client.trouble = OSError(28, "flash")
        await asyncio.sleep(HOUR)
        assert site.lines[1:3] == [
            "sync: failed: the flash is full: entries of the log that were sent give way",
            "sync: failed: the flash is full",
        ]
        # Other faults evict no entries of the log.
        asked = uploader.room
        site.client.trouble = OSError(5, "flash")
        await asyncio.sleep(10 * MINUTE)
        assert uploader.room == asked

    with_log(scenario)


def test_a_minute_that_goes_back_is_reported():
    async def scenario(site):
        site.table.minute = 40000000  # the server's answers have its own
        await asyncio.sleep(10)
        told = [line for line in site.lines if "went back" in line]
        back = site.table.minute
        assert told == [
            "sync: the server's minute went back, from 40000000 to %d: is it an older copy?" % back
        ], site.lines
        await asyncio.sleep(HOUR)
        assert len([line for line in site.lines if "went back" in line]) == 1

    at_work(scenario)


def _tries(minute, hours, trouble):
    # Lets time pass; returns at which seconds full answers were asked for. minute: of the table.
    # trouble: called with the number of the request; what a full answer ends in.
    asked = []

    async def main():
        site = Site(minute, full_sync_at_start=True)
        answer = site.client.sync

        async def sync(minute, *more):
            site.client.trouble = trouble(len(asked)) if minute == 0 else None
            return await answer(minute, *more)

        site.client.sync = sync
        job = asyncio.create_task(site.poller.run())
        await asyncio.sleep(hours * HOUR)
        asked.extend([at for at, minute, _ in site.client.asked if minute == 0])
        job.cancel()
        await asyncio.sleep(0)

    run(main)
    return asked


def test_a_full_answer_that_does_not_fit_twice_is_asked_for_again_after_hours():
    # With an empty table, and with one that is kept.
    for minute, hours, trouble in (
        (0, 9, OSError(28, "flash")),
        (0, 4, ValueError("answer cut after 100 bytes")),
        (29921460, 4, MemoryError("memory allocation failed, allocating 8192 bytes")),
    ):
        tries = _tries(minute, hours, lambda _, trouble=trouble: trouble)
        pauses = [tries[i + 1] - tries[i] for i in range(len(tries) - 1)]
        assert pauses[0] < 12 * MINUTE, (trouble, pauses)
        expected = [1, 2, 4] if hours == 9 else [1, 2]
        found = [round(pause / HOUR) for pause in pauses[1:]]
        assert found == expected, (trouble, minute, pauses)


def test_an_answer_of_another_size_is_asked_for_within_minutes():
    counts = []

    def another(_):
        counts.append(0)
        return ValueError("answer cut after %d bytes" % len(counts))

    assert len(_tries(0, 2, another)) > 15


def test_a_failure_of_the_network_never_postpones_for_hours():
    assert len(_tries(0, 2, lambda _: OSError(104, "reset"))) > 15


# Point 11: servers that are slow with everything


def _fulls(site):
    return [at for at, minute, _ in site.client.asked if minute == 0]


def test_point_11_a_full_sync_that_fails_in_any_way_is_put_off_while_changes_go_on():
    for trouble in (
        NoReply("no answer in 15 s while connecting"),
        NetError("no answer in 60 s while reading the answer"),
        StatusError(504, "the server answered 504"),
        asyncio.TimeoutError(),  # noqa: UP041 - MicroPython has no other
    ):

        async def scenario(site, trouble=trouble):
            ask = site.client.sync

            async def sync(minute, *more):
                site.client.trouble = trouble if minute == 0 else None
                return await ask(minute, *more)

            site.client.sync = sync
            await asyncio.sleep(3 * HOUR + 20 * MINUTE)

        site = at_work(scenario, full_sync_at_start=True, poll_seconds=60)
        fulls = _fulls(site)
        pauses = [round((fulls[i + 1] - fulls[i]) / MINUTE) for i in range(len(fulls) - 1)]
        for n, wanted in enumerate((10, 20, 40, 60, 60)):
            between(wanted, wanted + 2, pauses[n])
        changes = len(site.client.asked) - len(fulls)
        assert changes > 180, (trouble, changes)
        assert not site.wifi.distrusted, trouble


def test_point_11_the_patience_with_a_full_answer_grows_with_the_table_and_the_failures():
    async def scenario(site):
        site.table.size = 24000  # bytes: some 3,000 codes
        site.client.trouble = NetError("no answer while reading the answer")
        await asyncio.sleep(12 * HOUR)

    patience = at_work(scenario, minute=0).client.patience
    assert patience[:5] == [8, 12, 16, 24, 32]
    assert patience[-1] == 32

    async def large(site):
        site.table.size = 800000
        await asyncio.sleep(HOUR)

    assert at_work(large, minute=0).client.patience == [60]


def test_point_11_readers_of_a_site_ask_for_everything_one_after_the_other():
    async def scenario(site):
        await asyncio.sleep(7 * MINUTE)

    assert 0 not in _fulls(at_work(scenario, full_sync_at_start=True)), "not even without a name"
    begins = []
    for n in range(10):
        options = {"full_sync_at_start": True, "poll_seconds": 10, "reader": "GATE-%d" % n}
        site = at_work(scenario, **options)
        assert site.client.asked[0][1], "changes come first"
        fulls = _fulls(site)
        assert fulls == _fulls(at_work(scenario, **options)) and len(fulls) == 1, fulls
        begins += fulls
    between(100, 312, max(begins))
    assert len(set(begins)) >= 7, begins


def test_point_11_a_reader_without_a_table_asks_for_everything_at_once():
    async def scenario(site):
        await asyncio.sleep(1)

    site = at_work(scenario, minute=0, full_sync_at_start=True, reader="GATE-7")
    assert _fulls(site) == [0]
