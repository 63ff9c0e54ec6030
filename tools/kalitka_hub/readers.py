"""The site's readers: who may ask, under which code."""

import re
from collections.abc import Iterator

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from .changes import stamp_of
from .faults import NotFound, Refused
from .models import NAME_MAX, READER_CODE_MAX, Reader, Token, TokenReader

_CODE = re.compile(r"[A-Za-z0-9:_-]+")


def check_reader_code(code: str) -> str:
    """Return `code` if it can be a reader's code. Raises Refused."""
    if not _CODE.fullmatch(code) or len(code) > READER_CODE_MAX:
        raise Refused(
            f"{code!r} is no reader code: use 1 to {READER_CODE_MAX} letters, digits, "
            "colons, underscores and dashes"
        )
    return code


def add_reader(session: Session, code: str, name: str | None = None) -> bool:
    """Let a reader ask; return False if it could already, and then only set its name if given.

    The session comes from `changes.changing`. Raises Refused.
    """
    stamp_of(session)
    check_reader_code(code)
    if name is not None and len(name) > NAME_MAX:
        raise Refused(f"a reader's name has at most {NAME_MAX} characters: shorten it")
    reader = find_reader(session, code)
    if reader is None:
        session.add(Reader(code=code, name=name))
        session.flush()
        return True
    if name is not None:
        reader.name = name
    return False


def remove_reader(session: Session, code: str) -> int:
    """Refuse a reader from now on; return how many tokens were restricted to it, among others.

    A token that was for this reader alone is then for none. The session comes from
    `changes.changing`. Raises NotFound.
    """
    stamp = stamp_of(session)
    reader = find_reader(session, check_reader_code(code))
    if reader is None:
        raise NotFound(f"there is no reader {code}: `kalitka hub reader list` shows them all")
    mine = select(TokenReader.token_id).where(TokenReader.reader_id == reader.id)
    # These count as changed: if the reader is added again, it must hear that they are gone.
    count = session.execute(select(func.count()).select_from(mine.subquery())).scalar_one()
    session.execute(update(Token).where(Token.id.in_(mine)).values(changed=stamp))
    session.execute(delete(TokenReader).where(TokenReader.reader_id == reader.id))
    session.delete(reader)
    session.flush()
    return count


def find_reader(session: Session, code: str) -> Reader | None:
    """Return the reader of this code, if there is one."""
    return session.scalars(select(Reader).where(Reader.code == code)).one_or_none()


def list_readers(session: Session) -> Iterator[Reader]:
    """Yield all readers, by code."""
    yield from session.scalars(select(Reader).order_by(Reader.code))
