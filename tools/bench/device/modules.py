"""Imports MODULE ... one after the other and prints the heap in use after each.

    modules.py MODULE ...

A line each: the module and the bytes in use; then MicroPython's line of names. Flat code with the
fakes imported first, as application.py.
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
