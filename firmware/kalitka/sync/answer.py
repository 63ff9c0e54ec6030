"""A streaming parser of sync answers: fed pieces of any size, it calls a sink item by item.

    MINUTE%code,...,code%
    CODE_/RULE

Promises: never holds more than one code and one rule, whatever the answer's size; calls its
sink in the order of the answer; accepts no answer before its first line has proved valid, and
none as complete before `finish` has confirmed that every byte came. An invalid line is dropped,
counted and reported, and parsing continues. Source: protocol, "Sync: the answer as a stream".

A sink has `minute(minutes)`, `delete(code)`, `rules(text, at, n, marks)` and
`dropped(line, reason)`. `rules` parses the whole lines of text[at:n] itself; its result and
`marks` are those of `sync_native.pack_lines`, and it is called until it returns 0. A code
whose rule was dropped gets an empty rule, so that the reader knows the code and can report that
it understands none of its rules.
"""

from array import array

from kalitka.access import packing
from kalitka.table import codes
from micropython import const

# `sync_native` looks at 324 bytes of a line (its _LINE_MAX): one byte more shows that a line is
# too long, and one is for the newline.
_ITEM_MAX = const(326)
_DIGITS_MAX = const(10)  # of a minute

# MINUTE -> DELETES at the first '%' -> END_OF_FIRST at the second one -> LINES at the newline.
_MINUTE = const(0)
_DELETES = const(1)
_END_OF_FIRST = const(2)
_LINES = const(3)
_FINISHED = const(4)


class AnswerError(ValueError):
    """The body is not a complete sync answer, so none of it may be applied. Says why, in words."""


class AnswerParser:
    """A parser of one answer.

    deletes, rules, dropped: how many have come. reasons: {reason in words: lines dropped for it}.
    """

    def __init__(self, sink):
        self._sink = sink
        self._state = _MINUTE
        self._item = bytearray(_ITEM_MAX)  # the current code or line, as far as it has come
        self._length = 0  # bytes of the item, including those that did not fit
        self._line = 1
        self._marks = array("i", [0, 0, 0, 0])
        self.received = 0  # bytes fed
        self.deletes = 0
        self.rules = 0
        self.dropped = 0
        self.reasons = {}

    def feed(self, data: bytes | bytearray, n: int = -1) -> None:
        """Parse the next `n` bytes (all, if negative) of the body from `data`, bytes or bytearray.

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
        """End the answer. received_all: whether the transport saw the end the server announced.

        Raises AnswerError if the answer was cut or is not a sync answer.
        """
        if not received_all:
            raise AnswerError("answer cut after %d bytes" % self.received)
        if self._state in (_MINUTE, _DELETES):
            raise AnswerError("not a sync answer: no first line MINUTE%CODES%")
        if self._state == _LINES and self._length:
            self._end_line()
        self._state = _FINISHED
        # Only the counters are needed from here on; the commit needs the memory.
        self._item = bytearray()

    def _feed_minute(self, data, at, n):
        end = data.find(b"%", at, n)
        self._add(data, at, n if end < 0 else end)
        # Checked in every piece, so that a page of HTML is refused at its first byte.
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
        # `%%` is an empty list of deletes; elsewhere an empty code is a fault.
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
            # The line began in an earlier piece.
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
        # Gives the sink all whole lines of data[at:n]; returns where the rest begins.
        marks = self._marks
        fault = 1
        while fault:
            fault = self._sink.rules(data, at, n, marks)
            at = marks[0]
            self._line += marks[1]
            self.rules += marks[2]
            if fault < 0:
                self._drop(packing.FAULTS[-fault], self._line - 1)
        return at

    def _add(self, data, at, end):
        # Memory bound: bytes that do not fit are only counted, and the item is dropped at its end.
        room = _ITEM_MAX - 1 - self._length
        if room > 0:
            size = min(room, end - at)
            self._item[self._length : self._length + size] = data[at : at + size]
        self._length += end - at

    def _drop(self, reason, line):
        self.dropped += 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        self._sink.dropped(line, reason)
