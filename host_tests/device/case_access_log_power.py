"""Power cuts in the access log while entries are kept and sent: see device/access_log_power.py.

Here each story is cut at every operation, and its continuation at some; the long tests cut all.
"""

from device.scratch import MICROPYTHON

if MICROPYTHON:
    from device.access_log_power import check_cuts, check_single_failures

    def test_a_power_cut_in_the_first_start():
        check_cuts("first_start", 1, 7)

    def test_a_power_cut_while_entries_are_sent():
        check_cuts("sending", 1, 7)

    def test_a_power_cut_in_starts_without_a_clock():
        check_cuts("without_a_clock", 2, 7)

    def test_a_power_cut_while_small_files_go_into_the_segment():
        check_cuts("into_the_segment", 2, 29)

    def test_a_power_cut_while_what_the_server_has_gives_way():
        check_cuts("full", 7, 997)

    def test_an_operation_that_fails_alone_loses_nothing():
        for story in ("first_start", "sending", "without_a_clock", "into_the_segment"):
            check_single_failures(story)

    def test_an_operation_that_was_done_though_it_failed_loses_and_doubles_nothing():
        for story in ("first_start", "sending", "without_a_clock", "into_the_segment"):
            check_single_failures(story, "lies")
