"""A file system that fails at the k-th operation that writes: stands between table and files."""

import os

from kalitka.table import manifest

_ENOSPC = 28


class FailingFiles:
    """`with FailingFiles(k, for_ever):` the k-th write operation raises OSError.

    Opening to write, writing, closing what was written and renaming count. With `for_ever` all
    that come after the k-th fail, too. `count` is how many there were.
    """

    def __init__(self, at, for_ever=False):
        self._at = at
        self._for_ever = for_ever
        self.count = 0

    def __enter__(self):
        # Now: a poller forgets the modules, and the table loads them anew.
        from kalitka.table import full_change, incremental_change, sorter

        self._modules = (full_change, incremental_change, manifest, sorter)
        for module in self._modules:
            module.open = self._open
        manifest.os = self
        return self

    def __exit__(self, kind, error, trace):
        for module in self._modules:
            del module.open
        manifest.os = os

    def step(self):
        """One operation."""
        self.count += 1
        if self.count == self._at or (self._for_ever and self.count > self._at):
            raise OSError(_ENOSPC)

    def rename(self, old, new):
        """In the place of os.rename."""
        self.step()
        os.rename(old, new)

    def _open(self, path, mode="r"):
        self.step()
        return _File(self, path, mode)


class _File:
    def __init__(self, files, path, mode):
        self._files = files
        self._file = open(path, mode)  # noqa: SIM115 - closed by whoever opened this one

    def write(self, data):
        self._files.step()
        return self._file.write(data)

    def read(self, count):
        return self._file.read(count)

    def seek(self, at):
        return self._file.seek(at)

    def readinto(self, buf):
        return self._file.readinto(buf)

    def close(self):
        self._file.close()
        self._files.step()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self._file.close()
        if error is None:
            self._files.step()
