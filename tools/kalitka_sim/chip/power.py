"""Power on: what the chip does before the firmware's boot.py, and then boot.py and main.py.

Run by `micropython -X heapsize=BYTES power.py FLASH`. The fakes are imported first; then the
flash file's LittleFS takes the place of the host's files, as on a board, beside the ROM, if the
chip has one, and what is frozen into its MicroPython. With MICROPYINSPECT=1 in the environment a
console follows, unless the chip was reset.
"""

import asyncio
import gc
import os
import ssl
import sys
import time

import chip_gc
import chip_sys
import esp  # imported while the host's files can be read
import esp32
import flash
import idf
import machine
import network
import state
import utime
import vfs

import micropython

# The loop's own time goes on while the chip's ticks stand still; it cannot go round earlier than
# the queue of tasks, which is in C, takes it for.
asyncio.core.ticks = lambda: utime.ticks_ms() + time.advanced * 1000
asyncio.core.ticks_add = utime.ticks_add
asyncio.core.ticks_diff = utime.ticks_diff

# A handshake takes as long as a chip's, if the world wants it to. All of that time is spent here,
# in one piece; a chip spends it in two or three, between what the server sends.
_wrap_socket = ssl.SSLContext.wrap_socket


def _delayed_handshake(*arguments, **options):
    state.run_handshake()
    return _wrap_socket(*arguments, **options)


ssl.SSLContext.wrap_socket = _delayed_handshake

_rom = None
if os.getenv("KALITKA_CHIP_ROM"):
    import rom

    _rom = rom.partition
    sys.modules["vfs"] = rom  # a module of that name on the path would not win over the built-in

_frozen = None
if os.getenv("KALITKA_CHIP_FROZEN"):
    import frozen

    _frozen = frozen.image
    sys.modules["os"] = frozen
# Modules of these names on the path would not win over the built-in ones, either.
sys.modules["gc"] = chip_gc
sys.modules["sys"] = chip_sys


_Radio = network.WLAN
_Cable = getattr(network, "LAN", None)


class _Wlan(_Radio):
    # The radio, and its share of the memory.

    def __new__(cls, interface=network.STA_IF):
        idf.start_hardware("wifi")
        return _Radio(interface)


def _lan(*arguments, **options):
    # The cable's driver, and its share.
    idf.start_hardware("ethernet")
    return _Cable(*arguments, **options)


class _SslContext(ssl.SSLContext):
    # TLS, and what it takes of the memory.

    def load_verify_locations(self, cafile=None, cadata=None):
        idf.check_certificate()
        super().load_verify_locations(cafile, cadata)

    def wrap_socket(self, sock, **options):
        idf.open_connection(sock)
        return super().wrap_socket(sock, **options)


network.WLAN = _Wlan
if _Cable:
    network.LAN = _lan
ssl.SSLContext = _SslContext

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
if _rom is not None:
    # A chip reads it out of its flash: that is no part of the heap.
    state.mapped = len(_rom)
    try:
        vfs.mount(vfs.VfsRom(_rom), "/rom")
        # MicroPython adds these when it starts; the ESP32 port adds its /lib after that.
        sys.path[2:2] = ["/rom", "/rom/lib"]
    except OSError:
        pass  # nothing in it
if _frozen is not None:
    state.mapped = len(_frozen)
    vfs.mount(vfs.VfsRom(_frozen), frozen.PLACE)
    sys.path[2:2] = [frozen.PLACE, frozen.PLACE + "/lib"]
del _fs, _rom
gc.collect()
idf.baseline = gc.mem_alloc()
state.without_firmware = idf.baseline - state.mapped
micropython.kbd_intr(3)
# In raw mode the console has the chip to itself, as on a board that mpremote holds.
for _name in ("boot.py",) if _raw else ("boot.py", "main.py"):
    if _frozen is not None:
        _name = frozen.PLACE + "/" + _name  # a frozen one comes before that of the file system
    try:
        os.stat(_name)
    except OSError:
        continue
    try:
        with open(_name) as _file:
            # Not kept as text: the chip does not, either.
            _code = compile(_file.read(), _name, "exec")
        exec(_code, globals())
    except KeyboardInterrupt:
        print("KeyboardInterrupt")
        break
    except SystemExit:
        os.putenv("MICROPYINSPECT", "")
        raise
