"""Makes a file system in a flash that has none, or none that mounts any more.

Frozen images only: takes the place of the port's module of that name, which the port's `_boot.py`
calls when the flash does not mount. The port's own reports a damaged file system for ever. Here
settings and the site's CA come back from the NVS and the table by a full sync; what was in the
access log and not yet sent is lost. Promises: a file system that may only be hidden by a want of
memory or by a passing fault of the flash is never replaced.
"""

import time

import vfs
from flashbdev import bdev

_SECTOR = 4096  # bytes of the first block, which is blank in a new flash
_TRIES = 3
_PAUSE_S = 1
# ENODEV, LFS_ERR_CORRUPT, EINVAL and EIO: no file system was found, or none that LittleFS can
# read. ENOMEM is none of them.
_DAMAGED = (19, 84, 22, 5)


def setup() -> None:
    """Mount the flash as "/", in the end with a new file system. Raises OSError."""
    if _is_blank():
        print("the first start: a file system is made")
    elif _mounts():
        return
    else:
        print("the file system does not mount: a new one is made")
    vfs.VfsLfs2.mkfs(bdev)
    vfs.mount(bdev, "/")


def _is_blank():
    block = bytearray(_SECTOR)
    bdev.readblocks(0, block)
    return block == b"\xff" * _SECTOR


def _mounts():
    for left in range(_TRIES - 1, -1, -1):
        try:
            vfs.mount(bdev, "/")
            return True
        except OSError as e:
            if not left and abs(e.errno or 0) not in _DAMAGED:
                raise
        if left:
            time.sleep(_PAUSE_S)
    return False
