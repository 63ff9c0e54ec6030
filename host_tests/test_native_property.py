"""The hot loops against slow ones, with examples from hypothesis: in viper code and in CPython."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import micropython_peer
from kalitka.access import packing
from micropython_peer import examples


def runtimes(subject):
    """Return the fixture of the runtimes of an oracle."""

    @pytest.fixture(scope="module", params=micropython_peer.RUNTIMES)
    def runtime(request):
        yield from micropython_peer.open_runtime(request.param, subject)

    return runtime


packing_runtime = runtimes("lines_oracle")
sums_runtime = runtimes("sums_oracle")
order_runtime = runtimes("order_oracle")
block_runtime = runtimes("blocks_oracle")
merge_runtime = runtimes("merge_oracle")

forbidden = set(b"%,\x7f") | set(range(32))
texts = st.one_of(
    st.text("0123456789ABCDEF", min_size=1, max_size=24).map(str.encode),
    st.text("09afAF", min_size=1, max_size=5).map(str.encode),
    st.binary(min_size=1, max_size=12).filter(
        lambda code: not forbidden & set(code) and b"_/" not in code
    ),
    st.builds(lambda code, size: (code * size)[:size], st.binary(min_size=1), st.integers(1, 255))
    .map(lambda code: bytes(b for b in code if b not in forbidden).replace(b"_/", b"--"))
    .filter(bool),
)
rule_texts = st.one_of(
    st.sampled_from(
        [
            "9_1",
            "9_0",
            "3_480_1200_1111100",
            "3_36000_78200_1110101",
            "7_480_720_1010100_29921461_29964661",
            "7_0086400_0086400_1111111_0000000000_9999999999",
        ]
    ),
    st.tuples(st.integers(0, 9999999999), st.integers(0, 9999999999)).map(
        lambda pair: f"1_{min(pair)}_{max(pair)}"
    ),
    st.text("0123456789_", max_size=20),
)
packed_rules = st.one_of(
    st.sampled_from([packing.pack(t) for t in (b"9_1", b"9_0", b"3_0_1440_1111111", b"1_5_700")]),
    st.integers(0, 10**6).map(
        lambda n: packing.pack(b"7_%d_9_0000001_%d_%d" % (n % 999, n, 2 * n))
    ),
)


@st.composite
def payloads(draw, size):
    """Payloads of a size that are near one another, or far: what gaps are made of."""
    value = draw(st.binary(min_size=size, max_size=size))
    kept = draw(st.integers(0, size))
    filler = draw(st.sampled_from([b"\x00", b"\xff", b"\x7f", b"\x80"]))
    return value[:kept] + filler * (size - kept)


@st.composite
def packed_codes(draw, most=30):
    """Packed codes, in any order and some more than once; whole families of one length."""
    found = []
    for _ in range(draw(st.integers(1, 4))):
        size = draw(st.one_of(st.integers(1, 9), st.sampled_from([1, 2, 4, 32, 254, 255])))
        head = bytes((draw(st.integers(1, 5)), size - 1))
        some = draw(st.lists(payloads(size), min_size=1, max_size=most // 3))
        found += [head + payload for payload in some]
    return draw(st.permutations(found))


short_sets = st.one_of(packed_rules, st.binary(max_size=9), st.binary(max_size=300))
numbered = st.integers(0, 383)
values = st.one_of(
    st.just(b"\x00"),
    st.binary(max_size=80).map(lambda rule: bytes((1, len(rule))) + rule),
    st.integers(2, 239).map(lambda value: bytes((value,))),
    st.integers(0, 145).map(lambda number: bytes((240, number))),
)
owns = st.lists(st.integers(0, 384), min_size=384, max_size=384)


def _with(codes, draw, strategy):
    return [(code, draw(strategy)) for code in codes]


def test_a_code_is_packed_where_it_is_to_be(packing_runtime):
    @examples(packing_runtime, 2)
    @given(st.one_of(texts, st.binary(max_size=300)), st.integers(0, 9))
    def holds(code, to):
        packing_runtime.check("check_pack_code", code, to)

    holds()


def test_a_rule_is_packed_in_its_room(packing_runtime):
    @examples(packing_runtime, 2)
    @given(rule_texts)
    def holds(text):
        packing_runtime.check("check_pack_rule", text)

    holds()


lines = st.one_of(
    st.builds(lambda code, rule: code + b"_/" + rule.encode(), texts, rule_texts),
    st.builds(lambda code, rule: code + b"_/" + rule.encode(), texts, rule_texts),
    st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")),
    st.builds(lambda code, size: code + b"_/" + b"0" * size, texts, st.integers(0, 340)),
    st.integers(0, 340).map(lambda size: b"0" * size),
)


def test_lines_become_records_in_whatever_pieces_they_come(packing_runtime):
    @examples(packing_runtime, 2)
    @given(
        st.lists(lines, max_size=12),
        st.sampled_from([b"\n", b"\n", b"\r\n"]),
        st.lists(st.integers(0, 3000), max_size=6),
        st.integers(0, 800),
        st.integers(1, 30),
        st.booleans(),
        st.sampled_from([0, 0, 200, 254]),
    )
    def holds(some, end, cuts, more, most, cached, known):
        text = end.join(some + some[:3])
        packing_runtime.check("check_lines", text, cuts, more, most, cached, known)

    holds()


def test_rule_sets_have_a_number_each_as_long_as_there_is_room(packing_runtime):
    many = st.builds(
        lambda count, size: [bytes((n % 256, n // 256)) * size for n in range(count)],
        st.integers(0, 420),
        st.integers(0, 20),
    )

    @examples(packing_runtime)
    @given(many, st.lists(short_sets, max_size=40))
    def holds(known, some):
        packing_runtime.check("check_numbers", known + some + some)

    holds()


def test_sums_tell_a_table_from_another_in_whatever_order_it_comes(sums_runtime):
    some_rules = st.lists(packed_rules, max_size=4, unique=True)

    @examples(sums_runtime, 2)
    @given(st.dictionaries(texts, some_rules, max_size=9), st.integers(0, 999))
    def holds(table, seed):
        sums_runtime.check("check_digest", sorted(table.items()), seed)

    holds()


def test_it_is_noted_how_records_stand_to_one_another(packing_runtime):
    @examples(packing_runtime)
    @given(packed_codes(), st.booleans(), st.data())
    def holds(codes, ordered, data):
        codes = sorted(codes) if ordered else codes
        packing_runtime.check("check_notes", _with(codes, data.draw, values))

    holds()


def test_keys_tell_the_order_of_codes(order_runtime):
    @examples(order_runtime)
    @given(packed_codes(12), st.integers(0, 3))
    def holds(codes, less):
        order_runtime.check("check_keys", codes, less)

    holds()


def test_a_heap_gives_codes_in_their_order(order_runtime):
    @examples(order_runtime)
    @given(packed_codes(90), st.sampled_from([0, 258, 300]), st.integers(0, 3))
    def holds(codes, stride, less):
        order_runtime.check("check_sift", codes, stride, less)

    holds()


def test_records_are_sorted(order_runtime):
    @examples(order_runtime)
    @given(packed_codes(90), st.integers(1, 70), st.integers(0, 3))
    def holds(codes, step, less):
        order_runtime.check("check_sort", codes, step, less)

    holds()


def test_order_is_that_of_bytes(order_runtime):
    @examples(order_runtime)
    @given(packed_codes(6))
    def holds(codes):
        order_runtime.check("check_order", codes[0], codes[-1])

    holds()


def test_blocks_are_coded_as_the_format_says_and_walked_back(block_runtime):
    entries = st.one_of(
        st.tuples(st.integers(-2, 383).filter(lambda number: number != -1), st.just(b"")),
        st.tuples(st.just(-1), st.binary(max_size=200)),
    )

    @examples(block_runtime)
    @given(packed_codes(40), st.integers(270, 1020), st.data())
    def holds(codes, limit, data):
        some = [(code, *data.draw(entries)) for code in sorted(codes)]
        block_runtime.check("check_block", some, limit)

    holds()


@st.composite
def spoiled_blocks(draw):
    """Any bytes, or a block of which a few bytes were changed."""
    from device.blocks_oracle import coded

    if draw(st.booleans()):
        return draw(st.binary(max_size=120))
    data = bytearray(coded(_with(sorted(draw(packed_codes(12))), draw, values)))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))])


def test_a_walk_through_rubbish_stays_in_its_room_and_ends(block_runtime):
    @examples(block_runtime, 3)
    @given(spoiled_blocks(), st.one_of(st.just(258), st.integers(3, 258)))
    def holds(data, room):
        block_runtime.check("check_walk_of_anything", data, room)

    holds()


def test_a_merge_of_rubbish_writes_nowhere_else_and_ends(merge_runtime):
    @examples(merge_runtime)
    @given(st.lists(spoiled_blocks(), max_size=4), st.booleans())
    def holds(blocks, verbatim):
        merge_runtime.check("check_merge_of_anything", blocks, verbatim, 700)

    holds()


def test_the_block_of_a_code_is_the_number_of_separators_not_above_it(block_runtime):
    @examples(block_runtime)
    @given(packed_codes(60), packed_codes(12), st.data())
    def holds(codes, others, data):
        codes = sorted(set(codes))
        separators = []
        for one, other in pairwise(codes):
            shared = next(i for i in range(len(one)) if one[i] != other[i])
            separators.append(other[: data.draw(st.integers(shared + 1, len(other)))])
        block_runtime.check("check_block_of", separators, codes + others)

    holds()


def test_a_rule_set_begins_behind_those_before_it_or_nowhere(block_runtime):
    @examples(block_runtime)
    @given(st.lists(st.binary(max_size=255), max_size=12), st.integers(0, 300))
    def holds(sets, cut):
        block_runtime.check("check_set_start", sets, cut)

    holds()


limits = st.one_of(st.just(380), st.just(1020), st.integers(380, 700))
steps = st.integers(1, 64)


def test_records_flow_into_blocks(merge_runtime):
    @examples(merge_runtime, 0.6, shrink=False)
    @given(packed_codes(60), st.one_of(st.none(), owns), limits, steps, st.data())
    def holds(codes, own, limit, step, data):
        records = _with(codes, data.draw, values)
        merge_runtime.check("check_merge_of_records", records, own, limit, step)

    holds()


def test_blocks_are_merged_into_blocks(merge_runtime):
    sources = st.lists(packed_codes(24), max_size=5)

    @examples(merge_runtime, 0.6, shrink=False)
    @given(sources, st.one_of(st.none(), owns), limits, steps, st.booleans(), st.data())
    def holds(some, own, limit, step, goes_on, data):
        blocks = [_with(sorted(codes), data.draw, values) for codes in some]
        merge_runtime.check("check_merge_of_blocks", blocks, own, limit, step, goes_on)

    holds()
