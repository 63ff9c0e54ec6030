"""The schedule for setting the clock: once a day, and at every occasion while it is not set.

The sources of time are in `sync.timesources`, which is loaded for each attempt and unloaded.
"""

import asyncio

from kalitka import unload
from kalitka.sync.net import describe, same_fault
from micropython import const

_LOOK_S = const(1)
_HOUR = const(3600)
_DAY = const(86400)
_SOURCES = const(("sync.timesources", "sync.udp", "sync.address"))


class TimeKeeper:
    """The keeper of `clock` (see `system.clock`): sets it when that is due.

    client: the server (see `sync.client`) or None. ntp_server: `HOST[:PORT]` or "". resolver: a
    Resolver. chip: has `read() -> seconds or -1` and `write(seconds)`, or None. save_zone: called
    with the server's zone (str) after the clock was set to that zone; None to ignore the server's
    zone. report: a callable that takes a line of text (str) for the log.

    source: what set the clock last, in words.
    """

    def __init__(self, clock, client, ntp_server, resolver, chip, save_zone, report):
        self.clock = clock
        self.client = client
        self.ntp_server = ntp_server
        self.resolver = resolver
        self.chip = chip
        self.save_zone = save_zone
        self.report = report
        self._due = self._chip_due = 0  # uptime in seconds
        self._faults = {}  # of each source, in words
        self.source = ""
        if chip and not clock.is_set:
            self._ask_chip()

    async def run(self, wifi) -> None:
        """Keep the clock set, for ever, at a reader without a server; else the Poller does this.

        wifi: has `connected()`.
        """
        while True:
            if wifi.connected():
                await self.sync()
            else:
                self.offline()
            await asyncio.sleep(_LOOK_S)

    async def sync(self) -> None:
        """Set the clock over the network if that is due. A failure is only reported."""
        clock = self.clock
        if clock.uptime() < self._due:
            return
        taken = False
        try:
            from kalitka.sync import timesources

            taken = await timesources.ask_network(self)
        except MemoryError as e:  # for the module, or for an answer
            self.fail("the network", e)
        unload(*_SOURCES)
        if not taken:
            self.offline()
        # A clock that is not set keeps people out, so the next occasion tries again.
        again = _DAY if taken else _HOUR if clock.is_set else 0
        self._due = clock.uptime() + again

    def offline(self) -> None:
        """Set the clock by the clock chip, which drifts less, at most once an hour.

        Call this while there is no network.
        """
        if self.chip and self.clock.uptime() >= self._chip_due:
            self._chip_due = self.clock.uptime() + _HOUR
            self._ask_chip()

    def _ask_chip(self):
        try:
            from kalitka.sync import timesources

            timesources.ask_chip(self)
        except MemoryError as e:
            self.fail("the clock chip", e)
        unload(*_SOURCES)

    def fail(self, source: str, error: Exception) -> None:
        """Report that a source did not set the clock, and why."""
        words = describe(error)
        # A lasting fault is reported once, not every minute.
        if not same_fault(words, self._faults.get(source, "")):
            self.report("clock: not set by %s: %s" % (source, words))
        self._faults[source] = words

    def succeed(self, source: str) -> None:
        """Record that a source set the clock."""
        self._faults.pop(source, None)
        self.source = source
