"""Measures the rule table: arguments: flash file, answer file, file of codes; prints JSON."""

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


def sync(table, path):
    """Apply an answer as the poller does; return (milliseconds, peak of the heap over idle)."""
    gc.collect()
    idle = peak = gc.mem_alloc()
    piece = bytearray(_PIECE)
    began = time.ticks_ms()
    transaction = table.begin(True)
    parser = AnswerParser(_Sink(transaction))
    looks = 0
    with open(path, "rb") as body:
        while True:
            n = body.readinto(piece)
            if not n:
                break
            parser.feed(piece, n)
            looks += 1
            if looks % 20 == 0:
                gc.collect()
                peak = max(peak, gc.mem_alloc())
    parser.finish(True)
    for _ in transaction.commit(29921460):
        looks += 1
        if looks % 20 == 0:
            gc.collect()
            peak = max(peak, gc.mem_alloc())
    return time.ticks_diff(time.ticks_ms(), began), peak - idle


def main():
    """Print the figures of one table size."""
    gc.collect()
    before = gc.mem_alloc()
    table = Table("/flash/table")
    counts = chip.counts()
    millis, peak = sync(table, sys.argv[2])
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
                "sync_heap": peak,
                "memory": memory,
                "flash": size,
                "programmed": written["programmed"],
                "erases": written["erases"],
                "again_programs": again["programs"] + again["erases"],
                "lookup_us": micros,
            }
        )
    )


main()
