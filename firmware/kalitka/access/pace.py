"""The pace of answers: pauses for whoever guesses codes or floods the scanner.

Pure; times are uptimes in whole seconds. Promises: over hours no strategy gets more than two
unknown codes a minute answered, some twenty more at first, and one for each card that is let in;
all cards together get one answer a second, some sixty more at first; nobody waits for longer than
the longest pause.
"""

from micropython import const

# Each unknown code adds so much, or the longest pause if that is more, to a debt that time pays
# back, a second each second. So tries that are spread out count as well, but two a minute are
# never too many.
_TRY_S = const(30)
_WINDOW_S = const(60)  # within which the limit of unknown codes starts the pauses
_FIRST_S = const(2)  # the first pause; it doubles
_BURST = const(60)  # answers that need no pause between them


class Pace:
    """The pauses at one gate.

    limit: unknown codes within a minute, without an admission between them, that start the
    pauses; 0 for no pauses. Twice as many start them with admissions between them, too.
    most: the longest pause in seconds.

    guessing: whether the pauses are in force. tries: unknown codes since they began, those that
    started them included.
    """

    def __init__(self, limit: int, most: int):
        self._limit = limit
        self._most = most
        self._step = max(_TRY_S, most)
        # The debt of `limit` codes of which the first one came a minute ago.
        self._threshold = max(1, limit * self._step - _WINDOW_S)
        self._debt = 0  # of unknown codes, seconds
        self._count = 0  # a debt of a second for each answer
        self._last = 0  # until when both are paid
        self._run = 0  # unknown codes in a row
        self._pause = 0  # the present pause, seconds; 0 for none
        self._until = 0  # no answer before
        self.guessing = False
        self.tries = 0

    def wait(self, now: int) -> int:
        """Return for how many seconds the next answer has to wait."""
        return max(0, self._until - now)

    def answer(self, now: int, allowed: bool, unknown: bool) -> bool:
        """Count an answer; return whether the pauses come into force with it."""
        self._advance(now)
        self._count += 1
        self._until = now + 1 if self._count > _BURST else 0
        if not self._limit:
            return False
        begins = False
        if allowed:
            if self.guessing:
                self._pause = self._pause >> 1 if self._pause > _FIRST_S else 0
            else:
                self._run = 0
        if unknown:
            self._debt = min(self._debt + self._step, 4 * self._threshold)
            self._run += 1
            if self.guessing:
                self.tries += 1
                self._pause = min(max(2 * self._pause, _FIRST_S), self._most)
            elif (
                self._run >= self._limit and self._debt >= self._threshold
            ) or self._debt >= 2 * self._limit * self._step:
                begins = self.guessing = True
                self.tries = self._run
                self._pause = _FIRST_S
        if self.guessing:
            self._until = max(self._until, now + self._pause)
        return begins

    def tick(self, now: int) -> bool:
        """Return whether the pauses end now, because unknown codes have become rare."""
        self._advance(now)
        if not self.guessing or self._debt >= self._threshold:
            return False
        self.guessing = False
        return True

    def _advance(self, now):
        passed = now - self._last
        self._last = now
        self._count = max(0, self._count - passed)
        self._debt = max(0, self._debt - passed)
        if not self._debt:
            self._run = 0
