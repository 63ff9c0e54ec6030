"""Token codes, packed and taken apart."""

from device.codes_oracle import check_code, check_packed, check_pair
from device.raising import error_of
from device.vectors import recorded
from kalitka.table import codes

# One of each kind that the seed and the protocol name, and what lies close to them.
CODES = (
    b"code1",
    b"code2",
    b"CODE",
    b"CAFE01",
    b"04A1B2C3",
    b"04A1B2C",
    b"DEADBEEF",
    b"deadbeef",
    b"DEADBEEf",
    b"deadbee",
    b"ZAFE01",
    b"sbj-J5E5FBOKN5Z6",
    b"phn-XCGBKS6Q6Q0R",
    b"btn-exit",
    b"0f8fad5bd9cb469fa16570867728950e",
    b"0F8FAD5BD9CB469FA16570867728950E",
    b"0",
    b"00",
    b"000",
    b"0" * 254,
    b"0" * 255,
    b"F" * 255,
    b"f" * 255,
    b"Z" * 255,
    b"a",
    b"A",
    b"g",
    b"G",
    b"/",
    b"_",
    b"__",
    b"/_",
    b" ",
    b"~",
    b":;<=>?@`/:",
    b"https://example.org/t?id=17&x=_.-",
    "Пропуск №7 — café ☕".encode(),
    b"\x80\xff",
)


def test_every_kind_of_code_is_packed_exactly():
    for code in CODES:
        check_code(code)
        assert codes.unpack(codes.pack(code)) == code


def test_the_recorded_codes_are_codes():
    seen = 0
    for vector in recorded():
        if vector["status"] == 200 and vector["answer"].count("%") == 2:
            for code in vector["answer"].encode().split(b"%")[1].split(b","):
                if code:
                    check_code(code)
                    assert codes.check(code) is None
                    seen += 1
    assert seen > 20


def test_no_two_codes_have_the_same_packed_form_and_all_are_in_order():
    for one in CODES:
        for other in CODES:
            check_pair(one, other)


def test_hexadecimal_costs_half_a_byte_a_digit():
    for code in (b"04A1B2C3", b"0f8fad5bd9cb469fa16570867728950e", b"1234567"):
        assert len(codes.pack(code)) == 2 + (len(code) + 1) // 2
    for code in (b"sbj-J5E5FBOKN5Z6", b"aB"):
        assert len(codes.pack(code)) == 2 + len(code)


def test_a_code_has_at_least_one_byte_and_at_most_255():
    for length in (1, 2, 127, 128, 254, 255):
        for digit in (b"7", b"A", b"a", b"Z", b"\xd0"):
            check_code(digit * length)
            assert codes.check(digit * length) is None
    assert codes.check(b"") == "empty code"
    assert error_of(codes.CodeError, codes.pack, b"") == "empty code"
    for digit in (b"7", b"Z"):
        assert codes.check(digit * 256) == "code longer than 255 bytes"
        assert error_of(codes.CodeError, codes.pack, digit * 256) == "code longer than 255 bytes"
    # It is bytes that count, not letters.
    assert codes.check("я".encode() * 127) is None
    assert codes.check("я".encode() * 128) == "code longer than 255 bytes"


def test_what_the_wire_format_uses_cannot_be_in_a_code():
    forbidden = [b"%", b",", b"\n", b"\r", b"\x00", b"\t", b"\x1f", b"\x7f", b"_/"]
    for part in forbidden:
        for code in (part, b"AB" + part, part + b"AB", b"A" + part + b"B"):
            check_code(code)
            assert codes.check(code) == "forbidden byte in code", code
            assert error_of(codes.CodeError, codes.pack, code) == "forbidden byte in code"
    for byte in range(256):
        check_code(bytes((0x41, byte, 0x42)))


def test_a_slash_and_an_underscore_may_stand_apart():
    for code in (b"A/B_C", b"/_", b"_A/", b"A//B__C"):
        assert codes.check(code) is None
        check_code(code)


def test_bytes_that_are_no_packed_code_are_refused():
    for packed in (
        b"",
        b"\x01",
        b"\x01\x00",
        b"\x00\x00\xaa",
        b"\x06\x00\xaa",
        b"\x01\x01\xaa",
        b"\x01\x00\xaa\xaa",
        b"\x05\x02ab",
    ):
        error_of(codes.CodeError, codes.unpack, packed)


def test_what_pack_never_gives_is_not_unpacked():
    for packed in (
        b"\x02\x00\xfa",  # an odd number of digits with something before the first
        b"\x03\x00\x12",  # lower case without a letter
        b"\x05\x01AB",  # hexadecimal as a text
        b"\x05\x00%",  # a byte that no code has
    ):
        check_packed(packed)


def test_equal_texts_of_other_case_are_other_codes():
    check_pair(b"cafe01", b"CAFE01")
    assert codes.pack(b"cafe01") != codes.pack(b"CAFE01")
