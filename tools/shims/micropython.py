"""What the firmware imports from `micropython`, for CPython.

The host side (hub, command, tests) imports the device's own modules instead of writing them
again. Here the constants are plain values, viper code is Python, and its pointers are the
objects that they point into.
"""


def const(value):
    """Return the value: only the cross-compiler makes something of it."""
    return value


def _pointer(target):
    return target


def viper(function):
    """Return the function, whose module gets the names that viper code has besides Python's."""
    for name in ("ptr8", "ptr16", "ptr32"):
        function.__globals__.setdefault(name, _pointer)
    return function
