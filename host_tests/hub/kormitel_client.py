"""A model of Kormitel's client, as kormitel.md describes it, and of the changes its people make.

The model stores the objects that the client's database would, and refuses an answer that would
break the client (`Broke`: the answer is undone as a whole). The changes of its own people are
queued until they are posted. The model knows nothing of how the hub works.
"""

import copy
import json
import re
from datetime import UTC, datetime
from uuid import UUID

CONTRACT = {
    "persons": "name first_name last_name nickname other_names gender birth_date phone telegram "
    "email city vegan",
    "directions": "name first_year last_year type",
    "engagements": "year person role position status direction",
    "badges": "name first_name last_name gender phone infant vegan feed number batch role "
    "position photo person comment",
    "arrivals": "badge status arrival_date departure_date arrival_transport departure_transport",
}
CONTRACT = {kind: names.split() for kind, names in CONTRACT.items()}
KINDS = tuple(CONTRACT)  # in the order in which they are saved
OWN = ("qr", "is_blocked", "kitchen")  # fields of a badge that only Kormitel sets
PORTION = 100  # items per run
FIRST_DATE = "2013-06-13T00:00:00"
_WHOLE = ("directions", "engagements", "arrivals")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_FEEDS = {1: "FREE", 2: "PAID", 3: "CHILD", 4: "NO"}


def uid(number: int) -> str:
    """Return the uuid of a number, as text."""
    return str(UUID(int=0xABCDEF << 104 | number))


def stay(badge, status="ARRIVED", first="2026-11-20", last="2026-11-22", **more):
    """Return the fields of an arrival that today's client takes."""
    return {
        "badge": badge,
        "status": status,
        "arrival_date": first,
        "departure_date": last,
        "arrival_transport": "BUS",
        "departure_transport": "SELF",
        **more,
    }


class Broke(AssertionError):
    """The client was sent an answer that it cannot save."""


class Lost(Exception):
    """A request or its answer did not arrive."""


class Kormitel:
    """The client and its people.

    post: sends a body to back-sync; get: asks sync from a date; both return the status and the
    body, or raise Lost. clock: returns Unix seconds.
    """

    def __init__(self, post, get, clock):
        self.known = {kind: {} for kind in KINDS}
        self.from_date = FIRST_DATE
        self.waiting = []
        self._post, self._get, self._clock = post, get, clock

    # The client's people

    def change(self, kind, key, **data):
        """Add or change an object. data: also `deleted`, or the field names of a mass edit."""
        plain = {
            {"is_vegan": "vegan", "feed_type": "feed"}.get(name, name): (
                _FEEDS[value] if name == "feed_type" else value
            )
            for name, value in data.items()
        }
        known = self.known[kind].setdefault(key, {"deleted": False})
        known.update(plain)
        self.queue_item(kind, {"id": key, **data})

    def queue_item(self, kind, data):
        """Queue data to be posted as it is."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        item = {"actor_badge": None, "date": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}", "data": data}
        self.waiting.append((kind, item))

    # The client's run, every quarter of an hour

    def run(self):
        """Post a portion of the queue, then ask for the changes, and save all or none."""
        if self.waiting:
            portion = sorted(self.waiting, key=lambda one: one[0] != "badges")[:PORTION]
            groups = {}
            for kind, item in portion:
                groups.setdefault(kind, []).append(item)
            self._done(*self._post(json.dumps(groups).encode()))
            self.waiting = [one for one in self.waiting if one not in portion]
        before = datetime.fromtimestamp(self._clock(), UTC)
        body = self._done(*self._get(self.from_date))
        self.save(json.loads(body))
        self.from_date = f"{before:%Y-%m-%dT%H:%M:%S}"

    @staticmethod
    def _done(status, body):
        if status >= 400:
            raise Broke(f"status {status}: it never asks for sync again: {body!r}")
        return body

    def save(self, answer):
        """Save an answer. Raises Broke, and then nothing of the answer is saved."""
        known = copy.deepcopy(self.known)
        for kind in KINDS:
            for told in answer.get(kind, {}) or _broke(kind in answer and answer[kind] is None):
                _save(known, kind, dict(told))
        # The scanners see an arrival only with its badge.
        badges = {told["id"] for told in answer["badges"]}
        alone = [told["id"] for told in answer["arrivals"] if told["badge"] not in badges]
        _check(not alone, f"arrivals {alone} without their badges")
        self.known = known


def _save(known, kind, told):
    key, deleted = told.pop("id"), told.pop("deleted")
    what = f"{kind} {key}, of which is told {told}"
    _check(_UUID.fullmatch(key), f"the id of {what}")
    _check(isinstance(deleted, bool), f"deleted of {what}")
    _check("qr" not in told, f"a qr of {what}")
    _check_fields(kind, told, what)
    if kind in _WHOLE:
        for name in CONTRACT[kind]:
            _check(told.get(name) is not None, f"no {name} of {what}")
    for name in {"arrivals": ("badge",), "engagements": ("person", "direction")}.get(kind, ()):
        _check(told[name] in known[f"{name}s"], f"an unknown {name} of {what}")
    if deleted and kind == "directions":
        users = [one for one in known["engagements"].values() if one["direction"] == key]
        _check(not users, f"the deletion of {what}, to which {users} refer")
    if deleted and kind in ("directions", "engagements"):
        known[kind].pop(key, None)
    else:
        known[kind].setdefault(key, {}).update(told, deleted=deleted)


def _check_fields(kind, told, what):
    if kind == "badges":
        for name in ("role", "vegan"):
            _check(told.get(name, 0) is not None, f"{name} of {what}")
        batch = told.get("batch")
        _check(batch is None or str(batch).isdigit(), f"the batch of {what}")
    for name, value in told.items():
        if name.endswith("_date") and value is not None:
            _check(_DATE.fullmatch(value), f"{name} of {what}")


def _check(is_good, what):
    if not is_good:
        raise Broke(f"it cannot save {what}")


def _broke(is_null):
    _check(not is_null, "a group that is null")
    return ()
