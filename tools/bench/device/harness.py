"""The harness of every measurement: a flash with a file system, and the printed figures.

Figures are printed as one JSON object per line, the last one being {"end": why}: `why` is "" if
everything was measured.
"""

import json

import flash
import vfs

_SIZES = {"readsize": 32, "progsize": 32, "lookahead": 32}  # as the ESP32 port mounts it
_ENOMEM = 12
_ENOSPC = 28


class Chip(flash.Flash):
    """A flash in a file that also counts the bytes read."""

    def __init__(self, path):
        super().__init__(path)
        self.read_bytes = 0

    def readblocks(self, block, buf, offset=0):
        """Read into `buf` from an offset in a block."""
        self.read_bytes += len(buf)
        super().readblocks(block, buf, offset)


def mount(chip):
    """Mount a flash as /flash; a blank one is formatted."""
    try:
        fs = vfs.VfsLfs2(chip, **_SIZES)
    except OSError:
        vfs.VfsLfs2.mkfs(chip, **_SIZES)
        fs = vfs.VfsLfs2(chip, **_SIZES)
    vfs.mount(fs, "/flash")


def print_figures(figures):
    """Print a dict of figures as a line."""
    print(json.dumps(figures))


def run(work):
    """Call `work` and print how it ended. Running out of memory or flash is a figure, too."""
    try:
        work()
        print_figures({"end": ""})
    except MemoryError:
        print_figures({"end": "out of memory"})
    except OSError as e:
        if e.errno == _ENOSPC:
            print_figures({"end": "flash full"})
        elif e.errno == _ENOMEM:
            print_figures({"end": "out of memory"})
        else:
            raise
