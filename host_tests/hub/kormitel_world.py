"""Kormitel and a hub, with people who change objects at both, a lossy network and wrong clocks.

A seed alone decides a run. At the end everything is repaired, both exchange undisturbed, and
`disagreements` lists the differences in everything that the protocol can express.
"""

import random
from contextlib import contextmanager
from unittest.mock import patch

from argon2 import PasswordHasher
from fastapi.testclient import TestClient
from sqlalchemy import select

from hub.canteen_oracle import expected_rules
from hub.hub_accounts import PASSWORD, add_user
from hub.hub_site import START
from hub.kormitel_client import CONTRACT, KINDS, OWN, ROLES, Kormitel, Lost, stay, uid
from kalitka_hub.accounts import passwords
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel import http_api, service
from kalitka_hub.kormitel.settings import CanteenSetting, change_settings
from kalitka_hub.server.app import create_app
from kalitka_hub.site.inputs import parse_input
from kalitka_hub.site.readers import add_or_update_reader, existing_reader, groups_of_reader
from kalitka_hub.site.site_zone import set_zone
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database
from kalitka_hub.store.kormitel_models import KormitelObject
from kalitka_hub.store.models import Token, TokenRule

ZONE, ZONE_NAME = "MSK-3", "Europe/Moscow"
READER = "GATE-1"
FAULTS = ("request lost", "answer lost", "answer cut", "twice")
STATUSES = ("PLANNED", "ARRIVED", "STARTED", "JOINED", "LEFT", "COMPLETE")
FEEDS = ("FREE", "PAID", "CHILD", "NO")
OBJECTS = 6  # of each kind: few, so that both sides change the same ones
_CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
_RUN_SECONDS = 15 * 60
_SETTLED = 6  # successful exchanges before a clock is set again
_NULLS_LEFT_OUT = (("badges", "role"), ("badges", "vegan"), ("persons", "vegan"))
_NUMBERS = {kind: 100 * at for at, kind in enumerate(KINDS)}


class World:
    """The world of the module's text. chance: the only source of events."""

    def __init__(self, where, seed):
        self.chance = random.Random(seed)
        self.time = START * 60 + 38.25
        self.hub_wrong = self.chance.choice((0, 0, self.chance.uniform(-600, 600)))
        self.kormitel_wrong = self.chance.choice((0, self.chance.uniform(-20, 20)))
        self.database = open_database(where, lambda: self.time + self.hub_wrong)
        self.kormitel = Kormitel(self._post, self._get, lambda: self.time + self.kormitel_wrong)
        self.happened = []
        self._client = TestClient(create_app(self.database))
        self._client.auth = ("kormitel", PASSWORD)
        self._loses = True
        self._codes = 0
        self._since_set = 0

        with patch.object(passwords, "_HASHER", _CHEAP):
            add_user(self.database, "kormitel", "integration")
        with write_transaction(self.database) as session:
            add_or_update_reader(session, READER)
            set_zone(session, ZONE)
            change_settings(session, parse_input(CanteenSetting, kitchens={"*": [READER]}))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.database.close()

    # Events

    def go(self, runs):
        """Run `runs` quarters of an hour, in which anything may happen."""
        for _ in range(runs):
            for _ in range(self.chance.choice((0, 1, 3, 8, 30))):
                self.time += self.chance.choice((0, 0.001, 1, 20))
                self.chance.choice((self._operator, self._kormitels))()
            if self.chance.random() < 0.1 and self._since_set > _SETTLED:
                self._since_set = 0
                self.hub_wrong = self.chance.uniform(-1200, 1200)
            self.run()
            self.time += _RUN_SECONDS if self.chance.random() < 0.8 else 1

    def run(self):
        try:
            self.kormitel.run()
            self._since_set += 1
        except (Lost, ValueError) as fault:
            self.happened.append(repr(fault))

    def repair_and_sync(self):
        """Repair the withheld objects, then let both exchange until nothing changes."""
        self._loses = False
        for _ in range(3):
            for kind, key, is_dead in self._held():
                self._repair(kind, key, is_dead)
        for _ in range(_SETTLED + 2 + len(self.kormitel.waiting) // 100):
            self.time += _RUN_SECONDS
            self.kormitel.run()
        assert not self.kormitel.waiting

    # The network

    def _post(self, body):
        return self._ask(lambda: self._client.post(f"{http_api.PREFIX}/back-sync", content=body))

    def _get(self, from_date):
        given = {"from_date": from_date}
        return self._ask(lambda: self._client.get(f"{http_api.PREFIX}/sync", params=given))

    def _ask(self, ask):
        fault = self.chance.choice(FAULTS) if self._loses and self.chance.random() < 0.3 else ""
        self.time += self.chance.choice((0.001, 0.3, 5))
        if fault == "request lost":
            raise Lost(fault)
        self._meanwhile()
        answer = ask()
        if fault == "twice":
            answer = ask()
        self._meanwhile()
        self.time += self.chance.choice((0.001, 0.3, 5))
        if fault == "answer lost":
            raise Lost(fault)
        cut = fault == "answer cut" and answer.request.method == "GET"
        return answer.status_code, answer.content[: -9 if cut else None]

    def _meanwhile(self):
        if self._loses and self.chance.random() < 0.5:
            self._operator()
            self.time += self.chance.choice((0, 0.001, 1))

    # The hub's operators

    def _operator(self):
        kind = self.chance.choice(KINDS)
        key = self._key(kind)
        with self._refusals_passed(), write_transaction(self.database, "an operator") as session:
            if self.chance.random() < 0.2:
                service.remove_object(session, kind, key)
            else:
                service.put_objects(session, kind, {key: self._fields(kind)})

    def _fields(self, kind):
        """Return the fields that an operator writes: all, a few, or some with an odd value."""
        whole = getattr(self, f"_{kind}")()
        if self.chance.random() < 0.4:
            return whole
        names = self.chance.sample(sorted(whole), k=min(len(whole), self.chance.randint(1, 2)))
        fields = {name: whole[name] for name in names}
        if self.chance.random() < 0.1:
            odd = {"badges": {"batch": "A-1"}, "arrivals": {"status": None}, "persons": {}}
            fields |= odd.get(kind, {"name" if kind == "directions" else "role": None})
        return fields

    @contextmanager
    def _refusals_passed(self):
        try:
            yield
        except (InvalidRequest, NotFound) as fault:
            self.happened.append(repr(fault))

    def _persons(self):
        return {"name": self._word(), "vegan": self.chance.random() < 0.5, "city": self._word()}

    def _directions(self):
        return {
            "name": self._word(),
            "first_year": 2020,
            "last_year": self.chance.choice((2025, 2026)),
            "type": self.chance.choice(("CITY_SERVICE", "FIELD_SERVICE")),
        }

    def _engagements(self):
        return {
            "year": 2026,
            "person": self._key("persons"),
            "direction": self._key("directions"),
            "role": self.chance.choice(ROLES),
            "position": self._word(),
            "status": self._word(),
        }

    def _badges(self):
        return {
            "name": self._word(),
            "vegan": self.chance.random() < 0.5,
            "feed": self.chance.choice(FEEDS),
            "batch": self.chance.choice(("1", "2", 3)),
            "role": self.chance.choice(ROLES),
            "person": self._key("persons"),
        }

    def _arrivals(self):
        # Far from today, so that no rule expires during a run.
        first, last = sorted(self.chance.choices(range(1, 29), k=2))
        dates = f"2027-01-{first:02}", f"2027-01-{last:02}"
        return stay(self._key("badges"), self.chance.choice(STATUSES), *dates)

    # Kormitel's people

    def _kormitels(self):
        kind = self.chance.choice(("badges", "badges", "arrivals"))
        key, known = self._key(kind), self.kormitel.known
        here = known[kind].get(key)
        if here is None:
            self._make(kind, key)
        elif self.chance.random() < 0.1:
            self.kormitel.change(kind, key, deleted=not here["deleted"])
        elif here["deleted"]:
            return
        elif self.chance.random() < 0.03:
            self.kormitel.queue_item(kind, {"is_vegan": True})  # an undo of a mass edit has no id
        elif kind == "badges":
            self.kormitel.change(kind, key, **self._own_fields())
        else:
            whole = self._arrivals()
            name = self.chance.choice(("status", "arrival_date", "departure_transport"))
            self.kormitel.change(kind, key, **{name: whole[name]})

    def _make(self, kind, key):
        if kind == "badges":
            self.kormitel.change(kind, key, **self._badges())
            self.kormitel.change(kind, key, **self._own_fields())
            return
        whole = self._arrivals()
        if whole["badge"] in self.kormitel.known["badges"]:
            self.kormitel.change(kind, key, **whole)

    def _own_fields(self):
        self._codes += 1
        choices = (
            {"qr": self.chance.choice((f"code{self._codes}", f"code{self._codes}", None, ""))},
            {"is_blocked": self.chance.random() < 0.5},
            {"kitchen": self.chance.choice((1, 2))},
            {"feed_type": self.chance.choice((1, 2, 3, 4, None))},
            {"is_vegan": self.chance.random() < 0.5},
            {"name": self._word()},
            {"comment": self._word()},
        )
        return self.chance.choice(choices)

    def _key(self, kind):
        return uid(_NUMBERS[kind] + self.chance.randrange(OBJECTS))

    def _word(self):
        return self.chance.choice("abcd")

    # The end

    def _held(self):
        with self.database.snapshot() as session:
            rows = session.scalars(select(KormitelObject).where(service.is_held()))
            return [(row.kind, row.key, row.died is not None) for row in rows if row.born]

    def _repair(self, kind, key, is_dead):
        whole = getattr(self, f"_{kind}")()
        # The referred objects must exist.
        for name in ("person", "direction", "badge"):
            if name in whole:
                referred = getattr(self, f"_{name}s")()
                self._operate(service.put_objects, f"{name}s", {whole[name]: referred})
        self._operate(service.put_objects, kind, {key: whole})
        if is_dead:
            self._operate(service.remove_object, kind, key)

    def _operate(self, change, kind, given):
        self.time += 1
        with self._refusals_passed(), write_transaction(self.database, "an operator") as session:
            change(session, kind, given)

    def disagreements(self):
        """Return the differences between both sides, in words."""
        with self.database.snapshot() as session:
            rows = session.scalars(select(KormitelObject)).all()
        at_hub = {(row.kind, row.key): row for row in rows}
        found = [f"{kind} {key} is withheld" for kind, key, dead in self._held() if not dead]
        for kind in KINDS:
            for key, known in self.kormitel.known[kind].items():
                row = at_hub.get((kind, key))
                alive = row is not None and row.born is not None and row.died is None
                if known["deleted"] == alive:
                    there, here = ("not there", "there") if alive else ("there", "not there")
                    found.append(f"{kind} {key} is {there}, and at the hub {here}")
                elif row is not None and alive:
                    found += self._differences(kind, known, row)
        for (kind, key), row in at_hub.items():
            alive = row.born is not None and row.died is None
            if alive and key not in self.kormitel.known.get(kind, {}):
                found.append(f"{kind} {key}: Kormitel does not know it")
        return found + self._unlike_rules_of(self.kormitel.known)

    def _differences(self, kind, known, row):
        own = OWN if kind == "badges" else ()
        for name in (*CONTRACT[kind], *own):
            here, there = row.fields.get(name), known.get(name)
            if here is None and (kind, name) in _NULLS_LEFT_OUT:
                continue  # a null that cannot be sent
            if here != there:
                yield f"{kind} {row.key}: {name} is {there!r}, at the hub {here!r}"

    def wrong_rules(self):
        """Return what the reader's rules are and those of the hub's own badges, if they differ."""
        known = {"badges": {}, "arrivals": {}}
        with self.database.snapshot() as session:
            for row in session.scalars(select(KormitelObject)):
                deleted = row.born is None or row.died is not None
                known.setdefault(row.kind, {})[row.key] = {**row.fields, "deleted": deleted}
        return self._unlike_rules_of(known)

    def _unlike_rules_of(self, known):
        expected = expected_rules(known["badges"], known["arrivals"], ZONE_NAME)
        told = self._reader_rules()
        return [] if told == expected else [f"rules {told}, and of the badges {expected}"]

    def _reader_rules(self):
        told = {}
        with self.database.snapshot() as session:
            groups = groups_of_reader(session, existing_reader(session, READER).id)
            for code, text in session.execute(
                select(Token.code, TokenRule.text)
                .join(TokenRule, TokenRule.token_id == Token.id)
                .where(TokenRule.group_id.in_(groups), Token.deleted.is_(False))
            ):
                told.setdefault(code, set()).add(text)
        return told
