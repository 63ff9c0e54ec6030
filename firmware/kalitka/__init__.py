"""Kalitka: the firmware of an offline token reader (ESP32, MicroPython 1.24 and later).

Dependencies: `access` and `sync.answer` are pure; `table` knows files; `sync` knows the server;
`hardware` and `system` know the chip; only `startup` knows them all.

Modules that are needed only now and then (for a change of the table, an upload, a look-up, the
clock) are imported where they are needed and unloaded afterwards, which frees memory for a sync.
"""

import sys

VERSION = "0.1.0"


def unload(*names: str) -> None:
    """Unload modules of this package, each named as `sync.upload`, if they are loaded.

    The next garbage collection frees their memory, apart from objects still in use. The next
    import loads them anew.
    """
    for name in names:
        package, _, module = ("kalitka." + name).rpartition(".")
        if sys.modules.pop(package + "." + module, None):
            delattr(sys.modules[package], module)
