"""The hot loops of a lookup, in viper code: packing a code, finding its block, entry and rules.

With `sync_native` the only native code; all the rest is plain Python. The source has one meaning
on every platform: integers stay below 30 bits, and `ptr8(x)[i]` equals `x[i]`. Without viper
(CPython, MicroPython without a native emitter), ptr8, ptr16 and ptr32 are functions that return
their argument. Promises: nothing here allocates. Viper does not check bounds: each function states
its preconditions, and checks data from flash itself. table/FORMAT.md and access/rules.py describe
the formats.
"""

import micropython
from micropython import const

# The faults of a code or a rule; `sync_native` has those of a line. `packing.FAULTS` has the words
# of all. The numbers are copies, since mpy-cross folds a `const` only within its module.
_EMPTY_CODE = const(-1)
_LONG_CODE = const(-2)
_FORBIDDEN_BYTE = const(-3)
_UNKNOWN_KIND = const(-6)
_WRONG_FIELDS = const(-7)
_BAD_NUMBER = const(-8)
_LONG_NUMBER = const(-9)
_DAY_TIME_BEYOND = const(-10)
_BAD_MASK = const(-11)
_FROM_AFTER_TO = const(-12)
_BAD_NINE = const(-13)

SECONDS = const(0x8000)  # added to the result of pack_rule if a day time must be seconds

# Results of `seek` other than an offset, and of `next_entry` other than an order.
_END = const(-1)
MALFORMED = const(-2)

_DAY_MINUTES = const(1440)
_DAY_SECONDS = const(86400)


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
            # No token has control bytes; HTML and binary garbage do.
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

    out: has room for 18 bytes more, those of the longest packed rule. For a rule with a day time
    above 1440, SECONDS is added to the offset returned.
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
        # Ten digits need 34 bits, more than a small integer: kept as the low 14 and the high 20.
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
def block_of(index, size: int, key) -> int:
    """Return the number of separators in `index[:size]` that are not above the packed code `key`.

    This is the number of the code's block. A separator is coded as the count of bytes that it
    shares with the one before, and its remaining bytes. Separators ascend, so few bytes have to be
    compared: `same` counts the first bytes of the key that equal those of the last separator.
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
def seek(at: int, end: int, buf, key) -> int:
    """Seek the packed code `key` in a block; return the offset of its value, -1 if it is absent.

    buf: has the block in `buf[at:end]`. key: with at most seven bytes of payload; for longer ones
    see `next_entry`. Returns MALFORMED if no writer makes such a block, as far as it was read.

    No code is rebuilt: the key's difference from the first code of its kind and length, a number
    of two times 28 bits, is reduced by gap after gap until nothing is left.
    """
    # The order of arguments and locals matters: viper holds the first three in registers.
    p = ptr8(buf)
    k = ptr8(key)
    end -= 4
    if at + 2 + (p[at] | p[at + 1] << 8) > end:
        return MALFORMED
    end = at + 2 + (p[at] | p[at + 1] << 8)
    at += 2
    if at == end:
        return _END
    near = 0  # whether the codes that follow have the key's kind and length
    high = 0
    low = 0
    gap = 0
    while True:
        if gap == 0:
            # A whole code: the first one, or one of another kind or length.
            if p[at] > k[0] or (p[at] == k[0] and p[at + 1] > k[1]):
                return _END
            n = p[at + 1] + 3
            if at + n >= end:
                return MALFORMED
            near = 0
            if p[at] == k[0] and p[at + 1] == k[1]:
                near = 1
                high = 0
                low = 0
                high_code = 0
                low_code = 0
                i = 2
                while i < n:
                    high = high << 8 | low >> 20
                    low = (low & 0xFFFFF) << 8 | k[i]
                    high_code = high_code << 8 | low_code >> 20
                    low_code = (low_code & 0xFFFFF) << 8 | p[at + i]
                    i += 1
                high -= high_code
                low -= low_code
            at += n
        elif near:
            if gap & 0x80:
                gap = gap & 0x7F | p[at] << 7
                at += 1
                if gap & 0x4000:
                    gap = gap & 0x3FFF | p[at] << 14
                    at += 1
                    if gap & 0x200000:
                        gap = gap & 0x1FFFFF | p[at] << 21
                        at += 1
                        if gap & 0x10000000:
                            # More than 28 bits: the upper ones are subtracted from `high`.
                            n = 0x80
                            i = 0
                            while n & 0x80 and i < 28 and at < end:
                                n = p[at]
                                at += 1
                                high -= (n & 0x7F) << i
                                i += 7
                            if n & 0x80:
                                return MALFORMED
                            gap &= 0xFFFFFFF
            low -= gap
        else:
            while gap & 0x80 and at < end:
                gap = p[at]
                at += 1
        if at >= end:
            return MALFORMED
        if near and low <= 0:
            if low < 0:
                low += 0x10000000
                high -= 1
            if high < 0:
                return _END
            if low == 0 and high == 0:
                return at
        gap = p[at]
        at += 1
        if gap == 1:
            n = p[at] & 0x7F
            if p[at] & 0x80:
                at += 1
                n |= p[at] << 7
            at += 1 + n
        elif gap >= 240:
            at += 1
        if at >= end:
            if at > end:
                return MALFORMED
            return _END
        gap = p[at]
        at += 1


@micropython.viper
def next_entry(buf, at: int, room: int, state, s: int, key) -> int:
    """Move to the next entry of a block whose code is not below the packed code `key`.

    buf: has the code of the current entry at `at`, a byte 0 before the first entry, and `room`
    bytes for the code. state[s:]: array("H") of offsets in buf: the next entry, the end of the
    entries, the value of the current entry. key: a first byte of 0 is below every code.

    Returns 0 if the entry's code equals the key, a positive number if it is above; -1 at the
    block's end; MALFORMED if no writer makes such a block.
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
            # The same code again, or a code of another kind or length.
            at_next += 1
            if p[at_next] == 0:
                at_next += 1
            else:
                whole = 1
        else:
            # Adds the gap to the code as a long number, from its last byte on. `carry` holds the
            # rest of the gap, aligned to byte i, of which `bits` have been read.
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
def rules_of(buf, value: int, sets, place) -> int:
    """Locate the rule set of the entry whose value is at buf[value].

    sets: the interned rule sets, each behind its length. place: array("H") of four: the sizes of
    `buf` and of `sets` in bytes; then, set here, the offsets of the rule set's begin and end.
    Returns 1 if it is in `sets`, 0 if in `buf`; -2 if the entry is a tombstone, -1 if it refers to
    a set that does not exist.
    """
    p = ptr8(buf)
    o = ptr16(place)
    number = p[value] - 2
    if number == -2:
        return -2
    if number == -1:
        at = value + 2
        length = p[value + 1]
        if length & 0x80:
            length = length & 0x7F | p[value + 2] << 7
            at += 1
        if at + length > o[0]:
            return -1
        o[2] = at
        o[3] = at + length
        return 0
    if number >= 238:
        number = 238 + (number - 238 << 8) + p[value + 1]
    s = ptr8(sets)
    size = int(o[1])
    at = 0
    while number > 0 and at < size:
        at += s[at] + 1
        number -= 1
    if at >= size or at + s[at] + 1 > size:
        return -1
    o[2] = at + 1
    o[3] = at + 1 + s[at]
    return 1


@micropython.viper
def set_start(sets, size: int, number: int) -> int:
    """Return the offset of set `number` in `sets[:size]`, at its length byte; -1 if not there."""
    p = ptr8(sets)
    at = 0
    while number > 0 and at < size:
        at += p[at] + 1
        number -= 1
    if at >= size or at + p[at] + 1 > size:
        return -1
    return at
