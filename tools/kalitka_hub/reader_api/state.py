"""The state that the request handlers of one server process share."""

from asyncio import Semaphore
from dataclasses import dataclass, field
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
ANSWER_SECONDS = 600  # for a reader to receive its answer; the snapshot is held as long


@dataclass(frozen=True)
class HubState:
    """The parts of one server process. zone: a valid POSIX TZ string.

    authenticator: batches the authentication of requests. log_writer: batches the storing of
    access logs. long_logs: limits how many long logs are in memory at a time.
    """

    database: Database
    zone: str
    last_seen: LastSeen = field(default_factory=LastSeen)
    answer_seconds: float = ANSWER_SECONDS
    long_logs: Semaphore = field(default_factory=partial(Semaphore, LONG_LOGS_MAX))
    minute_updater: MinuteUpdater = field(init=False)
    authenticator: Batcher[ReaderRequest, AuthenticatedReader | None] = field(init=False)
    log_writer: Batcher[ReceivedBatch, int] = field(init=False)

    def __post_init__(self) -> None:
        authenticator = Batcher(
            partial(reader_auth.authenticate, self.database), reader_auth.REQUESTS_MAX
        )
        log_writer = Batcher(
            partial(access_log.store_batches, self.database), access_log.BATCHES_MAX
        )
        object.__setattr__(self, "minute_updater", MinuteUpdater(self.database, self.last_seen))
        object.__setattr__(self, "authenticator", authenticator)
        object.__setattr__(self, "log_writer", log_writer)


def state_of(request: Request) -> HubState:
    """Return the state of the hub that handles this request (a FastAPI dependency)."""
    return request.app.state.hub
