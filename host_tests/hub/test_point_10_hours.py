"""Point 10: hours that can mean two things are refused with both readings, on every way in."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.hub_accounts import API, error_of, program
from hub.hub_site import ON_SQLITE
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site.local_time import check_hours
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.models import HolidayWindow, ScheduleWindow
from kalitka_hub.tables.csv_import import import_table, preview

EQUAL = ["00:00-00:00", "12:00-12:00", "08:30-08:30", "23:59-23:59"]
LONG = ["23:57-23:56", "00:01-00:00", "12:01-12:00", "06:00-05:59", "20:00-19:01", "18:00-17:30"]
LATE = ["24:00-06:00", "24:00-24:00", "24:00-00:00", "24:00-23:59"]
GOOD = ["00:00-23:59", "00:00-24:00", "18:00-17:00", "22:00-06:00", "23:59-00:00", "08:00-17:00"]
WRONG = [*EQUAL, *LONG, *LATE]


@pytest.fixture
def read(run):
    return lambda *words: json.loads(run(*words, "--json").stdout)


def has_both_readings(said, hours):
    """Return whether a sentence says how to write each meaning of the hours."""
    if hours in LATE:
        return "00:00 with the same day" in said and "00:00 with the next day" in said
    if hours in LONG:
        start, end = hours.split("-")
        pauses = f"00:00-{end}" in said and f"{start}-23:59" in said
        return pauses and "00:00-23:59 for all day" in said and "a closed day has no hours" in said
    return "write 00:00-23:59 for all day" in said and "a closed day has no hours" in said


def clock(minute):
    return f"{minute // 60:02}:{minute % 60:02}"


@given(st.integers(0, 1439), st.integers(0, 1439))
def test_point_10_any_hours_are_refused_exactly_if_they_can_mean_two_things(start, end):
    two = start == end or (start > end and end + 1440 - start > 23 * 60)
    if not two:
        check_hours(clock(start), clock(end))
        return
    with pytest.raises(InvalidRequest) as fault:
        check_hours(clock(start), clock(end))
    assert clock(start) + "-" + clock(end) in str(fault.value)


@ON_SQLITE
def test_point_10_on_the_command_line(run, read):
    for hours in WRONG:
        for words in (
            ("schedule", "add", "S", "--window", hours),
            ("schedule", "add", "S", "--window", "08:00-09:00", "--window", f"{hours} Mon-Fri"),
            ("holiday", "add", "2026-12-31", "--hours", hours),
            ("kormitel", "meal", "set", "lunch", *hours.split("-")),
        ):
            said = run(*words, status=2).stderr
            assert has_both_readings(said, hours), said
            assert said.count("\n") == 1
    assert read("schedule", "list") == read("holiday", "list") == []
    assert read("kormitel", "meal", "list") == []
    for hours in GOOD:
        run("schedule", "add", hours, "--window", hours)
        run("kormitel", "meal", "set", hours, *hours.split("-"))
    for words in (("schedule", "change", GOOD[0], "--window"), ("holiday", "change", "1")):
        if words[0] == "holiday":
            run("holiday", "add", "2026-12-31", "--hours", GOOD[0])
        option = () if words[0] == "schedule" else ("--hours",)
        for hours in WRONG:
            said = run(*words, *option, hours, status=2).stderr
            assert has_both_readings(said, hours), said
    print(f"hours tried: {len(WRONG)} refused, {len(GOOD)} taken, by six commands")


@ON_SQLITE
def test_point_10_in_csv_by_line_already_in_the_preview(database):
    for hours in WRONG:
        for name, text in (
            ("schedules", f"name,windows\nGood,08:00-09:00\nA,{hours} Mon\n"),
            ("holidays", f"date,hours\n2026-12-30,08:00-09:00\n2026-12-31,{hours}\n"),
        ):
            for report in (
                preview(database, name, io.BytesIO(text.encode())),
                import_table(database, "olga", name, io.BytesIO(text.encode())),
            ):
                assert [problem.line for problem in report.problems] == [3], hours
                assert has_both_readings(report.problems[0].error, hours)
                assert not report.written


@ON_SQLITE
def test_point_10_by_rest(site, database):
    operator = program(database, "oleg", "operator")
    for hours in WRONG:
        start, end = hours.split("-")
        one = {"start": start, "end": end}
        for method, path, body in (
            ("POST", "/schedules", {"name": "A", "windows": [one]}),
            ("POST", "/holidays", {"date": "2026-12-31", "hours": [one]}),
            ("PUT", "/kormitel/settings", {"meals": [{"name": "lunch", **one}]}),
        ):
            answer = site.client.request(method, API + path, json=body, headers=operator)
            assert answer.status_code == 422, (path, answer.text)
            assert has_both_readings(error_of(answer), hours)


def test_point_10_what_is_stored_stays_and_can_be_kept_shown_and_removed(
    run, read, site, database
):
    run("schedule", "add", "Old", "--window", "08:00-09:00")
    run("holiday", "add", "2026-12-31", "--hours", "08:00-09:00")
    with write_transaction(database) as session:
        for kind in (ScheduleWindow, HolidayWindow):
            session.query(kind).update({"start": 1437, "end": 1436})
    assert read("schedule", "show", "Old")["windows"][0]["start"] == "23:57"
    run("schedule", "change", "Old", "--note", "kept")
    run("holiday", "change", "1", "--name", "kept")
    operator = program(database, "oleg", "operator")
    for path in ("/schedules/Old", "/holidays/1"):
        shown = site.client.get(API + path, headers=operator).json()
        shown.pop("id", None)
        answer = site.client.put(API + path, json=shown, headers=operator)
        assert answer.status_code == 200, answer.text
    for name in ("schedules", "holidays"):
        file = io.BytesIO(run("export", name).stdout_bytes)
        report = import_table(database, "olga", name, file)
        assert (report.left, report.problems) == (1, [])
    run("schedule", "add", "New", "--window", "23:57-23:56", status=2)
    run("schedule", "change", "Old", "--window", "08:00-09:00")
    run("schedule", "change", "Old", "--window", "23:57-23:56", status=2)
    run("holiday", "remove", "1")
