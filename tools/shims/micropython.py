"""What the firmware imports from `micropython`, for CPython.

The host side (hub, command, tests) imports the device's own modules instead of writing them
again. Here the constants are plain values and the decorators do nothing.
"""


def const(value):
    """Return the value: only the cross-compiler makes something of it."""
    return value
