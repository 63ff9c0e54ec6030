"""One JSON file per token in a folder, as in esp-rfid, with full syncs as well.

Written with care for power cuts: a full sync fills a new folder, which then replaces the old one
by renames. Relies on the server to send the rules of a code one after the other.
"""

import json
import os

_ENOENT = 2


class Program:
    """The tokens below `folder`: P/CODE has {"uid": CODE, "rules": [...]}."""

    def __init__(self, folder):
        self._now = folder + "/P"
        self._new = folder + "/P.new"
        self._old = folder + "/P.old"
        # Recover from a power cut between the two renames.
        if not _exists(self._now):
            if _exists(self._old):
                os.rename(self._old, self._now)
            else:
                os.mkdir(self._now)
        _remove(self._old)
        _remove(self._new)

    def full(self, path):
        """Replace the table by a full answer; yields after each token."""
        os.mkdir(self._new)
        with open(path) as body:
            body.readline()
            for code, rules in _tokens(body):
                _write(self._new, code, rules)
                yield
        os.rename(self._now, self._old)
        os.rename(self._new, self._now)
        yield
        _remove(self._old)

    def change(self, path):
        """Apply an answer to the table; yields after each token."""
        with open(path) as body:
            deleted = body.readline().split("%")[1]
            for code in deleted.split(",") if deleted else ():
                try:
                    os.remove(self._now + "/" + code)
                except OSError as e:
                    if e.errno != _ENOENT:
                        raise
                yield
            for code, rules in _tokens(body):
                _write(self._now, code, self._rules(code) + rules)
                yield

    def find(self, code):
        """Return whether the code (bytes) has rules."""
        return bool(self._rules(str(code, "utf-8")))

    def close(self):
        """Do nothing: no file is open."""

    def _rules(self, code):
        try:
            with open(self._now + "/" + code) as file:
                return json.load(file)["rules"]
        except OSError as e:
            if e.errno != _ENOENT:
                raise
            return []


def _tokens(body):
    # Yields (code, [rule, ...]) for the lines of an answer.
    last = None
    rules = []
    for line in body:
        code, rule = line.strip().split("_/")
        if code != last:
            if last:
                yield last, rules
            last = code
            rules = []
        rules.append(rule)
    if last:
        yield last, rules


def _write(folder, code, rules):
    with open(folder + "/" + code, "w") as file:
        json.dump({"uid": code, "rules": rules}, file)


def _exists(path):
    try:
        os.stat(path)
        return True
    except OSError:
        return False


def _remove(folder):
    if _exists(folder):
        for entry in os.ilistdir(folder):
            os.remove(folder + "/" + entry[0])
        os.rmdir(folder)
