"""The monitor of the loop's turns sees a long one, names its line, and leaves short ones alone."""

import asyncio

import loop_monitor
from kalitka.sync import client


def faults(monkeypatch, use):
    """Return the faults while a task awaits `use()`."""
    monitor = loop_monitor.Monitor()
    monkeypatch.setattr(asyncio.events.Handle, "_run", monitor.run_handle())
    asyncio.run(use())
    return monitor.faults


def measure():
    """Measure a request with a long list of codes."""
    return client.body_length(5, [b"04A1B2C3"] * 1000)


def test_a_long_turn_is_a_fault_that_names_its_line(monkeypatch):
    monkeypatch.setattr(client, "_FAIR", 1 << 20)  # all of it in one turn
    found = faults(monkeypatch, measure)
    assert len(found) == 1 and "kalitka/sync/client.py:" in found[0], found


def test_short_turns_are_none(monkeypatch):
    assert not faults(monkeypatch, measure)
