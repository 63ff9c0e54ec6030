"""Measures what one would write instead: readline, split, a dict, saved as JSON."""

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


def load(path):
    """Return {code: [rule, ...]} of an answer."""
    table = {}
    with open(path) as body:
        body.readline()
        for line in body:
            code, rule = line.strip().split("_/")
            table.setdefault(code, []).append(rule)
    return table


def main():
    """Print the figures of one table size."""
    gc.collect()
    idle = gc.mem_alloc()
    counts = chip.counts()
    began = time.ticks_ms()
    table = load(sys.argv[2])
    with open("/flash/table.new", "w") as file:
        json.dump(table, file)
    os.rename("/flash/table.new", "/flash/table.json")
    millis = time.ticks_diff(time.ticks_ms(), began)
    gc.collect()
    memory = gc.mem_alloc() - idle
    with open(sys.argv[3]) as file:
        codes = file.read().split()
    began = time.ticks_us()
    for code in codes:
        if not table[code]:
            raise ValueError(code)
    micros = time.ticks_diff(time.ticks_us(), began) / len(codes)
    print(
        json.dumps(
            {
                "sync_ms": millis,
                "sync_heap": memory,
                "memory": memory,
                "flash": os.stat("/flash/table.json")[6],
                "programmed": chip.counts()["programmed"] - counts["programmed"],
                "erases": chip.counts()["erases"] - counts["erases"],
                "again_programs": None,
                "lookup_us": micros,
            }
        )
    )


main()
