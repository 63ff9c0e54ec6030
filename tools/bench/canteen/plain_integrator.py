"""A plain integrator, as written in an evening, to measure Kalitka against.

FastAPI and SQLAlchemy as in their tutorials: one table of objects and a session per request.
Changed objects are read as models and answered as JSON; a posted item is looked up, merged and
written. The integrator supports both shapes for valid requests, and nothing else: no dates of
fields, no rules for readers, no withheld objects, no promise that no change is missed.
"""

import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import uvicorn
from fastapi import Body, Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from sqlalchemy import JSON, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

GROUPS = ("badges", "arrivals", "engagements", "persons", "directions")


class Base(DeclarativeBase):
    """The base of the models, with their metadata."""


class Thing(Base):
    """An object of a group. created, changed: seconds since 1970 UTC."""

    __tablename__ = "things"
    group: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    created: Mapped[float]
    changed: Mapped[float] = mapped_column(index=True)
    deleted: Mapped[bool] = mapped_column(default=False)


app = FastAPI()
basic = HTTPBasic()


def session(
    request: Request, credentials: Annotated[HTTPBasicCredentials, Depends(basic)]
) -> Iterator[Session]:
    """Open a session for an authenticated request. Raises 401."""
    if not secrets.compare_digest(credentials.password, request.app.state.secret):
        raise HTTPException(401)
    with Session(request.app.state.engine) as opened:
        yield opened


Db = Annotated[Session, Depends(session)]


@app.get("/api/v1/feeder/sync")
def flat(db: Db, from_date: datetime | None = None) -> dict[str, Any]:
    """Return the changes in the flat shape."""
    answer: dict[str, Any] = {group: [] for group in GROUPS}
    for thing in _changed(db, from_date):
        answer[thing.group].append({**thing.data, "id": thing.id, "deleted": thing.deleted})
    return answer


@app.get("/sync")
def grouped(db: Db, from_date: datetime | None = None) -> dict[str, Any]:
    """Return the changes in the grouped shape."""
    since = from_date.timestamp() if from_date else 0
    answer: dict[str, Any] = {
        group: {"inserted": [], "updated": [], "deleted": []} for group in GROUPS
    }
    for thing in _changed(db, from_date):
        if thing.deleted:
            answer[thing.group]["deleted"].append(thing.id)
        else:
            kind = "inserted" if thing.created >= since else "updated"
            answer[thing.group][kind].append({**thing.data, "id": thing.id})
    return answer


@app.post("/api/v1/feeder/back-sync")
def back_sync(db: Db, groups: Annotated[dict[str, Any], Body()]) -> dict[str, int]:
    """Apply changes; return their number by group."""
    taken: dict[str, int] = defaultdict(int)
    for group, items in groups.items():
        for item in items:
            data = dict(item["data"])
            key, deleted = data.pop("id"), data.pop("deleted", False)
            thing = db.get(Thing, (group, key))
            now = time.time()
            if thing is None:
                thing = Thing(group=group, id=key, data={}, created=now, changed=now)
                db.add(thing)
            thing.data = {**thing.data, **data}
            thing.changed, thing.deleted = now, deleted
            taken[group] += 1
    db.commit()
    return taken


def _changed(db: Session, since: datetime | None) -> Iterator[Thing]:
    wanted = select(Thing)
    if since is not None:
        wanted = wanted.where(Thing.changed >= since.timestamp())
    yield from db.scalars(wanted)


if __name__ == "__main__":
    path, app.state.secret, port = sys.argv[1:]
    app.state.engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(app.state.engine)
    uvicorn.run(app, port=int(port), log_level="warning", timeout_keep_alive=75)
