"""Runs a script from a ROM image, as a board runs firmware from flash; run by MicroPython as

in_rom.py IMAGE SCRIPT ARGUMENT ...
"""

import os
import sys

import vfs

_path = sys.argv.pop(1)
_image = bytearray(os.stat(_path)[6])
with open(_path, "rb") as _file:
    _file.readinto(_image)
vfs.mount(vfs.VfsRom(_image), "/rom")
sys.path[:] = ["/rom/lib", ".frozen"]
__import__(sys.argv.pop(1))
