"""Items that the tests send to a canteen's site: ids, badges and arrivals, in the flat shape."""

from hub.kormitel_client import stay, uid
from kalitka_hub.kormitel import service
from kalitka_hub.kormitel.documents import read_document
from kalitka_hub.store.changes import write_transaction

__all__ = ["GONE", "fields", "flat", "known", "send", "stay", "uid"]

GONE = object()  # a field that is left out


def fields(**given):
    return {name: value for name, value in given.items() if value is not GONE}


def flat(key, date=None, **data):
    """Return an item of the flat shape."""
    item = {"actor_badge": None, "data": {"id": key, **fields(**data)}}
    return item if date is None else {**item, "date": date}


def send(database, by="kormitel", **groups):
    """Apply a document of these groups; return the counts."""
    document = read_document(groups)
    with write_transaction(database, by) as session:
        return service.apply_items(session, document.items, by, since=document.from_date)


def known(database, kind, key):
    with database.snapshot() as session:
        return service.find_object(session, kind, key)
