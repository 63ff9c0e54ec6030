"""What the handlers of one running hub share."""

from asyncio import Semaphore
from dataclasses import dataclass, field
from functools import partial

from fastapi import Request

from kalitka_hub.reader_api import access_log, reader_auth
from kalitka_hub.reader_api.access_log import Sent
from kalitka_hub.reader_api.batcher import Gathering
from kalitka_hub.reader_api.minute_updater import MinuteKeeper
from kalitka_hub.reader_api.reader_auth import Asker, Asking
from kalitka_hub.store.database import Database
from kalitka_hub.store.last_seen import Sightings

LONG_LOGS = 2  # batches of logs in memory at a time, of those that take much of it
ANSWER_SECONDS = 600  # for a reader to take its answer; its snapshot is held as long


@dataclass(frozen=True)
class HubState:
    """The parts of one server process. `zone` is a POSIX TZ string that was checked.

    askers: where it is looked up who asks. logs: where batches of access logs are stored.
    long_logs: who has a long one waits for it, until that is stored.
    """

    database: Database
    zone: str
    sightings: Sightings = field(default_factory=Sightings)
    answer_seconds: float = ANSWER_SECONDS
    long_logs: Semaphore = field(default_factory=partial(Semaphore, LONG_LOGS))
    minute: MinuteKeeper = field(init=False)
    askers: Gathering[Asking, Asker | None] = field(init=False)
    logs: Gathering[Sent, int] = field(init=False)

    def __post_init__(self) -> None:
        askers = Gathering(partial(reader_auth.look_up, self.database), reader_auth.AT_ONCE)
        logs = Gathering(partial(access_log.store_all, self.database), access_log.AT_ONCE)
        object.__setattr__(self, "minute", MinuteKeeper(self.database, self.sightings))
        object.__setattr__(self, "askers", askers)
        object.__setattr__(self, "logs", logs)


def state_of(request: Request) -> HubState:
    """Return the state of the hub that handles this request (a FastAPI dependency)."""
    return request.app.state.hub
