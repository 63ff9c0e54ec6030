"""The plain access log: a JSON line for each entry, appended to a file.

Written with care for power cuts and a full flash: the file is closed after each entry, and a full
file replaces the older one.
"""

import json
import os

_SIZE = 256 * 1024  # bytes of each of the two


class Program:
    """The log in `folder`."""

    def __init__(self, folder):
        self._path = folder + "/log.json"
        self._old = folder + "/log.old"
        self._entries = _lines(self._path)
        self._old_entries = _lines(self._old)

    def append(self, seconds, code):
        """Append an entry: this code (bytes) was allowed."""
        line = json.dumps({"t": seconds, "code": str(code, "utf-8"), "state": 1})
        with open(self._path, "a") as file:
            file.write(line + "\n")
            size = file.tell()
        self._entries += 1
        if size + len(line) >= _SIZE:
            os.rename(self._path, self._old)
            self._old_entries = self._entries
            self._entries = 0

    def acknowledge(self):
        """Drop all entries: the server has them."""
        os.remove(self._path)
        self._entries = 0
        if self._old_entries:
            os.remove(self._old)
            self._old_entries = 0

    def count(self):
        """Return the number of entries."""
        return self._entries + self._old_entries

    def leave_unsent(self, count):
        """Append `count` entries, which are unsent."""
        for number in range(count):
            self.append(1793100000 + number, b"%08X" % number)

    def upload(self, sample):
        """Send all unsent entries and return their number.

        sample: called before the upload and throughout.
        """
        sample()
        body = ""
        for path in (self._old, self._path):
            if path == self._path or self._old_entries:
                with open(path) as file:
                    for line in file:
                        if body:
                            body += ","
                        entry = json.loads(line)
                        body += f"{entry['t']}_{entry['code']}_{entry['state']}"
        sample()
        return body.count(",") + 1

    def close(self):
        """Do nothing: no file is open."""


def _lines(path):
    try:
        with open(path) as file:
            return sum(1 for _ in file)
    except OSError:
        return 0  # no such file yet
