"""The rule compiler: turns grants, manual and badge rules into `token_rules`, its only writer.

A token's rules are its manual rules, those of its person's grants and those of its Kormitel
badge; a blocked or removed token has none. Only a token whose rules really changed is stamped, so
recomputing costs the readers nothing else. One batch of tokens at a time is in memory.

A reader holds at most RULE_SET_MAX bytes of rules for one code. If the rules need more, holidays
are left out, those farthest ahead first; they enter the rules as they come nearer.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from functools import lru_cache

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from kalitka.access import packing
from kalitka.table.rule_sets import RULE_SET_MAX
from kalitka_hub.clock import current_minute
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site.grant_calendar import GrantCalendar, date_of, day_of
from kalitka_hub.site.schedule_rules import HORIZON_DAYS, local_day
from kalitka_hub.site.site_zone import zone_of
from kalitka_hub.store.bulk import in_batches, in_values, replace_rows, rows_by_owner
from kalitka_hub.store.changes import change_context, change_stamp, write_transaction
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

_DEFERRED = "kalitka_waiting"
_log = logging.getLogger(__name__)

GroupRule = tuple[int, str]  # the id of a group of readers, and a rule text for it


def recompute(session: Session, token_ids: Iterable[int]) -> int:
    """Rebuild `token_rules` of these tokens; return how many tokens changed.

    Requires a session from `write_transaction`. Raises InvalidRequest if a token's rules grow
    beyond what a reader can hold: leave the transaction's block then. Rules that were too large
    before, because a reader joined more groups, may still shrink. Inside `deferred_recompute` the
    ids are only collected, and 0 is returned.
    """
    deferred: set[int] | None = session.info.get(_DEFERRED)
    if deferred is not None:
        deferred.update(token_ids)
        return 0
    compiler = _RuleCompiler(session)
    changed = compiler.run(token_ids)
    if compiler.newly_oversized is not None:
        code = _code_of(session, compiler.newly_oversized)
        raise InvalidRequest(
            f"the token {code} has more rules than a reader holds for one token ({RULE_SET_MAX} "
            "bytes): give it fewer grants, or schedules with fewer windows"
        )
    return changed


@contextmanager
def deferred_recompute(session: Session) -> Iterator[None]:
    """Collect the tokens of all `recompute` calls in the block and recompute them once at its end.

    For many changes to the same tokens. Raises InvalidRequest as `recompute` does; an exception
    in the block skips the recomputing, since the transaction is rolled back.
    """
    session.info[_DEFERRED] = deferred = set()
    try:
        yield
    finally:
        del session.info[_DEFERRED]
    if deferred:
        recompute(session, sorted(deferred))


def recompute_unchecked(session: Session, token_ids: Iterable[int]) -> int:
    """Like `recompute`, but log instead of raising; return how many tokens changed.

    Rules that a reader cannot hold are sent anyway, and the reader drops them. Inside
    `deferred_recompute` this still runs at once.
    """
    return _run_unchecked(_RuleCompiler(session), token_ids)


def recompute_all(session: Session) -> int:
    """Recompute all tokens unchecked, as each new local day requires."""
    compiler = _RuleCompiler(session)
    token_ids = list(session.scalars(select(Token.id).where(Token.deleted.is_(False))))
    changed = _run_unchecked(compiler, token_ids)
    session.execute(update(Site).values(horizon=_horizon(session, compiler.now)))
    return changed


def refresh_horizon(
    database: Database, before: Callable[[Session], int] | None = None
) -> int | None:
    """Run `recompute_all` if the local date has changed since the last run.

    before: called first, in the same transaction; returns how many tokens it changed. Returns how
    many tokens changed in all, or None if the date is the same, which costs one short query.
    """
    now = current_minute(database.clock)
    # Checked without the site's lock: two processes may both recompute, which is harmless.
    with database.snapshot() as session:
        if session.scalars(select(Site.horizon)).one() == _horizon(session, now):
            return None
    with write_transaction(database, "the calendar") as session:
        changed = before(session) if before is not None else 0
        return changed + recompute_all(session)


def is_near_holiday(session: Session, date: str) -> bool:
    """Return whether a holiday on this ISO date may be in the readers' rules today.

    The range is wider than the horizon, for holidays that continue its last day without a gap.
    Requires a session from `write_transaction`.
    """
    today = local_day(zone_of(session), change_context(session).at // 60)
    return today - 1 <= day_of(date) <= today + 2 * HORIZON_DAYS


def tokens_with_grants(session: Session, *conditions: object) -> list[int]:
    """Return the ids of the tokens of people with a grant that meets `conditions`."""
    people = (
        select(PersonGroupMember.person_id)
        .join(Grant, Grant.person_group_id == PersonGroupMember.group_id)
        .where(*conditions)  # type: ignore[arg-type]
    )
    return list(session.scalars(select(Token.id).where(Token.person_id.in_(people))))


class _RuleCompiler:
    """One run over tokens, with its cache of compiled grants.

    oversized: the id of a token with more rules than a reader holds. newly_oversized: the id of a
    token that grew to that in this run.
    """

    def __init__(self, session: Session) -> None:
        self.now = change_context(session).at // 60
        self.oversized: int | None = None
        self.newly_oversized: int | None = None
        self._session = session
        self._stamp = change_stamp(session)
        self._calendar: GrantCalendar | None = None
        self._readers: set[frozenset[int]] | None = None
        self._granted: dict[frozenset[int], frozenset[GroupRule]] = {}
        self._shortened: dict[int, int] = defaultdict(
            int
        )  # numbers of tokens, by the days ahead whose holidays they hold
        self._oversized_in_batch: list[int] = []  # token ids

    def run(self, token_ids: Iterable[int]) -> int:
        changed = 0
        for batch in in_batches(token_ids):
            wanted = self._wanted(batch)
            self._record_oversized(wanted)
            differing = replace_rows(self._session, TokenRule, wanted)
            if differing:
                mine = in_values(self._session, Token.id, differing)
                self._session.execute(update(Token).where(mine).values(changed=self._stamp))
            changed += len(differing)
        for days, count in sorted(self._shortened.items()):
            _log.warning(
                "%d tokens have many rules: readers know their holidays only up to %s so far",
                count,
                date_of(self._known_calendar().today + days),
            )
        return changed

    def _wanted(self, token_ids: Collection[int]) -> dict[int, Set[GroupRule]]:
        live = (
            in_values(self._session, Token.id, token_ids),
            Token.deleted.is_(False),
            Token.blocked.is_(False),
        )
        direct: dict[int, set[GroupRule]] = defaultdict(set)
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
            token_id: self._fitting_rules(token_id, direct[token_id], frozenset(groups[token_id]))
            for token_id in token_ids
        }

    def _record_oversized(self, wanted: Mapping[int, Set[GroupRule]]) -> None:
        token_ids, self._oversized_in_batch = self._oversized_in_batch, []
        if token_ids:
            self.oversized = token_ids[-1]
            current = rows_by_owner(self._session, TokenRule, token_ids)
            for token_id in token_ids:
                if self._is_worse(wanted[token_id], current[token_id]):
                    self.newly_oversized = token_id

    def _fitting_rules(
        self, token_id: int, direct: set[GroupRule], groups: frozenset[int]
    ) -> Set[GroupRule]:
        """Return a token's rules with as many holidays ahead as its readers can hold."""
        if not direct and groups in self._granted:
            return self._granted[groups]
        found: set[GroupRule] = set()
        for days in self._horizons(groups):
            found = direct | self._granted_within(groups, days)
            if self._fits(found):
                if days < HORIZON_DAYS:
                    self._shortened[days] += 1
                elif not direct:
                    self._granted[groups] = frozenset(found)
                return found
        self._oversized_in_batch.append(token_id)
        return found

    def _horizons(self, groups: frozenset[int]) -> list[int]:
        return self._known_calendar().horizons(groups) if groups else [HORIZON_DAYS]

    def _granted_within(self, groups: frozenset[int], days: int) -> set[GroupRule]:
        return self._known_calendar().rules(groups, days) if groups else set()

    def _known_calendar(self) -> GrantCalendar:
        if self._calendar is None:
            self._calendar = GrantCalendar(self._session, self.now)
        return self._calendar

    def _fits(self, found: Collection[GroupRule]) -> bool:
        # The cheap test first: rules that fit a reader in all these groups fit every reader.
        if _packed_size(text for _, text in found) <= RULE_SET_MAX:
            return True
        groups = frozenset(group_id for group_id, _ in found)
        held = {reader & groups for reader in self._known_readers()}
        return all(
            _packed_size(text for group_id, text in found if group_id in reader) <= RULE_SET_MAX
            for reader in held
        )

    def _is_worse(self, wanted: Collection[GroupRule], current: Collection[GroupRule]) -> bool:
        for reader in self._known_readers():
            before, after = (
                _packed_size(text for group_id, text in found if group_id in reader)
                for found in (current, wanted)
            )
            if after > max(before, RULE_SET_MAX):
                return True
        return False

    def _known_readers(self) -> set[frozenset[int]]:
        """Return the distinct sets of groups that readers are in, by group ids."""
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


def _run_unchecked(compiler: _RuleCompiler, token_ids: Iterable[int]) -> int:
    changed = compiler.run(token_ids)
    if compiler.oversized is not None:
        _log.warning("a token has more rules than a reader holds: id %d", compiler.oversized)
    return changed


def _packed_size(texts: Iterable[str]) -> int:
    return sum(map(_rule_size, set(texts)))


@lru_cache(maxsize=4096)
def _rule_size(text: str) -> int:
    return len(packing.pack(text.encode()))


def _horizon(session: Session, now: int) -> str:
    return date_of(local_day(zone_of(session), now) + HORIZON_DAYS)


def _code_of(session: Session, token_id: int) -> str:
    return session.scalars(select(Token.code).where(Token.id == token_id)).one()
