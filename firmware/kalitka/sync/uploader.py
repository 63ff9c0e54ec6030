"""The schedule of access log uploads, and their state between two batches.

`sync.upload` sends a batch and keeps the promises. It is loaded for a batch and unloaded as soon
as no other batch is due, so that waiting entries take no memory for its code.
"""

from kalitka import unload
from kalitka.sync.net import backoff, describe, same_fault
from micropython import const

SPAN_MAX = const(256)  # records read for one body, whether or not they are entries
REFUSED_MAX = const(16)  # entries refused in a row: then the server refuses everything


class Uploader:
    """The uploader of `journal` (an AccessLog): sends its entries through `client`.

    clock: as for AccessLog. report: a callable that takes a line of text (str).
    seconds: for how long an entry waits for others, to be sent in one batch.

    error: why the last batch failed, "" if it did not. retry_at: uptime (s) before which nothing
    is sent; set it to 0 when the network is back. The other fields are for `sync.upload`.

    The state is one of three:

        sending     refused == 0, retry_to == 0: the next batch begins behind `done`.
        skipping    refused > 0, retry_to == 0: the server refused entries one by one. They are
                    quarantined: skipped, but neither acknowledged nor given up. After
                    `refused_max` of them all are sent again, as at first, an hour later.
        retrying    retry_to > 0: the server took an entry behind the quarantined ones. These, up
                    to `retry_to`, are sent once more, one by one; `refused` counts refusals. At
                    the end all up to `taken` is acknowledged.
    """

    def __init__(self, client, journal, clock, report, seconds: float):
        self.client = client
        self.journal = journal
        self.clock = clock
        self.report = report
        self.seconds = seconds
        self.first = 0  # number of the next record, behind the sent and the quarantined ones
        self.done = 0  # all records up to this number are sent or given up
        self._due = -1  # uptime in seconds, -1 while there is nothing to send
        self.retry_at = 0
        self.failures = 0  # in a row
        self.blamed = 0  # of the failures, those with an answer to a poll since the one before
        self.most = SPAN_MAX  # entries of a batch
        self.refused = 0  # entries refused since the server last took one, or while retrying
        self.refused_max = REFUSED_MAX  # doubles while the server refuses everything
        # The quarantined entries end at `retry_to`, 0 unless they are retried; all records behind
        # them, up to `taken`, are sent.
        self.retry_to = self.taken = 0
        self.missing = 0  # records given up for good, but not yet counted in the log's `lost`
        self.untimed = -1  # uptime since when entries wait for the clock, -1 for never
        self.lost = journal.log.lost if journal.log else 0
        # The last earlier session that was looked up, and its start (seconds UTC, 0: unknown).
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

    def hurry(self) -> None:
        """Send what waits for others at once; a pause after a failure is kept."""
        self._due = 0

    async def send(self) -> None:
        """Send one batch. Never raises for a failed upload: it is reported and retried."""
        try:
            unload()  # what a batch left behind that found no memory
            from kalitka.sync import upload

            await upload.send(self)
        except MemoryError as e:  # for the module
            self.fail(e)
        if not self.due(self.clock.uptime()):
            unload("sync.upload")

    def next(self) -> int:
        """Return the number of the record at which the next batch begins."""
        return max(self.journal.log.acked + 1, self.done + 1, self.first)

    def fail(self, error: Exception) -> None:
        """Report that a batch could not be sent, and why; the next one is sent after a pause."""
        words = describe(error)
        self.failures += 1
        self.retry_at = self.clock.uptime() + backoff(self.failures, self.seconds)
        # A lasting fault is reported once.
        if not same_fault(words, self.error):
            self.report("log: not sent: %s" % words)
        self.error = words
