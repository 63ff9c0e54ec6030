"""`os` of a virtual chip with firmware frozen into its MicroPython, and the frozen firmware.

Frozen modules are in no file system and cannot be listed. Here they are in a ROM image, a host
file that is read into memory as a whole and mounted at a place that `stat` does not see.
"""

import os
from os import *  # noqa: F403 - everything that this MicroPython has

PLACE = "/.frozen"
_ENOENT = 2

image = bytearray(os.stat(os.getenv("KALITKA_CHIP_FROZEN"))[6])
with open(os.getenv("KALITKA_CHIP_FROZEN"), "rb") as _file:
    _file.readinto(image)


def stat(path):
    """Return `os.stat(path)`; the frozen modules do not exist for it."""
    if path.startswith(PLACE):
        raise OSError(_ENOENT)
    return os.stat(path)
