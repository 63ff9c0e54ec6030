"""The oracle of the hot loops: slow versions with big integers, `sorted`, sets and dictionaries.

Written from FORMAT.md and the protocol. Every buffer that a loop writes to lies between guard
bytes: viper does not check bounds, so a write behind the end hits another object.
"""

from array import array

from device.codes_oracle import is_code, place_of
from device.rules_oracle import RULE_MAX, plain, reason_of
from kalitka import native, sync_native
from kalitka.access import packing, rules
from kalitka.table.rule_sets import RuleSets
from kalitka.table.sorter import TextCache

KEY_ROOM = 258  # bytes: the longest packed code, and one byte more
NO_CODE = b"\x00"  # below every packed code
TOMBSTONE = b"\x00"
END = -1
MORE = FULL = 1
SLOW = 2
RECORD_MAX = sync_native.RECORD_MAX
# Indices of the notes of a sort's buffer; see `table.sorter`.
USED, COUNT, ROOM, MOST, LONGEST, BROKEN, COMMON = range(7)
ANY = 0xFFFF  # the shared prefix while there is no code
LINE_MAX = 324  # the longest line that is packed, in bytes
SETS_MAX = 254
SETS_BYTES_MAX = 2048
_GUARD = 60  # bytes
_GUARDS = b"\xa5" * _GUARD
_BEHIND = b"\x5a" * 300  # the bytes behind a block that is walked through


class Guarded:
    """A buffer of `size` writable bytes at `buf[begin]`, with guards on both sides.

    With `begin` 0 there is only the guard behind them.
    """

    def __init__(self, size, begin=_GUARD):
        self.begin = begin
        self.end = begin + size
        self.buf = bytearray(b"\xa5" * (begin + size + _GUARD))

    def check(self):
        """Check that the guards are unchanged."""
        view = memoryview(self.buf)
        for guard in (view[: self.begin], view[self.end :]):
            assert guard == _GUARDS[: len(guard)], "written outside of its room"


class Numbers:
    """Random numbers that are the same on every platform."""

    def __init__(self, seed):
        self._state = seed * 7919 % 65537

    def below(self, limit):
        """Return a number from 0 to limit - 1; limit at most 2**15."""
        # Small integers on every platform: larger ones allocate.
        self._state = (self._state * 75 + 74) % 65537
        return self._state % limit

    def bytes(self, size):
        """Return `size` random bytes."""
        return bytes([self.below(256) for _ in range(size)])

    def shuffled(self, some):
        """Return a list of the same items in random order."""
        out = list(some)
        for i in range(len(out) - 1, 0, -1):
            j = self.below(i + 1)
            out[i], out[j] = out[j], out[i]
        return out


# Codes and rules


def varint(value):
    """Return a number as a varint."""
    out = []
    while value > 127:
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out + [value])


def packed_code(code):
    """Return the packed form of a code (bytes)."""
    kind, size, _ = place_of(code)
    if kind == 5:
        return bytes((5, size - 1)) + code
    half = (size + 1) // 2
    return bytes((kind, half - 1)) + int(code.decode(), 16).to_bytes(half, "big")


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


def fault_of_code(code):
    """Return what is wrong with an invalid code, in the reader's words; None for a valid code."""
    if is_code(code):
        return None
    if not code:
        return "empty code"
    return "code longer than 255 bytes" if len(code) > 255 else "forbidden byte in code"


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
            end = _end_of_value(buf, value)
            code = bytes(buf[at:value])
            number = _number_of(buf[value:end])
            rule = (
                self._sets.get(number) if 0 <= number < SETS_MAX else bytes(buf[value + 2 : end])
            )
            found.append((code, rule))
            if i:
                before = self._codes[-1]
                assert notes[BROKEN] or before <= code
                assert notes[COMMON] <= _shared(before, code)
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
        common = min([_shared(codes[i], codes[i - 1]) for i in range(1, len(codes))] + [ANY])
        assert self.notes[COMMON] == common, (codes, self.notes)


def _shared(one, other):
    same = 0
    while same < len(one) and one[: same + 1] == other[: same + 1]:
        same += 1
    return same


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
        _expect_line(line, expected)
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


def _expect_line(line, expected):
    whole = len(line) <= LINE_MAX
    if line.endswith(b"\r"):
        line = line[:-1]
    if not line:
        return
    cut = line.find(b"_/")
    if cut < 0 or cut > LINE_MAX - 2:
        expected.append("no _/ in line" if whole else "code longer than 255 bytes")
        return
    fault = fault_of_code(line[:cut])
    if fault:
        expected.append(fault)
        return
    # "?", which no rule has, stands for all bytes that are not ASCII.
    text = "".join(chr(byte) if byte < 128 else "?" for byte in line[cut + 2 :])
    fault = "rule longer than 64 bytes" if not whole or len(text) > 64 else reason_of(text)
    packed = packed_code(line[:cut])
    expected.append((packed, b"" if fault else packed_rule(plain(text))))
    if fault:
        expected.append(fault)


# Rule sets by number


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


def value_of(number, rule_set=b""):
    """Return the value (bytes) of an entry; FORMAT.md has the table."""
    if number == -2:
        return TOMBSTONE
    if number == -1:
        return b"\x01" + varint(len(rule_set)) + rule_set
    if number < 238:
        return bytes((number + 2,))
    return bytes((240 + (number - 238) // 256, (number - 238) % 256))


def _end_of_value(buf, at):
    if buf[at] == 1:
        length, at = _read_varint(buf, at + 1)
        return at + length
    return at + (2 if buf[at] >= 240 else 1)


def _read_varint(buf, at):
    value = shift = 0
    while True:
        byte = buf[at]
        at += 1
        value += (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


# Sums


def sums_of(table):
    """Return the sums of a table: a list of (code, list of packed rules)."""
    sums = array("i", [0, 0, 0])
    for code, some in table:
        rule_set = b"".join(sorted(some))
        data = b"\xff" + packed_code(code)
        around = b"\x01" + rule_set + b"\x01"
        sync_native.digest(data, 1, len(data) - 1, around, 1, 1 + len(rule_set), sums)
    return list(sums)


def sums_of_lines(lines):
    """Return the sums of an answer: a list of (code, packed rule), b"" for no rule."""
    text = b""
    for code, rule in lines:
        text += code + b"_/" + (rules.text_of(rule) if rule else b"") + b"\n"
    records = Records(RECORD_MAX + 400, 99, True)
    marks = array("i", [0] * 4)
    while records.pack(text, marks[0], len(text), marks)[0]:
        records.clear()
    return list(records.sums)


def expected_sums(lines):
    """Return the sums by FORMAT.md's formula: of (code, packed rule), b"" for no rule."""
    total = [0, 0, len(lines)]
    for code, rule in lines:
        pair = [17, 29]
        for byte in packed_code(code) + rule:
            pair = [(pair[0] ^ byte) * 16777619 % 2**30, (pair[1] ^ byte) * 73244475 % 2**30]
        one = (pair[0] ^ pair[0] // 2**15) * 0x2C1B3C6D % 2**30
        two = (pair[1] ^ pair[1] // 2**13) * 0x297A2D39 % 2**30
        total[0] = (total[0] + (one ^ one // 2**12)) % 2**30
        total[1] = (total[1] + (two ^ two // 2**16)) % 2**30
    return total


def _lines_of(table):
    return [(code, rule) for code, some in table for rule in some or [b""]]


def check_digest(table, seed):
    """Check that an answer in any order has the sums of its table, and a changed answer has not.

    table: a list of (code, list of packed rules), no code or rule of a code twice.
    """
    numbers = Numbers(seed)
    lines = _lines_of(table)
    sums = sums_of(table)
    assert sums == expected_sums(lines), lines
    assert sums_of_lines(lines) == sums
    assert sums_of_lines(numbers.shuffled(lines)) == sums
    same = sorted(lines)
    for changed in _changed(lines, numbers):
        if sorted(changed) != same:
            assert sums_of_lines(changed) != sums, (lines, changed)


def _changed(lines, numbers):
    # Yields answers with a small difference: a line missing, doubled, with another code or rule;
    # two rules swapped.
    if not lines:
        return
    i = numbers.below(len(lines))
    j = numbers.below(len(lines))
    code, rule = lines[i]
    yield lines[:i] + lines[i + 1 :]
    yield lines + [lines[i]]
    yield lines[:i] + [(code + b"0", rule)] + lines[i + 1 :]
    yield lines[:i] + [(code, b"\x09\x00")] + lines[i + 1 :]
    yield lines[:i] + [(code, b"")] + lines[i + 1 :]
    swapped = list(lines)
    swapped[i] = (code, lines[j][1])
    swapped[j] = (lines[j][0], rule)
    yield swapped


# Records


def _records_of(some):
    # some: (packed code, value). Returns the bytes of the records and their offsets.
    data = b""
    places = []
    for code, value in some:
        places.append(len(data))
        data += code + value
    return data, places


def check_notes(some):
    """Check `add_record` of records added one by one: (packed code, value)."""
    data, places = _records_of(some)
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


def _common(codes):
    return min([_shared(codes[0], code) for code in codes]) if codes else ANY


def _keys_of(data, places, codes, less):
    # Returns an array for `key_of` by offset, and the prefix to skip: that which all codes share,
    # less `less` bytes.
    common = max(0, _common(codes) - less)
    keys = array("i", [0] * (max(list(places) + [0]) + 1))
    return keys, common


def check_keys(codes, less):
    """Check that keys are in the order of packed codes, or equal.

    less: how many bytes of the prefix that all codes share are not skipped.
    """
    common = max(0, _common(codes) - less)
    keys = [sync_native.key_of(b"\xff" + code + b"\xff" * 4, 1, common) for code in codes]
    for i, one in enumerate(codes):
        assert 0 <= keys[i] < 1 << 30
        for j, other in enumerate(codes):
            if one <= other:
                assert keys[i] <= keys[j], (one, other)
            if one[common : common + 3] != other[common : common + 3]:
                assert keys[i] != keys[j], (one, other)
            assert sync_native.shared(one, 0, b"\xff" + other, 1) == _shared(one, other)


def check_sift(codes, stride, less):
    """Check that a heap built and emptied with `sift` returns packed codes in order.

    stride: bytes from one code to the next; 0: packed without gaps. less: see `check_keys`.
    """
    if stride:
        data = bytearray(stride * len(codes) + KEY_ROOM)
        places = range(len(codes))
        for i, code in enumerate(codes):
            data[i * stride : i * stride + len(code)] = code
    else:
        data, places = _records_of([(code, b"\x00") for code in codes])
    heap = array("H", list(places) + [0xA5A5])
    step = stride or 1
    count = len(codes)
    keys, common = _keys_of(data, places, codes, less)
    for place in places:
        keys[place] = sync_native.key_of(data, place * step, common)
    for i in range(count // 2 - 1, -1, -1):
        sync_native.sift(data, heap, keys, count, i, heap[i], step)
    out = []
    while count:
        at = heap[0] * step
        out.append(bytes(data[at : at + data[at + 1] + 3]))
        count -= 1
        if count:
            sync_native.sift(data, heap, keys, count, 0, heap[count], step)
    assert out == sorted(codes), codes
    assert heap[len(codes)] == 0xA5A5


def check_sort(codes, step, less):
    """Check that Shell's sort puts records into code order.

    step: records a step. less: see `check_keys`.
    """
    data, places = _records_of([(code, b"\x00") for code in codes])
    offsets = array("H", [0xA5A5] + places + [0xA5A5])
    view = memoryview(offsets)[1:]
    common = max(0, _common(codes) - less)
    for gap in (23, 10, 4, 1):
        for begin in range(gap, len(codes), step):
            end = min(begin + step, len(codes))
            sync_native.sort_step(gap, begin, end, data, view, common)
    assert offsets[0] == offsets[len(codes) + 1] == 0xA5A5
    assert sorted(offsets) == sorted([0xA5A5] + places + [0xA5A5])
    assert [bytes(data[at : at + data[at + 1] + 3]) for at in view[: len(codes)]] == sorted(codes)


def check_order(one, other):
    """Check `compare` of two packed codes in the middle of other bytes."""
    found = sync_native.compare(b"\xff" + one + b"\xff", 1, b"\xff\xff" + other + b"\x00", 2)
    assert (found > 0) - (found < 0) == (one > other) - (one < other), (one, other)


# Blocks


def coded(entries):
    """Return the bytes of a block's entries (packed code, value)."""
    parts = []
    last = NO_CODE
    for code, value in entries:
        parts.append(_coded_code(code, last) + value)
        last = code
    return b"".join(parts)


def _coded_code(code, last):
    if last == NO_CODE:
        return code
    if code == last:
        return b"\x00\x00"
    if code[:2] == last[:2]:
        return varint(_payload(code) - _payload(last))
    return b"\x00" + code


def _payload(code):
    return int.from_bytes(code[2:], "big")


def decoded(data, room=KEY_ROOM):
    """Return the entries of a block's bytes, and how they ended: END, MALFORMED or None.

    None: the next bytes are a form that `coded` never makes; their meaning is undefined.
    """
    entries = []
    last = NO_CODE
    at = 0
    while at < len(data):
        try:
            code, at = _decoded_code(data, at, last)
            end = _end_of_value(data, at)
        except IndexError:
            return entries, native.MALFORMED
        if code is None or (data[at] == 1 and min(data[at + 1 : at + 3]) > 127):
            return entries, None
        if code == b"" or len(code) > room or end > len(data):
            return entries, native.MALFORMED
        entries.append((code, bytes(data[at:end])))
        at = end
        last = code
    return entries, END


def _decoded_code(data, at, last):
    # Returns the code and the offset behind it; b"" for an impossible code, None for a form that
    # no writer makes.
    if last != NO_CODE and data[at]:
        gap, end = _read_varint(data, at)
        if not data[end - 1]:
            return None, end
        payload = _payload(last) + gap
        if payload >= 1 << 8 * (len(last) - 2):
            return b"", end
        return last[:2] + payload.to_bytes(len(last) - 2, "big"), end
    if last != NO_CODE:
        at += 1
        if not data[at]:
            return last, at + 1
    end = at + data[at + 1] + 3
    if end > len(data):
        return b"", end
    return None if not data[at] else bytes(data[at:end]), end


def check_block(entries, limit):
    """Check that entries are coded as in FORMAT.md, and that a walk returns them.

    entries: (packed code, number, rule set in place) in code order; see `value_of`. limit: bytes
    of the block.
    """
    out = Guarded(limit + RECORD_MAX)
    last = Guarded(KEY_ROOM, 0)
    last.buf[0] = 0
    written = []
    used = out.begin
    for code, number, rule_set in entries:
        value = value_of(number, rule_set)
        # The caller appends a rule set in place itself, so it passes a limit lower by as much.
        more = len(value) - 1 if number == -1 else 0
        before = bytes(last.buf)
        bound = out.begin + limit - more
        end = sync_native.encode(out.buf, used, bound, last.buf, b"\xff" + code, 1, number)
        out.check()
        last.check()
        expected = _coded_code(code, written[-1][0] if written else NO_CODE) + value
        fits = used + len(expected) <= out.begin + limit
        assert bool(end) == fits, (written[-1:], code, number)
        if not end:
            assert last.buf == before
            break
        out.buf[end : end + more] = value[len(value) - more :]
        assert out.buf[used : end + more] == expected, (written[-1:], code, number)
        assert last.buf[: len(code)] == code
        used = end + more
        written.append((code, value))
    data = bytes(out.buf[out.begin : used])
    assert decoded(data) == (written, END)
    check_walk(data, written)
    check_seek([e for i, e in enumerate(written) if not i or e[0] != written[i - 1][0]])


class _Block:
    # A block for `next_entry`: room for a code, and the entries behind it, between guards.

    def __init__(self, data, room):
        self._data = data + _BEHIND
        self._room = room
        self._at = _GUARD
        self._begin = _GUARD + room
        self._end = self._begin + len(data)
        self._buf = bytearray(b"\xa5" * self._begin + self._data)
        self._view = memoryview(self._buf)
        self._state = array("H", [0xA5A5] * 5)
        self.rewind()

    def rewind(self):
        self._buf[self._at] = 0
        self._state[1] = self._begin
        self._state[2] = self._end

    def next_entry(self, key=NO_CODE):
        # Returns the result of `next_entry`, the code and the value.
        buf = self._buf
        state = self._state
        before = state[1]
        order = native.next_entry(buf, self._at, self._room, state, 1, key)
        assert self._view[: self._at] == _GUARDS, "written before its room"
        assert self._view[self._begin :] == self._data, "written behind its room"
        assert (state[0], state[2], state[4]) == (0xA5A5, self._end, 0xA5A5)
        if order < 0:
            return order, None, None
        assert before < state[3] < state[1] <= self._end
        end = self._at + buf[self._at + 1] + 3
        return order, bytes(buf[self._at : end]), bytes(buf[state[3] : state[1]])


def check_walk(data, entries):
    """Check walks through the bytes of a block: to its end, and to keys near its codes."""
    block = _Block(data, KEY_ROOM)
    for code, value in entries:
        order, found, found_value = block.next_entry()
        assert order > 0 and (found, found_value) == (code, value)
    assert block.next_entry()[0] == block.next_entry()[0] == END
    for key in _keys_near([code for code, _ in entries]):
        block.rewind()
        above = [entry for entry in entries if entry[0] >= key]
        order, code, value = block.next_entry(key)
        if not above:
            assert order == END, key
            continue
        assert (code, value) == above[0], (key, code)
        assert (order > 0) == (code != key) and order >= 0
        for entry in above[1:3]:
            assert block.next_entry()[1:] == entry


def _sealed(data, begin):
    # Returns a buffer with a block of these bytes at `begin`, up to the buffer's end: with a byte
    # less the block is malformed.
    size = len(data)
    return b"\xa5" * begin + bytes((size % 256, size // 256)) + data + b"\x5a" * 4


def check_seek(entries):
    """Check that `seek` finds the values of codes of at most seven bytes, and of no other keys.

    entries: (packed code, value) in code order, no code twice, as in a segment.
    """
    block = _sealed(coded(entries), 3)
    places = {}
    for n, (code, value) in enumerate(entries):
        places[code] = 5 + len(coded(entries[: n + 1])) - len(value)
    for key in _keys_near(list(places)):
        if len(key) <= 9:
            found = native.seek(3, len(block), block, key)
            assert found == places.get(key, END), (entries, key, found)


def check_seek_of_anything(data, keys):
    """Check that `seek` through arbitrary bytes ends within the block or returns MALFORMED."""
    block = _sealed(bytes(data), 3)
    for key in keys:
        found = native.seek(3, len(block), block, key)
        assert found in (END, native.MALFORMED) or 5 < found < len(block) - 4, (data, key, found)
        assert native.seek(3, len(block) - 1, block, key) == native.MALFORMED


def _keys_near(codes):
    keys = [b"\x01\x00\x00", b"\x05\xfe" + b"\xff" * 255]
    for code in codes[:: 1 + len(codes) // 8]:
        keys.append(code)
        keys.append(code[:-1] + bytes(((code[-1] + 1) % 256,)))
        keys.append(code[:-1] + bytes(((code[-1] - 1) % 256,)))
        if len(code) > 3:
            keys.append(code[:1] + bytes((code[1] - 1,)) + code[2:-1])
        if len(code) < KEY_ROOM - 1:
            keys.append(code[:1] + bytes((code[1] + 1,)) + code[2:] + b"\x00")
    return keys


def check_walk_of_anything(data, room):
    """Check that a walk through arbitrary bytes ends, writes only to its room, detects garbage.

    room: bytes for a code.
    """
    data = bytes(data)
    block = _Block(data, room)
    entries, end = decoded(data, room)
    for code, value in entries:
        order, found, found_value = block.next_entry()
        assert order > 0 and (found, found_value) == (code, value), (data, found, code)
    if end is not None:
        order = block.next_entry()[0]
        assert order == end, (data, order, end)
    for _ in data:
        if block.next_entry()[0] < 0:
            break
    else:
        assert not data
    keys = _keys_near([code for code, _ in entries])[:9]
    for key in keys:
        block.rewind()
        while block.next_entry(key)[0] > 0:
            pass
    check_seek_of_anything(data, [key for key in keys if len(key) <= 9])


# Segments


def check_block_of(separators, keys):
    """Check `block_of` against a comparison with every separator.

    separators: prefixes of packed codes, ascending, none a prefix of the one before. keys: packed
    codes.
    """
    index = b""
    last = b""
    for separator in separators:
        shared = 0
        while separator[: shared + 1] == last[: shared + 1]:
            shared += 1
        rest = len(separator) - shared
        if shared < 15 and rest < 16:
            index += bytes((16 * shared + rest,))
        else:
            index += b"\xf0" + varint(shared) + varint(rest)
        index += separator[shared:]
        last = separator
    size = len(index)
    index += b"\xff\x01"
    for key in keys:
        expected = sum(separator <= key for separator in separators)
        found = native.block_of(index, size, key + b"\x00\xff")
        assert found == expected, (separators, key, found, expected)


def check_set_start(sets, cut):
    """Check `set_start` of rule sets whose last `cut` bytes are missing."""
    data = b""
    starts = []
    for rule_set in sets:
        starts.append(len(data))
        data += bytes((len(rule_set),)) + rule_set
    size = max(0, len(data) - cut)
    for number, start in enumerate(starts):
        whole = start + 1 + len(sets[number]) <= size
        found = native.set_start(data + b"\x00\x00", size, number)
        assert found == (start if whole else -1), (sets, cut, number, found)
    for number in (len(sets), len(sets) + 1, 400):
        assert native.set_start(data + b"\x00\x00", size, number) == -1
    for number in range(len(sets) + 2):
        whole = number < len(sets) and starts[number] + 1 + len(sets[number]) <= size
        place = array("H", [9, size, 0, 0])
        found = native.rules_of(b"\xff" + value_of(number), 1, data + b"\x00\x00", place)
        assert found == (1 if whole else -1), (sets, cut, number, found)
        if whole:
            assert data[place[2] : place[3]] == sets[number]


def check_rules_in_place(rule_set, room):
    """Check `rules_of` of a tombstone, and of a rule set in place in a buffer of `room` bytes."""
    place = array("H", [0, 0, 0, 0])
    assert native.rules_of(b"\xff" + TOMBSTONE, 1, b"", place) == -2
    buf = b"\xff" + value_of(-1, rule_set) + b"\xff"
    place[0] = room
    found = native.rules_of(buf, 1, b"", place)
    if room < len(buf) - 1:
        assert found == -1
    else:
        assert found == 0 and buf[place[2] : place[3]] == rule_set


# Streams


class _Flow:
    # A `merge` from a stream into blocks of `limit` bytes; entries that it leaves are taken by
    # hand, one code at a time.

    def __init__(self, own, limit, verbatim, step):
        self.count = 0
        self.stride = 1
        self.room = 0
        self.place = 0
        self.common = 0
        self.heap = self.state = self.keys = array("H", [0])
        self.buf = b""
        self._own = array("H", own)
        self._given = max(own)
        self._limit = limit
        self._verbatim = verbatim
        self._step = step
        self._out = Guarded(limit + RECORD_MAX, 0)
        self._last = Guarded(KEY_ROOM, 0)
        self._last.buf[0] = 0
        self._used = 2
        self.entries = []  # (packed code, value) written to blocks
        self.by_hand = []

    def run(self):
        """Merge the whole stream."""
        while self.count:
            marks = [self.count, self.stride, self.room, self._used, self._limit]
            marks += [self._verbatim, self._step, len(self._own), self._given]
            marks = array("i", marks + [self.place, self.common])
            result = sync_native.merge(
                self.buf,
                self.heap,
                self.state,
                self.keys,
                self._out.buf,
                self._last.buf,
                self._own,
                marks,
            )
            self._out.check()
            self._last.check()
            assert 0 <= marks[6] <= self._step and 2 <= marks[3] <= self._limit
            assert result or not marks[0] or not marks[6]
            self.count = marks[0]
            self._used = marks[3]
            self._given = marks[8]
            self.place = marks[9]
            if result == FULL:
                self.check_full(self._end_block())
            elif result == SLOW:
                self.by_hand += self.take_by_hand()
            elif result < 0:
                self.end_source(result)
        self._end_block()

    def check_numbers(self, before):
        """Check that sets without a number got the next numbers, each a different one."""
        after = list(self._own)
        new = sorted(after[i] for i in range(len(after)) if after[i] != before[i])
        assert new == list(range(max(before) + 1, self._given + 1)), (before, after)
        assert all(after[i] == before[i] for i in range(len(after)) if before[i])

    def _end_block(self):
        # Returns the entries of the block.
        found = self.read(self._out.buf[2 : self._used])
        self.entries += found
        self._used = 2
        self._last.buf[0] = 0
        return found

    def read(self, data):
        """Return the entries of a block that was written."""
        found, end = decoded(data)
        assert end == END
        return found

    def check_full(self, block):
        """Check that the next entry would not have fitted."""
        code, value = self.least()
        assert len(coded(block + [(code, self.renumbered(value))])) > self._limit - 2
        assert block, "an empty block is full"

    def renumbered(self, value):
        """Return a value with the number that its rule set has in the written blocks."""
        number = _number_of(value)
        if self._verbatim or number < 0:
            return value
        return value_of(self._own[number] - 1)

    def may_be_slow(self, code, value, alone):
        """Check that there was a reason to leave an entry to be taken by hand."""
        assert not self._verbatim
        assert not alone or _number_of(value) >= len(self._own), code


def _number_of(value):
    return value[0] - 2 if value[0] < 240 else 238 + (value[0] - 240) * 256 + value[1]


class _RecordFlow(_Flow):
    def __init__(self, records, *others):
        super().__init__(*others)
        records = sorted(records)
        self.buf, places = _records_of(records)
        self.heap = self.state = self.keys = array("H", places)
        self.count = len(places)
        self.common = _common([code for code, _ in records])

    def least(self):
        at = self.heap[self.place]
        end = at + self.buf[at + 1] + 3
        return bytes(self.buf[at:end]), bytes(self.buf[end : _end_of_value(self.buf, end)])

    def take_by_hand(self):
        code = self.least()[0]
        taken = []
        while self.count and self.least()[0] == code:
            taken.append(self.least())
            self.count -= 1
            self.place += 1
        self.may_be_slow(code, taken[0][1], len(taken) == 1)
        return taken


class _BlockFlow(_Flow):
    # goes_on: whether the blocks are flagged as continued by a block with the same code; there is
    # no such block.
    def __init__(self, blocks, goes_on, common, *others):
        super().__init__(*others)
        # Blocks of one size, each behind room for a code, and a guard between them and behind.
        self.room = KEY_ROOM
        self.common = common
        self._goes_on = goes_on
        size = max([len(block) for block in blocks] + [0])
        self.stride = KEY_ROOM + 2 + size + len(_BEHIND)
        head = bytes((0, sync_native.CONTINUED if goes_on else 0))
        self._blocks = [head + block + b"\x5a" * (size - len(block)) + _BEHIND for block in blocks]
        self.buf = bytearray(b"".join(bytes(KEY_ROOM) + block for block in self._blocks))
        self.state = array("H", bytes(6 * len(blocks)))
        self.heap = array("H", bytes(2 * len(blocks)))
        self.keys = array("i", bytes(4 * len(blocks)))
        self.malformed = 0
        for source, block in enumerate(blocks):
            begin = source * self.stride + KEY_ROOM + 2
            self.state[3 * source] = begin
            self.state[3 * source + 1] = begin + len(block)
            if self._walk(source) >= 0:
                self.heap[self.count] = source
                self.count += 1
        for i in range(self.count // 2 - 1, -1, -1):
            self._sift(i, self.heap[i])

    def _walk(self, source):
        at = source * self.stride
        order = native.next_entry(self.buf, at, KEY_ROOM, self.state, 3 * source, NO_CODE)
        self.keys[source] = sync_native.key_of(self.buf, at, self.common)
        return order

    def _sift(self, hole, item):
        sync_native.sift(self.buf, self.heap, self.keys, self.count, hole, item, self.stride)

    def least(self):
        source = self.heap[0]
        at = source * self.stride
        value = self.state[3 * source + 2]
        code = bytes(self.buf[at : at + self.buf[at + 1] + 3])
        return code, bytes(self.buf[value : self.state[3 * source]])

    def take_by_hand(self):
        code = self.least()[0]
        taken = []
        at_end = False
        while self.count and self.least()[0] == code:
            taken.append(self.least())
            source = self.heap[0]
            at_end = at_end or self.state[3 * source] == self.state[3 * source + 1]
            if self._walk(source) < 0:
                self.end_source(END)
            else:
                self._sift(0, source)
        self.may_be_slow(code, taken[0][1], len(taken) == 1 and not (at_end and self._goes_on))
        return taken

    def end_source(self, result):
        self.malformed += result == native.MALFORMED
        self.count -= 1
        if self.count:
            self._sift(0, self.heap[self.count])

    def check_blocks(self):
        # Only the room for codes may have been written to.
        for source, block in enumerate(self._blocks):
            begin = source * self.stride + KEY_ROOM
            assert memoryview(self.buf)[begin : begin + len(block)] == block


def _check_flowed(flow, entries, own):
    # entries: the input. Written entries and those taken by hand are the same, least first.
    flowed = flow.entries
    assert [code for code, _ in flowed] == sorted(code for code, _ in flowed)
    assert [code for code, _ in flow.by_hand] == sorted(code for code, _ in flow.by_hand)
    if own is None:
        assert sorted(flowed) == sorted(entries) and not flow.by_hand
        return
    left = sorted(flow.by_hand)
    expected = []
    for entry in sorted(entries):
        if left and left[0] == entry:
            left.pop(0)
        else:
            expected.append((entry[0], flow.renumbered(entry[1])))
    assert not left
    assert flowed == expected, (flowed, expected)
    codes = [code for code, _ in flowed]
    assert len(codes) == len(set(codes))
    flow.check_numbers(own)


def check_flow_of_records(records, own, limit, step):
    """Check that records (packed code, value) are merged into blocks in code order.

    own: by rule set, its number in the written blocks plus one, 0 for none yet; None to copy
    values unchanged. limit: bytes of a block. step: entries a call.
    """
    flow = _RecordFlow(records, own or [0], limit, own is None, step)
    flow.run()
    _check_flowed(flow, records, own)


def check_flow_of_blocks(sources, own, limit, step, goes_on=False):
    """Check that blocks are merged into blocks; as `check_flow_of_records`.

    sources: lists of (packed code, value) in code order. goes_on: whether the blocks are flagged
    as continued: their last code is also the first of the next block.
    """
    blocks = [coded(source) for source in sources]
    entries = [entry for source in sources for entry in source]
    common = _common([code for code, _ in entries])
    flow = _BlockFlow(blocks, goes_on, common, own or [0], limit, own is None, step)
    flow.run()
    flow.check_blocks()
    assert not flow.malformed
    _check_flowed(flow, entries, own)
    if goes_on and own:
        lasts = [source[-1][0] for source in sources if source]
        assert not set(lasts) & {code for code, _ in flow.entries}


def check_flow_of_anything(blocks, verbatim, limit):
    """Check that a merge of blocks of arbitrary bytes ends and writes only where it may."""
    blocks = [bytes(block) for block in blocks]
    flow = _BlockFlow(blocks, False, 0, [1] * 300, limit, verbatim, 7)
    flow.check_full = flow.may_be_slow = lambda *_: None
    flow.read = lambda _: []
    flow.run()
    flow.check_blocks()
