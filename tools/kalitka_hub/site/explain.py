"""Explanations: why a reader allows or denies a token at a given time.

The firmware's own decision module decides, by the rules that the hub sends the reader: the answer
holds for a reader that has polled, whose clock is right, and whose `day_time_unit` is `auto`: one
rule with a day time in seconds makes those of all its rules seconds. The source of each rule is
named. For days that the stored rules were not compiled for (the past, and beyond the known
holidays) the rules are compiled as for that day, from today's settings. Nothing is written.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from kalitka.access import decision, packing, rules
from kalitka.access.timezone import Zone
from kalitka_hub.site import token_codes
from kalitka_hub.site.grant_calendar import GrantCalendar, GrantRow, date_of
from kalitka_hub.site.local_time import WEEKDAYS, clock_text, local_text
from kalitka_hub.site.readers import ALL_READERS, existing_reader, groups_of_reader, label_of
from kalitka_hub.site.scanners import scanners_of
from kalitka_hub.site.schedule_rules import HORIZON_DAYS, local_day
from kalitka_hub.site.tokens import find_token, written_code
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


@dataclass(frozen=True)
class RuleReason:
    """One rule of the token at the reader. said: its verdict for the time, in words.

    sources: the rule's origins, in words: grants, a Kormitel badge, manual rules.
    """

    text: str
    said: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """A reader's verdict for a token, with its reason.

    reason: in words, as on the reader's console. rule: the rule that allows, or the one nearest to
    allowing. when: the local time that the reason refers to, such as the end of an expired rule.
    local: the requested time, with its weekday, at the reader. notes: further facts. code: as it
    is stored, or as a scanner sends it. unreadable: why the reader's scanner can never send this
    code, so that it opens nothing; None if it can.
    """

    allowed: bool
    reason: str
    rule: str | None
    when: str | None
    local: str
    rules: tuple[RuleReason, ...] = ()
    notes: tuple[str, ...] = field(default=())
    code: str = ""
    unreadable: str | None = None


def explain(session: Session, reader: str, code: str, minute: int, now: int) -> Explanation:
    """Explain a reader's verdict for a token code at a minute.

    minute, now: minutes since 1970 UTC. Raises InvalidRequest for an invalid code, and NotFound
    for an unknown reader; an unknown code is explained as such. code: as people write it.
    """
    place = existing_reader(session, reader)
    query = _Explainer(session, place, minute, now)
    code = written_code(session, code)
    token = find_token(session, code)
    texts = query.texts_of(token) if token else {}
    rule_set = b""
    for text in texts:
        rule_set = packing.insert(rule_set, packing.pack(text.encode()))
    zone = query.calendar.zone
    zone.update(minute)
    moment = minute, zone.day_minute, zone.weekday
    above = query.rule_in_seconds(texts)
    seconds = rules.in_seconds("auto", above is not None)
    verdict = decision.Verdict()
    if rule_set:
        verdict.decide(rule_set, 0, len(rule_set), seconds, *moment)
    else:
        verdict.deny(decision.UNKNOWN_CODE)
    rule = rules.text_of(rule_set, verdict.rule).decode() if verdict.rule >= 0 else None
    notes = [*query.notes()]
    notes += query.notes_of(token) if token else ["the hub does not know this code"]
    if above is not None and texts:
        notes.append(
            f"day times are seconds here: the reader has the rule {above}, with a day time above "
            f"{rules.DAY_MINUTES} (unless its day_time_unit is set)"
        )
    unreadable = token_codes.warning(code, scanners_of(session, place), f"the reader {reader}")
    if unreadable:
        notes.append(unreadable)
    return Explanation(
        allowed=verdict.reason == decision.ALLOWED,
        reason=decision.REASONS[verdict.reason],
        rule=rule,
        when=local_text(verdict.when, zone) if verdict.when else None,
        local=f"{WEEKDAYS[moment[2]]} {local_text(minute, zone)}",
        rules=tuple(
            RuleReason(text, _rule_in_words(text, seconds, moment, zone), tuple(sources))
            for text, sources in sorted(texts.items())
        ),
        notes=tuple(notes),
        code=code,
        unreadable=unreadable,
    )


class _Explainer:
    # The look-ups for one reader and one minute.

    def __init__(self, session: Session, reader: Reader, minute: int, now: int) -> None:
        self._session = session
        self._reader = reader
        self._minute = minute
        known = GrantCalendar(session, now)
        self._day = local_day(known.zone, minute)
        self._today = known.today
        # Whether today's compiled rules cover that day.
        self._uses_stored_rules = 0 <= self._day - known.today <= HORIZON_DAYS
        self.calendar = known if self._uses_stored_rules else GrantCalendar(session, minute)
        self._groups = set(groups_of_reader(session, reader.id))

    def texts_of(self, token: Token) -> dict[str, list[str]]:
        """Return the token's rule texts at the reader, each with its sources."""
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

    def rule_in_seconds(self, texts: Iterable[str]) -> str | None:
        """Return a rule of the reader, of any token, whose day times must be seconds; else None.

        texts: the rules of the token in question.
        """
        told = select(TokenRule.text).where(
            TokenRule.group_id.in_(self._groups),
            or_(TokenRule.text.startswith("3"), TokenRule.text.startswith("7")),
        )
        for text in (*texts, *self._session.scalars(told.distinct())):
            if packing.needs_seconds(packing.pack(text.encode())):
                return text
        return None

    def notes(self) -> Iterator[str]:
        """Yield the notes on the time."""
        if self._day < self._today:
            yield "in the past: explained by today's settings, which may have changed since"
        elif not self._uses_stored_rules:
            yield (
                "later than the holidays that readers know so far: explained by the rules as they "
                "will be compiled by then"
            )

    def notes_of(self, token: Token) -> Iterator[str]:
        """Yield the notes on a token and on its person's grants at the reader."""
        if token.blocked:
            yield "the token is blocked: it has no rules"
        if token.person_id is None:
            also = " and its badge's rules" if self._badge(token) else ""
            yield f"the token has no owner: it has only its manual rules{also}"
            return
        here, elsewhere = [], []
        for grant in self._grants(token):
            (here if grant.reader_group_id in self._groups else elsewhere).append(grant)
        if not here:
            yield f"the groups of its person have no grant at {self._reader.code}"
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
        """Yield the rule texts compiled for the reader, each with its source."""
        direct = (
            select(DirectRule.text, ReaderGroup.kind, ReaderGroup.name)
            .join(ReaderGroup, ReaderGroup.id == DirectRule.group_id)
            .where(DirectRule.token_id == token.id, DirectRule.group_id.in_(self._groups))
        )
        for text, kind, name in self._session.execute(direct):
            yield text, f"manual rule for {_readers_label(kind, name)}"
        yield from self._badge_rules(token)
        for grant in self._grants(token):
            if grant.reader_group_id not in self._groups:
                continue
            # A token with many rules gets fewer holidays, and so other texts of the same grant.
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
    return "all readers" if name == ALL_READERS else label_of(kind, name)


def _rule_in_words(text: str, seconds: bool, moment: tuple[int, int, int], zone: Zone) -> str:
    packed = packing.pack(text.encode())
    said = rules.evaluate(packed, 0, seconds, *moment)
    bound = rules.date_of(packed, 0, said)
    if not bound:
        return decision.REASONS[said]
    edge = "from" if said == rules.NOT_YET else "until"
    return f"{decision.REASONS[said]}, {edge} {local_text(bound, zone)}"
