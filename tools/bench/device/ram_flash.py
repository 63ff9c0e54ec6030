"""A flash in memory that counts its wear, and whose operations take no system call's time."""

import os
from array import array

_BLOCK = 4096


class RamFlash:
    """A copy of the flash in a file. wear: the erases of each block."""

    def __init__(self, path):
        data = bytearray(os.stat(path)[6])
        with open(path, "rb") as file:
            file.readinto(data)
        self._view = memoryview(data)
        self.wear = array("H", bytes(len(data) // _BLOCK * 2))
        self._counts = {"programs": 0, "programmed": 0, "erases": 0}

    def counts(self):
        """Return the counts of programs and erases, and the bytes programmed."""
        return self._counts.copy()

    def save(self, path):
        """Write the flash to a file."""
        with open(path, "wb") as file:
            file.write(self._view)

    def readblocks(self, block, buf, offset=0):
        """Read into `buf` from an offset in a block."""
        at = block * _BLOCK + offset
        buf[:] = self._view[at : at + len(buf)]

    def writeblocks(self, block, buf, offset=0):
        """Program `buf` at an offset in a block."""
        self._counts["programs"] += 1
        self._counts["programmed"] += len(buf)
        at = block * _BLOCK + offset
        self._view[at : at + len(buf)] = buf

    def ioctl(self, op, arg):
        """Return the number of blocks or their size, or count an erase.

        The bytes of an erased block stay: programming overwrites them.
        """
        if op == 4:
            return len(self.wear)
        if op == 5:
            return _BLOCK
        if op == 6:
            self._counts["erases"] += 1
            self.wear[arg] += 1
        return 0
