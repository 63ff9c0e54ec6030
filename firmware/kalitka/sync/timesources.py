"""The sources of time: the server, a time server (SNTP), a clock chip; and whom to believe.

The server over TLS proves its time and is believed, if it goes back by more than an hour after a
second answer. Nothing else can prove anything. Promises: between two proofs all others together
move the clock by an hour at most; only a clock that was never proved is moved further, by three
answers in a row, minutes apart, that agree; a clock that is not set is set by two that agree,
where two can be had. No time without proof lies before the table's minute or the last proof. The
clock chip is written only with a time that was proved, or that three answers agreed on. Every
step of more than two seconds is reported with its size.

Loaded when the clock is due to be set; `keeper` is the TimeKeeper of `sync.timekeeper`.
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
_MOVES = const(3600)  # the most seconds by which answers without proof move the clock
_CHIP_MOVES = const(60)  # the same of a chip at a time: its battery may be failing
_AGREE = const(10)  # seconds by which answers that agree may differ
_ENOUGH = const(3)  # answers that agree
_APART = const(60)  # seconds between them
_FIRST_S = const(10)  # in which the answers for the first time begin
_TRIES = const(4)
_SOON = const(300)  # seconds to the next question
_DAY = const(86400)
_SERVER = const("the server")
_NTP = const("a time server")
_CHIP = const("the clock chip")
_STEP_UNREPORTED = const(2)  # seconds; a smaller step is not reported
_NO_PAGE = const(404)
# Do not rename: readers in the field have this key in NVS. The minute of the last proof.
_PROOF = const("time")
_PROOF_MAX = const(8)  # bytes
_PROOF_OLD = const(60)  # minutes


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
        _save(keeper)
    if secure and clock.is_set and keeper.proved == keeper.told:
        keeper.told = not keeper.told
        keeper.log.append(entries.READER, int(keeper.told), entries.CLOCK)
    return due.get(sources[0], 0)


def ask_chip(keeper) -> None:
    """Set the clock by the clock chip, if the chip knows the time."""
    seconds = keeper.chip.read()
    if seconds >= 0:
        try:
            _refuse(keeper, seconds)
        except ValueError as e:
            keeper.fail(_CHIP, e)
            return
        _accept(keeper, seconds, _CHIP)


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


async def _ask_time(keeper, source):
    # Returns the time of the server or the time server, -1 if it has none that may be true.
    try:
        if source == _NTP:
            if not keeper.ntp_server:
                return -1
            seconds = await ntp_time(keeper.ntp_server, keeper.resolver)
        else:
            seconds, zone = await keeper.client.time()
            _zone(keeper, zone)
        if source == _NTP or not keeper.client.secure:
            _refuse(keeper, seconds)
        else:
            keeper.clock.check(seconds)
        return seconds
    except (OSError, ValueError, asyncio.TimeoutError) as e:
        now = keeper.clock.uptime()
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


def _refuse(keeper, seconds):
    # Raises ValueError for a time that cannot be true. A lower bound that an answer without proof
    # could raise would make one lie last for ever: so the reader's own clock counts, as it does
    # in the entries of its log, only once it was proved.
    keeper.clock.check(seconds)
    if seconds // 60 < keeper.table.minute:
        raise ValueError("its time lies before the table's minute")
    if keeper.least < 0:
        from kalitka.system import nvs

        keeper.least = int(nvs.load(_PROOF, _PROOF_MAX) or b"0")
        unload("system.nvs")
    if seconds // 60 < keeper.least:
        raise ValueError("its time lies before a time that was proved")


def _save(keeper):
    # An hour less: for what may have moved the clock since, and to spare the flash.
    floor = -keeper.clock.step_to(0) // 60 - _PROOF_OLD
    if abs(floor - keeper.least) >= _PROOF_OLD:
        from kalitka.system import nvs

        keeper.least = floor
        nvs.save(_PROOF, b"%d" % floor, _PROOF_MAX)
        unload("system.nvs")


def _accept(keeper, seconds, source):
    # Sets the clock by a time that may be true, if that is enough; plans the next question.
    clock = keeper.clock
    now = clock.uptime()
    secure = source == _SERVER and keeper.client.secure
    if source != _CHIP:
        if abs(seconds - now - keeper.offset) > _AGREE:
            keeper.agreed = 0
        if secure or not keeper.agreed or now >= keeper.last + _APART:
            keeper.agreed += 1
            keeper.offset = seconds - now
            keeper.last = now
    enough = source != _CHIP and keeper.agreed >= _ENOUGH and not keeper.proved
    # A server without an answer that counts is asked again at the next poll.
    keeper.due[source] = now if secure else now + _SOON
    step = clock.step_to(seconds) if clock.is_set else 0
    moved = keeper.moved + step
    if secure:
        moved = 0
        if step < -_MOVES and keeper.agreed < 2:
            keeper.fail(source, ValueError("its time is %d s back: not taken yet" % -step))
            return
        keeper.proved = True
    elif abs(moved) > _MOVES or (source == _CHIP and abs(step) > _CHIP_MOVES):
        if not enough:
            keeper.fail(source, ValueError("its time is %d s off the clock's: not taken" % step))
            return
        moved = 0
    keeper.moved = moved
    clock.set_utc(seconds)
    if source != keeper.source or abs(step) > _STEP_UNREPORTED:
        words = _step_text(step) if secure else _step_text(step) + ", provisional"
        keeper.report("clock: set by %s%s" % (source, words))
    keeper.succeed(source)
    if keeper.proved or enough:
        keeper.due[source] = now + _DAY
    if keeper.chip and (secure or enough):
        _write(keeper, seconds)


def _write(keeper, seconds):
    chip = keeper.chip
    was = chip.read()
    if abs(was - seconds) > _STEP_UNREPORTED and chip.write(seconds) and was >= 0:
        words = "ahead" if was > seconds else "behind"
        words = "%d s %s: corrected" % (abs(was - seconds), words)
        keeper.report("clock: the clock chip was %s" % words)


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
