"""A day of full syncs, one behind the other: the heap must not fall into pieces."""

import pytest

from bench import answers
from bench.application_memory import ApplicationMemory


@pytest.mark.timeout(1200)
def test_fifty_full_syncs_leave_the_largest_piece_of_the_heap_as_it_was(tmp_path):
    memory = ApplicationMemory(tmp_path / "application", lambda doing: None)
    rules = answers.make(tmp_path / "answers", 1000, in_code_order=False)
    found = memory.largest_pieces(rules, 50, "512K")
    print(f"# the largest free piece of 512 KiB, before and after fifty full syncs: {found}")
    for bits, (before, after) in found.items():
        assert after >= before - 4096, (bits, before, after)
