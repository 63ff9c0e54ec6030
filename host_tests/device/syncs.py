"""A sync as the poller does it, a check of every entry, and answers for both."""

from binascii import crc32

from device.codes_oracle import place_of
from device.table_contents import add, items
from device.table_plan import rule_of
from kalitka.table.table import FOUND, UNKNOWN


def apply(table, full, changes, minute):
    """Sync as the poller does: deletes first, and a second time if the transaction asks for it.

    changes: a list of (code, packed rule or None). Returns whether the server was asked again.
    """
    again = 0
    while True:
        asked = _applied(table.begin(full, again), changes, minute).retry
        if not asked:
            return again > 0
        assert asked > again, "the server is asked again and again"
        again = asked


def _applied(transaction, changes, minute):
    # Closes the generator and calls `abort` even after an exception, as a transaction requires.
    steps = transaction.commit(minute)
    try:
        for code, rule in changes:
            if rule is None:
                transaction.delete(code)
        for code, rule in changes:
            if rule is not None:
                add(transaction, code, rule)
                # As the poller does between two pieces of an answer, only more often.
                for _ in transaction.drain():
                    pass
        for _ in steps:
            pass
    finally:
        steps.close()
        transaction.abort()
    return transaction


def in_code_order(codes):
    """Return the (code, rule set) items of a dictionary in the order of a table's."""
    return [(code, codes[code]) for code in sorted(codes, key=place_of)]


def check_entries(table, entries, unknown=()):
    """Check by listing and by lookups that a table has exactly these entries (in code order)."""
    at = 0
    for item in items(table):
        assert at < len(entries) and item == entries[at], (item, at)
        at += 1
    assert at == len(entries), (at, len(entries))
    for code, rule_set in entries:
        assert table.find(code, len(code)) == FOUND, code
        assert table.rules[table.at : table.end] == rule_set, code
    for code in unknown:
        assert table.find(code, len(code)) == UNKNOWN, code


def long_code(number):
    """Return a code of 250 bytes.

    The sort buffer of 8 KiB holds thirty of them, so a sync too large for it takes few operations
    of the flash.
    """
    return b"~" * 246 + b"%04d" % number


def long_codes(first, last):
    """Return [(long code, packed rule)] of the numbers `first` to `last` - 1, in code order."""
    return [(long_code(n), rule_of(n % 9)) for n in range(first, last)]


def shuffled(changes):
    """Return the changes in an arbitrary but fixed order."""
    return sorted(changes, key=lambda change: crc32(change[0]))
