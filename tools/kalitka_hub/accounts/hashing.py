"""Where passwords are hashed: in two threads of their own, for all that a server is asked.

Otherwise those who guess passwords would take all the threads in which readers are answered, and
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
    """Too many other passwords wait to be hashed."""

    def __init__(self) -> None:
        InvalidRequest.__init__(self, "too many people log in just now: try again in a moment")
        self.seconds = _BUSY_SECONDS


async def run_hashing(work: Callable[..., Result], *arguments: object) -> Result:
    """Return what `work`, which hashes a password, returns. Raises HashingBusy."""
    if _HASHING.statistics().tasks_waiting >= _WAITING_MAX:
        raise HashingBusy()
    return await to_thread.run_sync(work, *arguments, limiter=_HASHING)
