"""The time endpoints, and the time zones that the hub accepts."""

import pytest
from fastapi.testclient import TestClient

from hub.hub_site import ON_SQLITE, START, headers
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.server.app import create_app
from kalitka_hub.site.site_zone import set_zone
from kalitka_hub.store.changes import write_transaction

pytestmark = ON_SQLITE
SECONDS = START * 60 + 38


def set_to(database, zone):
    with write_transaction(database) as session:
        set_zone(session, zone)


def times(database, zone):
    set_to(database, zone)
    with TestClient(create_app(database)) as client:
        return [
            client.get(f"/api/{version}/token-reader/time", headers=headers()).text
            for version in ("v1", "v2")
        ]


@pytest.mark.parametrize(
    ("zone", "hours"),
    [
        ("UTC0", "0"),
        ("MSK-3", "3"),
        ("<+03>-3", "3"),
        ("EST5EDT,M3.2.0,M11.1.0", "-5"),
        ("<+0545>-5:45", "5"),
        ("NST3:30NDT", "-3"),
        ("<-12>12", "-12"),
        # In November it is summer in the south.
        ("AEST-10AEDT,M10.1.0,M4.1.0/3", "11"),
        ("NZST-12:45NZDT,M9.5.0/2:45,M4.1.0/3:45", "13"),
    ],
)
def test_time_is_minute_zone_and_seconds(database, zone, hours):
    assert times(database, zone) == [f"{START},{hours},{SECONDS}", f"{START},{zone},{SECONDS}"]


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("Europe/Moscow", "MSK-3"),
        ("UTC", "UTC0"),
        ("Europe/Kyiv", "EET-2EEST,M3.5.0/3,M10.5.0/4"),
    ],
)
def test_a_zones_name_is_told_as_a_posix_string(database, name, zone):
    assert times(database, name)[1] == f"{START},{zone},{SECONDS}"


def test_a_zone_without_a_string_for_now_is_refused_with_what_to_do(database):
    with pytest.raises(InvalidRequest, match="write it yourself to take it"):
        set_to(database, "Asia/Gaza")


@pytest.mark.parametrize(
    "zone",
    [
        *("", " ", "UTC0\x00", "ÜTC-3", "Europe/Moskow"),
        *("MSK-25", "EET-2EEST,M13.5.0,M10.5.0", "EET-2EEST,M3.5.0", "MSK-3,M3.5.0"),
    ],
)
def test_a_zone_that_no_reader_could_use_is_refused(database, zone):
    with pytest.raises(
        InvalidRequest, match=r"is not a valid time zone: position \d+:|there is no such zone"
    ):
        set_to(database, zone)


def test_the_time_follows_the_system_clock_backwards_too(site):
    site.ask("0")
    site.clock.minute -= 5
    answer = site.client.get("/api/v2/token-reader/time", headers=headers())
    assert answer.text == f"{START - 5},UTC0,{SECONDS - 300}"
