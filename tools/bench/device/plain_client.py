"""The plain client: readline, split, a dict, saved as JSON.

Written with care for memory and power cuts: equal rule texts are held once, a new table is
complete before it replaces the old one, the file is replaced by a rename, and an answer without
changes is not saved.
"""

import json
import os


class Program:
    """The table in `folder`: {code: rules}, both str; a code's rules are joined to one text."""

    def __init__(self, folder):
        self._path = folder + "/table.json"
        self._minute = "0"
        self._table = {}
        try:
            with open(self._path) as file:
                self._minute, self._table = json.load(file)
        except OSError:
            return  # there is no table yet
        texts = {}
        for code, rules in self._table.items():
            self._table[code] = texts.setdefault(rules, rules)

    def full(self, path):
        """Replace the table by a full answer; yields between the parts of the work."""
        with open(path) as body:
            minute = body.readline().split("%")[0]
            table = _rules_of(body)
        yield
        if table != self._table:
            self._save(minute, table)
        yield
        self._minute = minute
        self._table = table

    def change(self, path):
        """Apply an answer to the table; yields between the parts of the work."""
        with open(path) as body:
            minute, deleted, _ = body.readline().split("%")
            deletes = [code for code in deleted.split(",") if code in self._table]
            added = _rules_of(body)
        yield
        for code in deletes:
            del self._table[code]
        for code, rules in added.items():
            old = self._table.get(code)
            self._table[code] = old + " " + rules if old else rules
        if deletes or added:
            self._save(minute, self._table)
        yield
        self._minute = minute

    def find(self, code):
        """Return whether the code (bytes) has rules."""
        return str(code, "utf-8") in self._table

    def close(self):
        """Do nothing: no file is open."""

    def _save(self, minute, table):
        with open(self._path + ".new", "w") as file:
            json.dump([minute, table], file)
        os.rename(self._path + ".new", self._path)


def _rules_of(body):
    table = {}
    texts = {}
    for line in body:
        code, rule = line.strip().split("_/")
        rule = texts.setdefault(rule, rule)
        # A single dict access for the first rule of a code, which mostly is the only one.
        old = table.setdefault(code, rule)
        if old is not rule:
            table[code] = old + " " + rule
    return table
