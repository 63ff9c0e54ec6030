"""A model of Kormitel's client, as kormitel.md describes it, and of the changes its people make.

The model stores the objects that the client's database would, and refuses an answer that would
break the client (`Broke`: the answer is undone as a whole, and so is every later one until the
client is restarted). The changes of its own people are queued until they are posted; of what it
posted in a run it takes nothing from that run's answer. The model knows nothing of how the hub
works.
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
ROLES = (
    *("ORGANIZER", "VICE", "TEAM_LEAD", "VOLUNTEER", "MEDIC", "CAMP_LEAD", "CAMP_GUY", "ANIMATOR"),
    *("LECTOR", "MASTER", "ARTIST", "FELLOW", "ART_FELLOW", "VIP", "PRESS", "CONTRACTOR"),
    *("MERCHANT", "LOCALS"),
)
BATCH_MAX = 2147483647
SHORT_MAX = 255  # characters of these texts
SHORT = {
    "persons": "name first_name last_name nickname other_names phone telegram email city",
    "directions": "name",
    "engagements": "position status",
    "badges": "name first_name last_name phone",
}
SHORT = {kind: names.split() for kind, names in SHORT.items()}
PAID_ARRIVALS = "paid_arrivals"  # beyond the contract, and saved last
_WHOLE = ("directions", "engagements", "arrivals")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_FEEDS = {1: "FREE", 2: "PAID", 3: "CHILD", 4: "NO", None: None}


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
    body, or raise Lost. clock: returns Unix seconds. stuck: the error of an answer that could not
    be saved, which every later answer meets again; None: none since the start.
    """

    def __init__(self, post, get, clock):
        self.known = {kind: {} for kind in KINDS}
        self.from_date = FIRST_DATE
        self.waiting = []
        self.stuck = None
        self._post, self._get, self._clock = post, get, clock

    # The client's people

    def change(self, kind, key, **data):
        """Add or change an object. data: also `deleted`, or the field names of a mass edit.

        A feed_type of None unsets the feed, and is posted with a feed of NO beside it.
        """
        plain = {
            {"is_vegan": "vegan", "feed_type": "feed"}.get(name, name): (
                _FEEDS[value] if name == "feed_type" else value
            )
            for name, value in data.items()
        }
        self.change_quietly(kind, key, **plain)
        if "feed_type" in data and data["feed_type"] is None:
            data = {"feed": "NO", **data}
        self.queue_item(kind, {"id": key, **data})

    def change_quietly(self, kind, key, **fields):
        """Add or change an object in a way that has no history: it is never posted."""
        self.known[kind].setdefault(key, {"deleted": False}).update(fields)

    def restart(self):
        """Restart the client's process, which forgets the error that it was stuck at."""
        self.stuck = None

    def queue_item(self, kind, data):
        """Queue data to be posted as it is."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        item = {"actor_badge": None, "date": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}", "data": data}
        self.waiting.append((kind, item))

    # The client's run, every quarter of an hour

    def run(self):
        """Post a portion of the queue, then ask for the changes, and save all or none.

        The answer is passed over where it has an object that was posted in this run.
        """
        posted = set()
        if self.waiting:
            portion = sorted(self.waiting, key=lambda one: one[0] != "badges")[:PORTION]
            groups = {}
            for kind, item in portion:
                groups.setdefault(kind, []).append(item)
            self._done(*self._post(json.dumps(groups).encode()))
            self.waiting = [one for one in self.waiting if one not in portion]
            posted = {item["data"].get("id") for _, item in portion}
        before = datetime.fromtimestamp(self._clock(), UTC)
        body = self._done(*self._get(self.from_date))
        self.save(json.loads(body), posted)
        self.from_date = f"{before:%Y-%m-%dT%H:%M:%S}"

    @staticmethod
    def _done(status, body):
        if status >= 400:
            raise Broke(f"status {status}: it never asks for sync again: {body!r}")
        return body

    def save(self, answer, posted=()):
        """Save an answer but for the objects with these ids.

        Raises Broke, and then nothing of the answer is saved, nor of any until `restart`.
        """
        _check(self.stuck is None, f"anything until it is restarted: {self.stuck}")
        known = copy.deepcopy(self.known)
        try:
            for kind in KINDS:
                _check(answer.get(kind, ()) is not None, "a group that is null")
                for told in answer.get(kind, ()):
                    if told["id"] not in posted:
                        _save(known, kind, dict(told))
            for told in answer.get(PAID_ARRIVALS, ()):
                if told["id"] not in posted:
                    _check_paid(known, told)
            # The scanners see an arrival only with its badge.
            badges = {told["id"] for told in answer["badges"]}
            alone = [told["id"] for told in answer["arrivals"] if told["badge"] not in badges]
            _check(not alone, f"arrivals {alone} without their badges")
        except Broke as fault:
            self.stuck = str(fault)
            raise
        self.known = known


def _save(known, kind, told):
    key, deleted = told.pop("id"), told.pop("deleted")
    what = f"{kind} {key}, of which is told {told}"
    _check(_UUID.fullmatch(key), f"the id of {what}")
    _check(isinstance(deleted, bool), f"deleted of {what}")
    _check("qr" not in told, f"a qr of {what}")
    _check_fields(kind, told, what)
    if kind == "badges" and told.get("person") is not None:
        _check(told["person"] in known["persons"], f"an unknown person of {what}")
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
    for name in {"badges": ("role", "vegan"), "persons": ("vegan",)}.get(kind, ()):
        _check(told.get(name, 0) is not None, f"{name} of {what}")
    if kind in ("badges", "engagements") and "role" in told:
        _check(told["role"] in ROLES, f"the role of {what}")
    if kind == "badges":
        batch = told.get("batch")
        _check(batch is None or _is_batch(str(batch)), f"the batch of {what}")
    if kind == "directions":
        _check(str(told.get("name", "x")).strip(), f"the name of {what}")
    for name in SHORT.get(kind, ()):
        _check(len(str(told.get(name, ""))) <= SHORT_MAX, f"{name} of {what}")
    for name, value in told.items():
        if name.endswith("_date") and value is not None:
            _check(_DATE.fullmatch(value), f"{name} of {what}")


def _is_batch(text):
    return text.isdigit() and len(text.lstrip("0")) <= 10 and int(text) <= BATCH_MAX


def _check_paid(known, told):
    what = f"paid arrival {told['id']}, of which is told {told}"
    _check(told.get("badge") in known["badges"], f"an unknown badge of {what}")
    for name in ("is_free", "departure_date"):
        _check(told.get(name) is not None, f"no {name} of {what}")


def _check(is_good, what):
    if not is_good:
        raise Broke(f"it cannot save {what}")
