"""Micro-batching: requests that arrive during a transaction share the next one.

One transaction for dozens of requests costs little more than one transaction for a single one. A
request to an idle hub runs at once; a request that arrives while a batch runs waits for the next
batch, in order of arrival.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from fastapi.concurrency import run_in_threadpool

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """A queue that hands the items of one event loop to `work` in batches.

    work: called in a thread, one call at a time, with at most `batch_max` items in order; returns
    for each a result, or the exception to raise.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Sequence[Result | Exception]], batch_max: int
    ) -> None:
        self._work = work
        self._batch_max = batch_max
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._runner: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Queue an item; return its result, or raise its exception."""
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run_batches())
        return await answer

    async def _run_batches(self) -> None:
        while self._waiting:
            some, self._waiting = (
                self._waiting[: self._batch_max],
                self._waiting[self._batch_max :],
            )
            try:
                answers = await run_in_threadpool(self._work, [item for item, _ in some])
            except Exception as fault:
                # Passed to the requests of this batch; later batches must still run.
                answers = [fault] * len(some)
            for (_, waiting), answer in zip(some, answers, strict=True):
                _resolve(waiting, answer)
        # No await between the last `while` test and this line: within one event loop no `submit`
        # can append an item that nobody would run.
        self._runner = None


def _resolve(waiting: "asyncio.Future[Result]", answer: Result | Exception) -> None:
    # A request that was cancelled meanwhile no longer waits.
    if waiting.done():
        return
    if isinstance(answer, Exception):
        waiting.set_exception(answer)
    else:
        waiting.set_result(answer)
