"""The heap of a whole virtual reader, in small steps from far too small to enough.

Steps of 6 KiB in `make test-long`, of 1 KiB in `make test-all`.
"""

import os
from collections import Counter

import pytest

from small_heaps import LEAST, SmallHeaps

ENOUGH = 104  # KiB; a reader has 160
STEP = 1 if os.environ.get("KALITKA_EVERYTHING") else 6  # KiB


@pytest.mark.timeout(7200)
def test_a_reader_with_any_heap_decides_rightly_or_says_what_is_missing(tmp_path):
    heaps = SmallHeaps(tmp_path)
    counts = Counter(heaps.start(kib) for kib in range(LEAST, ENOUGH + 1, STEP))
    told = ", ".join(f"{what} {count}" for what, count in sorted(counts.items()))
    print(f"\n# heaps of {LEAST} to {ENOUGH} KiB for a whole reader: {told}")
    assert min(counts["decides"], counts["starts again"]) > 10 // STEP
