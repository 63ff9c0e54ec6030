"""The virtual chip's inside: pins, radio, clock, flash, and the world's wire to them.

The world (a CPython process) sends one JSON object a line over a loopback connection and gets
one answer a line; changes of output pins are sent as they happen.

    {"do": "pulses", "pins": [18, 19], "bits": "0101...", "gap_ms": 2}
    {"do": "level", "pin": 26, "level": 0}
    {"do": "pins"}    {"do": "flash"}    {"do": "memory"}
    {"do": "clock", "utc": 1795287578}   {"do": "network", "up": false}
                                         "networks", "deaf": see network.py
"""

import asyncio
import gc
import json
import socket
import sys

import utime as ticks

import micropython

PULSE_US = 50
QUIET_MS = 60  # a hand needs longer than this for the next card

pins = {}  # number -> Line
air = {"up": True}  # the world's last word on the network
flash = None  # the block device
mapped = 0  # bytes of flash that are mapped into memory: here they lie in the heap
without_firmware = 0  # bytes of heap in use before the firmware ran, without those
_world = None


class Line:
    """The wire at one pin: its level, and who is called when it changes."""

    def __init__(self, number):
        self.number = number
        self.level = 1  # inputs are pulled up
        self.output = False
        self.handler = None
        self.trigger = 0
        self.pin = None

    def drive(self, level):
        """An output sets the level; the world is told of a change."""
        changed = level != self.level or not self.output
        self.output = True
        self.level = level
        if changed:
            tell({"pin": self.number, "level": level, "ms": ticks.ticks_ms()})

    def feel(self, level):
        """The world sets an input's level; a falling or rising edge interrupts."""
        edge = 0 if level == self.level else (1 if level else 2)
        self.level = level
        if self.handler and edge & self.trigger:
            # As on the chip: the handler runs soon, between two bytecodes, not here.
            micropython.schedule(self.handler, self.pin)


def line(number):
    """Return the wire at pin `number`."""
    if number not in pins:
        pins[number] = Line(number)
    return pins[number]


def tell(message):
    """Send a message to the world."""
    if _world:
        _world.write(json.dumps(message) + "\n")


def connect(port):
    """Connect to the world on loopback; `serve` then answers it."""
    global _world
    _world = socket.socket()
    _world.connect(socket.getaddrinfo("127.0.0.1", port)[0][-1])


async def serve():
    """Answer the world for ever, beside the firmware."""
    stream = asyncio.StreamReader(_world)
    while True:
        request = await stream.readline()
        if not request:
            sys.exit(0)  # the world is gone
        tell({"done": await _obey(json.loads(request))})


async def _obey(request):
    global air
    do = request["do"]
    if do == "pulses":
        zero, one = [line(number) for number in request["pins"]]
        for bit in request["bits"]:
            wire = one if bit == "1" else zero
            wire.feel(0)
            ticks.sleep_us(PULSE_US)
            wire.feel(1)
            await asyncio.sleep_ms(request["gap_ms"])
        await asyncio.sleep_ms(QUIET_MS)
    elif do == "level":
        line(request["pin"]).feel(request["level"])
    elif do == "pins":
        return {str(n): pins[n].level for n in pins}
    elif do == "flash":
        return flash.counts()
    elif do == "memory":
        gc.collect()
        used = gc.mem_alloc() - mapped
        return {"used": used, "free": gc.mem_free(), "fakes": without_firmware}
    elif do == "network":
        air = request
    elif do == "clock":
        import time

        time.set_utc(request["utc"])
    else:
        raise ValueError(do)
    return True
