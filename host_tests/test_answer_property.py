"""The stream parser against `split`, with answers from hypothesis, in both runtimes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import micropython_peer
from micropython_peer import examples


@pytest.fixture(scope="module", params=micropython_peer.RUNTIMES)
def runtime(request):
    yield from micropython_peer.open_runtime(request.param, "answer_oracle")


good_codes = st.sampled_from(
    [
        b"CODE",
        b"04A1B2C3",
        b"sbj-J5E5FBOKN5Z6",
        b"phn-XCGBKS6Q6Q0R",
        b"0f8fad5bd9cb469fa16570867728950e",
        "Пропуск №7".encode(),
        b"Z" * 255,
        b"A_",
        b"/",
    ]
)
codes = st.one_of(
    good_codes,
    good_codes,
    good_codes,
    st.sampled_from([b"", b"A\x00", b"A\rB", b"A\tB", b"Z" * 256, b"Z" * 323, b"Z" * 400]),
    st.binary(max_size=6).map(lambda some: some.replace(b"\n", b"").replace(b"%", b"")),
)
rule_texts = st.one_of(
    st.sampled_from(
        [
            b"1_26553028_26553088",
            b"3_480_1200_1111100",
            b"3_36000_78200_1110101",
            b"7_36000_78200_1110101_26553028_26553088",
            b"7_0000000480_0000001200_1111111_0000000010_9999999999",
            b"9_1",
            b"9_0",
            b"9_1",
        ]
    ),
    st.sampled_from(
        [
            b"",
            b"8_1",
            b"3_1_2_111111",
            b"3_1_2_1111121",
            b"1_2_1",
            b"1_-1_2",
            b"1_123456789012345678901234567890_2",
            b"1_" + b"0" * 62 + b"_2",
            b"1_" + b"0" * 400,
            b"1_1_2_/1_1_2",
            b"9_1\r",
        ]
    ),
    st.text("1379_ 0%,", max_size=20).map(str.encode),
)
lines = st.one_of(
    st.builds(b"%b_/%b".__mod__, st.tuples(codes, rule_texts)),
    st.builds(b"%b_/%b".__mod__, st.tuples(good_codes, rule_texts)),
    st.sampled_from([b"", b"rubbish", b"\r", b"_/", b"CODE_1_1_2", b"1%%"]),
)
minutes = st.one_of(
    st.integers(0, 9_999_999_999).map(lambda n: b"%d" % n), st.just(b"0"), st.just(b"29921461")
)


@st.composite
def answers(draw):
    """An answer as a server may send it, good lines and bad ones."""
    end = draw(st.sampled_from([b"\n", b"\n", b"\r\n"]))
    deletes = b",".join(draw(st.lists(codes, max_size=6))).replace(b"%", b"")
    body = draw(minutes) + b"%" + deletes + b"%"
    some = draw(st.lists(lines, max_size=8))
    if some:
        body += end + end.join(some)
    return body + draw(st.sampled_from([b"", end]))


@st.composite
def spoiled(draw):
    """An answer of which a few bytes were lost, put in or changed, mostly in its first line."""
    body = draw(answers())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, min(len(body), 30)))
        more = draw(st.sampled_from([b"", b"%", b"\n", b"\r", b"0", b" ", b"<", b",", b"%%"]))
        body = body[:at] + more + body[at + draw(st.integers(0, 2)) :]
    return body


cuts = st.lists(st.integers(0, 5000), max_size=9)


def _has_long_line_without_separator(body):
    # For these the words of the reason differ, and nothing depends on them.
    return any(len(line) > 300 and b"_/" not in line for line in body.split(b"\n"))


def test_an_answer_is_read_alike_in_whatever_pieces_it_comes(runtime):
    @examples(runtime, 2)
    @given(answers(), cuts)
    def holds(body, places):
        if not _has_long_line_without_separator(body.partition(b"\n")[2]):
            runtime.check("check_answer", body, places)

    holds()


def test_what_is_no_answer_any_more_is_refused_in_whatever_pieces_it_comes(runtime):
    @examples(runtime, 3)
    @given(spoiled(), cuts)
    def holds(body, places):
        if not _has_long_line_without_separator(body):
            runtime.check("check_answer", body, places)

    holds()


def test_garbage_is_refused(runtime):
    @examples(runtime)
    @given(st.one_of(st.binary(max_size=60), st.text("0123456789%,_/\r\nA", max_size=40)), cuts)
    def holds(body, places):
        body = body if isinstance(body, bytes) else body.encode()
        runtime.check("check_answer", body, places)

    holds()


def test_a_cut_answer_is_not_believed(runtime):
    @examples(runtime)
    @given(answers(), st.integers(0, 5000))
    def holds(body, at):
        if not _has_long_line_without_separator(body.partition(b"\n")[2]):
            at %= len(body) + 1
            if not _has_long_line_without_separator(body[:at].partition(b"\n")[2]):
                runtime.check("check_cut", body, at)

    holds()
