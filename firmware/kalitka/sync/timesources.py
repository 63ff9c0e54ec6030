"""The sources of time in the network: the server, and a time server (SNTP).

Loaded when the clock is due to be set; `keeper` is the TimeKeeper of `sync.timekeeper`. Whom to
believe is in `sync.trust`, which is loaded once there is an answer: not while TLS needs memory.
"""

import asyncio
import os

from kalitka import unload
from kalitka.access.timezone import ZoneError
from kalitka.journal import entries
from kalitka.sync import udp
from kalitka.sync.address import split_port
from kalitka.sync.net import NetError
from micropython import const

_NTP_PORT = const(123)
_NTP_SIZE = const(48)  # bytes of an answer
_AGREE = const(10)  # seconds by which two answers that agree may differ
_FIRST_S = const(10)  # in which the answers for the first time begin
_TRIES = const(4)
_SOON = const(300)  # seconds to the next question to a source without a time
_SERVER = const("the server")
_NTP = const("a time server")
_NO_PAGE = const(404)


async def ask_network(keeper) -> int:
    """Ask the sources that are due for the time, and set the clock by an answer that counts.

    Returns at which uptime (seconds) to call this again.
    """
    clock = keeper.clock
    due = keeper.due
    sources = (_SERVER, _NTP) if keeper.client else (_NTP,)
    secure = keeper.client and keeper.client.secure
    was_set = clock.is_set
    if not was_set:
        # A certificate can be checked only with a clock that is set.
        await _first(keeper, (_NTP,) if secure else sources)
    if was_set or secure:
        for source in sources:
            if clock.uptime() < due.get(source, 0):
                break
            seconds = await _ask_time(keeper, source)
            if seconds >= 0:
                _accept(keeper, seconds, source)
                break
    if keeper.proved:
        from kalitka.sync import trust

        trust.save(keeper)
    # Over http nothing ever proves it, so each start has an entry that stays.
    if keeper.client and clock.is_set and keeper.proved == keeper.told:
        keeper.told = not keeper.told
        keeper.log.append(entries.READER, int(keeper.told), entries.CLOCK)
    return due.get(sources[0], 0)


async def _first(keeper, servers):
    # Sets the clock by two answers that agree; by the first one if there are too few answers. A
    # server is asked for a second one only if a time server contradicts it.
    clock = keeper.clock
    end = clock.uptime() + _FIRST_S
    offsets = []
    for i in range(_TRIES):
        source = servers[i % len(servers)]
        seconds = await _ask_time(keeper, source)
        if seconds < 0:
            servers = servers[1:]
            if offsets or not servers:
                break
            continue
        offset = seconds - clock.uptime()
        agreed = [other for other in offsets if abs(offset - other) <= _AGREE]
        if not offsets:
            first = source
        offsets.append(offset)
        if agreed:
            _accept(keeper, seconds, source)
            keeper.agreed = 2
            return
        if clock.uptime() >= end:
            break
    if len(offsets) == _TRIES:
        keeper.fail(source, ValueError("its answers disagree"))
    elif offsets:
        _accept(keeper, offsets[0] + clock.uptime(), first)


def _accept(keeper, seconds, source):
    from kalitka.sync import trust

    try:
        trust.decide(keeper, seconds, source, source == _SERVER and keeper.client.secure)
    except ValueError as e:
        keeper.fail(source, e)


async def _ask_time(keeper, source):
    # Returns the time of the server or the time server, -1 if it has none that may be true.
    unload("sync.trust")
    try:
        if source == _NTP:
            if not keeper.ntp_server:
                return -1
            seconds = await ntp_time(keeper.ntp_server, keeper.resolver)
        else:
            seconds, zone = await keeper.client.time()
            _zone(keeper, zone)
        from kalitka.sync import trust

        trust.check(keeper, seconds, source == _SERVER and keeper.client.secure)
        return seconds
    except (OSError, ValueError, asyncio.TimeoutError) as e:
        now = keeper.clock.uptime()
        zone = getattr(e, "zone", "")
        if zone:  # of a hub whose clock is wrong, and whose zone is not
            _zone(keeper, zone)
        # A server that has no page for the time is not in trouble.
        soon = source == _NTP or getattr(e, "status", 0) == _NO_PAGE
        keeper.due[source] = now + _SOON if soon else now
        if keeper.fail(source, e) and keeper.doubt(e) and keeper.clock.is_set:
            keeper.due[_NTP] = now
        return -1


def _zone(keeper, zone):
    if keeper.save_zone:
        try:
            keeper.clock.set_zone(zone)
            keeper.save_zone(zone)
        except ZoneError as e:
            keeper.report("clock: the server's zone is not taken: %s" % e)


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
