"""A whole virtual reader with far too little memory and with enough; see small_heaps.py.

The long tests try all sizes between them.
"""

from small_heaps import LEAST, SmallHeaps


def test_a_reader_decides_rightly_or_says_that_memory_is_missing_and_starts_again(tmp_path):
    heaps = SmallHeaps(tmp_path)
    assert heaps.start(LEAST) == "starts again"
    assert heaps.start(72) == "starts again"
    assert heaps.start(104) == "decides"
