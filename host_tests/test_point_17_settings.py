"""Point 17: what `kalitka deploy` makes of the settings that a person wrote."""

import codecs
import json

import pytest

from kalitka import settings
from kalitka_cli import deploy, settings_file

SITE = {
    "reader": "GATE-1",
    "server_url": "https://hub.local:8443",
    "server_token": "Gq1_-x7",
    "wifi": [["site", "secret word"], ["yard", ""]],
}
TEXT = json.dumps(SITE)


def read(tmp_path, data):
    """Return what a reader gets of a file with these bytes."""
    given = tmp_path / "gate.json"
    given.write_bytes(data)
    return deploy.read_settings(given)


def refused(tmp_path, data):
    """Return the complaints about a file with these bytes, without the path before each."""
    with pytest.raises(deploy.InputError) as fault:
        read(tmp_path, data)
    start = f"{tmp_path / 'gate.json'}: "
    lines = str(fault.value).split("\n")
    assert all(line.startswith(start) for line in lines)
    return [line.removeprefix(start) for line in lines]


def complaints(tmp_path, **changes):
    return refused(tmp_path, json.dumps({**SITE, **changes}).encode())


# The bytes


@pytest.mark.parametrize(
    "data",
    [
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        codecs.BOM_UTF8 + json.dumps(SITE, indent=4).replace("\n", "\r\n").encode() + b"\r\n",
        TEXT.encode(),
        settings.seal(TEXT.encode()),
        codecs.BOM_UTF8 + settings.seal(TEXT.encode()).replace(b'"GATE-1"', b' "GATE-1"'),
    ],
    ids=["notepad", "utf-16-le", "utf-16-be", "crlf", "plain", "sealed", "edited"],
)
def test_17_any_form_of_a_file_becomes_the_same_bytes(tmp_path, data):
    assert read(tmp_path, data) == settings.seal(settings_file.written(SITE))
    assert settings.parse(read(tmp_path, data)) == settings.with_defaults(SITE)


@pytest.mark.parametrize("name", ["Café", "Двор", "门", "🚪 yard", 'a\\b"c'])
def test_17_characters_are_written_as_they_are_which_micropython_reads(tmp_path, name):
    values = {"wifi": [[name, "secret word"]]}
    for escaped in (True, False):
        sealed = read(tmp_path, json.dumps(values, ensure_ascii=escaped).encode())
        assert b"\\u" not in sealed
        assert json.loads(sealed)["wifi"] == values["wifi"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"lock_seconds": NaN}', "NaN is not a number: write one in digits"),
        ('{"lock_seconds": Infinity}', "Infinity is not a number: write one in digits"),
        ('{"poll_seconds": -Infinity}', "-Infinity is not a number: write one in digits"),
        ('{"lock_seconds": 1e999}', "1e999 is too large a number"),
        ('{"lock_seconds": -1.5E400}', "-1.5E400 is too large a number"),
        ('{"reader": "A", "reader": "B"}', "reader: it is given twice: remove one of them"),
        ('{"reader": "A", "reader": "A"}', "reader: it is given twice: remove one of them"),
        ('{"wifi": [{"a": 1, "a": 2}]}', "a: it is given twice: remove one of them"),
        ('{"crc32": "", "crc32": ""}', "crc32: it is given twice: remove one of them"),
        ('{"reader": "\\ud83d"}', "the file has half a character: \\uD800 to \\uDFFF alone"),
        ('{"wifi": [["\\udeaa", ""]]}', "the file has half a character: \\uD800 to \\uDFFF alone"),
        ("[" * 100_000, "the file is not JSON of a reader: too many brackets"),
        ("[]", "the file is not a JSON object"),
        ("5", "the file is not a JSON object"),
        ('"reader"', "the file is not a JSON object"),
        ("null", "the file is not a JSON object"),
        ("", "the file is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ('{\n"reader": "A",\n}', "the file is not JSON: "),
        ("{'reader': 'A'}", "the file is not JSON: Expecting property name"),
        ('{"reader": "A"} {}', "the file is not JSON: Extra data: line 1 column 17 (char 16)"),
        ('{"server_token": "a\nb"}', "the file is not JSON: Invalid control character"),
        ('{"reader": "A" // gate\n}', "the file is not JSON: Expecting ',' delimiter"),
    ],
)
def test_17_json_that_readers_take_for_something_else_is_refused(tmp_path, text, complaint):
    (told,) = refused(tmp_path, text.encode())
    assert told.startswith(complaint)


def test_17_a_file_in_another_encoding_is_refused(tmp_path):
    for encoding in ("cp1251", "koi8-r", "cp866"):
        data = '{"wifi": [["Двор", "secret word"]]}'.encode(encoding)
        assert refused(tmp_path, data) == ["the file is not UTF-8: save it as UTF-8"]


# The values

PASSWORD = (
    "wifi: the password of site must have 8 to 63 characters, or 64 hexadecimal digits; "
    '"" for an open network'
)


@pytest.mark.parametrize(
    "password", ["1", "1234567", "é" * 3, "x" * 64, "x" * 65, "0" * 65, "é" * 32, "0" * 63 + "g"]
)
def test_17_a_password_that_wpa_does_not_know_is_refused(tmp_path, password):
    assert complaints(tmp_path, wifi=[["site", password]]) == [PASSWORD]
    assert complaints(tmp_path, wifi=[["yard", ""], ["site", password]]) == [PASSWORD]


@pytest.mark.parametrize(
    "password",
    ["", "12345678", "x" * 63, "0" * 64, "aBcDeF09" * 8, "пароль", " " * 8, "so...long"],
)
def test_17_a_password_that_wpa_knows_is_taken(tmp_path, password):
    data = read(tmp_path, json.dumps({"wifi": [["site", password]]}).encode())
    assert json.loads(data)["wifi"] == [["site", password]]


@pytest.mark.parametrize("name", ["x" * 33, "й" * 17, "🚪" * 9, "門" * 11])
def test_17_a_network_s_name_above_32_bytes_is_refused(tmp_path, name):
    told = complaints(tmp_path, wifi=[[name, "secret word"]])
    assert told == [f"wifi: {name} is longer than a network's name, 32 bytes"]
    longest = name[:-1].encode()[:32].decode()
    assert read(tmp_path, json.dumps({"wifi": [[longest, "secret word"]]}).encode())


@pytest.mark.parametrize(
    "secret",
    [
        "abc ",
        " abc",
        "a b",
        "abc\n",
        "abc\r\n",
        "\tabc",
        "пароль",
        "ab\u200bc",
        "a\u00a0b",
        "a\x7f",
    ],
)
def test_17_a_secret_with_blanks_line_ends_or_other_letters_is_refused(tmp_path, secret):
    told = complaints(tmp_path, server_token=secret)
    assert told == [
        "server_token: it has a blank, a line end or a character that is not ASCII: "
        "copy the secret alone"
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("server_token", "..."),
        ("server_token", "…"),
        ("server_token", "Gq1..."),
        ("server_token", " ... "),
        ("reader", "..."),
        ("server_url", "https://...:8443"),
        ("server_url", "..."),
        ("wifi", [["site", "..."]]),
        ("wifi", [["...", "secret word"]]),
        ("wifi", [["site", "secret word"], ["site-yard", "........"]]),
        ("codes", ["04A1B2C3", "..."]),
        ("name_servers", ["192.168.1.1", "..."]),
        ("zone", "..."),
        ("console_password", "..."),
        ("ntp_server", "…"),
    ],
)
def test_17_a_placeholder_is_refused_as_what_it_is(tmp_path, name, value):
    told = complaints(tmp_path, **{name: value})
    assert told == [f"{name}: it has a placeholder: write the value in the place of the dots"]


@pytest.mark.parametrize("code", [None, ""])
def test_17_a_server_without_the_reader_s_code_is_refused(tmp_path, code):
    values = {name: value for name, value in SITE.items() if name != "reader"}
    if code is not None:
        values["reader"] = code
    told = refused(tmp_path, json.dumps(values).encode())
    assert told == ["reader: a server_url needs the reader's code at that server"]
    assert read(tmp_path, json.dumps({**values, "server_url": ""}).encode())


def test_17_every_fault_is_told_once_and_no_secret_with_it(tmp_path):
    told = complaints(
        tmp_path,
        reader="",
        server_token="hidden word",
        wifi=[["site", "hidden"]],
        console_password="...",
        lock_seconds=0,
    )
    assert [line.split(":")[0] for line in told] == [
        "console_password",
        "server_token",
        "reader",
        "lock_seconds",
        "wifi",
    ]
    assert "hidden" not in "".join(told)
