"""The body of a sync request, in its four forms: `MINUTE`, `MINUTE%`, `%code,code` and
`MINUTE%code,code`. Source: the protocol's "Sync rules".

Pure: bytes in, a request or InvalidRequest out.
"""

from dataclasses import dataclass

from kalitka.table import codes
from kalitka_hub.errors import InvalidRequest

DIGITS_MAX = 10


@dataclass(frozen=True)
class SyncRequest:
    """A parsed sync request.

    since: minutes since 1970 UTC, 0 for everything; None if only the codes matter.
    keys: the packed codes requested, in code order without repeats; None for all codes.
    """

    since: int | None
    keys: tuple[bytes, ...] | None


def parse(body: bytes) -> SyncRequest:
    """Parse a request body. Raises InvalidRequest."""
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
            f"invalid minute {_excerpt(text)}: send 1 to {DIGITS_MAX} digits, the minute of the "
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
                f"invalid token code {_excerpt(code)}: {fault}; send codes separated by commas, "
                "with nothing after the last"
            ) from fault
    return tuple(sorted(keys))


def _excerpt(text: bytes) -> str:
    # Always short and pure ASCII, whatever bytes were sent.
    return repr(text[:40])[1:] + ("..." if len(text) > 40 else "")
