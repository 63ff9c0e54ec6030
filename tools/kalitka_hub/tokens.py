"""The site's tokens: which code has which rules, at which readers.

Codes and rules are checked by the reader's own modules, so the hub never stores what a reader
would drop. A write that changes nothing stamps nothing, and costs the readers nothing.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.orm import Session

from kalitka.access import rules
from kalitka.table import codes

from .changes import stamp_of
from .faults import NotFound, Refused
from .models import Reader, Token, TokenReader, TokenRule

_BATCH = 500  # tokens; what a bulk write or a list holds in memory at a time


@dataclass(frozen=True)
class TokenSetting:
    """What a token is to be, or is: its rule texts and its readers' codes, None for all."""

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
    stamp = stamp_of(session)
    known = session.execute(select(Reader.code, Reader.id))
    reader_ids = {row.code: row.id for row in known}
    remaining = iter(settings)
    changed = 0
    while batch := list(islice(remaining, _BATCH)):
        checked = {key_of(setting.code): _checked(setting, reader_ids) for setting in batch}
        changed += _set_batch(session, stamp, checked, reader_ids)
    return changed


def remove_token(session: Session, code: str) -> None:
    """Remove a token; its row stays to tell of it.

    The session comes from `changes.changing`. Raises Refused for what is no code, NotFound.
    """
    stamp = stamp_of(session)
    live = select(Token.id).where(Token.key == key_of(code), Token.deleted.is_(False))
    token_id = session.execute(live).scalar_one_or_none()
    if token_id is None:
        raise NotFound(f"there is no token {code}: `kalitka hub token list` shows them all")
    _forget_rules_and_readers(session, [token_id])
    session.execute(
        update(Token)
        .where(Token.id == token_id)
        .values(deleted=True, restricted=False, changed=stamp)
    )


def list_tokens(session: Session) -> Iterator[TokenSetting]:
    """Yield all tokens that are not removed, in code order."""
    found = session.execute(
        select(Token.id, Token.code, Token.restricted)
        .where(Token.deleted.is_(False))
        .order_by(Token.key),
        execution_options={"yield_per": _BATCH},
    )
    for tokens in found.partitions():
        settings = _settings_of(session, tokens)
        for token in tokens:
            yield settings[token.id]


def _checked(setting: TokenSetting, reader_ids: Mapping[str, int]) -> TokenSetting:
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
        if code not in reader_ids:
            raise Refused(
                f"there is no reader {code}: add it first with `kalitka hub reader add {code}`"
            )
    return TokenSetting(setting.code, texts, tuple(sorted(set(setting.readers))))


def _set_batch(
    session: Session,
    stamp: int,
    settings: Mapping[bytes, TokenSetting],
    reader_ids: Mapping[str, int],
) -> int:
    # By statements on many rows, not by objects: a site is imported five times as fast.
    tokens = session.execute(
        select(Token.id, Token.key, Token.code, Token.restricted, Token.deleted).where(
            Token.key.in_(settings)
        )
    ).all()
    present = _settings_of(session, tokens)
    same = {row.key for row in tokens if not row.deleted and present[row.id] == settings[row.key]}
    changed = {key: setting for key, setting in settings.items() if key not in same}
    if not changed:
        return 0
    ids = {row.key: row.id for row in tokens if row.key in changed}
    _forget_rules_and_readers(session, ids.values())
    values = {
        key: {
            "changed": stamp,
            "deleted": False,
            "restricted": setting.readers is not None,
        }
        for key, setting in changed.items()
    }
    if ids:
        session.execute(
            update(Token), [{"id": token_id} | values[key] for key, token_id in ids.items()]
        )
    new = [key for key in changed if key not in ids]
    if new:
        session.execute(
            insert(Token),
            [{"key": key, "code": changed[key].code} | values[key] for key in new],
        )
        made = session.execute(select(Token.key, Token.id).where(Token.key.in_(new)))
        ids |= {row.key: row.id for row in made}
    _add_rules_and_readers(session, {ids[key]: changed[key] for key in changed}, reader_ids)
    return len(changed)


def _settings_of(
    session: Session, tokens: Sequence[Row[*tuple[Any, ...]]]
) -> dict[int, TokenSetting]:
    """Return the settings by token id of rows that have `id`, `code` and `restricted`."""
    ids = [token.id for token in tokens]
    texts: dict[int, list[str]] = {token_id: [] for token_id in ids}
    readers: dict[int, list[str]] = {token_id: [] for token_id in ids}
    for token_id, text in session.execute(
        select(TokenRule.token_id, TokenRule.text).where(TokenRule.token_id.in_(ids))
    ):
        texts[token_id].append(text)
    for token_id, code in session.execute(
        select(TokenReader.token_id, Reader.code)
        .join(Reader, Reader.id == TokenReader.reader_id)
        .where(TokenReader.token_id.in_(ids))
    ):
        readers[token_id].append(code)
    return {
        token.id: TokenSetting(
            token.code,
            tuple(sorted(texts[token.id])),
            tuple(sorted(readers[token.id])) if token.restricted else None,
        )
        for token in tokens
    }


def _forget_rules_and_readers(session: Session, ids: Collection[int]) -> None:
    if ids:
        session.execute(delete(TokenRule).where(TokenRule.token_id.in_(ids)))
        session.execute(delete(TokenReader).where(TokenReader.token_id.in_(ids)))


def _add_rules_and_readers(
    session: Session, settings: Mapping[int, TokenSetting], reader_ids: Mapping[str, int]
) -> None:
    texts = [
        {"token_id": token_id, "text": text}
        for token_id, setting in settings.items()
        for text in setting.rules
    ]
    readers = [
        {"token_id": token_id, "reader_id": reader_ids[code]}
        for token_id, setting in settings.items()
        for code in setting.readers or ()
    ]
    session.execute(insert(TokenRule), texts)
    if readers:
        session.execute(insert(TokenReader), readers)
