"""A streamed response that closes its source however the stream ends.

The source of a sync answer is a snapshot of the database, and SQLite's write-ahead log grows as
long as a snapshot is open: a reader that disconnects or stalls must not keep it open.
"""

from collections.abc import Callable, Iterator

from anyio import CancelScope, move_on_after
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

ANSWER_SECONDS = 600  # for a client to receive its answer; the snapshot is held as long


class SnapshotResponse(StreamingResponse):
    """A stream of `chunks` as plain text; `close` is called at its end, error or disconnect.

    After `seconds` the stream is cut off without its last chunk, so that the client can tell that
    it is incomplete.
    """

    def __init__(
        self,
        chunks: Iterator[bytes],
        close: Callable[[], None],
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        super().__init__(chunks, media_type="text/plain")
        self._close = close
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response (ASGI)."""
        try:
            with move_on_after(self._seconds):
                await super().__call__(scope, receive, send)
        finally:
            # Cancelling waits for the worker thread, so no thread is inside the source here. The
            # shield keeps a cancelled server from leaving the snapshot open.
            with CancelScope(shield=True):
                await run_in_threadpool(self._close)
