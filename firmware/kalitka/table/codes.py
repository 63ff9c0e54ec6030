"""The packed form of a token code, in which the table stores, sorts and compares codes.

A packed code is two head bytes and a payload: the class of the text, the payload's length
less one, and the payload. Plain byte order of packed codes is *code order*: by class, then by
length, then by content. A hexadecimal code costs half a byte a digit, any other a byte a
character. Packing is exact: `unpack(pack(code)) == code` for every valid code.

Promises: no two codes have the same packed form.
Source: protocol, "Codes" (at most 255 bytes; no `%`, `,`, `_/`, line end).
"""

from kalitka import native
from micropython import const

CODE_MAX = const(255)  # bytes of a code's text

# Classes, in code order. Do not renumber: stored in flash (FORMAT.md, Packed codes). Decimal
# digits alone, which have no case, are upper-case hexadecimal.
_HEX_EVEN = const(1)  # upper-case hexadecimal, two digits a byte
_HEX_ODD = const(2)  # the same with an odd number of digits: the first byte holds one
_LOWER_EVEN = const(3)  # lower-case hexadecimal, as in the UUID of a badge
_LOWER_ODD = const(4)
_TEXT = const(5)  # anything else, byte for byte

_UPPER = const(b"0123456789ABCDEF")
_LOWER = const(b"0123456789abcdef")

# The faults of a code in words, at -n for the result n of `native.pack_code`: the beginning of
# `packing.FAULTS`, which is loaded for a sync only.
FAULTS = ("", "empty code", "code longer than 255 bytes", "forbidden byte in code")


class CodeError(ValueError):
    """The text is not a valid token code; the message says what is wrong."""


def check(code: bytes | bytearray) -> str | None:
    """Return None if `code` (bytes-like) is a valid token code, else what is wrong, in words."""
    try:
        pack(code)
    except CodeError as e:
        return str(e)
    return None


def pack(code: bytes | bytearray) -> bytes:
    """Return the packed form of `code` (bytes-like) as bytes. Raises CodeError."""
    out = bytearray(min(len(code), CODE_MAX) + 2)
    size = native.pack_code(code, 0, len(code), out, 0)
    if size < 0:
        raise CodeError(FAULTS[-size])
    return bytes(out[:size])


def unpack(packed: bytes | bytearray) -> bytes:
    """Return the code (bytes) of a packed code. Raises CodeError for any other bytes."""
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
