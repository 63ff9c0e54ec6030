"""What imports a module of the firmware with a fake in the place of the chip's `machine`."""

import sys

import kalitka


def import_with(machine, name):
    """Return the module `name` of the firmware, such as `system.watchdog`, loaded anew.

    Whatever another test imported keeps its own `machine`.
    """
    kalitka.unload(name)
    kept = sys.modules.get("machine")
    sys.modules["machine"] = machine
    try:
        __import__("kalitka." + name)
        return sys.modules["kalitka." + name]
    finally:
        del sys.modules["machine"]
        if kept:
            sys.modules["machine"] = kept
        kalitka.unload(name)
