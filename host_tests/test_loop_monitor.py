"""The monitor of the loop's turns sees a long one, names its line, and leaves short ones alone."""

import asyncio

import loop_monitor
from kalitka.sync.client import Client
from kalitka.sync.net import NetError


class NoHttp:
    """A connection that cannot be made."""

    secure = False

    async def request(self, *_):
        """Fail, in the next turn."""
        await asyncio.sleep(0)
        raise NetError("refused")

    def release(self):
        """Nothing is held."""


def faults(monkeypatch, codes):
    """Return the faults of a request for so many codes, which is measured in one turn."""
    monitor = loop_monitor.Monitor()
    monkeypatch.setattr(asyncio.events.Handle, "_run", monitor.run_handle())

    async def ask():
        try:
            await Client(NoHttp(), "secret", "GATE-1").sync(5, None, [b"04A1B2C3"] * codes)
        except NetError:
            return monitor.faults
        raise AssertionError("a connection was made")

    return asyncio.run(ask())


def test_a_long_turn_is_a_fault_that_names_its_line(monkeypatch):
    found = faults(monkeypatch, 1000)
    assert len(found) == 1 and "kalitka/sync/client.py:" in found[0], found


def test_a_short_turn_is_none(monkeypatch):
    assert not faults(monkeypatch, 10)
