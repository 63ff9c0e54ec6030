"""The heap that a loaded .mpy file takes on 32 bits, without the objects that its code makes.

Calculated from the file itself, for files without native code. In ROM, bytecode and the bytes of
constants stay in flash; in a frozen image, all that is counted here does. A module's own code, as
opposed to that of its functions, is freed after it has run. Source: the documentation of
MicroPython's .mpy files, version 6.
"""

from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = 16  # bytes: the heap's unit on a 32-bit machine
_POINTER = 4
_NAME_NUMBER = 2  # bytes of a name's number in a module's table of names
_STRING = 16  # bytes of a constant's object, without the text itself
_NONE_TO_ELLIPSIS = (1, 2, 3, 4)
_TEXT, _BYTES, _INTEGER, _FLOAT, _COMPLEX, _TUPLE = 5, 6, 7, 8, 9, 10


def blocks(size: int, block: int = _BLOCK) -> int:
    """Return the bytes of heap that an allocation of `size` bytes takes."""
    return -(-size // block) * block


@dataclass
class Loaded:
    """The heap of a loaded module, in bytes.

    tables: the tables of names' numbers and of constants. constants: the constants' objects.
    pieces: further allocations when it is loaded from a file: the bytecode of each function, the
    bytes of each constant.
    """

    tables: int = 0
    constants: int = 0
    pieces: list[int] = field(default_factory=list)

    def from_file(self) -> int:
        """Return the bytes of heap that the module takes when it is loaded from a file."""
        return self.tables + self.constants + sum(map(blocks, self.pieces))


def read(path: Path) -> Loaded:
    """Return the heap of a .mpy file's module.

    Raises ValueError for a file of another version, or with native code.
    """
    return _Reader(path.read_bytes()).read()


class _Reader:
    def __init__(self, data: bytes):
        self._data = data
        self._at = 4
        self._loaded = Loaded()

    def read(self) -> Loaded:
        if self._data[:2] != b"M\x06" or self._data[2] >> 2:
            raise ValueError("not a .mpy file of version 6 without native code")
        names = self._number()
        constants = self._number()
        self._loaded.tables = blocks(names * _NAME_NUMBER) + blocks(constants * _POINTER)
        for _ in range(names):
            self._name()
        for _ in range(constants):
            self._constant()
        self._function(True)
        return self._loaded

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _number(self) -> int:
        number = 0
        while True:
            byte = self._byte()
            number = number << 7 | byte & 0x7F
            if byte < 0x80:
                return number

    def _skip(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def _name(self) -> None:
        size = self._number()
        if not size & 1:  # otherwise the number of a name that every MicroPython has
            self._skip((size >> 1) + 1)

    def _constant(self) -> None:
        kind = self._byte()
        if kind in _NONE_TO_ELLIPSIS:
            return
        size = self._number()
        if kind == _TUPLE:
            self._loaded.constants += blocks((2 + size) * _POINTER)
            for _ in range(size):
                self._constant()
            return
        self._skip(size + (kind in (_TEXT, _BYTES)))
        self._loaded.constants += _STRING if size else 0
        if kind in (_TEXT, _BYTES) and size:
            self._loaded.pieces.append(size + 1)

    def _function(self, of_the_module: bool = False) -> None:
        head = self._number()
        if head & 3:
            raise ValueError("native code")
        self._skip(head >> 3)
        if not of_the_module:
            self._loaded.pieces.append(head >> 3)
        if head & 4:
            for _ in range(self._number()):
                self._function()
