"""Out of memory at every allocation of a scan, a start, a sync and an upload.

In real MicroPython with a heap of which all but so many blocks are taken away, from none to
enough, one more each time; then with what is free in small pieces, and with nothing free from each
operation of the flash on, or until the next. See device/short_memory.py.
"""

import pytest

SCANS = (
    "start",
    "start_before_the_clock_is_set",
    "start_after_a_pass",
    "guest",
    "guest_before_the_clock_is_set",
    "guest_whose_entry_fills_the_small_files",
    "guest_who_may_pass_once",
    "guest_who_has_passed",
    "stranger",
    "late",
)
SYNCS = ("full_and_large", "merge_into_the_base", "full", "incremental")
UPLOADS = ("large", "small")


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "check",
    [("short_sync", f"check_story({name!r})") for name in SYNCS]
    + [("short_upload", f"check_story({name!r})") for name in UPLOADS]
    + [("short_scan", f"check_story({name!r})") for name in SCANS],
    ids=(*SYNCS, *UPLOADS, *SCANS),
)
def test_every_allocation_that_fails(check, checks):
    checks.wait_for(check)
