"""A synthetic festival: badges and arrivals as Kormitel sends them, the same in every run."""

from collections.abc import Iterator
from random import Random
from typing import Any
from uuid import UUID

BADGES = 20_000
ARRIVALS = 30_000
CHANGED = 100  # arrivals in an incremental sync, and in a back-sync
_FEEDS = ("FREE",) * 7 + ("PAID", "CHILD", "NO")
_STATUSES = ("ARRIVED",) * 5 + ("STARTED", "JOINED", "PLANNED", "CONFIRMED", "LEFT")
_DATE = "2026-11-20T10:{:02}:{:02}.{:06}Z"

Item = dict[str, Any]


def badge_id(number: int) -> str:
    """Return the id of a badge."""
    return str(UUID(int=0xBADE << 112 | number))


def arrival_id(number: int) -> str:
    """Return the id of an arrival."""
    return str(UUID(int=0xA551 << 112 | number))


def badges() -> Iterator[Item]:
    """Yield BADGES badges, as items of the flat shape."""
    chance = Random(1)
    for number in range(BADGES):
        data = {
            "id": badge_id(number),
            "name": f"Name {number}",
            "first_name": f"First{number % 97}",
            "last_name": f"Last{number % 1009}",
            "gender": chance.choice(("MALE", "FEMALE", "OTHER")),
            "phone": f"+7900{number:07}",
            "infant": False,
            "vegan": chance.random() < 0.2,
            "feed": chance.choice(_FEEDS),
            "number": str(number),
            "batch": str(number % 50),
            "role": "VOLUNTEER",
            "position": "",
            "photo": f"https://example.org/{number}.jpg",
            "comment": "",
            "qr": f"{number * 7919 & 0xFFFFFFFF:08X}",
            "is_blocked": chance.random() < 0.01,
            "kitchen": 1 + number % 2,
        }
        yield _item(number, data)


def arrivals() -> Iterator[Item]:
    """Yield ARRIVALS arrivals, as items of the flat shape; the badges take turns."""
    chance = Random(2)
    for number in range(ARRIVALS):
        first = 1 + chance.randrange(20)
        data = {
            "id": arrival_id(number),
            "badge": badge_id(number % BADGES),
            "status": chance.choice(_STATUSES),
            "arrival_date": f"2027-07-{first:02}",
            "departure_date": f"2027-07-{first + chance.randrange(1, 10):02}",
            "arrival_transport": "BUS",
            "departure_transport": "SELF",
        }
        yield _item(number, data)


def changes(run: int) -> list[Item]:
    """Return CHANGED changes of arrivals, as items of the flat shape; different in each run."""
    return [
        {
            "actor_badge": badge_id(0),
            "date": f"2026-11-21T10:00:{run:02}.{number:06}Z",
            "data": {
                "id": arrival_id((run * 7919 + number * 13) % ARRIVALS),
                "status": ("LEFT", "ARRIVED")[run % 2],
                "departure_date": f"2027-08-{1 + run % 28:02}",
            },
        }
        for number in range(CHANGED)
    ]


def _item(number: int, data: Item) -> Item:
    date = _DATE.format(number // 60 % 60, number % 60, number)
    return {"actor_badge": None, "date": date, "data": data}
