"""`os` of a virtual chip with the firmware frozen into its MicroPython, and that firmware.

What is frozen lies in no file system, and nothing of it can be looked at. Here it is a ROM image,
a host file that is read into memory as a whole and mounted at a place that `stat` does not see.
"""

import os
from os import *  # noqa: F403 - whatever this MicroPython has

PLACE = "/.frozen"
_ENOENT = 2

image = bytearray(os.stat(os.getenv("KALITKA_CHIP_FROZEN"))[6])
with open(os.getenv("KALITKA_CHIP_FROZEN"), "rb") as _file:
    _file.readinto(image)


def stat(path):
    """Return what `os.stat` does, but know nothing of what is frozen."""
    if path.startswith(PLACE):
        raise OSError(_ENOENT)
    return os.stat(path)
