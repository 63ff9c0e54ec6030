"""A folder to work in, the same on both runtimes.

On CPython a temporary folder, in MicroPython one on a LittleFS of 512 blocks in memory.
"""

import os
import sys

MICROPYTHON = sys.implementation.name == "micropython"

if MICROPYTHON:
    import vfs

    from device.ramdisk import RamDisk

    def mount(path, blocks, data=None):
        """Mount a fresh LittleFS of so many blocks (in `data`) at `path`; returns the path."""
        disk = RamDisk(blocks, data)
        vfs.VfsLfs2.mkfs(disk)
        vfs.mount(vfs.VfsLfs2(disk), path)
        return path

    def unmount(path):
        """Unmount, and forget what was on it."""
        vfs.umount(path)

    _mounted = []
    _made = [0]

    def _make():
        if not _mounted:
            _mounted.append(mount("/flash", 512))
        _made[0] += 1
        path = "/flash/%d" % _made[0]
        os.mkdir(path)
        return path
else:
    from tempfile import mkdtemp as _make


class Folder:
    """`with Folder() as path:` an empty folder, removed at the end with all that is in it."""

    def __enter__(self):
        self.path = _make()
        return self.path

    def __exit__(self, kind, error, trace):
        remove(self.path)


def remove(path):
    """Remove a folder and what is in it, or a file."""
    try:
        names = os.listdir(path)
    except OSError:
        os.remove(path)
        return
    for name in names:
        remove(path + "/" + name)
    os.rmdir(path)


def read(path):
    """Return a file's bytes."""
    with open(path, "rb") as file:
        return file.read()


def write(path, data):
    """Make a file of these bytes."""
    with open(path, "wb") as file:
        file.write(data)


def snapshot(folder):
    """Return all that is in a folder without folders: a dict of name and bytes."""
    return {name: read(folder + "/" + name) for name in os.listdir(folder)}


def restore(folder, files):
    """Make the folder hold these files and no others."""
    for name in os.listdir(folder):
        if name not in files:
            os.remove(folder + "/" + name)
    for name in files:
        write(folder + "/" + name, files[name])
