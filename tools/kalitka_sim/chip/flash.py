"""The chip's flash: a block device on a host file, with counts of its operations."""

_BLOCK = 4096
_ERASED = b"\xff" * 256  # made once: on a chip an erase takes none of the firmware's heap


class Flash:
    """A block device for VfsLfs2 on an existing file."""

    def __init__(self, path):
        self._file = open(path, "r+b")
        self._blocks = self._file.seek(0, 2) // _BLOCK
        self.reads = self.programs = self.erases = self.programmed = 0

    def counts(self):
        """Return the counts of reads, programs and erases, and the bytes programmed."""
        return {
            "reads": self.reads,
            "programs": self.programs,
            "erases": self.erases,
            "programmed": self.programmed,
        }

    def readblocks(self, block, buf, offset=0):
        """Read into `buf` from an offset in a block."""
        self.reads += 1
        self._file.seek(block * _BLOCK + offset)
        self._file.readinto(buf)

    def writeblocks(self, block, buf, offset=0):
        """Program `buf` at an offset in a block."""
        self.programs += 1
        self.programmed += len(buf)
        self._file.seek(block * _BLOCK + offset)
        # Not flushed, which would be an fsync: the host keeps the written bytes when this process
        # dies, and a power cut here kills nothing but the process.
        self._file.write(buf)

    def ioctl(self, op, arg):
        """Return the number of blocks or their size, or erase a block."""
        if op == 4:
            return self._blocks
        if op == 5:
            return _BLOCK
        if op == 6:
            self.erases += 1
            self._file.seek(arg * _BLOCK)
            for _ in range(_BLOCK // len(_ERASED)):
                self._file.write(_ERASED)
        return 0
