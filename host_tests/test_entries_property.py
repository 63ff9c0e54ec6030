"""The access log's entries, with whatever hypothesis lets a scanner read, in both runtimes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import micropython_peer
from micropython_peer import examples


@pytest.fixture(scope="module", params=micropython_peer.RUNTIMES)
def runtime(request):
    yield from micropython_peer.open_runtime(request.param, "entries_oracle")


codes = st.one_of(
    st.binary(max_size=20),
    st.binary(min_size=250, max_size=300),
    st.text("0123456789ABCDEF", max_size=300).map(str.encode),
    st.text("0123456789abcdef", max_size=40).map(str.encode),
    st.text("_/,%\r\n\0 A№", max_size=12).map(str.encode),
    st.text(max_size=300).map(str.encode),
)
sources = st.integers(0, 3)
reasons = st.integers(0, 255)
seconds = st.integers(0, 0xFFFFFFFF)
sessions = st.binary(min_size=4, max_size=4)


def test_an_entry_comes_back_as_it_was_given(runtime):
    @examples(runtime)
    @given(sources, st.integers(0, 1), reasons, seconds, codes, st.just(b"") | sessions)
    def holds(source, state, reason, seconds, code, session):
        runtime.check("check_entry", source, state, reason, seconds, code, session)

    holds()


def test_a_time_comes_back_as_it_was_given(runtime):
    @examples(runtime)
    @given(sessions, seconds, seconds)
    def holds(session, uptime, seconds):
        runtime.check("check_time", session, uptime, seconds)

    holds()


def test_of_any_record_it_is_said_what_it_is(runtime):
    heads = st.integers(0, 35) | st.just(0x80) | st.integers(0, 255)
    # What stands before the code, or is taken for it; then a code as it is packed.
    begins = st.binary(max_size=12) | st.binary(min_size=5, max_size=5) | sessions
    ends = st.binary(max_size=20) | st.sampled_from([b"\1\1\xab\xcd", b"\4\0\x0a", b"\5\0A"])

    @examples(runtime)
    @given(heads, begins, ends)
    def holds(head, begin, end):
        runtime.check("check_record", bytes([head]) + begin + end)

    holds()


def test_no_code_breaks_a_body(runtime):
    @examples(runtime)
    @given(sources, reasons, codes.map(lambda code: code[:255]))
    def holds(source, reason, code):
        runtime.check("check_text", source, reason, code)

    holds()
