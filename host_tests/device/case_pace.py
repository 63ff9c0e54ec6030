"""The pace of answers: how long guessing takes, and that nobody waits for longer than promised."""

from kalitka.access.pace import Pace

LIMIT = 10
LONGEST = 30
TRIES = 335  # to the first hit, on average: 50,000 cards among 2^24 codes
HOUR = 3600


class Gate:
    """A gate at which somebody guesses; counts seconds and answers."""

    def __init__(self, limit=LIMIT, longest=LONGEST):
        self.pace = Pace(limit, longest)
        self.now = 1000
        self.began = self.now
        self.unknown = 0
        self.begins = []  # (seconds since the start, unknown codes so far)
        self.waits = []

    def scan(self, allowed=False, unknown=True):
        """Hold a card up now; the answer comes when it may."""
        wait = self.pace.wait(self.now)
        self.waits.append(wait)
        self.pass_time(wait)
        self.unknown += unknown
        if self.pace.answer(self.now, allowed, unknown):
            self.begins.append((self.now - self.began, self.unknown))

    def pass_time(self, seconds):
        """Let time pass, with a look every second as the clock does."""
        over = 0
        for _ in range(seconds):
            self.now += 1
            over += self.pace.tick(self.now)
        return over

    def hours(self):
        """Return the hours since the start."""
        return (self.now - self.began) / HOUR


def test_nine_unknown_codes_are_answered_at_once_and_behind_the_tenth_come_pauses():
    gate = Gate()
    for _ in range(16):
        gate.scan()
    assert gate.waits == [0] * 10 + [2, 4, 8, 16, 30, 30], gate.waits
    assert gate.begins == [(0, 10)]
    assert gate.pace.guessing and gate.pace.tries == 16


def test_ten_within_a_minute_count_and_ten_within_more_do_not():
    for pause, begins in ((6, True), (8, False)):
        gate = Gate()
        for _ in range(10):
            gate.scan()
            gate.pass_time(pause)
        assert bool(gate.begins) == begins, (pause, gate.begins)


def test_an_admission_between_begins_the_count_anew():
    gate = Gate()
    for card in range(19):
        gate.scan(allowed=card == 9, unknown=card != 9)
    assert not gate.begins and not any(gate.waits)
    gate.scan()
    assert gate.begins


def test_other_refusals_are_no_guesses():
    gate = Gate()
    for _ in range(50):
        gate.scan(unknown=False)
    assert not gate.begins and not any(gate.waits)


def test_the_pauses_end_when_unknown_codes_are_rare_again():
    gate = Gate()
    for _ in range(10):
        gate.scan()
    assert gate.pass_time(60) == 0 and gate.pace.guessing
    assert gate.pass_time(1) == 1 and not gate.pace.guessing
    # Once only, and then a single one is answered at once.
    assert gate.pass_time(100) == 0
    gate.scan()
    assert gate.waits[-1] == 0 and not gate.pace.guessing


def test_admissions_shorten_the_pauses():
    gate = Gate()
    for _ in range(14):
        gate.scan()
    del gate.waits[:]
    for _ in range(6):
        gate.scan(allowed=True, unknown=False)
    assert gate.waits == [30, 15, 7, 3, 1, 0], gate.waits


def _as_fast_as_it_goes(gate):
    gate.scan()


def _in_bursts(gate):
    # Until a pause comes; then as long as it takes until there is none.
    gate.scan()
    if gate.pace.guessing:
        while gate.pace.guessing:
            gate.pass_time(1)


def _below_the_limit(gate):
    for _ in range(LIMIT - 1):
        gate.scan()
    gate.pass_time(61)


def _patiently(gate):
    gate.scan()
    gate.pass_time(29)


def _until_the_pause_is_long(gate):
    gate.scan()
    while gate.pace.guessing and gate.pace.wait(gate.now) > 8:
        gate.pass_time(1)
        if not gate.pace.wait(gate.now):
            break


def test_no_way_of_guessing_takes_less_than_two_and_a_half_hours():
    for way in (
        _as_fast_as_it_goes,
        _in_bursts,
        _below_the_limit,
        _patiently,
        _until_the_pause_is_long,
    ):
        gate = Gate()
        while gate.unknown < TRIES:
            way(gate)
        print("%s: %d tries in %.2f hours" % (way.__name__, gate.unknown, gate.hours()))
        assert gate.hours() >= 2.5, (way.__name__, gate.hours())
        if way is not _patiently:
            assert gate.begins and gate.begins[0][0] <= 120, gate.begins
        assert max(gate.waits) <= LONGEST


def test_whoever_has_a_card_that_is_right_gains_one_try_for_each_admission():
    # Nine tries, then the card, for ever: 1,800 tries an hour at two admissions each ten seconds
    # if an admission forgave everything.
    gate = Gate()
    admissions = 0
    while gate.unknown < TRIES:
        for _ in range(LIMIT - 1):
            gate.scan()
        gate.scan(allowed=True, unknown=False)
        admissions += 1
    assert gate.begins[0][1] <= 2 * LIMIT
    assert gate.hours() >= 1, gate.hours()


def test_a_site_may_have_it_stricter_or_off():
    gate = Gate(3, 300)
    for _ in range(12):
        gate.scan()
    assert gate.waits == [0] * 3 + [2, 4, 8, 16, 32, 64, 128, 256, 300], gate.waits
    gate = Gate(0)
    for _ in range(50):
        gate.scan()
    assert not gate.begins and not any(gate.waits)
    gate = Gate(1, 2)
    for _ in range(5):
        gate.scan()
    assert gate.waits == [0, 2, 2, 2, 2]


def test_no_card_at_all_is_answered_more_than_once_a_second_for_long():
    for limit in (0, LIMIT):
        gate = Gate(limit)
        for _ in range(4 * HOUR):
            gate.scan(allowed=True, unknown=False)
        assert max(gate.waits) == 1
        # Sixty at once, then one a second.
        assert 4 * HOUR - 70 <= gate.now - gate.began <= 4 * HOUR, gate.now - gate.began
    # People who come one after the other never wait.
    gate = Gate()
    for _ in range(1000):
        gate.scan(allowed=True, unknown=False)
        gate.pass_time(1)
    assert not any(gate.waits)
