"""Request bodies bounded in length, and in the time for each part to arrive.

A path that accepts longer bodies depends on `allow_body_size(...)`, and reads the body itself,
part by part (`Request.stream`): a body that FastAPI parses is read before the dependencies run.
"""

from collections.abc import Callable

from anyio import fail_after
from fastapi import HTTPException, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PART_SECONDS = 30  # for the next part of a body to arrive
_LIMIT = "kalitka_body_max"


class BoundedBody:
    """Middleware: 413 for a body of more than `most` bytes, 408 for a part that comes too late."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        length = int(declared) if declared.isdigit() else 0
        read = 0
        more = True

        async def receive_bounded() -> Message:
            nonlocal read, more
            if not more:
                # The body is complete: this waits for a disconnect, which may take long.
                return await receive()
            most = scope.get(_LIMIT, self._most)
            if length > most:
                raise _too_long(most)
            try:
                with fail_after(PART_SECONDS):
                    message = await receive()
            except TimeoutError as fault:
                raise HTTPException(
                    408, "the body did not arrive in time: send it again"
                ) from fault
            read += len(message.get("body", b""))
            more = message.get("more_body", False)
            if read > most:
                raise _too_long(most)
            return message

        await self._app(scope, receive_bounded, send)


def allow_body_size(size: int) -> Callable[[Request], None]:
    """Return a FastAPI dependency that lets a path accept bodies of up to `size` bytes."""

    def dependency(request: Request) -> None:
        request.scope[_LIMIT] = size

    return dependency


def _too_long(most: int) -> HTTPException:
    return HTTPException(413, f"the body is longer than {most} bytes: send less at a time")
