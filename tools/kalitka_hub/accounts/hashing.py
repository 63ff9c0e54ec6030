"""Password hashing for the server, limited to two threads of its own.

Otherwise an attacker who guesses passwords could occupy all the threads that serve readers, and
19 MiB of memory for each.
"""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from kalitka_hub.accounts.login_attempts import TooManyAttempts
from kalitka_hub.errors import InvalidRequest

_HASHING = CapacityLimiter(2)
_WAITING_MAX = 20
_BUSY_SECONDS = 5
Result = TypeVar("Result")


class HashingBusy(TooManyAttempts):
    """Too many passwords are waiting to be hashed."""

    def __init__(self) -> None:
        InvalidRequest.__init__(self, "too many people are logging in: try again in a moment")
        self.seconds = _BUSY_SECONDS


async def run_hashing(work: Callable[..., Result], *arguments: object) -> Result:
    """Run `work`, which hashes a password, in one of the threads; return its result.

    Raises HashingBusy.
    """
    if _HASHING.statistics().tasks_waiting >= _WAITING_MAX:
        raise HashingBusy()
    return await to_thread.run_sync(work, *arguments, limiter=_HASHING)
