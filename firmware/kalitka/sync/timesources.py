"""The sources of time: the server, else a time server (SNTP), else a clock chip.

Promises: every step of more than two seconds is reported with its size; a source that cannot
prove its identity may set an unset clock, but may move a set one only within a limit.

Loaded when the clock is due to be set; `keeper` is the TimeKeeper of `sync.timekeeper`.
"""

import asyncio
import os

from kalitka.access.timezone import ZoneError
from kalitka.sync import udp
from kalitka.sync.address import split_port
from kalitka.sync.net import NetError
from micropython import const

_ANY = const(0x3FFFFFFF)
_NTP_PORT = const(123)
_NTP_SIZE = const(48)  # bytes of an answer
# The most seconds by which a set clock may be moved: anybody can answer for a time server, and a
# chip with a failing battery may be wrong by years.
_NTP_MOVES = const(3600)
_CHIP_MOVES = const(60)
_SERVER = const("the server")
_NTP = const("a time server")
_CHIP = const("the clock chip")
_STEP_UNREPORTED = const(2)  # seconds; a smaller step is not reported


async def ask_network(keeper) -> bool:
    """Set the clock by the server, else by a time server. Returns whether one of them did."""
    client = keeper.client
    by_ntp = False
    if client and client.secure and not keeper.clock.is_set:
        # A certificate can be checked only with a clock that is set.
        by_ntp = await _ask_ntp(keeper)
    return await _ask_server(keeper) or by_ntp or await _ask_ntp(keeper)


def ask_chip(keeper) -> None:
    """Set the clock by the clock chip, if the chip knows the time."""
    seconds = keeper.chip.read()
    if seconds >= 0:
        _set(keeper, seconds, _CHIP, _CHIP_MOVES)


async def _ask_server(keeper):
    if not keeper.client:
        return False
    try:
        seconds, zone = await keeper.client.time()
    except (OSError, ValueError, asyncio.TimeoutError) as e:
        keeper.fail(_SERVER, e)
        return False
    if not _set(keeper, seconds, _SERVER, _ANY):
        return False
    if keeper.save_zone:
        try:
            keeper.clock.set_zone(zone)
            keeper.save_zone(zone)
        except ZoneError as e:
            keeper.report("clock: the server's zone is not taken: %s" % e)
    return True


async def _ask_ntp(keeper):
    if not keeper.ntp_server:
        return False
    try:
        seconds = await ntp_time(keeper.ntp_server, keeper.resolver)
    except (OSError, ValueError) as e:
        keeper.fail(_NTP, e)
        return False
    return _set(keeper, seconds, _NTP, _NTP_MOVES)


def _set(keeper, seconds, source, moves):
    clock = keeper.clock
    try:
        step = clock.step_to(seconds) if clock.is_set else None
        if step is not None and abs(step) > moves:
            raise ValueError("its time is %d s off the clock's: not taken" % step)
        clock.set_utc(seconds)
    except ValueError as e:
        keeper.fail(source, e)
        return False
    if source != keeper.source or step is None or abs(step) > _STEP_UNREPORTED:
        keeper.report("clock: set by %s%s" % (source, _step_text(step)))
    keeper.succeed(source)
    if keeper.chip and moves != _CHIP_MOVES:
        keeper.chip.write(seconds)
    return True


def _step_text(step):
    if not step:
        return ""
    return ", %d s %s" % (abs(step), "forward" if step > 0 else "back")


async def ntp_time(where: str, resolver) -> int:
    """Return the time of the time server at `HOST[:PORT]` (SNTP), in seconds since 1970 UTC.

    The answer is not authenticated. Source: RFC 4330; the wrap of its seconds in 2036 is handled.
    resolver: a Resolver. Raises NetError; ValueError if `where` is not a valid host.
    """
    host, port = split_port(where, _NTP_PORT)
    doing = "asking %s for the time" % host
    address = await resolver.find(host)
    # The random transmit time comes back as the origin time and ties the answer to this request.
    ours = os.urandom(8)
    request = b"\x23" + bytes(39) + ours

    def is_answer(data):
        return len(data) >= _NTP_SIZE and data[24:32] == ours and data[0] & 7 == 4

    data = await udp.request(address, port, request, is_answer, resolver.timeout, doing)
    if not 0 < data[1] < 16 or data[0] >> 6 == 3 or data[40:44] == bytes(4):
        raise NetError("the time server has no time while %s" % doing)
    seconds = int.from_bytes(data[40:44], "big") - 2208988800
    return seconds if seconds > 0 else seconds + 0x100000000
