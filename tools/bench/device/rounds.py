"""Replaces the table ROUNDS times and prints MicroPython's heap summary before and after.

    rounds.py ROUNDS

Flat code with the fakes imported first, as application.py; the heap is collected at every step.
"""

import asyncio
import gc
import os
import socket
import sys
import time

import board
import esp32
import machine
import network

import micropython

_ROUND_MS = 7_000  # long enough for a poll and its full sync

look = gc.in_use if hasattr(gc, "in_use") else gc.collect
_left = int(sys.argv[-1])
_until = _ROUND_MS
from kalitka import app

try:
    app.main()
except asyncio.Started:
    pass
while asyncio.now < _until:
    asyncio.step()
    look()
socket.server.replace()
_until += _ROUND_MS
while asyncio.now < _until:
    asyncio.step()
    look()
print("before")
micropython.mem_info()
while _left:
    socket.server.replace()
    _until += _ROUND_MS
    while asyncio.now < _until:
        asyncio.step()
        look()
    _left -= 1
print("after")
micropython.mem_info()
print("full syncs", socket.server.full_syncs)
