"""Measures one program's access log; run by MicroPython as

    measure_log PROGRAM FLASH WHAT COUNT

PROGRAM: a module with a class Program, whose `append` saves an entry. FLASH: the file of the
flash, which is copied to memory and changed by `fill` and `upload` only; a blank one is formatted.
WHAT: a function of this module. Prints figures as `harness` describes.
"""

import gc
import sys
import time

from harness import Chip, mount, print_figures, run
from ram_flash import RamFlash

_BEGAN = 1793100000  # seconds since 1970 UTC
_EACH_S = 17  # between two entries: 5,000 a day
_SCATTER = 2654435761  # any odd factor gives each number another code


def _append(program, number):
    program.append(_BEGAN + number * _EACH_S, b"%08X" % (number * _SCATTER & 0xFFFFFFFF))


def fill(program, chip, count):
    """Fill the log until entries are evicted, append `count` more, and save the flash.

    held: the fewest entries in the log since the first eviction.
    """
    number = 0
    while program.count() == number:
        _append(program, number)
        number += 1
    held = program.count()
    for more in range(count):
        _append(program, number + more)
        held = min(held, program.count())
    chip.save(sys.argv[2])
    print_figures({"held": held})


def times(program, _chip, count):
    """Print the microseconds per entry."""
    gc.collect()
    began = time.ticks_us()
    for number in range(count):
        _append(program, number)
    print_figures({"us": time.ticks_diff(time.ticks_us(), began) / count})


def appends(program, chip, count):
    """Print the flash operations per entry, and the most worn block's erases over the mean."""
    before = chip.counts()
    for number in range(count):
        _append(program, number)
    _print_counts(_difference(before, chip), count, chip)


def passes(program, chip, count):
    """Print the same per entry that is acknowledged at once, and per acknowledgement alone."""
    marks = {}
    before = chip.counts()
    for number in range(count):
        _append(program, number)
        after_append = chip.counts()
        program.acknowledge()
        for name, more in _difference(after_append, chip).items():
            marks[name] = marks.get(name, 0) + more
    _print_counts(_difference(before, chip), count, chip)
    _print_counts(marks, count, chip)


def _difference(before, chip):
    return {name: now - before[name] for name, now in chip.counts().items()}


def _print_counts(counts, count, chip):
    figures = {name: total / count for name, total in counts.items()}
    figures["spread"] = max(chip.wear) * len(chip.wear) / sum(chip.wear)
    print_figures(figures)


def upload(program, chip, count):
    """Send `count` entries. The flash stays in its file, because all memory is measured.

    over_idle: the peak heap of the upload, beyond that before. read: bytes read from the flash.
    """
    program.leave_unsent(count)
    seen = []

    def sample():
        gc.collect()
        used = gc.mem_alloc()
        if len(seen) < 2:
            seen.append(used)
        seen[-1] = max(seen[-1], used)

    gc.collect()
    before = chip.read_bytes
    sent = program.upload(sample)
    if sent != count:
        raise ValueError(f"sent {sent}")
    print_figures({"over_idle": seen[1] - seen[0], "read": chip.read_bytes - before})


def main():
    """Run the measurement of the command line."""
    name, path, what, count = sys.argv[1:5]
    chip = Chip(path) if what == "upload" else RamFlash(path)
    mount(chip)
    make = __import__(name).Program
    gc.collect()
    bare = gc.mem_alloc()
    program = make("/flash")
    gc.collect()
    print_figures({"memory": gc.mem_alloc() - bare})
    globals()[what](program, chip, int(count))
    program.close()


run(main)
