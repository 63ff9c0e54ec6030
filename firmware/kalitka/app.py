"""The application: runs the reader's tasks for ever and restarts those that fail.

Promises: a fault in one task stops neither the others nor the reader; cards are decided on from
the first second, with or without a network. `startup` builds the parts.
"""

import asyncio
import gc

import board

import kalitka
from kalitka.system import watchdog
from kalitka.system.clock import Uptime
from micropython import const

_START_S = const(120)  # in which the loops have to turn, else the watchdog restarts the chip
_RESTART_S = const(1)  # from the failure of a task to its restart
_uptime = Uptime()


def report(text: str) -> None:
    """Write a line to the console, with the seconds since the start."""
    _uptime.update()
    # Not a float: its 24 bits on the chip hold milliseconds for the first hours only.
    print("%3d.%03d %s" % (_uptime.seconds, _uptime.millis, text))


async def supervise(name: str, run, arguments: tuple) -> None:
    """Run the coroutine function `run` until it returns; restart it whenever it raises."""
    failed = False
    while True:
        try:
            if failed:  # inside of the `try`: not even the pause may end this task
                await asyncio.sleep(_RESTART_S)
            await run(*arguments)
            return
        except Exception as e:  # no fault of a task may end the reader
            gc.collect()
            try:
                report("%s: failed, starts again: %s %s" % (name, type(e).__name__, e))
                kalitka.unload()  # what an import left behind that found no memory
            except Exception:  # not even a MemoryError while formatting this line
                pass
            failed = True


def main() -> None:
    """Run the reader; return only if it is interrupted from the console."""
    report("kalitka %s on %s" % (kalitka.VERSION, board.NAME))
    watchdog.hold(_START_S)
    from kalitka import settings

    config = settings.load(report)
    del settings
    kalitka.unload("settings")
    gc.collect()
    from kalitka import startup

    lock = startup.make_lock(config)
    try:
        tasks = startup.make_tasks(config, lock, _uptime, report)
        # Needed at the start only; a sync can use these kilobytes.
        del startup, config
        kalitka.unload("startup", "sync.address", "system.console", "system.nvs", "system.starts")
        asyncio.run(_run(tasks))
    finally:
        # asyncio.run does not cancel tasks here, so the lock may still be open.
        lock.shut()


async def _run(tasks):
    last = tasks.pop()
    for i, task in enumerate(tasks):
        # Kept in the list: a task without a reference might be garbage-collected.
        tasks[i] = asyncio.create_task(supervise(*task))
    del task
    gc.collect()
    report("ready")
    report(_memory())
    await supervise(*last)


def _memory():
    # The console line on free memory, in Python's heap and in the chip's, which Wi-Fi and TLS
    # use. `kalitka deploy` parses this line.
    words = "memory: %d bytes free for Python" % gc.mem_free()
    try:
        from esp32 import HEAP_DATA, idf_heap_info

        regions = idf_heap_info(HEAP_DATA)
        free = sum(region[1] for region in regions), max(region[2] for region in regions)
        return words + ", %d for Wi-Fi and TLS, %d of them in one piece" % free
    except Exception:  # a port without it, or no memory for it
        return words
