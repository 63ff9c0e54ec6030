"""What the handlers of one running hub share."""

from dataclasses import dataclass, field

from fastapi import Request

from .database import Database
from .sightings import Sightings

ANSWER_SECONDS = 600  # for a reader to take its answer; its snapshot is held as long


@dataclass(frozen=True)
class HubState:
    """The parts of one server process. `zone` is a POSIX TZ string that was checked."""

    database: Database
    zone: str
    sightings: Sightings = field(default_factory=Sightings)
    answer_seconds: float = ANSWER_SECONDS


def state_of(request: Request) -> HubState:
    """Return the state of the hub that handles this request (a FastAPI dependency)."""
    return request.app.state.hub
