"""A site whose readers admit badges of Kormitel, and the changes that the tests make there.

Objects are stored without `kormitel.service`: the rules compiled from them are the subject here.
"""

from collections import defaultdict
from typing import Any

from sqlalchemy import select

from kalitka_hub.kormitel import canteen
from kalitka_hub.kormitel.settings import CanteenSetting, change_settings
from kalitka_hub.site.inputs import parse_input
from kalitka_hub.site.readers import existing_reader, groups_of_reader
from kalitka_hub.site.site_zone import set_zone
from kalitka_hub.store.changes import change_context, write_transaction
from kalitka_hub.store.kormitel_models import KormitelObject
from kalitka_hub.store.models import Token, TokenRule

ANNA = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
DIGITS = ANNA.replace("-", "")
TODAY = "1_29919120_29923439"  # the rule of 2026-11-20 to 2026-11-22 in Moscow
THERE = {"status": "ARRIVED", "arrival_date": "2026-11-20", "departure_date": "2026-11-22"}
MEALS = [
    {"name": "Breakfast", "start": "08:00", "end": "10:00", "night": False},
    {"name": "Night", "start": "23:00", "end": "02:00", "night": True},
]


def an_object(session, kind: str, key: str, fields: dict[str, Any], born: int | None = 1) -> int:
    """Insert or update an object as `kormitel.service` does; return its id."""
    given = {"fields": fields, "badge": fields.get("badge"), "died": None, "born": born}
    mine = KormitelObject.kind == kind, KormitelObject.key == key
    found = session.scalars(select(KormitelObject).where(*mine)).one_or_none()
    if found is None:
        found = KormitelObject(kind=kind, key=key, writes=[], changed=1, by="test", **given)
        session.add(found)
    for name, value in given.items():
        setattr(found, name, value)
    session.flush()
    return found.id


class Canteen:
    """A site in Moscow, with GATE-1 as the reader of all kitchens."""

    def __init__(self, database) -> None:
        self.database = database
        with self.write_transaction() as session:
            set_zone(session, "MSK-3")
        self.choose(kitchens={"*": ["GATE-1"]})

    def write_transaction(self):
        return write_transaction(self.database, "test")

    def choose(self, **fields: Any) -> bool:
        with self.write_transaction() as session:
            return change_settings(session, parse_input(CanteenSetting, **fields))

    def put(self, kind: str, key: str, **fields: Any) -> int:
        """Write an object; return the number of tokens whose rules changed."""
        with self.write_transaction() as session:
            written = an_object(session, kind, key, fields)
            return canteen.recompute(session, [self._badge(session, fields.get("badge"), written)])

    def badge(self, key: str = ANNA, **fields: Any) -> int:
        return self.put("badges", key, **fields)

    def arrival(self, key: str = "1", badge: str = ANNA, **fields: Any) -> int:
        return self.put("arrivals", key, badge=badge, **(THERE | fields))

    def remove(self, kind: str, key: str) -> int:
        with self.write_transaction() as session:
            mine = KormitelObject.kind == kind, KormitelObject.key == key
            found = session.scalars(select(KormitelObject).where(*mine)).one()
            found.died = change_context(session).micros
            session.flush()
            return canteen.recompute(session, [self._badge(session, found.badge, found.id)])

    def reader_rules(self, reader: str = "GATE-1") -> dict[str, set[str]]:
        """Return the rule texts of a reader, by code."""
        told: dict[str, set[str]] = defaultdict(set)
        with self.database.snapshot() as session:
            groups = groups_of_reader(session, existing_reader(session, reader).id)
            for code, text in session.execute(
                select(Token.code, TokenRule.text)
                .join(TokenRule, TokenRule.token_id == Token.id)
                .where(TokenRule.group_id.in_(groups), Token.deleted.is_(False))
            ):
                told[code].add(text)
        return told

    def tokens(self) -> dict[str, bool]:
        """Return all tokens by code, each with whether it is removed."""
        with self.database.snapshot() as session:
            return {row.code: row.deleted for row in session.scalars(select(Token))}

    @staticmethod
    def _badge(session, key: str | None, written: int) -> int:
        if key is None:
            return written
        wanted = select(KormitelObject.id).where(KormitelObject.kind == "badges")
        return session.scalars(wanted.where(KormitelObject.key == key)).one()
