"""What is sent to a canteen's site in the tests: ids, badges and arrivals, in the flat shape."""

from uuid import UUID

from kalitka_hub.kormitel import objects
from kalitka_hub.kormitel.documents import read
from kalitka_hub.store.changes import changing

GONE = object()  # a field that is left out


def uid(number):
    """Return the uuid of a number, as text."""
    return str(UUID(int=0xABCDEF << 104 | number))


def fields(**given):
    return {name: value for name, value in given.items() if value is not GONE}


def stay(badge, status="ARRIVED", first="2026-11-20", last="2026-11-22", **more):
    """Return the fields of an arrival that today's client takes."""
    return fields(
        badge=badge,
        status=status,
        arrival_date=first,
        departure_date=last,
        arrival_transport=more.pop("arrival_transport", "BUS"),
        departure_transport=more.pop("departure_transport", "SELF"),
        **more,
    )


def flat(key, date=None, **data):
    """Return an item of the flat shape."""
    item = {"actor_badge": None, "data": {"id": key, **fields(**data)}}
    return item if date is None else {**item, "date": date}


def send(database, by="kormitel", **groups):
    """Send a document of these groups, and return the counts."""
    document = read(groups)
    with changing(database, by) as session:
        return objects.apply(session, document.items, by, since=document.from_date)


def known(database, kind, key):
    with database.snapshot() as session:
        return objects.find(session, kind, key)
