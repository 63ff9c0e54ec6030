"""Measures one program's table; run by MicroPython as

    measure PROGRAM FLASH WHAT ARGUMENT ...

PROGRAM: a module with a class Program, whose `full` and `change` apply an answer in steps. FLASH:
the file of the flash; a blank one is formatted. WHAT: a function of this module. Prints figures as
`harness` describes.
"""

import builtins
import gc
import os
import sys
import time

from harness import Chip, mount, print_figures, run

import micropython

_bare = []  # bytes of heap in use before the table is opened


def _steps(program, sync):
    # sync: "full:PATH" or "change:PATH".
    kind, path = sync.split(":")
    return getattr(program, kind)(path)


def _with_end(steps):
    # Yield at every pause of the work and once more at its end.
    yield from steps
    yield


def syncs(program, chip, arguments):
    """Run syncs one after the other and print the time and flash operations of each."""
    for sync in arguments:
        gc.collect()
        before = chip.counts()
        began = time.ticks_us()
        for _ in _steps(program, sync):
            pass
        figures = {"ms": time.ticks_diff(time.ticks_us(), began) / 1000}
        for name, count in chip.counts().items():
            figures[name] = count - before[name]
        print_figures(figures)


def bare(program, _chip, arguments):
    """Run syncs one after the other without figures: valgrind counts them from outside."""
    gc.collect()
    for sync in arguments:
        for _ in _steps(program, sync):
            pass


def heap(program, _chip, arguments):
    """Run syncs one after the other and print the peak heap of each, between two steps.

    over_idle: beyond the heap before the sync. in_all: beyond the program without a table.
    """
    for sync in arguments:
        gc.collect()
        idle = most = gc.mem_alloc()
        for _ in _with_end(_steps(program, sync)):
            gc.collect()
            most = max(most, gc.mem_alloc())
        print_figures({"over_idle": most - idle, "in_all": most - _bare[0]})


def slices(program, chip, arguments):
    """Run syncs one after the other and print the largest step of each.

    written: bytes written to files. programmed, erases: of the flash, metadata included.
    """
    program = _watch_files(program)
    for sync in arguments:
        gc.collect()
        most = {"written": 0, "programmed": 0, "erases": 0}
        before = _flash_work(chip)
        for _ in _with_end(_steps(program, sync)):
            after = _flash_work(chip)
            for name, largest in most.items():
                most[name] = max(largest, after[name] - before[name])
            before = after
        print_figures(most)


def _flash_work(chip):
    return {"written": _Watched.written, "programmed": chip.programmed, "erases": chip.erases}


def lookups(program, chip, arguments):
    """Look codes up and print the microseconds, flash reads and bytes read per lookup."""
    with open(arguments[0], "rb") as file:
        codes = file.read().split()
    gc.collect()
    reads, read_bytes = chip.reads, chip.read_bytes
    began = time.ticks_us()
    for code in codes:
        if not program.find(code):
            raise ValueError(code)
    micros = time.ticks_diff(time.ticks_us(), began)
    count = len(codes)
    print_figures(
        {
            "us": micros / count,
            "reads": (chip.reads - reads) / count,
            "bytes": (chip.read_bytes - read_bytes) / count,
        }
    )


def bare_lookups(program, _chip, arguments):
    """Look codes up without figures, as `bare`.

    arguments: the file of codes, the repetitions, and "present" if the table has them.
    """
    path, times, there = arguments
    with open(path, "rb") as file:
        codes = file.read().split()
    gc.collect()
    for _ in range(int(times)):
        for code in codes:
            if program.find(code) != (there == "present"):
                raise ValueError(code)


def allocation(program, _chip, arguments):
    """Look codes up and print the heap left behind per lookup, and if it works with a locked heap.

    FLASH is a folder of the host here: the flash's fake would allocate, too.
    """
    with open(arguments[0], "rb") as file:
        codes = file.read().split()
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    for code in codes:
        program.find(code)
    taken = gc.mem_alloc() - before
    gc.enable()
    print_figures({"bytes": taken / len(codes), "locked": _with_the_heap_locked(program, codes)})


def _with_the_heap_locked(program, codes):
    micropython.heap_lock()
    try:
        for code in codes:
            program.find(code)
        return True
    except MemoryError:
        return False
    finally:
        micropython.heap_unlock()


def file_reads(program, _chip, arguments):
    """Look codes up and print the most file reads of a lookup, and the most bytes of a read."""
    with open(arguments[0], "rb") as file:
        codes = file.read().split()
    program = _watch_files(program)
    most = largest = 0
    for code in codes:
        _Watched.reads = _Watched.largest = 0
        if not program.find(code):
            raise ValueError(code)
        most = max(most, _Watched.reads)
        largest = max(largest, _Watched.largest)
    print_figures({"reads": most, "bytes": largest})


def _watch_files(program):
    # Open the program again, with its files watched from now on.
    program.close()
    real = open
    builtins.open = lambda *how: _Watched(real(*how))
    return type(program)("/flash")


class _Watched:
    """A watched open file. The counts are of all watched files."""

    reads = 0
    largest = 0  # bytes of a read
    written = 0

    def __init__(self, file):
        self._file = file
        self.seek = file.seek
        self.flush = file.flush
        self.close = file.close

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def read(self, *size):
        """Read and count."""
        data = self._file.read(*size)
        self._count(len(data))
        return data

    def readinto(self, *where):
        """Read and count."""
        n = self._file.readinto(*where)
        self._count(n)
        return n

    def write(self, data):
        """Write and count."""
        n = self._file.write(data)
        _Watched.written += n
        return n

    def _count(self, n):
        _Watched.reads += 1
        _Watched.largest = max(_Watched.largest, n)


def main():
    """Run the measurement of the command line."""
    name, path, what = sys.argv[1:4]
    chip = None
    if os.stat(path)[0] & 0x8000:
        chip = Chip(path)
        mount(chip)
        path = "/flash"
    make = __import__(name).Program
    gc.collect()
    _bare.append(gc.mem_alloc())
    program = make(path)
    gc.collect()
    print_figures({"memory": gc.mem_alloc() - _bare[0]})
    globals()[what](program, chip, sys.argv[4:])
    program.close()


run(main)
