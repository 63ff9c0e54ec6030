"""From what people set to what readers are told: the one writer of `token_rules`.

A token has the rules that it was given by hand, those that the groups of its person are granted,
and those of a badge of Kormitel; one that is blocked or removed has none. A token whose rules
really changed is stamped, and only that costs the readers something. Of any number of tokens a
batch is in memory.

A reader holds RULE_SET_MAX bytes of rules of one code. Where it has to hold more, holidays are
left out, those farthest ahead first: they come into the rules as they come nearer.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

from sqlalchemy import ColumnElement, delete, exists, select, update
from sqlalchemy.orm import Session

from kalitka.access import packing
from kalitka.table.rule_sets import RULE_SET_MAX
from kalitka_hub.clock import minute_of
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site.grant_calendar import Calendar, date_of, day_of
from kalitka_hub.site.schedule_rules import HORIZON_DAYS, local_day
from kalitka_hub.site.site_zone import zone_of
from kalitka_hub.store.bulk import in_batches, insert_rows, one_of
from kalitka_hub.store.changes import change_of, changing, stamp_of
from kalitka_hub.store.database import Database
from kalitka_hub.store.kormitel_models import KormitelRule
from kalitka_hub.store.models import (
    EVERY_READER,
    DirectRule,
    Grant,
    PersonGroupMember,
    Reader,
    ReaderGroupMember,
    Site,
    Token,
    TokenRule,
)

_WAITING = "kalitka_waiting"
_log = logging.getLogger(__name__)

Rule = tuple[int, str]  # the id of a group of readers, and what it is told


def recompute(session: Session, token_ids: Iterable[int]) -> int:
    """Bring what is told of these tokens to what is set; return of how many it changed.

    The session comes from `changes.changing`. Raises Refused if a reader could not hold the rules
    that one of them gets: leave the block then. What was too much before, as a reader came into
    more groups, is no reason to refuse that some of it is taken away. Inside of `together` nothing
    is done as yet.
    """
    waiting: set[int] | None = session.info.get(_WAITING)
    if waiting is not None:
        waiting.update(token_ids)
        return 0
    work = _Work(session)
    changed = work.run(token_ids)
    if work.overfilled is not None:
        code = _code_of(session, work.overfilled)
        raise InvalidRequest(
            f"the token {code} has more rules than a reader holds of one ({RULE_SET_MAX} bytes): "
            "give it fewer grants, or schedules of fewer windows"
        )
    return changed


@contextmanager
def together(session: Session) -> Iterator[None]:
    """Have all tokens that `recompute` is asked for in the block done once, at its end.

    For many changes that concern the same tokens. Raises Refused as it does.
    """
    session.info[_WAITING] = waiting = set()
    try:
        yield
    finally:
        del session.info[_WAITING]
    if waiting:
        recompute(session, sorted(waiting))


def recompute_anyway(session: Session, token_ids: Iterable[int]) -> int:
    """Do the same, but never refuse; return how many tokens changed.

    What a reader cannot hold is told all the same, and logged: it drops what is too much. Inside
    of `together` it is done at once.
    """
    return _run_anyway(_Work(session), token_ids)


def recompute_all(session: Session) -> int:
    """Do `recompute_anyway` for all tokens, as every local day asks for."""
    work = _Work(session)
    token_ids = list(session.scalars(select(Token.id).where(Token.deleted.is_(False))))
    changed = _run_anyway(work, token_ids)
    session.execute(update(Site).values(horizon=_horizon(session, work.now)))
    return changed


def keep_horizon(database: Database, before: Callable[[Session], int] | None = None) -> int | None:
    """Do `recompute_all` if the local date is another than when it was done last, else nothing.

    before: what is done first, in the same transaction; it returns how many tokens it changed.
    Returns how many changed in all, None if nothing was to be done. Costs one short query then.
    """
    now = minute_of(database.clock)
    with database.snapshot() as session:
        if session.scalars(select(Site.horizon)).one() == _horizon(session, now):
            return None
    with changing(database, "the calendar") as session:
        changed = before(session) if before is not None else 0
        return changed + recompute_all(session)


def may_be_told(session: Session, date: str) -> bool:
    """Tell whether a holiday of this ISO date may be in the readers' rules today.

    A little more than the horizon, for what follows the last day of it without a gap. The session
    comes from `changes.changing`.
    """
    today = local_day(zone_of(session), change_of(session).at // 60)
    return today - 1 <= day_of(date) <= today + 2 * HORIZON_DAYS


def tokens_granted(session: Session, *conditions: object) -> list[int]:
    """Return the ids of the tokens of people who have a grant for which `conditions` hold."""
    people = (
        select(PersonGroupMember.person_id)
        .join(Grant, Grant.person_group_id == PersonGroupMember.group_id)
        .where(*conditions)  # type: ignore[arg-type]
    )
    return list(session.scalars(select(Token.id).where(Token.person_id.in_(people))))


class _Work:
    """One run over tokens, with what it knows of grants, and what it found too large.

    overfull: a token with more rules than a reader holds. overfilled: one that came to have more.
    """

    def __init__(self, session: Session) -> None:
        self.now = change_of(session).at // 60
        self.overfull: int | None = None
        self.overfilled: int | None = None
        self._session = session
        self._stamp = stamp_of(session)
        self._calendar: Calendar | None = None
        self._readers: set[frozenset[int]] | None = None
        self._granted: dict[frozenset[int], frozenset[Rule]] = {}
        self._cut: dict[int, int] = defaultdict(int)  # tokens, by the days ahead that they have
        self._too_large: list[int] = []  # tokens of the batch

    def run(self, token_ids: Iterable[int]) -> int:
        changed = 0
        for batch in in_batches(token_ids):
            wanted, told = self._wanted(batch), self._told(batch)
            nothing: set[Rule] = set()
            for token_id in self._too_large:
                self.overfull = token_id
                if self._is_worse(wanted[token_id], told.get(token_id, nothing)):
                    self.overfilled = token_id
            self._too_large.clear()
            differing = [
                token_id
                for token_id in batch
                if wanted.get(token_id, nothing) != told.get(token_id, nothing)
            ]
            self._write(differing, wanted)
            changed += len(differing)
        for days, count in sorted(self._cut.items()):
            _log.warning(
                "%d tokens have many rules: readers know their holidays only up to %s as yet",
                count,
                date_of(self._known_calendar().today + days),
            )
        return changed

    def _wanted(self, token_ids: Collection[int]) -> dict[int, Collection[Rule]]:
        live = self._are(Token.id, token_ids), Token.deleted.is_(False), Token.blocked.is_(False)
        direct: dict[int, set[Rule]] = defaultdict(set)
        for source in (DirectRule, KormitelRule):
            for token_id, group_id, text in self._session.execute(
                select(source.token_id, source.group_id, source.text)
                .join(Token, Token.id == source.token_id)
                .where(*live)
            ):
                direct[token_id].add((group_id, text))
        groups: dict[int, set[int]] = defaultdict(set)
        is_granted = exists().where(Grant.person_group_id == PersonGroupMember.group_id)
        for token_id, group_id in self._session.execute(
            select(Token.id, PersonGroupMember.group_id)
            .join(PersonGroupMember, PersonGroupMember.person_id == Token.person_id)
            .where(*live, is_granted)
        ):
            groups[token_id].add(group_id)
        return {
            token_id: self._fitting(token_id, direct[token_id], frozenset(groups[token_id]))
            for token_id in direct.keys() | groups.keys()
        }

    def _told(self, token_ids: Collection[int]) -> dict[int, set[Rule]]:
        told: dict[int, set[Rule]] = defaultdict(set)
        for token_id, group_id, text in self._session.execute(
            select(TokenRule.token_id, TokenRule.group_id, TokenRule.text).where(
                self._are(TokenRule.token_id, token_ids)
            )
        ):
            told[token_id].add((group_id, text))
        return told

    def _write(self, token_ids: Collection[int], wanted: Mapping[int, Collection[Rule]]) -> None:
        if not token_ids:
            return
        session = self._session
        session.execute(delete(TokenRule).where(self._are(TokenRule.token_id, token_ids)))
        rows = [
            {"token_id": token_id, "group_id": group_id, "text": text}
            for token_id in token_ids
            for group_id, text in sorted(wanted.get(token_id, ()))
        ]
        insert_rows(session, TokenRule, rows)
        mine = self._are(Token.id, token_ids)
        session.execute(update(Token).where(mine).values(changed=self._stamp))

    def _are(self, column: object, token_ids: Collection[int]) -> ColumnElement[bool]:
        return one_of(self._session, column, token_ids)

    def _fitting(
        self, token_id: int, direct: set[Rule], groups: frozenset[int]
    ) -> Collection[Rule]:
        """Return the rules of a token with as many holidays as its readers can hold."""
        if not direct and groups in self._granted:
            return self._granted[groups]
        found: set[Rule] = set()
        for days in self._horizons(groups):
            found = direct | self._granted_within(groups, days)
            if self._fits(found):
                if days < HORIZON_DAYS:
                    self._cut[days] += 1
                elif not direct:
                    self._granted[groups] = frozenset(found)
                return found
        self._too_large.append(token_id)
        return found

    def _horizons(self, groups: frozenset[int]) -> list[int]:
        return self._known_calendar().horizons(groups) if groups else [HORIZON_DAYS]

    def _granted_within(self, groups: frozenset[int], days: int) -> set[Rule]:
        return self._known_calendar().rules(groups, days) if groups else set()

    def _known_calendar(self) -> Calendar:
        if self._calendar is None:
            self._calendar = Calendar(self._session, self.now)
        return self._calendar

    def _fits(self, found: Collection[Rule]) -> bool:
        # Mostly it does even for a reader that is in all groups, if there were one.
        if _bytes_of(text for _, text in found) <= RULE_SET_MAX:
            return True
        groups = frozenset(group_id for group_id, _ in found)
        held = {reader & groups for reader in self._known_readers()}
        return all(
            _bytes_of(text for group_id, text in found if group_id in reader) <= RULE_SET_MAX
            for reader in held
        )

    def _is_worse(self, wanted: Collection[Rule], told: Collection[Rule]) -> bool:
        for reader in self._known_readers():
            before, after = (
                _bytes_of(text for group_id, text in found if group_id in reader)
                for found in (told, wanted)
            )
            if after > max(before, RULE_SET_MAX):
                return True
        return False

    def _known_readers(self) -> set[frozenset[int]]:
        """Return the sets of groups that there are readers in."""
        if self._readers is None:
            groups: dict[int, set[int]] = defaultdict(lambda: {EVERY_READER})
            for reader_id, group_id in self._session.execute(
                select(Reader.id, ReaderGroupMember.group_id).join(
                    ReaderGroupMember, ReaderGroupMember.reader_id == Reader.id
                )
            ):
                groups[reader_id].add(group_id)
            self._readers = {frozenset(of_one) for of_one in groups.values()}
        return self._readers


def _run_anyway(work: _Work, token_ids: Iterable[int]) -> int:
    changed = work.run(token_ids)
    if work.overfull is not None:
        _log.warning("a token has more rules than a reader holds: number %d", work.overfull)
    return changed


def _bytes_of(texts: Iterable[str]) -> int:
    return sum(map(_size_of, set(texts)))


@lru_cache(maxsize=4096)
def _size_of(text: str) -> int:
    return len(packing.pack(text.encode()))


def _horizon(session: Session, now: int) -> str:
    return date_of(local_day(zone_of(session), now) + HORIZON_DAYS)


def _code_of(session: Session, token_id: int) -> str:
    return session.scalars(select(Token.code).where(Token.id == token_id)).one()
