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
from kalitka_hub.clock import current_minute
from kalitka_hub.store.changes import acknowledge
from kalitka_hub.store.database import Database
from kalitka_hub.store.last_seen import LastSeen

WAIT_SECONDS = 1.0
_LOG = logging.getLogger(__name__)


class MinuteUpdater:
    """Raises the minute of one server process. For one event loop."""

    def __init__(self, database: Database, last_seen: LastSeen) -> None:
        self._database = database
        self._last_seen = last_seen
        self._updated_minute = 0
        self._task: asyncio.Task[None] | None = None
        self._started = 0.0

    async def update_if_due(self) -> bool:
        """Update the minute before a poll is answered, unless the lock takes too long.

        Returns False if nothing was due: what was read before still holds.
        """
        minute = current_minute(self._database.clock)
        if minute == self._updated_minute:
            return False
        now = asyncio.get_running_loop().time()
        if self._task is None:
            self._started = now
            self._task = asyncio.create_task(self._update())
        remaining = self._started + WAIT_SECONDS - now
        if remaining > 0:
            await asyncio.wait({self._task}, timeout=remaining)
        return True

    async def _update(self) -> None:
        try:
            # Of a clock that went backwards it is another minute, and there is more to do.
            self._updated_minute = await run_in_threadpool(
                acknowledge, self._database, self._last_seen
            )
        except DBAPIError as fault:
            # Readers are answered all the same, as far as the database can be read.
            logs.handled_error(_LOG, "the minute could not be written", fault)
        finally:
            self._task = None
