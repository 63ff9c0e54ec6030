"""What an entry of the access log must be, whatever was scanned: checks for both runtimes."""

from device.codes_oracle import is_code
from kalitka.journal import entries
from kalitka.journal.log import RECORD_MAX


def check_entry(source, state, reason, seconds, code, session, count=0):
    """Check that an entry fits a record and comes back as it was given."""
    data = entries.encode(source, state, reason, seconds, code, session, count)
    assert isinstance(data, bytes) and 1 <= len(data) <= RECORD_MAX, (code, len(data))
    expected = (source, state, reason, seconds, code[:255], session, min(count, 65535))
    assert entries.decode(data) == expected, (expected, entries.decode(data))
    assert entries.time_in(data) is None


def check_time(session, uptime, seconds):
    """Check that a time record comes back, and is taken for no entry."""
    data = entries.time_record(session, uptime, seconds)
    assert 1 <= len(data) <= RECORD_MAX
    assert entries.time_in(data) == (session, uptime, seconds)
    assert entries.decode(data) is None


def check_record(data):
    """Check that of any record it is said what it is, or that it is of a later firmware."""
    found = entries.decode(data)
    time = entries.time_in(data)
    assert found is None or time is None, data
    if time:
        assert entries.time_record(*time) == data
    if found:
        source, state, reason, seconds, code, session, count = found
        assert (
            source <= entries.READER
            and data[0] < 128
            and len(session) in (0, entries.SESSION_SIZE)
        )
        if len(code) <= 255:
            again = entries.encode(source, state, reason, seconds, code, session, count)
            assert entries.decode(again) == found, (data, again)


def check_text(source, reason, code):
    """Check what both kinds of server are told as the code, within a whole body."""
    for plain in (True, False):
        text = entries.code_text(source, reason, code, plain)
        assert isinstance(text, bytes) and 1 <= len(text) <= max(len(code), len(b"door-forced"))
        assert is_code(text), (code, text)
        if plain:
            assert all(33 <= byte <= 126 and byte != 95 for byte in text), (code, text)
            _check_body(b"1795415400_%s_1" % text, text, 1)
        else:
            _check_body(b"0_%s_1_%d_%d_77" % (text, reason, source), text, 4)
            if source == entries.SCANNER and is_code(code):
                assert text == code, (code, text)


def _check_body(entry, text, fields):
    # As servers take it apart: commas first, the time from the left, the rest from the right.
    parts = b",".join([entry, b"1_A_0"]).split(b",")
    assert parts == [entry, b"1_A_0"], parts
    rest = entry[entry.index(b"_") + 1 :]
    assert rest.rsplit(b"_", fields)[0] == text, (entry, text)
