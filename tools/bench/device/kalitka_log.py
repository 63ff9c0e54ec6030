"""Kalitka's access log and its uploader, driven as the gate and the poller drive them."""

import asyncio

from kalitka.access import decision
from kalitka.journal import entries
from kalitka.journal.access_log import AccessLog
from kalitka.sync.uploader import Uploader

_SIZE = 512 * 1024


class Program:
    """The log in `folder`."""

    def __init__(self, folder):
        self._clock = _Clock()
        self._journal = AccessLog(folder + "/journal", _SIZE, self._clock, print)

    def append(self, seconds, code):
        """Append an entry: this code (bytes) was allowed."""
        self._clock.now = seconds
        self._journal.append(entries.SCANNER, 1, decision.ALLOWED, code)

    def acknowledge(self):
        """Acknowledge all entries."""
        log = self._journal.log
        log.ack(log.last)

    def count(self):
        """Return the number of entries."""
        log = self._journal.log
        return log.last - log.first + 1

    def leave_unsent(self, count):
        """Acknowledge all but the newest `count` entries."""
        log = self._journal.log
        log.ack(log.last - count)

    def upload(self, sample):
        """Send all unsent entries and return their number.

        sample: called before the upload and throughout.
        """
        return asyncio.run(self._upload(sample))

    async def _upload(self, sample):
        hub = _Hub(sample)
        uploader = Uploader(hub, self._journal, self._clock, print, 0)
        sample()
        watch = asyncio.create_task(_watch(sample))
        while uploader.due(self._clock.uptime()):
            await uploader.send()
        watch.cancel()
        return hub.entries

    def close(self):
        """Do nothing: no file is open."""


class _Clock:
    # As the firmware's clock, with the time in `now`.
    is_set = True

    def __init__(self):
        self.now = 0

    def seconds(self):
        return self.now

    def uptime(self):
        return 1


class _Hub:
    # A client that discards the entries that it is given.
    from_hub = True

    def __init__(self, sample):
        self._sample = sample
        self.entries = 0

    async def upload(self, size, pieces, _headers, _patience):
        for piece in pieces():
            size -= len(piece)
            self.entries += 1
            self._sample()
        if size:
            raise ValueError(f"{size} bytes are missing")


async def _watch(sample):
    while True:
        sample()
        await asyncio.sleep(0)
