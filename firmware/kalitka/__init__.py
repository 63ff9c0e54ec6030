"""Kalitka: the firmware of an offline token reader (ESP32, MicroPython 1.24 and later).

Dependencies: `access` and `sync.answer` are pure; `table` knows files; `sync` knows the server;
`hardware` and `system` know the chip; only `startup` knows them all.

Modules that are needed only now and then (for a change of the table, an upload, a look-up, the
clock) are imported where they are needed and unloaded afterwards, which frees memory for a sync.
"""

import sys

VERSION = "0.1.0"


def unload(*names: str) -> None:
    """Unload modules of this package, each named as `sync.upload`, if they are loaded.

    The next garbage collection frees their memory, apart from objects still in use. The next
    import loads them anew. Without names only what failed imports left behind is removed.
    """
    for name in names:
        package, _, module = ("kalitka." + name).rpartition(".")
        if sys.modules.pop(package + "." + module, None):
            delattr(sys.modules[package], module)
    # An import that finds no memory for its module leaves the name behind without a module
    # (MicroPython 1.29 does), and each later import of it would fail.
    for name in [name for name in sys.modules if name.startswith("kalitka.")]:
        if not sys.modules.get(name):
            sys.modules.pop(name, None)


async def within(coroutine, seconds: float):
    """Return the result of a coroutine, within `seconds`. However this ends, the coroutine does.

    Raises asyncio.TimeoutError. (An `asyncio.wait_for` that finds no memory raises, and leaves
    behind what it should have waited for: it would go on beside the next try.)
    """
    import asyncio  # not at boot, which comes by here early and wants the memory for the network

    task = asyncio.create_task(coroutine)
    try:
        return await asyncio.wait_for(task, seconds)
    finally:
        task.cancel()
