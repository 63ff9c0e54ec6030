"""Issue 18, point 7: the site's zone is stored, asked for, and changed on purpose only."""

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from hub.hub_accounts import API, error_of, program
from hub.hub_site import START, headers
from hub.kormitel_site import Canteen
from hub.test_hub_database import make_older
from hub_command import runner
from kalitka.access.timezone import Zone
from kalitka_hub.cli import server
from kalitka_hub.kormitel import canteen
from kalitka_hub.kormitel.settings import CanteenSetting, MealSetting, change_settings
from kalitka_hub.server.app import create_app
from kalitka_hub.site import site_zone
from kalitka_hub.site.grants import GrantSetting, add_grant, list_grants
from kalitka_hub.site.people import PersonGroupSetting, add_group
from kalitka_hub.site.schedules import (
    HolidaySetting,
    ScheduleSetting,
    WindowSetting,
    add_holiday,
    add_schedule,
    list_schedules,
)
from kalitka_hub.site.site_zone import missing_zone, set_zone, stored_zone, zone_of
from kalitka_hub.site.zone import posix_of
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database
from kalitka_hub.store.models import Audit, Site, Token, TokenRule

TIME = "/api/v2/token-reader/time"
HOURS = "/api/v1/token-reader/time"
DAY = ScheduleSetting(name="Day", windows=[WindowSetting(start="08:00", end="17:00")])
ALWAYS = ScheduleSetting(name="Always", windows=[WindowSetting()])


def asked_zone(client):
    """Return the zone that a reader is told."""
    return client.get(TIME, headers=headers()).text.split(",", 1)[1].rpartition(",")[0]


def with_schedule(session):
    add_schedule(session, DAY)


def with_grant(session):
    add_group(session, PersonGroupSetting(name="Kitchen"))
    add_schedule(session, ALWAYS)
    add_grant(session, GrantSetting(people="Kitchen", readers="GATE-1", schedule="Always"))


def with_holiday(session):
    add_holiday(session, HolidaySetting(date="2026-12-31"))


def with_dated_grant(session):
    with_schedule(session)
    with_holiday(session)
    add_group(session, PersonGroupSetting(name="Kitchen"))
    dated = GrantSetting(
        people="Kitchen", readers="GATE-1", schedule="Day", first="2026-11-01T00:00"
    )
    add_grant(session, dated)


def with_meal(session):
    lunch = MealSetting(name="Lunch", start="12:00", end="15:00")
    change_settings(session, CanteenSetting(kitchens={"*": ["GATE-1"]}, meals=[lunch]))


LOCAL_TIMES = [with_schedule, with_grant, with_holiday, with_meal]


@pytest.mark.parametrize("fill", LOCAL_TIMES)
def test_7_serve_refuses_to_guess_a_zone(run, database, fill):
    with write_transaction(database) as session:
        assert missing_zone(session) is None
        fill(session)
    refused = run("serve", "--port", "0", status=2).stderr
    assert refused.count("\n") == 1
    assert "time zone is not set" in refused
    assert "`kalitka hub site set --zone Europe/Moscow`" in refused
    # It was asked for: no further question.
    run("site", "set", "--zone", "Asia/Yekaterinburg")
    with database.snapshot() as session:
        assert missing_zone(session) is None
        assert zone_of(session).text == "<+05>-5"


def test_7_the_first_use_of_a_zone_asks_for_it(run):
    run("person-group", "add", "Kitchen")
    assert run("token", "add", "04A1B2C3", "--rule", "9_1").stderr == ""
    for words in (
        ["schedule", "add", "Day", "--window", "08:00-17:00 Mon-Fri"],
        ["grant", "add", "--people", "Kitchen", "--readers", "GATE-1", "--schedule", "Day"],
        ["holiday", "add", "2026-12-31"],
        ["kormitel", "meal", "set", "lunch", "12:00", "15:00"],
    ):
        assert "`kalitka hub site set --zone Europe/Moscow`" in run(*words).stderr
    run("site", "set", "--zone", "Asia/Omsk")
    assert run("schedule", "change", "Day", "--note", "as ever").stderr == ""


def test_7_serve_refuses_to_guess_the_days_of_arrivals(run, database):
    eaters = Canteen(database)
    eaters.badge()
    eaters.arrival()
    with write_transaction(database) as session:
        session.execute(update(Site).values(zone=None))
    assert "arrivals 1" in run("serve", "--port", "0", status=2).stderr


def test_7_without_local_times_no_zone_is_asked_for_and_none_is_guessed_later(database):
    with TestClient(create_app(database)) as client:
        assert asked_zone(client) == "UTC0"
        with write_transaction(database) as session:
            with_schedule(session)
        # It runs already, and now a zone matters: the time is told, no zone is.
        assert client.get(TIME, headers=headers()).text == f"{START},,{START * 60 + 38}"
        told = client.get(HOURS, headers=headers())
        assert told.status_code == 503 and "site set --zone" in told.text
        with write_transaction(database) as session:
            set_zone(session, "Europe/Moscow")
        assert asked_zone(client) == "MSK-3"


def test_7_all_servers_of_a_database_tell_the_same_zone_at_once(where, clock, database):
    other = open_database(where, clock)
    with TestClient(create_app(database)) as one, TestClient(create_app(other)) as two:
        for name, posix in (
            ("Europe/Moscow", "MSK-3"),
            ("America/New_York", "EST5EDT,M3.2.0,M11.1.0"),
            ("<+0545>-5:45", "<+0545>-5:45"),
            ("Etc/GMT+3", "<-03>3"),
            ("UTC", "UTC0"),
        ):
            with write_transaction(other) as session:
                set_zone(session, name)
            assert [asked_zone(one), asked_zone(two)] == [posix, posix]
    other.close()


def test_7_serve_takes_no_zone_and_says_where_it_went(run):
    for text in ("Europe/Moscow", "MSK-3", "UTC", "nonsense"):
        told = run("serve", "--zone", text, status=2).stderr
        assert f"`kalitka hub site set --zone {text}`" in told
        assert told.count("\n") == 1
    run("site", "set", "--zone", "Europe/Moscow")
    run("serve", "--zone", "UTC", status=2)
    assert json.loads(run("site", "show", "--json").stdout)["zone_name"] == "Europe/Moscow"


def test_7_a_change_is_previewed_asked_for_and_recorded(run, database):
    run("site", "set", "--zone", "Europe/Moscow")
    with write_transaction(database) as session:
        with_dated_grant(session)
    for typed in (None, "", "n\n", "N\n", "what\n"):
        told = run("site", "set", "--zone", "Asia/Omsk", status=2, typed=typed)
        assert "Europe/Moscow (UTC+03:00)" in told.stdout
        assert "Asia/Omsk (UTC+06:00)" in told.stdout
        assert "come 03:00 h earlier" in told.stdout
        assert "grant 1 from: 2026-11-01T00:00 is 2026-10-31 18:00 UTC" in told.stdout
        assert "schedule Day: 08:00 is" in told.stdout
        assert "nothing was changed" in told.stderr
    with database.snapshot() as session:
        assert stored_zone(session) == ("MSK-3", "Europe/Moscow")
    omsk = "site", "set", "--zone", "Asia/Omsk"
    assert "Asia/Omsk (UTC+06:00): set" in run(*omsk, typed="y\n").stdout
    assert "unchanged" in run(*omsk).stdout
    assert "come 01:00 h later" in run("site", "set", "--zone", "<+05>-5", "--yes").stdout
    # Another name of the same zone moves nothing.
    assert "tokens" not in run("site", "set", "--zone", "Asia/Yekaterinburg").stdout
    with database.snapshot() as session:
        changes = session.scalars(select(Audit).where(Audit.object == "zone").order_by(Audit.id))
        names = [change.after["zone"] for change in changes]
    assert names == ["Europe/Moscow", "Asia/Omsk", "<+05>-5", "Asia/Yekaterinburg"]


def test_7_rest_previews_a_change_as_the_command_line_does_and_records_it(site, run):
    sent = program(site.database, "robot", "admin")

    def put(zone, **params):
        answer = site.client.put(
            f"{API}/site/zone", json={"zone": zone}, params=params, headers=sent
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    first = put("Europe/Moscow")
    assert first == {
        "zone": "MSK-3",
        "zone_name": "Europe/Moscow",
        "zone_text": "Europe/Moscow (UTC+03:00)",
        "changed": True,
        "moves": {},
    }
    with write_transaction(site.database) as session:
        with_dated_grant(session)
    seen = put("Asia/Omsk", preview=True)
    assert seen["zone_text"] == "Asia/Omsk (UTC+06:00)" and seen["changed"]
    shown = run("site", "set", "--zone", "Asia/Omsk", status=2).stdout
    for name, values in seen["moves"].items():
        # The command goes by this computer's clock: the dates of its examples are of today.
        for value in values if isinstance(values, list) else [values]:
            assert name in shown and str(value).partition(" is ")[0] in shown
    assert "grant 1 from: 2026-11-01T00:00 is 2026-10-31 18:00 UTC" in str(seen["moves"])
    with site.database.snapshot() as session:
        assert stored_zone(session) == ("MSK-3", "Europe/Moscow")
        assert list_grants(session)[0].first == "2026-11-01T00:00"
    assert put("Asia/Omsk") == seen
    assert put("Asia/Omsk") == {**seen, "changed": False, "moves": {}}
    with site.database.snapshot() as session:
        assert stored_zone(session) == ("<+06>-6", "Asia/Omsk")
        assert list_grants(session)[0].first == "2026-11-01T00:00"
        changes = session.scalars(select(Audit).where(Audit.object == "zone").order_by(Audit.id))
        recorded = [(change.who, change.after["zone"]) for change in changes]
    assert [zone for _, zone in recorded] == ["Europe/Moscow", "Asia/Omsk"]
    assert all("robot" in who for who, _ in recorded)


@pytest.mark.parametrize(
    ("role", "data", "status", "reason"),
    [
        ("admin", {"zone": "UTC+3"}, 422, "UTC+3: "),
        ("admin", {"zone": "Moscow"}, 422, "did you mean Europe/Moscow?"),
        ("admin", {"zone": ""}, 422, "zone: "),
        ("admin", {"zone": "<" + "x" * 99 + ">0"}, 422, "at most 100 characters"),
        ("admin", {}, 422, "zone is missing"),
        ("admin", {"zone": "UTC0", "yes": True}, 422, "yes is not known here"),
        ("operator", {"zone": "Europe/Moscow"}, 403, "admin"),
    ],
)
def test_7_rest_refuses_what_is_not_a_zone_and_who_is_not_an_admin(
    site, role, data, status, reason
):
    sent = program(site.database, "robot", role)
    answer = site.client.put(f"{API}/site/zone", json=data, headers=sent)
    assert answer.status_code == status
    assert reason in error_of(answer)
    with site.database.snapshot() as session:
        assert stored_zone(session) == (None, None)


def test_7_what_is_stored_is_shown_as_people_read_it(run):
    for name, shown in (
        ("Europe/Moscow", "Europe/Moscow (UTC+03:00)"),
        ("Asia/Kathmandu", "Asia/Kathmandu (UTC+05:45)"),
        ("America/St_Johns", "America/St_Johns (UTC-03:30)"),
        ("UTC", "UTC (UTC+00:00)"),
        ("MSK-3", "MSK-3 (UTC+03:00)"),
        ("Etc/GMT+3", "Etc/GMT+3 (UTC-03:00, west of Greenwich)"),
        ("Etc/GMT-3", "Etc/GMT-3 (UTC+03:00, east of Greenwich)"),
        ("Etc/GMT", "Etc/GMT (UTC+00:00)"),
    ):
        assert f"zone {shown}: set" in run("site", "set", "--zone", name, "--yes").stdout
        for command in (["status"], ["site", "show"]):
            assert shown in run(*command).stdout
        assert json.loads(run("status", "--json").stdout)["zone_text"] == shown


def test_7_dates_are_local_and_follow_the_zone(database):
    with write_transaction(database) as session:
        set_zone(session, "Europe/Moscow")
        add_group(session, PersonGroupSetting(name="Kitchen"))
        dated = WindowSetting(first="2026-12-01T00:00", last="2026-12-24T23:59")
        add_schedule(session, ScheduleSetting(name="Advent", windows=[dated]))
        bounds = {"first": "2026-11-01T00:00", "last": "2027-01-31T23:59"}
        grant = GrantSetting(people="Kitchen", readers="*", schedule="Advent", **bounds)
        add_grant(session, grant)
    for name in ("UTC", "Asia/Kathmandu", "America/New_York", "Pacific/Kiritimati", "Etc/GMT+12"):
        with write_transaction(database) as session:
            set_zone(session, name)
        with database.snapshot() as session:
            assert list_schedules(session)[0].windows == [dated]
            assert list_grants(session)[0].first == bounds["first"]
            assert list_grants(session)[0].last == bounds["last"]


# Zones with changes at all times of the day and the year, and offsets of all kinds.
ZONES = (
    *("Europe/Moscow", "Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York"),
    *("America/St_Johns", "America/Santiago", "America/Sao_Paulo", "Australia/Lord_Howe"),
    *("Australia/Sydney", "Asia/Kathmandu", "Asia/Beirut", "Asia/Jerusalem", "Pacific/Apia"),
    *(
        "Pacific/Chatham",
        "Pacific/Kiritimati",
        "Pacific/Niue",
        "Africa/Cairo",
        "Etc/GMT+12",
        "UTC",
    ),
)


def local_minutes():
    """Yield local times, a minute each: all changes of the clocks of 2027, and midnights."""
    day = datetime(2026, 12, 1)
    while day < datetime(2028, 1, 15):
        yield from (day, day - timedelta(minutes=1), day + timedelta(minutes=150))
        day += timedelta(days=7 if day.month in (1, 2, 6, 7, 8, 12) else 1)


def test_7_a_moved_date_reads_as_before_in_every_pair_of_zones():
    moved = 0
    epoch = datetime(1970, 1, 1)
    times = [int((time - epoch).total_seconds()) // 60 for time in local_minutes()]
    november = datetime(2026, 11, 21, tzinfo=UTC)
    zones = {name: (Zone(posix_of(name, november)), ZoneInfo(name)) for name in ZONES}
    for before, (was, _) in zones.items():
        for will_be, place in zones.values():
            for local in times[:: 1 + len(before) % 5]:
                # Take a minute at which the clocks of `before` show it, if there is one.
                found = site_zone.minutes_of_local(local, was)
                if not found:
                    continue
                for choose, minute in ((site_zone._first, found[0]), (site_zone._last, found[-1])):
                    at = site_zone._moved(minute, was, will_be, choose)
                    shown = datetime.fromtimestamp(at * 60, place).replace(tzinfo=None)
                    wanted = epoch + timedelta(minutes=local)
                    if shown != wanted:
                        # Skipped there: the first minute behind the gap, the last before it.
                        assert not site_zone.minutes_of_local(local, will_be)
                        assert (shown > wanted) is (choose is site_zone._first)
                        assert abs(shown - wanted) <= timedelta(hours=1)
                    moved += 1
    print(f"dates moved between {len(ZONES) ** 2} pairs of zones: {moved}")
    assert moved > 100_000


def make_site_of_schema_5(nowhere, zone):
    make_older(
        nowhere,
        "0005",
        f"UPDATE site SET acknowledged = 77, zone = {zone}",
        "INSERT INTO person_groups (id, name) VALUES (1, 'Kitchen')",
        "INSERT INTO people (id, name, created) VALUES (1, 'Ivan', 1)",
        "INSERT INTO person_group_members (group_id, person_id) VALUES (1, 1)",
        "INSERT INTO schedules (id, name) VALUES (1, 'Day')",
        'INSERT INTO schedule_windows (schedule_id, start, "end", mask) '
        "VALUES (1, 480, 1020, '1111100')",
        "INSERT INTO grants (id, person_group_id, reader_group_id, schedule_id, first_minute) "
        "VALUES (1, 1, 1, 1, 29920320)",
        "INSERT INTO tokens (id, key, code, person_id, blocked, changed, deleted) "
        "VALUES (1, X'0204A1', '04A1', 1, false, 5, false)"
        if "://" not in nowhere
        else "INSERT INTO tokens (id, key, code, person_id, blocked, changed, deleted) "
        "VALUES (1, '\\x0204A1', '04A1', 1, false, 5, false)",
        "INSERT INTO token_rules (token_id, group_id, text) "
        "VALUES (1, 1, '7_480_1020_1111100_29920320_68374079')",
    )


@pytest.mark.parametrize("zone", ["NULL", "'UTC0'"])
def test_7_an_older_database_with_schedules_and_no_named_zone_asks(nowhere, clock, zone):
    make_site_of_schema_5(nowhere, zone)
    run = runner(nowhere)
    assert "schedules 1, grants 1" in run("serve", "--port", "0", status=2).stderr
    told = run("site", "set", "--zone", "Europe/Moscow").stdout
    assert "tokens with other rules" in told
    # The grant begins at midnight of 2026-11-21, now in Moscow.
    database = open_database(nowhere, clock)
    with database.snapshot() as session:
        assert list_grants(session)[0].first == "2026-11-21T00:00"
        rules = session.scalars(select(TokenRule.text)).all()
    assert rules == [f"7_480_1020_1111100_{29920320 - 180}_68374079"]
    database.close()


def test_7_an_older_database_with_a_zone_keeps_working_and_can_name_it(nowhere, clock):
    make_site_of_schema_5(nowhere, "'MSK-3'")
    database = open_database(nowhere, clock)
    with database.snapshot() as session:
        assert missing_zone(session) is None
        assert stored_zone(session) == ("MSK-3", None)
        before = list_grants(session)
    with TestClient(create_app(database)) as client:
        assert client.get("/healthz").status_code == 200
    assert (
        "Europe/Moscow (UTC+03:00): set"
        in runner(nowhere)("site", "set", "--zone", "Europe/Moscow").stdout
    )
    with database.snapshot() as session:
        assert list_grants(session) == before
        assert session.scalars(select(Token.changed)).one() == 5
    database.close()


def test_7_a_change_recompiles_badges_and_grants_in_the_same_transaction(database):
    eaters = Canteen(database)
    eaters.badge()
    eaters.arrival()
    with write_transaction(database) as session:
        set_zone(session, "UTC")
        assert canteen.recompute_site(session) == 2
    assert {"1_29919300_29923619"} in eaters.reader_rules().values()


def test_7_a_new_zone_database_moves_nothing_and_is_told(database, capsys):
    with write_transaction(database) as session:
        set_zone(session, "Europe/Moscow")
        session.execute(update(Site).values(zone="MSK-4"))  # the law when it was set
    assert server._zone_in_words(database) == "Europe/Moscow (UTC+04:00)"
    told = capsys.readouterr().err
    assert "MSK-3 instead of MSK-4" in told
    assert "`kalitka hub site set --zone Europe/Moscow`" in told
    with write_transaction(database) as session:
        session.execute(update(Site).values(zone_name="Asia/Gaza"))
    assert server._zone_in_words(database) == "Asia/Gaza (UTC+04:00)"
    assert "not right in the site's zone any more" in capsys.readouterr().err
    with write_transaction(database) as session:
        assert set_zone(session, "Europe/Moscow")
    assert server._zone_in_words(database) == "Europe/Moscow (UTC+03:00)"
    assert capsys.readouterr().err == ""


def test_7_a_zone_that_is_too_long_is_refused(run):
    assert "at most 100" in run("site", "set", "--zone", "A" * 100 + "-3", status=2).stderr
