"""Dates of the exchange: text such as `2026-11-21T18:56:42` in UTC, and microseconds since 1970.

The client sends seconds without a zone; a fraction, `Z` and an offset such as `+03:00` are
accepted too. Source: kormitel.md, "from_date".
"""

import re
from datetime import UTC, datetime, timedelta

from kalitka_hub.errors import InvalidRequest

SECOND = 1_000_000  # microseconds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)
# In a query string an unencoded plus arrives as a blank: so a blank before an offset is a plus.
_FORM = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?)(Z|[+ -]\d\d:?\d\d)?", re.ASCII)


def micros_of(text: str) -> int:
    """Return the microseconds since 1970 UTC of a date. Raises InvalidRequest."""
    match = _FORM.fullmatch(text)
    try:
        if match is None:
            raise ValueError("unknown form")
        time = datetime.fromisoformat(match[1] + (match[2] or "Z").replace(" ", "+"))
        time = time.astimezone(UTC)
    except (ValueError, OverflowError) as fault:
        raise InvalidRequest(
            f"{text[:40]!r} is not a valid date: {fault}; write it like 2026-11-21T18:56:42, in "
            "UTC, or with an offset: 2026-11-21T21:56:42+03:00; a fraction and Z are accepted too"
        ) from fault
    return (time - _EPOCH) // _MICRO


def utc_text(micros: int) -> str:
    """Return microseconds since 1970 UTC as `2026-11-21T18:56:42.123456Z`."""
    time = _EPOCH + micros * _MICRO
    return f"{time:%Y-%m-%dT%H:%M:%S.%fZ}".rjust(27, "0")
