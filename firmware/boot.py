"""The first script that the chip runs: starts the watchdog, switches the network hardware on.

Collecting early, not only when the heap is full, keeps its free memory in large pieces: a sync
needs buffers of some kilobytes. The network hardware is switched on before the firmware is
imported, so that the chip's own software gets its memory first.
"""

import gc

_THRESHOLD = 16384  # bytes allocated between two collections

gc.collect()
gc.threshold(_THRESHOLD)
try:
    from kalitka.system import watchdog

    # main.py does not run if a technician's tools hold the board: they have ten minutes.
    watchdog.hold()
    del watchdog
except Exception:
    pass  # a port without one
try:
    from kalitka.system import uplink

    uplink.switch_on()
except Exception:
    pass  # the reader tries again, and reports why it fails
gc.collect()
