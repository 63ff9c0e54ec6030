"""Where the reader's time comes from and whom it believes: days and months in virtual time.

The numbers of the tests are those of the points: 1 ranks, 2 the server is asked until it answers,
3 the clock chip, 4 certificates refused by their dates, 5 a server with a wrong clock.
"""

import asyncio
import sys

from device.case_poller import DAY, EARLIEST, HOUR, MINUTE, START, Client, Clock, at_work
from device.fake_nvs import Esp32
from device.fake_time import Watch, run
from kalitka.journal import entries
from kalitka.sync import timekeeper, timesources
from kalitka.sync.client import StatusError
from kalitka.sync.net import BadCertificate, NetError, NoReply, wait_for
from kalitka.sync.timekeeper import TimeKeeper

ROLLOVER = 2085981896 - START  # 2036-02-07 07:28:16, the time of NTP seconds 3600
BY_DATES = "certificate not accepted while x: The certificate validity has expired"
BY_NAME = "certificate not accepted while x: The certificate Common Name (CN) does not match"


class Chip:
    """A clock chip with a time of its own, -1 for none. written: how often it was written."""

    def __init__(self, seconds):
        self.write(seconds)
        self.written = 0

    def read(self):
        return self.seconds + self._watch.seconds() if self.seconds >= 0 else -1

    def write(self, seconds):
        self._watch = Watch()
        self.seconds = seconds
        self.written += 1
        return True

    written = 0


class Times(Client):
    """A server whose time is `offset` seconds ahead of the right time; None: it has none.

    trouble: raised instead, if it is set. lies: the offsets of the next answers.
    """

    offset = 0
    zone = "MSK-3"

    def __init__(self):
        super().__init__()
        self.lies = []

    async def time(self):
        self.asked.append(self.watch.seconds())
        if self.trouble or self.offset is None:
            raise self.trouble or NetError("no time today")
        offset = self.lies.pop(0) if self.lies else self.offset
        return START + self.watch.seconds() + offset, self.zone


class Ntp:
    """A time server; `offset` is None while it does not answer. lies: as of Times."""

    def __init__(self, offset=None, lies=()):
        self._watch = Watch()
        self.offset = offset
        self.lies = list(lies)
        self.asked = []
        self.takes = 0  # seconds

    async def time(self, where, names):
        self.asked.append(self._watch.seconds())
        await asyncio.sleep(self.takes)
        offset = self.lies.pop(0) if self.lies else self.offset
        if offset is None:
            raise NetError("no answer")
        return START + self._watch.seconds() + offset


class Table:
    """A table of a minute."""

    minute = 0


class Log:
    """An access log that keeps what it is given."""

    def __init__(self):
        self.entries = []

    def append(self, source, state, reason):
        self.entries.append((source, state, reason))


class World:
    """A reader's keeper with fakes of its sources; `start` is a start after a power cut."""

    def __init__(self, chip, ntp, lies, secure, server, blobs, save_zone):
        self.client = Times() if server else None
        if server:
            self.client.secure = secure
        self._watch = Watch()
        self.ntp = Ntp(ntp, lies)
        self.chip = None if chip is None else Chip(chip if chip < 0 else START + chip)
        self.blobs = blobs
        self.lines = []
        self.table = Table()
        self.log = Log()
        self.zones = []
        self.save_zone = save_zone
        timesources.ntp_time = self.ntp.time

    def start(self, is_set=False):
        self.clock = clock = Clock(is_set)
        save = self.zones.append if self.save_zone else None
        self.keeper = TimeKeeper(
            clock,
            self.client,
            "ntp.example",
            None,
            self.chip,
            save,
            self.lines.append,
            self.table,
            self.log,
        )

    async def keep(self, seconds, every=MINUTE):
        """Let time pass, with a poll every so many seconds."""
        for _ in range(seconds // every):
            await self.keeper.sync()
            await asyncio.sleep(every)

    def wrong_by(self):
        return -self.clock.step_to(self.truth())

    def truth(self):
        return START + self._watch.seconds()

    def said(self, words):
        return [line for line in self.lines if words in line]


def world(
    scenario,
    is_set=False,
    chip=None,
    ntp=None,
    lies=(),
    secure=False,
    server=True,
    blobs=None,
    save_zone=True,
):
    """Run `scenario(world)`; return the lines of the console."""

    async def main():
        made = World(chip, ntp, lies, secure, server, {} if blobs is None else blobs, save_zone)
        made.start(is_set)
        await scenario(made)
        return made.lines

    kept = timesources.ntp_time, timekeeper.unload, sys.modules.get("esp32")
    timekeeper.unload = lambda *names: None  # the next import would bring the real `ntp_time`
    sys.modules["esp32"] = Esp32({} if blobs is None else blobs)
    try:
        return run(main)
    finally:
        timesources.ntp_time, timekeeper.unload = kept[:2]
        if kept[2]:
            sys.modules["esp32"] = kept[2]
        else:
            del sys.modules["esp32"]


def near(value, right, by=2):
    assert abs(value - right) <= by, (value, right)


# 1. Ranks


def test_1_proved_time_is_taken_at_once_and_asked_for_once_a_day():
    async def scenario(w):
        await w.keep(3 * DAY)
        assert len(w.client.asked) == 3
        assert w.clock.is_set and w.clock.zone == "MSK-3"
        assert not w.wrong_by() and w.keeper.proved
        # Nothing was provisional when the first round was over.
        assert w.log.entries == []

    assert world(scenario, secure=True, ntp=0) == [
        "clock: set by a time server, provisional",
        "clock: set by the server",
    ]


def test_1_a_step_is_told_with_its_size():
    async def scenario(w):
        await w.keep(MINUTE)
        for offset in (1, 76, 0):
            w.client.offset = offset
            await w.keep(DAY, DAY)
            await w.keep(MINUTE)

    forward, back = [line.split() for line in world(scenario, secure=True, ntp=0)[2:]]
    # A second more or less, because both count whole seconds.
    near(int(forward[5]), 75)
    near(int(back[5]), 76)
    assert (forward[7], back[7]) == ("forward", "back")


def test_1_plain_http_and_ntp_give_a_provisional_time():
    async def scenario(w):
        await w.keep(DAY)
        assert w.clock.is_set and not w.keeper.proved

    assert world(scenario) == [
        "clock: not set by a time server: no answer",
        "clock: set by the server, provisional",
    ]
    assert world(scenario, server=False, ntp=0) == ["clock: set by a time server, provisional"]


def test_1_without_the_servers_time_a_time_server_is_asked_until_there_is_one():
    async def scenario(w):
        w.client.trouble = NetError("no time today")
        await w.keep(10 * MINUTE, 10)
        assert len(w.client.asked) == len(w.ntp.asked) == 60
        assert not w.clock.is_set
        w.ntp.offset = 3
        await w.keep(10, 10)
        assert w.clock.is_set and w.wrong_by() == 3

    lines = world(scenario)
    assert lines[-1] == "clock: set by a time server, provisional"
    # A lasting fault is reported once, not every minute.
    assert len(lines) == 3


def test_1_the_first_time_is_one_that_two_answers_agree_on():
    async def scenario(w):
        await w.keep(MINUTE)
        assert w.wrong_by() == 0
        # One lie cost nothing but two more questions.
        assert len(w.ntp.asked) == 3

    for lie in (ROLLOVER, -20 * DAY, 3 * HOUR):
        world(scenario, server=False, ntp=0, lies=[lie])

    async def beside_a_server(w):
        await w.keep(MINUTE)
        assert w.wrong_by() == 0

    world(beside_a_server, ntp=0, lies=[ROLLOVER])
    # A time server that lies for ever does not win against a server; nor does one lie of that.
    world(beside_a_server, ntp=ROLLOVER)

    async def lying(w):
        w.client.lies = [ROLLOVER]
        await beside_a_server(w)

    world(lying, ntp=0)


def test_1_one_answer_is_enough_where_no_second_comes_within_ten_seconds():
    async def silent(w):
        await w.keep(MINUTE)
        assert w.clock.is_set
        assert len(w.ntp.asked) == 2

    world(silent, server=False, lies=[0])

    async def slow(w):
        w.ntp.takes = 11
        await w.keeper.sync()
        assert w.clock.is_set
        assert len(w.ntp.asked) == 1

    world(slow, server=False, ntp=0)


def test_1_answers_that_never_agree_set_no_clock():
    async def scenario(w):
        await w.keeper.sync()
        assert not w.clock.is_set
        assert w.said("its answers disagree")
        await w.keep(MINUTE)
        assert w.clock.is_set

    world(scenario, server=False, ntp=0, lies=[DAY * n for n in range(1, 5)])


def test_1_a_first_answer_of_2036_is_put_right_within_minutes_and_stays_so_for_400_days():
    def checked(silent):
        async def scenario(w):
            # The only answer that can be had at first, so that nothing contradicts it.
            w.ntp.lies = [ROLLOVER, None]
            w.client.lies = [ROLLOVER]
            if silent:
                w.client.trouble = NetError("no time today")
            await w.keeper.sync()
            near(w.wrong_by(), ROLLOVER)
            w.ntp.offset = 0 if silent else None
            await w.keep(HOUR)
            assert w.wrong_by() == 0
            assert w.said(" back, provisional")
            for _ in range(400):
                await w.keep(DAY, 6 * HOUR)
                assert w.wrong_by() == 0

        return scenario

    world(checked(True))
    # The same of a server without TLS.
    world(checked(False))


def test_1_three_answers_minutes_apart_win_and_two_do_not():
    async def scenario(w):
        w.ntp.offset = 5 * DAY
        for votes in range(2):
            await w.keep(5 * MINUTE, 10)
            assert w.wrong_by() == 0, votes
        assert w.said("432000 s off the clock's: not taken")
        w.ntp.offset = 0
        await w.keep(DAY)
        assert w.wrong_by() == 0
        # Answers that agree with nothing, not even with each other, move nothing.
        for days in range(1, 40):
            w.ntp.offset = (days % 7 + 1) * DAY
            await w.keep(5 * MINUTE)
            assert w.wrong_by() == 0
        w.ntp.offset = -4 * HOUR
        began = len(w.ntp.asked)
        while w.wrong_by() == 0:
            await w.keep(10, 10)
        asked = w.ntp.asked[began:]
        assert w.wrong_by() == -4 * HOUR
        assert len(asked) == 3 and asked[2] - asked[0] >= 10 * MINUTE

    world(scenario, is_set=True, server=False, ntp=0)


def test_1_a_chip_three_hours_ahead_is_put_right_by_a_week_of_honest_ntp():
    async def scenario(w):
        near(w.wrong_by(), 3 * HOUR)
        await w.keep(7 * DAY)
        assert w.wrong_by() == 0
        near(w.chip.read(), w.truth())
        assert w.chip.written == 1
        assert w.said("clock: set by a time server, 10800 s back, provisional")
        assert w.said("clock: the clock chip was corrected, 10800 s back")
        # And it stays right after a power cut.
        w.start()
        assert w.clock.is_set and w.wrong_by() == 0

    world(scenario, chip=3 * HOUR, ntp=0, server=False)


def test_1_a_forged_answer_each_day_moves_a_proved_clock_by_one_hour_in_all():
    def forged(sign, polls):
        async def scenario(w):
            await w.keep(MINUTE)
            assert w.keeper.proved
            w.client.trouble = NoReply("no answer")
            for poll in range(10 * 24 * 4):
                if poll % polls == 0:
                    # Ahead of what the reader shows.
                    w.ntp.offset = w.wrong_by() + sign * 3599
                await w.keep(15 * MINUTE, 15 * MINUTE)
                assert abs(w.wrong_by()) <= HOUR, (poll, w.wrong_by())
            assert abs(w.wrong_by()) >= 3599
            forgeries.append(len(w.ntp.asked))
            # The next proof ends that.
            w.client.trouble = None
            await w.keep(2 * MINUTE)
            assert w.wrong_by() == 0

        return scenario

    forgeries = []
    for sign in (1, -1):
        for polls in (1, 24 * 4):
            world(forged(sign, polls), secure=True, ntp=0)
    asked = sum(forgeries)
    print("# %d forged answers in forty days, never more than an hour off" % asked)


def test_1_no_lasting_lie_moves_a_proved_clock_by_more_than_an_hour():
    async def scenario(w):
        await w.keep(MINUTE)
        w.client.trouble = NoReply("no answer")
        for offset in (5 * DAY, 3000, -3000, 3599, -4 * HOUR):
            w.ntp.offset = offset
            await w.keep(3 * DAY, 5 * MINUTE)
            assert abs(w.wrong_by()) <= HOUR, (offset, w.wrong_by())

    world(scenario, secure=True, ntp=0)


def test_1_nothing_below_the_build_the_table_and_the_last_proof_is_taken_unproved():
    async def build(w):
        await w.keep(HOUR)
        assert not w.clock.is_set
        assert w.said("build")

    world(build, server=False, ntp=EARLIEST - START - DAY)

    async def table(w):
        w.table.minute = START // 60
        await w.keep(HOUR)
        assert not w.clock.is_set
        assert w.said("before the table's minute")
        w.ntp.offset = 0
        await w.keep(MINUTE)
        assert w.clock.is_set
        # Nor by three answers that agree.
        w.ntp.offset = -2 * DAY
        await w.keep(DAY)
        near(w.wrong_by(), 0)

    world(table, server=False, ntp=-15 * DAY)
    world(table, ntp=-15 * DAY, chip=-15 * DAY, server=False)

    async def proof(w):
        await w.keep(MINUTE)
        w.client.trouble = NoReply("no answer")
        await w.keep(20 * DAY, HOUR)
        for _ in range(2):
            # A power cut: whoever is on the way says that it is a week ago.
            w.start()
            w.ntp.offset = -7 * DAY
            await w.keep(HOUR)
            assert not w.clock.is_set
            assert w.said("before a time that was proved")
        w.ntp.offset = 0
        await w.keep(MINUTE)
        assert w.clock.is_set

    world(proof, secure=True, ntp=0)


def test_1_a_proof_may_lie_below_all_but_the_build():
    async def scenario(w):
        w.table.minute = START // 60 + 100000
        await w.keep(MINUTE)
        assert not w.wrong_by() and w.keeper.proved

    world(scenario, is_set=True, secure=True, ntp=0)


def test_1_an_https_reader_tells_the_hub_while_its_time_is_provisional():
    on = (entries.READER, 1, entries.CLOCK)
    off = (entries.READER, 0, entries.CLOCK)

    async def scenario(w):
        w.client.trouble = NoReply("no answer")
        await w.keep(3 * DAY)
        assert w.log.entries == [on]
        w.client.trouble = None
        await w.keep(DAY)
        assert w.log.entries == [on, off]

    world(scenario, secure=True, ntp=0)


def test_1_an_http_reader_tells_the_hub_once_a_start_that_its_time_is_provisional():
    async def scenario(w):
        for starts in range(1, 3):
            await w.keep(3 * DAY)
            assert w.log.entries == [(entries.READER, 1, entries.CLOCK)] * starts
            w.start()

    world(scenario, ntp=0)


def test_1_a_reader_without_a_server_has_no_entry_of_it():
    async def scenario(w):
        await w.keep(3 * DAY)
        assert w.clock.is_set and not w.log.entries

    world(scenario, server=False, ntp=0)


# 2. The server is asked until it has answered


def test_2_after_an_unproved_time_the_server_is_asked_at_every_poll():
    async def scenario(w):
        w.client.trouble = NetError("the connection was reset")
        await w.keeper.sync()
        near(w.wrong_by(), 15 * DAY)
        await w.keep(HOUR)
        assert len(w.client.asked) == 61
        # The time server is spared meanwhile.
        assert len(w.ntp.asked) <= 15
        w.client.trouble = None
        await w.keeper.sync()
        near(w.wrong_by(), 15 * DAY)  # back by more than an hour: by a second answer
        await w.keep(2 * MINUTE)
        assert w.wrong_by() == 0
        asked = len(w.client.asked)
        await w.keep(23 * HOUR)
        assert len(w.client.asked) == asked

    world(scenario, secure=True, ntp=15 * DAY)


def test_2_a_time_server_that_lied_is_corrected_at_the_next_poll():
    async def scenario(w):
        w.client.trouble = NetError("the connection was reset")
        await w.keeper.sync()
        near(w.wrong_by(), -15 * DAY)
        w.client.trouble = None
        await w.keeper.sync()
        assert w.wrong_by() == 0

    world(scenario, secure=True, ntp=-15 * DAY)


def test_2_a_server_that_has_no_page_for_the_time_is_asked_less_often():
    async def scenario(w):
        w.client.trouble = StatusError(404, "the server answered 404")
        await w.keep(DAY)
        assert w.wrong_by() == 0
        near(len(w.client.asked), 24 * 12)

    world(scenario, ntp=0)


# 3. The clock chip


def test_3_a_chip_gives_the_time_from_the_first_second_and_is_corrected_by_a_proof():
    async def scenario(w):
        assert w.clock.is_set and w.wrong_by() == 7
        assert w.lines == ["clock: set by the clock chip, provisional"]
        await w.keep(MINUTE)
        assert w.wrong_by() == 0
        near(w.chip.read(), w.truth(), 0)
        assert w.said("clock: the clock chip was corrected, 7 s back")
        # One that agrees is left alone.
        await w.keep(5 * DAY, HOUR)
        assert w.chip.written == 1

    world(scenario, chip=7, secure=True)


def test_3_a_chip_without_a_time_gets_one_without_a_word():
    async def scenario(w):
        await w.keep(MINUTE)
        assert w.chip.written == 1 and not w.said("the clock chip")

    world(scenario, chip=-1, secure=True, ntp=0)


def test_3_a_chip_is_never_written_with_what_nobody_confirmed():
    async def scenario(w):
        w.ntp.lies = [ROLLOVER, None]
        await w.keep(4 * MINUTE)
        near(w.wrong_by(), ROLLOVER)
        assert not w.chip.written
        await w.keep(HOUR)
        assert w.wrong_by() == 0
        near(w.chip.read(), w.truth())

    world(scenario, chip=-1, ntp=0, server=False)

    async def moved(w):
        await w.keep(MINUTE)
        w.client.trouble = NoReply("no answer")
        w.ntp.offset = 1800
        await w.keep(5 * DAY, HOUR)
        near(w.wrong_by(), 1800)
        near(w.chip.read(), w.truth())

    world(moved, chip=-1, secure=True, ntp=0)


def test_3_a_chip_without_a_time_or_with_an_old_one_is_not_believed():
    async def scenario(w):
        assert not w.clock.is_set
        w.client.trouble = NetError("no time today")
        await w.keeper.sync()
        w.keeper.offline()
        assert not w.clock.is_set

    world(scenario, chip=-1)
    world(scenario, chip=-20 * 365 * DAY)


def test_3_without_a_network_the_chip_is_asked_once_an_hour():
    async def scenario(w):
        await w.keep(MINUTE)
        # The clock chip's crystal is the better one.
        w.clock.ahead += 30
        w.keeper.offline()
        assert w.wrong_by() == 0
        w.clock.ahead += 30
        w.keeper.offline()
        assert w.wrong_by() == 30
        await asyncio.sleep(HOUR)
        w.keeper.offline()
        assert w.wrong_by() == 0
        # But a clock chip that is off by days is broken, however often it says so.
        w.chip.seconds += 3 * DAY
        for _ in range(30):
            await asyncio.sleep(HOUR)
            w.keeper.offline()
            assert w.wrong_by() == 0
        assert "not taken" in w.lines[-1]

    world(scenario, chip=0, secure=True)


def test_3_a_chip_keeps_the_clock_right_while_the_network_has_no_time():
    async def scenario(w):
        if w.client:
            w.client.offset = None
        await w.keep(2 * HOUR)
        for _ in range(5):
            w.clock.ahead += 40
            await w.keep(61 * MINUTE)
            assert abs(w.wrong_by()) <= 1

    world(scenario, chip=0)
    world(scenario, chip=0, server=False)


# 4. Certificates refused by their dates


def test_4_a_certificate_refused_by_its_dates_makes_it_ask_the_time_server_at_once():
    async def scenario(w):
        await w.keep(HOUR)
        asked = len(w.ntp.asked)
        await w.keep(5 * MINUTE)
        assert len(w.ntp.asked) == asked
        w.client.trouble = BadCertificate(BY_DATES)
        await w.keeper.sync()
        assert len(w.ntp.asked) == asked + 1
        # At once, but not at each of the polls that follow: answers count minutes apart.
        await w.keep(4 * MINUTE, 10)
        assert len(w.ntp.asked) == asked + 1
        both = "nobody has proved the clock's time: " + BY_DATES
        assert w.said("clock: not set by the server: " + both)

    async def down(w):
        w.client.trouble = NoReply("no answer")
        await scenario(w)

    world(down, secure=True, ntp=0)


def test_4_a_wrong_chip_and_a_certificate_that_it_makes_invalid_heal_within_minutes():
    async def scenario(w):
        for _ in range(20):
            # What a TLS that judges by the clock does.
            wrong = abs(w.wrong_by()) > DAY
            w.client.trouble = BadCertificate(BY_DATES) if wrong else None
            await w.keep(MINUTE)
        assert w.keeper.proved and w.wrong_by() == 0

    world(scenario, chip=ROLLOVER, secure=True, ntp=0)


def poller_words(fault, is_set, proved):
    """Return the poller's report of a certificate that was refused."""

    async def scenario(site):
        site.clock.is_set = is_set
        site.keeper.proved = proved
        site.keeper.clock = site.clock
        site.client.trouble = BadCertificate(fault)
        await asyncio.sleep(MINUTE)

    site = at_work(scenario)
    return [line for line in site.lines if line.startswith("sync: failed: ")]


def test_4_both_facts_are_told_and_of_a_wrong_name_only_that():
    assert poller_words(BY_DATES, False, False) == [
        "sync: failed: the clock is not set, so no certificate is valid: " + BY_DATES
    ]
    assert poller_words(BY_DATES, True, False) == [
        "sync: failed: nobody has proved the clock's time: " + BY_DATES
    ]
    assert poller_words(BY_DATES, True, True) == ["sync: failed: " + BY_DATES]
    for is_set in (True, False):
        assert poller_words(BY_NAME, is_set, False) == ["sync: failed: " + BY_NAME]

    async def by_name(w):
        w.client.trouble = BadCertificate(BY_NAME)
        await w.keep(HOUR)
        asked = len(w.ntp.asked)
        w.client.trouble = BadCertificate(BY_NAME + " x")
        await w.keep(MINUTE)
        assert len(w.ntp.asked) == asked
        assert w.said("clock: not set by the server: " + BY_NAME)

    world(by_name, secure=True, ntp=0)


def test_18_all_that_is_wrong_with_a_certificate_is_one_line():
    async def refuse():
        raise ValueError("\nIt starts in the future\n\nIt does not match\n")

    async def scenario():
        try:
            await wait_for(refuse(), 5, "x")
        except BadCertificate as e:
            return str(e)

    told = asyncio.run(scenario())
    assert told == "certificate not accepted while x: It starts in the future It does not match"


# 5. A server with a wrong clock


def test_5_a_server_that_says_its_clock_is_wrong_gives_no_time():
    words = "the server answered 503 (this hub's clock is 15 days behind its own database)"

    async def scenario(w):
        w.client.trouble = StatusError(503, words)
        await w.keep(3 * DAY, 5 * MINUTE)
        assert w.wrong_by() == 0
        near(w.chip.read(), w.truth(), 0)
        assert w.said("clock: not set by the server: " + words)

    for secure in (True, False):
        world(scenario, chip=0, ntp=0, secure=secure)
        world(scenario, chip=0, secure=secure)


def test_5_a_step_back_of_more_than_an_hour_takes_a_second_answer():
    async def scenario(w):
        await w.keep(MINUTE)
        w.client.offset = -2 * HOUR
        await asyncio.sleep(DAY)
        await w.keeper.sync()
        assert w.wrong_by() == 0
        assert w.said("clock: not set by the server: its time is 7200 s back: not taken yet")
        await asyncio.sleep(MINUTE)
        await w.keeper.sync()
        assert w.wrong_by() == -2 * HOUR
        assert w.said("clock: set by the server, 7200 s back")

    world(scenario, secure=True, ntp=0)

    async def once(w):
        await w.keep(MINUTE)
        w.client.lies = [-2 * HOUR]
        await w.keep(2 * DAY)
        assert w.wrong_by() == 0

    world(once, secure=True, ntp=0)


def test_5_a_refused_time_never_discards_the_zone():
    async def scenario(w):
        w.client.offset = EARLIEST - START - DAY
        await w.keep(HOUR)
        assert w.clock.zone == "MSK-3" and set(w.zones) == {"MSK-3"}
        assert w.wrong_by() == 0

    for secure in (True, False):
        world(scenario, chip=0, secure=secure)

    async def without_a_clock(w):
        w.client.offset = EARLIEST - START - DAY
        await w.keep(HOUR)
        assert w.clock.zone == "MSK-3" and not w.clock.is_set

    world(without_a_clock)


def test_5_a_zone_beside_a_refusal_is_taken():
    async def scenario(w):
        w.client.trouble = StatusError(503, "the server answered 503", "MSK-3")
        await w.keep(HOUR)
        assert w.clock.zone == "MSK-3" and set(w.zones) == {"MSK-3"}
        assert not w.clock.is_set

    world(scenario)
    world(scenario, secure=True)


def test_5_the_servers_zone_is_kept_and_a_wrong_one_is_told():
    async def scenario(w):
        await w.keep(MINUTE)
        assert w.clock.zone == "MSK-3" and w.zones == ["MSK-3"]
        w.client.zone = "Mars"
        await w.keep(DAY)
        await w.keep(MINUTE)
        assert w.clock.zone == "MSK-3" and w.zones == ["MSK-3"]
        assert "the server's zone is not taken" in w.lines[-1]

    world(scenario, secure=True, ntp=0)


def test_5_a_zone_in_the_settings_is_not_changed_by_the_server():
    async def scenario(w):
        await w.keep(MINUTE)
        assert w.clock.is_set and w.clock.zone == ""

    world(scenario, save_zone=False)
