"""The application: wires scanner, decision, lock, table and sync; the only room that knows all.

Promises: it runs for ever; a fault in one task ends neither the others nor itself; cards are
decided on from the first second, with or without a network.
"""

import asyncio
import gc
import sys
from binascii import crc32

import board
from machine import Pin

import kalitka
from kalitka.access import decision, rules
from kalitka.hardware.lock import Lock, open_level
from kalitka.hardware.wiegand import CODE_SIZE, FrameError, Wiegand
from kalitka.sync.client import Client
from kalitka.sync.http import Http
from kalitka.sync.names import Names
from kalitka.sync.poller import Poller
from kalitka.sync.timekeeper import TimeKeeper
from kalitka.system import nvs
from kalitka.system.clock import Clock, Uptime
from kalitka.system.wifi import Wifi
from kalitka.table.table import DAMAGED, FOUND, Table

_RESTART_S = 1  # before a task that failed begins again
_LOOK_S = 1  # between two looks of a reader without a server at whether it can get the time
_TABLE = "table"
_PASSES = "passes"
_PASSES_SIZE = 192 * 1024  # bytes of flash: some 9,000 passes of cards
_PASSES_ROOM = 2048  # of them known without reading the flash, two bytes each
_SETTINGS = "settings"  # in the NVS
_ZONE = "zone"  # as the server told it last
_uptime = Uptime()


def report(text: str) -> None:
    """Write a line to the console, with the seconds since the start."""
    print("%7.3f %s" % (_uptime.millis() / 1000, text))


class Gate:
    """Decides about codes: asks the table and the clock.

    unit: the setting `day_time_unit`. passes: who has passed already (`journal.repeat.Passes`),
    None where that does not matter.
    """

    def __init__(self, table: Table, clock: Clock, unit: str, passes):
        self._table = table
        self._passes = passes
        self._clock = clock
        self._unit = unit
        self._verdict = decision.Verdict()

    def decide(self, code: bytes | bytearray, n: int) -> int:
        """Return the reason (see `access.decision`) for the code `code[:n]`, now.

        ALLOWED has been kept as a pass, if passes are: it is to be signalled at once.
        """
        table = self._table
        verdict = self._verdict
        state = table.find(code, n)
        if state == FOUND:
            seconds = table.seconds if self._unit == "auto" else self._unit == "second"
            clock = self._clock
            verdict.judge(
                table.rules,
                table.at,
                table.end,
                seconds,
                clock.minute,
                clock.day_minute,
                clock.weekday,
            )
            if verdict.reason == decision.ALLOWED and self._passes:
                self._take_pass(bytes(code[:n]), seconds)
            return verdict.reason
        verdict.refuse(decision.TABLE_DAMAGED if state == DAMAGED else decision.UNKNOWN_CODE)
        return verdict.reason

    def _take_pass(self, code, seconds):
        table = self._table
        clock = self._clock
        reason = self._passes.take(
            code,
            table.rules,
            table.at,
            table.end,
            seconds,
            clock.minute,
            clock.day_minute,
            clock.weekday,
        )
        if reason != decision.ALLOWED:
            self._verdict.refuse(reason)

    def text(self) -> str:
        """Return the last decision in words, while the table was asked for nothing else.

        With the time, and behind it the rule that permits, or the date that refuses.
        """
        verdict = self._verdict
        clock = self._clock
        reason = verdict.reason
        words = decision.WORDS[reason]
        if reason == decision.ALLOWED:
            rule = rules.text_of(self._table.rules, verdict.rule).decode()
            return "%s (%s), by %s" % (words, clock.text(), rule)
        words = "denied: %s (%s)" % (words, clock.text())
        if reason == decision.NOT_KEPT:
            words += ", " + self._passes.fault
        if verdict.when:
            edge = "from" if reason == rules.NOT_YET else "until"
            words += ", %s %s" % (edge, decision.date_text(verdict.when, clock.zone))
        return words


async def serve_scanner(scanner: Wiegand, gate: Gate, clock: Clock, lock: Lock, want) -> None:
    """Decide on every card the scanner reads, for ever. `want(code, n)` is told unknown ones."""
    code = bytearray(CODE_SIZE)
    while True:
        try:
            n = await scanner.read(code)
        except FrameError as e:
            report("scanner: %s" % e)
            continue
        clock.tick()
        reason = gate.decide(code, n)
        if reason == decision.ALLOWED:
            lock.open()
        # Told after the door, which must not wait for the console.
        report("card %s %s" % (bytes(code[:n]).decode(), gate.text()))
        if reason == decision.UNKNOWN_CODE:
            want(code, n)


async def keep_time(keeper: TimeKeeper, wifi: Wifi) -> None:
    """Keep the clock of a reader without a server right, for ever."""
    while True:
        if wifi.connected():
            await keeper.keep()
        else:
            keeper.offline()
        await asyncio.sleep(_LOOK_S)


async def forever(name: str, run) -> None:
    """Run the coroutine function `run` again and again, whatever it raises."""
    while True:
        try:
            await run()
            return
        except Exception as e:  # nothing that a part does may end the reader
            gc.collect()
            try:
                report("%s: failed, starts again: %s %s" % (name, type(e).__name__, e))
            except Exception:  # not even the want of memory for these words
                pass
        await asyncio.sleep(_RESTART_S)


def load_settings() -> dict:
    """Read the settings file, or else the copy in NVS, or else take the defaults (a dict)."""
    from kalitka import settings

    try:
        with open(settings.FILE, "rb") as file:
            data = file.read()
        found, faults = settings.parse(data)
        if not nvs.save(_SETTINGS, data):
            report("settings: no copy could be kept in NVS")
    except (OSError, MemoryError, settings.SettingError) as e:
        fault = e if isinstance(e, settings.SettingError) else "%s cannot be read" % settings.FILE
        report("settings: %s" % fault)
        found, faults = _kept_settings(settings)
    for fault in faults:
        report("settings: %s" % fault)
    # Needed at the start only: five kilobytes that a sync can use.
    del sys.modules[settings.__name__]
    delattr(kalitka, "settings")
    return found


def _kept_settings(settings):
    copy = nvs.load(_SETTINGS)
    try:
        if copy:
            found = settings.parse(copy)
            report("settings: taken from the copy in NVS")
            return found
    except settings.SettingError as e:
        report("settings: the copy in NVS: %s" % e)
    return settings.complete({})


def origin_of(found: dict) -> int:
    """Return a small number that names what the table of these settings is a copy of."""
    names = " ".join([found["server_url"], found["reader"]] + found["codes"])
    return crc32(names.encode()) & 0x3FFFFFFF


def make_lock(found: dict) -> Lock:
    """Return the lock of these settings, shut."""
    fail_safe = found["lock_kind"] == "fail-safe"
    level = open_level(fail_safe, found["lock_output"] == "active-low")
    return Lock(Pin(board.LOCK, Pin.OUT, value=1 - level), level, found["lock_seconds"])


def make_clock_chip(found: dict):
    """Return the clock chip of these settings, None if there is none."""
    if found["clock_chip"] == "none":
        return None
    try:
        from machine import I2C

        from kalitka.hardware.ds3231 import Ds3231

        return Ds3231(I2C(0, scl=Pin(board.I2C_SCL), sda=Pin(board.I2C_SDA)))
    except Exception as e:  # a bus that cannot be had must not keep the door from working
        report("clock: no clock chip: %s" % e)
        return None


def set_zone(clock: Clock, zone: str) -> None:
    """Set the zone (str) that was known before the start, if any was."""
    try:
        if zone:
            clock.set_zone(zone)
    except ValueError as e:
        report("clock: the zone that was kept is none: %s" % e)


def make_passes(found: dict):
    """Return what keeps who has passed by these settings, None if it does not matter."""
    repeat = found["repeat"]
    if repeat == "any":
        return None
    from kalitka.journal.repeat import Passes

    interval = 0 if repeat == "once" else int(repeat[9:])
    passes = Passes(_PASSES, _PASSES_SIZE, interval, _PASSES_ROOM)
    if passes.fault:
        report("passes: cannot be kept: %s" % passes.fault)
    elif passes.log and passes.log.damaged:
        report("passes: %d pieces are damaged: some may pass again" % passes.log.damaged)
    return passes


async def run(found: dict, lock: Lock) -> None:
    """Start every part and run for ever."""
    scanner = Wiegand(
        Pin(board.WIEGAND_D0, Pin.IN, Pin.PULL_UP),
        Pin(board.WIEGAND_D1, Pin.IN, Pin.PULL_UP),
        found["scanner_byte_order"] == "reversed",
    )
    clock = Clock(_uptime)
    set_zone(clock, found["zone"] or nvs.load(_ZONE).decode())
    table = Table(_TABLE, origin_of(found))
    report("table: %s" % (table.fault or "minute %d" % table.minute))
    gate = Gate(table, clock, found["day_time_unit"], make_passes(found))
    hostname = found["hostname"] or found["reader"].replace(":", "-").replace("_", "-")[:32]
    wifi = Wifi(found["wifi"], hostname, report)
    names = Names(wifi.dns, clock.uptime)
    client = None
    if found["server_url"]:
        server = Http(found["server_url"], names, clock.uptime, found["server_ca"])
        client = Client(server, found["server_token"], found["reader"])
    chip = make_clock_chip(found)

    def keep_zone(zone):
        nvs.save(_ZONE, zone.encode())

    # A zone in the settings is not to be changed by the server.
    keep = None if found["zone"] else keep_zone
    keeper = TimeKeeper(clock, client, found["ntp_server"], names, chip, keep, report)
    if client:
        poller = Poller(client, table, clock, keeper, wifi, report, found)
        sync = poller.run
        want = poller.want
    else:
        report("sync: no server in the settings")

        def sync():
            return keep_time(keeper, wifi)

        def want(code, n):
            pass

    jobs = [
        forever("lock", lock.run),
        forever("clock", clock.run),
        forever("scanner", lambda: serve_scanner(scanner, gate, clock, lock, want)),
        forever("wifi", wifi.run),
        forever("sync", sync),
    ]
    gc.collect()
    report("ready")
    await asyncio.gather(*jobs)


def main() -> None:
    """Run the reader; returns only if it is interrupted from the console."""
    report("kalitka %s on %s" % (kalitka.VERSION, board.NAME))
    found = load_settings()
    lock = make_lock(found)
    try:
        asyncio.run(run(found, lock))
    finally:
        # Tasks are not ended but left where they were: a door that one of them opened as well.
        lock.shut()
