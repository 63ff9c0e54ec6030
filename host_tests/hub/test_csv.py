"""CSV tables: an export imports again unchanged, and each wrong line is reported by its number."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hub.hub_accounts import API, error_of, everything_in, program
from hub.hub_site import ON_SQLITE, TokenAssignment, assign_tokens
from kalitka_hub.cli.csv_files import app
from kalitka_hub.errors import NotFound
from kalitka_hub.kormitel import service
from kalitka_hub.site import grants, people, reader_groups, schedules, tokens
from kalitka_hub.site.people import PersonGroupSetting, PersonSetting
from kalitka_hub.site.reader_groups import ReaderGroupSetting
from kalitka_hub.site.schedules import (
    HolidaySetting,
    HoursSetting,
    ScheduleSetting,
    WindowSetting,
)
from kalitka_hub.site.tokens import TokenRecord
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.tables import csv_text
from kalitka_hub.tables.csv_import import PROBLEMS_MAX, import_table, preview
from kalitka_hub.tables.csv_tables import TABLES, export

ODD = r"""+1 "quoted", a|b\; <b>'; DROP TABLE people"""


def csv(name, text, run=preview, **options):
    source = io.BytesIO(text if isinstance(text, bytes) else text.encode())
    if run is preview:
        return lambda database: preview(database, name, source, **options)
    return lambda database: import_table(database, "olga", name, source, **options)


def put(database, name, text, **options):
    report = csv(name, text, import_table, **options)(database)
    assert report.is_valid, report
    return report


def text_of(database, name, separator=","):
    return b"".join(export(database, name, separator)).decode()


def counts(report):
    return report.rows, report.added, report.changed, report.left, report.removed


@pytest.fixture
def full(database):
    """A site with one of everything, and with names that need quoting."""
    with write_transaction(database, "the test") as session:
        for name in ("Kitchen", "a|b", ODD):
            people.add_group(session, PersonGroupSetting(name=name, note="-1\nline two"))
        reader_groups.add_reader_group(
            session, ReaderGroupSetting(name="G|\\", readers=["GATE-1"])
        )
        windows = [WindowSetting()]
        schedules.add_schedule(session, ScheduleSetting(name="Always", windows=windows))
        night = WindowSetting(start="18:00", end="06:00", days="1111100", last="2026-12-31T18:00")
        windows = [night, WindowSetting(first="2026-12-01T08:00")]
        schedules.add_schedule(session, ScheduleSetting(name=ODD, note="=1", windows=windows))
        schedules.add_schedule(session, ScheduleSetting(name="Shut", windows=[]))
        hours = [
            HoursSetting(start="18:00", end="06:00"),
            HoursSetting(start="08:00", end="12:00"),
        ]
        schedules.add_holiday(session, HolidaySetting(date="2027-01-01", name="New year"))
        schedules.add_holiday(
            session, HolidaySetting(date="2026-12-31", name="-", schedule=ODD, hours=hours)
        )
        setting = grants.GrantSetting(people="Kitchen", readers="G|\\", schedule="Always")
        grants.add_grant(session, setting)
        anna = people.add_person(session, PersonSetting(name=ODD, groups=["a|b", "Kitchen"]))
        people.add_person(session, PersonSetting(name="@Boris", note="'=x", groups=[ODD]))
        assign_tokens(
            session, [TokenAssignment("04A1", anna, "+card"), TokenAssignment("a|\\", anna)]
        )
        record = TokenRecord(code="=FF", rules=["9_1", "1_5_6"], readers=["G|\\", "GATE-1"])
        tokens.add_token(session, record)
        tokens.add_token(session, TokenRecord(code="0B", blocked=True, rules=["9_0"]))
        badge = service.put_object(session, "badges", None, {"name": ODD, "qr": "+1"}, new=True)
        service.put_object(session, "arrivals", None, {"badge": badge, "status": "LEFT"}, new=True)
    return database


@pytest.mark.parametrize("separator", [",", ";"])
def test_what_is_exported_is_imported_again_and_changes_nothing(full, separator):
    before = everything_in(full)
    for name in TABLES:
        report = put(full, name, text_of(full, name, separator), replace=name != "grants")
        assert report.rows == report.left > 0, name
    assert everything_in(full) == before


def test_a_table_that_was_lost_comes_back_as_it_was(full):
    before = text_of(full, "tokens")
    with write_transaction(full, "the test") as session:
        tokens.remove_tokens(session, ["04A1", "=FF", "0B"])
    assert counts(put(full, "tokens", before)) == (4, 3, 0, 1, 0)
    assert text_of(full, "tokens") == before


def test_schedules_and_holidays_that_were_lost_come_back_as_they_were(full):
    before = text_of(full, "schedules"), text_of(full, "holidays")
    with write_transaction(full, "the test") as session:
        schedules.remove_schedule(session, ODD)  # and its holiday
        schedules.remove_holiday(session, 1)
    assert counts(put(full, "schedules", before[0])) == (3, 1, 0, 2, 0)
    without_ids = [line.partition(",")[2] for line in before[1].splitlines()]
    assert counts(put(full, "holidays", "\n".join(without_ids))) == (2, 2, 0, 0, 0)
    assert text_of(full, "schedules") == before[0]
    after = [line.partition(",")[2] for line in text_of(full, "holidays").splitlines()]
    assert after == without_ids


def test_windows_are_written_as_on_the_command_line_in_any_order(full):
    text = "name;windows\n Shut ;8:00-17:00 Mon-Fri|2026-12-24/2026-12-24 sat,sun\nNew;always\n"
    assert counts(put(full, "schedules", text)) == (2, 1, 1, 0, 0)
    with full.snapshot() as session:
        shut = schedules.find_schedule(session, "Shut")
        assert shut.windows[1] == WindowSetting(start="08:00", end="17:00", days="1111100")
        assert shut.windows[0].first == "2026-12-24T00:00"
        assert shut.windows[0].days == "0000011"
    again = 'name,windows\nShut,"2026-12-24T00:00Z/2026-12-24 Sun,Sat | Mon-Fri 08:00-17:00"\n'
    assert counts(put(full, "schedules", again)) == (1, 0, 0, 1, 0)
    assert counts(put(full, "schedules", "name,windows\nShut,\n")) == (1, 0, 1, 0, 0)
    with full.snapshot() as session:
        assert schedules.find_schedule(session, "Shut").windows == []


def test_a_grant_from_a_date_until_a_date_is_for_the_whole_of_both(full):
    text = "people,readers,schedule,first,last\nKitchen,*,Always,2026-12-01,2026-12-31\n"
    assert counts(put(full, "grants", text)) == (1, 1, 0, 0, 0)
    with full.snapshot() as session:
        made = grants.find_grant(session, 2)
        assert (made.first, made.last) == ("2026-12-01T00:00", "2026-12-31T23:59")
    again = "id," + text.replace("Kitchen", "2,Kitchen").replace("12-01", "12-01T00:00Z")
    assert counts(put(full, "grants", again)) == (1, 0, 0, 1, 0)


def test_a_holiday_without_an_id_is_that_of_its_date_and_schedule(full):
    text = "date,hours\n2027-01-01,08:00-09:00\n2027-01-02,\n"
    assert counts(csv("holidays", text, replace=True)(full)) == (2, 1, 1, 0, 1)
    assert counts(put(full, "holidays", text, replace=True)) == (2, 1, 1, 0, 1)
    assert counts(put(full, "holidays", text)) == (2, 0, 0, 2, 0)
    with full.snapshot() as session:
        first, second = schedules.list_holidays(session)
    assert (first.id, first.name, len(first.hours)) == (1, "New year", 1)
    assert (second.date, second.schedule, second.hours) == ("2027-01-02", None, [])
    # In file order: the date is free once the first holiday has moved to another day.
    text = f"id,date\n1,2027-01-03\n{second.id},2027-01-01\n,2027-01-02\n"
    assert counts(put(full, "holidays", text)) == (3, 1, 2, 0, 0)


def test_a_file_that_says_what_is_so_is_read_once_and_nobody_waits(full):
    text, rows = text_of(full, "tokens"), []
    with write_transaction(full, "another"):
        # An import without changes does not wait for the site's lock.
        assert put(full, "tokens", text, progress=rows.append).written
    assert rows[-1] == 2 * 4


def test_people_come_with_their_groups_and_tokens(full):
    report = put(full, "people", "tokens;NAME;groups\n01|02;Eve;Kitchen\n;Adam;\n")
    assert counts(report) == (2, 2, 0, 0, 0)
    with full.snapshot() as session:
        eve, adam = people.list_people(session, 2)
        assert (eve.name, eve.groups, eve.tokens) == ("Eve", ["Kitchen"], ["01", "02"])
        assert (adam.name, adam.groups, adam.tokens) == ("Adam", [], [])
    # A column missing from the file keeps its values (groups); a token taken from a person stays.
    report = put(full, "people", f"id,name,tokens\n{eve.id},Eve,02|03\n{adam.id},Adam,\n")
    assert counts(report) == (2, 0, 1, 1, 0)
    with full.snapshot() as session:
        assert people.find_person(session, eve.id).groups == ["Kitchen"]
        assert people.find_person(session, eve.id).tokens == ["02", "03"]
        assert tokens.find_record(session, "01").person is None


def test_a_column_that_is_left_out_stays_as_it_is(full):
    assert counts(put(full, "tokens", "name,code\nNew,04A1\n")) == (1, 0, 1, 0, 0)
    with full.snapshot() as session:
        assert tokens.find_record(session, "04A1").person == 1
        assert tokens.find_record(session, "=FF").readers == ["GATE-1", "G|\\"]


def test_replacing_removes_what_the_file_does_not_have_and_tells_before_how_many(full):
    text = "code\n04A1\n0C\n"
    assert counts(csv("tokens", text, replace=True)(full)) == (2, 1, 0, 1, 3)
    assert counts(put(full, "tokens", text)) == (2, 1, 0, 1, 0)
    assert counts(put(full, "tokens", text, replace=True)) == (2, 0, 0, 2, 3)
    assert [row.split(",")[0] for row in text_of(full, "tokens").split()] == [
        "\ufeffcode",
        "0C",
        "04A1",
    ]
    refused = csv("person-groups", "name\nKitchen\n", import_table, replace=True)(full)
    assert refused.is_valid  # nothing refers to the other groups
    refused = csv("reader-groups", "name\nOther\n", import_table, replace=True)(full)
    assert "has grants: remove these first" in refused.problems[0].error
    assert "Other" not in text_of(full, "reader-groups")


def test_a_preview_and_a_file_with_one_wrong_row_write_nothing(full):
    before = everything_in(full)
    good = "code,rules\n" + "".join(f"{n:04X},9_1\n" for n in range(1, 1001))
    assert counts(csv("tokens", good)(full)) == (1000, 1000, 0, 0, 0)
    report = csv("tokens", good + "FFFF,8_1\n", import_table)(full)
    assert not report.written
    assert [(problem.line, problem.column) for problem in report.problems] == [(1002, "rules")]
    assert everything_in(full) == before


def test_a_token_with_more_rules_than_a_reader_holds_is_told_and_nothing_is_written(full):
    before = everything_in(full)
    texts = "|".join(f"7_{n}_1200_1111100_1000_20000000" for n in range(99))
    report = csv("tokens", f"code,rules\n0D,9_1\n0E,{texts}\n", import_table)(full)
    assert "0E has more rules than a reader holds" in report.problems[0].error
    assert everything_in(full) == before


PEOPLE, TOKENS = "id,name,groups,tokens\n", "code,person,blocked,rules,readers\n"
WRONG = [
    ("people", "", (1, None, "the file is empty")),
    ("people", b"name\nGood\n\xcf\xf0\n", (3, None, "byte 1 of the line is not UTF-8")),
    ("people", "name\nA".encode("utf-16"), (1, None, "UTF-16")),
    ("people", b"name\nA\0B\n", (2, None, "a NUL character (U+0000)")),
    ("people", "name,phone\n", (1, "phone", "unknown column 'phone' of people: use id, name")),
    ("people", "name,NAME\n", (1, "name", "is there twice")),
    ("people", "id,note\n", (1, "name", "the column name is missing")),
    ("people", PEOPLE + "\n,Good,,\n,A,\n", (4, None, "the row has 3 cells and the header 4")),
    ("people", PEOPLE + ',"Good\nx",,\n', (2, "name", "neither line ends")),
    ("people", 'name,note\nA,"1\n2"\nB,"x"y\nC,\n', (4, None, "within a quoted cell twice")),
    ("people", 'name,note\nA,"1\n2"\nB,"cut\nC,\nD,\n', (4, None, "is not closed")),
    ("people", "name\nA\n" + "B" * 70000 + "\nC\n", (3, None, "longer than 65536 bytes")),
    ("people", 'name\n"A\n' + "B\n" * 40000, (2, None, "longer than 65536 bytes")),
    ("people", PEOPLE + ",,Kitchen,\n", (2, "name", "it is missing")),
    ("people", PEOPLE + f",{'A' * 201},,\n", (2, "name", "at most 200 characters")),
    ("people", PEOPLE + "x,A,,\n", (2, "id", "invalid number 'x'")),
    ("people", PEOPLE + "77,A,,\n", (2, "id", "there is no person 77")),
    ("people", PEOPLE + "1,A,,\n1,B,,\n", (3, "id", "1 stands in line 2 too")),
    ("people", PEOPLE + ",A,Kitchen|Cooks,\n", (2, "groups", "no group of people Cooks")),
    ("people", PEOPLE + ",A,,01|%\n", (2, "tokens", "'%' is not a valid token code")),
    ("people", PEOPLE + ",A,,01\n,B,,02|01\n", (3, "tokens", "the token 01 is in line 2 too")),
    ("people", PEOPLE + "2,B,,04A1\n", (2, "tokens", "is that of person 1")),
    ("tokens", TOKENS + "A%,,,,\n", (2, "code", "'A%' is not a valid token code")),
    ("tokens", TOKENS + "FF ,,,,\n", (2, "code", "blanks around")),
    ("tokens", TOKENS + "FF,,,,\nFF,,,,\n", (3, "code", "FF stands in line 2 too")),
    ("tokens", TOKENS + "FF,77,,,\n", (2, "person", "there is no person 77")),
    ("tokens", TOKENS + "FF,,maybe,,\n", (2, "blocked", "neither yes nor no")),
    ("tokens", TOKENS + "FF,,,9_1|9_2,\n", (2, "rules", "'9_2' is not a valid rule")),
    ("tokens", TOKENS + "FF,,,9_1,GATE-9\n", (2, "readers", "GATE-9: add it first")),
    ("tokens", TOKENS + "FF,,,,GATE-1\n", (2, None, "names readers but has no manual rule")),
    ("readers", "code\nA B\n", (2, "code", "is not a valid reader code")),
    ("schedules", "name,windows\nA,8-17\n", (2, "windows", "'8-17' is not valid in a time")),
    ("schedules", "name,windows\nA,always Mon\n", (2, "windows", "'always' is not valid in")),
    ("schedules", "name,windows\nA,always|\n", (2, "windows", "a time window must not be empty")),
    ("schedules", "name,windows\nA,2027-01-02/2027-01-01\n", (2, "windows", "swap the two times")),
    ("schedules", "name,windows\nA,|".ljust(400, "|") + "\n", (2, "windows", "must not be empty")),
    ("schedules", "name\nA\n", (2, "windows", "it is missing")),
    ("schedules", "name,windows\nA,\n A,\n", (3, "name", "A stands in line 2 too")),
    ("holidays", "date\n31.12.2026\n", (2, "date", "write it like 2026-12-31")),
    ("holidays", "date,hours\n2027-12-31,8-12\n", (2, "hours", "'8-12' is not valid as hours")),
    ("holidays", "date,schedule\n2027-12-31,Day\n", (2, "schedule", "no schedule Day")),
    ("holidays", "date\n2028-01-01\n2028-01-01\n", (3, "date", "stands in line 2 too")),
    ("holidays", "date\n2027-01-01\n2027-01-01\n", (3, "date", "stands in line 2 too")),
    ("holidays", "id,schedule,date\n2,,2027-01-01\n", (2, "date", "that of the holiday 1")),
    ("grants", "people,readers,schedule\nKitchen,*,Never\n", (2, "schedule", "schedule Never")),
    ("grants", "people,readers,schedule,last\nKitchen,*,Always,soon\n", (2, "last", "valid time")),
    ("grants", "people,readers,schedule\nKitchen,X,Always\n", (2, "readers", "no reader, group")),
]


@ON_SQLITE
@pytest.mark.parametrize(("name", "text", "told"), WRONG)
def test_what_is_wrong_is_told_by_line_and_column(full, name, text, told):
    report = csv(name, text)(full)
    line, column, said = told
    found = [(problem.line, problem.column) for problem in report.problems]
    assert found == [(line, column)], report.problems
    assert said in report.problems[0].error
    assert "\n" not in report.problems[0].error


@ON_SQLITE
def test_every_wrong_line_is_told_and_of_very_many_the_number(full):
    text = "code,rules\nA%,9_1\n01,9_1\n02,8_1\n" + "".join(f"{n}%,9_1\n" for n in range(500))
    report = csv("tokens", text)(full)
    lines = [problem.line for problem in report.problems]
    assert lines == [2, 4, *range(5, PROBLEMS_MAX + 3)]
    assert len(lines) + report.more == 502
    only_header = csv("tokens", "code\r\n", import_table)(full)
    assert (only_header.rows, only_header.written) == (0, True)
    assert "no rows" in csv("tokens", "code\n", replace=True)(full).problems[0].error
    with pytest.raises(NotFound, match="not a CSV table"):
        csv("doors", "code\n")(full)


@ON_SQLITE
def test_no_exported_cell_is_a_formula(full):
    for name in TABLES:
        for _, cells in csv_text_cells(text_of(full, name)):
            assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)


def csv_text_cells(text):
    import csv as plain

    return enumerate(plain.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


CELL = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)


@given(
    st.lists(CELL | st.text("'=+|\\ \"", max_size=6), min_size=2, max_size=4),
    st.sampled_from(",;"),
)
def test_any_cell_comes_back_as_it_was_written(cells, separator):
    told = []
    text = csv_text.format_row("ab", separator) + csv_text.format_row(["x", *cells], separator)
    source = io.BytesIO(text.encode())
    found = [row for _, row in csv_text.read_rows(source, lambda *fault: told.append(fault))]
    assert told == []
    assert found[1:] == [["x", *cells]]


@given(st.lists(st.text("a|\\ '=", min_size=1, max_size=5), max_size=4))
def test_any_list_comes_back_as_it_was_written(texts):
    assert csv_text.split_items(csv_text.join_items(texts)) == texts


# REST and command line


def test_by_rest_operators_import_and_viewers_export(full, site):
    viewer, operator = program(full, "vera", "viewer"), program(full, "oleg", "operator")
    exported_file = site.client.get(f"{API}/export/tokens", headers=viewer)
    assert exported_file.headers["content-type"] == "text/csv; charset=utf-8"
    assert exported_file.content.decode() == text_of(full, "tokens")
    path = f"{API}/import/tokens"
    assert site.client.post(path, content="code\n", headers=viewer).status_code == 403
    good, wrong = "code,rules\n0D,9_1\n", "code,rules\n0D,9_1\n0E,7\n"
    seen = site.client.post(f"{path}?preview=true", content=wrong, headers=operator)
    assert seen.status_code == 200
    assert seen.json()["problems"][0]["line"] == 3
    refused = site.client.post(path, content=wrong, headers=operator)
    assert refused.status_code == 422
    assert "line 3" in refused.json()["error"]
    done = site.client.post(path, content=good, headers=operator)
    assert done.json()["added"] == 1
    assert done.json()["written"]
    assert error_of(site.client.get(f"{API}/export/doors", headers=viewer)).startswith("'doors'")
    assert site.client.post(f"{API}/import/doors", content="", headers=operator).status_code == 404
    large = site.client.post(path, content=b"x" * ((32 << 20) + 1), headers=operator)
    assert large.status_code == 413


@ON_SQLITE
def test_on_the_command_line_a_table_goes_out_and_in(full, where, tmp_path):
    def run(*words, status=0):
        result = CliRunner().invoke(app, [*words, "--db", where])
        assert result.exit_code == status, result.output
        return result

    file = tmp_path / "tokens.csv"
    assert run("export", "tokens").stdout_bytes.decode() == text_of(full, "tokens")
    assert "bytes" in run("export", "tokens", str(file)).stdout
    assert "4 unchanged" in run("import", "tokens", str(file)).stdout
    file.write_text("code,rules\n0D,9_1\n")
    seen = run("import", "tokens", str(file), "--preview").stdout
    assert seen == (
        "1 rows: 1 would be added, 0 changed, 0 removed; 0 unchanged; nothing is written yet\n"
    )
    assert json.loads(run("import", "tokens", str(file), "--json").stdout)["written"]
    file.write_text("code,rules\n0D,\x1b[31m\n")
    failed = run("import", "tokens", str(file), status=2)
    assert "line 2, rules" in failed.stderr
    assert failed.stdout == ""  # no counts of changes that were not made
    assert "\x1b" not in failed.output
    run("import", "tokens", str(tmp_path / "none.csv"), status=1)
    run("import", "doors", str(file), status=1)
    run("export", "doors", status=1)
