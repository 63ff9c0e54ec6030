"""Waiting for the network: every wait has its deadline, every failure its words.

`wait_for` is how the rest of `sync` waits. Promises: nothing here blocks the loop, and no socket
outlives its exchange.
"""

import asyncio
import errno
import os
import socket

from kalitka import unload
from micropython import const

# After a failure: seconds to the next try, twice as many each time.
_RETRY_S = const(5)
_RETRY_MAX_S = const(300)

_ENOSPC = const(28)  # MicroPython's errno has no name for it

_WORDS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "the connection was reset",
    errno.EHOSTUNREACH: "no way there",
    errno.ETIMEDOUT: "no answer",
    _ENOSPC: "the flash is full",
}


class NetError(OSError):
    """The exchange failed. The message says what went wrong, in words."""


class NoReply(NetError):
    """No reply at all: the link itself may be down."""


class BadCertificate(NetError):
    """The server's certificate is not the one that the site's CA vouches for, at this time."""


async def wait_for(awaitable, timeout: float, doing: str):
    """Return what `awaitable` gives within `timeout` seconds; `doing` names it in the error.

    Raises NoReply if the time is over, BadCertificate, NetError for what the system reports.
    """
    try:
        return await asyncio.wait_for(awaitable, timeout)
    except asyncio.TimeoutError:
        raise NoReply("no answer in %s s while %s" % (timeout, doing))
    except NetError:
        raise
    except ValueError as e:
        # So MicroPython's TLS says what is wrong with a certificate.
        raise BadCertificate("certificate not accepted while %s: %s" % (doing, str(e).strip()))
    except OSError as e:
        raise net_error(e, doing)


def net_error(error: OSError, doing: str) -> NetError:
    """Return the NetError for an error of the system."""
    silent = error.errno in (errno.EHOSTUNREACH, errno.ETIMEDOUT)
    return (NoReply if silent else NetError)("%s while %s" % (describe(error), doing))


def same_fault(words: str, last: str) -> bool:
    """Return whether a failure is the one that was reported last: what lasts is reported once.

    How much memory is free is another number each time, and no other failure.
    """
    if " KiB are free" not in words:
        return words == last
    return _letters(words) == _letters(last)


def _letters(words):
    return "".join([letter for letter in words if not letter.isdigit()])


def describe(error: Exception) -> str:
    """Describe an error of ours or of the system in words."""
    if isinstance(error, asyncio.TimeoutError):
        return "the answer trickled for too long"
    args = error.args
    if len(args) == 1 and isinstance(args[0], str) and not isinstance(error, MemoryError):
        return args[0]
    if args and args[0] in _WORDS:
        return _WORDS[args[0]]
    try:
        from kalitka.system import memory

        words = memory.describe(error)
        del memory
        unload("system.memory")
    except MemoryError:  # not even for these words
        return "not enough memory"
    # TLS has a name for each of its numbers.
    return words or "error %s" % (args[-1] if args else error)


def backoff(failures: int, interval: float) -> float:
    """Return the seconds to wait after so many failures in a row, at least one.

    Doubled each time, up to five minutes or the `interval` of good times, and never the same for
    two readers that lost the same server.
    """
    pause = min(_RETRY_S << min(failures - 1, 16), max(_RETRY_MAX_S, interval))
    return pause * (128 + os.urandom(1)[0] // 2) // 256 + 1


def io_queue():
    """Return asyncio's I/O queue (an internal of it), to wait for a socket without a stream."""
    return asyncio.core._io_queue  # pyright: ignore[reportAttributeAccessIssue]


async def connect(
    address: str, port: int, tls, name: str, timeout: float, doing: str, scanner=None
):
    """Return a Stream to `address` (of the form 10.0.0.1).

    tls: an SSLContext, whose handshake is done with what is sent first and asks for the
    certificate of `name`; None for a plain connection. scanner: has `suspend`, see
    `hardware.wiegand`: a handshake, in which the chip hears no card, waits for it. Raises
    NoReply, NetError.
    """
    stream = None
    try:
        stream = Stream(address, port)
        await wait_for(stream.writable(), timeout, doing)
        if tls:
            if scanner:
                await scanner.suspend("TLS")
            stream.secure(tls, name)
        return stream
    except BaseException as e:  # the end of this task as well: sockets are few
        if stream:
            stream.close()
        if isinstance(e, OSError) and not isinstance(e, NetError):
            raise net_error(e, doing)
        raise


class Stream(asyncio.StreamReader):
    """A connection. Closing it frees the socket, whatever state TLS is in.

    (MicroPython's own `open_connection` loses the socket when a handshake fails: after some
    twenty wrong certificates the chip has none left.)
    """

    def __init__(self, address: str, port: int):
        self._socket = socket.socket()
        super().__init__(self._socket)
        try:
            self._socket.setblocking(False)
            try:
                self._socket.connect(socket.getaddrinfo(address, port)[0][-1])
            except OSError as e:
                if e.errno != errno.EINPROGRESS:
                    raise
        except BaseException:
            self.close()
            raise

    def secure(self, tls, name: str) -> None:
        """Begin TLS; see `connect`."""
        self.s = tls.wrap_socket(self._socket, server_hostname=name, do_handshake_on_connect=False)

    def writable(self):
        """Wait until something can be sent: the connection is there, or was refused."""
        yield io_queue().queue_write(self.s)

    async def send(self, data: bytes | bytearray) -> None:
        """Send all of it."""
        # In MicroPython a reader is a writer, too.
        self.write(data)  # pyright: ignore[reportAttributeAccessIssue]
        await self.drain()  # pyright: ignore[reportAttributeAccessIssue]

    def close(self) -> None:
        """Close the connection, at once."""
        self.s.close()
        self._socket.close()
