"""A block device in memory for MicroPython, to mount a real LittleFS on.

Copies in viper code, so that reading from it works while the heap is locked, as it does from
the flash of a board. MicroPython only.
"""

import micropython


@micropython.viper
def _copy(to, at: int, source, begin: int, size: int):
    into = ptr8(to)  # noqa: F821 - a name of viper code
    out_of = ptr8(source)  # noqa: F821
    for i in range(size):
        into[at + i] = out_of[begin + i]


class RamDisk:
    """`blocks` erase blocks of 4096 bytes; in `data` if it is given."""

    SIZE = 4096

    def __init__(self, blocks, data=None):
        self._blocks = blocks
        self._data = bytearray(blocks * self.SIZE) if data is None else data

    def readblocks(self, block, buf, offset=0):
        """Fill `buf` from the offset in the block on."""
        _copy(buf, 0, self._data, block * self.SIZE + offset, len(buf))

    def writeblocks(self, block, buf, offset=None):
        """Program what is erased; without an offset erase the blocks first."""
        _copy(self._data, block * self.SIZE + (offset or 0), buf, 0, len(buf))

    def ioctl(self, operation, _):
        """Tell the geometry; erasing is left to programming."""
        if operation == 4:
            return self._blocks
        if operation == 5:
            return self.SIZE
        return 0
