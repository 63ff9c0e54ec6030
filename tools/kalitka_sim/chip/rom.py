"""`vfs` of a virtual chip with a ROM: the built-in module, and `rom_ioctl` for the ROM partition.

The partition is a host file, read into memory as a whole, as flash is mapped on a chip. As on the
ESP32 it is an object that can be read as memory, and erased and programmed in blocks.
"""

import os

from vfs import VfsFat, VfsLfs1, VfsLfs2, VfsRom, mount, umount

_BLOCK = 4096


class _Rom(bytearray):
    def __init__(self, path):
        super().__init__(os.stat(path)[6])
        self._file = open(path, "r+b")
        self._file.readinto(self)

    def ioctl(self, op, arg):
        """Return the number of blocks or their size, as mpremote asks, or erase a block."""
        if op == 4:
            return len(self) // _BLOCK
        if op == 5:
            return _BLOCK
        if op == 6:
            self.writeblocks(arg, b"\xff" * _BLOCK)
        return 0

    def writeblocks(self, block, buf, offset=0):
        """Program `buf` at an offset in a block."""
        at = block * _BLOCK + offset
        memoryview(self)[at : at + len(buf)] = buf
        self._file.seek(at)
        self._file.write(buf)


partition = _Rom(os.getenv("KALITKA_CHIP_ROM"))


def rom_ioctl(op, segment=0):
    """Return the number of ROM partitions (op 1), or the only one (op 2)."""
    if op == 1:
        return 1
    return partition if op == 2 and segment == 0 else -22
