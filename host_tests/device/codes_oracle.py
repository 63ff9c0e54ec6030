"""Which codes there can be, and their order: the oracle of the codes' and the table's tests."""

from kalitka import native
from kalitka.table import codes

PACKED_MAX = 257  # bytes of a packed code: two head bytes and the text as it is
_DIGITS = b"0123456789"
_UPPER = _DIGITS + b"ABCDEF"
_LOWER = _DIGITS + b"abcdef"


def is_code(code):
    """Tell whether these bytes can be a token code."""
    if not 1 <= len(code) <= 255 or b"_/" in code:
        return False
    return not any(byte < 32 or byte in b"%,\x7f" for byte in code)


def place_of(code):
    """Return what a code is sorted by: its class, its length, its text."""
    if all(byte in _UPPER for byte in code):
        kind = 1
    elif all(byte in _LOWER for byte in code):
        kind = 3
    else:
        return (5, len(code), code)
    return (kind + len(code) % 2, len(code), code)


def packed_code(code):
    """Return the packed form of a code (bytes)."""
    kind, size, _ = place_of(code)
    if kind == 5:
        return bytes((5, size - 1)) + code
    half = (size + 1) // 2
    return bytes((kind, half - 1)) + int(code.decode(), 16).to_bytes(half, "big")


def fault_of_code(code):
    """Return what is wrong with an invalid code, in the reader's words; None for a valid code."""
    if is_code(code):
        return None
    if not code:
        return "empty code"
    return "code longer than 255 bytes" if len(code) > 255 else "forbidden byte in code"


def check_code(code):
    """Check that these bytes are packed exactly, or refused."""
    code = bytes(code)
    fault = codes.check(code)
    assert (fault is None) == is_code(code), (code, fault)
    try:
        packed = codes.pack(code)
    except codes.CodeError as e:
        assert str(e) == fault, code
        return
    assert fault is None, code
    assert codes.unpack(packed) == code, (code, packed)
    assert len(packed) <= PACKED_MAX
    out = bytearray(b"\xee" * (PACKED_MAX + 1))
    end = native.pack_code(bytearray(code) + b"rest", 0, len(code), out, 0)
    assert end == len(packed), code
    assert out[: len(packed)] == packed, code
    assert codes.pack(memoryview(code)) == packed, code


def check_pair(one, other):
    """Check that two codes are packed to different bytes, and in order."""
    one, other = bytes(one), bytes(other)
    packed, packed_other = codes.pack(one), codes.pack(other)
    assert (packed == packed_other) == (one == other), (one, other)
    assert (packed < packed_other) == (place_of(one) < place_of(other)), (one, other)


def check_packed(packed):
    """Check that bytes which `pack` never gives are refused."""
    packed = bytes(packed)
    try:
        code = codes.unpack(packed)
    except codes.CodeError:
        return
    assert is_code(code), ("not refused", packed, code)
    assert codes.pack(code) == packed, ("not refused", packed, code)
