"""A flash under logs and settings that fails where it is asked to, the same everywhere.

Stands between their modules and the files. As in LittleFS a file that is written is the old one
until it is closed, and one that is new is there, empty, as soon as it is opened.
"""

import os

from kalitka import settings
from kalitka.journal import access_log, log

_MODULES = (access_log, log, settings)
_WITH_OS = (log, settings)
EIO = 5
ENOSPC = 28


class FailingFlash:
    """`with FailingFlash() as flash:` a flash that works, until told otherwise.

    bad_reads, bad_writes: the numbers of the operations that raise OSError (`errno`); whatever
    `in` takes. named: only operations on files whose name ends so are counted, and fail.
    done: what is written has been done all the same when it fails.
    reads, writes: how many there were since `count`. Reads are: listing, asking for a size,
    opening to read, reading. Writes are: making a file or a folder, closing what was written,
    removing, renaming.
    """

    def __init__(self):
        self.count()

    def count(self, reads=(), writes=(), done=False, errno=EIO, named=""):
        """Count from 0 again, and fail at these ones."""
        self.reads = self.writes = 0
        self.bad_reads = reads
        self.bad_writes = writes
        self.done = done
        self.errno = errno
        self.named = named

    def __enter__(self):
        for module in _MODULES:
            module.open = self._open
        for module in _WITH_OS:
            module.os = self
        return self

    def __exit__(self, kind, error, trace):
        for module in _MODULES:
            del module.open
        for module in _WITH_OS:
            module.os = os

    def read(self, name):
        """One operation that reads."""
        if name.endswith(self.named):
            self.reads += 1
            if self.reads in self.bad_reads:
                raise OSError(self.errno)

    def write(self, name, work, *arguments):
        """One operation that writes, which is to do this work."""
        if not name.endswith(self.named):
            return work(*arguments)
        self.writes += 1
        fails = self.writes in self.bad_writes
        if self.done or not fails:
            work(*arguments)
        if fails:
            raise OSError(self.errno)

    def __getattr__(self, name):
        return getattr(os, name)  # whatever else is wanted of it

    def listdir(self, name):
        """In the place of os.listdir."""
        self.read(name)
        return os.listdir(name)

    def stat(self, name):
        """In the place of os.stat: what it tells stands in the folder, not in the file."""
        self.read(name[: name.rfind("/")])
        return os.stat(name)

    def mkdir(self, name):
        """In the place of os.mkdir."""
        self.write(name, os.mkdir, name)

    def remove(self, name):
        """In the place of os.remove."""
        self.write(name, os.remove, name)

    def rename(self, old, new):
        """In the place of os.rename."""
        self.write(new, os.rename, old, new)

    def _open(self, name, mode="r"):
        if mode == "rb":
            self.read(name)
            return _Read(self, name)
        try:
            os.stat(name)
        except OSError:
            self.write(name, _put, name, "wb", b"")
        return _Written(self, name, mode)


class Always:
    """Every number."""

    def __contains__(self, number):
        return True


class _Read:
    def __init__(self, flash, name):
        self._flash = flash
        self._name = name
        self._file = open(name, "rb")  # noqa: SIM115 - closed by whoever opened this one

    def seek(self, *to):
        return self._file.seek(*to)

    def readinto(self, buf):
        self._flash.read(self._name)
        return self._file.readinto(buf)

    def read(self, size):
        self._flash.read(self._name)
        return self._file.read(size)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self._file.close()


class _Written:
    def __init__(self, flash, name, mode):
        self._flash = flash
        self._name = name
        self._mode = mode
        self._data = b""
        self._closed = False

    def write(self, data):
        self._data += bytes(data)
        return len(data)

    def close(self):
        if not self._closed:
            self._closed = True
            self._flash.write(self._name, _put, self._name, self._mode, self._data)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close()


def _put(name, mode, data):
    with open(name, mode) as file:
        file.write(data)
