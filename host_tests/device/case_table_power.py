"""Power cuts at every program and erase operation of a sync, in a real LittleFS.

After each cut the file system mounts, the table is the old or the new one in every entry, and the
next sync brings the new one; then some operations of that recovery are cut, too. power.KINDS has
the three kinds of cut. MicroPython only; each case prints the number of cuts.
long/test_power_cuts.py cuts every recovery at every operation.
"""

from device.scratch import MICROPYTHON

if MICROPYTHON:
    from device.power import check_cuts, check_single_failures

    def test_a_power_cut_in_a_full_sync_over_an_old_table():
        check_cuts("full", 3, 97)

    def test_a_power_cut_in_an_incremental_sync_with_deletes():
        check_cuts("incremental", 1, 17)

    def test_a_power_cut_in_a_merge_of_deltas():
        check_cuts("merge_of_deltas", 3, 97)

    def test_a_power_cut_in_a_merge_into_a_new_base():
        check_cuts("merge_into_the_base", 3, 97)

    def test_a_power_cut_in_the_first_start_on_an_empty_file_system():
        check_cuts("first_start", 1, 29)

    def test_a_power_cut_in_a_full_sync_that_comes_in_code_order():
        check_cuts("ordered", 3, 97)

    def test_a_power_cut_in_a_full_sync_in_code_order_that_is_larger_than_the_memory():
        check_cuts("ordered_and_large", 2, 97)

    def test_a_power_cut_in_a_full_sync_that_sorts_in_flash():
        check_cuts("sorted_in_flash", 3, 97)

    def test_a_power_cut_in_an_incremental_sync_that_sorts_in_flash():
        check_cuts("incremental_and_large", 5, 97)

    def test_a_power_cut_while_a_minute_is_written_down():
        check_cuts("minute_alone", 1, 5)

    def test_an_operation_that_fails_alone_leaves_the_old_table_or_the_new_one():
        for scenario in (
            "full",
            "incremental",
            "merge_of_deltas",
            "merge_into_the_base",
            "first_start",
            "ordered_and_large",
            "sorted_in_flash",
        ):
            check_single_failures(scenario)

    def test_an_operation_that_was_done_though_it_failed_leaves_the_old_table_or_the_new_one():
        for scenario in ("full", "incremental", "merge_of_deltas", "first_start"):
            check_single_failures(scenario, "lies")
