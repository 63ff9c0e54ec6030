"""What the chip runs first: memory before everything else.

Collecting early, not only when the heap is full, keeps it in large pieces: a sync asks for
buffers of some kilobytes. The network's hardware is switched on before the firmware is imported,
so that the chip's own software has its memory first.
"""

import gc

_THRESHOLD = 16384  # bytes allocated between two collections

gc.collect()
gc.threshold(_THRESHOLD)
try:
    from kalitka.system import uplink

    uplink.switch_on()
except Exception:
    pass  # the reader tries it again, and tells why it fails
gc.collect()
