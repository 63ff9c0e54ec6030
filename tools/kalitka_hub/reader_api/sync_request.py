"""The body of a sync request, in its four forms: `MINUTE`, `MINUTE%`, `%code,code` and
`MINUTE%code,code`. Source: the protocol's "Sync rules".

Pure: bytes in, a request or a clear refusal out.
"""

from dataclasses import dataclass

from kalitka.table import codes
from kalitka_hub.errors import InvalidRequest

DIGITS_MAX = 10


@dataclass(frozen=True)
class SyncRequest:
    """What a reader asks for.

    since: minutes since 1970 UTC, 0 for everything; None if only the codes matter.
    keys: the packed codes asked for, in code order and each once; None for all codes.
    """

    since: int | None
    keys: tuple[bytes, ...] | None


def parse(body: bytes) -> SyncRequest:
    """Return what a request body asks for. Raises InvalidRequest."""
    minute, _, listed = body.partition(b"%")
    if not minute and not listed:
        raise InvalidRequest(
            "the body names neither a minute nor a code: send the minute of the last answer, "
            "or 0 for everything"
        )
    keys = _parse_keys(listed) if listed else None
    return SyncRequest(_parse_minute(minute) if minute else None, keys)


def _parse_minute(text: bytes) -> int:
    if not text.isdigit() or len(text) > DIGITS_MAX:
        raise InvalidRequest(
            f"{_excerpt(text)} is no minute: send 1 to {DIGITS_MAX} digits, the minute of the "
            "last answer, or 0 for everything"
        )
    return int(text)


def _parse_keys(listed: bytes) -> tuple[bytes, ...]:
    keys = set()
    for code in listed.split(b","):
        try:
            keys.add(codes.pack(code))
        except codes.CodeError as fault:
            raise InvalidRequest(
                f"{_excerpt(code)} is no token code: {fault}; send codes with a comma between, "
                "and nothing after the last"
            ) from fault
    return tuple(sorted(keys))


def _excerpt(text: bytes) -> str:
    # A text that is all ASCII and short, whatever was sent.
    return repr(text[:40])[1:] + ("..." if len(text) > 40 else "")
