"""Power on: what the chip does before the firmware's boot.py, and then boot.py and main.py.

Run by `micropython -X heapsize=BYTES power.py FLASH`. The fakes are imported first; then the
flash file's LittleFS takes the place of the host's files, as on a board. With MICROPYINSPECT=1
in the environment a console follows, unless the chip was reset.
"""

import asyncio
import gc
import os
import sys

import esp32  # imported while the host's files can be read
import flash
import machine
import network
import state
import vfs

import micropython

# As the ESP32 port mounts it.
_SIZES = {"readsize": 32, "progsize": 32, "lookahead": 32}

state.flash = flash.Flash(sys.argv[1])
try:
    _fs = vfs.VfsLfs2(state.flash, **_SIZES)
except OSError:
    # As the port does on its first start.
    vfs.VfsLfs2.mkfs(state.flash, **_SIZES)
    _fs = vfs.VfsLfs2(state.flash, **_SIZES)
_port = os.getenv("KALITKA_CHIP_WORLD")
_raw = os.getenv("KALITKA_CHIP_RAW")
# No Ctrl-C until the flash is mounted: a console with the host's files would be no board. (The
# world sends none before the chip has connected.)
micropython.kbd_intr(-1)
if _port:
    state.connect(int(_port))
    asyncio.create_task(state.serve())
vfs.umount("/")
vfs.mount(_fs, "/")
os.chdir("/")
sys.path[:] = ["", ".frozen", "/lib"]
del _fs
gc.collect()
state.without_firmware = gc.mem_alloc()
micropython.kbd_intr(3)
# In raw mode the console has the chip to itself, as on a board that mpremote holds.
for _name in ("boot.py",) if _raw else ("boot.py", "main.py"):
    try:
        os.stat(_name)
    except OSError:
        continue
    try:
        with open(_name) as _file:
            _code = _file.read()
        exec(_code, globals())
    except KeyboardInterrupt:
        print("KeyboardInterrupt")
        break
    except SystemExit:
        os.putenv("MICROPYINSPECT", "")
        raise
