"""Kalitka: the firmware of an offline token reader (ESP32, MicroPython 1.24 and later).

Who knows whom: `access` and `sync.answer` are pure; `table` knows files; `sync` knows the
server; `hardware` and `system` know the chip; only `app` knows them all.

What is needed now and then only (a change of the table, an upload, a look-up, the clock) is
imported where it is needed, and unloaded afterwards: its memory is a sync's in between.
"""

import sys

VERSION = "0.1.0"


def unload(*names: str) -> None:
    """Unload modules of this package, each named as `sync.upload`, if they are loaded.

    What still uses something of them keeps it; the rest comes back with the next collection. The
    next import loads them anew.
    """
    for name in names:
        package, _, module = ("kalitka." + name).rpartition(".")
        if sys.modules.pop(package + "." + module, None):
            delattr(sys.modules[package], module)
