"""A plain hub, written in an evening, to be measured beside ours.

FastAPI and SQLAlchemy as in their tutorials: a session per request, in which the reader is looked
up, and the changes read as objects and joined to one string. It has the same API for valid
requests and nothing else: no groups, no people, no guarantee that a reader misses no change.
"""

import sys
import time
from collections.abc import Iterator
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import PlainTextResponse
from sqlalchemy import create_engine, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    """The base of the models."""


class Reader(Base):
    """A reader."""

    __tablename__ = "readers"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
    last_seen: Mapped[int] = mapped_column(default=0)


class Token(Base):
    """A token with its single rule. changed: the minute of its last change."""

    __tablename__ = "tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
    rule: Mapped[str]
    changed: Mapped[int] = mapped_column(index=True)


class Entry(Base):
    """An entry of the access log."""

    __tablename__ = "entries"
    id: Mapped[int] = mapped_column(primary_key=True)
    reader: Mapped[str]
    at: Mapped[int] = mapped_column(index=True)
    code: Mapped[str]
    state: Mapped[int]


app = FastAPI()


def session(request: Request) -> Iterator[Session]:
    """Open a session for a request."""
    with Session(request.app.state.engine) as opened:
        yield opened


Db = Annotated[Session, Depends(session)]


def reader(
    request: Request,
    db: Db,
    token: Annotated[str, Header(alias="X-AuthToken")],
    code: Annotated[str, Header(alias="X-AuthReader")],
) -> Reader:
    """Return the reader that sends the request."""
    found = db.scalars(select(Reader).where(Reader.code == code)).first()
    if found is None or token != request.app.state.secret:
        raise HTTPException(403)
    return found


async def body_of(request: Request) -> bytes:
    """Return the body of a request."""
    return await request.body()


Asking = Annotated[Reader, Depends(reader)]
Body = Annotated[bytes, Depends(body_of)]


@app.post("/api/v1/token-reader/access-tokens/sync", response_class=PlainTextResponse)
def sync(db: Db, _asking: Asking, body: Body) -> str:
    """Return the changes since a minute."""
    since = int(body.split(b"%")[0])
    changed = db.scalars(select(Token).where(Token.changed >= since).order_by(Token.code)).all()
    codes = ",".join(token.code for token in changed)
    rules = "\n".join(f"{token.code}_/{token.rule}" for token in changed)
    return f"{int(time.time() // 60)}%{codes}%\n{rules}"


@app.post("/api/v1/token-reader/access-logs", response_class=PlainTextResponse)
def logs(db: Db, asking: Asking, body: Body) -> str:
    """Store entries."""
    entries = [piece.split("_") for piece in body.decode().split(",")]
    db.add_all(
        Entry(reader=asking.code, at=int(at), code=code, state=int(state))
        for at, code, state in entries
    )
    db.commit()
    return "ok"


def fill(path: str, readers: int, codes: list[str], rule: str) -> None:
    """Create the database, with readers GATE-0, GATE-1 and so on, and a token for each code."""
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    with Session(engine) as db:
        db.execute(insert(Reader), [{"code": f"GATE-{i}"} for i in range(readers)])
        rows = [{"code": code, "rule": rule, "changed": 1} for code in codes]
        db.execute(insert(Token), rows)
        db.commit()
    engine.dispose()


def change(path: str, code: str) -> None:
    """Stamp a token as changed in this minute."""
    engine = create_engine(f"sqlite:///{path}")
    with Session(engine) as db:
        found = db.scalars(select(Token).where(Token.code == code)).one()
        found.changed = int(time.time() // 60)
        db.commit()
    engine.dispose()


if __name__ == "__main__":
    path, app.state.secret, port = sys.argv[1:]
    app.state.engine = create_engine(f"sqlite:///{path}")
    uvicorn.run(app, port=int(port), log_level="warning", timeout_keep_alive=75)
