"""The reader's settings: names, defaults and checks, in this one place.

A JSON object in one file; the technician's tools check it with this same module. Promises: a
setting that is invalid or unknown never stops the reader: the default holds and the fault is
reported. What decides at which level the door rests is never guessed: without a trusted value
there is none. A secret is never in a message.

The file is *sealed* with a checksum, the member "crc32", by the tools, or by the reader when a
file without one has no fault. A file that does not match its checksum is not used at all. The
last sealed file without a fault is kept in NVS.
"""

import json
import os
from binascii import crc32

from kalitka.access import timezone
from kalitka.sync.address import split_port, split_url
from kalitka.sync.resolver import is_address
from kalitka.table import codes
from micropython import const

FILE = "settings.json"
SIZE_MAX = 6000  # bytes of a file: its copy in NVS, twice while it is replaced, has room
_SAFETY = ("lock_kind", "lock_output")  # they decide at which level the door rests
# Do not rename: readers in the field have this key in NVS, and this member in their files.
_COPY = const("settings")
_SEAL = const(b'"crc32": "')  # before the checksum's digits
_MARK = const(b"\xef\xbb\xbf")  # UTF-8's byte order mark, which some editors put first
_SEAL_SIZE = const(21)  # bytes by which a file grows when it gets its checksum
# The first letters of names in zones. Longer texts than a name, so that none is interned.
_NOWHERE = const("UTC,GMT,UCT")
_EAST = const(
    "MSK,EET,EES,CET,CES,SAM,YEK,OMS,NOV,KRA,IRK,YAK,VLA,IST,HKT,SGT,JST,KST,AES,NZS,SAS,EAT,CAT"
)


class SettingError(ValueError):
    """A setting is invalid; the message names it and says what would be valid."""


def _text(value):
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return value


def _reader(value):
    for char in _text(value):
        if not (char.isalpha() or char.isdigit() or char in ":_-") or ord(char) > 127:
            raise ValueError("must be letters, digits, : _ or -")
    return value


def _url(value):
    if _text(value):
        split_url(value)
    return value


def _zone(value):
    if _text(value):
        east = timezone.Zone(value).offset
        name = value[:3].upper()
        sign = value[1] if value[0] == "<" else ""
        # POSIX counts west of Greenwich, people do not: UTC+3 would be west, and so would MSK+3.
        # The tools refuse more; see `kalitka_hub.site.zone_signs`.
        if (
            (east and name in _NOWHERE)
            or (east < 0 and (name in _EAST or sign == "+"))
            or (east > 0 and sign == "-")
        ):
            raise ValueError("%s is misread: write <+03>-3 for UTC+3, <-03>3 for UTC-3" % value)
    return value


def _host(value):
    if _text(value):
        split_port(value, 0)
    return value


def _hostname(value):
    if len(_text(value)) > 32 or not all(c.isalpha() or c.isdigit() or c == "-" for c in value):
        raise ValueError("must be at most 32 letters, digits or -")
    return value


def _list(value, most):
    if not isinstance(value, list) or len(value) > most:
        raise ValueError("must be a list of at most %d" % most)
    return value


def _networks(value):
    for pair in _list(value, 8):
        if not isinstance(pair, list) or len(pair) != 2 or not _text(pair[0]) + _text(pair[1]):
            raise ValueError('must be a list of ["name", "password"]')
    return value


def _is_key(value):
    return len(value) == 64 and all(c in "0123456789abcdefABCDEF" for c in value)


def _ipv4(value):
    if not is_address(_text(value)):
        raise ValueError("must be an IPv4 address, such as 192.168.1.20")
    number = 0
    for part in value.split("."):
        number = number << 8 | int(part)
    return number


def _inside(number, prefix):
    # Returns whether the address (a number) is in the network of `ADDRESS/BITS`, but not ADDRESS.
    own, _, bits = prefix.partition("/")
    return (number ^ _ipv4(own)) >> 32 - int(bits) == 0 and number != _ipv4(own)


def _fixed(value):
    address, _, bits = _text(value).partition("/")
    if not value:
        return value
    if not bits.isdigit() or len(bits) > 2 or not 1 <= int(bits) <= 30:
        raise ValueError("must be an address with its network's bits, such as 192.168.1.20/24")
    number = _ipv4(address)
    hosts = (1 << 32 - int(bits)) - 1
    if number & hosts in (0, hosts):
        raise ValueError("%s is the network's own address or its broadcast" % address)
    if number >> 24 in (0, 127) or number >> 24 > 223:
        raise ValueError("%s is not an address that a reader can have" % address)
    return value


def _gateway(value):
    if _text(value):
        _ipv4(value)
    return value


def _name_servers(value):
    for server in _list(value, 3):
        _ipv4(server)
    return value


def _country(value):
    if _text(value) and (len(value) != 2 or not value.isalpha() or value != value.upper()):
        raise ValueError("must be two capital letters, such as DE")
    return value


def _codes(value):
    for code in _list(value, 32):
        fault = codes.check(_text(code).encode())
        if fault:
            raise ValueError("a code: %s" % fault)
    return value


def _repeat(value):
    if value not in ("any", "once"):
        minutes = value[9:] if _text(value).startswith("interval:") else ""
        if not minutes.isdigit() or len(minutes) > 5 or not 1 <= int(minutes) <= 10080:
            raise ValueError("must be any, once, or interval:N with 1 to 10080 minutes")
    return value


def _flag(value):
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _one_of(*names):
    def check(value):
        if value not in names:
            raise ValueError("must be one of: %s" % ", ".join(names))
        return value

    return check


def _number(least, most):
    def check(value):
        # To Python True is a number too; to a person it is not.
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError("must be a number")
        if not least <= value <= most:
            raise ValueError("must be from %s to %s" % (least, most))
        return value

    return check


def _whole(least, most):
    # For values that are added to the uptime: a float would turn the uptime into a float, which
    # has 24 bits on the chip.
    number = _number(least, most)
    return lambda value: int(number(value))


def _password_hash(value):
    # Never the password itself: `kalitka deploy` makes this of it.
    if _text(value) and (value[:7] != "sha256:" or value.count(":") != 2 or len(value) > 200):
        raise ValueError("must be written by kalitka deploy")
    return value


def _frames(value):
    if value not in (0, 26, 34):
        raise ValueError("must be 0, 26 or 34")
    return int(value)


_SWITCHES = const(("none", "normally-open", "normally-closed"))

# name: (default, check). A check returns the value, or raises ValueError that says what is valid.
FIELDS = {
    "reader": ("", _reader),  # this reader's code at the server
    "server_url": ("", _url),  # https://HOST:PORT, "" for a reader without a server
    "server_token": ("", _text),  # this reader's secret
    "server_ca": ("ca.pem", _text),  # the file with the site's CA, for https://
    "plain_http": (False, _flag),  # whether server_url may be http://
    "poll_seconds": (60, _whole(1, 86400)),
    "full_sync_at_start": (True, _flag),
    "full_sync_hours": (24, _number(0, 8760)),  # 0: never
    "full_sync_after_403": (True, _flag),
    "full_sync_after_changes_minutes": (5, _number(0, 1440)),  # 0: never
    "codes": ([], _codes),  # limits the reader to these; [] for all
    "ask_unknown_cards": (False, _flag),
    "wifi": ([], _networks),  # [["name", "password"], ...], the preferred one first
    "country": ("", _country),  # of the radio, "" for the port's default
    "hostname": ("", _hostname),  # "" for the reader's code
    "address": ("", _fixed),  # ADDRESS/BITS, "" to ask the network (DHCP)
    "gateway": ("", _gateway),  # with a fixed address, "" for none
    "name_servers": ([], _name_servers),  # [] for the network's own
    "ntp_server": ("pool.ntp.org", _host),  # HOST[:PORT], "" for none
    "clock_chip": ("none", _one_of("none", "ds3231")),
    "zone": ("", _zone),  # POSIX TZ, "" to take the server's
    "day_time_unit": ("auto", _one_of("auto", "minute", "second")),
    "repeat": ("any", _repeat),  # how often a code may pass: "any", "once" a window, "interval:N"
    "log_kib": (512, _number(32, 8192)),  # flash that the access log may take
    "log_upload_seconds": (5, _whole(0, 3600)),  # for which an entry waits for others
    "exit_button": ("none", _one_of(*_SWITCHES)),
    "door_contact": ("none", _one_of(*_SWITCHES)),  # "normally-closed": while the door is shut
    "alarm_contact": ("none", _one_of(*_SWITCHES)),
    "door_open_seconds": (30, _number(0, 3600)),  # after which it counts as held open; 0: never
    "lock_seconds": (5, _number(0.1, 600)),
    "lock_kind": ("fail-secure", _one_of("fail-secure", "fail-safe")),
    "lock_output": ("active-high", _one_of("active-high", "active-low")),
    "scanner_byte_order": ("as-sent", _one_of("as-sent", "reversed")),
    "guess_limit": (10, _whole(0, 100)),  # unknown codes a minute, then pauses; 0: never
    "guess_pause_seconds": (30, _whole(2, 300)),  # the longest pause
    "console": ("open", _one_of("open", "password", "off")),  # whether Ctrl-C stops the reader
    "console_password": ("", _password_hash),  # sha256:SALT:HEX, of SALT and password
    "frames": (0, _frames),  # the bits of each frame, 0 for 26 and 34
}


def check(name, value):
    """Return `value` if it is valid for the setting `name`. Raises SettingError."""
    if name not in FIELDS:
        raise SettingError("%s: there is no such setting" % name)
    try:
        return FIELDS[name][1](value)
    except ValueError as e:
        raise SettingError("%s: %s" % (name, e))


def with_defaults(values: dict) -> tuple[dict, list[str]]:
    """Return (settings, faults) of a dict of values.

    settings: a dict with every name of FIELDS; missing and invalid values have their defaults.
    faults: the problems, a list of lines.
    """
    settings = {name: FIELDS[name][0] for name in FIELDS}
    faults = []
    for name, value in values.items():
        try:
            settings[name] = check(name, value)
        except SettingError as e:
            faults.append(str(e))
    if settings["server_url"].startswith("http://") and not settings["plain_http"]:
        settings["server_url"] = ""
        faults.append(
            "server_url: with http:// everybody on the way can open the doors: "
            "use https://, or set plain_http to true"
        )
    return settings, faults + _conflicts(settings)


def _conflicts(settings):
    # Returns the problems between settings that are valid each by itself, and of texts that may
    # still work in part, a list of lines. An impossible gateway is removed, a console without a
    # password stays open; a network that cannot be joined stays, so that the others do as well.
    address, gateway = settings["address"], settings["gateway"]
    faults = []
    for name, password in settings["wifi"]:
        if len(name.encode()) > 32:
            faults.append("wifi: %s is longer than a network's name, 32 bytes" % name)
        if password and not (7 < len(password.encode()) < 64 or _is_key(password)):
            faults.append(
                "wifi: the password of %s must have 8 to 63 characters, or 64 hexadecimal digits; "
                '"" for an open network' % name
            )
    token = settings["server_token"]
    if token and token.split() != [token]:
        faults.append("server_token: it has a blank or a line end: copy the secret alone")
    if settings["console"] == "password" and not settings["console_password"]:
        settings["console"] = "open"
        faults.append("console: it needs a console_password, so it stays open")
    if gateway and not (address and _inside(_ipv4(gateway), address)):
        settings["gateway"] = ""
        faults.append(
            "gateway: %s is not in the network of the address %s" % (gateway, address)
            if address
            else "gateway: it belongs to a fixed address: set address as well"
        )
    if not address:
        return faults
    server = split_url(settings["server_url"])[1] if settings["server_url"] else ""
    if server and not (is_address(server) or server.endswith(".local")):
        if not settings["name_servers"]:
            faults.append(
                "name_servers: with a fixed address none is told by the network: give one, or "
                "server_url an address in the place of %s" % server
            )
        server = ""
    for far in settings["name_servers"] + [server]:
        if is_address(far) and not settings["gateway"] and not _inside(_ipv4(far), address):
            faults.append("gateway: without one %s cannot be reached from %s" % (far, address))
    return faults


def seal(data: bytes) -> bytes:
    """Return the settings file `data`, a JSON object, with its checksum renewed or added.

    The checksum is the first member, such as "crc32": "89abcdef", in hexadecimal digits: the
    CRC-32 of all bytes of the file but these digits.
    """
    at = data.find(_SEAL) + len(_SEAL)
    if at < len(_SEAL):
        at = data.index(b"{") + 1
        others = b", " if data[at:].strip() != b"}" else b""
        data = data[:at] + _SEAL + b'"' + others + data[at:]
        at += len(_SEAL)
    end = data.index(b'"', at)
    crc = crc32(data[end:], crc32(data[:at]))
    return data[:at] + ("%08x" % crc).encode() + data[end:]


def parse(data: bytes, known: dict | None = None) -> tuple[dict, list[str]]:
    """Return the same as `with_defaults` from the bytes of a settings file.

    known: settings that are trusted, or None: a name of _SAFETY whose value is invalid, or may
    have been lost with its name, has the value of `known`, or None. A file without a checksum that
    leaves a name of _SAFETY out does not change it silently: that is a fault. Raises SettingError
    if the bytes are not a JSON object or do not match its checksum.
    """
    if len(data) > (SIZE_MAX if _SEAL in data else SIZE_MAX - _SEAL_SIZE):
        raise SettingError("%s is longer than %d bytes" % (FILE, SIZE_MAX))
    try:
        # MicroPython's `json` does not skip it.
        values = json.loads(data[3:] if data[:3] == _MARK else data)
    except ValueError:
        raise SettingError("%s is not JSON" % FILE)
    if not _is_whole(data):
        raise SettingError("%s ends too early" % FILE)
    if not isinstance(values, dict):
        raise SettingError("%s is not a JSON object" % FILE)
    sealed = "crc32" in values
    values.pop("crc32", None)
    if sealed and seal(data) != data:
        raise SettingError(
            "%s is damaged, or was changed by hand: deploy it again, or remove its crc32" % FILE
        )
    settings, faults = with_defaults(values)
    lost = not sealed and any(name not in FIELDS for name in values)
    for name in _SAFETY:
        if lost if name not in values else settings[name] != values[name]:
            settings[name] = known[name] if known else None
        elif known and name not in values and not sealed and known[name] != settings[name]:
            settings[name] = known[name]
            faults.append("%s: left out, so it stays %s: write it down" % (name, known[name]))
    return settings, faults


def _is_whole(data):
    # Whether all strings and brackets are closed. Up to MicroPython 1.25 `json` does not raise
    # for a truncated text.
    depth = 0
    inside = escaped = False  # inside a string, behind its backslash
    for byte in data:
        if escaped:
            escaped = False
        elif inside:
            escaped = byte == 0x5C
            inside = byte != 0x22
        elif byte == 0x22:
            inside = True
        elif byte in b"{[":
            depth += 1
        elif byte in b"}]":
            depth -= 1
    return not (depth or inside) and bool(data.strip())


def load(report) -> dict:
    """Return the settings (a dict) of the file, else of its copy in NVS, else the defaults.

    A name of _SAFETY is None if no value can be trusted: then no level of the lock's output is
    right. report: a callable that takes a line of text (str); gets the problems. Raises
    MemoryError if there may be good ones that memory was too short for: another start finds them.
    """
    from kalitka.system import nvs

    known = None
    short = False
    faults = []
    try:
        copy = nvs.load(_COPY, SIZE_MAX)
        if copy:
            known, faults = parse(copy)
    except (MemoryError, SettingError) as e:
        short = isinstance(e, MemoryError)
        report("settings: the copy in NVS: %s" % e)
    copy = data = b""
    try:
        with open(FILE, "rb") as file:
            data = file.read(SIZE_MAX + 1)
        settings, faults = parse(data, known)
    except (OSError, MemoryError, SettingError) as e:
        data = b""
        report("settings: %s" % (e if isinstance(e, SettingError) else FILE + " cannot be read"))
        settings = known
        if settings:
            report("settings: taken from the copy in NVS")
        elif short or isinstance(e, MemoryError):
            raise MemoryError("too little memory for the settings")
        else:
            settings = with_defaults({})[0]
            for name in _SAFETY:
                settings[name] = None
    # A file with a fault never replaces the copy.
    if data and not faults:
        try:
            if not nvs.save(_COPY, _sealed(data, report), SIZE_MAX):
                report("settings: no copy could be kept in NVS")
        except MemoryError as e:
            report("settings: no copy could be kept in NVS: %s" % e)
    for fault in faults:
        report("settings: %s" % fault)
    if None in [settings[name] for name in _SAFETY]:
        report(
            "settings: nothing says how the lock is wired: its output stays off, cards are denied"
        )
    return settings


def _sealed(data, report):
    # Returns the file's bytes with a checksum; a file without one gets it in flash as well.
    if _SEAL in data:
        return data
    data = seal(data)
    try:
        # Renamed when it is whole: a power cut leaves the old file or the new one.
        with open(FILE + ".new", "wb") as file:
            file.write(data)
        os.rename(FILE + ".new", FILE)
        report("settings: %s has a checksum now" % FILE)
    except OSError as e:
        report("settings: no checksum could be written: error %s" % e.errno)
    return data
