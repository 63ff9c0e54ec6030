"""What the durable log costs the flash: counted in a real LittleFS. MicroPython only.

`measure` prints what an append costs, how the erases are spread and what reading takes. The
figures of kalitka/journal/FORMAT.md are its:

    cd host_tests
    MICROPYPATH=../firmware:.:.frozen ../.venv/bin/micropython -X heapsize=16M \\
        device/run_check.py log_wear 'measure(512, 100, 524288, 44000)'
"""

import os

import vfs

from device.power import make_file_system, mount
from device.ramdisk import RamDisk
from kalitka.journal.log import Log

_PLACE = "/wear"


class CountingDisk(RamDisk):
    """A disk that counts. counts: programs, bytes programmed, erases, reads, bytes read."""

    def __init__(self, blocks):
        super().__init__(blocks)
        self.counts = [0] * 5
        self.wear = [0] * blocks  # erases of each block

    def readblocks(self, block, buf, offset=0):
        """Read."""
        self.counts[3] += 1
        self.counts[4] += len(buf)
        super().readblocks(block, buf, offset)

    def writeblocks(self, block, buf, offset=0):
        """Program."""
        self.counts[0] += 1
        self.counts[1] += len(buf)
        super().writeblocks(block, buf, offset)

    def ioctl(self, operation, argument):
        """Erase: counted, and left to programming."""
        if operation == 6:
            self.counts[2] += 1
            self.wear[argument] += 1
            return 0
        return super().ioctl(operation, argument)

    def since(self, before):
        """Return how much was counted since then."""
        return [self.counts[i] - before[i] for i in range(len(before))]


def _record(number, length):
    return b"%0*d" % (length, number)


class _Plain:
    # What one would write instead: a file, and each record appended to it.
    def __init__(self, folder):
        self._name = folder + ".txt"

    def append(self, data):
        with open(self._name, "ab") as file:
            file.write(data)


def _append(log, first, count, length):
    for number in range(first, first + count):
        log.append(_record(number, length))


def costs(blocks, others, size, warm, count, length=20):
    """Return (a disk, its log, its counts before) after so many appends, and `warm` before.

    others: other files in the file system. size: of the log; 0 for a plain file instead.
    """
    disk = CountingDisk(blocks)
    make_file_system(disk)
    mount(disk, _PLACE)
    for number in range(others):
        with open("%s/other%d" % (_PLACE, number), "wb") as file:
            file.write(bytes(3000 if number % 2 else 50))
    log = Log(_PLACE + "/log", size) if size else _Plain(_PLACE + "/log")
    _append(log, 1, warm, length)
    before = disk.counts[:]
    disk.wear = [0] * blocks
    _append(log, warm + 1, count, length)
    return disk, log, before


def unmount():
    """Forget the disk."""
    vfs.umount(_PLACE)


def measure(blocks, others, size, count, length=20):
    """Print what `count` appends cost, after half as many that filled the log."""
    disk, log, before = costs(blocks, others, size, count // 2, count, length)
    try:
        told = [number / count for number in disk.since(before)]
        print(
            "# an append: programs %.2f bytes %.0f erases %.3f reads %.0f bytes %.0f" % tuple(told)
        )
        worn = max(disk.wear)
        print("# erases of a block: %d at most, mean %.1f" % (worn, sum(disk.wear) / blocks))
        if not size:
            return
        # LittleFS counts the two blocks of each of the log's two folders twice.
        free = os.statvfs(_PLACE)[3]
        print("# blocks free %d, records %d, lost %d" % (free, log.last - log.first + 1, log.lost))
        for name, work in (
            ("opening", lambda: Log(_PLACE + "/log", size)),
            ("walking", lambda: _walk(log, length)),
            ("setting the mark", lambda: log.ack(log.last)),
        ):
            before = disk.counts[:]
            work()
            print(
                "# %s: programs %d bytes %d erases %d reads %d bytes %d"
                % ((name,) + tuple(disk.since(before)))
            )
    finally:
        unmount()


def _walk(log, length):
    number = log.first
    for found, data in log.records():
        assert found == number and data == _record(number, length)
        number += 1
    assert number == log.last + 1
