"""The names that the firmware imports from `micropython`, for CPython.

The hub, the commands and the tests import the device's own modules instead of a second version of
them. Here a constant is a plain value, viper code is Python, and a pointer is the object that it
points into.
"""


def const(value):
    """Return the value; only the cross-compiler gives `const` a meaning."""
    return value


def kbd_intr(_character):
    """Do nothing: Ctrl-C is the terminal's."""


def _pointer(target):
    return target


def viper(function):
    """Return the function, and add viper's names for pointers to its module."""
    for name in ("ptr8", "ptr16", "ptr32"):
        function.__globals__.setdefault(name, _pointer)
    return function
