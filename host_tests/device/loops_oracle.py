"""The hot loops said once more, slowly: with big integers, `sorted`, sets and dictionaries.

Written from FORMAT.md and the protocol. Every buffer that a loop writes to lies between guard
bytes: viper checks no bounds, so a byte behind the end is a byte of somebody else.
"""

from array import array

from device.codes_oracle import is_code, place_of
from device.rules_oracle import plain, reason_of
from kalitka import loops
from kalitka.access import packing, rules
from kalitka.sync.answer import FAULTS
from kalitka.table.rule_sets import RuleSets

KEY_ROOM = 258  # for the longest packed code, and one byte more
NO_CODE = b"\x00"  # below every packed code
TOMBSTONE = b"\x00"
END = -1
MORE = FULL = 1
SLOW = 2
LINE_MAX = 324  # bytes of a line that are looked at
SETS_MAX = 384
SETS_BYTES_MAX = 3072
_GUARD = 60  # bytes
_GUARDS = b"\xa5" * _GUARD
_BEHIND = b"\x5a" * 300  # what follows a block that is walked through


class Guarded:
    """`size` bytes to write to at `begin` of `buf`, with guards around, or only behind them."""

    def __init__(self, size, begin=_GUARD):
        self.begin = begin
        self.end = begin + size
        self.buf = bytearray(b"\xa5" * (begin + size + _GUARD))

    def check(self):
        """Check that nobody wrote to the guards."""
        view = memoryview(self.buf)
        for guard in (view[: self.begin], view[self.end :]):
            assert guard == _GUARDS[: len(guard)], "written outside of its room"


class Numbers:
    """Random numbers, the same ones everywhere."""

    def __init__(self, seed):
        self._state = seed * 7919 % 65537

    def below(self, limit):
        """Return a number from 0 to limit - 1; limit at most 2**15."""
        # Of integers that are small everywhere: others take memory.
        self._state = (self._state * 75 + 74) % 65537
        return self._state % limit

    def bytes(self, size):
        """Return so many random bytes."""
        return bytes([self.below(256) for _ in range(size)])

    def shuffled(self, some):
        """Return a list of the same things in another order."""
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
    """Return a code (bytes) packed."""
    kind, size, _ = place_of(code)
    if kind == 5:
        return bytes((5, size - 1)) + code
    half = (size + 1) // 2
    return bytes((kind, half - 1)) + int(code.decode(), 16).to_bytes(half, "big")


def packed_rule(text):
    """Return a good rule (str) packed."""
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
    """Return why these bytes are no code, in the words of the reader, or None if they are."""
    if is_code(code):
        return None
    if not code:
        return "empty code"
    return "code longer than 255 bytes" if len(code) > 255 else "forbidden byte in code"


def check_pack_code(code, to):
    """Check `pack_code` in the midst of other bytes, and `copy_code` of what it makes."""
    out = Guarded(to + len(code) + 2)
    text = b"_" + code + b"\x00/"
    end = loops.pack_code(text, 1, 1 + len(code), out.buf, out.begin + to)
    out.check()
    fault = fault_of_code(code)
    if fault:
        assert FAULTS[end] == fault, (code, end)
        return
    packed = packed_code(code)
    assert out.buf[out.begin + to : end] == packed, code
    copy = Guarded(len(packed))
    loops.copy_code(out.buf, out.begin + to, copy.buf, copy.begin)
    copy.check()
    assert copy.buf[copy.begin : copy.end] == packed, code


def check_pack_rule(text):
    """Check `pack_rule` of a text (str)."""
    out = Guarded(packing.RULE_MAX)
    data = b"_" + text.encode() + b"_1"
    end = loops.pack_rule(data, 1, len(data) - 2, out.buf, out.begin)
    out.check()
    reason = reason_of(text)
    if reason:
        assert FAULTS[end] == reason, (text, end)
        return
    packed = packed_rule(plain(text))
    assert bool(end & loops.SECONDS) == _speaks_seconds(text), text
    assert out.buf[out.begin : end & ~loops.SECONDS] == packed, text


def _speaks_seconds(text):
    fields = text.split("_")
    return fields[0] in "37" and max(int(fields[1]), int(fields[2])) > 1440


def check_lines(text, cuts, more):
    """Check `pack_lines` of a text (bytes) that comes up to each of these places, and whole.

    more: bytes for records than a line can need.
    """
    told = []
    out = Guarded(loops.RECORD_MAX + more, 0)
    at = 0
    for n in sorted(cut % (len(text) + 1) for cut in cuts) + [len(text)]:
        at = _packed_lines(text, at, n, out, told)
    expected = []
    lines = text.split(b"\n")
    for line in lines[:-1]:
        _expect_line(line, expected)
    assert told == expected, (text, told, expected)
    assert at == len(text) - len(lines[-1])


def _packed_lines(text, at, n, out, told):
    # Notes the records and faults of all whole lines of text[at:n]; returns where they end.
    marks = array("i", [0] * 5)
    while True:
        before = at
        result = loops.pack_lines(text, at, n, out.buf, out.end, marks)
        out.check()
        at, used, ended, good, seconds = marks
        assert ended == text[before:at].count(b"\n")
        found = _records_in(out.buf, used)
        spoken = [rules.text_of(rule).decode() for _, rule in found if rule]
        assert good == len(spoken)
        assert bool(seconds) == any(_speaks_seconds(rule) for rule in spoken)
        told.extend(found)
        if result == 0:
            assert b"\n" not in text[at:n]
            return at
        if result < 0:
            told.append(FAULTS[result])
        else:
            assert result == MORE and used + loops.RECORD_MAX > out.end


def _records_in(buf, size):
    found = []
    at = 0
    while at < size:
        end = at + buf[at + 1] + 3
        assert buf[end] == 1
        code = bytes(buf[at:end])
        at = end + 2 + buf[end + 1]
        found.append((code, bytes(buf[end + 2 : at])))
    assert at == size
    return found


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
    # A byte that no rule has stands for all those that are no UTF-8.
    text = "".join(chr(byte) if byte < 128 else "?" for byte in line[cut + 2 :])
    fault = "rule longer than 64 bytes" if not whole or len(text) > 64 else reason_of(text)
    packed = packed_code(line[:cut])
    expected.append((packed, b"" if fault else packed_rule(plain(text))))
    if fault:
        expected.append(fault)


# Rule sets by number


def check_numbers(some):
    """Check that rule sets (bytes) have a number each as long as there is room."""
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


def check_intern(some, known):
    """Check that rules in records become their numbers.

    some: (code, packed rule or None for a delete). known: rule sets that have numbers before.
    """
    sets = RuleSets()
    for rule_set in known:
        sets.number(rule_set)
    records = b""
    for code, rule in some:
        value = TOMBSTONE if rule is None else bytes((1, len(rule))) + rule
        records += packed_code(code) + value
    buf = bytearray(records)
    size = sets.intern(buf, len(buf))
    assert buf[size:] == records[size:]
    expected = b""
    for code, rule in some:
        number = -2 if rule is None else sets.number(rule)
        expected += packed_code(code) + value_of(number, rule)
        assert number < 0 or sets.get(number) == rule
    assert buf[:size] == expected, (some, buf[:size])


def value_of(number, rule_set=b""):
    """Return the value (bytes) of an entry: FORMAT.md has the table."""
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
        loops.digest(data, 1, len(data) - 1, around, 1, 1 + len(rule_set), sums)
    return list(sums)


def sums_of_records(lines):
    """Return the sums of an answer: a list of (code, packed rule), b"" for none."""
    sums = array("i", [0, 0, 0])
    records = b""
    for code, rule in lines:
        records += packed_code(code) + bytes((1, len(rule))) + rule
    loops.digest_records(bytearray(records), len(records), sums)
    return list(sums)


def _lines_of(table):
    return [(code, rule) for code, some in table for rule in some or [b""]]


def check_digest(table, seed):
    """Check that an answer in any order has the sums of its table, and a changed one has not.

    table: a list of (code, list of packed rules), no code or rule of a code twice.
    """
    numbers = Numbers(seed)
    lines = _lines_of(table)
    sums = sums_of(table)
    assert sums[2] == len(lines)
    assert sums_of_records(lines) == sums
    assert sums_of_records(numbers.shuffled(lines)) == sums
    same = sorted(lines)
    for changed in _changed(lines, numbers):
        if sorted(changed) != same:
            assert sums_of_records(changed) != sums, (lines, changed)


def _changed(lines, numbers):
    # Answers that differ in little: one line gone, twice, of another code or rule; two swapped.
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
    # some: (packed code, value). Returns the records and where each begins.
    data = b""
    places = []
    for code, value in some:
        places.append(len(data))
        data += code + value
    return data, places


def check_list_records(some, pieces):
    """Check `list_records` of records that come in so many pieces.

    some: a list of (packed code, value), rules in place of at most 255 bytes.
    """
    data, places = _records_of(some)
    edges = [len(some) * i // pieces for i in range(pieces + 1)]
    offsets = array("H", bytes(2 * len(some) + 2))
    notes = array("H", [0, 0])
    count = 0
    for i in range(pieces):
        bounds = (places + [len(data)])[edges[i]], (places + [len(data)])[edges[i + 1]]
        count = loops.list_records(data, bounds[0], bounds[1], offsets, count, notes)
    assert list(offsets) == places + [0], (offsets, places)
    codes = [code for code, _ in some]
    assert notes[0] == max([len(code) for code in codes] + [0])
    assert notes[1] == (codes != sorted(codes)), codes


def check_sift(codes, stride):
    """Check that a heap made and emptied with `sift` gives packed codes in their order.

    stride: bytes from one to the next; 0: one behind the other.
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
    for i in range(count // 2 - 1, -1, -1):
        loops.sift(data, heap, count, i, heap[i], step)
    out = []
    while count:
        at = heap[0] * step
        out.append(bytes(data[at : at + data[at + 1] + 3]))
        count -= 1
        if count:
            loops.sift(data, heap, count, 0, heap[count], step)
    assert out == sorted(codes), codes
    assert heap[len(codes)] == 0xA5A5


def check_order(one, other):
    """Check `order` of two packed codes in the midst of other bytes."""
    found = loops.order(b"\xff" + one + b"\xff", 1, b"\xff\xff" + other + b"\x00", 2)
    assert (found > 0) - (found < 0) == (one > other) - (one < other), (one, other)


# Blocks


def coded(entries):
    """Return the entries of a block (packed code, value) as its bytes."""
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
    """Return the entries of a block's bytes, and how it ended: END, MALFORMED or None.

    None: it goes on with what `coded` never makes, and what that means is nobody's business.
    """
    entries = []
    last = NO_CODE
    at = 0
    while at < len(data):
        try:
            code, at = _decoded_code(data, at, last)
            end = _end_of_value(data, at)
        except IndexError:
            return entries, loops.MALFORMED
        if code is None or (data[at] == 1 and min(data[at + 1 : at + 3]) > 127):
            return entries, None
        if code == b"" or len(code) > room or end > len(data):
            return entries, loops.MALFORMED
        entries.append((code, bytes(data[at:end])))
        at = end
        last = code
    return entries, END


def _decoded_code(data, at, last):
    # Returns the code, b"" for none that can be, None for one that no writer makes.
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
    """Check that entries are coded as FORMAT.md has it, and that a walk gives them back.

    entries: (packed code, number, rule set in place) in code order; see `value_of`. limit: bytes.
    """
    out = Guarded(limit + loops.RECORD_MAX)
    last = Guarded(KEY_ROOM, 0)
    last.buf[0] = 0
    written = []
    used = out.begin
    for code, number, rule_set in entries:
        value = value_of(number, rule_set)
        # What is in place is the caller's to append: it asks for that much less.
        more = len(value) - 1 if number == -1 else 0
        before = bytes(last.buf)
        bound = out.begin + limit - more
        end = loops.entry(out.buf, used, bound, last.buf, b"\xff" + code, 1, number)
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


class _Block:
    # A block as `walk` takes it: room for a code, and the entries behind it; guards around.

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

    def walk(self, key=NO_CODE):
        # Returns what `walk` says, the code and the value.
        buf = self._buf
        state = self._state
        before = state[1]
        order = loops.walk(buf, self._at, self._room, state, 1, key)
        assert self._view[: self._at] == _GUARDS, "written before its room"
        assert self._view[self._begin :] == self._data, "written behind its room"
        assert (state[0], state[2], state[4]) == (0xA5A5, self._end, 0xA5A5)
        if order < 0:
            return order, None, None
        assert before < state[3] < state[1] <= self._end
        end = self._at + buf[self._at + 1] + 3
        return order, bytes(buf[self._at : end]), bytes(buf[state[3] : state[1]])


def check_walk(data, entries):
    """Check a walk through the bytes of a block, to its end and to keys near its codes."""
    block = _Block(data, KEY_ROOM)
    for code, value in entries:
        order, found, found_value = block.walk()
        assert order > 0 and (found, found_value) == (code, value)
    assert block.walk()[0] == block.walk()[0] == END
    for key in _keys_near([code for code, _ in entries]):
        block.rewind()
        above = [entry for entry in entries if entry[0] >= key]
        order, code, value = block.walk(key)
        if not above:
            assert order == END, key
            continue
        assert (code, value) == above[0], (key, code)
        assert (order > 0) == (code != key) and order >= 0
        for entry in above[1:3]:
            assert block.walk()[1:] == entry


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
    """Check that a walk through any bytes ends, writes only to its room and believes no rubbish.

    room: bytes for a code.
    """
    data = bytes(data)
    block = _Block(data, room)
    entries, end = decoded(data, room)
    for code, value in entries:
        order, found, found_value = block.walk()
        assert order > 0 and (found, found_value) == (code, value), (data, found, code)
    if end is not None:
        order = block.walk()[0]
        assert order == end, (data, order, end)
    for _ in data:
        if block.walk()[0] < 0:
            break
    else:
        assert not data
    for key in _keys_near([code for code, _ in entries])[:9]:
        block.rewind()
        while block.walk(key)[0] > 0:
            pass


# Segments


def check_block_of(separators, keys):
    """Check `block_of` against a look at every separator. Both are packed codes' bytes.

    separators: ascending, none the beginning of the one before.
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
        found = loops.block_of(index, size, key + b"\x00\xff")
        assert found == expected, (separators, key, found, expected)


def check_set_start(sets, cut):
    """Check `set_start` of some rule sets, the last `cut` bytes of which are missing."""
    data = b""
    starts = []
    for rule_set in sets:
        starts.append(len(data))
        data += bytes((len(rule_set),)) + rule_set
    size = max(0, len(data) - cut)
    for number, start in enumerate(starts):
        whole = start + 1 + len(sets[number]) <= size
        found = loops.set_start(data + b"\x00\x00", size, number)
        assert found == (start if whole else -1), (sets, cut, number, found)
    for number in (len(sets), len(sets) + 1, 400):
        assert loops.set_start(data + b"\x00\x00", size, number) == -1


# Streams


class _Flow:
    # `flow` from a heap into blocks of `limit` bytes; what it leaves is taken by hand.

    def __init__(self, own, limit, verbatim, step):
        self.count = 0
        self.stride = 1
        self.room = 0
        self.heap = self.state = array("H", [0])
        self.buf = b""
        self._own = array("H", own)
        self._limit = limit
        self._verbatim = verbatim
        self._step = step
        self._out = Guarded(limit + loops.RECORD_MAX, 0)
        self._last = Guarded(KEY_ROOM, 0)
        self._last.buf[0] = 0
        self._used = 2
        self.entries = []  # (packed code, value) that have come out
        self.by_hand = []

    def run(self):
        """Let everything flow."""
        while self.count:
            marks = [self.count, self.stride, self.room, self._used, self._limit]
            marks = array("i", marks + [self._verbatim, self._step, len(self._own)])
            result = loops.flow(
                self.buf, self.heap, self.state, self._out.buf, self._last.buf, self._own, marks
            )
            self._out.check()
            self._last.check()
            assert 0 <= marks[6] <= self._step and 2 <= marks[3] <= self._limit
            assert result or not marks[0] or not marks[6]
            self.count = marks[0]
            self._used = marks[3]
            if result == FULL:
                self.check_full(self._end_block())
            elif result == SLOW:
                self.by_hand += self.take_by_hand()
            elif result < 0:
                self.end_source(result)
        self._end_block()

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
        """Check that the next entry would not have found room."""
        code, value = self.least()
        assert len(coded(block + [(code, self.renumbered(value))])) > self._limit - 2
        assert block, "an empty block is full"

    def renumbered(self, value):
        """Return a value with the number that it has where it is written to."""
        number = _number_of(value)
        if self._verbatim or number < 0:
            return value
        return value_of(self._own[number] - 1)

    def may_be_slow(self, code, value, alone):
        """Check that there was a reason to leave an entry."""
        number = _number_of(value)
        assert not self._verbatim
        assert not alone or (number >= 0 and not any(self._own[number : number + 1])), code


def _number_of(value):
    return value[0] - 2 if value[0] < 240 else 238 + (value[0] - 240) * 256 + value[1]


class _RecordFlow(_Flow):
    def __init__(self, records, *others):
        super().__init__(*others)
        self.buf, places = _records_of(records)
        self.heap = self.state = array("H", places)
        self.count = len(places)
        for i in range(self.count // 2 - 1, -1, -1):
            loops.sift(self.buf, self.heap, self.count, i, self.heap[i], 1)

    def least(self):
        at = self.heap[0]
        end = at + self.buf[at + 1] + 3
        return bytes(self.buf[at:end]), bytes(self.buf[end : _end_of_value(self.buf, end)])

    def take_by_hand(self):
        code = self.least()[0]
        taken = []
        while self.count and self.least()[0] == code:
            taken.append(self.least())
            self.count -= 1
            if self.count:
                loops.sift(self.buf, self.heap, self.count, 0, self.heap[self.count], 1)
        self.may_be_slow(code, taken[0][1], len(taken) == 1)
        return taken


class _BlockFlow(_Flow):
    def __init__(self, blocks, *others):
        super().__init__(*others)
        # Blocks of one size, each behind room for a code, and a guard between them and behind.
        self.room = KEY_ROOM
        size = max([len(block) for block in blocks] + [0])
        self.stride = KEY_ROOM + size + len(_BEHIND)
        self._blocks = [block + b"\x5a" * (size - len(block)) + _BEHIND for block in blocks]
        self.buf = bytearray(b"".join(bytes(KEY_ROOM) + block for block in self._blocks))
        self.state = array("H", bytes(6 * len(blocks)))
        self.heap = array("H", bytes(2 * len(blocks)))
        self.malformed = 0
        for source, block in enumerate(blocks):
            begin = source * self.stride + KEY_ROOM
            self.state[3 * source] = begin
            self.state[3 * source + 1] = begin + len(block)
            if self._walk(source) >= 0:
                self.heap[self.count] = source
                self.count += 1
        for i in range(self.count // 2 - 1, -1, -1):
            loops.sift(self.buf, self.heap, self.count, i, self.heap[i], self.stride)

    def _walk(self, source):
        at = source * self.stride
        return loops.walk(self.buf, at, KEY_ROOM, self.state, 3 * source, NO_CODE)

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
                loops.sift(self.buf, self.heap, self.count, 0, source, self.stride)
        self.may_be_slow(code, taken[0][1], len(taken) == 1 and not at_end)
        return taken

    def end_source(self, result):
        self.malformed += result == loops.MALFORMED
        self.count -= 1
        if self.count:
            loops.sift(self.buf, self.heap, self.count, 0, self.heap[self.count], self.stride)

    def check_blocks(self):
        # Only the rooms of the codes may have been written to.
        for source, block in enumerate(self._blocks):
            begin = source * self.stride + KEY_ROOM
            assert memoryview(self.buf)[begin : begin + len(block)] == block


def _check_flowed(flow, entries, own):
    # entries: all that went in. What flowed and what was taken by hand is that, least first.
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


def check_flow_of_records(records, own, limit, step):
    """Check that records (packed code, value) flow into blocks in code order.

    own: the number plus one of each rule set where it is written to; None to keep them as they
    are. limit: bytes of a block. step: entries at once.
    """
    flow = _RecordFlow(records, own or [0], limit, own is None, step)
    flow.run()
    _check_flowed(flow, records, own)


def check_flow_of_blocks(sources, own, limit, step):
    """Check that blocks are merged into blocks; as `check_flow_of_records`.

    sources: lists of (packed code, value) in code order.
    """
    blocks = [coded(source) for source in sources]
    flow = _BlockFlow(blocks, own or [0], limit, own is None, step)
    flow.run()
    flow.check_blocks()
    assert not flow.malformed
    _check_flowed(flow, [entry for source in sources for entry in source], own)


def check_flow_of_anything(blocks, verbatim, limit):
    """Check that a merge of blocks of any bytes ends and writes only where it may."""
    flow = _BlockFlow([bytes(block) for block in blocks], [1] * 300, limit, verbatim, 7)
    flow.check_full = flow.may_be_slow = lambda *_: None
    flow.read = lambda _: []
    flow.run()
    flow.check_blocks()
