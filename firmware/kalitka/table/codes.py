"""The packed form of a token code: what the table stores, sorts and compares.

A packed code is two head bytes and a payload: the class of the text, the payload's length
less one, and the payload. Plain byte order of packed codes is *code order*: by class, then by
length, then by content. Codes that are hexadecimal cost half a byte a digit, all others a
byte a character. Packing is exact: `unpack(pack(code)) == code` for every valid code.

Promises: no allocation in `pack_into`; every byte sequence that `pack` returns is unique.
Source: protocol, "Codes" (at most 255 bytes; no `%`, `,`, `_/`, line end).
"""

from micropython import const

CODE_MAX = const(255)  # bytes of a code's text
PACKED_MAX = const(257)  # bytes of a packed code: two head bytes and the text as it is

# Classes, in code order. A digit string is upper-case hexadecimal: it has no case.
_HEX_EVEN = const(1)  # upper-case hexadecimal, two digits a byte
_HEX_ODD = const(2)  # the same with an odd number of digits: the first byte holds one
_LOWER_EVEN = const(3)  # lower-case hexadecimal, as in the uuid of a badge
_LOWER_ODD = const(4)
_TEXT = const(5)  # anything else, byte for byte

_UPPER = b"0123456789ABCDEF"
_LOWER = b"0123456789abcdef"


class CodeError(ValueError):
    """The text is no token code; the message says what is wrong with it."""


def check(code: bytes | bytearray) -> str | None:
    """Return None if `code` (bytes-like) can be a token code, else what is wrong, in words."""
    n = len(code)
    if n == 0:
        return "empty code"
    if n > CODE_MAX:
        return "code longer than 255 bytes"
    last = 0
    for byte in code:
        # Control bytes cannot be in a tag; HTML and binary rubbish is full of them.
        if byte < 0x20 or byte == 0x25 or byte == 0x2C or byte == 0x7F:
            return "forbidden byte in code"
        if byte == 0x2F and last == 0x5F:
            return "forbidden byte in code"
        last = byte
    return None


def _class_of(code, n):
    upper = lower = False
    for i in range(n):
        byte = code[i]
        if 0x30 <= byte <= 0x39:
            continue
        if 0x41 <= byte <= 0x46:
            upper = True
        elif 0x61 <= byte <= 0x66:
            lower = True
        else:
            return _TEXT
    if upper and lower:
        return _TEXT
    return (_LOWER_EVEN if lower else _HEX_EVEN) + (n & 1)


def pack_into(code: bytes | bytearray, n: int, out: bytearray) -> int:
    """Pack the first `n` bytes of `code` into `out` (at least PACKED_MAX bytes).

    Returns the packed length in bytes. The code must be valid (see `check`); allocates nothing.
    """
    kind = _class_of(code, n)
    out[0] = kind
    if kind == _TEXT:
        out[1] = n - 1
        for i in range(n):
            out[i + 2] = code[i]
        return n + 2
    size = (n + 1) >> 1
    out[1] = size - 1
    at = 2
    byte = 0
    odd = n & 1  # an odd number of digits: a zero stands before the first
    for i in range(n):
        digit = code[i]
        # Works for '0'-'9', 'A'-'F' and 'a'-'f' alike: letters have bit 6 set.
        digit = (digit & 15) + (9 if digit & 0x40 else 0)
        if (i ^ odd) & 1:
            out[at] = byte | digit
            at += 1
            byte = 0
        else:
            byte = digit << 4
    return at


def pack(code: bytes | bytearray) -> bytes:
    """Return the packed form of `code` (bytes-like) as bytes. Raises CodeError."""
    fault = check(code)
    if fault:
        raise CodeError(fault)
    out = bytearray(len(code) + 2)
    return bytes(out[: pack_into(code, len(code), out)])


def unpack(packed: bytes | bytearray) -> bytes:
    """Return the code (bytes) of a packed code. Raises CodeError for a form `pack` never gives."""
    if len(packed) < 3 or packed[1] + 3 != len(packed):
        raise CodeError("packed code of a wrong length")
    kind = packed[0]
    if kind == _TEXT:
        code = bytes(packed[2:])
    elif not _HEX_EVEN <= kind <= _LOWER_ODD:
        raise CodeError("packed code of an unknown class")
    else:
        digits = _UPPER if kind <= _HEX_ODD else _LOWER
        out = bytearray()
        for byte in packed[2:]:
            out.append(digits[byte >> 4])
            out.append(digits[byte & 15])
        code = bytes(out[1:] if kind in (_HEX_ODD, _LOWER_ODD) else out)
    if pack(code) != packed:
        raise CodeError("packed code of a wrong form")
    return code
