"""Network waits with a deadline, network errors in words, and the stream of a connection.

The rest of `sync` waits with `wait_for`. Promises: nothing here blocks the loop, and no socket
outlives its exchange.
"""

import asyncio
import errno
import os
import socket

from kalitka import unload, within
from micropython import const

# Seconds from the first failure to the next try; doubled with each failure in a row.
_RETRY_S = const(5)
_RETRY_MAX_S = const(300)

_ENOSPC = const(28)  # MicroPython's errno has no name for it

answers = 0  # datagrams that were answered: signs that the network works

_WORDS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "the connection was reset",
    errno.EHOSTUNREACH: "no way there",
    errno.ETIMEDOUT: "no answer",
    _ENOSPC: "the flash is full",
}


class NetError(OSError):
    """The exchange failed. The message gives the reason in words."""


class NoReply(NetError):
    """No reply at all: the link itself may be down."""


class Closed(NetError):
    """The other side closed or reset the connection."""


class BadCertificate(NetError):
    """The server's certificate is not valid now, for its name, under the site's CA."""


async def wait_for(awaitable, timeout: float, doing: str, silence: type[NetError] = NoReply):
    """Return the result of `awaitable`, within `timeout` seconds.

    doing: names the operation in an error. silence: the class of the error after the timeout: not
    NoReply where something has come through before. Raises BadCertificate, too, and NetError,
    NoReply or Closed for an error of the system.
    """
    try:
        return await within(awaitable, timeout)
    except asyncio.TimeoutError:
        raise silence("no answer in %s s while %s" % (timeout, doing))
    except NetError:
        raise
    except ValueError as e:
        # MicroPython's TLS raises ValueError for a bad certificate, with a line for each reason.
        words = " ".join(str(e).split())
        raise BadCertificate("certificate not accepted while %s: %s" % (doing, words))
    except OSError as e:
        raise net_error(e, doing)


def net_error(error: OSError, doing: str) -> NetError:
    """Return the NoReply for an error of the system that means that, else the Closed."""
    silent = error.errno in (errno.EHOSTUNREACH, errno.ETIMEDOUT)
    return (NoReply if silent else Closed)("%s while %s" % (describe(error), doing))


def same_fault(words: str, last: str) -> bool:
    """Return whether a failure is the one that was reported last, so as to report it once.

    In messages about memory the numbers are ignored: the free memory differs each time.
    """
    if " KiB are free" not in words:
        return words == last
    return _letters(words) == _letters(last)


def _letters(words):
    return "".join([letter for letter in words if not letter.isdigit()])


def describe(error: Exception) -> str:
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

        words = memory.describe(error)
        del memory
        unload("system.memory")
    except MemoryError:  # not even enough for these words
        return "not enough memory"
    # TLS errors carry a name as their last argument.
    return words or "error %s" % (args[-1] if args else error)


def backoff(failures: int, interval: float) -> float:
    """Return the seconds to wait after `failures` (1 or more) failures in a row.

    The pause doubles up to five minutes, or up to `interval` if that is longer, with random
    jitter, so that readers that lost the same server do not come back at once.
    """
    pause = min(_RETRY_S << min(failures - 1, 16), max(_RETRY_MAX_S, interval))
    return pause * (128 + os.urandom(1)[0] // 2) // 256 + 1


def io_queue():
    """Return asyncio's I/O queue, to wait for a socket without a stream.

    Relies on an internal of MicroPython's asyncio, `asyncio.core._io_queue`.
    """
    return asyncio.core._io_queue  # pyright: ignore[reportAttributeAccessIssue]


async def connect(
    address: str, port: int, tls, name: str, timeout: float, doing: str, scanner=None
):
    """Return a Stream to `address` (of the form 10.0.0.1).

    tls: an SSLContext, or None for a plain connection; the first write does the handshake, which
    checks the certificate against `name`. scanner: has `suspend`, see `hardware.wiegand`; it is
    awaited before a handshake, during which the chip cannot receive a card. Raises NoReply,
    NetError.
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
    except BaseException as e:  # a cancelled task as well: sockets are few
        if stream:
            stream.close()
        if isinstance(e, OSError) and not isinstance(e, NetError):
            raise net_error(e, doing)
        raise


class Stream(asyncio.StreamReader):
    """A TCP connection, plain or TLS. Closing it frees the socket, whatever state TLS is in.

    (MicroPython's own `open_connection` leaks the socket when a handshake fails: after some
    twenty rejected certificates the chip has none left.)
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
        """Wait until the socket is writable: the connection is established or was refused."""
        yield io_queue().queue_write(self.s)

    async def send(self, data: bytes | bytearray) -> None:
        """Send all of `data`."""
        # In MicroPython a StreamReader is a writer, too.
        self.write(data)  # pyright: ignore[reportAttributeAccessIssue]
        await self.drain()  # pyright: ignore[reportAttributeAccessIssue]

    def close(self) -> None:
        """Close the connection at once."""
        self.s.close()
        self._socket.close()
