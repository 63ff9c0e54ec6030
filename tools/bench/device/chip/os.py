"""`os` of a chip on WASI, which numbers errors differently, and without random numbers."""

import builtins

import uos

_NUMBERS = {44: 2, 20: 17}  # WASI's numbers to MicroPython's: ENOENT, EEXIST


def _translated(function):
    def call(*arguments):
        try:
            return function(*arguments)
        except OSError as e:
            raise OSError(_NUMBERS.get(e.errno, e.errno))

    return call


listdir = _translated(uos.listdir)
mkdir = _translated(uos.mkdir)
remove = _translated(uos.remove)
rename = _translated(uos.rename)
stat = _translated(uos.stat)
builtins.open = _translated(open)


def statvfs(path):
    """Return None: nothing is known of the flash."""


def urandom(n):
    """Return fixed bytes, so that every run of a measurement is the same."""
    return bytes(range(n))
