"""The site's tokens: which code has which rules by hand, and at which readers.

Codes and rules are checked by the reader's own modules, so the hub never stores what a reader
would drop. A write that changes nothing stamps nothing, and costs the readers nothing. What a
token may do by the grants of its person is not seen here; see `compile`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.orm import Session

from kalitka.access import rules
from kalitka.table import codes

from . import audit, compile
from .changes import stamp_of
from .faults import NotFound, Refused
from .models import EVERY_READER, DirectRule, ReaderGroup, Token
from .readers import groups_by_label, label_of

_BATCH = 500  # tokens; what a bulk write or a list holds in memory at a time


@dataclass(frozen=True)
class TokenSetting:
    """What a token is set to by hand: rule texts, and readers' codes or names of their groups.

    readers: None for all.
    """

    code: str
    rules: tuple[str, ...]
    readers: tuple[str, ...] | None = None


def key_of(code: str) -> bytes:
    """Return the key (the packed form) of a token code. Raises Refused."""
    try:
        return codes.pack(code.encode())
    except (codes.CodeError, UnicodeEncodeError) as fault:
        reason = "not UTF-8" if isinstance(fault, UnicodeEncodeError) else str(fault)
        shown = code if len(code) <= 40 else code[:40] + "..."
        raise Refused(
            f"{shown!r} is no token code: {reason}; a code has 1 to 255 bytes and no control "
            "character, %, comma or _/"
        ) from fault


def rule_of(text: str) -> str:
    """Return a rule's text as it is stored: without leading zeros. Raises Refused."""
    try:
        return rules.text_of(rules.pack(text.encode())).decode()
    except (rules.RuleError, UnicodeEncodeError) as fault:
        reason = "not UTF-8" if isinstance(fault, UnicodeEncodeError) else str(fault)
        raise Refused(
            f"{text[:80]!r} is no rule: {reason}; write 1_FROM_TO, 3_START_END_MASK, "
            "7_START_END_MASK_FROM_TO, 9_1 or 9_0"
        ) from fault


def set_tokens(session: Session, settings: Iterable[TokenSetting]) -> int:
    """Set tokens to exactly these rules and readers; return how many that changed.

    A removed token is revived; of several settings of one code the last counts. Of any number
    of settings only a batch is in memory. The session comes from `changes.changing`.
    Raises Refused at the first setting that is wrong: leave the block then.
    """
    stamp_of(session)
    groups = groups_by_label(session)
    remaining = iter(settings)
    changed = 0
    while batch := list(islice(remaining, _BATCH)):
        checked = {key_of(setting.code): _checked(setting, groups) for setting in batch}
        changed += _set_batch(session, checked, groups)
    return changed


def remove_token(session: Session, code: str) -> None:
    """Remove a token; its row stays to tell of it.

    The session comes from `changes.changing`. Raises Refused for what is no code, NotFound.
    """
    stamp_of(session)
    token = find_token(session, code)
    if token is None:
        raise NotFound(f"there is no token {code}: `kalitka hub token list` shows them all")
    before = _setting_of(session, token)
    session.execute(delete(DirectRule).where(DirectRule.token_id == token.id))
    token.deleted, token.person_id, token.name, token.blocked = True, None, None, False
    session.flush()
    compile.recompute(session, [token.id])
    audit.record(session, "remove", "tokens", token.code, _described(before), None)


def find_token(session: Session, code: str) -> Token | None:
    """Return the token of this code unless it is removed. Raises Refused for what is no code."""
    live = select(Token).where(Token.key == key_of(code), Token.deleted.is_(False))
    return session.scalars(live).one_or_none()


def list_tokens(session: Session) -> Iterator[TokenSetting]:
    """Yield all tokens that are not removed, in code order.

    One without rules by hand is for no reader by hand: both are empty.
    """
    found = session.execute(
        select(Token.id, Token.code).where(Token.deleted.is_(False)).order_by(Token.key),
        execution_options={"yield_per": _BATCH},
    )
    for tokens in found.partitions():
        settings = _settings_of(session, tokens)
        for token in tokens:
            yield settings[token.id]


def _checked(setting: TokenSetting, groups: Mapping[str, int]) -> TokenSetting:
    texts = tuple(sorted({rule_of(text) for text in setting.rules}))
    if not texts:
        raise Refused(
            f"the token {setting.code} has no rule: give it at least one (9_1 is always), or "
            "remove it"
        )
    if setting.readers is None:
        return TokenSetting(setting.code, texts)
    if not setting.readers:
        raise Refused(f"the token {setting.code} is restricted to no reader: name one, or all")
    for code in setting.readers:
        if code not in groups:
            raise Refused(
                f"there is no reader {code}: add it first with `kalitka hub reader add {code}`"
            )
    return TokenSetting(setting.code, texts, tuple(sorted(set(setting.readers))))


def _set_batch(
    session: Session, settings: Mapping[bytes, TokenSetting], groups: Mapping[str, int]
) -> int:
    # By statements on many rows, not by objects: a site is imported five times as fast.
    tokens = session.execute(
        select(Token.id, Token.key, Token.code, Token.deleted).where(Token.key.in_(settings))
    ).all()
    present = _settings_of(session, tokens)
    before = {row.key: None if row.deleted else present[row.id] for row in tokens}
    changed = {key: value for key, value in settings.items() if before.get(key) != value}
    if not changed:
        return 0
    ids = {row.key: row.id for row in tokens if row.key in changed}
    if ids:
        session.execute(delete(DirectRule).where(DirectRule.token_id.in_(ids.values())))
        session.execute(update(Token).where(Token.id.in_(ids.values())).values(deleted=False))
    ids |= _add(session, {key: changed[key].code for key in changed if key not in ids})
    session.execute(
        insert(DirectRule),
        [
            {"token_id": ids[key], "group_id": group, "text": text}
            for key, setting in changed.items()
            for group in _groups_of(setting, groups)
            for text in setting.rules
        ],
    )
    compile.recompute(session, ids.values())
    audit.record_all(
        session,
        "tokens",
        [_record(before.get(key), setting) for key, setting in changed.items()],
    )
    return len(changed)


def _add(session: Session, new: Mapping[bytes, str]) -> dict[bytes, int]:
    """Add tokens of these keys and codes; return their ids by key."""
    if not new:
        return {}
    common = {"changed": stamp_of(session), "deleted": False, "blocked": False}
    session.execute(
        insert(Token), [{"key": key, "code": code, **common} for key, code in new.items()]
    )
    made = session.execute(select(Token.key, Token.id).where(Token.key.in_(new)))
    return {row.key: row.id for row in made}


def _groups_of(setting: TokenSetting, groups: Mapping[str, int]) -> Collection[int]:
    if setting.readers is None:
        return [EVERY_READER]
    return {groups[label] for label in setting.readers}


def _setting_of(session: Session, token: Token) -> TokenSetting:
    wanted = select(Token.id, Token.code).where(Token.id == token.id)
    return _settings_of(session, session.execute(wanted).all())[token.id]


def _settings_of(
    session: Session, tokens: Sequence[Row[*tuple[Any, ...]]]
) -> dict[int, TokenSetting]:
    """Return the settings by token id of rows that have `id` and `code`."""
    ids = [token.id for token in tokens]
    texts: dict[int, set[str]] = {token_id: set() for token_id in ids}
    readers: dict[int, set[str]] = {token_id: set() for token_id in ids}
    everywhere: set[int] = set()
    found = session.execute(
        select(DirectRule.token_id, DirectRule.text, DirectRule.group_id, ReaderGroup.kind)
        .add_columns(ReaderGroup.name)
        .join(ReaderGroup, ReaderGroup.id == DirectRule.group_id)
        .where(DirectRule.token_id.in_(ids))
    )
    for token_id, text, group_id, kind, name in found:
        texts[token_id].add(text)
        if group_id == EVERY_READER:
            everywhere.add(token_id)
        else:
            readers[token_id].add(label_of(kind, name))
    return {
        token.id: TokenSetting(
            token.code,
            tuple(sorted(texts[token.id])),
            None if token.id in everywhere else tuple(sorted(readers[token.id])),
        )
        for token in tokens
    }


def _record(before: TokenSetting | None, after: TokenSetting) -> audit.Record:
    if before is None:
        return audit.Record("add", after.code, None, _described(after))
    return audit.Record("change", after.code, _described(before), _described(after))


def _described(setting: TokenSetting) -> dict[str, Any]:
    return {"rules": setting.rules, "readers": setting.readers}
