"""The dates of certificates, judged by the chip's clock: this computer's TLS judges by its own.

The CA's dates are read from the certificate that the firmware loads. Those of the server's are
known only if the world has told them: see "certificate" in `state`. A chip's TLS finds the fault
in the handshake, which the first write begins; so does this one, with the same words.
"""

import time

import state

_FUTURE = "The certificate validity starts in the future\n"
_EXPIRED = "The certificate validity has expired\n"
_VERSION = 0xA0  # the tag of the optional first field
_UTC_TIME = 0x17
_EPOCH = 946684800  # 2000-01-01 in seconds since 1970


class Refused:
    """A TLS connection whose handshake will fail at the first write."""

    def __init__(self, fault):
        self._fault = fault

    def write(self, data):
        """Raise ValueError with the fault, as the handshake does."""
        raise ValueError(self._fault)

    def close(self):
        """Close nothing: the socket is closed by its owner."""


def fault_of(dates):
    """Return the fault of certificates by the chip's clock, "" for none.

    dates: (first, last) seconds of each, since 2000.
    """
    now = time.time()
    if state.certificate:
        first, last = state.certificate
        dates = dates + [(first - _EPOCH, last - _EPOCH)]  # noqa: RUF005 - MicroPython has no *
    words = _FUTURE if any(now < first for first, _ in dates) else ""
    return words + (_EXPIRED if any(now > last for _, last in dates) else "")


def of_certificate(der):
    """Return the (first, last) second of validity, since 2000. Source: RFC 5280, 4.1."""
    at = _inside(der, _inside(der, 0))
    if der[at] == _VERSION:
        at = _after(der, at)
    for _ in ("serial number", "signature", "issuer"):
        at = _after(der, at)
    first = _inside(der, at)
    return _seconds(der, first), _seconds(der, _after(der, first))


def _inside(der, at):
    # Returns where the contents of the element at `at` begin.
    return at + 2 + (der[at + 1] & 127 if der[at + 1] > 127 else 0)


def _after(der, at):
    size = der[at + 1]
    inside = _inside(der, at)
    return inside + (size if size < 128 else int.from_bytes(der[at + 2 : inside], "big"))


def _seconds(der, at):
    text = der[_inside(der, at) : _after(der, at)].decode()
    if der[at] == _UTC_TIME:
        text = ("19" if text >= "5" else "20") + text
    parts = [int(text[i : i + 2]) for i in range(4, 14, 2)]
    return time.mktime(tuple([int(text[:4])] + parts + [0, 0]))  # noqa: RUF005
