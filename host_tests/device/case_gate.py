"""The gate: whatever a person is told stands in flash by then, whatever the power does next.

What tells a person (the lock, the console) looks into the flash when it is called: it opens the
log anew, as a start does.
"""

import asyncio

from device.chip_time import BEGAN
from device.fake_machine import import_with
from device.fake_time import run
from device.scratch import Folder
from device.syncs import apply
from kalitka import contacts
from kalitka.access import decision, packing
from kalitka.access.pace import Pace
from kalitka.hardware.wiegand import FrameError
from kalitka.journal import entries
from kalitka.journal.access_log import AccessLog
from kalitka.journal.anti_passback import AntiPassback
from kalitka.journal.entries import ALARM, DOOR, EXIT_BUTTON, FORCED, HELD, READER, SCANNER
from kalitka.journal.log import Log
from kalitka.table.table import Table

_SIZE = 65536
_NOW = 1795415400
_GUEST = b"04A1B2C3"
_STRANGER = b"0BADC0DE"
_LATE = b"0000A7E5"  # no longer valid


class Chip:
    """`machine`, of whose clock the gate's module imports the name only."""

    RTC = None


gate = import_with(Chip, "gate")


class Clock:
    """A clock that stands still."""

    is_set = True
    minute = _NOW // 60
    day_minute = minute % 1440
    weekday = 0
    zone = None

    def tick(self):
        """Nothing moves."""

    def __init__(self):
        self.up = BEGAN + 100

    def uptime(self):
        return self.up

    def seconds(self):
        return _NOW

    def text(self):
        return "now"


class Scanner:
    """Reads these cards, one a second, then none; None is a frame that is none."""

    def __init__(self, cards):
        self._cards = cards

        self.clears = 0
        self.turned = False

    def summary(self):
        return "1 bad"

    async def clear(self):
        self.clears += 1

    async def read(self, code):
        await asyncio.sleep(1 if self._cards else 1000)
        card = self._cards.pop(0)
        if card is None:
            raise FrameError("frame of 3 bits")
        code[: len(card)] = card
        return len(card)


class Contact:
    """Changes after each of these times, in seconds. active: whether something is on."""

    def __init__(self, times, active=False):
        self._times = times + [1000]
        self.active = active

    async def change(self):
        # As with a Contact, whoever waits may give it up and come again.
        while self._times[0] > 0:
            await asyncio.sleep(0.5)
            self._times[0] -= 0.5
        self._times.pop(0)
        self.active = not self.active
        return self.active


class Site:
    """`with Site() as site:` a log, and what a person is told with what is in flash by then.

    told: [(what, the last entry in flash as (source, state, reason, code), how many there are)].
    """

    def __init__(self):
        self._folder = Folder()
        self.told = []
        self.released = False  # as of a lock
        self.passes = None
        self.clock = Clock()
        self.hurried = 0

    def __enter__(self):
        self.path = self._folder.__enter__()
        self.log = AccessLog(self.path + "/journal", _SIZE, Clock(), self._fail)
        return self

    def __exit__(self, kind, error, trace):
        self._folder.__exit__(kind, error, trace)

    def _fail(self, line):
        raise AssertionError(line)

    def _tell(self, what):
        found = [entries.decode(data) for _, data in Log(self.path + "/journal", _SIZE).records()]
        last = found[-1] if found else (None,) * 5
        self.told.append((what, last[:3] + last[4:5], len(found)))

    def open(self):
        """As of a lock."""
        self._tell("opened")
        if self.passes:
            # A pass that is not sealed counts for nothing after a power cut.
            kept = Log(self.path + "/passes", _SIZE)
            assert kept.last == kept.acked == 1

    def report(self, line):
        """The console."""
        self._tell(line)

    def want(self, code, n):
        """Whoever asks the server about unknown cards."""
        self._tell("wanted " + bytes(code[:n]).decode())

    def judge(self):
        """Return a Gate with a table."""
        table = Table(self.path + "/table")
        late = packing.pack(b"1_100_200")
        apply(table, True, [(_GUEST, packing.pack(b"9_1")), (_LATE, late)], Clock.minute)
        return gate.Gate(
            table, self.clock, "minute", self.log, self.passes, Pace(10, 30), self.hurry
        )

    def hurry(self):
        """As the uploader: count the calls."""
        self.hurried += 1

    def serve(self, server, *arguments):
        """Run one of the gate's servers for a minute."""

        async def scenario():
            job = asyncio.create_task(server(*arguments))
            await asyncio.sleep(60)
            job.cancel()
            try:
                await job
            except asyncio.CancelledError:
                pass

        run(scenario)


def test_the_entry_of_a_pass_is_in_flash_before_the_pass_is_sealed():
    with Site() as site:
        site.passes = AntiPassback(site.path + "/passes", _SIZE)
        judge = site.judge()
        log = site.passes.log
        ack = log.ack
        sealed = []

        def seal(number):
            kept = Log(site.path + "/passes", _SIZE)
            found = [
                entries.decode(data) for _, data in Log(site.path + "/journal", _SIZE).records()
            ]
            sealed.append((kept.last, kept.acked, [(entry[1], entry[4]) for entry in found]))
            ack(number)

        log.ack = seal
        assert judge.decide(bytearray(_GUEST), len(_GUEST)) == decision.ALLOWED
        # The record was there, not sealed yet, and the entry as well.
        assert sealed == [(1, 0, [(1, _GUEST)])]


def test_a_card_opens_the_door_and_is_told_when_its_entry_is_in_flash():
    with Site() as site:
        judge = site.judge()
        scanner = Scanner([_GUEST, None, _STRANGER, _LATE, _GUEST])
        site.serve(gate.serve_scanner, scanner, judge, Clock(), site, site.want, site.report)
        allowed = (SCANNER, 1, decision.ALLOWED, _GUEST)
        unknown = (SCANNER, 0, decision.UNKNOWN_CODE, _STRANGER)
        assert site.told == [
            ("opened", allowed, 1),
            ("card 04A1B2C3 allowed (now), by 9_1", allowed, 1),
            ("scanner: frame of 3 bits (1 bad)", allowed, 1),
            ("card 0BADC0DE denied: unknown code (now)", unknown, 2),
            ("wanted 0BADC0DE", unknown, 2),
            site.told[5],
            ("opened", allowed, 4),
            ("card 04A1B2C3 allowed (now), by 9_1", allowed, 4),
        ], site.told
        words, entry, count = site.told[5]
        assert words.startswith("card 0000A7E5 denied: no longer valid")
        assert entry[:2] == (SCANNER, 0) and entry[3] == _LATE and count == 3


def test_18_a_card_outside_its_hours_is_told_which_rule_has_them():
    for text in (
        b"3_480_1200_0111100",
        b"3_0_1440_0000001",
        b"3_0_1_1111111",
        b"3_0_1440_0000000",
        b"3_1435_5_1111111",
        b"3_36000_86399_0100000",
        b"7_540_541_0111110_0_99999999",
    ):
        with Site() as site:
            table = Table(site.path + "/hours")
            apply(table, True, [(_GUEST, packing.pack(text))], Clock.minute)
            judge = gate.Gate(table, site.clock, "auto", site.log, None, Pace(10, 30), site.hurry)
            assert judge.decide(_GUEST, len(_GUEST)) == decision.rules.OUTSIDE_HOURS, text
            assert judge.text() == "denied: outside its hours (now), by " + text.decode()
            table.close()


def test_before_the_first_sync_a_card_is_refused_for_want_of_a_table_and_is_no_guess():
    with Site() as site:
        table = Table(site.path + "/empty")
        judge = gate.Gate(table, site.clock, "minute", site.log, None, Pace(10, 30), site.hurry)
        for n in range(20):
            code = b"%08X" % n
            assert judge.decide(code, len(code)) == decision.NO_TABLE
        assert not judge.guessing
        # A server that has no codes has given a table all the same.
        apply(table, True, [], _NOW // 60)
        assert judge.decide(_GUEST, len(_GUEST)) == decision.UNKNOWN_CODE
        assert _entries(site)[-1][2] == decision.UNKNOWN_CODE
        # The table of another server decides on until this one has answered.
        table.close()
        other = Table(site.path + "/empty", origin=77)
        judge = gate.Gate(other, site.clock, "minute", site.log, None, Pace(10, 30), site.hurry)
        assert judge.decide(_GUEST, len(_GUEST)) == decision.UNKNOWN_CODE


def _entries(site):
    found = [entries.decode(data) for _, data in Log(site.path + "/journal", _SIZE).records()]
    return [(entry[0], entry[1], entry[2], entry[4], entry[6]) for entry in found]


def test_the_same_refusal_within_a_minute_is_one_entry_and_a_count():
    unknown = (SCANNER, 0, decision.UNKNOWN_CODE, _STRANGER, 0)
    with Site() as site:
        judge = site.judge()
        for _ in range(50):
            judge.decide(_STRANGER, len(_STRANGER))
            site.clock.up += 1
            judge.tick()
        assert _entries(site) == [unknown]
        # A card that is let in does not begin anew; another refusal does.
        judge.decide(_GUEST, len(_GUEST))
        judge.decide(_STRANGER, len(_STRANGER))
        judge.decide(_LATE, len(_LATE))
        found = _entries(site)
        assert [entry[4] for entry in found if entry[0] == SCANNER] == [0, 0, 50, 0], found
        assert found[-1][3] == _LATE
        judge.decide(_STRANGER, len(_STRANGER))
        judge.decide(_STRANGER, len(_STRANGER))
        for _ in range(61):
            site.clock.up += 1
            judge.tick()
        judge.decide(_STRANGER, len(_STRANGER))
        found = [entry[4] for entry in _entries(site) if entry[0] == SCANNER]
        assert found == [0, 0, 50, 0, 0, 1, 0], found


def test_a_minute_without_a_repeat_leaves_no_count():
    with Site() as site:
        judge = site.judge()
        judge.decide(_STRANGER, len(_STRANGER))
        for _ in range(200):
            site.clock.up += 1
            judge.tick()
        assert len(_entries(site)) == 1


def test_guessing_is_logged_with_its_count_and_sent_at_once():
    with Site() as site:
        judge = site.judge()
        for i in range(12):
            code = b"%08X" % i
            judge.decide(code, 8)
            assert site.hurried == (i >= 9)
        assert judge.pause() == 8
        found = [entry for entry in _entries(site) if entry[0] == READER]
        assert found == [(READER, 1, entries.GUESSING, b"", 10)], found
        for _ in range(200):
            site.clock.up += 1
            judge.tick()
        assert judge.pause() == 0 and site.hurried == 2
        found = [entry for entry in _entries(site) if entry[0] == READER]
        assert found[1:] == [(READER, 0, entries.GUESSING, b"", 12)], found


def test_a_right_card_in_a_pause_is_let_in_at_its_end_and_one_card_a_pause_is_looked_at():
    with Site() as site:
        judge = site.judge()
        for i in range(12):
            judge.decide(b"%08X" % i, 8)
        scanner = Scanner([_GUEST])
        report = site.report
        turns = []

        async def scenario():
            job = asyncio.create_task(
                gate.serve_scanner(scanner, judge, site.clock, site, None, report)
            )
            for second in range(12):
                await asyncio.sleep(1)
                turns.append(scanner.turned)
                scanner.turned = False
                site.clock.up += 1
                assert [what for what, _, _ in site.told if what == "opened"] == [] or second > 6
            job.cancel()
            try:
                await job
            except asyncio.CancelledError:
                pass

        run(scenario)
        told = [what for what, _, _ in site.told]
        assert told[0].startswith("card held for "), told
        assert told[1:] == ["opened", "card 04A1B2C3 allowed (now), by 9_1"], told
        assert scanner.clears == 1
        assert any(turns)  # the watchdog sees a loop that turns


def test_many_right_cards_wait_for_a_second_and_none_of_them_is_dropped():
    with Site() as site:
        judge = site.judge()
        for _ in range(62):
            judge.decide(_GUEST, len(_GUEST))
        assert judge.pause() == 1
        site.told = []
        scanner = Scanner([_GUEST])

        async def scenario():
            job = asyncio.create_task(
                gate.serve_scanner(scanner, judge, site.clock, site, None, site.report)
            )
            await asyncio.sleep(1.5)
            site.clock.up += 2
            await asyncio.sleep(1)
            job.cancel()
            try:
                await job
            except asyncio.CancelledError:
                pass

        run(scenario)
        assert [what for what, _, _ in site.told] == [
            "card held for 1 s: too many cards before it",
            "opened",
            "card 04A1B2C3 allowed (now), by 9_1",
        ], site.told
        assert scanner.clears == 0


def test_a_card_that_may_pass_once_opens_the_door_when_entry_and_pass_are_in_flash():
    with Site() as site:
        site.passes = AntiPassback(site.path + "/passes", _SIZE, 60)
        judge = site.judge()
        scanner = Scanner([_GUEST, _GUEST])
        site.serve(gate.serve_scanner, scanner, judge, Clock(), site, None, site.report)
        allowed = (SCANNER, 1, decision.ALLOWED, _GUEST)
        used = (SCANNER, 0, decision.ALREADY_USED, _GUEST)
        assert site.told == [
            ("opened", allowed, 1),
            ("card 04A1B2C3 allowed (now), by 9_1", allowed, 1),
            ("card 04A1B2C3 denied: already used (now)", used, 2),
        ], site.told


def test_the_exit_button_opens_the_door_when_its_entry_is_in_flash():
    with Site() as site:
        button = Contact([1, 1, 1, 1])
        site.serve(contacts.serve_exit_button, button, site.log, site, site.report)
        pressed = (EXIT_BUTTON, 1, 0, b"")
        assert site.told == [
            ("opened", pressed, 1),
            ("exit button", pressed, 1),
            ("opened", pressed, 2),
            ("exit button", pressed, 2),
        ], site.told


def test_the_alarm_is_told_when_it_is_in_flash_also_one_that_is_on_at_the_start():
    for active, expected in ((False, ("on", "off")), (True, ("on", "off", "on"))):
        with Site() as site:
            contact = Contact([1, 1], active)
            site.serve(contacts.serve_alarm, contact, site.log, site.report)
            for count in range(len(expected)):
                entry = (ALARM, int(expected[count] == "on"), 0, b"")
                assert site.told[count] == ("alarm " + expected[count], entry, count + 1)
            assert len(site.told) == len(expected)


def test_the_door_is_told_when_it_is_in_flash():
    for released, reason, words in ((False, FORCED, "forced"), (True, HELD, "held open")):
        with Site() as site:
            site.released = released
            door = Contact([1, 10])
            site.serve(contacts.serve_door, door, 5, site.log, site, site.report)
            assert site.told == [
                ("door " + words, (DOOR, 1, reason, b""), 1),
                ("door shut, it was " + words, (DOOR, 0, reason, b""), 2),
            ], site.told
