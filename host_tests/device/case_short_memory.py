"""Out of memory in a scan, a start, a sync and an upload, at some of their allocations.

See device/short_scan.py, short_sync.py and short_upload.py; the long tests try them all. Each case
prints how often memory was short, and what came of it. MicroPython only.
"""

from device.scratch import MICROPYTHON

if MICROPYTHON:
    from device import short_scan, short_sync, short_upload

    def test_a_scan_without_memory_leaves_the_door_shut_and_the_log_whole():
        for story in ("guest", "guest_who_may_pass_once", "stranger"):
            short_scan.check_story(story, 13)

    def test_a_start_without_memory_forgets_neither_the_log_nor_a_pass():
        short_scan.check_story("start_after_a_pass", 101)

    def test_a_sync_without_memory_leaves_the_old_or_the_new_table():
        for story in ("full", "incremental"):
            short_sync.check_story(story, 301)

    def test_an_upload_without_memory_loses_no_entry():
        short_upload.check_story("small", 101)
