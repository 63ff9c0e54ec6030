"""Entries of the access log as bytes and as text: usual ones and odd ones."""

from device.entries_oracle import check_entry, check_record, check_text, check_time
from kalitka.access import decision
from kalitka.journal import entries
from kalitka.journal import words as words_of_log
from kalitka.journal.entries import (
    ALARM,
    CLOCK,
    DOOR,
    EXIT_BUTTON,
    FORCED,
    GUESSING,
    HELD,
    READER,
    SAFE_MODE,
    SCANNER,
    WATCHDOG,
)

NOW = 1795415400
SESSION = b"\x01\x00\xfe\xff"
# Codes scanned at a gate, some by mistake or in bad faith.
CODES = (
    b"",
    b"0",
    b"04A1B2C3",
    b"04a1b2c",
    b"04A1b2",
    b"sbj-J5E5FBOKN5Z6",
    b"A" * 255,
    b"a visitor's pass 17",
    b"/",
    b"_",
    b"A_",
    b"_/",
    b"A_/1_2_3",
    b"A,B",
    b"100%",
    b"A\nB",
    b"A\r\n",
    b"A\x00B",
    b"\x00",
    b"\x7f\t",
    b"\xff\xfe\x80",
    "Пропуск №7".encode(),
    ("№" * 85).encode(),
    b"\x00" * 255,
    b"1_2_3_4_5_6",
)


def test_an_entry_of_whatever_was_scanned_comes_back():
    for code in CODES:
        for session in (b"", SESSION):
            check_entry(SCANNER, 1, decision.ALLOWED, NOW, code, session)
            check_entry(SCANNER, 0, decision.UNKNOWN_CODE, 0, code, session)


def test_of_a_code_that_is_too_long_its_beginning_is_kept():
    for code in (b"A" * 256, b"a" * 1000, b"%" * 256, "№".encode() * 100):
        check_entry(SCANNER, 0, decision.UNKNOWN_CODE, NOW, code, SESSION)


def test_every_source_state_and_reason_comes_back_with_any_time():
    for source in (SCANNER, EXIT_BUTTON, DOOR, ALARM, READER):
        for state in (0, 1):
            for reason in (0, 1, 11, 255):
                for seconds in (0, 1, NOW, 0x7FFFFFFF, 0xFFFFFFFF):
                    for session in (b"", SESSION):
                        for count in (0, 1, 65535, 100000):
                            check_entry(source, state, reason, seconds, b"", session, count)
                            check_entry(source, state, reason, seconds, b"A1", session, count)


def test_a_time_record_comes_back_and_is_no_entry():
    for session in (SESSION, bytes(4), b"\xff" * 4):
        for uptime in (0, 1, 0xFFFFFFFF):
            check_time(session, uptime, NOW)
            check_time(session, uptime, 0xFFFFFFFF)


def test_an_entry_of_a_card_takes_few_bytes():
    assert len(entries.encode(SCANNER, 1, decision.ALLOWED, NOW, b"04A1B2C3")) == 12
    assert len(entries.encode(EXIT_BUTTON, 1, 0, NOW)) == 6


def test_records_of_a_later_firmware_are_passed_over():
    good = entries.encode(SCANNER, 1, decision.ALLOWED, NOW, b"04A1B2C3")
    for head in (0x21, 0x23, 0x61, 0x7F, 0x81, 0xC0, 0xFF):
        assert entries.decode(bytes((head,)) + good[1:]) is None
        assert entries.time_in(bytes((head,)) + good[1:]) is None
    time = entries.time_record(SESSION, 5, NOW)
    for data in (time + b"\x00", time[:-1], b"\x80", good[:5], good[:-1], good + b"\x00", b"\x00"):
        assert entries.decode(data) is None and entries.time_in(data) is None, data


def test_of_any_bytes_it_is_said_what_they_are():
    good = entries.encode(SCANNER, 1, decision.ALLOWED, NOW, b"04A1B2C3", SESSION)
    for head in range(256):
        for size in range(1, len(good) + 1):
            check_record(bytes((head,)) + good[1:size])


def test_no_code_breaks_a_body():
    for code in CODES:
        check_text(SCANNER, decision.UNKNOWN_CODE, code)


def test_a_plain_server_is_told_what_the_protocol_has():
    cases = (
        (SCANNER, 7, b"04A1B2C3", b"04A1B2C3", b"04A1B2C3"),
        (SCANNER, 7, b"sbj-J5E5FBOKN5Z6", b"sbj-J5E5FBOKN5Z6", b"sbj-J5E5FBOKN5Z6"),
        (SCANNER, 7, b"A_B C", b"A?B?C", b"A_B C"),
        (SCANNER, 7, "№7".encode(), b"???7", "№7".encode()),
        (SCANNER, 8, b"A_/B", b"A?/B", b"A?/B"),
        (SCANNER, 8, b"A,B%C", b"A?B?C", b"A?B?C"),
        (SCANNER, 8, b"", b"?", b"?"),
        (EXIT_BUTTON, 0, b"", b"btn-exit", b"btn-exit"),
        (DOOR, FORCED, b"", b"alarm", b"door-forced"),
        (DOOR, HELD, b"", b"alarm", b"door-held"),
        (ALARM, 0, b"", b"alarm", b"alarm"),
    )
    for source, reason, code, plain, ours in cases:
        assert entries.code_text(source, reason, code, True) == plain, code
        assert entries.code_text(source, reason, code, False) == ours, code
        check_text(source, reason, code)


def test_reasons_are_told_in_words():
    for reason, words in enumerate(decision.REASONS):
        assert words_of_log.reason_text(SCANNER, reason) == words
    cases = (
        (SCANNER, len(decision.REASONS), "reason %d" % len(decision.REASONS)),
        (SCANNER, 255, "reason 255"),
        (DOOR, FORCED, "forced"),
        (DOOR, HELD, "held open"),
        (DOOR, 2, "reason 2"),
        (EXIT_BUTTON, 0, ""),
        (ALARM, 0, ""),
        (READER, WATCHDOG, "restarted by its watchdog"),
        (READER, GUESSING, "codes are being guessed"),
        (READER, SAFE_MODE, "safe mode"),
        (READER, CLOCK, "its time is provisional"),
        (READER, 4, "reason 4"),
        (ALARM, 3, "reason 3"),
    )
    for source, reason, words in cases:
        assert words_of_log.reason_text(source, reason) == words, (source, reason)
    assert words_of_log.reason_text(SCANNER, 8, 12) == "unknown code, 12 times"
    assert len(words_of_log.SOURCES) == 5
