"""Histories of a table from hypothesis, beside a dictionary, in both runtimes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import micropython_peer
from kalitka.access import packing
from micropython_peer import examples


@pytest.fixture(scope="module", params=micropython_peer.RUNTIMES)
def runtime(request):
    yield from micropython_peer.open_runtime(request.param, "table_plan")


# Few codes, so that changes meet; of every class, and beginnings of one another.
codes = st.one_of(
    st.sampled_from(
        [
            b"0",
            b"00",
            b"A",
            b"a",
            b"AA",
            b"04A1B2C3",
            b"04A1B2C4",
            b"04A1B2C30",
            b"04a1b2c3",
            b"sbj-J5E5FBOKN5Z6",
            b"sbj-J5E5FBOKN5Z7",
            b"Z",
            b"Z" * 255,
            b"F" * 255,
            b"\xd0\x96",
        ]
    ),
    st.text("0F", min_size=1, max_size=3).map(str.encode),
    st.binary(min_size=1, max_size=20).filter(
        lambda c: not any(b < 32 or b in b"%,\x7f" for b in c) and b"_/" not in c
    ),
)
packed_rules = st.one_of(
    st.just(b""),
    st.sampled_from(
        [
            packing.pack(text)
            for text in (
                b"9_1",
                b"9_0",
                b"1_10_20",
                b"3_480_1200_1111100",
                b"7_480_720_1010100_29921461_29964661",
                b"1_9999999999_9999999999",
            )
        ]
    ),
    st.integers(0, 300).map(lambda n: packing.pack(b"1_%d_%d" % (n, n + 1000))),
)
in_seconds = st.just(packing.pack(b"3_36000_78200_1110101"))
seeds = st.integers(1, 5)
# So few rules that the codes of "wide" stay below the bound, and one that goes beyond it.
widths = st.sampled_from([1, 5, 11, 12, 14, 23, 24, 28, 60, 90])
small = st.one_of(
    st.tuples(st.just("del"), codes),
    st.tuples(st.just("add"), codes, packed_rules),
    st.tuples(st.just("add"), codes, packed_rules),
    st.tuples(st.just("add"), codes, packed_rules),
    st.tuples(st.just("wide"), codes, widths),
)
rare = st.tuples(st.just("add"), codes, in_seconds)
large = st.one_of(
    small,
    st.tuples(st.just("many"), seeds, st.integers(0, 700), st.sampled_from([1, 7, 400, 10**6])),
    st.tuples(st.just("gone"), seeds, st.integers(0, 700)),
)
endings = st.one_of(
    st.just("commit"), st.just("commit"), st.just("commit"), st.just("abort"), st.integers(1, 30)
)
minutes = st.one_of(st.integers(0, 9_999_999_999), st.integers(29_921_460, 29_921_470))


def histories(change, size):
    """Lists of steps with changes of this kind."""
    changes = st.lists(st.one_of(*[change] * 12, rare), max_size=size)
    step = st.one_of(
        st.tuples(st.sampled_from(["full", "some", "some", "some"]), minutes, changes, endings),
        st.tuples(st.sampled_from(["full", "some", "some", "some"]), minutes, changes, endings),
        st.tuples(st.just("reopen"), st.sampled_from([7, 7, 7, 8]), st.booleans()),
        st.tuples(st.just("save")),
    )
    return st.lists(step, max_size=12)


def test_a_table_says_what_a_dictionary_says_after_every_history(runtime):
    @examples(runtime)
    @given(histories(small, 12))
    def holds(steps):
        runtime.check("check_history", steps)

    holds()


def test_a_table_of_hundreds_says_what_a_dictionary_says(runtime):
    @examples(runtime, 0.15)
    @given(histories(large, 4))
    def holds(steps):
        runtime.check("check_history", steps)

    holds()


def test_a_change_of_thousands_is_spilled_and_merged(runtime):
    @examples(runtime, 0.015, shrink=False)
    @given(seeds, st.sampled_from([3, 300, 10**6]))
    def holds(seed, sets):
        steps = [
            ("full", 5, [("many", seed, 2200, sets)], "commit"),
            ("some", 6, [("gone", seed, 1000), ("many", seed + 1, 1500, sets)], "commit"),
        ]
        runtime.check("check_history", steps)

    holds()


def test_a_flipped_byte_of_a_table_of_many_blocks_leads_to_no_wrong_answer(runtime):
    @examples(runtime, 0.12, shrink=False)
    @given(seeds, st.integers(0, 10**6), st.integers(1, 255), st.booleans())
    def holds(seed, place, flip, heal):
        runtime.check("check_flip", seed, place, flip, heal)

    holds()
