"""Puts the reader together from its settings; the only room that knows all parts.

Needed at the start only: nothing that runs afterwards is defined here, so that all of it can go.
"""

from binascii import crc32

import board
from machine import Pin

from kalitka import forget, gate
from kalitka.hardware.lock import Lock
from kalitka.hardware.wiegand import Wiegand
from kalitka.journal import access_log
from kalitka.sync.client import Client
from kalitka.sync.http import Http
from kalitka.sync.names import Names
from kalitka.sync.poller import Poller
from kalitka.sync.timekeeper import TimeKeeper
from kalitka.sync.uploader import Uploader
from kalitka.system import nvs
from kalitka.system.clock import Clock, keep_zone
from kalitka.system.link import Link
from kalitka.table.table import Table

_TABLE = "table"
_PASSES = "passes"
_PASSES_SIZE = 192 * 1024  # bytes of flash: some 9,000 passes of cards
_PASSES_ROOM = 2048  # of them known without reading the flash, two bytes each


def origin_of(found: dict) -> int:
    """Return a small number that names what the table of these settings is a copy of."""
    names = " ".join([found["server_url"], found["reader"]] + found["codes"])
    return crc32(names.encode()) & 0x3FFFFFFF


def make_lock(found: dict) -> Lock:
    """Return the lock of these settings, shut."""
    # A lock that power holds shut opens at a low level, but for a relay that does the same.
    active_low = found["lock_output"] == "active-low"
    level = 0 if (found["lock_kind"] == "fail-safe") != active_low else 1
    return Lock(Pin(board.LOCK, Pin.OUT, value=1 - level), level, found["lock_seconds"])


def make_clock_chip(found: dict, report):
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


def make_link(found: dict, scanner, report) -> Link:
    """Return the link over the network that the settings and the board name."""
    from kalitka.system import uplink

    driver = None
    try:
        driver = uplink.driver_of(found)
    except Exception as e:  # such as a MicroPython without the driver
        report("network: none can be had: %s" % e)
    made = Link(driver, uplink.address_of(found), found["name_servers"], report, scanner)
    forget("system.uplink")  # for the start only, as this module
    return made


def set_zone(clock: Clock, zone: str, report) -> None:
    """Set the zone (str) that was known before the start, if any was."""
    try:
        if zone:
            clock.set_zone(zone)
    except ValueError as e:
        report("clock: the zone that was kept is none: %s" % e)


def make_passes(found: dict, report):
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


def make_contact(found: dict, name: str):
    """Return the switch that the setting of this name is about, None if there is none."""
    if found[name] == "none":
        return None
    from kalitka.hardware.contact import Contact

    pin = Pin(getattr(board, name.upper()), Pin.IN, Pin.PULL_UP)
    return Contact(pin, found[name] == "normally-closed")


def contact_jobs(found: dict, lock: Lock, log, report) -> list:
    """Return what the switches at the gate need to have run, as `jobs` does."""
    button = make_contact(found, "exit_button")
    door = make_contact(found, "door_contact")
    alarm = make_contact(found, "alarm_contact")
    made = []
    if button or door or alarm:
        from kalitka import contacts

        if button:
            made.append(("exit button", contacts.serve_exit_button, (button, log, lock, report)))
        if door:
            seconds = found["door_open_seconds"]
            made.append(("door", contacts.serve_door, (door, seconds, log, lock, report)))
        if alarm:
            made.append(("alarm", contacts.serve_alarm, (alarm, log, report)))
    return made


def jobs(found: dict, lock: Lock, uptime, report) -> list:
    """Make every part; return what is to run for ever: [(name, coroutine function, arguments)].

    found: the settings. uptime: an Uptime. report: a callable that takes a line of text (str).
    """
    scanner = Wiegand(
        Pin(board.WIEGAND_D0, Pin.IN, Pin.PULL_UP),
        Pin(board.WIEGAND_D1, Pin.IN, Pin.PULL_UP),
        found["scanner_byte_order"] == "reversed",
    )
    clock = Clock(uptime)
    set_zone(clock, found["zone"] or nvs.load_zone(), report)
    table = Table(_TABLE, origin_of(found))
    report("table: %s" % (table.fault or "minute %d" % table.minute))
    size = int(found["log_kib"] * 1024)
    log = access_log.AccessLog(access_log.FOLDER, size, clock, report)
    passes = make_passes(found, report)
    judge = gate.Gate(table, clock, found["day_time_unit"], log, passes)
    link = make_link(found, scanner, report)
    names = Names(link.dns, clock.uptime)
    client = None
    if found["server_url"]:
        url, ca = found["server_url"], found["server_ca"]
        server = Http(url, names, clock.uptime, ca, scanner=scanner)
        client = Client(server, found["server_token"], found["reader"])
    # A zone in the settings is not to be changed by the server.
    keep = None if found["zone"] else keep_zone
    chip = make_clock_chip(found, report)
    keeper = TimeKeeper(clock, client, found["ntp_server"], names, chip, keep, report)
    if client:
        uploader = Uploader(client, log, clock, report, found["log_upload_seconds"])
        poller = Poller(client, table, clock, keeper, link, report, found, uploader)
        sync = ("sync", poller.run, ())
        want = poller.want
    else:
        report("sync: no server in the settings")
        sync = ("clock", keeper.run, (link,))
        want = None
    made = [
        ("lock", lock.run, ()),
        ("clock", clock.run, (log.look,)),
        ("scanner", gate.serve_scanner, (scanner, judge, clock, lock, want, report)),
        ("network", link.run, ()),
        sync,
    ]
    made += contact_jobs(found, lock, log, report)
    return made
