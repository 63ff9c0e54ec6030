"""The table's benchmark reports why a program failed, and goes on."""

import pytest

from bench import answers, instructions, timing
from bench.figures import Figures
from bench.runtime import PLAIN, PLENTY, Runtime

TOKENS = 500
SMALL = "32K"  # too small for these tokens in the plain client


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    return Runtime(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def found(runtime):
    return answers.make(runtime.folder / "answers", TOKENS, in_code_order=False)


def test_syncs_and_lookups_are_timed(runtime, found):
    figures = Figures(PLAIN, TOKENS, False, PLENTY)
    timing.time_once(runtime, figures, found, 2, lookups=True)
    assert figures.end == ""
    assert {what: len(times) for what, times in figures.times.items()} == {
        "first": 1,
        "second": 1,
        "lookup": 1,
    }


def test_no_lookup_is_timed_without_a_table(runtime, found):
    figures = Figures(PLAIN, TOKENS, False, SMALL)
    timing.time_once(runtime, figures, found, 3, lookups=True)
    assert figures.end == "out of memory"
    assert figures.times == {}


def test_syncs_that_take_too_long_say_so(runtime, found, monkeypatch):
    monkeypatch.setattr(timing, "_TIMEOUT_S", 0)
    figures = Figures(PLAIN, TOKENS, False, PLENTY)
    timing.time_once(runtime, figures, found, 1, lookups=True)
    assert figures.end == "more than 0 s"
    assert figures.times == {}


@pytest.mark.skipif(not instructions.available(), reason=instructions.MISSING)
def test_a_count_that_takes_too_long_says_so(runtime, found, monkeypatch):
    monkeypatch.setattr(instructions, "_TIMEOUT_S", 0)
    counts = instructions.Counter(runtime, PLAIN, PLENTY).syncs(found)
    assert counts.end == "more than 0 s"
    assert counts.lines == {}
