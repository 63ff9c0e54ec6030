"""What the chip runs first: memory before everything else.

Collecting early, not only when the heap is full, keeps it in large pieces: a sync asks for
buffers of some kilobytes.
"""

import gc

_THRESHOLD = 16384  # bytes allocated between two collections

gc.collect()
gc.threshold(_THRESHOLD)
