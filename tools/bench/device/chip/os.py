"""`os` of a chip where the system below has other numbers for its errors, or no chance."""

import builtins

import uos

_NUMBERS = {44: 2, 20: 17}  # those of WASI: not there, there already


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
    """Say nothing of the flash."""


def urandom(n):
    """Return what is random enough for a measurement that is to come out the same."""
    return bytes(range(n))
