"""Rule 1 of `store.changes` for a server: raise the acknowledged minute once a minute.

One poll a minute does it for all. It takes the lock that every writer takes, and a writer may be
in a long import: then polls are answered with the old minute. That is safe, because it only makes
the next polls repeat the changes since then. So no reader waits for a writer longer than
WAIT_SECONDS.
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
    """The updater of the acknowledged minute in one server process. For one event loop."""

    def __init__(self, database: Database, last_seen: LastSeen) -> None:
        self._database = database
        self._last_seen = last_seen
        self._updated_minute = 0
        self._task: asyncio.Task[None] | None = None
        self._started = 0.0

    async def update_if_due(self) -> bool:
        """Raise the minute before a poll is answered, waiting at most WAIT_SECONDS for the lock.

        Returns False if no update was due: whatever the caller read before still holds.
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
            # The minute acknowledged, not the clock's: if the clock went backwards they differ,
            # and the next poll has to look again.
            self._updated_minute = await run_in_threadpool(
                acknowledge, self._database, self._last_seen
            )
        except DBAPIError as fault:
            # Polls are still answered, with the old minute, while the database can be read.
            logs.handled_error(_LOG, "the minute could not be written", fault)
        finally:
            self._task = None
