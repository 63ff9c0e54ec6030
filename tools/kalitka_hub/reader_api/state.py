"""The state that the request handlers of one server process share."""

from asyncio import Semaphore
from collections import Counter
from functools import partial

from fastapi import Request

from kalitka_hub.reader_api import access_log, reader_auth
from kalitka_hub.reader_api.access_log import ReceivedBatch
from kalitka_hub.reader_api.batcher import Batcher
from kalitka_hub.reader_api.minute_updater import MinuteUpdater
from kalitka_hub.reader_api.reader_auth import AuthenticatedReader, ReaderRequest
from kalitka_hub.store.database import Database
from kalitka_hub.store.last_seen import LastSeen

LONG_LOGS_MAX = 2  # long logs in memory at a time: a memory bound


class HubState:
    """The parts of one server process.

    authenticator: batches the authentication of requests. log_writer: batches the storing of
    access logs. long_logs: limits how many long logs are in memory at a time. reader_alarms: what
    readers reported of themselves since the start, in words, with counts.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.last_seen = LastSeen()
        self.reader_alarms: Counter[str] = Counter()
        self.long_logs = Semaphore(LONG_LOGS_MAX)
        self.minute_updater = MinuteUpdater(database, self.last_seen)
        self.authenticator: Batcher[ReaderRequest, AuthenticatedReader | None] = Batcher(
            partial(reader_auth.authenticate, database), reader_auth.REQUESTS_MAX
        )
        self.log_writer: Batcher[ReceivedBatch, int] = Batcher(
            partial(access_log.store_batches, database), access_log.BATCHES_MAX
        )


def state_of(request: Request) -> HubState:
    """Return the state of the hub that handles this request (a FastAPI dependency)."""
    return request.app.state.hub
