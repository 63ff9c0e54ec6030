"""Power on: the chip's start, and then the firmware's boot.py and main.py.

Run by `micropython -X heapsize=BYTES power.py FLASH`. The fakes are imported first; then the
LittleFS in the flash file replaces the host's files, as on a board, beside the ROM and the frozen
firmware, if there are any. The REPL follows, unless the chip was reset.
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
import port
import state
import tls_dates
import utime
import vfs

import micropython

# The loop's own time goes on while the chip's ticks stand still. Its ticks have the host's period,
# not the chip's 2^30, because asyncio's task queue, which is in C, assumes it.
asyncio.core.ticks = lambda: utime.ticks_ms() + time.advanced * 1000
asyncio.core.ticks_add = utime.ticks_add
asyncio.core.ticks_diff = utime.ticks_diff

# A handshake takes as long as on a chip, if the world requests it. All of that time is spent here
# in one piece; a chip spends it in two or three, between the server's messages.
_wrap_socket = ssl.SSLContext.wrap_socket


def _delayed_handshake(*arguments, **options):
    state.run_handshake()
    return _wrap_socket(*arguments, **options)


ssl.SSLContext.wrap_socket = _delayed_handshake

_rom = None
if os.getenv("KALITKA_CHIP_ROM"):
    import rom

    _rom = rom.partition
    sys.modules["vfs"] = rom  # a module of that name on the path would not replace the built-in

_frozen = None
if os.getenv("KALITKA_CHIP_FROZEN"):
    import frozen

    _frozen = frozen.image
    sys.modules["os"] = frozen
# Modules of these names on the path would not replace the built-in ones, either.
sys.modules["gc"] = chip_gc
sys.modules["sys"] = chip_sys


_Radio = network.WLAN
_Cable = getattr(network, "LAN", None)


class _Wlan(_Radio):
    # The radio, which takes its share of the memory.

    def __new__(cls, interface=network.STA_IF):
        idf.start_hardware("wifi")
        return _Radio(interface)


def _lan(*arguments, **options):
    # The Ethernet driver, which takes its share.
    idf.start_hardware("ethernet")
    return _Cable(*arguments, **options)


class _SslContext(ssl.SSLContext):
    # TLS, which takes memory for each connection and judges certificates by the chip's clock.

    def __init__(self, protocol):
        super().__init__(protocol)
        self._dates = []

    def load_verify_locations(self, cafile=None, cadata=None):
        idf.check_certificate()
        super().load_verify_locations(cafile, cadata)
        self._dates.append(tls_dates.of_certificate(cadata))

    def wrap_socket(self, sock, **options):
        fault = tls_dates.fault_of(self._dates)
        if fault:
            return tls_dates.Refused(fault)
        idf.open_connection(sock)
        return super().wrap_socket(sock, **options)


network.WLAN = _Wlan
if _Cable:
    network.LAN = _lan
ssl.SSLContext = _SslContext

state.flash = flash.Flash(sys.argv[1])
_port = os.getenv("KALITKA_CHIP_WORLD")
_raw = os.getenv("KALITKA_CHIP_RAW")
# No Ctrl-C until the flash is mounted: it would leave a console with the host's files. (The world
# sends none before the chip has connected.)
micropython.kbd_intr(-1)
if _port:
    state.connect(int(_port))
    asyncio.create_task(state.serve())
vfs.umount("/")
if _frozen is not None:
    vfs.mount(vfs.VfsRom(_frozen), frozen.PLACE)
port.mount(state.flash, "" if _frozen is None else frozen.PLACE)
os.chdir("/")
sys.path[:] = ["", ".frozen", "/lib"]
if _rom is not None:
    # A chip reads the ROM from its flash: not counted as heap.
    state.mapped = len(_rom)
    try:
        vfs.mount(vfs.VfsRom(_rom), "/rom")
        # MicroPython adds these when it starts; the ESP32 port adds its /lib after that.
        sys.path[2:2] = ["/rom", "/rom/lib"]
    except OSError:
        pass  # the ROM is blank
if _frozen is not None:
    state.mapped = len(_frozen)
    sys.path[2:2] = [frozen.PLACE, frozen.PLACE + "/lib"]
del _rom
gc.collect()
idf.baseline = gc.mem_alloc()
state.without_firmware = idf.baseline - state.mapped
os.putenv("MICROPYINSPECT", "1")  # the REPL comes after main.py
_place = frozen.PLACE + "/" if _frozen is not None else ""
try:
    # In raw mode main.py does not run, as on a board that mpremote holds.
    if port.run(_place + "boot.py", globals()) and not _raw:
        port.run(_place + "main.py", globals())
except SystemExit:
    os.putenv("MICROPYINSPECT", "")  # a soft reset: the process ends
    raise
