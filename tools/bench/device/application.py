"""Starts the whole application against the fakes in chip/ and prints its heap use.

Runs on 32 bits and on 64. As wasm_board says, only flat module code may measure the heap: so the
loop runs here, and nothing here takes a large frame. Prints the bytes in use, a line each: before
the firmware; idle, after a full sync and after a card was decided and reported to the server; the
most during a full sync that replaces everything; idle again. MicroPython's line of names comes
before the firmware is loaded, and at the end.
"""

import asyncio
import gc
import os
import socket
import sys
import time

import board
import chip_names
import esp32
import machine
import network

import micropython

_CARD = "0" + "1000000001000000" * 2 + "1"
_SETTLED_MS = 20_000  # until the sync is done and the card is reported

if hasattr(gc, "in_use"):
    in_use = gc.in_use
else:

    def _overwrite(depth):
        return depth and _overwrite(depth - 1)

    def in_use():
        """Return the bytes of heap in use."""
        # The collector takes whatever looks like an address for one, also what earlier calls have
        # left behind below the stack's end.
        _overwrite(20)
        gc.collect()
        return gc.mem_alloc()


_until = _SETTLED_MS
before = idle = most = after = now = 0
del chip_names, sys.modules["chip_names"]  # what it leaves behind are the names in it
micropython.qstr_info()
before = in_use()
from kalitka import app

try:
    app.main()
except asyncio.Started:
    pass
while asyncio.now < _until:
    asyncio.step()
for _bit in _CARD:
    machine.handlers[board.WIEGAND_D1 if _bit == "1" else board.WIEGAND_D0](None)
    asyncio.now += 2
_until += _SETTLED_MS
while asyncio.now < _until:
    asyncio.step()
idle = in_use()
socket.server.replace()
_until += _SETTLED_MS
while socket.server.asks_for_all and asyncio.now < _until:
    asyncio.step()
while asyncio.now < _until:
    asyncio.step()
    now = in_use()
    most = max(most, now)
after = in_use()
if socket.server.full_syncs < 2 or not socket.server.uploads:
    print("the application did not do its work")
    sys.exit(1)
print("before", before)
print("idle", idle)
print("most", most)
print("after", after)
micropython.qstr_info()
for _name in sys.modules:
    # Without the packages, which are folders.
    if _name.startswith("kalitka") and hasattr(sys.modules[_name], "__file__"):
        print("loaded", _name)
