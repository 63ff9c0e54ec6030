"""End to end, in real processes: Kormitel's posts open the canteen's gate, and shut it.

As Kormitel's client does, the test posts with `requests`; the hub is `kalitka hub serve`, and two
virtual readers stand at two kitchens.
"""

import time
from datetime import UTC, datetime, timedelta

import pytest
import requests

from hub_command import Hub
from kalitka_hub.kormitel.settings import CanteenSetting, change_settings
from kalitka_hub.site.readers import add_or_update_reader
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database
from kalitka_sim.reader import VirtualReader
from kalitka_sim.timeouts import HANG_TIMEOUT_S

BADGE, ARRIVAL = "0d3c2bbf-2f3e-4d0c-9d3a-3d1c5b0f1a01", "5b0f1a01-2f3e-4d0c-9d3a-0d3c2bbf3d1c"
QR, NEW_QR = "04A1B2C3", "04FFEEDD"
PASSWORD = "a password of another system"
NOBODY, ALLOWED = "unknown code", ""


class Kormitel:
    """A minimal client of Kormitel: sends items with dates of its own clock."""

    def __init__(self, address):
        self.base = "http://{}:{}/api/v1/feeder/".format(*address)
        self.session = requests.Session()
        self.session.auth = ("kormitel", PASSWORD)

    def post(self, group, key, **data):
        item = {
            "actor_badge": None,
            "date": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "data": {"id": key, **data},
        }
        answer = self.session.post(
            self.base + "back-sync", json={group: [item]}, timeout=HANG_TIMEOUT_S
        )
        assert (answer.status_code, answer.json()["applied"]) == (200, 1), answer.text

    def asked(self, group, key):
        """Return an object from an answer with everything."""
        query = {"from_date": "2013-06-13T00:00:00"}
        answer = self.session.get(self.base + "sync", params=query, timeout=HANG_TIMEOUT_S)
        return next(told for told in answer.json()[group] if told["id"] == key)


class Kitchen(VirtualReader):
    """The reader of a kitchen."""

    def decides(self, code):
        """Return why a code is denied after the next poll, ALLOWED if the lock opened."""
        assert self.relay
        # A poll in progress may have been answered already: the next poll has the change, and by
        # the poll after that the change is applied.
        polls = self.relay.requests + 3
        while self.relay.requests < polls:
            time.sleep(0.05)
        outcome = self.present(code)
        assert outcome.opened == outcome.allowed
        return ALLOWED if outcome.allowed else outcome.reason


@pytest.fixture
def hub(tmp_path):
    with Hub(tmp_path / "hub") as hub:
        database = open_database(hub.database)
        with write_transaction(database) as session:
            for kitchen in ("1", "2"):
                add_or_update_reader(session, f"KITCHEN-{kitchen}")
            change_settings(session, CanteenSetting(kitchens={"2": ["KITCHEN-2"]}))
        database.close()
        password = {"KALITKA_KORMITEL_PASSWORD": PASSWORD}
        hub.command("kormitel", "connect", "kormitel", "--readers", "KITCHEN-1", **password)
        hub.start()
        yield hub


def kitchen(folder, hub, code):
    settings = {
        "reader": code,
        "server_token": hub.secret,
        "poll_seconds": 1,
        "lock_seconds": 0.1,
    }
    return Kitchen(folder / code, settings, server=hub.address)


def test_what_kormitel_posts_opens_and_shuts_the_gate_within_a_poll(hub, tmp_path):
    today = (datetime.now(UTC) + timedelta(hours=3)).date()
    stay = {
        "badge": BADGE,
        "arrival_date": str(today - timedelta(days=1)),
        "departure_date": str(today + timedelta(days=1)),
        "arrival_transport": "BUS",
        "departure_transport": "BUS",
    }
    kormitel = Kormitel(hub.address)
    with kitchen(tmp_path, hub, "KITCHEN-1") as first, kitchen(tmp_path, hub, "KITCHEN-2") as next:
        first.power_on()
        next.power_on()
        first.wait_line("sync: full")
        kormitel.post("badges", BADGE, name="Анна", qr=QR, feed="FREE")
        kormitel.post("arrivals", ARRIVAL, status="CONFIRMED", **stay)
        assert first.decides(QR) == NOBODY
        kormitel.post("arrivals", ARRIVAL, status="ARRIVED")
        assert first.decides(QR) == ALLOWED
        kormitel.post("arrivals", ARRIVAL, status="LEFT")
        assert first.decides(QR) == NOBODY
        kormitel.post("arrivals", ARRIVAL, status="STARTED")
        assert first.decides(QR) == ALLOWED
        kormitel.post("badges", BADGE, is_blocked=True)
        assert first.decides(QR) == NOBODY
        kormitel.post("badges", BADGE, is_blocked=False, qr=NEW_QR)
        assert first.decides(NEW_QR) == ALLOWED
        assert first.present(QR).reason == NOBODY
        kormitel.post("badges", BADGE, kitchen=2)
        assert first.decides(NEW_QR) == NOBODY
        assert next.decides(NEW_QR) == ALLOWED
        kormitel.post("arrivals", ARRIVAL, deleted=True)
        assert next.decides(NEW_QR) == NOBODY
        kormitel.post("arrivals", ARRIVAL, deleted=False)
        assert next.decides(NEW_QR) == ALLOWED
        # Today's client gets only the id of a deleted badge.
        kormitel.post("badges", BADGE, deleted=True)
        assert next.decides(NEW_QR) == NOBODY
        assert kormitel.asked("badges", BADGE) == {"id": BADGE, "deleted": True}
        assert kormitel.asked("arrivals", ARRIVAL) == {
            **{"id": ARRIVAL, "deleted": False, "status": "STARTED"},
            **stay,
        }
        # An operator's change at the hub goes the same way.
        hub.command("kormitel", "add", "badges", "--id", BADGE, f"qr={QR}", "kitchen=1")
        assert first.decides(QR) == ALLOWED
