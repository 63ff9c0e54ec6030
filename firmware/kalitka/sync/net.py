"""Waiting for the network: every wait has its deadline, every failure its words.

`wait` is how the rest of `sync` waits. Promises: nothing here blocks the loop, and no socket
outlives its exchange.
"""

import asyncio
import errno
import os
import socket

from kalitka import forget
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


class Silent(NetError):
    """Nothing was heard at all: it may be the network itself that is dead."""


class BadCertificate(NetError):
    """The server's certificate is not the one that the site's CA vouches for, at this time."""


async def wait(awaitable, patience: float, doing: str):
    """Return what `awaitable` gives within `patience` seconds; `doing` names it in the error.

    Raises Silent if the time is over, BadCertificate, NetError for what the system reports.
    """
    try:
        return await asyncio.wait_for(awaitable, patience)
    except asyncio.TimeoutError:
        raise Silent("no answer in %s s while %s" % (patience, doing))
    except NetError:
        raise
    except ValueError as e:
        # So MicroPython's TLS says what is wrong with a certificate.
        raise BadCertificate("certificate not accepted while %s: %s" % (doing, str(e).strip()))
    except OSError as e:
        raise told(e, doing)


def told(error: OSError, doing: str) -> NetError:
    """Return the system's error as one of ours."""
    silent = error.errno in (errno.EHOSTUNREACH, errno.ETIMEDOUT)
    return (Silent if silent else NetError)("%s while %s" % (words_of(error), doing))


def is_told(words: str, last: str) -> bool:
    """Tell whether a failure is the one that was told last: what lasts is told once.

    How much memory is free is another number each time, and no other failure.
    """
    if " KiB are free" not in words:
        return words == last
    return _without_digits(words) == _without_digits(last)


def _without_digits(words):
    return "".join([letter for letter in words if not letter.isdigit()])


def words_of(error: Exception) -> str:
    """Return an error of ours or of the system in words."""
    if isinstance(error, asyncio.TimeoutError):
        return "the answer trickled for too long"
    args = error.args
    if len(args) == 1 and isinstance(args[0], str) and not isinstance(error, MemoryError):
        return args[0]
    if args and args[0] in _WORDS:
        return _WORDS[args[0]]
    try:
        from kalitka.system import memory

        words = memory.want(error)
        del memory
        forget("system.memory")
    except MemoryError:  # not even for these words
        return "not enough memory"
    # TLS has a name for each of its numbers.
    return words or "error %s" % (args[-1] if args else error)


def pause_after(failures: int, interval: float) -> float:
    """Return the seconds to wait after so many failures in a row, at least one.

    Doubled each time, up to five minutes or the `interval` of good times, and never the same for
    two readers that lost the same server.
    """
    pause = min(_RETRY_S << min(failures - 1, 16), max(_RETRY_MAX_S, interval))
    return pause * (128 + os.urandom(1)[0] // 2) // 256 + 1


def queue():
    """Return where asyncio waits for sockets: the way to wait for one without a stream."""
    return asyncio.core._io_queue  # pyright: ignore[reportAttributeAccessIssue]


async def connect(
    address: str, port: int, tls, name: str, patience: float, doing: str, scanner=None
):
    """Return a Stream to `address` (of the form 10.0.0.1).

    tls: an SSLContext, whose handshake is done with what is sent first and asks for the
    certificate of `name`; None for a plain connection. scanner: has `leave`, see
    `hardware.wiegand`: a handshake, in which the chip hears no card, waits for its leave. Raises
    Silent, NetError.
    """
    stream = None
    try:
        stream = Stream(address, port)
        await wait(stream.writable(), patience, doing)
        if tls:
            if scanner:
                await scanner.leave("TLS")
            stream.secure(tls, name)
        return stream
    except BaseException as e:  # the end of this task as well: sockets are few
        if stream:
            stream.close()
        if isinstance(e, OSError) and not isinstance(e, NetError):
            raise told(e, doing)
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
        yield queue().queue_write(self.s)

    async def send(self, data: bytes | bytearray) -> None:
        """Send all of it."""
        # In MicroPython a reader is a writer, too.
        self.write(data)  # pyright: ignore[reportAttributeAccessIssue]
        await self.drain()  # pyright: ignore[reportAttributeAccessIssue]

    def close(self) -> None:
        """Close the connection, at once."""
        self.s.close()
        self._socket.close()
