"""The site's tokens: their owners, and their manual rules with the readers these are for.

Codes and rules are checked by the reader's own modules, so the hub never stores one that a reader
would drop. A code that a person writes is stored as a scanner sends it (see `token_codes`), but
one that is stored already stays, and is found, as it is. A write that changes nothing stamps
nothing and costs the readers nothing. The rules that a token gets from its person's grants are
made by `rule_compiler`. Functions that write require a session from `changes.write_transaction`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator
from sqlalchemy import Row, delete, select, update
from sqlalchemy.orm import Session

from kalitka.access import packing, rules
from kalitka.table import codes
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.site import rule_compiler, token_codes
from kalitka_hub.site.inputs import Filters, InputModel, Name, NameFilter, Names, Number
from kalitka_hub.site.readers import groups_by_label, label_of
from kalitka_hub.site.scanners import scanners_of_all
from kalitka_hub.store import audit
from kalitka_hub.store.bulk import in_batches, in_values, insert_rows, update_rows
from kalitka_hub.store.changes import change_stamp
from kalitka_hub.store.kormitel_models import KormitelToken
from kalitka_hub.store.models import EVERY_READER, DirectRule, Person, ReaderGroup, Token

TOKENS = "tokens"  # the resource's name, also its kind in the audit
RULES_MAX = 100  # manual rules of one token; a reader holds fewer
_NOTES = "kalitka_code_notes"


def token_key(code: str) -> bytes:
    """Return the key (the packed form) of a token code. Raises InvalidRequest."""
    try:
        return codes.pack(code.encode())
    except (codes.CodeError, UnicodeEncodeError) as fault:
        reason = "not UTF-8" if isinstance(fault, UnicodeEncodeError) else str(fault)
        shown = code if len(code) <= 40 else code[:40] + "..."
        raise InvalidRequest(
            f"{shown!r} is not a valid token code: {reason}; a code has 1 to 255 bytes and no "
            "control character, %, comma or _/"
        ) from fault


class CodeReader:
    """Reads codes as people write them, with what is stored and what the site's scanners send.

    printed: the form of the codes if they are numbers printed on cards, else None.
    """

    def __init__(self, session: Session, printed: token_codes.Printed | None = None) -> None:
        self._session = session
        self._printed = printed
        self._scanners = scanners_of_all(session)
        self._zeros: dict[str, str] | None = None

    def read(self, texts: Collection[str]) -> dict[str, str | InvalidRequest]:
        """Return the code that each text means, or why it means none.

        A text that is stored as a code, byte for byte, means that code.
        """
        stored = set() if self._printed else _stored_codes(self._session, texts)
        return {text: text if text in stored else self._read_new(text) for text in texts}

    def warning(self, code: str) -> str | None:
        """Return why no scanner of the site can send this code; None if one can."""
        return token_codes.warning(code, self._scanners)

    def shortened(self, codes: Collection[str]) -> dict[str, str]:
        """Return the stored codes of which these are what a spreadsheet leaves, by what is left.

        A spreadsheet takes the zeros in front of a decimal number away.
        """
        if self._zeros is None:
            found = self._session.scalars(
                select(Token.code).where(Token.deleted.is_(False), Token.code.startswith("0"))
            )
            self._zeros = {
                short: code
                for code in found
                if code.isdecimal() and (short := code.lstrip("0") or "0") != code
            }
        zeros = self._zeros
        if not zeros:
            return {}
        known = _stored_codes(self._session, [code for code in codes if code in zeros])
        return {code: zeros[code] for code in codes if code in zeros and code not in known}

    def _read_new(self, text: str) -> str | InvalidRequest:
        try:
            if self._printed:
                return token_codes.convert(text, self._printed, self._scanners)
            code = token_codes.normalize(text, self._scanners)
            token_key(code)
        except InvalidRequest as fault:
            if not self._printed and token_codes.looks_printed(text):
                return InvalidRequest(
                    f"{fault}; if it is a facility code and a number printed on a card, declare "
                    f"that with --printed {token_codes.FC_NUMBER}"
                )
            return fault
        return code


def read_code(session: Session, text: str, printed: token_codes.Printed | None = None) -> str:
    """Return the code that a text means; see CodeReader. Raises InvalidRequest.

    What a person should know of it is added to `code_notes`.
    """
    reader = CodeReader(session, printed)
    code = reader.read([text])[text]
    if isinstance(code, InvalidRequest):
        raise code
    notes = code_notes(session)
    if code != text:
        notes.setdefault(f"the code {text} becomes {code}")
    if warning := reader.warning(code):
        notes.setdefault(warning)
    return code


def code_notes(session: Session) -> dict[str, None]:
    """Return the notes on codes that were read in this session, for the person who wrote them."""
    return session.info.setdefault(_NOTES, {})


def _stored_codes(session: Session, texts: Iterable[str]) -> set[str]:
    keys = []
    for text in texts:
        try:
            keys.append(token_key(text))
        except InvalidRequest:
            continue
    live = select(Token.code).where(Token.deleted.is_(False))
    return set(session.scalars(live.where(in_values(session, Token.key, keys))))


@lru_cache(maxsize=4096)
def normalize_rule(text: str) -> str:
    """Return a rule's text in stored form, without leading zeros. Raises InvalidRequest."""
    try:
        return rules.text_of(packing.pack(text.encode())).decode()
    except (rules.RuleError, UnicodeEncodeError) as fault:
        reason = "not UTF-8" if isinstance(fault, UnicodeEncodeError) else str(fault)
        raise InvalidRequest(
            f"{text[:80]!r} is not a valid rule: {reason}; write 1_FROM_TO, 3_START_END_MASK, "
            "7_START_END_MASK_FROM_TO, 9_1 or 9_0"
        ) from fault


def _checked_code(code: str) -> str:
    # Only its form: `read_code` reads it, with what is stored.
    try:
        token_key(code)
    except InvalidRequest:
        sent = token_codes.normalize(code)
        if sent == code:
            raise
        token_key(sent)
    return code


class TokenRecord(InputModel):
    """A token as written. person: the owner's id, None for none. blocked: it opens no door.

    rules: manual rules as texts, besides those from its person's grants. readers: where these
    manual rules hold, as codes of readers and names of groups; None for all readers.
    """

    code: Annotated[str, AfterValidator(_checked_code)]
    person: Annotated[int, Field(ge=1, lt=1 << 62)] | None = None
    name: Name | None = None
    blocked: bool = False
    rules: Annotated[
        list[Annotated[str, AfterValidator(normalize_rule)]],
        Field(default_factory=list, max_length=RULES_MAX),
    ]
    readers: Names | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        _check_readers(self.code, self.readers)
        if self.readers is not None and not self.rules:
            raise InvalidRequest(
                f"the token {self.code} names readers but has no manual rule for them: add one, "
                "or leave the readers out (they do not restrict its person's grants)"
            )
        return self


class TokenView(TokenRecord):
    """A token as read."""


class TokenFilters(Filters):
    """The filters of `list_records`."""

    person: Number | None = Field(None, description="By the id of the person.")
    name: NameFilter = Field(None, description="By a part of the name.")
    blocked: bool | None = Field(None, description="true: only blocked ones; false: only others.")


@dataclass(frozen=True)
class TokenSetting:
    """The manual rules of one token: rule texts, with codes of readers and names of groups.

    readers: None for all readers.
    """

    code: str
    rules: tuple[str, ...]
    readers: tuple[str, ...] | None = None


class TokenOwner(NamedTuple):
    """A token's owner, name and block; see TokenRecord."""

    person: int | None = None
    name: str | None = None
    blocked: bool = False


class ManualRules(NamedTuple):
    """A token's manual rules and their readers; see TokenRecord."""

    rules: tuple[str, ...] = ()
    readers: tuple[str, ...] | None = None


class TokenChange(NamedTuple):
    """A change to a token. owner, manual: None leaves that part unchanged."""

    code: str
    owner: TokenOwner | None = None
    manual: ManualRules | None = None


class _State(NamedTuple):
    owner: TokenOwner = TokenOwner()
    manual: ManualRules = ManualRules()


_NEW = _State()


# One token


def add_token(session: Session, record: TokenRecord) -> str:
    """Add a token; return its code, which is read as by `read_code`.

    Raises InvalidRequest if the code exists or is refused; otherwise as `write_tokens`.
    """
    code = read_code(session, record.code)
    if find_token(session, code) is not None:
        raise InvalidRequest(f"there is a token {code} already: change that one")
    write_tokens(session, [change_from_record(record.model_copy(update={"code": code}))])
    return code


def change_token(session: Session, code: str, record: TokenRecord) -> bool:
    """Replace a token's data; return whether anything changed.

    Raises NotFound, and InvalidRequest for another code or invalid data.
    """
    stored = _existing_token(session, code).code
    if written_code(session, record.code) != stored:
        raise InvalidRequest(
            f"the token {code} keeps its code: add {record.code}, then remove {code}"
        )
    return write_tokens(session, [change_from_record(record)._replace(code=stored)]) == 1


def remove_token(session: Session, code: str) -> None:
    """Remove a token; its row stays, marked as deleted, so that readers are told.

    Raises NotFound, and InvalidRequest for an invalid code or the token of a Kormitel badge.
    """
    remove_tokens(session, [_existing_token(session, code).code])


def find_record(session: Session, code: str) -> TokenView:
    """Return a token, whose code may be written as people do.

    Raises NotFound, and InvalidRequest for an invalid code.
    """
    stored = _existing_token(session, code).code
    return find_records(session, [stored])[stored]


def find_token(session: Session, code: str) -> Token | None:
    """Return the token with this code, None if unknown or removed.

    Raises InvalidRequest for an invalid code.
    """
    live = select(Token).where(Token.key == token_key(code), Token.deleted.is_(False))
    return session.scalars(live).one_or_none()


def written_code(session: Session, text: str) -> str:
    """Return the code of a token that a text names: as it is stored, else as a scanner sends it.

    A damaged text names itself only. Raises InvalidRequest for an invalid code.
    """
    if find_token(session, text) is not None:
        return text
    try:
        code = token_codes.normalize(text, scanners_of_all(session))
        token_key(code)
    except InvalidRequest:
        return text
    return code


# Many tokens


def write_tokens(session: Session, changes: Iterable[TokenChange]) -> int:
    """Apply changes to tokens; return how many tokens changed.

    An unknown code becomes a new token, and so does a removed one. Of several changes to one code
    the last counts. One batch at a time is in memory. Raises InvalidRequest or NotFound at the
    first invalid change: leave the transaction's block then, so that it rolls back.
    """
    change_stamp(session)
    groups = groups_by_label(session)
    return sum(
        _write(session, {token_key(change.code): change for change in batch}, groups)
        for batch in in_batches(changes)
    )


def set_tokens(session: Session, settings: Iterable[TokenSetting]) -> int:
    """Replace the manual rules of tokens; otherwise like `write_tokens`."""
    return write_tokens(session, map(_manual_change, settings))


def remove_tokens(session: Session, codes: Iterable[str]) -> int:
    """Remove tokens; return how many. Raises as `remove_token`, at the first failure."""
    change_stamp(session)
    return sum(
        _remove(session, {token_key(code): code for code in batch}) for batch in in_batches(codes)
    )


def find_records(session: Session, codes: Collection[str]) -> dict[str, TokenView]:
    """Return the tokens with these codes, by code; unknown codes are left out.

    Raises InvalidRequest for an invalid code.
    """
    return {view.code: view for view in _views(session, _rows(session, map(token_key, codes)))}


def list_records(
    session: Session,
    after: str = "",
    limit: int = 100,
    *,
    person: int | None = None,
    name: str | None = None,
    blocked: bool | None = None,
) -> list[TokenView]:
    """Return tokens in code order: codes after `after`, at most `limit`.

    person: only tokens of this person. name: only tokens whose name contains this, ignoring case.
    blocked: only tokens that are blocked, or are not. Raises InvalidRequest for an invalid code.
    """
    wanted = _COLUMNS.where(Token.deleted.is_(False)).order_by(Token.key).limit(limit)
    if after:
        wanted = wanted.where(Token.key > token_key(after))
    if person is not None:
        wanted = wanted.where(Token.person_id == person)
    if name is not None:
        wanted = wanted.where(Token.name.icontains(name, autoescape=True))
    if blocked is not None:
        wanted = wanted.where(Token.blocked.is_(blocked))
    return _views(session, session.execute(wanted).all())


def change_from_record(record: TokenRecord) -> TokenChange:
    """Return the change that brings a token to this record."""
    readers = None if record.readers is None else tuple(record.readers)
    return TokenChange(
        record.code,
        TokenOwner(record.person, record.name, record.blocked),
        ManualRules(tuple(record.rules), readers),
    )


def missing_people(session: Session, ids: Collection[int]) -> set[int]:
    """Return the ids that no person has."""
    return set(ids) - set(
        session.scalars(select(Person.id).where(in_values(session, Person.id, ids)))
    )


# Implementation

_COLUMNS = select(
    Token.id,
    Token.key,
    Token.code,
    Token.person_id,
    Token.name,
    Token.blocked,
    Token.deleted,
)
_Rows = Sequence[Row[*tuple[Any, ...]]]


def _manual_change(setting: TokenSetting) -> TokenChange:
    texts = tuple(map(normalize_rule, setting.rules))
    if not texts:
        raise InvalidRequest(
            f"the token {setting.code} has no rule: give it at least one (9_1 is always), or "
            "remove it"
        )
    _check_readers(setting.code, setting.readers)
    return TokenChange(setting.code, manual=ManualRules(texts, setting.readers))


def _check_readers(code: str, readers: Collection[str] | None) -> None:
    if readers is not None and not readers:
        raise InvalidRequest(
            f"the token {code} has an empty list of readers: name at least one reader, or leave "
            "the list out for all readers"
        )


def no_reader_message(label: str) -> str:
    """Return the message for a label that is neither a reader nor a group of readers."""
    return f"there is no reader {label}: add it first with `kalitka hub reader add {label}`"


def no_person_message(number: int) -> str:
    """Return the message for an id that no person has."""
    return f"there is no person {number}: add the person first"


def _existing_token(session: Session, code: str) -> Token:
    token = find_token(session, written_code(session, code))
    if token is None:
        raise _no_token(code)
    return token


def _no_token(code: str) -> NotFound:
    return NotFound(f"there is no token {code}: `kalitka hub token list` shows them all")


def _write(
    session: Session, changes: Mapping[bytes, TokenChange], groups: Mapping[str, int]
) -> int:
    _check(session, changes.values(), groups)
    rows = {row.key: row for row in _rows(session, changes, removed=True)}
    states = _states(session, list(rows.values()))
    before = {row.key: states[row.id] for row in rows.values() if not row.deleted}
    after = {
        key: state
        for key, change in changes.items()
        if before.get(key) != (state := _apply_change(before.get(key, _NEW), change))
    }
    if not after:
        return 0
    ids = {key: rows[key].id for key in after if key in rows}
    held = {key for key in ids if key not in before or before[key].owner != after[key].owner}
    update_rows(
        session, Token, [{"id": ids[key], **_owner_columns(after[key].owner)} for key in held]
    )
    ids |= _add(session, {key: changes[key].code for key in after if key not in ids}, after)
    manual = [key for key in after if before.get(key, _NEW).manual != after[key].manual]
    _write_manual_rules(session, {ids[key]: after[key].manual for key in manual}, groups)
    rule_compiler.recompute(session, ids.values())
    records = [_record(changes[key].code, before.get(key), state) for key, state in after.items()]
    audit.record_all(session, TOKENS, records)
    return len(after)


def _check(session: Session, changes: Iterable[TokenChange], groups: Mapping[str, int]) -> None:
    people = set()
    for change in changes:
        if change.owner and change.owner.person is not None:
            people.add(change.owner.person)
        for label in (change.manual and change.manual.readers) or ():
            if label not in groups:
                raise InvalidRequest(no_reader_message(label))
    missing = missing_people(session, people) if people else None
    if missing:
        raise NotFound(no_person_message(min(missing)))


def _apply_change(state: _State, change: TokenChange) -> _State:
    manual = state.manual
    if change.manual is not None:
        texts, readers = change.manual
        manual = ManualRules(
            tuple(sorted(set(texts))), None if readers is None else tuple(sorted(set(readers)))
        )
    return _State(state.owner if change.owner is None else change.owner, manual)


def _owner_columns(holder: TokenOwner) -> dict[str, Any]:
    return {
        "person_id": holder.person,
        "name": holder.name,
        "blocked": holder.blocked,
        "deleted": False,
    }


def _add(
    session: Session, new: Mapping[bytes, str], states: Mapping[bytes, _State]
) -> dict[bytes, int]:
    """Add tokens of these keys and codes; return their ids by key."""
    if not new:
        return {}
    stamp = change_stamp(session)
    rows = [
        {"key": key, "code": code, "changed": stamp, **_owner_columns(states[key].owner)}
        for key, code in new.items()
    ]
    insert_rows(session, Token, rows)
    made = session.execute(select(Token.key, Token.id).where(in_values(session, Token.key, new)))
    return {row.key: row.id for row in made}


def _write_manual_rules(
    session: Session, manual: Mapping[int, ManualRules], groups: Mapping[str, int]
) -> None:
    if not manual:
        return
    session.execute(delete(DirectRule).where(in_values(session, DirectRule.token_id, manual)))
    rows = [
        {"token_id": token_id, "group_id": group, "text": text}
        for token_id, (texts, readers) in manual.items()
        for group in ([EVERY_READER] if readers is None else {groups[label] for label in readers})
        for text in texts
    ]
    insert_rows(session, DirectRule, rows)


def _remove(session: Session, codes: Mapping[bytes, str]) -> int:
    rows = _rows(session, codes)
    missing = codes.keys() - {row.key for row in rows}
    if missing:
        raise _no_token(codes[min(missing)])
    states = _states(session, rows)
    ids = [row.id for row in rows]
    _check_no_badge(session, ids)
    session.execute(delete(DirectRule).where(in_values(session, DirectRule.token_id, ids)))
    session.execute(
        update(Token)
        .where(in_values(session, Token.id, ids))
        .values(**_owner_columns(TokenOwner()) | {"deleted": True})
    )
    rule_compiler.recompute(session, ids)
    records = [
        audit.AuditRecord("remove", row.code, _audit_fields(states[row.id]), None) for row in rows
    ]
    audit.record_all(session, TOKENS, records)
    return len(rows)


def _check_no_badge(session: Session, token_ids: Collection[int]) -> None:
    of_badges = select(Token.code).join(KormitelToken, KormitelToken.token_id == Token.id)
    code = session.scalars(of_badges.where(in_values(session, Token.id, token_ids))).first()
    if code is not None:
        raise InvalidRequest(
            f"the token {code} is a badge of Kormitel: block it, give it to nobody, or change the "
            "badge"
        )


def _rows(session: Session, keys: Iterable[bytes], *, removed: bool = False) -> _Rows:
    wanted = _COLUMNS.where(in_values(session, Token.key, keys)).order_by(Token.key)
    if not removed:
        wanted = wanted.where(Token.deleted.is_(False))
    return session.execute(wanted).all()


def _states(session: Session, rows: _Rows) -> dict[int, _State]:
    """Return the owners and manual rules of tokens, by token id."""
    texts: dict[int, set[str]] = defaultdict(set)
    readers: dict[int, set[str]] = defaultdict(set)
    everywhere: set[int] = set()
    found = session.execute(
        select(DirectRule.token_id, DirectRule.text, DirectRule.group_id, ReaderGroup.kind)
        .add_columns(ReaderGroup.name)
        .join(ReaderGroup, ReaderGroup.id == DirectRule.group_id)
        .where(in_values(session, DirectRule.token_id, (row.id for row in rows)))
    )
    for token_id, text, group_id, kind, name in found:
        texts[token_id].add(text)
        if group_id == EVERY_READER:
            everywhere.add(token_id)
        else:
            readers[token_id].add(label_of(kind, name))
    return {
        row.id: _State(
            TokenOwner(row.person_id, row.name, row.blocked),
            ManualRules(
                tuple(sorted(texts.get(row.id, ()))),
                tuple(sorted(readers[row.id]))
                if row.id in texts and row.id not in everywhere
                else None,
            ),
        )
        for row in rows
    }


def _views(session: Session, rows: _Rows) -> list[TokenView]:
    states = _states(session, rows)
    return [
        TokenView.model_construct(code=row.code, **_audit_fields(states[row.id])) for row in rows
    ]


def _record(code: str, before: _State | None, after: _State) -> audit.AuditRecord:
    if before is None:
        return audit.AuditRecord("add", code, None, _audit_fields(after))
    return audit.AuditRecord("change", code, _audit_fields(before), _audit_fields(after))


def _audit_fields(state: _State) -> dict[str, Any]:
    holder, (texts, readers) = state
    return {
        **holder._asdict(),
        "rules": list(texts),
        "readers": None if readers is None else list(readers),
    }
