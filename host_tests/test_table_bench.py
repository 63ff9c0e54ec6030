"""The table's benchmark runs, reports why a program failed, and goes on."""

import pytest

from bench import answers, instructions, timing
from bench.access_log import KALITKA_LOG, LOGS
from bench.figures import Figures
from bench.runtime import HEAP, KALITKA, PLAIN, PLENTY, Runtime

TOKENS = 500
SMALL = "32K"  # too small for these tokens in the plain client


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    return Runtime(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def found(runtime):
    return answers.make(runtime.folder / "answers", TOKENS, in_code_order=False)


@pytest.mark.parametrize(("program", "heap"), [(KALITKA, HEAP), (PLAIN, PLENTY)])
def test_syncs_and_lookups_are_timed(runtime, found, program, heap):
    figures = Figures(program, TOKENS, False, heap)
    timing.time_once(runtime, figures, found, 2, lookups=True)
    assert figures.end == ""
    assert {what: len(times) for what, times in figures.times.items()} == {
        "first": 1,
        "second": 1,
        "lookup": 1,
    }


@pytest.mark.parametrize("program", LOGS)
@pytest.mark.parametrize("what", ["fill", "times", "appends", "passes", "upload"])
def test_every_step_of_the_logs_is_measured(runtime, program, what):
    flash = runtime.new_flash(f"{program}-{what}.bin")
    # Ours sends what a full log has; the plain one writes its entries first.
    full = what == "times" or (what == "upload" and program == KALITKA_LOG)
    for step in ("fill", what) if full else (what,):
        done = runtime.measure(program, flash, step, 50, heap="8M", script="measure_log")
        assert done.end == "" and done.figures


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
