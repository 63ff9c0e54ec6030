"""The monitor of the loop's turns sees a long one, names its line, and leaves short ones alone."""

import asyncio

import loop_monitor
from kalitka.sync.client import body_length, body_pieces


def faults(monkeypatch, use):
    """Return the faults while a task awaits `use()`."""
    monitor = loop_monitor.Monitor()
    monkeypatch.setattr(asyncio.events.Handle, "_run", monitor.run_handle())
    asyncio.run(use())
    return monitor.faults


CODES = [b"04A1B2C3"] * 1000


def test_a_long_turn_is_a_fault_that_names_its_line(monkeypatch):
    async def in_one_turn():
        await asyncio.sleep(0)
        list(body_pieces(5, CODES))

    found = faults(monkeypatch, in_one_turn)
    assert len(found) == 1 and "kalitka/sync/client.py:" in found[0], found


def test_short_turns_are_none(monkeypatch):
    # As much work as above.
    assert not faults(monkeypatch, lambda: body_length(5, CODES))
