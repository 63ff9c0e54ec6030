"""When the access log is sent to the server, and what is known of that between two batches.

`sync.upload` sends a batch and keeps the promises. It is loaded for that, and forgotten as soon
as nothing more is to be sent at once: entries that wait take no memory for how they are sent.
"""

from kalitka import unload
from kalitka.sync.net import backoff, describe, same_fault
from micropython import const

SPAN_MAX = const(256)  # records of one body, entries or not: they are read in one go
REFUSED_MAX = const(16)  # refused one after the other: then the server refuses everything


class Uploader:
    """Sends what is in `journal` (an AccessLog) by `client`.

    clock: as AccessLog has it. report: a callable that takes a line of text (str).
    seconds: that entries wait for others to be sent with.

    error: why the last batch was not taken, "" if it was. retry_at: uptime (s) before which
    nothing is sent; set it to 0 when the network is back. The other fields are for `sync.upload`.
    """

    def __init__(self, client, journal, clock, report, seconds: float):
        self.client = client
        self.journal = journal
        self.clock = clock
        self.report = report
        self.seconds = seconds
        self.first = 0  # number of the first record that was not sent or put aside
        self.done = 0  # all up to this number are sent or passed over
        self._due = -1  # uptime in seconds, -1 while there is nothing to send
        self.retry_at = 0  # not before
        self.failures = 0  # in a row
        self.blamed = 0  # of these: with an answer to a poll since the one before
        self.most = SPAN_MAX
        self.refused = 0  # entries refused since the server last took one, or while asked again
        self.refused_max = REFUSED_MAX
        # The refused ones up to this number are sent again, one by one; 0 if there are none. All
        # behind it up to `taken` is sent.
        self.retry_to = self.taken = 0
        self.missing = 0  # records that were passed over, for ever; not told to the log yet
        self.untimed = -1
        self.lost = journal.log.lost if journal.log else 0
        # The last earlier session that was looked up, and when it started.
        self.known_session = b""
        self.known_start = 0
        self.error = ""

    def due(self, now: int) -> bool:
        """Return whether there is something to send now (uptime in seconds)."""
        log = self.journal.log
        if not log or log.last < self.next():
            self._due = -1
            return False
        if self._due < 0:
            self._due = now + self.seconds
        return now >= max(self._due, self.retry_at)

    async def send(self) -> None:
        """Send one batch, whatever comes of it."""
        try:
            from kalitka.sync import upload

            await upload.send(self)
        except MemoryError as e:  # for the code of it
            self.fail(e)
        if not self.due(self.clock.uptime()):
            unload("sync.upload")

    def next(self) -> int:
        """Return the number of the record to begin with."""
        return max(self.journal.log.acked + 1, self.done + 1, self.first)

    def fail(self, error: Exception) -> None:
        """Report that a batch could not be sent, and why; the next one is sent after a pause."""
        words = describe(error)
        self.failures += 1
        self.retry_at = self.clock.uptime() + backoff(self.failures, self.seconds)
        # A fault that lasts is reported once.
        if not same_fault(words, self.error):
            self.report("log: not sent: %s" % words)
        self.error = words
