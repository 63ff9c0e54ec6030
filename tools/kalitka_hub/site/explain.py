"""Why a reader lets a token in at a time, or does not: what a person is told who asks.

The firmware's own module decides, by the rules that the reader is told, once it has polled and
with a clock that is right. Where each rule comes from is said too. For days that the rules were
not made for (the past, and what lies beyond the known holidays) they are made as they would be
then, from what is set now. Nothing is written.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from kalitka.access import decision, packing, rules
from kalitka.access.timezone import Zone
from kalitka_hub.site.grant_calendar import GrantCalendar, GrantRow, date_of
from kalitka_hub.site.local_time import clock_text, local_text
from kalitka_hub.site.readers import existing_reader, groups_of_reader, label_of
from kalitka_hub.site.schedule_rules import HORIZON_DAYS, local_day
from kalitka_hub.site.tokens import find_token
from kalitka_hub.store.kormitel_models import KormitelObject, KormitelRule, KormitelToken
from kalitka_hub.store.models import (
    DirectRule,
    PersonGroup,
    PersonGroupMember,
    Reader,
    ReaderGroup,
    Schedule,
    Token,
    TokenRule,
)

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class RuleReason:
    """One rule of the token at the reader. said: in words, what it says of the time.

    sources: where it comes from: a grant, a badge of Kormitel, or what was given by hand.
    """

    text: str
    said: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """What the reader decides, and why.

    reason: in words, as its console says it. rule: the one that permits, or that is nearest to
    it. when: local time that the reason is about, such as the end of what is no longer valid.
    local: the time asked for, at the reader. notes: what else is to be known.
    """

    allowed: bool
    reason: str
    rule: str | None
    when: str | None
    local: str
    rules: tuple[RuleReason, ...] = ()
    notes: tuple[str, ...] = field(default=())


def explain(session: Session, reader: str, code: str, minute: int, now: int) -> Explanation:
    """Explain what a reader says to a token code at a minute.

    minute, now: since 1970 UTC. Raises InvalidRequest for what is no code, and NotFound for a
    reader that there is not; of a code that nobody knows it says just that.
    """
    query = _Explainer(session, existing_reader(session, reader), minute, now)
    token = find_token(session, code)
    texts = query.texts_of(token) if token else {}
    rule_set = b""
    for text in texts:
        rule_set = packing.insert(rule_set, packing.pack(text.encode()))
    zone = query.calendar.zone
    zone.update(minute)
    moment = minute, zone.day_minute, zone.weekday
    verdict = decision.Verdict()
    if rule_set:
        verdict.decide(rule_set, 0, len(rule_set), False, *moment)
    else:
        verdict.deny(decision.UNKNOWN_CODE)
    rule = rules.text_of(rule_set, verdict.rule).decode() if verdict.rule >= 0 else None
    notes = [*query.notes()]
    notes += query.notes_of(token) if token else ["the hub does not know this code"]
    return Explanation(
        allowed=verdict.reason == decision.ALLOWED,
        reason=decision.REASONS[verdict.reason],
        rule=rule,
        when=local_text(verdict.when, zone) if verdict.when else None,
        local=f"{_DAYS[moment[2]]} {local_text(minute, zone)}",
        rules=tuple(
            RuleReason(text, _rule_in_words(text, moment, zone), tuple(sources))
            for text, sources in sorted(texts.items())
        ),
        notes=tuple(notes),
    )


class _Explainer:
    # A reader and a minute, and what is to be looked up for them.

    def __init__(self, session: Session, reader: Reader, minute: int, now: int) -> None:
        self._session = session
        self._reader = reader
        self._minute = minute
        known = GrantCalendar(session, now)
        self._day = local_day(known.zone, minute)
        self._today = known.today
        # Are the rules that readers have today made for that day?
        self._uses_stored_rules = 0 <= self._day - known.today <= HORIZON_DAYS
        self.calendar = known if self._uses_stored_rules else GrantCalendar(session, minute)
        self._groups = set(groups_of_reader(session, reader.id))

    def texts_of(self, token: Token) -> dict[str, list[str]]:
        """Return the rule texts that the reader is told, and where each comes from."""
        sources: dict[str, list[str]] = {}
        if self._uses_stored_rules:
            wanted = select(TokenRule.text).where(TokenRule.token_id == token.id)
            stored = self._session.scalars(wanted.where(TokenRule.group_id.in_(self._groups)))
            sources = {text: [] for text in stored}
        elif token.blocked:
            return {}
        for text, source in self._compiled_rules(token):
            if text in sources:
                sources[text].append(source)
            elif not self._uses_stored_rules:
                sources[text] = [source]
        return sources

    def notes(self) -> Iterator[str]:
        """Yield what is to be known of the time."""
        if self._day < self._today:
            yield "the past: by what is set now, which may have been different then"
        elif not self._uses_stored_rules:
            yield (
                "later than the holidays that readers know as yet: by the rules as they will be "
                "made until then"
            )

    def notes_of(self, token: Token) -> Iterator[str]:
        """Yield what is to be known of a token, and of its person's grants at the reader."""
        if token.blocked:
            yield "the token is blocked: it has no rules"
        if token.person_id is None:
            also = ", and what its badge has" if self._badge(token) else ""
            yield f"the token is nobody's: it has what it was given by hand{also}"
            return
        here, elsewhere = [], []
        for grant in self._grants(token):
            (here if grant.reader_group_id in self._groups else elsewhere).append(grant)
        if not here:
            yield f"the groups of its person are granted nothing at {self._reader.code}"
        for grant in here:
            yield from self._notes_of(grant)
        for grant in [] if here else elsewhere:
            yield f"elsewhere there is {self._grant_in_words(grant)}"

    def _notes_of(self, grant: GrantRow) -> Iterator[str]:
        zone = self.calendar.zone
        if grant.last_minute is not None and grant.last_minute < self._minute:
            yield f"{self._grant_in_words(grant)} ended {local_text(grant.last_minute, zone)}"
        if grant.first_minute is not None and grant.first_minute > self._minute:
            yield f"{self._grant_in_words(grant)} begins {local_text(grant.first_minute, zone)}"
        hours = self.calendar.holiday_hours(grant.schedule_id, self._day)
        if hours is not None:
            times = [f"{clock_text(start)} to {clock_text(end)}" for start, end in hours]
            yield (
                f"{date_of(self._day)} is a holiday of {self._schedule(grant)}: "
                f"{' and '.join(times) or 'closed'}"
            )

    def _compiled_rules(self, token: Token) -> Iterator[tuple[str, str]]:
        """Yield the rule texts that are made for the reader, each with where it comes from."""
        direct = (
            select(DirectRule.text, ReaderGroup.kind, ReaderGroup.name)
            .join(ReaderGroup, ReaderGroup.id == DirectRule.group_id)
            .where(DirectRule.token_id == token.id, DirectRule.group_id.in_(self._groups))
        )
        for text, kind, name in self._session.execute(direct):
            yield text, f"given by hand for {_readers_label(kind, name)}"
        yield from self._badge_rules(token)
        for grant in self._grants(token):
            if grant.reader_group_id not in self._groups:
                continue
            # Whose rules are many is told of fewer holidays.
            horizons = self.calendar.horizons([grant.person_group_id])
            texts = {text for days in horizons for text in self.calendar.texts(grant, days)}
            if not self._uses_stored_rules:
                texts = set(self.calendar.texts(grant))
            for text in texts:
                yield text, self._grant_in_words(grant)

    def _badge_rules(self, token: Token) -> Iterator[tuple[str, str]]:
        badge = self._badge(token)
        if badge is None:
            return
        wanted = select(KormitelRule.text).where(KormitelRule.token_id == token.id)
        here = wanted.where(KormitelRule.group_id.in_(self._groups)).distinct()
        for text in self._session.scalars(here):
            yield text, f"from Kormitel: badge {badge.fields.get('name') or badge.key}"

    def _badge(self, token: Token) -> KormitelObject | None:
        wanted = select(KormitelObject).join(
            KormitelToken, KormitelToken.badge_id == KormitelObject.id
        )
        return self._session.scalars(wanted.where(KormitelToken.token_id == token.id)).first()

    def _grants(self, token: Token) -> list[GrantRow]:
        wanted = select(PersonGroupMember.group_id)
        groups = self._session.scalars(
            wanted.where(PersonGroupMember.person_id == token.person_id)
        )
        return sorted(self.calendar.grants_of(list(groups)))

    def _grant_in_words(self, grant: GrantRow) -> str:
        people = self._session.get_one(PersonGroup, grant.person_group_id).name
        readers = self._session.get_one(ReaderGroup, grant.reader_group_id)
        return (
            f"grant {grant.id}: {people} at {_readers_label(readers.kind, readers.name)}, "
            f"{self._schedule(grant)}"
        )

    def _schedule(self, grant: GrantRow) -> str:
        return self._session.get_one(Schedule, grant.schedule_id).name


def _readers_label(kind: str, name: str) -> str:
    return "all readers" if name == "*" else label_of(kind, name)


def _rule_in_words(text: str, moment: tuple[int, int, int], zone: Zone) -> str:
    packed = packing.pack(text.encode())
    said = rules.evaluate(packed, 0, False, *moment)
    bound = rules.date_of(packed, 0, said)
    if not bound:
        return decision.REASONS[said]
    edge = "from" if said == rules.NOT_YET else "until"
    return f"{decision.REASONS[said]}, {edge} {local_text(bound, zone)}"
