"""The scanner's gate: decides on each card, logs the verdict, opens the door.

`contacts` serves the exit button, the door contact and the alarm contact. Promises: a verdict is
in the access log before the person at the door learns it. An admission with anti-passback goes
through five steps, in this order; beside them, what a power cut between two steps leaves:

    1 record   the pass, appended to the anti-passback log; it does not count yet
        | cut: the pass is unused, the next start voids the record
    2 entry    "allowed", in the access log
        | cut: the pass is unused, though the access log has the entry
    3 seal     the record is acknowledged by a single program of the flash: the pass is used
        | cut: the pass is lost; nothing but computing lies between seal and door
    4 door     the lock is opened
        | cut: only the console line is missing
    5 words    the console line: slow, so the door does not wait for it

Without anti-passback steps 1 and 3 are left out; a denial is an entry and words. If the seal
fails, the person is denied, and a denial of the same code follows the entry in the access log.

The same refusal of the same code within a minute is not logged again but counted: an entry with
the number follows. Whoever tries many unknown codes waits; see `access.pace`.
"""

import asyncio

from kalitka.access import decision, rules
from kalitka.access.pace import Pace
from kalitka.hardware.lock import Lock
from kalitka.hardware.wiegand import CODE_SIZE, FrameError, Wiegand
from kalitka.journal import entries
from kalitka.journal.access_log import AccessLog
from kalitka.system.clock import Clock
from kalitka.table.table import DAMAGED, FOUND, Table
from micropython import const

_SAME_S = const(60)  # within which the same refusal of a code is counted only
_LOOK_S = const(0.25)  # between two looks whether a pause is over


class Gate:
    """The decision on a code, from the table and the clock, with its entry in the access log.

    unit: the setting `day_time_unit`. log: the access log. passes: the anti-passback store
    (`journal.anti_passback.AntiPassback`), or None if repeats are allowed. pace: a Pace. hurry:
    called when an entry should be sent at once, or None.
    """

    def __init__(
        self, table: Table, clock: Clock, unit: str, log: AccessLog, passes, pace: Pace, hurry
    ):
        self._table = table
        self._log = log
        self._passes = passes
        self._clock = clock
        self._unit = unit
        self._pace = pace
        self._hurry = hurry
        self._verdict = decision.Verdict()
        # The last refusal, and how often it was repeated without an entry.
        self._refused = None  # (code, reason)
        self._since = 0  # of its entry, uptime in seconds
        self._repeat = 0

    def decide(self, code: bytes | bytearray, n: int) -> int:
        """Decide on the code `code[:n]` now; return the reason (see `access.decision`).

        The verdict is in the access log on return. ALLOWED has also used up the pass, if there is
        an anti-passback store: open the door at once.
        """
        code = bytes(code[:n])
        self._decide(code)
        verdict = self._verdict
        repeated = False
        if verdict.reason != decision.ALLOWED:
            repeated = self._refuse(code)
        elif not self._passes:
            self._log_pass(code)
        elif not self._claim(code):
            self._refuse(code)
        now = self._clock.uptime()
        reason = verdict.reason
        # The same code again is no further guess: a card may lie on the scanner.
        guess = reason == decision.UNKNOWN_CODE and not repeated
        if self._pace.answer(now, reason == decision.ALLOWED, guess):
            self._log_guessing(1)
        return reason

    def pause(self) -> int:
        """Return for how many seconds the next answer has to wait."""
        return self._pace.wait(self._clock.uptime())

    @property
    def guessing(self) -> bool:
        """Whether answers wait now, because codes are being guessed."""
        return self._pace.guessing

    def tick(self) -> None:
        """Keep the log, and log what was only counted when its minute is over.

        Call this every second.
        """
        self._log.tick()
        now = self._clock.uptime()
        if self._refused and now >= self._since + _SAME_S:
            self._log_repeats()
        if self._pace.tick(now):
            self._log_guessing(0)

    def _log_pass(self, code):
        self._log.append(entries.SCANNER, 1, decision.ALLOWED, code)

    def _refuse(self, code):
        # Returns whether this is the last refusal again, which is only counted.
        reason = self._verdict.reason
        now = self._clock.uptime()
        if (code, reason) == self._refused and now < self._since + _SAME_S:
            self._repeat += 1
            return True
        self._log_repeats()
        self._log.append(entries.SCANNER, 0, reason, code)
        self._refused = code, reason
        self._since = now
        return False

    def _log_repeats(self):
        if self._refused and self._repeat:
            code, reason = self._refused
            self._log.append(entries.SCANNER, 0, reason, code, self._repeat)
            self._repeat = 0
        self._refused = None

    def _log_guessing(self, state):
        self._log.append(entries.READER, state, entries.GUESSING, b"", self._pace.tries)
        if self._hurry:
            self._hurry()

    def _decide(self, code):
        table = self._table
        verdict = self._verdict
        state = table.find(code, len(code))
        if state == FOUND:
            clock = self._clock
            verdict.decide(
                table.rules,
                table.at,
                table.end,
                self._seconds(),
                clock.minute,
                clock.day_minute,
                clock.weekday,
            )
        elif state == DAMAGED:
            verdict.deny(decision.TABLE_DAMAGED)
        elif table.minute or table.stale:
            verdict.deny(decision.UNKNOWN_CODE)
        else:
            verdict.deny(decision.NO_TABLE)

    def _seconds(self):
        return rules.in_seconds(self._unit, self._table.seconds)

    def _claim(self, code):
        # Claims a pass; returns whether the person may pass.
        table = self._table
        clock = self._clock
        reason = self._passes.claim(
            code,
            table.rules,
            table.at,
            table.end,
            self._seconds(),
            clock.minute,
            clock.day_minute,
            clock.weekday,
            # Step 2: called between record and seal, so that no write delays the door after it.
            lambda: self._log_pass(code),
        )
        if reason == decision.ALLOWED:
            return True
        self._verdict.deny(reason)
        return False

    def text(self) -> str:
        """Return the last decision in words: the verdict, the local time, the rule or the date.

        The rule is the one that permits or whose hours deny, the date the one that denies. Call
        this before the next lookup in the table, which overwrites the rule set.
        """
        verdict = self._verdict
        clock = self._clock
        reason = verdict.reason
        words = decision.REASONS[reason]
        if reason == decision.ALLOWED:
            rule = rules.text_of(self._table.rules, verdict.rule).decode()
            return "%s (%s), by %s" % (words, clock.text(), rule)
        words = "denied: %s (%s)" % (words, clock.text())
        if reason == decision.NOT_KEPT:
            words += ", " + self._passes.fault
        if reason == rules.OUTSIDE_HOURS:
            words += ", by " + rules.text_of(self._table.rules, verdict.rule).decode()
        if verdict.when:
            edge = "from" if reason == rules.NOT_YET else "until"
            words += ", %s %s" % (edge, decision.date_text(verdict.when, clock.zone))
        return words


async def serve_scanner(
    scanner: Wiegand, gate: Gate, clock: Clock, lock: Lock, on_unknown, report
) -> None:
    """Decide on every card the scanner reads, for ever.

    on_unknown: called with (code, n) for an unknown code, or None. report: a callable that takes
    a line of text (str).
    """
    code = bytearray(CODE_SIZE)
    while True:
        try:
            n = await scanner.read(code)
        except FrameError as e:
            report("scanner: %s (%s)" % (e, scanner.summary()))
            continue
        pause = gate.pause()
        if pause:
            report("card held for %d s: too many cards before it" % pause)
            while gate.pause():
                scanner.turned = True
                await asyncio.sleep(_LOOK_S)
        clock.tick()
        reason = gate.decide(code, n)
        if reason == decision.ALLOWED:
            lock.open()
        # Last: the door must not wait for the console.
        report("card %s %s" % (bytes(code[:n]).decode(), gate.text()))
        if on_unknown and reason == decision.UNKNOWN_CODE:
            on_unknown(code, n)
        if pause and gate.guessing:
            # One card a pause: else a pause full of tries would be as good as none.
            await scanner.clear()
