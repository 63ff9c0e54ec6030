"""The schedule for setting the clock, and what is known of the clock's time.

A time is *proved* if the server gave it over TLS, else *provisional*. Which answer is believed
is decided in `sync.trust`, and `sync.timesources` asks; both are loaded when needed, and unloaded.
"""

import asyncio

from kalitka import unload
from kalitka.sync.net import BadCertificate, describe, same_fault
from micropython import const

_LOOK_S = const(1)
_HOUR = const(3600)
_SOURCES = const(("sync.timesources", "sync.trust", "sync.udp", "sync.address"))


class TimeKeeper:
    """The keeper of `clock` (see `system.clock`): sets it when that is due.

    client: the server (see `sync.client`) or None. ntp_server: `HOST[:PORT]` or "". resolver: a
    Resolver. chip: has `read() -> seconds or -1` and `write(seconds) -> bool`, or None.
    save_zone: called with the server's zone (str) after the clock was set to that zone; None to
    ignore the server's zone. report: a callable that takes a line of text (str) for the log.
    table: has `minute`, before which no provisional time lies. log: the access log.

    source: what set the clock last, in words. proved: whether the server has proved a time since
    the start. The rest is for `sync.trust`. due: uptime in seconds at which each source is
    to be asked. moved: seconds by which answers without proof have moved the clock since the last
    proof. agreed: how many answers in a row agree; offset: the last one minus its uptime, which
    is `last`. least: the minute kept of the last proof, -1 while that is not loaded. told:
    whether the log says that the time is provisional.
    """

    def __init__(self, clock, client, ntp_server, resolver, chip, save_zone, report, table, log):
        self.clock = clock
        self.client = client
        self.ntp_server = ntp_server
        self.resolver = resolver
        self.chip = chip
        self.save_zone = save_zone
        self.report = report
        self.table = table
        self.log = log
        self._due = self._chip_due = 0  # uptime in seconds
        self._faults = {}  # of each source, in words
        self.source = ""
        self.proved = self.told = False
        self.due = {}
        self.moved = self.agreed = self.offset = self.last = 0
        self.least = -1
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
        again = 0
        try:
            from kalitka.sync import timesources

            again = await timesources.ask_network(self)
        except MemoryError as e:  # for the module, or for an answer
            self.fail("the network", e)
        unload(*_SOURCES)
        now = clock.uptime()
        if again < now + _HOUR:  # no answer, or one that nothing confirms
            self.offline()
        # A clock that is not set keeps people out, so the next occasion tries again.
        self._due = min(again, now + _HOUR) if clock.is_set else 0

    def offline(self) -> None:
        """Set the clock by the clock chip, which drifts less, at most once an hour.

        Call this while there is no network.
        """
        if self.chip and self.clock.uptime() >= self._chip_due:
            self._chip_due = self.clock.uptime() + _HOUR
            self._ask_chip()

    def _ask_chip(self):
        try:
            from kalitka.sync import trust

            trust.ask_chip(self)
        except MemoryError as e:
            self.fail("the clock chip", e)
        unload(*_SOURCES)

    def fail(self, source: str, error: Exception) -> bool:
        """Report that a source did not set the clock, and why; return whether that is new."""
        words = self.doubt(error) + describe(error)
        # A lasting fault is reported once, not every minute.
        new = not same_fault(words, self._faults.get(source, ""))
        if new:
            self.report("clock: not set by %s: %s" % (source, words))
        self._faults[source] = words
        return new

    def succeed(self, source: str) -> None:
        """Record that a source set the clock."""
        self._faults.pop(source, None)
        self.source = source

    def doubt(self, error: Exception) -> str:
        """Return why a certificate's dates may be right although `error` refuses it, else ""."""
        dates = isinstance(error, BadCertificate) and "validity" in error.args[0]
        if self.proved or not dates:
            return ""
        if self.clock.is_set:
            return "nobody has proved the clock's time: "
        return "the clock is not set, so no certificate is valid: "
