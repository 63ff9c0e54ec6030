"""The reader's settings: names, defaults and checks, in this one place.

A JSON object in one file; the technician's tools check with this same module. Promises: a
setting that is wrong or unknown never stops the reader: the default holds and the fault is
told. A secret is never in a message.
"""

import json

from kalitka.access import timezone
from kalitka.sync.http import split_url

FILE = "settings.json"


class SettingError(ValueError):
    """A setting is wrong; the message names it and says what would be right."""


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
        timezone.parse(value)
    return value


def _one_of(*names):
    def check(value):
        if value not in names:
            raise ValueError("must be one of: %s" % ", ".join(names))
        return value

    return check


def _number(least, most):
    def check(value):
        # True is a number, too, for Python; not for a person.
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError("must be a number")
        if not least <= value <= most:
            raise ValueError("must be from %s to %s" % (least, most))
        return value

    return check


# name: (default, check). A check returns the value or raises ValueError with what is right.
FIELDS = {
    "reader": ("", _reader),  # this reader's code at the server
    "server_url": ("", _url),  # http://HOST:PORT, "" for a reader without a server
    "server_token": ("", _text),  # the site's secret
    "poll_seconds": (60, _number(1, 86400)),
    "wifi_ssid": ("", _text),
    "wifi_password": ("", _text),
    "zone": ("", _zone),  # POSIX TZ, "" to take the server's
    "day_time_unit": ("auto", _one_of("auto", "minute", "second")),
    "lock_seconds": (5, _number(0.1, 600)),
    "lock_kind": ("fail-secure", _one_of("fail-secure", "fail-safe")),
    "lock_output": ("active-high", _one_of("active-high", "active-low")),
    "scanner_byte_order": ("as-sent", _one_of("as-sent", "reversed")),
}


def check(name, value):
    """Return `value` if it is right for the setting `name`. Raises SettingError."""
    if name not in FIELDS:
        raise SettingError("%s: there is no such setting" % name)
    try:
        return FIELDS[name][1](value)
    except ValueError as e:
        raise SettingError("%s: %s" % (name, e))


def complete(values: dict) -> tuple[dict, list[str]]:
    """Return (settings, faults) of a dict of values.

    settings: a dict with every name of FIELDS; what was not given or is wrong has its default.
    faults: what was wrong, a list of lines.
    """
    found = {name: FIELDS[name][0] for name in FIELDS}
    faults = []
    for name, value in values.items():
        try:
            found[name] = check(name, value)
        except SettingError as e:
            faults.append(str(e))
    return found, faults


def parse(data: bytes) -> tuple[dict, list[str]]:
    """As `complete`, from the bytes of a settings file. Raises SettingError if it is none."""
    try:
        values = json.loads(data)
    except ValueError:
        raise SettingError("%s is not JSON" % FILE)
    if not isinstance(values, dict):
        raise SettingError("%s is not a JSON object" % FILE)
    return complete(values)
