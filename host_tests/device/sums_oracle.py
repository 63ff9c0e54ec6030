"""The oracle of the sums of codes and rules, by FORMAT.md's formula.

For `digest` and `pack_lines` of the native code.
"""

from array import array

from device.codes_oracle import packed_code
from device.lines_oracle import RECORD_MAX, Records
from device.random_numbers import Numbers
from kalitka import sync_native
from kalitka.access import rules


def sums_of(table):
    """Return the sums of a table: a list of (code, list of packed rules)."""
    sums = array("i", [0, 0, 0])
    for code, some in table:
        rule_set = b"".join(sorted(some))
        data = b"\xff" + packed_code(code)
        around = b"\x01" + rule_set + b"\x01"
        sync_native.digest(data, 1, len(data) - 1, around, 1, 1 + len(rule_set), sums)
    return list(sums)


def sums_of_lines(lines):
    """Return the sums of an answer: a list of (code, packed rule), b"" for no rule."""
    text = b""
    for code, rule in lines:
        text += code + b"_/" + (rules.text_of(rule) if rule else b"") + b"\n"
    records = Records(RECORD_MAX + 400, 99, True)
    marks = array("i", [0] * 4)
    while records.pack(text, marks[0], len(text), marks)[0]:
        records.clear()
    return list(records.sums)


def expected_sums(lines):
    """Return the sums by FORMAT.md's formula: of (code, packed rule), b"" for no rule."""
    total = [0, 0, len(lines)]
    for code, rule in lines:
        pair = [17, 29]
        for byte in packed_code(code) + rule:
            pair = [(pair[0] ^ byte) * 16777619 % 2**30, (pair[1] ^ byte) * 73244475 % 2**30]
        one = (pair[0] ^ pair[0] // 2**15) * 0x2C1B3C6D % 2**30
        two = (pair[1] ^ pair[1] // 2**13) * 0x297A2D39 % 2**30
        total[0] = (total[0] + (one ^ one // 2**12)) % 2**30
        total[1] = (total[1] + (two ^ two // 2**16)) % 2**30
    return total


def _lines_of(table):
    return [(code, rule) for code, some in table for rule in some or [b""]]


def check_digest(table, seed):
    """Check that an answer in any order has the sums of its table, and a changed answer has not.

    table: a list of (code, list of packed rules), no code or rule of a code twice.
    """
    numbers = Numbers(seed)
    lines = _lines_of(table)
    sums = sums_of(table)
    assert sums == expected_sums(lines), lines
    assert sums_of_lines(lines) == sums
    assert sums_of_lines(numbers.shuffled(lines)) == sums
    same = sorted(lines)
    for changed in _changed(lines, numbers):
        if sorted(changed) != same:
            assert sums_of_lines(changed) != sums, (lines, changed)


def _changed(lines, numbers):
    # Yields answers with a small difference: a line missing, doubled, with another code or rule;
    # two rules swapped.
    if not lines:
        return
    i = numbers.below(len(lines))
    j = numbers.below(len(lines))
    code, rule = lines[i]
    yield lines[:i] + lines[i + 1 :]
    yield lines + [lines[i]]
    yield lines[:i] + [(code + b"0", rule)] + lines[i + 1 :]
    yield lines[:i] + [(code, b"\x09\x00")] + lines[i + 1 :]
    yield lines[:i] + [(code, b"")] + lines[i + 1 :]
    swapped = list(lines)
    swapped[i] = (code, lines[j][1])
    swapped[j] = (lines[j][0], rule)
    yield swapped
