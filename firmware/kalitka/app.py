"""The application: what the chip runs, for ever.

Promises: a fault in one part ends neither the others nor this; cards are decided on from the
first second, with or without a network. `startup` builds the parts.
"""

import asyncio
import gc

import board

import kalitka
from kalitka.system.clock import Uptime

_RESTART_S = 1  # before a task that failed begins again
_uptime = Uptime()


def report(text: str) -> None:
    """Write a line to the console, with the seconds since the start."""
    _uptime.update()
    # No float, which has 24 bits on the chip: enough for milliseconds in the first hours only.
    print("%3d.%03d %s" % (_uptime.seconds, _uptime.millis, text))


async def supervise(name: str, run, arguments: tuple) -> None:
    """Run the coroutine function `run` again and again, whatever it raises."""
    while True:
        try:
            await run(*arguments)
            return
        except Exception as e:  # nothing that a part does may end the reader
            gc.collect()
            try:
                report("%s: failed, starts again: %s %s" % (name, type(e).__name__, e))
            except Exception:  # not even the want of memory for these words
                pass
        await asyncio.sleep(_RESTART_S)


def main() -> None:
    """Run the reader; returns only if it is interrupted from the console."""
    report("kalitka %s on %s" % (kalitka.VERSION, board.NAME))
    from kalitka import settings

    config = settings.load(report)
    del settings
    kalitka.unload("settings")
    gc.collect()
    from kalitka import startup

    lock = startup.make_lock(config)
    try:
        tasks = startup.make_tasks(config, lock, _uptime, report)
        # Needed at the start only: kilobytes that a sync can use.
        del startup, config
        kalitka.unload("startup", "sync.address", "system.nvs")
        asyncio.run(_run(tasks))
    finally:
        # asyncio.run does not cancel tasks here, so the lock may still be open.
        lock.shut()


async def _run(tasks):
    last = tasks.pop()
    for i, task in enumerate(tasks):
        # Kept in the list: a task that nobody refers to might be collected.
        tasks[i] = asyncio.create_task(supervise(*task))
    del task
    gc.collect()
    report("ready")
    report(_memory())
    await supervise(*last)


def _memory():
    # Python's heap and the chip's, which Wi-Fi and TLS live on, in words; `deploy` reads them.
    words = "memory: %d bytes free for Python" % gc.mem_free()
    try:
        from esp32 import HEAP_DATA, idf_heap_info

        regions = idf_heap_info(HEAP_DATA)
        free = sum(region[1] for region in regions), max(region[2] for region in regions)
        return words + ", %d for Wi-Fi and TLS, %d of them in one piece" % free
    except Exception:  # a port without it, or no memory for it
        return words
