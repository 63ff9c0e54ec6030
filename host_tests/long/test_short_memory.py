"""Out of memory at every allocation of a scan, a start, a sync and an upload.

In real MicroPython with a heap of which all but so many blocks are taken away, from none to
enough, one more each time; then with what is free in small pieces, and with nothing free from each
operation of the flash on, or until the next. See device/short_memory.py. All of them take hours
(`make test-all`); `make test-long` takes every one of a card's scan and a share of the others.
"""

import os

import pytest

ALL = bool(os.environ.get("KALITKA_EVERYTHING"))
SCANS = (
    "guest",
    "guest_before_the_clock_is_set",
    "guest_whose_entry_fills_the_small_files",
    "guest_who_may_pass_once",
    "guest_who_has_passed",
    "stranger",
    "late",
)
STARTS = ("start", "start_before_the_clock_is_set", "start_after_a_pass")
SYNCS = ("full_and_large", "merge_into_the_base", "full", "incremental")
UPLOADS = ("large", "small")
# (module, its stories, of which every so many-th shortage is tried in `make test-long`)
STORIES = (
    ("short_sync", SYNCS, 301),
    ("short_upload", UPLOADS, 51),
    ("short_scan", STARTS, 31),
    ("short_scan", SCANS, 1),
)
CHECKS = {
    name: (module, f"check_story({name!r}, {1 if ALL else step})")
    for module, names, step in STORIES
    for name in names
}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_every_allocation_that_fails(check, checks):
    checks.wait_for(check)
