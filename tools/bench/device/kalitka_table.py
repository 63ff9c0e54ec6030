"""Measures the rule table: arguments: flash file, answer file, file of codes; prints JSON.

Without a file of codes: the heap of a sync.
"""

import gc
import json
import os
import sys

import flash
import utime as time
import vfs

chip = flash.Flash(sys.argv[1])
vfs.VfsLfs2.mkfs(chip, readsize=32, progsize=32, lookahead=32)
vfs.mount(vfs.VfsLfs2(chip, readsize=32, progsize=32, lookahead=32), "/flash")

from kalitka.sync.answer import AnswerParser  # noqa: E402
from kalitka.table.table import FOUND, Table  # noqa: E402

_PIECE = 512


class _Sink:
    def __init__(self, transaction):
        self.delete = transaction.delete
        self.rule = transaction.add

    def minute(self, minute):
        pass

    def dropped(self, line, reason):
        raise ValueError(reason)


def sync(table, path, look=lambda: None):
    """Apply an answer as the poller does; `look` is called between any two steps."""
    piece = bytearray(_PIECE)
    transaction = table.begin(True)
    parser = AnswerParser(_Sink(transaction))
    with open(path, "rb") as body:
        while True:
            n = body.readinto(piece)
            if not n:
                break
            parser.feed(piece, n)
            look()
    parser.finish(True)
    for _ in transaction.commit(29921460):
        look()


class HeapWatch:
    """Notes the most that was in use, over what was when it was made. Its looks take time."""

    def __init__(self):
        gc.collect()
        self._idle = gc.mem_alloc()
        self.most = 0

    def look(self):
        """Look now."""
        gc.collect()
        self.most = max(self.most, gc.mem_alloc() - self._idle)


def watch_heap():
    """Print the most heap that a sync uses. In a fresh process: nothing is left over."""
    table = Table("/flash/table")
    watch = HeapWatch()
    sync(table, sys.argv[2], watch.look)
    print(json.dumps({"sync_heap": watch.most}))


def main():
    """Print all other figures of one table size."""
    table = Table("/flash/table")
    counts = chip.counts()
    gc.collect()
    began = time.ticks_ms()
    sync(table, sys.argv[2])
    millis = time.ticks_diff(time.ticks_ms(), began)
    written = {name: chip.counts()[name] - counts[name] for name in counts}
    size = sum(os.stat("/flash/table/" + name)[6] for name in os.listdir("/flash/table"))
    counts = chip.counts()
    sync(table, sys.argv[2])
    again = {name: chip.counts()[name] - counts[name] for name in counts}
    table.close()
    del table
    gc.collect()
    before = gc.mem_alloc()
    table = Table("/flash/table")
    gc.collect()
    memory = gc.mem_alloc() - before
    with open(sys.argv[3], "rb") as file:
        codes = file.read().split()
    gc.collect()
    began = time.ticks_us()
    for code in codes:
        if table.find(code, 8) != FOUND:
            raise ValueError(code)
    micros = time.ticks_diff(time.ticks_us(), began) // len(codes)
    print(
        json.dumps(
            {
                "sync_ms": millis,
                "memory": memory,
                "flash": size,
                "programmed": written["programmed"],
                "erases": written["erases"],
                "again_programs": again["programs"] + again["erases"],
                "lookup_us": micros,
            }
        )
    )


if len(sys.argv) > 3:
    main()
else:
    watch_heap()
