"""Why a person eats now or does not, in words for an operator at the counter.

The badge, its arrivals, the meals and the kitchen are judged as `canteen` does, and the readers'
verdicts are those of their own firmware; see `explain`. Nothing is written.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from kalitka.access.timezone import Zone
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel import badge_rules, dates
from kalitka_hub.kormitel.badge_rules import (
    Meal,
    badge_name,
    canonical_code,
    fed_windows,
    meals_for,
)
from kalitka_hub.kormitel.canteen import Kitchens, is_alive, meals_of
from kalitka_hub.kormitel.fields import ARRIVALS, BADGES, PAID, PAID_ARRIVALS, object_key
from kalitka_hub.kormitel.settings import paused_since
from kalitka_hub.site.explain import Explanation, explain
from kalitka_hub.site.local_time import clock_text, local_text
from kalitka_hub.site.readers import existing_reader, groups_of_reader
from kalitka_hub.site.schedule_rules import Span
from kalitka_hub.site.site_zone import zone_of
from kalitka_hub.site.tokens import find_token
from kalitka_hub.store.kormitel_models import KormitelObject, KormitelQuarantined
from kalitka_hub.store.models import EVERY_READER, Reader, ReaderGroupMember

READERS_MAX = 20  # of a kitchen; their verdicts are mostly the same
_SHOWN = 5  # badges to name if several match
_ITEMS = 10  # quarantined items to mention
_BATCH = 500


@dataclass(frozen=True)
class ArrivalReason:
    """An arrival of the badge, paid or not. counts: whether it feeds at the time asked for.

    said: why it does or does not, in words.
    """

    id: str
    paid: bool
    status: str | None
    arrival_date: str | None
    departure_date: str | None
    counts: bool
    said: str


@dataclass(frozen=True)
class ReaderReason:
    """The verdict of a reader on the badge's code; see `explain.Explanation`."""

    reader: str
    allowed: bool
    reason: str
    when: str | None
    rule: str | None
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Why:
    """Whether a badge is let in at a minute, and why.

    eats: whether a reader of its kitchen, or the reader asked about, lets the badge in. because:
    the first reason, in words. at: the local time asked for. code: the scanned code, None of a
    badge without one. meal: the current meal; next_meal: the one that begins next. notes: further
    facts, such as withheld objects and quarantined items.
    """

    badge: str
    name: str
    eats: bool
    because: str
    at: str
    code: str | None
    kitchen: str | None
    meal: str | None
    next_meal: str | None
    arrivals: tuple[ArrivalReason, ...] = ()
    readers: tuple[ReaderReason, ...] = ()
    notes: tuple[str, ...] = field(default=())


def explain_eating(
    session: Session, query: str, minute: int, now: int, reader: str | None = None
) -> Why:
    """Return whether the holder of a badge eats at a minute, and why.

    query: the id of a badge, its code as printed or scanned, its number, or a part of a name.
    minute, now: since 1970 UTC. reader: the code of the reader to ask, None for the readers of the
    kitchen. Raises NotFound, and InvalidRequest if several badges match.
    """
    badge = _find_badge(session, query)
    return _EatingExplainer(session, badge, minute, now, reader).answer()


class _EatingExplainer:
    # A badge and a minute, with the rows that decide.

    def __init__(
        self, session: Session, badge: KormitelObject, minute: int, now: int, reader: str | None
    ) -> None:
        self._session = session
        self._badge = badge
        self._minute = minute
        self._now = now
        self._zone = zone_of(session)
        self._meals = meals_of(session)
        self._groups = Kitchens(session).groups_of(badge.fields)
        self._readers = _codes_of_readers(session, self._groups)
        if reader is not None:
            asked = existing_reader(session, reader)
            self._here = bool(set(groups_of_reader(session, asked.id)) & set(self._groups))
            self._readers = [asked.code]
        else:
            self._here = bool(self._readers)
        wanted = select(KormitelObject).where(
            KormitelObject.badge == badge.key, KormitelObject.kind.in_((ARRIVALS, PAID_ARRIVALS))
        )
        self._all = list(session.scalars(wanted.order_by(KormitelObject.id)))

    def answer(self) -> Why:
        fields, zone = self._badge.fields, self._zone
        readers = self._explained()
        opening = next((one for one in readers if one.allowed), None)
        feed = fields.get("feed")
        on, coming = _meals_at(self._minute, meals_for(self._meals, feed), zone)
        arrivals = tuple(map(self._arrival_reason, self._all))
        return Why(
            badge=self._badge.key,
            name=badge_name(self._badge.key, fields),
            eats=opening is not None,
            because=self._let_in(opening, arrivals) if opening else self._refused(arrivals),
            at=_local_text(self._minute, zone),
            code=self._badge.code,
            kitchen=_kitchen(fields),
            meal=on,
            next_meal=coming,
            arrivals=arrivals,
            readers=readers,
            notes=tuple(self._notes(readers)),
        )

    def _let_in(self, opening: ReaderReason, arrivals: Iterable[ArrivalReason]) -> str:
        stay = next((one for one in arrivals if one.counts), None)
        of_badge = any(source.startswith("from Kormitel") for source in opening.sources)
        if stay is None or not of_badge:
            return f"{opening.reader} lets it in: {', '.join(opening.sources) or opening.rule}"
        return f"{stay.status or 'a paid stay'} from {stay.arrival_date} to {stay.departure_date}"

    def _refused(self, arrivals: Sequence[ArrivalReason]) -> str:
        badge = self._badge
        if badge.born is None or badge.died is not None:
            when = "" if badge.died is None else f" at {dates.utc_text(badge.died)}"
            return f"the badge was deleted{when}"
        never = badge_rules.never_fed_reason(badge.fields)
        if never is not None:
            return never
        if badge.code is None:
            return badge_rules.no_code_reason(badge.fields)
        owner = _owner_of(self._session, badge.code)
        if owner is not None and owner.id != badge.id:
            name = badge_name(owner.key, owner.fields)
            return f"its code belongs to the badge {name} ({owner.key}) now, which got it later"
        token = find_token(self._session, badge.code)
        if token is not None and token.blocked:
            return f"its token {badge.code} is blocked at the hub"
        if not self._here:
            return self._no_reader()
        return self._not_now(arrivals)

    def _no_reader(self) -> str:
        if self._groups and self._readers:
            return f"{self._readers[0]} is not a reader of its kitchen"
        kitchen = _kitchen(self._badge.fields)
        named = "the badge names no kitchen" if kitchen is None else f"its kitchen is {kitchen}"
        return f"{named}, and no reader is set for it: see `kalitka hub kormitel kitchen`"

    def _not_now(self, arrivals: Sequence[ArrivalReason]) -> str:
        feed = self._badge.fields.get("feed")
        if not any(one.counts for one in arrivals):
            return self._no_stay(feed)
        if self._meals and not meals_for(self._meals, feed):
            return "the only meals are at night, which are not for PAID"
        on, coming = _meals_at(self._minute, meals_for(self._meals, feed), self._zone)
        if self._meals and on is None:
            return f"no meal is on: the next one is {coming}"
        return "its readers do not have the rules of that time yet, or no longer"

    def _no_stay(self, feed: str | None) -> str:
        kind = "paid arrival" if feed == PAID else "arrival"
        only = "feed is PAID, and " if feed == PAID else ""
        alive = [one for one in self._all if one.died is None and one.born is not None]
        of = {kind: [one.fields for one in alive if one.kind == kind] for kind in _KINDS}
        windows = fed_windows(self._badge.fields, of[ARRIVALS], of[PAID_ARRIVALS], self._zone)
        if not windows:
            return f"{only}there is no {kind} that counts"
        return f"{only}no {kind} covers this day: {self._nearest(windows)}"

    def _nearest(self, windows: Sequence[Span]) -> str:
        for first, _ in windows:
            if first > self._minute:
                return f"the next one begins {_local_text(first, self._zone)}"
        return f"the last one ended {_local_text(windows[-1].last, self._zone)}"

    def _arrival_reason(self, arrival: KormitelObject) -> ArrivalReason:
        fields, paid = arrival.fields, arrival.kind == PAID_ARRIVALS
        reason = self._not_counted_reason(arrival, paid)
        return ArrivalReason(
            id=arrival.key,
            paid=paid,
            status=_text(fields.get("status")),
            arrival_date=_text(fields.get("arrival_date")),
            departure_date=_text(fields.get("departure_date")),
            counts=reason is None,
            said=reason or "it counts now",
        )

    def _not_counted_reason(self, arrival: KormitelObject, paid: bool) -> str | None:
        if arrival.born is None or arrival.died is not None:
            return "it is deleted"
        if badge_rules.never_fed_reason(self._badge.fields):
            return "the badge is not fed"
        if paid is not (self._badge.fields.get("feed") == PAID):
            return "it counts for feed PAID only" if paid else "for PAID only paid arrivals count"
        reason = badge_rules.not_counted_reason(arrival.fields, paid=paid)
        if reason is not None:
            return reason
        first, last = badge_rules.arrival_span(arrival.fields, self._zone)
        if self._minute < first:
            return f"it begins {_local_text(first, self._zone)}"
        return f"it ended {_local_text(last, self._zone)}" if self._minute > last else None

    def _explained(self) -> tuple[ReaderReason, ...]:
        code = self._badge.code
        if code is None:
            return ()
        asked = self._readers[:READERS_MAX]
        return tuple(
            _reader_reason(one, explain(self._session, one, code, self._minute, self._now))
            for one in asked
        )

    def _notes(self, readers: Sequence[ReaderReason]) -> Iterator[str]:
        paused = paused_since(self._session)
        if paused is not None:
            yield f"the exchange with Kormitel is paused since {dates.utc_text(paused)}"
        if readers and len(self._readers) > READERS_MAX:
            yield f"the kitchen has {len(self._readers)} readers: only the first are shown"
        for one in (self._badge, *self._all):
            if one.held is not None:
                yield f"{one.kind} {one.key} is withheld from Kormitel: {one.held}"
        yield from self._set_aside()

    def _set_aside(self) -> Iterator[str]:
        mine = {(one.kind, one.key) for one in (self._badge, *self._all)}
        rows = self._session.scalars(
            select(KormitelQuarantined)
            .where(KormitelQuarantined.state == "open")
            .where(KormitelQuarantined.kind.in_((BADGES, *_KINDS)))
            .order_by(KormitelQuarantined.id.desc()),
            execution_options={"yield_per": _BATCH},
        )
        shown = 0
        for row in rows:
            if mine.isdisjoint(_named_in(row.kind, row.item[-1])):
                continue
            yield f"quarantined item {row.id}: {row.reason}"
            shown += 1
            if shown == _ITEMS:
                return


_KINDS = (ARRIVALS, PAID_ARRIVALS)


def _find_badge(session: Session, query: str) -> KormitelObject:
    """Return the only badge that matches the query. Raises NotFound, InvalidRequest."""
    query = query.strip()
    if not query:
        raise InvalidRequest(
            "no badge is named: write a badge's id, code, number or a part of a name"
        )
    badges = select(KormitelObject).where(KormitelObject.kind == BADGES)
    for _, key in _named_object(BADGES, query):
        known = session.scalars(badges.where(KormitelObject.key == key)).one_or_none()
        if known is not None:
            return known
    owner = _owner_of(session, canonical_code(query))
    if owner is not None:
        return owner
    numbered: list[tuple[int, str]] = []
    named: list[tuple[int, str]] = []
    columns = select(KormitelObject.id, KormitelObject.key, KormitelObject.fields)
    # Matched here: databases fold the case of Latin letters only.
    for id, key, fields in session.execute(
        columns.where(KormitelObject.kind == BADGES, is_alive()).order_by(KormitelObject.id),
        execution_options={"yield_per": _BATCH},
    ):
        names = (fields.get(part) for part in ("name", "first_name", "last_name"))
        if _text(fields.get("number")) == query:
            numbered.append((id, f"{badge_name(key, fields)} ({key})"))
        elif query.casefold() in " ".join(str(name) for name in names if name).casefold():
            named.append((id, f"{badge_name(key, fields)} ({key})"))
    matches = numbered or named
    if not matches:
        raise NotFound(
            f"there is no badge with the id, code, number or name {query[:40]!r}: look whether it "
            "was sent, `kalitka hub kormitel exchanges`"
        )
    if len(matches) > 1:
        more = f" and {len(matches) - _SHOWN} more" if len(matches) > _SHOWN else ""
        shown = ", ".join(text for _, text in matches[:_SHOWN])
        raise InvalidRequest(f"{query[:40]!r} matches {shown}{more}: name one by its id")
    return session.get_one(KormitelObject, matches[0][0])


def _owner_of(session: Session, code: str) -> KormitelObject | None:
    wanted = select(KormitelObject).where(KormitelObject.code == code)
    latest = (KormitelObject.code_since.desc(), KormitelObject.id.desc())
    return session.scalars(wanted.order_by(*latest).limit(1)).first()


def _codes_of_readers(session: Session, groups: Sequence[int]) -> list[str]:
    """Return the codes of the readers in these groups, sorted."""
    wanted = select(Reader.code).order_by(Reader.code)
    if EVERY_READER not in groups:
        members = select(ReaderGroupMember.reader_id)
        wanted = wanted.where(Reader.id.in_(members.where(ReaderGroupMember.group_id.in_(groups))))
    return list(session.scalars(wanted))


def _reader_reason(reader: str, explanation: Explanation) -> ReaderReason:
    sources = [one.sources for one in explanation.rules if one.text == explanation.rule]
    return ReaderReason(
        reader=reader,
        allowed=explanation.allowed,
        reason=explanation.reason,
        when=explanation.when,
        rule=explanation.rule,
        sources=sources[0] if sources else (),
    )


def _meals_at(minute: int, meals: Iterable[Meal], zone: Zone) -> tuple[str | None, str | None]:
    """Return the current meal, and the meal that begins next, in words."""
    zone.update(minute)
    now = zone.day_minute
    on, coming = None, None
    wait = 1440
    for meal in meals:
        hours = f"{meal.name}, {clock_text(meal.start)} to {clock_text(meal.end)}"
        if (now - meal.start) % 1440 <= (meal.end - meal.start) % 1440:
            on = on or hours
        elif (meal.start - now) % 1440 < wait:
            coming, wait = hours, (meal.start - now) % 1440
    return on, coming


def _named_in(kind: str, sent: Any) -> set[tuple[str, str]]:
    """Return kind and key of the objects that an item names: its own, and its badge."""
    if not isinstance(sent, dict):
        return _named_object(kind, sent)
    found = _named_object(kind, sent.get("id")) | _named_object(BADGES, sent.get("badge"))
    data = sent.get("data")
    return found | _named_in(kind, data) if isinstance(data, dict) else found


def _named_object(kind: str, id: object) -> set[tuple[str, str]]:
    try:
        return {(kind, object_key(id))}
    except InvalidRequest:
        return set()


def _kitchen(fields: dict[str, Any]) -> str | None:
    return _text(fields.get("kitchen"))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _local_text(minute: int, zone: Zone) -> str:
    return local_text(minute, zone) or ""
