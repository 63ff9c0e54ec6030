"""The sync answer read at once and by `split`: the oracle of the stream parser's tests."""

from device.codes_oracle import fault_of_code
from device.lines_oracle import RECORD_MAX, Records, expected_of
from kalitka.access import rules
from kalitka.sync.answer import AnswerError, AnswerParser
from kalitka.table import codes


class Recorder:
    """A sink that writes down what it was told."""

    def __init__(self):
        self.told = []
        self._records = Records(RECORD_MAX + 200, 20, False)

    def minute(self, minutes):
        self.told.append(("minute", minutes))

    def delete(self, code):
        self.told.append(("delete", bytes(code)))

    def rules(self, text, at, n, marks):
        result, found = self._records.pack(text, at, n, marks)
        for code, packed in found:
            rule = rules.text_of(packed) if packed else b""
            self.told.append(("rule", codes.unpack(code), rule))
        self._records.clear()
        return result

    def dropped(self, line, reason):
        self.told.append(("dropped", line, reason))


def fed(pieces, received_all=True):
    """Feed the pieces; return what the sink was told and the parser. Raises AnswerError."""
    recorder = Recorder()
    parser = AnswerParser(recorder)
    for piece in pieces:
        parser.feed(piece)
    parser.finish(received_all)
    return recorder.told, parser


def believed(pieces, received_all=True):
    """Return what the sink was told, None if the answer was refused."""
    try:
        return fed(pieces, received_all)[0]
    except AnswerError:
        return None


def cut_at(body, places):
    """Return the body in pieces, cut at these offsets."""
    edges = [0] + sorted(place % (len(body) + 1) for place in places) + [len(body)]
    return [body[edges[i] : edges[i + 1]] for i in range(len(edges) - 1)]


def read(body):
    """Return what a sink is to be told of a whole body (bytes), None if it is no sync answer."""
    parts = body.split(b"%", 2)
    if len(parts) != 3:
        return None
    minute, deletes, rest = parts
    if not 1 <= len(minute) <= 10 or minute.strip(b"0123456789"):
        return None
    if b"\n" in deletes:
        return None
    lines = rest.split(b"\n")
    if lines[0] not in (b"", b"\r"):
        return None
    told = [("minute", int(minute))]
    for code in deletes.split(b",") if deletes else []:
        fault = fault_of_code(code)
        told.append(("dropped", 1, fault) if fault else ("delete", code))
    for number, line in enumerate(lines[1:]):
        for item in expected_of(line):
            if isinstance(item, str):
                told.append(("dropped", number + 2, item))
            else:
                told.append(("rule", item[0], item[1].encode()))
    return told


def check_answer(body, cuts):
    """Check that the body is read as the oracle reads it, whole and cut at these offsets."""
    expected = read(body)
    for pieces in ([body], cut_at(body, cuts)):
        told = believed(pieces)
        assert told == expected, (body, cuts, told, expected)
    assert believed([body], False) is None, body
    if expected is not None:
        _check_counts(body, expected)


def _check_counts(body, expected):
    parser = fed([body])[1]
    reasons = {}
    for item in expected:
        if item[0] == "dropped":
            reasons[item[2]] = reasons.get(item[2], 0) + 1
    assert parser.reasons == reasons, (parser.reasons, reasons)
    assert parser.dropped == sum(reasons.values())
    assert parser.deletes == sum(item[0] == "delete" for item in expected)
    assert parser.rules == sum(item[0] == "rule" and item[2] != b"" for item in expected)
    assert parser.received == len(body)


def check_cut(body, at):
    """Check that of a body cut at this offset nothing is believed, unless the server meant it."""
    start = body[: at % (len(body) + 1)]
    try:
        fed([start], False)
    except AnswerError:
        pass
    else:
        raise AssertionError("a cut answer was believed: %s" % start)
    assert believed([start]) == read(start), start
