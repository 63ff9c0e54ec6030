"""The server's log: one event per line, on stderr.

As text for people, or as JSON for log collectors; times are UTC. The log holds no secrets and no
token codes: an event has fields of its own and never quotes the request, and the message of an
unhandled error is left out where it may quote the values being written. No value can break out of
its line: line ends and control characters are escaped. An error that every request repeats, such
as a lost database, is logged once a minute with the number of repeats.
"""

import json
import logging
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from sqlalchemy.exc import DBAPIError

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning"]
REPEAT_SECONDS = 60
_REMEMBERED_MAX = 100  # distinct errors remembered: bounds the filter's memory
_OWN_LOGGER = __name__.partition(".")[0]
_FIELDS = "kalitka_fields"
# Errors of these packages quote values in their messages.
_QUOTING = ("pydantic", "pydantic_core", "fastapi", "sqlalchemy")


def configure(form: LogFormat, level: LogLevel, stream: TextIO | None = None) -> None:
    """Set up this process's log: the hub's events from `level` up, other packages' warnings."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    handler.addFilter(_RepeatFilter())
    logging.root.handlers[:] = [handler]
    # From INFO down SQLAlchemy logs statements with their values.
    logging.root.setLevel(logging.WARNING)
    logging.getLogger(_OWN_LOGGER).setLevel(level.upper())


def event(logger: logging.Logger, level: int, name: str, **fields: Any) -> None:
    """Log an event with its name and fields. level: a level of `logging`."""
    logger.log(level, name, extra={_FIELDS: fields})


def handled_error(logger: logging.Logger, name: str, fault: BaseException) -> None:
    """Log a handled exception as an error: its description, without the values being written."""
    event(logger, logging.ERROR, name, fault=_describe_error(fault))


class _RepeatFilter(logging.Filter):
    """A filter that counts repeats of an error within REPEAT_SECONDS instead of logging them."""

    def __init__(self) -> None:
        super().__init__()
        self._last_logged: dict[str, float] = {}
        self._suppressed: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.ERROR or record.exc_info:
            return True
        fields = getattr(record, _FIELDS, {})
        text = f"{record.getMessage()} {fields}"
        if record.created - self._last_logged.get(text, 0) < REPEAT_SECONDS:
            self._suppressed[text] += 1
            return False
        if len(self._last_logged) >= _REMEMBERED_MAX:
            self._last_logged.clear()
        self._last_logged[text] = record.created
        if untold := self._suppressed.pop(text, 0):
            setattr(record, _FIELDS, {**fields, "untold": untold})
        return True


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(dict(_record_fields(record)), default=str)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        parts = dict(_record_fields(record))
        head = [parts.pop(name) for name in ("time", "level", "event")]
        line = [*head, *(f"{name}={_quoted_value(value)}" for name, value in parts.items())]
        return _printable(" ".join(line))


def _record_fields(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    yield "time", f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
    yield "level", record.levelname.lower()
    yield "event", record.getMessage()
    yield from getattr(record, _FIELDS, {}).items()
    if not record.name.startswith(_OWN_LOGGER):
        yield "logger", record.name
    if record.exc_info and record.exc_info[1]:
        yield from _error_fields(record.exc_info[1])


def _error_fields(fault: BaseException) -> Iterator[tuple[str, Any]]:
    yield "fault", _describe_error(fault)
    cause = fault.__cause__ or fault.__context__
    if cause is not None:
        yield "cause", _describe_error(cause)
    # Innermost frame first: that is where the error was raised.
    frames = reversed(traceback.extract_tb(fault.__traceback__))
    yield "at", " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)


def _describe_error(fault: BaseException) -> str:
    name = type(fault).__name__
    if isinstance(fault, DBAPIError):
        text = str(fault.orig)
    elif type(fault).__module__.partition(".")[0] in _QUOTING:
        return name
    else:
        text = str(fault)
    # Only the first line: PostgreSQL's second line, DETAIL, quotes values.
    return f"{name}: {text.partition(chr(10))[0]}"


def _quoted_value(value: Any) -> str:
    text = str(value)
    plain = text and not any(char in text for char in ' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
