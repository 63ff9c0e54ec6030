"""The plain client: readline, split, a dict, saved as JSON.

As one would write it who minds memory and power cuts: equal rule texts are held once, a new
table is complete before it takes the place of the old one, the file is replaced by a rename,
and what changes nothing is not saved.
"""

import json
import os


class Program:
    """The table in `folder`: {code: rules}, both str; several rules stand in one text."""

    def __init__(self, folder):
        self._path = folder + "/table.json"
        self._minute = "0"
        self._table = {}
        try:
            with open(self._path) as file:
                self._minute, self._table = json.load(file)
        except OSError:
            return  # the first start
        texts = {}
        for code, rules in self._table.items():
            self._table[code] = texts.setdefault(rules, rules)

    def full(self, path):
        """Take an answer for the table; yields between the parts of the work."""
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
        """Tell whether the code (bytes) has rules."""
        return str(code, "utf-8") in self._table

    def close(self):
        """Nothing is open."""

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
        # One look at the dict for the first rule of a code, which mostly is the only one.
        old = table.setdefault(code, rule)
        if old is not rule:
            table[code] = old + " " + rule
    return table
