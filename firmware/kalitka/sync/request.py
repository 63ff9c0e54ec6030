"""The sync request's body, in all four forms of the seed, streamed.

    MINUTE      MINUTE%      %code,code      MINUTE%code,code

Promises: holds one code at a time, so a list of any length goes straight from flash to the
socket. Source: the seed's "Request Body" examples.
"""

from kalitka.table import codes


def pieces(minute: int | None, names=None):
    """Yield the body in pieces (bytes).

    minute: minutes since 1970 UTC as last received, or None for the form without a date.
    names: an iterable of codes (bytes), or None. An empty one gives `MINUTE%`, which the server
    reads as no limit at all, like `MINUTE`.

    Raises ValueError if there is neither a minute nor a list, and CodeError for a bad code.
    """
    if minute is None and names is None:
        raise ValueError("a sync request needs a minute or codes")
    if minute is not None:
        yield b"%d" % minute
    if names is None:
        return
    yield b"%"
    first = True
    for code in names:
        fault = codes.check(code)
        if fault:
            raise codes.CodeError(fault)
        if not first:
            yield b","
        first = False
        yield code
    if first and minute is None:
        raise ValueError("a sync request without a minute needs at least one code")


def length(minute: int | None, names=None) -> int:
    """Return the body's length in bytes. Walks through `names` once, so it must be repeatable."""
    return sum(len(piece) for piece in pieces(minute, names))
