"""The oracle of packing, written from the protocol: codes, rules, the lines of an answer.

For `pack_code`, `pack_rule`, `pack_lines`, `add_record` and `intern` of the native code.
"""

from array import array

from device.blocks_oracle import end_of_value, number_of, varint
from device.codes_oracle import fault_of_code, packed_code
from device.guarded import Guarded
from device.order_oracle import ANY, records_of, shared
from device.rules_oracle import RULE_MAX, plain, reason_of
from kalitka import native, sync_native
from kalitka.access import packing, rules
from kalitka.table.rule_sets import RuleSets
from kalitka.table.sorter import TextCache

MORE = 1
RECORD_MAX = sync_native.RECORD_MAX
# Indices of the notes of a sort's buffer; see `table.sorter`.
USED, COUNT, ROOM, MOST, LONGEST, BROKEN, COMMON = range(7)
LINE_MAX = 324  # the longest line that is packed, in bytes
SETS_MAX = 254
SETS_BYTES_MAX = 2048


def packed_rule(text):
    """Return the packed form of a valid rule (str)."""
    fields = text.split("_")
    kind = int(fields[0])
    out = bytes((kind,))
    if kind == 9:
        return out + bytes((int(fields[1]),))
    if kind in (3, 7):
        mask = sum(int(digit) << day for day, digit in enumerate(fields[3]))
        out += varint(int(fields[1])) + varint(int(fields[2])) + bytes((mask,))
    if kind in (1, 7):
        first, last = int(fields[-2]), int(fields[-1])
        out += varint(first) + varint(last - first)
    return out


def check_pack_code(code, to):
    """Check `pack_code` in the middle of other bytes, and `copy_code` of its result."""
    out = Guarded(to + len(code) + 2)
    text = b"_" + code + b"\x00/"
    end = native.pack_code(text, 1, 1 + len(code), out.buf, out.begin + to)
    out.check()
    fault = fault_of_code(code)
    if fault:
        assert packing.FAULTS[-end] == fault, (code, end)
        return
    packed = packed_code(code)
    assert out.buf[out.begin + to : end] == packed, code
    copy = Guarded(len(packed))
    sync_native.copy_code(out.buf, out.begin + to, copy.buf, copy.begin)
    copy.check()
    assert copy.buf[copy.begin : copy.end] == packed, code


def check_pack_rule(text):
    """Check `pack_rule` of a text (str)."""
    out = Guarded(RULE_MAX)
    data = b"_" + text.encode() + b"_1"
    end = native.pack_rule(data, 1, len(data) - 2, out.buf, out.begin)
    out.check()
    reason = reason_of(text)
    if reason:
        assert packing.FAULTS[-end] == reason, (text, end)
        return
    packed = packed_rule(plain(text))
    assert bool(end & native.SECONDS) == _needs_seconds(text), text
    assert out.buf[out.begin : end & ~native.SECONDS] == packed, text


def _needs_seconds(text):
    fields = text.split("_")
    return fields[0] in "37" and max(int(fields[1]), int(fields[2])) > 1440


class Records:
    """The arguments of `pack_lines`: a buffer with its notes, rule sets, a text cache, sums.

    size: bytes of the buffer. most: the most records. cached: whether texts of rules are cached.
    known: rule sets that have numbers already.
    """

    def __init__(self, size, most, cached, known=()):
        self.out = Guarded(size, 0)
        self.notes = array("H", bytes(24))
        self.notes[ROOM] = size
        self.notes[MOST] = most
        self.notes[COMMON] = ANY
        self._offsets = array("H", [0xA5A5] * (most + 1))
        self._texts = TextCache(self.notes, cached)
        self._sets = RuleSets(cached)
        for rule_set in known:
            self._sets.number(rule_set)
        self.sums = array("i", [0, 0, 0])
        self._codes = []  # packed codes of all records so far
        self._longest = 0
        self._seen = 0  # records of the buffer already checked

    def pack(self, text, at, n, marks):
        """Pack lines; return the result and the new records, (packed code, rule)."""
        result = self.add_lines(text, at, n, marks)
        self.out.check()
        assert self._offsets[self.notes[MOST]] == 0xA5A5
        return result, self._new_ones()

    def add_lines(self, text, at, n, marks):
        """Call `pack_lines`; return its result."""
        texts = self._texts
        return sync_native.pack_lines(
            at,
            n,
            at * 7919,
            text,
            marks,
            self.sums,
            self.out.buf,
            self._offsets,
            self.notes,
            texts.texts,
            texts.slots,
            *self._sets.tables,
        )

    def clear(self):
        """Drop the records."""
        self.notes[USED] = self.notes[COUNT] = self._seen = 0

    def _new_ones(self):
        buf = self.out.buf
        notes = self.notes
        found = []
        end = self._offsets[self._seen] if self._seen < notes[COUNT] else notes[USED]
        for i in range(self._seen, notes[COUNT]):
            at = self._offsets[i]
            assert at == end, "a record does not begin where the one before ends"
            value = at + buf[at + 1] + 3
            end = end_of_value(buf, value)
            code = bytes(buf[at:value])
            number = number_of(buf[value:end])
            rule = (
                self._sets.get(number) if 0 <= number < SETS_MAX else bytes(buf[value + 2 : end])
            )
            found.append((code, rule))
            if i:
                before = self._codes[-1]
                assert notes[BROKEN] or before <= code
                assert notes[COMMON] <= shared(before, code)
            self._codes.append(code)
            self._longest = max(self._longest, len(code))
        assert end == notes[USED]
        assert notes[LONGEST] == self._longest
        self._seen = notes[COUNT]
        return found

    def check_notes(self):
        """Check the notes against all records, if none was dropped."""
        codes = self._codes
        assert bool(self.notes[BROKEN]) == (codes != sorted(codes)), codes
        common = min([shared(codes[i], codes[i - 1]) for i in range(1, len(codes))] + [ANY])
        assert self.notes[COMMON] == common, (codes, self.notes)


def check_lines(text, cuts, more, most=64, cached=True, known=0):
    """Check `pack_lines` of a text (bytes) that arrives in pieces, cut at each of `cuts`.

    more: bytes of the buffer beyond those of one record. most: the most records. cached: whether
    texts of rules are cached. known: how many rule sets have numbers already.
    """
    told = []
    sets = [b"%d" % n for n in range(known)]
    records = Records(RECORD_MAX + more, most, cached, sets)
    at = 0
    for n in sorted(cut % (len(text) + 1) for cut in cuts) + [len(text)]:
        at = _packed_lines(text, at, n, records, told)
    expected = []
    lines = text.split(b"\n")
    for line in lines[:-1]:
        for item in expected_of(line):
            if isinstance(item, str):
                expected.append(item)
            else:
                code, rule = item
                expected.append((packed_code(code), packed_rule(rule) if rule else b""))
    assert told == expected, (text, told, expected)
    assert at == len(text) - len(lines[-1])
    sums = array("i", [0, 0, 0])
    for item in told:
        if not isinstance(item, str):
            code, rule = item
            sync_native.digest(code, 0, len(code), rule, 0, len(rule), sums)
    assert sums == records.sums


def _packed_lines(text, at, n, records, told):
    # Appends the records and faults of all whole lines of text[at:n] to `told`; returns the end of
    # these lines.
    marks = array("i", [0] * 4)
    while True:
        before = at
        result, found = records.pack(text, at, n, marks)
        at, ended, good, seconds = marks
        assert ended == text[before:at].count(b"\n")
        spoken = [rules.text_of(rule).decode() for _, rule in found if rule]
        assert good == len(spoken)
        assert bool(seconds) == any(_needs_seconds(rule) for rule in spoken)
        told.extend(found)
        if result == 0:
            assert b"\n" not in text[at:n]
            return at
        if result < 0:
            told.append(packing.FAULTS[-result])
        else:
            notes = records.notes
            full = notes[USED] + RECORD_MAX > notes[ROOM] or notes[COUNT] == notes[MOST]
            assert result == MORE and full
            records.clear()


def expected_of(line):
    """Return what a line (bytes, without its newline) gives: (code, rule text) and a fault (str).

    Both if the rule has a fault, and then the text is empty; neither if the line is.
    """
    whole = len(line) <= LINE_MAX
    if line.endswith(b"\r"):
        line = line[:-1]
    if not line:
        return []
    cut = line.find(b"_/")
    if cut < 0 or cut > LINE_MAX - 2:
        return ["no _/ in line" if whole else "code longer than 255 bytes"]
    code = line[:cut]
    fault = fault_of_code(code)
    if fault:
        return [fault]
    # "?", which no rule has, stands for all bytes that are not ASCII.
    text = "".join(chr(byte) if byte < 128 else "?" for byte in line[cut + 2 :])
    fault = "rule longer than 64 bytes" if not whole or len(text) > 64 else reason_of(text)
    return [(code, ""), fault] if fault else [(code, plain(text))]


def check_numbers(some):
    """Check that each of the rule sets (bytes) gets a number as long as there is room."""
    sets = RuleSets()
    expected = {}
    size = 0
    for rule_set in some:
        number = sets.number(rule_set)
        if rule_set not in expected:
            fits = len(rule_set) < 256 and size + 1 + len(rule_set) <= SETS_BYTES_MAX
            if not fits or len(expected) == SETS_MAX:
                assert number == -1, (rule_set, number)
                continue
            expected[rule_set] = len(expected)
            size += 1 + len(rule_set)
        assert number == expected[rule_set], (rule_set, number)
    for rule_set, number in expected.items():
        assert sets.get(number) == rule_set
        assert sets.number(rule_set) == number


def check_notes(some):
    """Check `add_record` of records added one by one: (packed code, value)."""
    data, places = records_of(some)
    records = Records(len(data), len(some), True)
    records.out.buf[: len(data)] = data
    for at in places:
        sync_native.add_record(records.out.buf, at, records._offsets, records.notes)
    records.notes[USED] = len(data)
    records.out.check()
    assert [code for code, _ in records._new_ones()] == [code for code, _ in some]
    assert list(records._offsets) == places + [0xA5A5]
    records.check_notes()


def check_lines_in_order(codes):
    """Check the notes after lines with these codes, in this order."""
    records = Records(RECORD_MAX * (1 + len(codes)), len(codes) + 1, True)
    text = b"".join([code + b"_/9_1\n" for code in codes])
    assert records.pack(text, 0, len(text), array("i", [0] * 4))[0] == 0
    records.check_notes()
