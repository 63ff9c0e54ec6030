"""Imports the first COUNT of MODULE ... and prints the bytes of heap in use afterwards.

    imports.py COUNT MODULE ...

Runs on the 32-bit MicroPython, too, where nothing may be collected before the end: what the
modules take is therefore the difference of two runs.
"""

import gc
import sys

_FORGOTTEN = ("settings", "assembly")  # by the application, once it has started

_count = int(sys.argv[1])
for _name in sys.argv[2 : 2 + _count]:
    __import__(_name)
for _name in _FORGOTTEN:
    if sys.modules.pop("kalitka." + _name, None):
        delattr(sys.modules["kalitka"], _name)
if not hasattr(gc, "in_use"):
    gc.collect()
    print(gc.mem_alloc())
else:
    print(gc.in_use())
