"""The server's log: what happened, an event a line, on stderr.

As text for people, or as JSON for programs that collect logs; the time is UTC. Nothing in it is a
secret, nor a token's code: events have fields of their own instead of what was sent, and of a
fault that nobody handled the message is left out where it may quote what was being written.
Whatever stands in a line stays in that line.
"""

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from sqlalchemy.exc import DBAPIError

Form = Literal["text", "json"]
Level = Literal["debug", "info", "warning"]
_OURS = __name__.partition(".")[0]
_FIELDS = "kalitka_fields"
# The messages of these quote values.
_QUOTING = ("pydantic", "pydantic_core", "fastapi", "sqlalchemy")


def configure(form: Form, level: Level, stream: TextIO | None = None) -> None:
    """Have this process log in a form: what the hub says from a level up, and others' warnings."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    logging.root.handlers[:] = [handler]
    # At other levels SQLAlchemy would log statements with what is written.
    logging.root.setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(level.upper())


def event(logger: logging.Logger, level: int, name: str, **fields: Any) -> None:
    """Log an event by its name, with fields that say more. level: as of `logging`."""
    logger.log(level, name, extra={_FIELDS: fields})


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(dict(_parts(record)), default=str)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        parts = dict(_parts(record))
        head = [parts.pop(name) for name in ("time", "level", "event")]
        line = [*head, *(f"{name}={_value(value)}" for name, value in parts.items())]
        return _printable(" ".join(line))


def _parts(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    yield "time", f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
    yield "level", record.levelname.lower()
    yield "event", record.getMessage()
    yield from getattr(record, _FIELDS, {}).items()
    if not record.name.startswith(_OURS):
        yield "logger", record.name
    if record.exc_info and record.exc_info[1]:
        yield from _fault_of(record.exc_info[1])


def _fault_of(fault: BaseException) -> Iterator[tuple[str, Any]]:
    yield "fault", _described(fault)
    cause = fault.__cause__ or fault.__context__
    if cause is not None:
        yield "cause", _described(cause)
    # The innermost first: it says where.
    frames = reversed(traceback.extract_tb(fault.__traceback__))
    yield "at", " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)


def _described(fault: BaseException) -> str:
    name = type(fault).__name__
    if isinstance(fault, DBAPIError):
        text = str(fault.orig)
    elif type(fault).__module__.partition(".")[0] in _QUOTING:
        return name
    else:
        text = str(fault)
    # The first line alone: PostgreSQL's second one, the detail, has values.
    return f"{name}: {text.partition(chr(10))[0]}"


def _value(value: Any) -> str:
    text = str(value)
    plain = text and not any(char in text for char in ' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
