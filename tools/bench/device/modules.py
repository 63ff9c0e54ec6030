"""Imports MODULE ... one after the other and prints what each takes of the heap.

    modules.py MODULE ...

A line each: the module, bytes in use; then what MicroPython says of its names. Flat, as
application.py, which has the fakes.
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

print("before", gc.in_use())
micropython.qstr_info()
for _name in sys.argv[1:]:
    __import__(_name)
    print(_name, gc.in_use())
    micropython.qstr_info()
