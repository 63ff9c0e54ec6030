"""Applies items to their objects, kind by kind and hundreds at a time.

Referred kinds come first, so that an arrival finds a badge that came along. Callers go through
`service`.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from kalitka_hub.kormitel import canteen
from kalitka_hub.kormitel.documents import Item
from kalitka_hub.kormitel.fields import (
    ARRIVALS,
    BADGES,
    KINDS,
    PAID_ARRIVALS,
    reference_key,
)
from kalitka_hub.kormitel.quarantine import Rejected
from kalitka_hub.kormitel.repository import (
    known_keys,
    load,
    recheck_dependents,
    record_dropped_directions,
    reference_state,
    save,
    update_holds,
)
from kalitka_hub.kormitel.state import Source, State
from kalitka_hub.store.bulk import force_custom_plans, in_batches, in_values
from kalitka_hub.store.kormitel_models import KormitelObject

# Objects of these kinds neither are sent nor count without a badge.
_NEED_BADGE = (ARRIVALS, PAID_ARRIVALS)


class Ingest:
    """One ingest of items. since: the date of their document, None without one.

    received: the number of items, and of their rests; applied: the number that made a difference.
    new_objects: the objects that became known, as kind/key; the caller that handles them clears
    the set. posted: by kind and key, whether the object of an item has a newer value than that of
    the sender, or came back from its deletion.
    """

    def __init__(self, session: Session, source: Source, since: int | None = None) -> None:
        self.received = 0
        self.applied = 0
        self.new_objects: set[str] = set()
        self.posted: dict[tuple[str, str], bool] = {}
        self._session = session
        self._source = source
        self._since = since
        self._badges: set[str] = set()  # keys of badges whose rules may have changed
        force_custom_plans(session)

    def for_sender(self, by: str) -> "Ingest":
        """Return an ingest for items of another sender that shares this one's results."""
        other = Ingest(self._session, Source(by, self._source.at))
        other.new_objects, other._badges = self.new_objects, self._badges
        return other

    def apply_all(self, items: Iterable[Item]) -> list[Rejected]:
        """Apply items, each kind in order of arrival; return those that cannot be applied."""
        rejected: list[Rejected] = []
        by_kind: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            self.received += 1
            if item.key:
                self.posted[item.kind, item.key] = False
            if item.problem is not None:
                rejected.append(Rejected(item, item.problem))
            else:
                by_kind[item.kind].append(item)
        for kind in (*KINDS, *sorted(by_kind.keys() - set(KINDS))):
            for batch in _by_object(by_kind.get(kind, ())):
                rejected += self._apply_kind(kind, batch)
        return rejected

    def finish(self) -> None:
        """Recompile the readers' rules of all badges that changed."""
        ids: list[int] = []
        for batch in in_batches(sorted(self._badges)):
            wanted = select(KormitelObject.id).where(KormitelObject.kind == BADGES)
            keys = in_values(self._session, KormitelObject.key, batch)
            ids += self._session.scalars(wanted.where(keys))
        if ids:
            canteen.recompute(self._session, ids)

    def _apply_kind(self, kind: str, items: list[Item]) -> list[Rejected]:
        rejected = []
        states = load(self._session, kind, {item.key for item in items})
        before = {key: state.copy() for key, state in states.items()}
        referred = {key for item in items if (key := reference_key(item.fields, "badge"))}
        badges = known_keys(self._session, BADGES, referred)
        digests = self._digests(items)
        for item in items:
            state = states.get(item.key) or State(kind, item.key)
            rejection = _rejection(item, state, badges)
            if item.rest is not None and rejection is None:
                self.received += 1
                rejected.append(Rejected(item.rest, item.rest.problem or ""))
            if rejection is not None:
                rejected.append(rejection)
            elif self._is_dated(item) or state.taken != digests.get(item.key, ""):
                states[item.key] = state
                self.applied += state.apply_change(item, self._source)
        for key, digest in digests.items():
            if key in states:
                states[key].taken = digest
        for key, old in before.items():
            is_unknown = not all(states[key].known_to_sender.values())
            # While it was deleted, only its id was sent.
            is_back = old.deleted and not states[key].deleted
            self.posted[kind, key] = self.posted.get((kind, key), False) or is_unknown or is_back
        self._save_changed(kind, states, before)
        return rejected

    def _digests(self, items: Iterable[Item]) -> dict[str, str]:
        """Return by key a digest of the object's items without a valid date.

        If the digest equals that of the last such items, with the same date of the document, they
        are a repetition. Changes made at this hub, and answers that it asked for, never are.
        The digests are stored: with another formula the next repetition of every object would be
        taken for new, and undo what was changed at this hub since.
        """
        if self._source.own or self._source.unsent is not None:
            return {}
        sent: dict[str, list[str]] = defaultdict(list)
        for item in items:
            if not self._is_dated(item):
                sent[item.key].append(item.digest)
        return {
            key: hashlib.sha256(f"{self._since} {digests}".encode()).hexdigest()
            for key, digests in sent.items()
        }

    def _is_dated(self, item: Item) -> bool:
        # A date in the future is not believed: such a change is dated at its arrival, as one
        # without a date is.
        return item.date is not None and item.date <= self._source.at

    def _save_changed(
        self, kind: str, states: Mapping[str, State], before: Mapping[str, State]
    ) -> None:
        """Save the objects that differ from before, and recheck their dependents."""
        changed, written, moved = [], [], []
        pairs = [(before.get(key) or State(kind, key), state) for key, state in states.items()]
        for old, new in pairs:
            if new.finalize(old, self._source):
                changed.append((old, new))
            if new != old:
                written.append(new)
            if old.born is None and new.born is not None:
                self.new_objects.add(f"{kind}/{new.key}")
        # Holds before saving, dependents after it: they read the saved objects.
        dropped = update_holds(self._session, [new for _, new in changed], self._source)
        save(self._session, written)
        for old, new in changed:
            if reference_state(old) != reference_state(new):
                moved.append(new.key)
            if kind == BADGES:
                self._badges.add(new.key)
            self._badges.update(_badges_of(old, new))
        recheck_dependents(self._session, kind, moved, self._source)
        record_dropped_directions(self._session, dropped, self._source)


def _by_object(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield items in batches, each with all items of its objects, in order."""
    of_each: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        of_each[item.key].append(item)
    for batch in in_batches(of_each.values()):
        yield [item for of_one in batch for item in of_one]


def _rejection(item: Item, state: State, badges: set[str]) -> Rejected | None:
    """Return the item with the reason why it cannot be applied to its object; None if it can."""
    found = _misfit(item, state, badges)
    if found is None or item.rest is None:
        return found
    # With its rest it cannot be applied by itself later.
    return Rejected(item, item.rest.problem or found.reason)


def _misfit(item: Item, state: State, badges: set[str]) -> Rejected | None:
    badge = reference_key(item.fields, "badge")
    if badge is not None and badge not in badges and item.kind != BADGES:
        return Rejected(item, f"its badge {badge} is not known here", f"{BADGES}/{badge}")
    if item.kind not in _NEED_BADGE or item.deleted or badge is not None:
        return None
    if "badge" in item.fields:
        return Rejected(item, "its badge is null: send the id of its badge")
    if not state.fields.get("badge"):
        waits = f"{item.kind}/{item.key}"
        return Rejected(item, f"{item.key} is not known here, and the item names no badge", waits)
    return None


def _badges_of(old: State, new: State) -> set[str]:
    both = (reference_key(old.fields, "badge"), reference_key(new.fields, "badge"))
    return {key for key in both if key is not None}
