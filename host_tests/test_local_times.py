"""Issue 18, point 6: where a local time occurs twice, every display has the offset."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from hub_command import runner
from kalitka.access import decision
from kalitka.access.timezone import Zone
from kalitka_cli import explain as explaining
from kalitka_cli.log_entries import LogEntry
from kalitka_cli.logs import _cells, _clocks_of
from kalitka_hub.site import tz_database
from kalitka_hub.site.local_time import local_text, minutes_of
from kalitka_hub.site.site_zone import set_zone
from kalitka_hub.site.zone import UnknownZone, posix_of
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database

NOW = datetime(2026, 11, 21, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEARS = range(2027, 2030)


def minute_of(moment):
    return int((moment - EPOCH).total_seconds()) // 60


def moment_of(minute):
    return EPOCH + timedelta(minutes=minute)


def is_twice(minute, place):
    local = moment_of(minute).astimezone(place)
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


def changes(place):
    """Yield the minutes (since 1970 UTC) at which a zone's offset changes."""
    hour = minute_of(datetime(YEARS[0], 1, 1, tzinfo=UTC))
    end = minute_of(datetime(YEARS[-1] + 1, 1, 1, tzinfo=UTC))
    before = moment_of(hour).astimezone(place).utcoffset()
    while hour < end:
        after = moment_of(hour + 30).astimezone(place).utcoffset()
        if after != before:
            yield hour + 30
        before = after
        hour += 30


def law_zones():
    """Return {POSIX string: a zone's name}: each law of the database once."""
    laws = {}
    for name in sorted(tz_database.names()):
        try:
            laws.setdefault(posix_of(name, NOW), name)
        except UnknownZone:
            continue
    return laws


def log_cell(minute, clocks):
    entry = LogEntry(1, minute * 60 + 1, "04A1B2C3", "allowed", "allowed", "scanner", True)
    return _cells(entry, clocks)[1]


def test_6_no_two_minutes_read_the_same_in_any_zone():
    seen = shown_twice = 0
    for posix, name in law_zones().items():
        if "," not in posix:
            continue
        place, zone = ZoneInfo(name), Zone(posix)
        by_string, by_name = _clocks_of(posix), _clocks_of(name)
        for change in changes(place):
            minutes = range(change - 150, change + 150, 5)
            displays = [[] for _ in range(4)]
            for minute in minutes:
                texts = (
                    local_text(minute, zone),
                    decision.date_text(minute, zone),
                    log_cell(minute, by_string),
                    log_cell(minute, by_name),
                )
                offset = moment_of(minute).astimezone(place).isoformat()[-6:]
                for display, text in zip(displays, texts, strict=True):
                    display.append(text)
                    assert text.strip().endswith(offset) is is_twice(minute, place), (name, text)
                shown_twice += is_twice(minute, place)
                seen += 1
                # The text reads back as the same minute.
                assert minutes_of(texts[0], zone) == [minute]
            for display in displays:
                assert len(set(display)) == len(minutes), name
    print(f"zones with changes: {sum(',' in posix for posix in law_zones())}, minutes: {seen}")
    assert seen > 5000 and shown_twice > 1000


@pytest.fixture
def run(tmp_path):
    where = tmp_path / "hub.sqlite"
    database = open_database(where)
    with write_transaction(database) as session:
        set_zone(session, "Europe/Berlin")
    database.close()
    return runner(str(where))


# Sunday, 2027-10-31: from 03:00 summer time the clocks go back to 02:00.
TWICE = ("2027-10-31T02:30+02:00", "2027-10-31T02:30+01:00")


def test_6_the_hub_shows_which_of_two_minutes_is_meant(run):
    run("reader", "add", "GATE-1")
    run("token", "add", "04A1B2C3", "--rule", "9_1")
    for at in TWICE:
        command = "explain", "--reader", "GATE-1", "--code", "04A1B2C3", "--at", at
        assert f"Sunday {at}" in run(*command).stdout
    # Written without an offset it is the first, and is shown as such.
    command = "explain", "--reader", "GATE-1", "--code", "04A1B2C3", "--at", TWICE[0][:16]
    assert f"Sunday {TWICE[0]}" in run(*command).stdout

    run("person-group", "add", "Night")
    run("schedule", "add", "Once", "--window", f"{TWICE[0]}/{TWICE[1]}")
    run(
        *("grant", "add", "--people", "Night", "--readers", "GATE-1", "--schedule", "Once"),
        *("--first", TWICE[1], "--last", TWICE[1]),
    )
    assert f"{TWICE[0]}/{TWICE[1]}" in run("schedule", "list").stdout
    assert run("grant", "list").stdout.count(TWICE[1]) == 2


def test_6_explain_shows_which_of_two_minutes_a_rule_names(capsys):
    first, second = (minute_of(datetime.fromisoformat(at)) for at in TWICE)
    assert second - first == 60
    rule = f"1_{first}_{second}"
    assert explaining.run([rule], "2027-10-31 02:30", "Europe/Berlin", "auto") == 0
    said = capsys.readouterr().out
    assert "from 2027-10-31 02:30+02:00 to 2027-10-31 02:30+01:00" in said
    assert "2027-10-31 02:30 exists twice there" in said
    assert "02:30 (UTC+02:00): allowed" in said and "02:30 (UTC+01:00): allowed" in said
