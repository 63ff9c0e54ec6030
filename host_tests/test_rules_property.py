"""Rules and codes against their oracles, with examples from hypothesis, in both runtimes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import micropython_peer
from micropython_peer import examples

MONDAY = 29_923_200


@pytest.fixture(scope="module", params=micropython_peer.RUNTIMES)
def rules_runtime(request):
    yield from micropython_peer.open_runtime(request.param, "rules_oracle")


@pytest.fixture(scope="module", params=micropython_peer.RUNTIMES)
def codes_runtime(request):
    yield from micropython_peer.open_runtime(request.param, "codes_oracle")


numbers = st.one_of(
    st.integers(0, 9_999_999_999),
    st.integers(0, 2000),
    st.sampled_from([127, 128, 16383, 16384, 2097151, 2097152, 268435455, 268435456, 2**32]),
)
day_times = st.one_of(st.integers(0, 86400), st.integers(0, 1440))
masks = st.text("01", min_size=7, max_size=7)


def _dates(pair):
    return f"{min(pair)}_{max(pair)}"


dates = st.tuples(numbers, numbers).map(_dates)
hours = st.builds("{}_{}_{}".format, day_times, day_times, masks)
texts = st.one_of(
    dates.map("1_{}".format),
    hours.map("3_{}".format),
    st.builds("7_{}_{}".format, hours, dates),
    st.sampled_from(["9_0", "9_1"]),
)
zeros = st.text("0", max_size=5)
near_misses = st.one_of(
    st.lists(
        st.one_of(
            st.sampled_from(["1", "3", "7", "9", "0", "2", "", "1111111", "86400", "86401", "-1"]),
            st.builds("{}{}".format, zeros, numbers),
            masks,
            st.text("012", min_size=6, max_size=8),
            st.text("0123456789_ -+.x", max_size=31),
        ),
        max_size=7,
    ).map("_".join),
    st.text(max_size=12),
)


@st.composite
def spoiled(draw):
    """A good text with one letter taken out, put in or replaced."""
    text = draw(texts)
    at = draw(st.integers(0, len(text)))
    letter = draw(st.sampled_from(["", *"0123456789_/ -%,\x00é"]))
    return text[:at] + letter + text[at + draw(st.integers(0, 1)) :]


def test_every_legal_text_comes_back_exactly(rules_runtime):
    @examples(rules_runtime, 3)
    @given(texts)
    def holds(text):
        rules_runtime.check("check_text", text)

    holds()


def test_what_is_no_rule_is_refused_with_its_reason(rules_runtime):
    @examples(rules_runtime, 3)
    @given(st.one_of(near_misses, spoiled()))
    def holds(text):
        rules_runtime.check("check_text", text)

    holds()


def test_sets_of_rules_are_joined_and_split_without_loss(rules_runtime):
    @examples(rules_runtime)
    @given(st.lists(texts, max_size=20))
    def holds(some):
        rules_runtime.check("check_rule_set", some)

    holds()


minute_bounds = st.one_of(st.integers(0, 1440), st.sampled_from([0, 1, 1438, 1439, 1440, 1441]))
second_bounds = st.one_of(
    st.integers(0, 86400),
    st.integers(0, 240),
    st.sampled_from([0, 59, 60, 61, 86339, 86340, 86399, 86400]),
)
week_dates = st.tuples(*[st.integers(MONDAY - 100, MONDAY + 10180)] * 2).map(_dates)


def windows(bounds):
    """Texts of rules 3 and 7, the dates of which lie about the week of MONDAY."""
    window = st.builds("{}_{}_{}".format, bounds, bounds, masks)
    both = st.builds("7_{}_{}".format, window, week_dates)
    return st.one_of(window.map("3_{}".format), both)


def test_windows_in_minutes_are_open_where_a_walk_says_so(rules_runtime):
    @examples(rules_runtime, 0.4, shrink=False)
    @given(windows(minute_bounds))
    def holds(text):
        rules_runtime.check("check_week", text, False)

    holds()


def test_windows_in_seconds_are_open_where_a_walk_says_so(rules_runtime):
    @examples(rules_runtime, 0.4, shrink=False)
    @given(windows(second_bounds))
    def holds(text):
        rules_runtime.check("check_week", text, True)

    holds()


def test_dates_hold_from_their_first_to_their_last_minute(rules_runtime):
    @examples(rules_runtime, 2)
    @given(numbers, numbers, st.integers(-1, 1), st.booleans(), st.integers(-1, 2**29 - 1))
    def holds(one, other, beside, at_first, anywhere):
        first, last = min(one, other), max(one, other)
        for minute in ((first if at_first else last) + beside, anywhere):
            # Beyond the year 2990 a minute is no longer exact.
            if -1 <= minute < 2**29:
                rules_runtime.check("check_dates", first, last, minute)

    holds()


codes = st.one_of(
    st.text("0123456789ABCDEF", min_size=1, max_size=255),
    st.text("0123456789abcdef", min_size=1, max_size=40),
    st.text("0123456789", min_size=1, max_size=40),
    st.text("0F", min_size=1, max_size=4),
    st.text("aAfFgG0", min_size=1, max_size=5),
    st.builds("{}-{}".format, st.sampled_from(["sbj", "phn"]), st.text("AZ09", min_size=12)),
    st.text(st.characters(min_codepoint=0x20, blacklist_characters="%,_\x7f"), min_size=1),
).map(lambda text: text.encode()[:255])


def test_codes_are_packed_exactly_or_refused(codes_runtime):
    @examples(codes_runtime, 3)
    @given(st.one_of(codes, st.binary(max_size=300), st.text("A_/%,\n", max_size=5)))
    def holds(code):
        codes_runtime.check("check_code", code if isinstance(code, bytes) else code.encode())

    holds()


def test_no_two_codes_have_one_packed_form_and_they_keep_their_order(codes_runtime):
    @examples(codes_runtime, 3)
    @given(codes, codes)
    def holds(one, other):
        codes_runtime.check("check_pair", one, other)
        codes_runtime.check("check_pair", one, one.lower())

    holds()


@st.composite
def packed_codes(draw):
    """Bytes with the head of a packed code, most of them."""
    payload = draw(st.binary(min_size=1, max_size=9))
    kind = draw(st.integers(0, 6))
    return bytes((kind, len(payload) - draw(st.integers(0, 1)))) + payload


def test_bytes_that_pack_never_gives_are_refused(codes_runtime):
    @examples(codes_runtime)
    @given(st.one_of(packed_codes(), st.binary(max_size=12)))
    def holds(packed):
        codes_runtime.check("check_packed", packed)

    holds()
