"""Who may stop the reader at its console: anybody, those with the password, or nobody.

Ctrl-C stops the reader; noise on the line may look like one. Promises: with `console` set to
`password` or `off` no byte on the console stops it once `guard` is loaded; with `password` a line
that has the password does, and is never shown or kept. A Ctrl-C that comes before the setting has
been read waits, and stops an open console's reader then. Whoever has the board can still erase it:
the lock is against noise and passers-by.
"""

import asyncio
import json
import sys
from select import POLLIN, poll

import micropython
from micropython import const

# As in `kalitka.settings`, which is too large to import this early.
_SETTINGS = const("settings.json")
_CTRL_C = const(3)
_LONGEST = const(256)  # bytes of a line; what is longer is no password
_PAUSE_S = const(10)  # after a wrong one


def lock(console: str = "") -> None:
    """Let Ctrl-C stop the program, or not, by the setting `console`; "": as the file has it.

    Raises KeyboardInterrupt for a Ctrl-C that came while the console was locked and is open now.
    """
    if not console:
        try:
            with open(_SETTINGS) as file:
                console = json.load(file)["console"]
        except (OSError, ValueError, KeyError, TypeError, MemoryError):
            console = "open"  # until the settings have been checked
    if console != "open":
        micropython.kbd_intr(-1)
        return
    micropython.kbd_intr(_CTRL_C)
    if _interrupted():
        raise KeyboardInterrupt


def _interrupted():
    # While Ctrl-C stops nothing it is a byte of the input.
    waiting = poll()
    waiting.register(sys.stdin, POLLIN)
    while waiting.poll(0):
        byte = sys.stdin.buffer.read(1)
        if not byte:
            break  # the console is gone
        if byte[0] == _CTRL_C:
            return True
    return False


def matches(line: bytes, kept: str) -> bool:
    """Return whether `line` is the password of `kept`, `sha256:SALT:HEX`."""
    from binascii import hexlify
    from hashlib import sha256

    _, salt, digest = kept.split(":")
    return hexlify(sha256(salt.encode() + line).digest()).decode() == digest


async def run(kept: str, report) -> None:
    """Stop the reader by KeyboardInterrupt once a line with the password has come.

    kept: see `matches`. report: a callable that takes a line of text (str).
    """
    reader = asyncio.StreamReader(sys.stdin.buffer)
    line = b""
    while True:
        letter = await reader.read(1)
        if not letter:
            return  # the console is gone
        if letter not in b"\r\n":
            line = line[: _LONGEST - 1] + letter
            continue
        if line and matches(line, kept):
            micropython.kbd_intr(_CTRL_C)
            raise KeyboardInterrupt
        if line:
            report("console: this is not its password")
            await asyncio.sleep(_PAUSE_S)
        line = b""
