"""The time endpoints, and the zones that the hub takes."""

import pytest
from fastapi.testclient import TestClient

from hub.hub_site import START, headers
from kalitka_hub.app import create_app
from kalitka_hub.faults import Refused

SECONDS = START * 60 + 38


def times(database, zone):
    with TestClient(create_app(database, zone)) as client:
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
        ("GMT-5:45", "5"),
        ("NST3:30NDT", "-3"),
        ("AAA+12", "-12"),
    ],
)
def test_time_is_minute_zone_and_seconds(database, zone, hours):
    assert times(database, zone) == [f"{START},{hours},{SECONDS}", f"{START},{zone},{SECONDS}"]


@pytest.mark.parametrize(
    "zone",
    ["", " ", "UTC 0", "UTC0\n", "UTC0\x00", "Europe/Moscow", "UTC", "3", "MSK-3 ", "ÜTC-3"],
)
def test_a_zone_that_no_reader_could_use_is_refused(database, zone):
    with pytest.raises(Refused, match="POSIX time zone"):
        create_app(database, zone)


def test_the_time_follows_the_system_clock_backwards_too(site):
    site.ask("0")
    site.clock.minute -= 5
    answer = site.client.get("/api/v2/token-reader/time", headers=headers())
    assert answer.text == f"{START - 5},MSK-3,{SECONDS - 300}"
