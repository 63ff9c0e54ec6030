"""A process that changes tokens while the minute passes, as an operator's commands would.

Its clock is a number that all processes share. It moves the clock between its transactions and
within them, while it holds the lock and before it commits; now and then backwards.
"""

import random
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Semaphore

from kalitka_hub.site.tokens import TokenSetting, remove_token, set_tokens
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database
from kalitka_sim.timeouts import HANG_TIMEOUT_S


class SharedClock:
    """A clock in Unix seconds that several processes read and move."""

    def __init__(self, minute: Synchronized) -> None:
        self._minute = minute

    def __call__(self) -> float:
        return self._minute.value * 60.0

    def move(self, minutes: int) -> None:
        with self._minute.get_lock():
            self._minute.value += minutes


def write(
    path: str, minute: Synchronized, seed: int, transactions: int, turns: Semaphore | None
) -> None:
    """Set one new token in every transaction, and later remove every third one for good.

    turns: acquired before each transaction; None to run freely.

    No token is set twice with the same rules, so a change that a reader missed stays missed.
    """
    clock = SharedClock(minute)
    database = open_database(path, clock)
    chance = random.Random(seed)
    for number in range(transactions):
        if turns:
            assert turns.acquire(timeout=HANG_TIMEOUT_S)
        clock.move(chance.choice((0, 0, 0, 1, 1, -1)))
        with write_transaction(database) as session:
            clock.move(chance.choice((0, 0, 1, 2)))
            set_tokens(session, [TokenSetting(f"{seed}-{number}", (f"1_{number}_9999",))])
            if number >= 10 and number % 3 == 0:
                remove_token(session, f"{seed}-{number - 10}")
            clock.move(chance.choice((0, 0, 1)))
    database.close()
