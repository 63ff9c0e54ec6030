"""The hot loops: packing, comparing, sorting, coding and decoding, in viper code.

The one file of native code, so that all the rest is plain Python. Its source means the same
everywhere: integers stay below 30 bits, and `ptr8(x)[i]` is what `x[i]` is, so that where there
is no viper (CPython, MicroPython without a native emitter) ptr8, ptr16 and ptr32 are functions
that return their argument. Promises: nothing here allocates. Viper checks no bounds: each
function says what its caller owes it, and what comes from flash is checked here. The formats
are told in table/FORMAT.md and access/rules.py.
"""

import micropython
from micropython import const

# What pack_code, pack_rule and pack_lines say is wrong. The words for it stand by number in
# codes.FAULTS, packing.FAULTS and answer.FAULTS.
_EMPTY_CODE = const(-1)
_LONG_CODE = const(-2)
_FORBIDDEN_BYTE = const(-3)
_NO_SEPARATOR = const(-4)
_LONG_RULE = const(-5)
_UNKNOWN_KIND = const(-6)
_WRONG_FIELDS = const(-7)
_BAD_NUMBER = const(-8)
_LONG_NUMBER = const(-9)
_DAY_TIME_BEYOND = const(-10)
_BAD_MASK = const(-11)
_FROM_AFTER_TO = const(-12)
_BAD_NINE = const(-13)

SECONDS = const(0x8000)  # added to what pack_rule returns: its day times can only be seconds
# Bytes: the record of a line has no more, nor an entry that is a gap: one of 255 bytes, seven bits
# a byte, takes 292.
RECORD_MAX = const(304)
_LINE_MAX = const(324)  # bytes of a line that are looked at
_MORE = const(1)

# What walk returns besides an order, and flow besides those.
_END = const(-1)
MALFORMED = const(-2)
FULL = const(1)
_SLOW = const(2)

_NO_KEY = b"\x00"  # below every packed code
_RULE_TEXT_MAX = const(64)
_DAY_MINUTES = const(1440)
_DAY_SECONDS = const(86400)
_HASH_MASK = const(0x3FFFFFFF)


@micropython.viper
def pack_code(text, at: int, end: int, out, to: int) -> int:
    """Pack the code `text[at:end]` into `out[to:]`; return the offset behind it, or a fault.

    out: has room for end - at + 2 bytes.
    """
    t = ptr8(text)
    o = ptr8(out)
    n = end - at
    if n <= 0:
        return _EMPTY_CODE
    if n > 255:
        return _LONG_CODE
    seen = 0  # 1: upper-case digits, 2: lower-case ones, 4: other characters
    last = 0
    i = at
    while i < end:
        c = t[i]
        if c < 0x30:
            # Control bytes cannot be in a tag; HTML and binary rubbish is full of them.
            if c < 0x20 or c == 0x25 or c == 0x2C:
                return _FORBIDDEN_BYTE
            if c == 0x2F and last == 0x5F:
                return _FORBIDDEN_BYTE
            seen |= 4
        elif c > 0x39:
            if c == 0x7F:
                return _FORBIDDEN_BYTE
            if c >= 0x41 and c <= 0x46:
                seen |= 1
            elif c >= 0x61 and c <= 0x66:
                seen |= 2
            else:
                seen |= 4
        last = c
        i += 1
    i = at
    if seen > 2:
        o[to] = 5
        o[to + 1] = n - 1
        to += 2
        while i < end:
            o[to] = t[i]
            to += 1
            i += 1
        return to
    o[to] = 1 + (seen & 2) + (n & 1)
    o[to + 1] = ((n + 1) >> 1) - 1
    to += 2
    byte = 0
    half = n & 1  # an odd number of digits: a zero stands before the first
    while i < end:
        c = t[i]
        digit = c & 15
        if c & 0x40:  # a letter, of either case
            digit += 9
        if half:
            o[to] = byte | digit
            to += 1
            half = 0
        else:
            byte = digit << 4
            half = 1
        i += 1
    return to


@micropython.viper
def pack_rule(text, at: int, end: int, out, to: int) -> int:
    """Pack the rule `text[at:end]` into `out[to:]`; return the offset behind it, or a fault.

    out: has room for RULE_MAX bytes more. The sum of the offset and SECONDS is returned for a
    rule with a day time above 1440.
    """
    t = ptr8(text)
    o = ptr8(out)
    if end - at < 1 or (end - at > 1 and t[at + 1] != 0x5F):
        return _UNKNOWN_KIND
    kind = t[at] - 0x30
    fields = 0
    field = 0  # 0 START, 1 END, 2 the mask, 3 FROM, 4 TO
    if kind == 1:
        fields = 2
        field = 3
    elif kind == 3:
        fields = 3
    elif kind == 7:
        fields = 5
    elif kind == 9:
        fields = 1
    else:
        return _UNKNOWN_KIND
    i = at
    while i < end:
        if t[i] == 0x5F:
            fields -= 1
        i += 1
    if fields:
        return _WRONG_FIELDS
    o[to] = kind
    to += 1
    i = at + 2
    if kind == 9:
        if end - i != 1 or (t[i] != 0x30 and t[i] != 0x31):
            return _BAD_NINE
        o[to] = t[i] - 0x30
        return to + 1
    seconds = 0
    from_low = 0
    from_high = 0
    while True:
        begin = i
        # Ten digits need 34 bits: the low 14 and the high 20 are kept apart.
        low = 0
        high = 0
        bits = 0
        bad = 0
        while i < end and t[i] != 0x5F:
            c = t[i] - 0x30
            if c < 0 or c > 9:
                bad = 1
            if i - begin < 10:
                low = low * 10 + c
                high = high * 10 + (low >> 14)
                low &= 0x3FFF
            if c == 1 and i - begin < 7:
                bits |= 1 << (i - begin)
            if c > 1 and field == 2:
                bad = 1
            i += 1
        n = i - begin
        i += 1
        if field == 2:
            if bad or n != 7:
                return _BAD_MASK
            o[to] = bits
            to += 1
            if kind == 3:
                return to + seconds
        else:
            if bad or n == 0:
                return _BAD_NUMBER
            if n > 10:
                return _LONG_NUMBER
            if field < 2:
                if high > 5 or (high << 14 | low) > _DAY_SECONDS:
                    return _DAY_TIME_BEYOND
                if (high << 14 | low) > _DAY_MINUTES:
                    seconds = SECONDS
            elif field == 3:
                from_low = low
                from_high = high
            else:
                low -= from_low
                high -= from_high
                if low < 0:
                    low += 0x4000
                    high -= 1
                if high < 0:
                    return _FROM_AFTER_TO
            while high or low > 0x7F:
                o[to] = low & 0x7F | 0x80
                to += 1
                low = low >> 7 | (high & 0x7F) << 7
                high >>= 7
            o[to] = low
            to += 1
            if field == 4:
                return to + seconds
        field += 1


@micropython.viper
def pack_lines(text, at: int, n: int, out, room: int, marks) -> int:
    """Make records of the whole lines `CODE_/RULE` in `text[at:n]`, one after another in `out`.

    A record is a packed code and a rule in place (FORMAT.md). A line whose rule is none gives
    its code with an empty rule. room: bytes of `out`. marks: array("i") of five: where the next
    line begins, bytes of records, lines ended, good rules, whether a rule is in seconds.

    Returns 0: no whole line is left; 1: no room is left; or the fault of the last line.
    """
    t = ptr8(text)
    o = ptr8(out)
    m = ptr32(marks)
    used = 0
    lines = 0
    rules = 0
    seconds = 0
    result = 0
    while result == 0:
        if used + RECORD_MAX > room:
            result = _MORE
            break
        cut = -1
        stop = at
        while stop < n and t[stop] != 0x0A:
            if t[stop] == 0x2F and cut < 0 and stop > at and t[stop - 1] == 0x5F:
                cut = stop - 1
            stop += 1
        if stop == n:
            break
        begin = at
        end = stop
        if end - begin > _LINE_MAX:
            end = begin + _LINE_MAX
        at = stop + 1
        lines += 1
        if end > begin and t[end - 1] == 0x0D:
            end -= 1
        if end == begin:
            continue
        if cut < 0 or cut - begin > _LINE_MAX - 2:
            result = _NO_SEPARATOR
            if stop - begin > _LINE_MAX:
                result = _LONG_CODE
            break
        to = int(pack_code(text, begin, cut, out, used))
        if to < 0:
            result = to
            break
        o[to] = 1
        o[to + 1] = 0
        used = to + 2
        if stop - begin > _LINE_MAX or end - cut - 2 > _RULE_TEXT_MAX:
            result = _LONG_RULE
            break
        to = int(pack_rule(text, cut + 2, end, out, used))
        if to < 0:
            result = to
            break
        if to & SECONDS:
            seconds = 1
            to -= SECONDS
        o[used - 1] = to - used
        used = to
        rules += 1
    m[0] = at
    m[1] = used
    m[2] = lines
    m[3] = rules
    m[4] = seconds
    return result


@micropython.viper
def number_of(data, at: int, end: int, arena, slots, starts, counts) -> int:
    """Return the number of the rule set `data[at:end]`, a new one if need be, -1 without room.

    arena, slots, starts, counts: those of a RuleSets.
    """
    d = ptr8(data)
    a = ptr8(arena)
    s = ptr16(slots)
    b = ptr16(starts)
    c = ptr16(counts)
    size = end - at
    h = size
    i = at
    while i < end:
        h = (h ^ d[i]) * 16777619 & _HASH_MASK
        i += 1
    h ^= h >> 15
    mask = c[2]
    slot = h & mask
    while s[slot]:
        begin = b[s[slot] - 1]
        if a[begin] == size:
            i = 0
            while i < size and a[begin + 1 + i] == d[at + i]:
                i += 1
            if i == size:
                return s[slot] - 1
        slot = (slot + 1) & mask
    begin = c[1]
    if size > 255 or begin + 1 + size > c[4] or c[0] == c[3]:
        return -1
    a[begin] = size
    i = 0
    while i < size:
        a[begin + 1 + i] = d[at + i]
        i += 1
    c[1] = begin + 1 + size
    b[c[0]] = begin
    c[0] += 1
    s[slot] = c[0]
    return c[0] - 1


@micropython.viper
def intern(records, size: int, arena, slots, starts, counts) -> int:
    """Replace the rules in place of `records[:size]` by their numbers; return the new size.

    Those that find no room in the RuleSets stay as they are.
    """
    r = ptr8(records)
    at = 0
    to = 0
    while at < size:
        end = at + r[at + 1] + 3
        while at < end:
            r[to] = r[at]
            to += 1
            at += 1
        # at: the value, 1 and the length and bytes of a rule, or 0 for a delete.
        if r[at] == 0:
            r[to] = 0
            to += 1
            at += 1
            continue
        end = at + 2 + r[at + 1]
        number = int(number_of(records, at + 2, end, arena, slots, starts, counts))
        if number < 0:
            while at < end:
                r[to] = r[at]
                to += 1
                at += 1
        else:
            if number < 238:
                r[to] = number + 2
            else:
                number -= 238
                r[to] = 240 + (number >> 8)
                to += 1
                r[to] = number & 0xFF
            to += 1
            at = end
    return to


@micropython.viper
def digest(data, at: int, size: int, rules, begin: int, end: int, sums) -> int:
    """Add the code `data[at:at + size]` with each rule of `rules[begin:end]` to the sums.

    sums: array("i") of three: two sums that do not depend on the order, and a count. They are
    the same for an answer and a table of the same codes and rules, and differ for others, but
    for one chance in 2**60.
    """
    d = ptr8(data)
    r = ptr8(rules)
    s = ptr32(sums)
    a = 17
    b = 29
    i = at
    while i < at + size:
        a = (a ^ d[i]) * 16777619 & _HASH_MASK
        b = (b ^ d[i]) * 73244475 & _HASH_MASK
        i += 1
    while True:
        # One rule: its kind tells how many varints it has, and whether a mask.
        stop = begin
        if begin < end:
            varints = 4
            if r[begin] == 1 or r[begin] == 3:
                varints = 2
            if r[begin] == 9:
                stop += 2
            else:
                stop += 1
                seen = 0
                while seen < varints and stop < end:
                    if r[stop] < 0x80:
                        seen += 1
                        if seen == 2 and r[begin] != 1:
                            stop += 1
                    stop += 1
        x = a
        y = b
        while begin < stop and begin < end:
            x = (x ^ r[begin]) * 16777619 & _HASH_MASK
            y = (y ^ r[begin]) * 73244475 & _HASH_MASK
            begin += 1
        x = (x ^ x >> 15) * 0x2C1B3C6D & _HASH_MASK
        y = (y ^ y >> 13) * 0x297A2D39 & _HASH_MASK
        s[0] = s[0] + (x ^ x >> 12) & _HASH_MASK
        s[1] = s[1] + (y ^ y >> 16) & _HASH_MASK
        s[2] = s[2] + 1 & _HASH_MASK
        if begin >= end:
            return 0


@micropython.viper
def digest_records(records, size: int, sums):
    """Add the records of pack_lines to the sums; see `digest`."""
    r = ptr8(records)
    at = 0
    while at < size:
        n = r[at + 1] + 3
        begin = at + n + 2
        end = begin + r[begin - 1]
        digest(records, at, n, records, begin, end, sums)
        at = end


@micropython.viper
def list_records(buf, at: int, end: int, offsets, count: int, notes) -> int:
    """Note where each record of `buf[at:end]` begins in `offsets[count:]`, an array("H").

    Returns the new count. notes: array("H") of two: the longest packed code so far is kept in
    the first, and the second becomes 1 if a code is below the one before it.
    """
    p = ptr8(buf)
    o = ptr16(offsets)
    t = ptr16(notes)
    while at < end:
        n = p[at + 1] + 3
        if n > t[0]:
            t[0] = n
        if count:
            last = int(o[count - 1])
            i = 0
            while i < n and p[last + i] == p[at + i]:
                i += 1
            if i < n and p[at + i] < p[last + i]:
                t[1] = 1
        o[count] = at
        count += 1
        at += n
        value = p[at]
        if value == 1:
            at += p[at + 1] + 1
        elif value >= 240:
            at += 1
        at += 1
    return count


@micropython.viper
def sift(buf, heap, count: int, hole: int, item: int, stride: int):
    """Put `item` into the heap at `hole` or below it, so that no code is below its parent's.

    heap: array("H") of `count` items; the packed code of item x begins at buf[x * stride].
    """
    p = ptr8(buf)
    h = ptr16(heap)
    mine = item * stride
    while True:
        child = 2 * hole + 1
        if child >= count:
            break
        a = h[child] * stride
        if child + 1 < count:
            b = h[child + 1] * stride
            n = p[b + 1] + 3
            i = 0
            while i < n and p[a + i] == p[b + i]:
                i += 1
            if i < n and p[b + i] < p[a + i]:
                child += 1
                a = b
        n = p[a + 1] + 3
        i = 0
        while i < n and p[a + i] == p[mine + i]:
            i += 1
        if i == n or p[a + i] > p[mine + i]:
            break
        h[hole] = h[child]
        hole = child
    h[hole] = item


@micropython.viper
def order(a, at: int, b, bt: int) -> int:
    """Return less than, equal to or more than 0 as the packed code a[at:] is to b[bt:]."""
    p = ptr8(a)
    q = ptr8(b)
    n = p[at + 1] + 3
    i = 0
    while i < n and p[at + i] == q[bt + i]:
        i += 1
    if i == n:
        return 0
    return p[at + i] - q[bt + i]


@micropython.viper
def copy_code(buf, at: int, out, to: int):
    """Copy the packed code at buf[at] to out[to], where there is room for it."""
    p = ptr8(buf)
    o = ptr8(out)
    n = p[at + 1] + 3
    i = 0
    while i < n:
        o[to + i] = p[at + i]
        i += 1


@micropython.viper
def walk(buf, at: int, room: int, state, s: int, key) -> int:
    """Go on to the next entry of a block whose code is not below the packed code `key`.

    buf: has the code of the current entry at `at`, 0 before the first, and `room` bytes for it.
    state[s:]: of array("H"), offsets in buf: the next entry, the end of entries, the value of
    the current one. key: a first byte of 0 is below every code.

    Returns 0 if it is that code, a positive number if it is above; -1 at the block's end;
    MALFORMED if the block is none that a writer makes.
    """
    p = ptr8(buf)
    t = ptr16(state)
    k = ptr8(key)
    at_next = int(t[s])
    stop = int(t[s + 1])
    while at_next < stop:
        whole = 0
        if p[at] == 0:
            whole = 1
        elif p[at_next] == 0:
            # The same code once more, or one of another kind or length.
            at_next += 1
            if p[at_next] == 0:
                at_next += 1
            else:
                whole = 1
        else:
            # Adds the gap to the code as one long number, from its last byte on. `carry` holds
            # what is still to be added, aligned to byte i; `bits` of it are known.
            i = at + p[at + 1] + 2
            carry = 0
            bits = 0
            byte = 0x80
            while byte & 0x80:
                byte = p[at_next]
                at_next += 1
                carry += (byte & 0x7F) << bits
                bits += 7
                if bits >= 8:
                    if i < at + 2 or at_next > stop:
                        return MALFORMED
                    carry += p[i]
                    p[i] = carry & 0xFF
                    carry >>= 8
                    bits -= 8
                    i -= 1
            while carry:
                if i < at + 2:
                    return MALFORMED
                carry += p[i]
                p[i] = carry & 0xFF
                carry >>= 8
                i -= 1
        if whole:
            n = p[at_next + 1] + 3
            if n > room or at_next + n > stop:
                return MALFORMED
            i = 0
            while i < n:
                p[at + i] = p[at_next + i]
                i += 1
            at_next += n
        t[s + 2] = at_next
        value = p[at_next]
        at_next += 1
        if value == 1:
            length = p[at_next] & 0x7F
            if p[at_next] & 0x80:
                at_next += 1
                length |= p[at_next] << 7
            at_next += 1 + length
        elif value >= 240:
            at_next += 1
        if at_next > stop:
            return MALFORMED
        if k[0] == 0:
            t[s] = at_next
            return 1
        n = k[1] + 3
        i = 0
        while i < n and p[at + i] == k[i]:
            i += 1
        if i == n:
            t[s] = at_next
            return 0
        if p[at + i] > k[i]:
            t[s] = at_next
            return p[at + i] - k[i]
    return _END


@micropython.viper
def entry(out, used: int, limit: int, last, buf, at: int, number: int) -> int:
    """Code the entry of the packed code at buf[at] behind out[:used]; see FORMAT.md.

    last: the packed code before, a first byte of 0 if there is none; it becomes this one.
    number: of the rule set; -1 for one in place, which the caller appends; -2 for a tombstone.
    out: has RECORD_MAX bytes more than `limit`. Returns the new `used`, or 0 if that would be
    above the limit: nothing has changed then.
    """
    o = ptr8(out)
    l = ptr8(last)  # noqa: E741
    p = ptr8(buf)
    n = p[at + 1] + 3
    same = 0
    while same < n and l[same] == p[at + same]:
        same += 1
    if same == n:
        o[used] = 0
        o[used + 1] = 0
        used += 2
    elif same < 2:
        if l[0]:
            o[used] = 0
            used += 1
        i = 0
        while i < n:
            o[used] = p[at + i]
            used += 1
            i += 1
    else:
        # The difference of two long numbers, from their last byte on, seven bits a byte.
        i = n - 1
        borrow = 0
        rest = 0
        bits = 0
        end = used + 1  # behind the last byte that is not 0
        while i >= same:
            d = p[at + i] - l[i] - borrow
            borrow = 0
            if d < 0:
                d += 256
                borrow = 1
            rest |= d << bits
            bits += 8
            while bits >= 7:
                o[used] = rest & 0x7F | 0x80
                used += 1
                if rest & 0x7F:
                    end = used
                rest >>= 7
                bits -= 7
            i -= 1
        if rest:
            o[used] = rest
            end = used + 1
        used = end
        o[used - 1] = o[used - 1] & 0x7F
    if number < 238:
        o[used] = number + 2
        if number < 0:
            o[used] = 0
            if number == -1:
                o[used] = 1
        used += 1
    else:
        number -= 238
        o[used] = 240 + (number >> 8)
        o[used + 1] = number & 0xFF
        used += 2
    if used > limit:
        return 0
    i = same
    while i < n:
        l[i] = p[at + i]
        i += 1
    return used


@micropython.viper
def flow(buf, heap, state, out, last, own, marks) -> int:
    """Code the least entries of a heap into a block, one after another, as far as it goes fast.

    buf, heap: as of `sift`. out, last: as of `entry`. own: array("H"), the number plus one that a
    rule set has where it is written to, 0 for none yet. marks: array("i") of eight: the heap's
    count and stride; the room for a code; bytes used in the block, and their limit; whether
    entries are written as they are; how many to do; the length of `own`. What became of them
    stands there afterwards. Sets in place are of less than 128 bytes, as those of records are.
    With room, each item of the heap is a source that goes on to its next entry, with `state` as
    of `walk`; without, it is a record that is used up.

    Returns 0: no entry is left, or so many are done; FULL: the block is; 2: the least entry is
    not alone with its code, or it cannot be told whether it is, or its rule set has no number
    yet; -1 (the end), MALFORMED: of the block of source heap[0], whose last entry is written.
    """
    p = ptr8(buf)
    h = ptr16(heap)
    t = ptr16(state)
    w = ptr16(own)
    o = ptr8(out)
    m = ptr32(marks)
    count = int(m[0])
    stride = int(m[1])
    room = int(m[2])
    used = int(m[3])
    limit = int(m[4])
    verbatim = int(m[5])
    left = int(m[6])
    known = int(m[7])
    result = 0
    while count and left:
        item = int(h[0])
        at = item * stride
        n = p[at + 1] + 3
        value = at + n
        s = 3 * item
        if room:
            value = int(t[s + 2])
        if not verbatim:
            if room:
                following = int(t[s])
                if following >= t[s + 1]:
                    result = _SLOW
                    break
                if p[following] == 0 and p[following + 1] == 0:
                    result = _SLOW
                    break
            child = 1
            while child < 3 and child < count:
                b = h[child] * stride
                i = 0
                while i < n and p[b + i] == p[at + i]:
                    i += 1
                if i == n:
                    result = _SLOW
                child += 1
            if result:
                break
        number = p[value] - 2
        size = 0
        if number >= 238:
            number = 238 + (number - 238 << 8) + p[value + 1]
        if number == -1:
            size = p[value + 1] + 1
        elif number >= 0 and not verbatim:
            if number >= known or w[number] == 0:
                result = _SLOW
                break
            number = w[number] - 1
        end = int(entry(out, used, limit - size, last, buf, at, number))
        if end == 0:
            result = FULL
            break
        i = 0
        while i < size:
            o[end] = p[value + 1 + i]
            end += 1
            i += 1
        used = end
        left -= 1
        if room:
            order = int(walk(buf, at, room, state, s, _NO_KEY))
            if order < 0:
                result = order
                break
        else:
            count -= 1
            item = int(h[count])
        if count:
            sift(buf, heap, count, 0, item, stride)
    m[0] = count
    m[3] = used
    m[6] = left
    return result


@micropython.viper
def block_of(index, size: int, key) -> int:
    """Return the number of separators in `index[:size]` that are not above the packed code `key`.

    A separator is told by the bytes that it shares with the one before, and the rest of it. As
    they ascend, few bytes have to be looked at: `same` of the key are those of the last one.
    """
    p = ptr8(index)
    k = ptr8(key)
    length = k[1] + 3
    same = 0
    number = 0
    at = 0
    while at < size:
        shared = p[at] >> 4
        rest = p[at] & 15
        at += 1
        if shared == 15:
            shared = p[at] & 0x7F
            if p[at] & 0x80:
                at += 1
                shared |= p[at] << 7
            rest = p[at + 1] & 0x7F
            if p[at + 1] & 0x80:
                at += 1
                rest |= p[at + 1] << 7
            at += 2
        if shared < same:
            return number
        if shared == same:
            i = 0
            while i < rest and same < length and p[at + i] == k[same]:
                i += 1
                same += 1
            if i < rest and (same == length or p[at + i] > k[same]):
                return number
        number += 1
        at += rest
    return number


@micropython.viper
def set_start(sets, size: int, number: int) -> int:
    """Return where set `number` begins in `sets[:size]`, its length first; -1 for nowhere."""
    p = ptr8(sets)
    at = 0
    while number > 0 and at < size:
        at += p[at] + 1
        number -= 1
    if at >= size or at + p[at] + 1 > size:
        return -1
    return at
