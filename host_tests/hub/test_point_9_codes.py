"""Point 9: codes as people write and print them, and what the site's scanners can send."""

import io
import json
import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hub.hub_accounts import API, error_of, program
from hub.hub_site import ON_SQLITE, START
from kalitka.access import decision, packing
from kalitka.access.timezone import Zone
from kalitka.hardware.wiegand import decode
from kalitka.table.codes import check
from kalitka_cli.deploy import InputError, read_settings
from kalitka_cli.main import app
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.kormitel.badge_rules import badge_codes
from kalitka_hub.site.explain import explain
from kalitka_hub.site.scanners import declared_scanners, scanners_of_all, set_scanners
from kalitka_hub.site.token_codes import (
    PRESETS,
    PRINTED,
    Printed,
    can_send,
    convert,
    normalize,
    parse_scanners,
    warning,
)
from kalitka_hub.site.tokens import TokenSetting, find_token, read_code, set_tokens
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.tables.csv_import import import_table, preview

CARDS = {"wiegand26": 3, "wiegand34": 4, "uid4": 4, "uid7": 7, "em4100": 5}
UUID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
DIGITS = UUID.replace("-", "")


def codes_in(read):
    return [token["code"] for token in read("token", "list")]


# Certain normalisation

CERTAIN = [
    ("04a1b2c3", "04A1B2C3"),
    ("04A1b2c3", "04A1B2C3"),
    ("deadbeef", "DEADBEEF"),
    ("00ff0a", "00FF0A"),
    ("0a1b2c3d4e", "0A1B2C3D4E"),
    ("04a1b2c3d4e5f6", "04A1B2C3D4E5F6"),
    ("04:D5:E6:F7", "04D5E6F7"),
    ("0a:1b:2c:3d:4e", "0A1B2C3D4E"),
    ("04-a1-b2-c3", "04A1B2C3"),
    ("04 A1 B2 C3 D4 E5 F6", "04A1B2C3D4E5F6"),
    ("4d 76 03", "4D7603"),
    (UUID, DIGITS),
    (UUID.upper(), DIGITS),
    ("]Q104a1b2c3", "04A1B2C3"),
    ("]C1TICKET-7", "TICKET-7"),
    ("GM60:04a1b2c3", "04A1B2C3"),
    ("\x03\x00\x0804A1B2C3", "04A1B2C3"),
    ("\x03\x0804A1B2C3\r\n", "04A1B2C3"),
]
AS_THEY_ARE = [
    *("04A1B2C3", "A", "BEEF", "4A1B2C3", "AB-12", "12:34", "X" * 255, "Ticket 7", "facade/1"),
    *("sbj-ABCDEF123456", "phn-ABCDEF123456", DIGITS, DIGITS.upper(), "Кухня 1", "1234E5"),
    *("123E45", "00123E", "=FF", "a|\\", "]Q1", "\u674e\u96f7", "\u00df", "0" * 14, "12345678"),
]


def test_point_9_what_is_certain_is_normalized_and_nothing_else():
    for written, sent in CERTAIN:
        assert normalize(written) == sent, written
        assert normalize(sent) == sent
        assert check(sent.encode()) is None
    for code in AS_THEY_ARE:
        assert normalize(code) == code
        assert warning(code, ()) is None
    print(f"codes tried: {len(CERTAIN)} certain, {len(AS_THEY_ARE)} left as they are")


@given(st.sampled_from(sorted(CARDS)), st.data())
def test_point_9_a_card_in_any_writing_is_the_code_that_its_scanner_sends(preset, data):
    uid = data.draw(st.binary(min_size=CARDS[preset], max_size=CARDS[preset]))
    separator = data.draw(st.sampled_from(["", ":", "-", " "]))
    written = uid.hex(separator) if separator else uid.hex()
    written = data.draw(st.sampled_from([written, written.upper(), written.title()]))
    for scanners in ((), (preset,), (preset, "qr"), tuple(PRESETS)):
        code = normalize(written, scanners)
        assert code == uid.hex().upper()
        assert can_send(code, scanners or (preset,))
        assert warning(code, scanners) is None


def test_point_9_where_only_texts_are_scanned_a_text_stays_as_it_is():
    for text in ("04a1b2c3", "04:a1:b2:c3", "deadbeef", "00ff0a"):
        for scanners in (("qr",), ("pin", "qr")):
            assert normalize(text, scanners) == text
            assert warning(text, scanners) is None
    assert normalize("a1b2c3", ("wiegand34",)) == "a1b2c3"  # no card of this site


# A spreadsheet's and a keyboard's damage

EXPONENTS = [
    *("1.23E+08", "1.23457E+09", "1,23457E+09", "1.23e+08", "1.2E8", "1E+08", "9E-05"),
    *("-1.23E+08", "+1,5E+10", "1.234567890123456E+19", "1. E+08", "12E+3"),
]
FRACTIONS = ["8617284.0", "8617284,0", "12345678.00"]
QUOTES = ['="0008617284"', '"001234"', '="1234E5"']
ERRORS = ["########", "#N/A", "#NAME?", "#REF!", "#VALUE!", "#DIV/0!"]
APOSTROPHES = ["'0008617284", "'04A1B2C3", "\u20190008617284", "`123", "''77", "\u02bc5", "'0 1"]
ALIKE = [
    *(
        "04\u041012C4",
        "04A12\u04214",
        "\u04104\u04121",
        "\u0410\u041212",
        "DE\u0410D",
        "0\u041e4A",
        "04\u04301\u04322\u04413",
        "\u0425100",
        "GATE-\u04221",
        "\u0410\u0412\u0421",
    ),
    *(
        "\u03924A1",
        "\u0391\u039212",
        "04\u03951",
        "\u03bf4A1",
        "\uff10\uff14A1",
        "\uff21BCD",
        "\u0660\u0664A1",
        "\u06f44A1",
    ),
    *("04\U0001d7d8A", "\u09664A1", "\u04174A1"),
]
INVISIBLE = [
    chr(number)
    for number in (
        *(0xAD, 0x34F, 0x61C, 0x115F, 0x180E, 0x200B, 0x200C, 0x200D, 0x200E, 0x202A, 0x202E),
        *(0x2060, 0x2063, 0x2066, 0x2800, 0x3164, 0xFE0F, 0xFEFF, 0xE0020, 0xE0101),
        *(0xA0, 0x2007, 0x2009, 0x202F, 0x3000),
    )
]


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (EXPONENTS, "last digits are lost"),
        (FRACTIONS, "a spreadsheet's number"),
        (ERRORS, "a spreadsheet's sign"),
        (QUOTES, "quotes with which a spreadsheet"),
        (APOSTROPHES, "begins with an apostrophe"),
        (ALIKE, "only looks like"),
        ([" 04A1B2C3", "04A1B2C3 "], "blanks around"),
    ],
)
def test_point_9_damage_is_refused_with_its_cause(damaged, said):
    for text in damaged:
        with pytest.raises(InvalidRequest, match=said) as fault:
            normalize(text)
        assert "\n" not in str(fault.value)
    print(f"codes tried: {len(damaged)} of the kind '{said}'")


def test_point_9_what_nobody_sees_is_refused_by_its_name():
    tried = 0
    for char in INVISIBLE:
        for text in (f"{char}04A1B2C3", f"04A1{char}B2C3", f"04A1B2C3{char}"):
            with pytest.raises(InvalidRequest) as fault:
                normalize(text)
            assert f"U+{ord(char):04X}" in str(fault.value)
            assert char not in str(fault.value)
            tried += 1
    print(f"codes tried: {tried} with characters that nobody sees")


def test_point_9_a_letter_that_looks_like_another_is_named():
    with pytest.raises(InvalidRequest) as fault:
        normalize("04\u041012C4")
    name = unicodedata.name("\u0410")
    assert str(fault.value).endswith(f"{name} (U+0410), which only looks like A: write 04A12C4")


@ON_SQLITE
def test_point_9_damage_is_refused_on_every_way_in_and_writes_nothing(run, site, database):
    operator = program(database, "oleg", "operator")
    tried = 0
    for text in (*EXPONENTS[:6], *FRACTIONS, *ERRORS[:2], *APOSTROPHES[:3], *ALIKE, "\u200b04A1"):
        if "," not in text:
            said = error_of(
                site.client.post(f"{API}/tokens", json={"code": text}, headers=operator)
            )
            assert "write" in said or "take the code" in said or "remove it" in said
        assert run("token", "add", "--", text, status=2).stderr.count("\n") == 1
        run("person", "add", "Anna", f"--token={text}", status=2)
        for name, head, row in (("tokens", "code", '"{}"'), ("people", "name,tokens", 'A,"{}"')):
            source = io.BytesIO(f"{head}\n{row.format(text)}\n".encode())
            report = import_table(database, "olga", name, source)
            assert not report.written
            assert [problem.line for problem in report.problems] == [2], text
        tried += 1
    assert json.loads(run("token", "list", "--json").stdout) == []
    assert json.loads(run("person", "list", "--json").stdout) == []
    print(f"codes tried: {tried} on five ways in")


# On the ways in


@ON_SQLITE
def test_point_9_token_add_shows_what_it_stores(run, read):
    for written, sent in CERTAIN:
        if "\x03" in written:
            continue
        told = run("token", "add", written, "--rule", "9_1")
        assert written == sent or f"the code {written} becomes {sent}" in told.stderr
        assert sent in codes_in(read)
        assert read("token", "show", written)["code"] == sent
        run("token", "change", written, "--name", "x")
        run("token", "remove", written)
        assert codes_in(read) == []


@ON_SQLITE
def test_point_9_what_a_spreadsheet_keeps_as_text_is_read_from_its_file(database):
    cells = ('"=""001234"""', '"""1234E5"""', "04A1B2C3")
    source = io.BytesIO("\n".join(("code", *cells)).encode())
    assert import_table(database, "olga", "tokens", source).written
    with database.snapshot() as session:
        assert all(find_token(session, code) for code in ("001234", "1234E5", "04A1B2C3"))


@ON_SQLITE
def test_point_9_what_a_gm60_sends_is_read_by_rest(site, database):
    operator = program(database, "oleg", "operator")
    for sent, code in (("\x03\x00\x0804A1B2C3", "04A1B2C3"), ("]Q104a1b2c4", "04A1B2C4")):
        made = site.client.post(f"{API}/tokens", json={"code": sent}, headers=operator)
        assert (made.status_code, made.json()["code"]) == (201, code)
    said = error_of(site.client.post(f"{API}/tokens", json={"code": "1,2E+9"}, headers=operator))
    assert "last digits are lost" in said


@ON_SQLITE
def test_point_9_person_add_import_and_rest_store_the_same(run, read, site, database):
    run("person", "add", "Anna", "--token", "04:a1:b2:c3")
    source = io.BytesIO(b"code\n04:d5:e6:f7\n04A1B2C3\nTicket 7\n")
    seen = preview(database, "tokens", source)
    assert [(one.line, one.given, one.code) for one in seen.codes] == [
        (2, "04:d5:e6:f7", "04D5E6F7")
    ]
    assert (seen.added, seen.left) == (2, 1)
    assert import_table(database, "olga", "tokens", source).written
    source = io.BytesIO(b"name,tokens\nBoris,0a-1b-2c-3d|00ff0a\n")
    assert import_table(database, "olga", "people", source).written
    operator = program(database, "oleg", "operator")
    made = site.client.post(f"{API}/tokens", json={"code": "0b:1b:2c:3d"}, headers=operator)
    assert made.json()["code"] == "0B1B2C3D"
    path = f"{API}/tokens/0b1b2c3d"
    assert site.client.get(path, headers=operator).json() == made.json()
    named = site.client.put(path, json={"code": "0b1b2c3d", "name": "x"}, headers=operator)
    assert (named.json()["code"], named.json()["name"]) == ("0B1B2C3D", "x")
    assert codes_in(read) == [
        *("00FF0A", "04A1B2C3", "04D5E6F7", "0A1B2C3D", "0B1B2C3D"),
        "Ticket 7",
    ]
    assert site.client.delete(path, headers=operator).status_code == 204
    assert "0B1B2C3D" not in codes_in(read)


def test_point_9_two_writings_of_a_code_in_one_file_are_told(database):
    source = io.BytesIO(b"code\n04a1b2c3\n04:A1:B2:C3\n")
    report = import_table(database, "olga", "tokens", source)
    assert [(one.line, one.column) for one in report.problems] == [(3, "code")]
    assert "04A1B2C3 stands in line 2 too" in report.problems[0].error


@ON_SQLITE
def test_point_9_what_is_stored_today_is_found_explained_exported_and_removed(run, read, database):
    stored = [
        "04a1b2c3",
        "04:D5:E6:F7",
        "1.23E+08",
        "'0008617284",
        "04\u041012C4",
        "\u200b04",
        "077 1",
    ]
    with write_transaction(database) as session:
        set_tokens(session, [TokenSetting(code, ("9_1",)) for code in stored])
    with database.snapshot() as session:
        assert all(find_token(session, code) for code in stored)
    run("token", "add", "04a1b2c3", "--name", "mine")
    assert sorted(codes_in(read)) == sorted(stored)
    exported = io.BytesIO(run("export", "tokens").stdout_bytes)
    report = import_table(database, "olga", "tokens", exported)
    assert (report.left, report.changed, report.problems) == (len(stored), 0, [])
    for code in stored:
        shown = run("explain", "--reader", "GATE-1", "--code", code).stdout
        assert shown.startswith("allowed by 9_1"), shown
        first = shown.splitlines()[0]
        assert ("no scanner here can send this code" in first) == (code != "077 1")
        run("token", "remove", code)
    assert codes_in(read) == []
    print(f"codes tried: {len(stored)} that were stored before")


def test_point_9_an_import_that_lost_zeros_is_refused_against_what_is_stored(database):
    stored = ["001234", "00000042", "0008617284", "000", "012"]
    with write_transaction(database) as session:
        set_tokens(session, [TokenSetting(code, ("9_1",)) for code in stored])
    source = io.BytesIO(b"code\n1234\n42\n8617284\n0\n12\n001234\n99\n")
    report = import_table(database, "olga", "tokens", source)
    assert [one.line for one in report.problems] == [2, 3, 4, 5, 6]
    for code, problem in zip(stored, report.problems, strict=True):
        assert f"of the stored {code}, without the zeros in front" in problem.error
    # The other token may exist on purpose: then the file is right.
    with write_transaction(database) as session:
        set_tokens(session, [TokenSetting("1234", ("9_1",))])
    assert import_table(database, "olga", "tokens", io.BytesIO(b"code\n1234\n99\n")).written


def test_point_9_the_readers_list_of_codes_is_read_by_the_same_rules(tmp_path):
    file = tmp_path / "gate.json"
    for written, sent in CERTAIN:
        file.write_text(json.dumps({"codes": [written, "04A1B2C3"]}))
        assert json.loads(read_settings(file))["codes"] == [sent, "04A1B2C3"]
    for text in (*EXPONENTS, *APOSTROPHES, *ALIKE):
        file.write_text(json.dumps({"codes": [text]}))
        with pytest.raises(InputError, match="codes: "):
            read_settings(file)


def test_point_9_a_kormitel_card_gets_the_code_that_its_scanner_sends_beside_its_own():
    for written in ("04a1b2c3", "04:a1:b2:c3", "04-A1-b2-c3"):
        codes = badge_codes("7", {"qr": written})
        assert "04A1B2C3" in codes
        assert codes[0] == written.replace(":", "").replace("-", "")  # as before
    assert badge_codes(UUID, {}) == (DIGITS, UUID)
    assert badge_codes("7", {"qr": "1.23E+08"}) == ("123E08", "1.23E+08")


# Printed on cards

ON_CARDS = [
    ("388575490", Printed("decimal10"), "17293102"),
    ("0388575490", Printed("decimal10"), "17293102"),
    ("7194107897", Printed("decimal10", scanner="em4100"), "01ACCD5FF9"),
    ("0008617284", Printed("decimal10"), "00837D44"),
    ("0008617284", Printed("decimal10", scanner="wiegand26"), "837D44"),
    ("8617284", Printed("decimal8"), "837D44"),
    ("08617284", Printed("decimal8"), "837D44"),
    ("131,32068", Printed("fc-number"), "837D44"),
    ("77:30211", Printed("fc-number"), "4D7603"),
    ("077,30211", Printed("fc-number"), "4D7603"),
    ("77 30211", Printed("fc-number"), "4D7603"),
    ("077, 30211", Printed("fc-number"), "4D7603"),
    ("77,30211", Printed("fc-number", scanner="wiegand34"), "004D7603"),
    ("77,30211", Printed("fc-number", True), "03764D"),
    ("04A1B2C3", Printed("hex", True), "C3B2A104"),
    ("04:a1:b2:c3:d4:e5:f6", Printed("hex", True), "F6E5D4C3B2A104"),
    ("3283263748", Printed("decimal10", True), "04A1B2C3"),
]


def test_point_9_what_is_printed_on_cards_is_converted_by_a_declared_form():
    for text, printed, code in ON_CARDS:
        assert convert(text, printed) == code, text
    for text, printed in (
        ("16777216", Printed("decimal8")),
        ("4294967296", Printed("decimal10")),
        ("0388575490", Printed("decimal10", scanner="wiegand26")),
        ("256,1", Printed("fc-number")),
        ("1,65536", Printed("fc-number")),
        ("7730211", Printed("fc-number")),
        ("123456789", Printed("decimal8")),
        ("12345678901", Printed("decimal10")),
        ("04A1", Printed("decimal10")),
        ("XYZ", Printed("hex")),
        ("123", Printed("hex")),
        ("1", Printed("octal")),
        ("1", Printed("decimal10", scanner="qr")),
        ("1.23E+08", Printed("decimal10")),
    ):
        with pytest.raises(InvalidRequest):
            convert(text, printed)
    print(f"codes tried: {len(ON_CARDS)} printed, 14 refused, of {len(PRINTED)} forms")


def test_point_9_the_sites_scanners_decide_how_many_bytes_a_printed_number_has():
    for form, text, scanners, code in (
        ("fc-number", "77,30211", [], "4D7603"),
        ("fc-number", "77,30211", ["qr", "pin"], "4D7603"),
        ("fc-number", "77,30211", ["wiegand26", "wiegand34"], "4D7603"),
        ("fc-number", "77,30211", ["wiegand34", "uid7"], "004D7603"),
        ("decimal10", "0008617284", ["wiegand26"], "837D44"),
        ("decimal10", "0008617284", ["wiegand26", "uid4"], "00837D44"),
        ("decimal10", "0008617284", ["em4100"], "0000837D44"),
        ("decimal8", "8617284", ["wiegand34"], "00837D44"),
    ):
        assert convert(text, Printed(form), scanners) == code


@given(st.integers(0, 255), st.integers(0, 65535), st.sampled_from(",: "))
def test_point_9_a_facility_code_and_number_are_what_a_26_bit_scanner_sends(fc, number, sign):
    data = fc << 16 | number
    bits = [data >> at & 1 for at in reversed(range(24))]
    frame = bytes([sum(bits[:12]) & 1, *bits, 1 - sum(bits[12:]) & 1])
    code = bytearray(8)
    size = decode(frame, 26, code)
    sent = bytes(code[:size]).decode()
    assert convert(f"{fc:03}{sign}{number:05}", Printed("fc-number")) == sent
    assert convert(f"{data:010}", Printed("decimal10"), ["wiegand26"]) == sent
    assert convert(f"{data:08}", Printed("decimal8")) == sent


@ON_SQLITE
def test_point_9_the_result_is_shown_before_it_is_stored(run, read, site, database):
    shown = run("token", "convert", "077,30211", "--printed", "fc-number")
    assert shown.stdout == "4D7603\n"
    assert codes_in(read) == []
    assert "fc-number" in run("token", "add", "077,30211", status=2).stderr
    told = run("token", "add", "077,30211", "--printed", "fc-number")
    assert "the code 077,30211 becomes 4D7603" in told.stderr
    run("person", "add", "Anna", "--token", "0008617284", "--printed", "decimal10")
    assert codes_in(read) == ["4D7603", "00837D44"]
    run("token", "add", "C3B2A104", "--reversed")
    run("token", "add", "1", "--scanner", "wiegand26", status=2)
    operator = program(database, "oleg", "operator")
    asked = {"code": "77:30211", "printed": "fc-number", "scanner": "wiegand34"}
    answer = site.client.get(f"{API}/code", params=asked, headers=operator).json()
    assert (answer["code"], answer["stored"]) == ("004D7603", False)
    assert answer["notes"] == ["the code 77:30211 becomes 004D7603"]
    path = f"{API}/import/people?printed=decimal10&preview=true"
    rows = "name,tokens\nBoris,388575490\n"
    seen = site.client.post(path, content=rows, headers=operator).json()
    assert seen["codes"] == [{"line": 2, "given": "388575490", "code": "17293102"}]
    assert "17293102" not in codes_in(read)
    site.client.post(path.replace("&preview=true", ""), content=rows, headers=operator)
    assert codes_in(read) == ["4D7603", "00837D44", "04A1B2C3", "17293102"]


# What the scanners send


def test_point_9_presets_are_combined_in_any_order():
    assert parse_scanners(["UID7", "wiegand34,pin"]) == ("wiegand34", "uid7", "pin")
    assert parse_scanners([""]) == ()
    with pytest.raises(InvalidRequest, match="wiegand26, wiegand34, uid4, uid7, em4100, qr, pin"):
        parse_scanners(["wiegand27"])


SENT = {
    "wiegand26": ["4D7603", "000000", "FFFFFF"],
    "wiegand34": ["04A1B2C3", "12345678"],
    "uid4": ["04A1B2C3", "DEADBEEF"],
    "uid7": ["04A1B2C3D4E5F6", "0" * 14],
    "em4100": ["01ACCD5FF9", "0008617284"],
    "qr": ["Ticket 7", DIGITS, "04a1b2c3", "4D7603"],
    "pin": ["0000", "123456", "1"],
}


def test_point_9_each_preset_sends_its_codes_and_no_others():
    assert set(SENT) == set(PRESETS)
    every = {code for codes in SENT.values() for code in codes} | {"04A1B2C", "XYZ", "4d7603"}
    for preset, codes in SENT.items():
        sizes = {2 * CARDS[preset]} if preset in CARDS else set()
        for code in every:
            card = len(code) in sizes and not set(code) - set("0123456789ABCDEF")
            pin = preset == "pin" and code.isdecimal() and len(code) <= 12
            assert can_send(code, [preset]) == (card or pin or preset == "qr"), (preset, code)
        assert all(can_send(code, [preset]) for code in codes)
    assert can_send("phn-ABCDEF123456", ["pin"])
    print(f"codes tried: {len(every)} at each of {len(PRESETS)} presets")


MEANT = [
    ("4A1B2C3", "wiegand34", "04A1B2C3"),
    ("04a1b2c", "wiegand34", "004A1B2C"),
    ("O4A1B2C3", "wiegand34", "04A1B2C3"),
    ("04A1B2Cl", "wiegand34", "04A1B2C1"),
    ("0x04A1B2C3", "wiegand34", "04A1B2C3"),
    ("04.A1.B2.C3", "wiegand34", "04A1B2C3"),
    ("04a1 b2c3", "uid4", "04A1B2C3"),
    ("4A1B2C3D4E5F6", "uid7", "04A1B2C3D4E5F6"),
    ("00A1B2C3", "wiegand26", "A1B2C3"),
    ("1234", "wiegand26", "001234"),
    ("12-34", "pin", "1234"),
]


def test_point_9_what_no_scanner_sends_is_warned_of_with_what_was_meant():
    for code, preset, meant in MEANT:
        said = warning(code, [preset])
        assert said is not None
        assert said.endswith(f"did you mean {meant}?"), (code, said)
    for code in ("77 30211", "077,30211", "0008617284"):
        assert "--printed" in str(warning(code, ["wiegand34"]))
    assert "did you mean" not in str(warning("XYZ", ["wiegand34"]))
    print(f"codes tried: {len(MEANT)} with what was meant")


@given(st.binary(min_size=4, max_size=4), st.randoms())
def test_point_9_a_code_that_lost_one_zero_is_found_again(uid, chance: random.Random):
    code = uid.hex().upper()
    forms = ["0x" + code] if code.isdigit() else ["0x" + code, code.lower()]
    written = code[1:] if code.startswith("0") else chance.choice(forms)
    assert f"did you mean {code}?" in str(warning(written, ["wiegand34"]))


@ON_SQLITE
def test_point_9_a_site_and_a_reader_say_what_their_scanners_send(run, read, site, database):
    assert read("scanners", "show") == []
    assert "not declared" in run("scanners", "show").stdout
    assert "wiegand34, uid7" in run("scanners", "set", "uid7", "wiegand34").stdout
    assert "unchanged" in run("scanners", "set", "uid7,wiegand34").stdout
    run("scanners", "set", "qr", "--reader", "GATE-2")
    run("scanners", "set", "qr", "--reader", "GATE-9", status=1)
    run("scanners", "set", "barcode", status=2)
    assert read("scanners", "show", "--reader", "GATE-2") == ["qr"]
    assert read("scanners", "show", "--reader", "GATE-1") == []
    with database.snapshot() as session:
        assert scanners_of_all(session) == ("wiegand34", "uid7", "qr")
    operator = program(database, "oleg", "operator")
    for path in ("/site/scanners", "/readers/GATE-2/scanners"):
        sent = {"scanners": ["em4100", "wiegand26"]}
        answer = site.client.put(API + path, json=sent, headers=operator)
        assert answer.json() == {"scanners": ["wiegand26", "em4100"]}
        assert site.client.get(API + path, headers=operator).json() == answer.json()
        wrong = site.client.put(API + path, json={"scanners": ["x"]}, headers=operator)
        assert wrong.status_code == 422
    audited = [(entry["kind"], entry["object"]) for entry in read("audit", "list")]
    assert audited[-1] == ("readers", "GATE-2")
    run("scanners", "set", "", "--reader", "GATE-2")
    run("scanners", "set", "")
    with database.snapshot() as session:
        assert scanners_of_all(session) == declared_scanners(session, "GATE-2") == ()


def test_point_9_the_scanners_of_some_readers_alone_prove_nothing(database):
    with write_transaction(database) as session:
        set_scanners(session, "GATE-1", ["wiegand26"])
        assert scanners_of_all(session) == ()
        set_scanners(session, "GATE-2", ["pin"])
        assert scanners_of_all(session) == ("wiegand26", "pin")


@ON_SQLITE
def test_point_9_the_warning_comes_on_every_way_in(run, site, database):
    run("scanners", "set", "wiegand34")
    meant = "did you mean 04A1B2C3?"
    assert meant in run("token", "add", "4A1B2C3", "--rule", "9_1").stderr
    assert meant in run("person", "add", "Anna", "--token", "O4A1B2C3").stderr
    source = io.BytesIO(b"code\n04.A1.B2.C3\n04A1B2C3\n")
    report = import_table(database, "olga", "tokens", source)
    assert report.written
    assert [(one.line, one.column) for one in report.warnings] == [(2, "code")]
    assert meant in report.warnings[0].error
    operator = program(database, "oleg", "operator")
    answer = site.client.post(f"{API}/tokens", json={"code": "0x04A1B2C3"}, headers=operator)
    assert meant in answer.headers["X-Kalitka-Note"]
    asked = site.client.get(f"{API}/code", params={"code": "4A1B2C3"}, headers=operator)
    assert meant in asked.json()["notes"][0]
    with database.snapshot() as session:
        assert read_code(session, "04:a1:b2:c3") == "04A1B2C3"


# Explain


@ON_SQLITE
def test_point_9_hub_explain_never_says_only_allowed_of_what_no_scanner_sends(run, read):
    run("scanners", "set", "wiegand34")
    run("scanners", "set", "qr", "--reader", "GATE-2")
    for code in ("4A1B2C3", "BEEF", "Ticket 7", DIGITS, "4D7603"):
        run("token", "add", code, "--rule", "9_1")
        shown = run("explain", "--reader", "GATE-1", "--code", code).stdout
        assert shown.startswith("allowed by 9_1, but no scanner here can send this code")
        assert f"no scanner of the reader GATE-1 can send '{code}'" in shown
        assert read("explain", "--reader", "GATE-1", "--code", code)["unreadable"]
        shown = run("explain", "--reader", "GATE-2", "--code", code).stdout
        assert "can send" not in shown
    run("token", "add", "04A1B2C3", "--rule", "9_1")
    shown = run("explain", "--reader", "GATE-1", "--code", "04:a1:b2:c3").stdout
    assert shown.startswith("allowed by 9_1: 04A1B2C3 at GATE-1")
    assert "can send" not in shown


def test_point_9_kalitka_explain_says_it_too():
    def said(*words, status=0):
        done = CliRunner().invoke(app, ["explain", *words])
        assert done.exit_code == status, done.output
        return done.output

    for code in ("04a1b2c3", "1.23E+08", "'0008617284", "04\u041012C4", "04:A1:B2:C3"):
        assert "but no scanner can send this code" in said(f"{code}_/9_1"), code
    for code in ("04A1B2C3", "BEEF", DIGITS):
        assert "can send" not in said(f"{code}_/9_1")
    line = "4A1B2C3_/9_1"
    assert "did you mean 04A1B2C3?" in said(line, "--scanners", "wiegand34")
    assert "can send" not in said(line, "--scanners", "wiegand34", "--scanners", "qr")
    assert "--scanners" in said(line, "--scanners", "x", status=2)
    assert "can send" not in said("9_1", "--scanners", "wiegand34")


IN_SECONDS = "3_36000_78200_1111111"


def test_point_9_hub_explain_knows_the_unit_of_all_day_times(database, run, read):
    other = "3_600_1300_1111111"
    with write_transaction(database) as session:
        set_tokens(session, [TokenSetting("04AABBCC", (IN_SECONDS,), ("GATE-1",))])
        set_tokens(session, [TokenSetting("04AABBDD", (other,))])
    ten = (START // 1440 + 1) * 1440 + 12 * 60  # noon: the site is in UTC
    with database.snapshot() as session:
        said = explain(session, "GATE-1", "04AABBCC", ten, START)
        assert (said.allowed, said.rule) == (True, IN_SECONDS)
        said = explain(session, "GATE-1", "04AABBDD", ten, START)
        assert (said.allowed, said.reason) == (False, "outside its hours")
        assert any(IN_SECONDS in note and "seconds" in note for note in said.notes)
        # The other reader was never sent a day time in seconds.
        said = explain(session, "GATE-2", "04AABBDD", ten, START)
        assert (said.allowed, said.rule) == (True, other)
        assert not any("seconds" in note for note in said.notes)


@ON_SQLITE
def test_point_9_both_explains_are_the_decision_of_one_oracle_in_either_unit(database):
    chance = random.Random(9)
    zone, tried = Zone("UTC0"), 0
    day = (START // 1440 + 7) // 7 * 7 * 1440 + 4 * 1440  # a Monday
    for round in range(12):
        seconds = round % 2 == 1
        unit = 60 if seconds else 1
        bounds = [chance.randrange(0, 1440) * unit for _ in range(8)]
        texts = [f"3_{a}_{b}_1111111" for a, b in zip(bounds[::2], bounds[1::2], strict=True)]
        if seconds:
            texts[0] = "3_30000_80000_1111111"
        with write_transaction(database) as session:
            set_tokens(session, [TokenSetting(f"0{at}", (text,)) for at, text in enumerate(texts)])
        with database.snapshot() as session:
            for at, text in enumerate(texts):
                for minute in (day, day + chance.randrange(1440), day + 1439):
                    rule = packing.pack(text.encode())
                    zone.update(minute)
                    verdict = decision.Verdict()
                    verdict.decide(
                        *(rule, 0, len(rule), seconds),
                        *(minute, zone.day_minute, zone.weekday),
                    )
                    right = verdict.reason == decision.ALLOWED
                    said = explain(session, "GATE-1", f"0{at}", minute, START)
                    assert said.allowed == right, (text, minute)
                    tried += 1
    print(f"decisions tried: {tried}")


@ON_SQLITE
def test_point_9_denied_has_one_exit_status_in_both_explains(run):
    run("token", "add", "04A1B2C3", "--rule", "9_0")
    for rule in ("9_0", "1_1_2", "3_480_1200_0000000"):
        run("token", "add", "04A1B2C3", "--rule", rule)
        run("explain", "--reader", "GATE-1", "--code", "04A1B2C3", status=1)
        run("explain", "--reader", "GATE-1", "--code", "04A1B2C3", "--json", status=1)
        assert CliRunner().invoke(app, ["explain", rule]).exit_code == 1
    run("explain", "--reader", "GATE-1", "--code", "FFFFFF", status=1)
    run("token", "add", "04A1B2C3", "--rule", "9_1")
    run("explain", "--reader", "GATE-1", "--code", "04A1B2C3")
    assert CliRunner().invoke(app, ["explain", "9_1"]).exit_code == 0
