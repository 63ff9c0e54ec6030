"""The ESP32 port's way from power to main.py, as in its `_boot.py`, `inisetup.py` and `main.c`.

A blank flash gets a new file system. One that does not mount and is not blank is left as it is:
the port reports that for ever, and never reaches boot.py; unless an `inisetup` is frozen in that
takes the place of the port's. main.py runs only after a boot.py that
ended without an exception.
"""

import os
import sys

import utime
import vfs

import micropython

_BLOCK = 4096
_CORRUPTED = "The filesystem appears to be corrupted."
_REPORT_S = 3  # between two such reports
_BOOT_PY = "# Executed at every start, before main.py\n"


def mount(flash, frozen):
    """Mount the flash as "/", make a file system in a blank one, or report for ever.

    frozen: where the frozen modules are, "" for none.
    """
    try:
        vfs.mount(flash, "/")
    except OSError:
        if frozen:
            _run_frozen_setup(flash, frozen)
        elif not _is_blank(flash):
            _report_corruption()
        else:
            print("Performing initial setup")
            vfs.VfsLfs2.mkfs(flash)
            vfs.mount(flash, "/")
            with open("/boot.py", "w") as file:
                file.write(_BOOT_PY)


def _run_frozen_setup(flash, frozen):
    class FlashBdev:
        bdev = flash

    sys.modules["flashbdev"] = FlashBdev
    kept = sys.path[:]
    sys.path[:] = [frozen]
    import inisetup

    sys.path[:] = kept
    inisetup.setup()
    del sys.modules["inisetup"]


def _is_blank(flash):
    block = bytearray(_BLOCK)
    flash.readblocks(0, block)
    return block == b"\xff" * _BLOCK


def _report_corruption():
    # Until Ctrl-C, after which the port goes on without a file system.
    micropython.kbd_intr(3)
    try:
        while True:
            print(_CORRUPTED)
            utime.sleep(_REPORT_S)
    except KeyboardInterrupt as e:
        sys.print_exception(e)


def run(path, names):
    """Run the script `path`, if there is one; return whether it, or nothing, ended well.

    names: the globals of the script (dict). SystemExit, a soft reset, goes through.
    """
    try:
        os.stat(path)
    except OSError:
        return True
    try:
        with open(path) as file:
            # Only the compiled code is kept: a chip does not keep the text, either.
            code = compile(file.read(), path, "exec")
        micropython.kbd_intr(3)
        exec(code, names)
        return True
    except (Exception, KeyboardInterrupt) as e:
        sys.print_exception(e)
        return False
    finally:
        micropython.kbd_intr(-1)
