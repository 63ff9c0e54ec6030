"""The hot loops of a sync, in viper code: packing lines, sorting, merging and encoding.

As in `native`: one source for every platform, nothing here allocates, and bounds that a caller can
guarantee are not checked. Loaded with the first sync, and never unloaded: native code is not
freed. The usual case is handled inline, any other by a function: in viper a call costs more than
the work of most functions here. A *record* is a packed code and a value as in a block (FORMAT.md):
a tombstone for a delete, or a single rule, in place or by its number.
"""

import micropython
from kalitka.native import next_entry, pack_code, pack_rule
from micropython import const

# The faults of a line, besides those that `pack_code` and `pack_rule` return.
_LONG_CODE = const(-2)
_NO_SEPARATOR = const(-4)
_LONG_RULE = const(-5)

SECONDS = const(0x8000)
# The most bytes of a line's record, and of an entry with a gap: a gap of 255 bytes, seven bits a
# byte, takes 292.
RECORD_MAX = const(304)
_LINE_MAX = const(324)  # the longest line that is packed, in bytes
MORE = const(1)  # result of `pack_lines`: no room is left

# Results of `merge`; the negative ones are those of `next_entry`.
_END = const(-1)
_MALFORMED = const(-2)
FULL = const(1)  # the block is full
_SLOW = const(2)  # not the simple case: the caller handles the entry
CONTINUED = const(0x80)  # in the high byte of a run block's size; see FORMAT.md

_NO_KEY = const(b"\x00")  # below every packed code
_RULE_TEXT_MAX = const(64)
_HASH_MASK = const(0x3FFFFFFF)


@micropython.viper
def pack_lines(
    at: int,
    n: int,
    key: int,
    text,
    marks,
    sums,
    out,
    offsets,
    notes,
    texts,
    slots,
    arena,
    set_slots,
    starts,
    counts,
) -> int:
    """Pack the whole lines `CODE_/RULE` of `text[at:n]` into records, one after another in `out`.

    A line with an invalid rule gives its code with an empty rule. key: any number. marks:
    array("i") of four results: offset of the next line, lines ended, valid rules, whether one of
    them is in seconds. sums: see `digest`; all records are added. out, offsets, notes: of the
    Sorter that gets the records. texts, slots: of its TextCache. arena, set_slots, starts, counts:
    the tables of the RuleSets.

    Returns 0 if no whole line is left, MORE if no room is left, or the fault of the last line.
    """
    # Viper holds three arguments in registers, so all loops use them: `at` is the offset that a
    # loop reads, `key` its accumulator.
    t = ptr8(text)
    o = ptr8(out)
    x = ptr8(texts)
    s = ptr16(slots)
    a = ptr8(arena)
    note = ptr16(notes)
    h = ptr16(offsets)
    b = ptr16(starts)
    total = ptr32(sums)
    used = int(note[0])
    count = int(note[1])
    lines = 0
    rules = 0
    seconds = 0
    result = 0
    begin = at
    while True:
        if used + RECORD_MAX > note[2] or count == note[3]:
            result = MORE
            break
        # Memory bound: all that is written below, for a valid line or not, is RECORD_MAX bytes at
        # most: of digits that are no code 128, of a code 257, of its rule 20.
        # Digits are packed while they are scanned: most codes are an even number of digits.
        to = used + 2
        at = begin
        stop = n
        if stop > begin + 256:
            stop = begin + 256
        while at < stop:
            c = t[at] - 0x30
            if c > 9:
                c -= 7
                if c < 10 or c > 15:
                    break
            elif c < 0:
                break
            at += 1
            if (at - begin) & 1:
                key = c << 4
            else:
                o[to] = key | c
                to += 1
        cut = -1
        plain = 0
        if at + 1 < n and t[at] == 0x5F and t[at + 1] == 0x2F:
            cut = at
            plain = 1 - (at - begin & 1)
            if at == begin or at - begin > 254:
                plain = 0
        else:
            at = begin
            while at + 1 < n and t[at] != 0x0A and not (t[at] == 0x5F and t[at + 1] == 0x2F):
                at += 1
            if at + 1 < n and t[at] == 0x5F:
                cut = at
        # Scans the rule and the end of the line. Digits and `_` are hashed; any other byte makes
        # the rule odd: it is not looked up in the text cache.
        if cut >= 0:
            at += 2
        key = 0
        odd = 0
        while at < n:
            c = t[at]
            if c > 0x39:
                if c != 0x5F:
                    odd = 1
            elif c < 0x30:
                break
            key = (key ^ c) * 16777619 & _HASH_MASK
            at += 1
        end = at
        while at < n and t[at] != 0x0A:
            at += 1
        if at == n:
            break
        stop = at
        c = end
        end = stop
        if end > begin and t[end - 1] == 0x0D:
            end -= 1
        if c != end:
            odd = 1
        lines += 1
        if end == begin:
            begin = stop + 1
            continue
        if cut < 0 or cut - begin > _LINE_MAX - 2:
            result = _NO_SEPARATOR
            if stop - begin > _LINE_MAX:
                result = _LONG_CODE
            begin = stop + 1
            break
        if plain:
            o[used] = 1
            o[used + 1] = (cut - begin >> 1) - 1
        else:
            to = int(pack_code(text, begin, cut, out, used))
            if to < 0:
                result = to
                begin = stop + 1
                break
        size = end - cut - 2
        # The number of this rule's text in the cache, -1 if it is not there.
        number = -1
        slot = (key ^ key >> 13) & note[8]
        if not odd:
            while s[slot]:
                c = s[slot] + 2
                if x[c - 3] == size:
                    at = cut + 2
                    while at + 1 < end and x[c] == ((t[at] & 15) << 4 | t[at + 1] & 15):
                        at += 2
                        c += 1
                    if at == end or (at + 1 == end and x[c] == (t[at] & 15) << 4):
                        c = s[slot]
                        number = x[c] | x[c + 1] << 8
                        if number & SECONDS:
                            seconds = 1
                            number -= SECONDS
                        break
                slot = (slot + 1) & note[8]
        if number >= 0:
            rules += 1
            end = to
        else:
            o[to] = 1
            o[to + 1] = 0
            end = to + 2
            if stop - begin > _LINE_MAX or size > _RULE_TEXT_MAX:
                result = _LONG_RULE
            else:
                c = int(pack_rule(text, cut + 2, cut + 2 + size, out, end))
                if c < 0:
                    result = c
                else:
                    spoke = c & SECONDS
                    end = c - spoke
                    if spoke:
                        seconds = 1
                    rules += 1
                    o[to + 1] = end - to - 2
                    number = int(intern(out, to + 2, end, arena, set_slots, starts, counts))
                    c = int(note[7])
                    if number >= 0 and c + (size + 1 >> 1) + 3 <= note[9] and note[10] < note[11]:
                        note[10] += 1
                        s[slot] = c + 1
                        x[c] = size
                        x[c + 1] = number & 0xFF
                        x[c + 2] = (number | spoke) >> 8
                        c += 3
                        at = cut + 2
                        while at < cut + 2 + size:
                            x[c] = (t[at] & 15) << 4
                            if at + 1 < cut + 2 + size:
                                x[c] = x[c] | t[at + 1] & 15
                            c += 1
                            at += 2
                        note[7] = c
        # The sums, as `digest` computes them.
        key = 17
        two = 29
        at = used
        while at < to:
            c = o[at]
            key = (key ^ c) * 16777619 & _HASH_MASK
            two = (two ^ c) * 73244475 & _HASH_MASK
            at += 1
        if number >= 0:
            at = b[number] + 1
            c = at + a[at - 1]
            while at < c:
                key = (key ^ a[at]) * 16777619 & _HASH_MASK
                two = (two ^ a[at]) * 73244475 & _HASH_MASK
                at += 1
            if number < 238:
                o[to] = number + 2
                end = to + 1
            else:
                number -= 238
                o[to] = 240 + (number >> 8)
                o[to + 1] = number & 0xFF
                end = to + 2
        else:
            at = to + 2
            while at < end:
                key = (key ^ o[at]) * 16777619 & _HASH_MASK
                two = (two ^ o[at]) * 73244475 & _HASH_MASK
                at += 1
        key = (key ^ key >> 15) * 0x2C1B3C6D & _HASH_MASK
        two = (two ^ two >> 13) * 0x297A2D39 & _HASH_MASK
        total[0] = total[0] + (key ^ key >> 12) & _HASH_MASK
        total[1] = total[1] + (two ^ two >> 16) & _HASH_MASK
        total[2] = total[2] + 1 & _HASH_MASK
        # The record is complete: compares its code with the one before.
        if to - used > note[4]:
            note[4] = to - used
        if count:
            c = h[count - 1] - used
            at = used
            while at < to and o[at + c] == o[at]:
                at += 1
            if at < to and o[at] < o[at + c]:
                note[5] = 1
            if at - used < note[6]:
                note[6] = at - used
        h[count] = used
        count += 1
        used = end
        begin = stop + 1
        if result:
            break
    note[0] = used
    note[1] = count
    m = ptr32(marks)
    m[0] = begin
    m[1] = lines
    m[2] = rules
    m[3] = seconds
    return result


@micropython.viper
def intern(data, at: int, end: int, arena, slots, starts, counts) -> int:
    """Intern the rule set `data[at:end]`: return its number, a new one if needed, -1 if full.

    arena, slots, starts, counts: the tables of a RuleSets. The hash is not stored in flash.
    """
    d = ptr8(data)
    a = ptr8(arena)
    s = ptr8(slots)
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
def digest(data, at: int, size: int, rules, begin: int, end: int, sums) -> int:
    """Add the code `data[at:at + size]` with each rule of `rules[begin:end]` to the sums.

    sums: array("i") of three: two sums that do not depend on the order, and a count. They are
    equal for an answer and a table of the same codes and rules, and differ for others but for one
    chance in 2**60. FORMAT.md, Manifest, has the formula: the sums are stored in flash.
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
        # Finds the end of one rule: its kind determines the number of varints, and the mask.
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
def add_record(buf, at: int, offsets, notes):
    """Add the record at buf[at:] to offsets and notes, as `pack_lines` does with its records."""
    p = ptr8(buf)
    h = ptr16(offsets)
    note = ptr16(notes)
    n = p[at + 1] + 3
    if n > note[4]:
        note[4] = n
    count = int(note[1])
    if count:
        last = int(h[count - 1])
        i = 0
        while i < n and p[last + i] == p[at + i]:
            i += 1
        if i < n and p[at + i] < p[last + i]:
            note[5] = 1
        if i < note[6]:
            note[6] = i
    h[count] = at
    note[1] = count + 1


@micropython.viper
def shared(a, at: int, b, bt: int) -> int:
    """Return the length of the prefix that the packed codes at a[at:] and b[bt:] share."""
    p = ptr8(a)
    q = ptr8(b)
    n = p[at + 1] + 3
    i = 0
    while i < n and p[at + i] == q[bt + i]:
        i += 1
    return i


@micropython.viper
def sort_step(gap: int, at: int, end: int, buf, offsets, common: int):
    """Do a step of Shell's sort: insert the records at offsets[at:end], comparing `gap` apart.

    common: length of the prefix that all codes share.
    """
    p = ptr8(buf)
    h = ptr16(offsets)
    # Two bytes behind the prefix mostly decide. With a prefix of two bytes or more, all codes have
    # the same length.
    n = p[h[0] + 1] + 3
    if common >= 2 and common + 2 > n:
        common = n - 2
    while at < end:
        item = int(h[at])
        mine = p[item + common] << 8 | p[item + common + 1]
        j = at - gap
        while j >= 0:
            other = int(h[j])
            i = p[other + common] << 8 | p[other + common + 1]
            if i < mine:
                break
            if i == mine:
                i = 0
                n = p[item + 1] + 3
                while i < n and p[other + i] == p[item + i]:
                    i += 1
                if i == n or p[other + i] < p[item + i]:
                    break
            h[j + gap] = other
            j -= gap
        h[j + gap] = item
        at += 1


@micropython.viper
def key_of(buf, at: int, common: int) -> int:
    """Return thirty bits of the packed code at buf[at:], behind the first `common` bytes.

    Of two codes that share these bytes, the one with the smaller number is below the other; equal
    numbers decide nothing.
    """
    p = ptr8(buf)
    end = at + p[at + 1] + 3
    at += common
    key = 0
    i = 0
    while i < 3:
        key <<= 8
        if at < end:
            key |= p[at]
        at += 1
        i += 1
    key <<= 6
    if at < end:
        key |= p[at] >> 2
    return key


@micropython.viper
def sift(buf, heap, keys, count: int, hole: int, item: int, stride: int):
    """Put `item` into the heap at `hole` or below it, so that no code is below its parent's.

    heap: array("H") of `count` items; the packed code of item x begins at buf[x * stride]. keys:
    array("i"); keys[x] is the `key_of` of item x.
    """
    h = ptr16(heap)
    k = ptr32(keys)
    mine = int(k[item])
    while True:
        child = 2 * hole + 1
        if child >= count:
            break
        a = int(h[child])
        key = int(k[a])
        if child + 1 < count:
            b = int(h[child + 1])
            other = int(k[b])
            if other == key and int(compare(buf, b * stride, buf, a * stride)) < 0:
                other -= 1
            if other < key:
                child += 1
                a = b
                key = int(k[a])
        if mine < key:
            break
        if mine == key and int(compare(buf, item * stride, buf, a * stride)) <= 0:
            break
        h[hole] = a
        hole = child
    h[hole] = item


@micropython.viper
def compare(a, at: int, b, bt: int) -> int:
    """Compare the packed codes at a[at:] and b[bt:]: return a negative number, 0 or a positive."""
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
    """Copy the packed code at buf[at] to out[to], where there must be room for it."""
    p = ptr8(buf)
    o = ptr8(out)
    n = p[at + 1] + 3
    i = 0
    while i < n:
        o[to + i] = p[at + i]
        i += 1


@micropython.viper
def encode(out, used: int, limit: int, last, buf, at: int, number: int) -> int:
    """Encode the entry of the packed code at buf[at] behind out[:used]; see FORMAT.md, Segments.

    last: the packed code before, a first byte of 0 if there is none; set to this code. number: of
    the rule set; -1 for a set in place, which the caller appends; -2 for a tombstone. out: has
    RECORD_MAX bytes more than `limit`. Returns the new `used`; or 0 if it would be above the
    limit, and then `last` is unchanged.
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
        # Writes the difference of two long numbers as a varint, from their last byte on.
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
def merge(buf, heap, state, keys, out, last, own, marks) -> int:
    """Append a stream's least entries to a block, one after another, as long as they are simple.

    out, last: as for `encode`. own: array("H") that maps the stream's rule set numbers to those of
    the segment under construction, plus one; 0 for a number not assigned yet, which gets the next.
    marks: array("i") of eleven: 0 records or sources left; 1 the stride; 2 the room for a code;
    3 bytes used in the block, 4 their limit; 5 whether entries are copied unchanged; 6 how many
    entries to append; 7 the length of `own`, 8 numbers assigned; 9 the index of the next record;
    10 the length of the prefix that all codes share. Updated on return.

    If the room is 0, heap is an array("H") of the offsets of records in `buf`, in code order.
    Otherwise it is a heap as for `sift`, each item a source that moves to its next entry, with
    `state` as for `next_entry`.

    Returns 0 if no entry is left or all are appended; FULL if the block is full; 2 (_SLOW) if the
    least entry is not, or may not be, the only one of its code, or if `own` is too short; -1 (the
    end) or _MALFORMED for the block of source heap[0], whose current entry has been appended.
    """
    p = ptr8(buf)
    h = ptr16(heap)
    t = ptr16(state)
    k = ptr32(keys)
    w = ptr16(own)
    o = ptr8(out)
    l = ptr8(last)  # noqa: E741
    m = ptr32(marks)
    count = int(m[0])
    stride = int(m[1])
    room = int(m[2])
    used = int(m[3])
    limit = int(m[4])
    verbatim = int(m[5])
    left = int(m[6])
    place = int(m[9])
    result = 0
    item = 0
    s = 0
    while count and left:
        if room:
            item = int(h[0])
            at = item * stride
            s = 3 * item
            value = int(t[s + 2])
        else:
            at = int(h[place])
            value = at + p[at + 1] + 3
        n = p[at + 1] + 3
        if not verbatim:
            if room:
                i = int(t[s])
                if i >= t[s + 1]:
                    if p[at + room + 1] & CONTINUED:
                        result = _SLOW
                elif p[i] == 0 and p[i + 1] == 0:
                    result = _SLOW
                i = 1
                while i < 3 and i < count:
                    if k[h[i]] == k[item] and int(compare(buf, at, buf, h[i] * stride)) == 0:
                        result = _SLOW
                    i += 1
            elif count > 1:
                b = int(h[place + 1])
                i = int(m[10])
                while i < n and p[b + i] == p[at + i]:
                    i += 1
                if i == n:
                    result = _SLOW
            if result:
                break
        number = p[value] - 2
        size = 0
        if number >= 238:
            number = 238 + (number - 238 << 8) + p[value + 1]
        if number == -1:
            size = p[value + 1] + 1
            if size > 0x80:
                size = (size - 1 & 0x7F | p[value + 2] << 7) + 2
        elif number >= 0 and not verbatim:
            if number >= m[7]:
                result = _SLOW
                break
            if w[number] == 0:
                m[8] += 1
                w[number] = m[8]
            number = w[number] - 1
        # The usual gap fits a small integer: at most four bytes, whose first differs little.
        same = 0
        if l[0]:
            same = int(m[10])
            while same < n and l[same] == p[at + same]:
                same += 1
        i = n - same
        if same >= 2 and i > 0 and (i < 4 or (i == 4 and p[at + same] - l[same] < 32)):
            gap = 0
            i = same
            while i < n:
                gap = (gap << 8) + p[at + i] - l[i]
                i += 1
            i = used
            while gap > 0x7F:
                o[i] = gap & 0x7F | 0x80
                i += 1
                gap >>= 7
            o[i] = gap
            i += 1
            if number < 238:
                o[i] = number + 2
                i += 1
            else:
                o[i] = 240 + (number - 238 >> 8)
                o[i + 1] = number - 238 & 0xFF
                i += 2
            if i > limit - size:
                result = FULL
                break
            used = i
            while same < n:
                l[same] = p[at + same]
                same += 1
        else:
            i = int(encode(out, used, limit - size, last, buf, at, number))
            if i == 0:
                result = FULL
                break
            used = i
        i = value + 1
        while size:
            o[used] = p[i]
            used += 1
            i += 1
            size -= 1
        left -= 1
        if not room:
            place += 1
            count -= 1
            continue
        # Moves to the source's next entry, if it is the usual one: a gap of at most 28 bits.
        b = int(t[s])
        stop = int(t[s + 1])
        if b >= stop:
            result = _END
            break
        gap = p[b]
        i = 1
        if gap & 0x80:
            gap = gap & 0x7F | (p[b + 1] & 0x7F) << 7
            i = 2
            if p[b + 1] & 0x80:
                gap |= (p[b + 2] & 0x7F) << 14
                i = 3
                if p[b + 2] & 0x80:
                    gap |= p[b + 3] << 21
                    i = 4
        if gap == 0 or gap > 0xFFFFFFF or b + i >= stop:
            result = int(next_entry(buf, at, room, state, s, _NO_KEY))
            if result < 0:
                break
            result = 0
        else:
            b += i
            i = at + n - 1
            while gap:
                gap += p[i]
                p[i] = gap & 0xFF
                gap >>= 8
                i -= 1
                if i < at + 2 and gap:
                    result = _MALFORMED
                    break
            t[s + 2] = b
            i = p[b]
            b += 1
            if i == 1:
                i = p[b] & 0x7F
                if p[b] & 0x80:
                    b += 1
                    i |= p[b] << 7
                b += 1 + i
            elif i >= 240:
                b += 1
            if b > stop or result:
                result = _MALFORMED
                break
            t[s] = b
        # Sifts the source to its new place in the heap; inline `key_of` and `sift`.
        i = at + int(m[10])
        stop = at + p[at + 1] + 3
        mine = 0
        n = 0
        while n < 3:
            mine <<= 8
            if i < stop:
                mine |= p[i]
            i += 1
            n += 1
        mine <<= 6
        if i < stop:
            mine |= p[i] >> 2
        k[item] = mine
        i = 0
        while True:
            child = 2 * i + 1
            if child >= count:
                break
            a = int(h[child])
            key = int(k[a])
            if child + 1 < count:
                b = int(h[child + 1])
                other = int(k[b])
                if other == key and int(compare(buf, b * stride, buf, a * stride)) < 0:
                    other -= 1
                if other < key:
                    child += 1
                    a = b
                    key = int(k[a])
            if mine < key:
                break
            if mine == key and int(compare(buf, at, buf, a * stride)) <= 0:
                break
            h[i] = a
            i = child
        h[i] = item
    m[0] = count
    m[3] = used
    m[6] = left
    m[9] = place
    return result
