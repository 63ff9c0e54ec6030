"""Counts the starts that did not last five minutes; three in a row lead to safe mode.

Promises: a start with power, or Ctrl-C at the console, begins the count anew, so a technician
never meets safe mode; the NVS is written only for the start after a crash. In safe mode the reader
decides on cards with the table that it has; its network hardware stays off, and after an hour it
tries again. Unloaded after the start, but for its task.
"""

import asyncio

from machine import HARD_RESET, PWRON_RESET, WDT_RESET, reset, reset_cause

from kalitka.system import nvs
from micropython import const

_LASTING_S = const(300)
_SAFE_S = const(3600)
_MOST = const(3)
# The key in the NVS. Do not rename: readers in the field have it.
_KEY = const("starts")


def begin() -> bool:
    """Count this start, from boot.py; return as `is_safe` does."""
    count = _load()
    cause = reset_cause()
    if cause == PWRON_RESET:
        count = 0
    elif cause in (HARD_RESET, WDT_RESET):  # main.py resets after an exception, a panic as well
        count += 1
    _save(min(count, _MOST))
    return count >= _MOST


def is_safe() -> bool:
    """Return whether this start has to be one in safe mode."""
    return _load() >= _MOST


def end() -> None:
    """Begin the count anew."""
    _save(0)


async def run(safe: bool) -> None:
    """Wait until this start has lasted; in safe mode then restart the chip. safe: see `begin`."""
    await asyncio.sleep(_SAFE_S if safe else _LASTING_S)
    end()
    if safe:
        reset()


def _load():
    kept = nvs.load(_KEY, 1)
    return kept[0] if kept else 0


def _save(count):
    if count != _load():
        nvs.save(_KEY, bytes((count,)), 1)
