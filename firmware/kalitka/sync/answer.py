"""The sync answer as a stream: fed in pieces of any size, told item by item.

    MINUTE%code,...,code%
    CODE_/RULE

Promises: never holds more than one code and one rule, whatever the answer's size; calls its
sink in the order of the answer; believes nothing before the first line is seen to be one, and
nothing at all before `finish` was told that every byte had come. What is wrong in one line is
dropped, counted and reported; the rest goes on. Source: protocol, "Sync: the answer as a stream".

A sink has `minute(minutes)`, `delete(code)`, `rules(text, at, n, marks)` and
`dropped(line, reason)`. `rules` takes the whole lines of text[at:n] itself, and says of them in
`marks` and its result what `sync_native.pack_lines` does; it is called until that is 0. A code
whose rule was dropped it takes with an empty rule: the reader then knows the code and can say that
it understands none of its rules.
"""

from array import array

from kalitka.access import packing
from kalitka.table import codes
from micropython import const

_ITEM_MAX = const(326)  # a line as far as it is looked at, one byte more and a newline
_DIGITS_MAX = const(10)  # of a minute

# What is wrong with a line, by the number that `sync_native.pack_lines` returns.
FAULTS = {-4: "no _/ in line"}
FAULTS.update(codes.FAULTS)
FAULTS.update(packing.FAULTS)

# MINUTE -> DELETES at the first '%' -> END_OF_FIRST at the second one -> LINES at the newline.
_MINUTE = const(0)
_DELETES = const(1)
_END_OF_FIRST = const(2)
_LINES = const(3)
_FINISHED = const(4)


class AnswerError(ValueError):
    """The body is no complete sync answer: nothing of it may be applied. Says why, in words."""


class AnswerParser:
    """Parses one answer. Counts in `deletes`, `rules` and `dropped`; `reasons` by their words."""

    def __init__(self, sink):
        self._sink = sink
        self._state = _MINUTE
        self._item = bytearray(_ITEM_MAX)  # what has come of the current code or line
        self._length = 0  # bytes of it, also those that did not fit
        self._line = 1
        self._marks = array("i", [0, 0, 0, 0])
        self.received = 0  # bytes fed
        self.deletes = 0
        self.rules = 0
        self.dropped = 0
        self.reasons = {}

    def feed(self, data: bytes | bytearray, n: int = -1) -> None:
        """Take the next `n` bytes (all, if negative) of the body from `data`, bytes or bytearray.

        Raises AnswerError as soon as the body cannot be a sync answer.
        """
        if n < 0:
            n = len(data)
        self.received += n
        at = 0
        while at < n:
            if self._state == _LINES:
                at = self._feed_line(data, at, n)
            elif self._state == _DELETES:
                at = self._feed_delete(data, at, n)
            elif self._state == _MINUTE:
                at = self._feed_minute(data, at, n)
            elif self._state == _END_OF_FIRST:
                at = self._feed_end(data, at)
            else:
                raise AnswerError("the answer goes on after its end")

    def finish(self, received_all: bool) -> None:
        """End the answer. `received_all`: the transport saw the end that the server announced.

        Raises AnswerError if the answer was cut or never was one.
        """
        if not received_all:
            raise AnswerError("answer cut after %d bytes" % self.received)
        if self._state in (_MINUTE, _DELETES):
            raise AnswerError("not a sync answer: no first line MINUTE%CODES%")
        if self._state == _LINES and self._length:
            self._end_line()
        self._state = _FINISHED
        # What remains are the counters; the memory is wanted for the commit.
        self._item = bytearray()

    def _feed_minute(self, data, at, n):
        end = data.find(b"%", at, n)
        self._add(data, at, n if end < 0 else end)
        # Checked in every piece: a page of HTML is refused at its first byte.
        digits = bytes(self._item[: min(self._length, _ITEM_MAX)])
        if not digits.isdigit() and (digits or end == at):
            raise AnswerError("not a sync answer: it does not begin with a minute")
        if self._length > _DIGITS_MAX:
            raise AnswerError("not a sync answer: minute of more than ten digits")
        if end < 0:
            return n
        self._length = 0
        self._state = _DELETES
        self._sink.minute(int(digits))
        return end + 1

    def _feed_delete(self, data, at, n):
        end = data.find(b"%", at, n)
        comma = data.find(b",", at, n if end < 0 else end)
        stop = comma if comma >= 0 else end
        if data.find(b"\n", at, n if stop < 0 else stop) >= 0:
            raise AnswerError("not a sync answer: the first line has no second %")
        self._add(data, at, n if stop < 0 else stop)
        if stop < 0:
            return n
        # `%%` names no code at all; elsewhere an empty name is a fault.
        if self._length or comma >= 0 or self.deletes or self.dropped:
            self._end_delete()
        if comma < 0:
            self._state = _END_OF_FIRST
        return stop + 1

    def _end_delete(self):
        code = bytes(self._item[: min(self._length, _ITEM_MAX)])
        fault = codes.check(code)
        self._length = 0
        if fault:
            self._drop(fault, self._line)
            return
        self.deletes += 1
        self._sink.delete(code)

    def _feed_end(self, data, at):
        byte = data[at]
        if byte == 0x0A:
            self._state = _LINES
            self._line = 2
            self._length = 0
        elif byte == 0x0D and not self._length:
            self._length = 1  # a carriage return, once
        else:
            raise AnswerError("not a sync answer: the first line goes on after its second %")
        return at + 1

    def _feed_line(self, data, at, n):
        if self._length:
            # A line that began in an earlier piece.
            end = data.find(b"\n", at, n)
            self._add(data, at, n if end < 0 else end)
            if end < 0:
                return n
            self._end_line()
            at = end + 1
        at = self._pack(data, at, n)
        self._add(data, at, n)
        return n

    def _end_line(self):
        size = min(self._length, _ITEM_MAX - 1)
        self._item[size] = 0x0A
        self._length = 0
        self._pack(self._item, 0, size + 1)

    def _pack(self, data, at, n):
        # Lets the sink have all whole lines of data[at:n]; returns where the rest begins.
        marks = self._marks
        fault = 1
        while fault:
            fault = self._sink.rules(data, at, n, marks)
            at = marks[0]
            self._line += marks[1]
            self.rules += marks[2]
            if fault < 0:
                self._drop(FAULTS[fault], self._line - 1)
        return at

    def _add(self, data, at, end):
        # What does not fit is counted and thrown away: such an item is dropped at its end.
        room = _ITEM_MAX - 1 - self._length
        if room > 0:
            size = min(room, end - at)
            self._item[self._length : self._length + size] = data[at : at + size]
        self._length += end - at

    def _drop(self, reason, line):
        self.dropped += 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        self._sink.dropped(line, reason)
