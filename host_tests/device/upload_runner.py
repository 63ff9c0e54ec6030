"""Keeps and uploads an access log as it is told to, step by step; prints what came of it.

A MicroPython script that is given {"folder", "url", "ca", "steps"} as a line of JSON, and then its
time (see piped_time.py). A step is a list; its first word names a method of `Reader`, the rest are
the arguments. Each upload gives [whether something was due, the uploader's error, the lines
reported]; each entry its true time.
"""

import asyncio
import json
import sys

from device import piped_time
from device.fake_nvs import Esp32
from kalitka.journal.access_log import AccessLog
from kalitka.sync.answer import AnswerError
from kalitka.sync.client import Client
from kalitka.sync.http import Http
from kalitka.sync.net import NetError
from kalitka.sync.resolver import Resolver
from kalitka.sync.uploader import Uploader

# TLS keeps a copy of the CA in the NVS.
sys.modules["esp32"] = Esp32({})

_SIZE = 65536
_WAIT_S = 3  # that entries wait for others
_MOST = 100_000  # seconds after which nothing will be due any more
_PATIENCE_S = 20
BOOT = 1795415400  # when the first start is, in seconds since 1970 UTC


class NoChanges:
    """Takes an answer to a poll that has nothing to tell."""

    def minute(self, minute):
        """Take the minute."""

    def delete(self, code):
        """Take a code that has no rules any more."""

    def drain(self):
        """There is nothing to do."""
        return ()


class Clock:
    """A clock that stands still until it is moved. `is_set`: whether the time is known."""

    def __init__(self, began):
        self.is_set = False
        self._began = began
        self._up = 0

    def uptime(self):
        """Return the seconds since the start."""
        return self._up

    def seconds(self):
        """Return the seconds since 1970 UTC."""
        return self._began + self._up

    def move(self, seconds):
        """Let time go by."""
        self._up += seconds


class Reader:
    """A reader that is told what to do."""

    def __init__(self, options):
        self._options = options
        self._lines = []
        self.uploads = []
        self._noted = []
        self._knew = [None]  # of the server, at first and after each poll
        self._http = None
        self._start(BOOT)

    def _start(self, began):
        options = self._options
        self._clock = clock = Clock(began)
        names = Resolver(lambda: "", clock.uptime)
        self._http = Http(options["url"], names, clock.uptime, options["ca"], _PATIENCE_S)
        self._client = Client(self._http, "the-secret", "GATE-1")
        self._log = AccessLog(options["folder"], _SIZE, clock, self._lines.append)
        self._uploader = Uploader(self._client, self._log, clock, self._lines.append, _WAIT_S)

    async def restart(self, seconds):
        """Lose the power for so many seconds."""
        self._http.close()
        self._start(self._clock.seconds() + seconds)

    async def set_clock(self):
        """The time becomes known, and the log has a look at it."""
        self._clock.is_set = True
        self._log.tick()

    async def move(self, seconds):
        """Let time go by."""
        self._clock.move(seconds)

    async def append(self, source, state, reason, code):
        """Keep an entry. code: in hex."""
        self._noted.append(self._clock.seconds())
        self._log.append(source, state, reason, bytes.fromhex(code))

    async def poll(self, in_vain=False):
        """Poll, as a reader does before any upload."""
        try:
            await self._client.sync(0, NoChanges())
        except (NetError, AnswerError):
            if not in_vain:
                raise
        else:
            assert not in_vain
        self._knew.append(self._client.from_hub)

    async def send(self, *meanwhile):
        """Send as soon as it is due, or the latest after a day.

        meanwhile: arguments of `append`, for entries that come while it is being sent.
        """
        clock = self._clock
        moved = 0
        while not self._uploader.due(clock.uptime()) and moved < _MOST:
            clock.move(1 if moved < 600 else 60)
            moved += 1 if moved < 600 else 60
        if moved < _MOST:
            sending = asyncio.create_task(self._uploader.send())
            for entry in meanwhile:
                await asyncio.sleep(0.2)
                await self.append(*entry)
            await sending
        self.uploads.append([moved < _MOST, self._uploader.error, self._lines[:]])
        del self._lines[:]

    async def send_all(self, most, polls=False):
        """Send until nothing is due any more, at most so often. polls: poll before each time."""
        for _ in range(most + 1):
            if polls:
                await self.poll()
            await self.send()
            if not self.uploads[-1][0]:
                return
        raise ValueError("there is still something to send")

    def outcome(self):
        """Return what came of it."""
        return {
            "uploads": self.uploads,
            "noted": self._noted,
            "from_hub": self._knew,
            "id": self._log.id,
            "last": self._log.log.last,
            "mark": self._log.log.acked,
            "damaged": self._log.log.damaged,
            "lost": self._log.log.lost,
        }


async def run(options):
    """Take the steps; return what came of them."""
    reader = Reader(options)
    for step in options["steps"]:
        await getattr(reader, step[0])(*step[1:])
    return reader.outcome()


if __name__ == "__main__":
    given = json.loads(sys.stdin.readline())
    print(json.dumps(piped_time.run(lambda: run(given), piped_time.Stdin())))
