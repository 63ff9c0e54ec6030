"""The state of the virtual chip: pins, radio, clock, flash, and the control channel to them.

The world (a CPython process) sends one JSON object per line over a loopback connection and gets
one answer per line. The chip reports changes of output pins as they happen, {"reset": true} to be
ended and started again, {"watchdog": 5000} to be reset if it does not send {"watchdog": 0} within
every five seconds from then on.

    {"do": "pulses", "pins": [18, 19], "bits": "0101...", "gap_ms": 2, "busy": [0, 0]}
                     "busy": the pulses before which the chip enters C and returns; "erase":
                     those before which a flash erase begins and ends
    {"do": "handshake", "pins": [18, 19], "bits": "0101...", "gap_ms": 2, "after_ms": 300}
                     the next TLS handshake takes `after_ms`, and then these pulses come in it
    {"do": "level", "pin": 26, "level": 0}
    {"do": "pins"}    {"do": "flash"}    {"do": "memory"}
    {"do": "stall", "ms": 30000}         Python's loop hangs for so long, by the chip's ticks
    {"do": "later", "seconds": 432000}   at most six days    {"do": "stand still"} {"do": "go on"}
    {"do": "clock", "utc": 1795287578}   {"do": "certificate", "from": 1795280000, "until": ...}
                                         the dates of the server's, see tls_dates.py
    {"do": "network", "up": false}
                                         "networks", "deaf": see network.py
"""

import asyncio
import gc
import json
import socket
import sys
import time

import micropython

QUIET_MS = 60  # shorter than the time that a hand needs to present the next card
_TURN_MS = 15  # long enough for the firmware to poll its scanner once more
_STALL_MS = 10  # a step of a stall
_QUEUE = 8  # the length of the ESP32 port's queue of scheduled pin handlers

pins = {}  # number -> Line
air = {"up": True}  # the world's last "network" request
certificate = None  # (first, last) second of the server's certificate, since 1970, if known
handshake = None  # the pending "handshake" request
_in_c = False  # the chip is busy in C and runs no bytecode
_waiting = []  # (handler, argument), to run when it returns from C
_erasing = False  # the flash is erased: no interrupt is served, each pin remembers one edge
flash = None  # the block device
timers = []  # machine's timers that count
timer_looks = 0  # how often its thread has looked at them
mapped = 0  # bytes of flash that are mapped into memory on a chip; here they are in the heap
without_firmware = 0  # bytes of heap in use before the firmware ran, without the mapped ones
_world = None


class Line:
    """The wire at a pin: its level, and the handler of its changes."""

    def __init__(self, number):
        self.number = number
        self.level = 1  # inputs are pulled up
        self.output = False
        self.handler = None
        self.trigger = 0
        self.pin = None
        self.edge_waits = False

    def drive(self, level):
        """Set the level of an output; report a change to the world."""
        changed = level != self.level or not self.output
        self.output = True
        self.level = level
        if changed:
            send({"pin": self.number, "level": level, "ms": time.ticks_ms()})

    def set_input(self, level):
        """Set the level of an input from outside; a falling or rising edge interrupts."""
        edge = 0 if level == self.level else (1 if level else 2)
        self.level = level
        if self.handler and edge & self.trigger:
            if _erasing:
                self.edge_waits = True
            else:
                interrupt(self.handler, self.pin)


def interrupt(handler, argument):
    """Let `handler(argument)` run soon, between two bytecodes, as an interrupt does on the chip.

    Return whether it will: it is lost if the queue of the handlers that wait is full.
    """
    if _in_c:
        if len(_waiting) == _QUEUE:
            return False
        _waiting.append((handler, argument))
        return True
    try:
        micropython.schedule(handler, argument)
        return True
    except RuntimeError:
        return False


def line(number):
    """Return the wire at pin `number`."""
    if number not in pins:
        pins[number] = Line(number)
    return pins[number]


def send(message):
    """Send a message to the world."""
    if _world:
        _world.write(json.dumps(message) + "\n")


def connect(port):
    """Connect to the world on loopback; `serve` then answers it."""
    global _world
    _world = socket.socket()
    _world.connect(socket.getaddrinfo("127.0.0.1", port)[0][-1])


async def serve():
    """Answer the world's requests for ever, beside the firmware."""
    stream = asyncio.StreamReader(_world)
    while True:
        request = await stream.readline()
        if not request:
            sys.exit(0)  # the world is gone
        send({"done": await _handle(json.loads(request))})


def run_handshake():
    """Stay in C for as long as the pending "handshake" request says."""
    global handshake
    if handshake:
        request = handshake
        handshake = None
        was_running = time.freeze()
        _enter_c()
        time.advance_ms(request["after_ms"])
        for _ in _pulses(request):
            pass
        _return_from_c()
        if was_running:
            time.resume()


def _stall(millis):
    # Python's loop hangs in bytecode. The ticks advance in steps, each of which waits for the
    # timers, so that no computer is too slow.
    was_running = time.freeze()
    for _ in range(0, millis, _STALL_MS):
        time.advance_ms(_STALL_MS)
        looked = timer_looks
        while timers and timer_looks < looked + 2:
            pass
    if was_running:
        time.resume()


def _enter_c():
    global _in_c
    _in_c = True


def _return_from_c():
    global _in_c
    _in_c = False
    for handler, argument in _waiting:
        handler(argument)
    _waiting.clear()


def _erase(begins):
    # The code that serves interrupts lies in flash: while flash is erased none is served, and a
    # pin's register holds one edge, however many there were.
    global _erasing
    _erasing = begins
    for wire in pins.values():
        if wire.edge_waits and not begins:
            wire.edge_waits = False
            interrupt(wire.handler, wire.pin)


def _pulses(request):
    # Send the pulses. Yields after each one during which the chip runs bytecode, so that the
    # caller can let it do so.
    lines = [line(number) for number in request["pins"]]
    busy = request.get("busy", (-1, -1))
    erase = request.get("erase", (-1, -1))
    for i, bit in enumerate(request["bits"] + "."):
        if i in erase:
            _erase(i == erase[0])
        if i == busy[0]:
            _enter_c()
        if i == busy[1]:
            _return_from_c()
        if bit != ".":
            wire = lines[int(bit)]
            wire.set_input(0)
            wire.set_input(1)
            time.advance_ms(request["gap_ms"])
            if not (_in_c or _erasing):
                yield


async def _handle(request):
    global air, certificate, handshake
    do = request["do"]
    if do == "pulses":
        was_running = time.freeze()
        await asyncio.sleep_ms(_TURN_MS)
        for _ in _pulses(request):
            await asyncio.sleep_ms(request["gap_ms"])
        if was_running:
            time.resume()
        await asyncio.sleep_ms(QUIET_MS)
    elif do == "handshake":
        handshake = request
    elif do == "stall":
        _stall(request["ms"])
    elif do == "go on":
        time.resume()
    elif do == "stand still":
        time.freeze()
    elif do == "later":
        time.advance(request["seconds"])
    elif do == "level":
        line(request["pin"]).set_input(request["level"])
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
    elif do == "certificate":
        certificate = request["from"], request["until"]
    elif do == "clock":
        time.set_utc(request["utc"])
    else:
        raise ValueError(do)
    return True
