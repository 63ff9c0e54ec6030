"""Tokens and rules of the canteen's readers, compiled from badges and arrivals.

The only writer of badge codes, `kormitel_tokens` and `kormitel_rules`; `badge_rules` writes the
rule texts. A token exists as long as its badge has rules; a token that an operator added, blocked,
or gave a person or direct rules, stays. If several badges have the same code, the badge that got
the code last owns it; once that badge gives the code up, the one before owns it again. Only
differences are written, and memory holds one batch of badges at a time. Sessions come from
`changes.write_transaction`.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, delete, select, update
from sqlalchemy.orm import Session

from kalitka_hub.kormitel.badge_rules import (
    Meal,
    RuleTexts,
    badge_codes,
    badge_name,
    expired_texts,
    fed_windows,
    rule_texts,
)
from kalitka_hub.kormitel.fields import ARRIVALS, BADGES, PAID_ARRIVALS
from kalitka_hub.site import rule_compiler
from kalitka_hub.site.rule_compiler import GroupRule
from kalitka_hub.site.schedule_rules import Span
from kalitka_hub.site.site_zone import zone_of
from kalitka_hub.site.tokens import token_key
from kalitka_hub.store.bulk import in_batches, in_values, insert_rows, replace_rows, update_rows
from kalitka_hub.store.changes import change_context
from kalitka_hub.store.database import Database
from kalitka_hub.store.kormitel_models import (
    KormitelKitchen,
    KormitelObject,
    KormitelRule,
    KormitelToken,
)
from kalitka_hub.store.models import NAME_MAX, DirectRule, Site, Token

# Its readers serve every kitchen that has none of its own. Do not change: stored.
OTHER_KITCHENS = "*"
_log = logging.getLogger(__name__)


def recompute(session: Session, badge_ids: Iterable[int]) -> int:
    """Recompile the codes, tokens and rules of these badges.

    badge_ids: ids of `KormitelObject`, deleted badges included. Returns the number of tokens whose
    rules changed for readers. Other badges with a code that changes hands are recompiled as well.
    Never refuses: rules that a reader cannot hold are logged.
    """
    return _BadgeCompiler(session).run(set(badge_ids))


def recompute_all(session: Session) -> int:
    """Recompute all badges; see `recompute`."""
    badges = select(KormitelObject.id).where(KormitelObject.kind == BADGES)
    return recompute(session, session.scalars(badges.where(is_alive())).all())


def recompute_site(session: Session) -> int:
    """Recompute all badges and all tokens, as a change of the time zone requires.

    One transaction with that change: no reader is sent rules of one zone beside rules of another.
    Returns the number of tokens whose rules changed.
    """
    return recompute_all(session) + rule_compiler.recompute_all(session)


def refresh_daily(database: Database) -> int | None:
    """Refresh the holidays in the rules once a day, and with them the rules of badges.

    Returns the number of changed tokens, None if today's refresh is done already.
    """
    return rule_compiler.refresh_horizon(database, recompute_expired)


def recompute_expired(session: Session) -> int:
    """Recompute the badges that have a window which ended before today; see `recompute`.

    As days pass only their rules change: a window that did not fit takes the place of one that
    expired.
    """
    texts = session.scalars(select(KormitelRule.text).distinct())
    expired = expired_texts(texts, change_context(session).at // 60, zone_of(session))
    of_badges = select(KormitelToken.badge_id).join(
        KormitelRule, KormitelRule.token_id == KormitelToken.token_id
    )
    badges: set[int] = set()
    for batch in in_batches(expired):
        badges.update(
            session.scalars(of_badges.where(in_values(session, KormitelRule.text, batch)))
        )
    return recompute(session, badges)


def is_alive() -> ColumnElement[bool]:
    """Return the condition that an object is not deleted."""
    return KormitelObject.born.is_not(None) & KormitelObject.died.is_(None)


def meals_of(session: Session) -> list[Meal]:
    """Return the site's meals; without meals the canteen feeds all day."""
    stored = session.execute(select(Site.kormitel_meals)).scalar_one()
    return [Meal(**meal) for meal in stored or ()]


class Kitchens:
    """The reader groups of each kitchen."""

    def __init__(self, session: Session) -> None:
        self._groups: dict[str, list[int]] = defaultdict(list)
        columns = select(KormitelKitchen.kitchen, KormitelKitchen.group_id)
        for kitchen, group_id in session.execute(columns.order_by(*columns.selected_columns)):
            self._groups[kitchen].append(group_id)

    def groups_of(self, fields: Mapping[str, Any]) -> list[int]:
        """Return the ids of the reader groups at which a badge is fed; may be empty."""
        named = fields.get("kitchen")
        own = None if named is None else self._groups.get(str(named).strip())
        return own or self._groups.get(OTHER_KITCHENS, [])


class _Badge(NamedTuple):
    id: int
    key: str
    fields: dict[str, Any]
    code: str


class _Wanted(NamedTuple):
    # A token that a badge should have.
    badge_id: int
    name: str
    rules: frozenset[GroupRule]


class _BadgeCompiler:
    # One recomputation of badges, with the site's settings that decide it.

    def __init__(self, session: Session) -> None:
        change = change_context(session)
        self._session = session
        self._now = change.at // 60
        self._micros = change.micros
        self._stamp = change.stamp
        self._zone = zone_of(session)
        self._meals = meals_of(session)
        self._kitchens = Kitchens(session)
        self._texts_of: dict[tuple[tuple[Span, ...], str | None], RuleTexts] = {}
        self._touched: set[int] = set()  # ids of tokens whose rules differ
        self._crowded = 0  # badges with more windows than a reader holds

    def run(self, badge_ids: set[int]) -> int:
        codes = self._update_codes(badge_ids)
        for batch in in_batches(sorted(badge_ids | self._claimants(codes))):
            self._compile_batch(batch)
        if self._crowded:
            _log.warning(
                "%d badges have more windows than a reader holds: readers get the later ones "
                "once earlier ones expire",
                self._crowded,
            )
        return rule_compiler.recompute_unchecked(self._session, sorted(self._touched))

    def _update_codes(self, badge_ids: Iterable[int]) -> set[str]:
        """Store the codes of badges; return the codes that a badge gained or lost."""
        changed: set[str] = set()
        columns = (KormitelObject.id, KormitelObject.key, KormitelObject.fields)
        for batch in in_batches(sorted(badge_ids)):
            rows = []
            for id, key, fields, before, alive in self._session.execute(
                select(*columns, KormitelObject.code, is_alive().label("alive")).where(
                    in_values(self._session, KormitelObject.id, batch),
                    KormitelObject.kind == BADGES,
                )
            ):
                code = next(iter(badge_codes(key, fields)), None) if alive else None
                if code != before:
                    since = None if code is None else self._micros
                    rows.append({"id": id, "code": code, "code_since": since})
                    changed |= {text for text in (before, code) if text is not None}
            update_rows(self._session, KormitelObject, rows)
        return changed

    def _claimants(self, codes: Collection[str]) -> set[int]:
        return {
            badge_id
            for batch in in_batches(sorted(codes))
            for badge_id in self._session.scalars(
                select(KormitelObject.id).where(
                    in_values(self._session, KormitelObject.code, batch)
                )
            )
        }

    def _compile_batch(self, badge_ids: Collection[int]) -> None:
        wanted = self._wanted(self._owners(badge_ids))
        held = self._tokens(in_values(self._session, KormitelToken.badge_id, badge_ids))
        self._release_tokens([row for row in held if row.code not in wanted])
        known = {row.code: row for row in held if row.code in wanted}
        keys = {token_key(code): code for code in wanted.keys() - known.keys()}
        if keys:
            others = self._tokens(in_values(self._session, Token.key, keys))
            known |= {row.code: row for row in others}
        self._name_tokens(wanted, known.values())
        ids = {code: row.id for code, row in known.items()}
        ids |= self._add_tokens(
            wanted, {key: code for key, code in keys.items() if code not in known}
        )
        self._assign_tokens(wanted, known, ids)
        rules = {ids[code]: token.rules for code, token in wanted.items()}
        self._touched.update(replace_rows(self._session, KormitelRule, rules))

    def _owners(self, badge_ids: Collection[int]) -> list[_Badge]:
        """Return the badges among these that own their code."""
        columns = [getattr(KormitelObject, name) for name in _Badge._fields]
        mine = in_values(self._session, KormitelObject.id, badge_ids)
        badges = [
            _Badge(*row)
            for row in self._session.execute(
                select(*columns).where(mine, KormitelObject.code.is_not(None))
            )
        ]
        claims = self._session.execute(
            select(KormitelObject.code, KormitelObject.id)
            .where(in_values(self._session, KormitelObject.code, {badge.code for badge in badges}))
            .order_by(KormitelObject.code_since, KormitelObject.id)
        )
        # Oldest claim first, so of each code the dict keeps the newest.
        owners = {row.code: row.id for row in claims}
        return [badge for badge in badges if owners[badge.code] == badge.id]

    def _wanted(self, badges: Iterable[_Badge]) -> dict[str, _Wanted]:
        served = {
            badge.key: (badge, groups)
            for badge in badges
            if (groups := self._kitchens.groups_of(badge.fields))
        }
        arrivals = self._arrivals(served)
        wanted: dict[str, _Wanted] = {}
        for key, (badge, groups) in served.items():
            texts = self._texts(badge, arrivals[ARRIVALS, key], arrivals[PAID_ARRIVALS, key])
            if not texts:
                continue
            rules = frozenset((group_id, text) for group_id in groups for text in texts)
            token = _Wanted(badge.id, badge_name(key, badge.fields)[:NAME_MAX], rules)
            wanted |= dict.fromkeys(badge_codes(key, badge.fields), token)
        return wanted

    def _arrivals(
        self, badges: Iterable[str]
    ) -> dict[tuple[str, str | None], list[dict[str, Any]]]:
        """Return the fields of the badges' arrivals, by kind and badge key."""
        found: dict[tuple[str, str | None], list[dict[str, Any]]] = defaultdict(list)
        for kind, badge, fields in self._session.execute(
            select(KormitelObject.kind, KormitelObject.badge, KormitelObject.fields).where(
                in_values(self._session, KormitelObject.badge, badges),
                KormitelObject.kind.in_((ARRIVALS, PAID_ARRIVALS)),
                is_alive(),
            )
        ):
            found[kind, badge].append(fields)
        return found

    def _texts(
        self, badge: _Badge, arrivals: Iterable[dict[str, Any]], paid: Iterable[dict[str, Any]]
    ) -> tuple[str, ...]:
        # Many badges stay for the same days: each case is compiled once.
        windows = tuple(fed_windows(badge.fields, arrivals, paid, self._zone))
        case = windows, badge.fields.get("feed")
        if case not in self._texts_of:
            self._texts_of[case] = rule_texts(*case, self._meals, self._now, self._zone)
        texts, omitted = self._texts_of[case]
        self._crowded += omitted > 0
        return texts

    def _tokens(self, condition: ColumnElement[bool]) -> list[Row[Any]]:
        found = self._session.execute(
            select(Token.id, Token.code, Token.name, Token.person_id, Token.blocked)
            .add_columns(Token.deleted, KormitelToken.badge_id, KormitelToken.made)
            .join(KormitelToken, KormitelToken.token_id == Token.id, isouter=True)
            .where(condition)
        )
        return list(found.all())

    def _name_tokens(self, wanted: Mapping[str, _Wanted], known: Iterable[Row[Any]]) -> None:
        # A token made for a badge has the badge's name; a removed token comes back as a new one.
        rows = [
            {"id": row.id, "name": wanted[row.code].name, "deleted": False}
            for row in known
            if row.deleted or (row.made and row.name != wanted[row.code].name)
        ]
        update_rows(self._session, Token, rows)

    def _add_tokens(
        self, wanted: Mapping[str, _Wanted], new: Mapping[bytes, str]
    ) -> dict[str, int]:
        """Add tokens of these keys and codes; return their ids by code."""
        if not new:
            return {}
        common = {"person_id": None, "blocked": False, "deleted": False, "changed": self._stamp}
        rows = [
            {"key": key, "code": code, "name": wanted[code].name, **common}
            for key, code in new.items()
        ]
        insert_rows(self._session, Token, rows)
        made = select(Token.code, Token.id).where(in_values(self._session, Token.key, new))
        return {row.code: row.id for row in self._session.execute(made)}

    def _assign_tokens(
        self,
        wanted: Mapping[str, _Wanted],
        known: Mapping[str, Row[Any]],
        ids: Mapping[str, int],
    ) -> None:
        """Store the badge of each token that belonged to another badge or to none."""
        rows = []
        for code, token in wanted.items():
            row = known.get(code)
            made = row is None or row.deleted or bool(row.made)
            if row is None or (row.badge_id, row.made) != (token.badge_id, made):
                rows.append({"token_id": ids[code], "badge_id": token.badge_id, "made": made})
        self._delete_rows(KormitelToken, [row["token_id"] for row in rows])
        insert_rows(self._session, KormitelToken, rows)

    def _release_tokens(self, tokens: Collection[Row[Any]]) -> None:
        """Remove the badges' rules from tokens, and delete tokens without any other use."""
        if not tokens:
            return
        ids = [row.id for row in tokens]
        self._delete_rows(KormitelRule, ids)
        self._delete_rows(KormitelToken, ids)
        by_hand = set(
            self._session.scalars(
                select(DirectRule.token_id).where(
                    in_values(self._session, DirectRule.token_id, ids)
                )
            )
        )
        unused = [
            row.id
            for row in tokens
            if row.made and not row.blocked and row.person_id is None and row.id not in by_hand
        ]
        self._session.execute(
            update(Token)
            .where(in_values(self._session, Token.id, unused))
            .values(deleted=True, name=None)
        )
        self._touched.update(ids)

    def _delete_rows(
        self, model: type[KormitelToken | KormitelRule], token_ids: Collection[int]
    ) -> None:
        if token_ids:
            mine = in_values(self._session, model.token_id, token_ids)
            self._session.execute(delete(model).where(mine))
