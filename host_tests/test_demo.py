"""The demo can fail: it names a wrong expectation and exits with 1."""

import io

from rich.console import Console

from kalitka_cli import demo


def test_a_decision_that_was_not_expected_fails_the_demo_by_name(monkeypatch):
    wrong = ("gate", "2026-11-23 07:59", "04A1B2C3", "allowed")
    monkeypatch.setattr(demo, "_SCANS", (wrong,))
    # `make demo` runs the rest.
    for act in ("change", "outage", "power_cut", "log"):
        monkeypatch.setattr(demo._Demo, act, lambda _demo: None)
    out = io.StringIO()
    assert demo.run(Console(file=out, width=160)) == 1
    told = out.getvalue()
    assert "1 of " in told
    assert "gate, Mon 07:59 MSK-3, 04A1B2C3: outside its hours" in told
    assert told.count("✗") == 1
