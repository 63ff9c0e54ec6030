"""A table as the tests see it: every code, and rules added one by one.

The firmware needs neither: it looks up the code of a card, and adds the lines of an answer.
"""

from array import array

from kalitka.access import rules
from kalitka.table import codes
from kalitka.table.block import IN_PLACE, TOMBSTONE, CorruptionError
from kalitka.table.merge import MergedEntries
from kalitka.table.rule_sets import RuleSets


def lookup(table, code):
    """Return the rule set (bytes) of a code, None if unknown. Raises CorruptionError."""
    return table.lookup_packed(codes.pack(code))


def segments_of(table):
    """Return the open segments, newest first. Raises CorruptionError if one cannot be read."""
    if None in table._segments:
        raise CorruptionError(table.fault)
    return table._segments


def items(table):
    """Yield (code, rule set), both bytes, in code order. Raises CorruptionError."""
    sets = RuleSets()
    entries = MergedEntries(segments_of(table), sets)
    while entries.next():
        number = entries.number
        if number != TOMBSTONE:
            code = codes.unpack(entries.key[: entries.key[1] + 3])
            yield code, entries.rule_set if number == IN_PLACE else sets.get(number)


def codes_in(table):
    """Yield the codes (bytes) in code order. Raises CorruptionError."""
    for code, _ in items(table):
        yield code


def add(transaction, code, rule):
    """Add a packed rule to a code (bytes). The empty rule b"" only makes the code known."""
    line = code + b"_/" + (rules.text_of(rule) if rule else b"") + b"\n"
    marks = array("i", [0, 0, 0, 0])
    while transaction.add_lines(line, marks[0], len(line), marks):
        pass
