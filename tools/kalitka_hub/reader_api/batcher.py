"""Work for the database that comes while other such work is under way, done together.

One transaction for dozens of requests costs little more than one for each. What comes to an idle
hub is done at once; what comes while a thread is at it waits for the next turn, in order.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from fastapi.concurrency import run_in_threadpool

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Gathering(Generic[Asked, Answer]):
    """Gathers what is asked, for one event loop.

    work: called in a thread, never twice at a time, with at most `at_once` of what was asked, in
    order; returns an answer, or the fault to raise, for each.
    """

    def __init__(
        self, work: Callable[[Sequence[Asked]], Sequence[Answer | Exception]], at_once: int
    ) -> None:
        self._work = work
        self._at_once = at_once
        self._waiting: list[tuple[Asked, asyncio.Future[Answer]]] = []
        self._turns: asyncio.Task[None] | None = None

    async def ask(self, asked: Asked) -> Answer:
        """Return the answer to this, or raise its fault."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._turns is None:
            self._turns = asyncio.create_task(self._take_turns())
        return await answer

    async def _take_turns(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting[: self._at_once], self._waiting[self._at_once :]
            try:
                answers = await run_in_threadpool(self._work, [asked for asked, _ in some])
            except Exception as fault:
                # It is for those who wait, and the next have their turn all the same.
                answers = [fault] * len(some)
            for (_, waiting), answer in zip(some, answers, strict=True):
                _tell(waiting, answer)
        self._turns = None


def _tell(waiting: "asyncio.Future[Answer]", answer: Answer | Exception) -> None:
    # Who went away meanwhile is not waiting any more.
    if waiting.done():
        return
    if isinstance(answer, Exception):
        waiting.set_exception(answer)
    else:
        waiting.set_result(answer)
