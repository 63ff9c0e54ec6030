"""Items become part of the objects that they are of, hundreds at a time, each kind in its turn.

What others refer to comes first, so that an arrival finds a badge that came with it. `service` is
the door to this.
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
    reference,
)
from kalitka_hub.kormitel.quarantine import Left
from kalitka_hub.kormitel.repository import (
    drop_directions,
    hold_back,
    known_keys,
    load,
    look_again,
    reference_state,
    save,
)
from kalitka_hub.kormitel.state import Source, State
from kalitka_hub.store.bulk import in_batches, one_of, plan_each_time
from kalitka_hub.store.kormitel_models import KormitelObject

# Nothing of these is told or counts without a badge.
_OF_A_BADGE = (ARRIVALS, PAID_ARRIVALS)


class Run:
    """One run over items. since: the date that they were sent with, if any.

    received: how many there were; applied: how many made a difference. new: objects that came to
    be known, as kind/key; who takes note of them takes them away.
    """

    def __init__(self, session: Session, source: Source, since: int | None = None) -> None:
        self.received = 0
        self.applied = 0
        self.new: set[str] = set()
        self._session = session
        self._source = source
        self._since = since
        self._badges: set[str] = set()  # keys of those whose rules may be others now
        plan_each_time(session)

    def of(self, by: str) -> "Run":
        """Return a run over what this one sent before; what comes of it is noted in this."""
        other = Run(self._session, Source(by, self._source.at))
        other.new, other._badges = self.new, self._badges
        return other

    def over(self, items: Iterable[Item]) -> list[Left]:
        """Apply items, of each kind in the order in which they come; return what cannot be."""
        left: list[Left] = []
        by_kind: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            self.received += 1
            if item.fault is not None:
                left.append(Left(item, item.fault))
            else:
                by_kind[item.kind].append(item)
        for kind in (*KINDS, *sorted(by_kind.keys() - set(KINDS))):
            for batch in _by_object(by_kind.get(kind, ())):
                left += self._apply(kind, batch)
        return left

    def finish(self) -> None:
        """Make what readers are told of all that was applied."""
        ids: list[int] = []
        for batch in in_batches(sorted(self._badges)):
            wanted = select(KormitelObject.id).where(KormitelObject.kind == BADGES)
            keys = one_of(self._session, KormitelObject.key, batch)
            ids += self._session.scalars(wanted.where(keys))
        if ids:
            canteen.recompute(self._session, ids)

    def _apply(self, kind: str, items: list[Item]) -> list[Left]:
        left = []
        states = load(self._session, kind, {item.key for item in items})
        before = {key: state.copy() for key, state in states.items()}
        referred = {key for item in items if (key := reference(item.fields, "badge"))}
        badges = known_keys(self._session, BADGES, referred)
        digests = self._digests(items)
        for item in items:
            state = states.get(item.key) or State(kind, item.key)
            unfit = _unfit(item, state, badges)
            if unfit is not None:
                left.append(unfit)
            elif self._is_dated(item) or state.taken != digests.get(item.key, ""):
                states[item.key] = state
                self.applied += state.fold(item, self._source)
        for key, digest in digests.items():
            if key in states:
                states[key].taken = digest
        self._keep(kind, states, before)
        return left

    def _digests(self, items: Iterable[Item]) -> dict[str, str]:
        """Return by key a digest of what is sent of it without dates that count.

        What was the last that was sent of it before, of the same date as a whole, is the same
        again. A change of this hub's own never is, nor is what it asked for.
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
        # A date that is still to come is not believed: such a change has that of its coming too.
        return item.date is not None and item.date <= self._source.at

    def _keep(self, kind: str, states: Mapping[str, State], before: Mapping[str, State]) -> None:
        """Write what differs from before, and see to what depends on it."""
        changed, written, moved = [], [], []
        pairs = [(before.get(key) or State(kind, key), state) for key, state in states.items()]
        for old, new in pairs:
            if new.settle(old, self._source):
                changed.append((old, new))
            if new != old:
                written.append(new)
            if old.born is None and new.born is not None:
                self.new.add(f"{kind}/{new.key}")
        dropped = hold_back(self._session, [new for _, new in changed], self._source)
        save(self._session, written)
        for old, new in changed:
            if reference_state(old) != reference_state(new):
                moved.append(new.key)
            if kind == BADGES:
                self._badges.add(new.key)
            self._badges.update(_badges_of(old, new))
        look_again(self._session, kind, moved, self._source)
        drop_directions(self._session, dropped, self._source)


def _by_object(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield items in batches, each with all that there are of its objects, in their order."""
    of_each: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        of_each[item.key].append(item)
    for batch in in_batches(of_each.values()):
        yield [item for of_one in batch for item in of_one]


def _unfit(item: Item, state: State, badges: set[str]) -> Left | None:
    """Return why an item cannot be applied to its object, None if it can."""
    badge = reference(item.fields, "badge")
    if badge is not None and badge not in badges and item.kind != BADGES:
        return Left(item, f"its badge {badge} is not known here", f"{BADGES}/{badge}")
    if item.kind not in _OF_A_BADGE or item.deleted or badge is not None:
        return None
    if "badge" in item.fields:
        return Left(item, "its badge is null: it must be somebody's")
    if not state.fields.get("badge"):
        waits = f"{item.kind}/{item.key}"
        return Left(item, f"there is no {item.key} here, and it does not say whose it is", waits)
    return None


def _badges_of(old: State, new: State) -> set[str]:
    both = (reference(old.fields, "badge"), reference(new.fields, "badge"))
    return {key for key in both if key is not None}
