"""What happens at the gate when a card comes. `contacts` has the exit button, door and alarm.

Promises: whatever a person is told was written to the access log before.
"""

from kalitka.access import decision, rules
from kalitka.hardware.lock import Lock
from kalitka.hardware.wiegand import CODE_SIZE, FrameError, Wiegand
from kalitka.journal import entries
from kalitka.journal.access_log import AccessLog
from kalitka.system.clock import Clock
from kalitka.table.table import DAMAGED, FOUND, Table


class Gate:
    """Decides about codes: asks the table and the clock, and logs what it decided.

    unit: the setting `day_time_unit`. log: the access log. passes: the anti-passback store
    (`journal.anti_passback.AntiPassback`), None if repeats are allowed.
    """

    def __init__(self, table: Table, clock: Clock, unit: str, log: AccessLog, passes):
        self._table = table
        self._log = log
        self._passes = passes
        self._clock = clock
        self._unit = unit
        self._verdict = decision.Verdict()

    def decide(self, code: bytes | bytearray, n: int) -> int:
        """Return the reason (see `access.decision`) for the code `code[:n]`, now.

        It has been kept in the access log, and ALLOWED as a pass, if passes are: it is to be
        signalled at once.
        """
        code = bytes(code[:n])
        self._decide(code)
        reason = self._verdict.reason
        if reason != decision.ALLOWED:
            self._log.append(entries.SCANNER, 0, reason, code)
        elif not self._passes:
            self._log_pass(code)
        elif not self._claim(code):
            self._log.append(entries.SCANNER, 0, self._verdict.reason, code)
        return self._verdict.reason

    def _log_pass(self, code):
        self._log.append(entries.SCANNER, 1, decision.ALLOWED, code)

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
        else:
            verdict.deny(decision.TABLE_DAMAGED if state == DAMAGED else decision.UNKNOWN_CODE)

    def _seconds(self):
        return self._table.seconds if self._unit == "auto" else self._unit == "second"

    def _claim(self, code):
        # Returns whether there was one.
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
            # Before the seal. If that fails, a refusal of the same code follows in the log.
            lambda: self._log_pass(code),
        )
        if reason == decision.ALLOWED:
            return True
        self._verdict.deny(reason)
        return False

    def text(self) -> str:
        """Return the last decision in words, while the table was asked for nothing else.

        With the time, and behind it the rule that permits, or the date that refuses.
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
        if verdict.when:
            edge = "from" if reason == rules.NOT_YET else "until"
            words += ", %s %s" % (edge, decision.date_text(verdict.when, clock.zone))
        return words


async def serve_scanner(
    scanner: Wiegand, gate: Gate, clock: Clock, lock: Lock, on_unknown, report
) -> None:
    """Decide on every card the scanner reads, for ever.

    on_unknown: called with (code, n) for an unknown one, or None. report: a callable that takes a
    line of text (str).
    """
    code = bytearray(CODE_SIZE)
    while True:
        try:
            n = await scanner.read(code)
        except FrameError as e:
            report("scanner: %s (%s)" % (e, scanner.summary()))
            continue
        clock.tick()
        reason = gate.decide(code, n)
        if reason == decision.ALLOWED:
            lock.open()
        # Reported after the door, which must not wait for the console.
        report("card %s %s" % (bytes(code[:n]).decode(), gate.text()))
        if on_unknown and reason == decision.UNKNOWN_CODE:
            on_unknown(code, n)
