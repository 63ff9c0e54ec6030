"""Composition root: builds every part from the settings; the only module that imports them all.

Needed at the start only: nothing that runs afterwards is defined here, so the module can be
unloaded.
"""

from binascii import crc32

import board
from machine import WDT_RESET, Pin, Timer, reset_cause

from kalitka import gate, unload
from kalitka.access.pace import Pace
from kalitka.hardware.lock import Lock
from kalitka.hardware.wiegand import Wiegand
from kalitka.journal import access_log, entries
from kalitka.sync.client import Client
from kalitka.sync.http import Http
from kalitka.sync.poller import Poller
from kalitka.sync.resolver import Resolver
from kalitka.sync.timekeeper import TimeKeeper
from kalitka.sync.uploader import Uploader
from kalitka.system import console, nvs, starts
from kalitka.system.clock import Clock, save_zone
from kalitka.system.link import Link
from kalitka.system.watchdog import Watchdog
from kalitka.table.table import Table
from micropython import const

# Do not rename these folders: a reader in the field would begin with empty ones.
_TABLE = const("table")
_PASSES = const("passes")
_PASSES_SIZE = const(192 * 1024)  # bytes of flash: some 9,000 passes of cards
_PASSES_ROOM = const(2048)  # passes known without reading the flash, two bytes of memory each


def _origin_of(settings: dict) -> int:
    """Return a 30-bit number for the server, reader and code lists that the table is a copy of."""
    # Stored in the manifest: with another formula every reader would take its table for that of
    # another server, and do a full sync.
    names = " ".join([settings["server_url"], settings["reader"]] + settings["codes"])
    return crc32(names.encode()) & 0x3FFFFFFF


def _is_wired(settings):
    # Whether the settings say how the lock is wired.
    return None not in (settings["lock_kind"], settings["lock_output"])


def make_lock(settings: dict) -> Lock:
    """Return the lock of these settings, shut; one without an output if they do not say how."""
    if not _is_wired(settings):
        # No level is right: an input drives nothing, whatever it is set to.
        return Lock(Pin(board.LOCK, Pin.IN), 1, settings["lock_seconds"], Timer(0))
    # Power holds a fail-safe lock shut, so a low level opens it; an active-low relay inverts the
    # level of either kind of lock.
    active_low = settings["lock_output"] == "active-low"
    level = 0 if (settings["lock_kind"] == "fail-safe") != active_low else 1
    pin = Pin(board.LOCK, Pin.OUT, value=1 - level)
    return Lock(pin, level, settings["lock_seconds"], Timer(0))


def _make_chip(settings: dict, report):
    """Return the clock chip of these settings, or None."""
    if settings["clock_chip"] == "none":
        return None
    try:
        from machine import I2C

        from kalitka.hardware.ds3231 import Ds3231

        return Ds3231(I2C(0, scl=Pin(board.I2C_SCL), sda=Pin(board.I2C_SDA)))
    except Exception as e:  # a faulty bus must not keep the door from working
        report("clock: no clock chip: %s" % e)
        return None


def _make_link(settings: dict, scanner, report) -> Link:
    """Return the link over the network that the settings and the board name."""
    from kalitka.system import uplink

    driver = None
    try:
        driver = uplink.driver_of(settings)
    except Exception as e:  # for example a MicroPython without the driver
        report("network: none can be had: %s" % e)
    made = Link(driver, uplink.address_of(settings), settings["name_servers"], report, scanner)
    unload("system.uplink")  # needed at the start only, as this module
    return made


def set_zone(clock: Clock, zone: str, report) -> None:
    """Set the zone (str) that was known before the start; "" for none."""
    try:
        if zone:
            clock.set_zone(zone)
    except ValueError as e:
        report("clock: the zone that was kept is none: %s" % e)


def _make_passes(settings: dict, report):
    """Return what may still refuse an allowed code: the anti-passback store, or None.

    If the settings do not say how the lock is wired every code is refused.
    """
    if not _is_wired(settings):
        from kalitka.access.no_lock import NoLock

        return NoLock()
    repeat = settings["repeat"]
    if repeat == "any":
        return None
    from kalitka.journal.anti_passback import AntiPassback

    interval = 0 if repeat == "once" else int(repeat[9:])
    passes = AntiPassback(_PASSES, _PASSES_SIZE, interval, _PASSES_ROOM)
    if passes.fault:
        report("passes: cannot be kept: %s" % passes.fault)
    elif passes.log and passes.log.damaged:
        report("passes: %d pieces are damaged: some may pass again" % passes.log.damaged)
    return passes


def _make_contact(settings: dict, name: str):
    """Return the contact of the setting `name`, or None if it is "none"."""
    if settings[name] == "none":
        return None
    from kalitka.hardware.contact import Contact

    pin = Pin(getattr(board, name.upper()), Pin.IN, Pin.PULL_UP)
    return Contact(pin, settings[name] == "normally-closed")


def _contact_tasks(settings: dict, lock: Lock, log, report) -> list:
    """Return the tasks of exit button, door contact and alarm contact, as `make_tasks` does."""
    button = _make_contact(settings, "exit_button")
    door = _make_contact(settings, "door_contact")
    alarm = _make_contact(settings, "alarm_contact")
    tasks = []
    if button or door or alarm:
        from kalitka import contacts

        if button:
            tasks.append(("exit button", contacts.serve_exit_button, (button, log, lock, report)))
        if door:
            seconds = settings["door_open_seconds"]
            tasks.append(("door", contacts.serve_door, (door, seconds, log, lock, report)))
        if alarm:
            tasks.append(("alarm", contacts.serve_alarm, (alarm, log, report)))
    return tasks


def _make_server_tasks(settings: dict, scanner, table, clock: Clock, log, report):
    """Return what needs the network: (tasks, a callable for unknown cards, one to send the log).

    The tasks are those of `make_tasks`; the callables may be None.
    """
    link = _make_link(settings, scanner, report)
    resolver = Resolver(link.dns, clock.uptime)
    client = None
    if settings["server_url"]:
        url, ca = settings["server_url"], settings["server_ca"]
        server = Http(url, resolver, clock.uptime, ca, scanner=scanner)
        client = Client(server, settings["server_token"], settings["reader"])
        if not client.secure:
            report("sync: over http://: everybody on the way to the server can open the door")
    # A zone in the settings takes precedence: the server's is ignored.
    save = None if settings["zone"] else save_zone
    chip = _make_chip(settings, report)
    ntp = settings["ntp_server"]
    keeper = TimeKeeper(clock, client, ntp, resolver, chip, save, report, table, log)
    network = ("network", link.run, ())
    if not client:
        report("sync: no server in the settings")
        return [network, ("clock", keeper.run, (link,))], None, None
    uploader = Uploader(client, log, clock, report, settings["log_upload_seconds"])
    poller = Poller(client, table, clock, keeper, link, report, settings, uploader)
    return [network, ("sync", poller.run, ())], poller.request, uploader.hurry


def make_tasks(settings: dict, lock: Lock, uptime, report) -> list:
    """Build every part; return the tasks to run for ever: [(name, coroutine function, arguments)].

    uptime: an Uptime. report: a callable that takes a line of text (str).
    """
    scanner = Wiegand(
        Pin(board.WIEGAND_D0, Pin.IN, Pin.PULL_UP),
        Pin(board.WIEGAND_D1, Pin.IN, Pin.PULL_UP),
        settings["scanner_byte_order"] == "reversed",
        settings["frames"],
    )
    clock = Clock(uptime)
    set_zone(clock, settings["zone"] or nvs.load_zone(), report)
    table = Table(_TABLE, _origin_of(settings))
    report("table: %s" % (table.fault or "minute %d" % table.minute))
    size = int(settings["log_kib"] * 1024)
    log = access_log.AccessLog(access_log.FOLDER, size, clock, report)
    passes = _make_passes(settings, report)
    if reset_cause() == WDT_RESET:
        report("the watchdog restarted the reader: it had hung")
        log.append(entries.READER, 1, entries.WATCHDOG)
    console.lock(settings["console"])
    safe = starts.is_safe()
    tasks, on_unknown, hurry = [], None, None
    if safe:
        report("safe mode: three starts did not last: no network and no sync for an hour")
        log.append(entries.READER, 1, entries.SAFE_MODE)
    else:
        tasks, on_unknown, hurry = _make_server_tasks(settings, scanner, table, clock, log, report)
    if settings["console"] == "password":
        tasks.append(("console", console.run, (settings["console_password"], report)))
    pace = Pace(settings["guess_limit"], settings["guess_pause_seconds"])
    decider = gate.Gate(table, clock, settings["day_time_unit"], log, passes, pace, hurry)
    begin = [
        ("start", starts.run, (safe,)),
        ("clock", clock.run, (decider.tick,)),
        ("scanner", gate.serve_scanner, (scanner, decider, clock, lock, on_unknown, report)),
    ]
    # The reader ends when the last one does, so that must not end.
    end = [("lock", lock.run, (Watchdog([clock, scanner]),))]
    return begin + tasks + _contact_tasks(settings, lock, log, report) + end
