"""A streamed response that ends its source however the stream ends.

The source of a sync answer is a snapshot of the database, and SQLite's log grows for as long as
one is open: a reader that goes away or stands still must not hold it.
"""

from collections.abc import Callable, Iterator

from anyio import CancelScope, move_on_after
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class SnapshotResponse(StreamingResponse):
    """Streams `chunks` as plain text and calls `close` at the end, a fault or a disconnect.

    After `seconds` the answer is cut off without its last chunk, so that the reader can tell.
    """

    def __init__(self, chunks: Iterator[bytes], close: Callable[[], None], seconds: float) -> None:
        super().__init__(chunks, media_type="text/plain")
        self._close = close
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response (ASGI)."""
        try:
            with move_on_after(self._seconds):
                await super().__call__(scope, receive, send)
        finally:
            # No thread is inside the source any more: cancelling waits for it.
            with CancelScope(shield=True):
                await run_in_threadpool(self._close)
