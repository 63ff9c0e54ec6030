"""The minute that readers are answered, raised once a minute: rule 1 of `changes`, for a server.

One poll a minute does it for all. It takes the lock that every writer takes, and a writer may be
at a long import: then polls are answered with the minute as it is, which is right as well, and
only makes the next ones hear again what changed since. So no reader waits for a writer for longer
than WAIT_SECONDS.
"""

import asyncio
import logging

from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import DBAPIError

from kalitka_hub import logs
from kalitka_hub.clock import minute_of
from kalitka_hub.store.changes import acknowledge
from kalitka_hub.store.database import Database
from kalitka_hub.store.last_seen import Sightings

WAIT_SECONDS = 1.0
_LOG = logging.getLogger(__name__)


class MinuteKeeper:
    """Raises the minute of one server process. For one event loop."""

    def __init__(self, database: Database, sightings: Sightings) -> None:
        self._database = database
        self._sightings = sightings
        self._raised = 0
        self._work: asyncio.Task[None] | None = None
        self._begun = 0.0

    async def keep(self) -> bool:
        """Have the minute raised before a poll is answered, if the lock is to be had in time.

        Returns False if there was nothing to do: what was read before still holds.
        """
        minute = minute_of(self._database.clock)
        if minute == self._raised:
            return False
        now = asyncio.get_running_loop().time()
        if self._work is None:
            self._begun = now
            self._work = asyncio.create_task(self._raise())
        left = self._begun + WAIT_SECONDS - now
        if left > 0:
            await asyncio.wait({self._work}, timeout=left)
        return True

    async def _raise(self) -> None:
        try:
            # Of a clock that went backwards it is another minute, and there is more to do.
            self._raised = await run_in_threadpool(acknowledge, self._database, self._sightings)
        except DBAPIError as fault:
            # Readers are answered all the same, as far as the database can be read.
            logs.fault(_LOG, "the minute could not be written", fault)
        finally:
            self._work = None
