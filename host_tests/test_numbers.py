"""The firmware's numbers on a chip whose integers have 31 bits and whose floats have 24.

What is only right on this computer's 64 bits is found where it is written. What runs, runs in
device/case_clock.py, in the cases after 400 days (test_on_micropython.py), on 32 bits
(test_wasm_board.py) and in a whole reader (test_year.py).
"""

import ast

import pytest

from kalitka_build.paths import FIRMWARE

SMALL = 2**30

# Larger integers are made there anew each time, for numbers that are that large in any case.
LARGE = {
    "sync/timesources.py": {2208988800, 0x100000000},  # seconds of NTP
}
# Seconds that somebody sleeps: never added to anything.
FLOATS = {
    "gate.py": {0.25},
    "sync/poller.py": {0.25},
    "system/wifi.py": {0.3},
    "settings.py": {0.1},
}


def nodes(kind):
    for path in sorted(FIRMWARE.rglob("*.py")):
        name = path.relative_to(FIRMWARE).as_posix().removeprefix("kalitka/")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kind):
                yield name, node


def constants(kind):
    found = {}
    for name, node in nodes((ast.Constant, ast.BinOp)):
        value = value_of(node)
        if type(value) is kind:
            found.setdefault(name, set()).add(value)
    return found


def value_of(node):
    """Return a constant's value, or that of a shift of two."""
    if isinstance(node, ast.Constant):
        return node.value
    parts = node.left, node.right
    if isinstance(node.op, ast.LShift) and all(isinstance(part, ast.Constant) for part in parts):
        return parts[0].value << parts[1].value
    return None


def test_nothing_is_divided_into_a_float():
    assert [(name, node.lineno) for name, node in nodes(ast.BinOp) if is_float(node)] == []


def is_float(node):
    formats = isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant)
    text = node.left.value if formats else ""
    return isinstance(node.op, ast.Div) or (isinstance(text, str) and "f" in conversions(text))


def conversions(text):
    """Return the letters of its % conversions."""
    letters = ""
    while "%" in text:
        text = text.split("%", 1)[1].lstrip("0123456789.-+# ")
        letters += text[:1].replace("g", "f").replace("e", "f")
        text = text[1:]
    return letters


@pytest.mark.parametrize(
    ("code", "found"),
    [("a / b", 1), ("'%7.3f' % a", 1), ("'%d %% %g' % a", 1), ("a // b", 0), ("'%d%%f' % a", 0)],
)
def test_a_division_into_a_float_is_seen(code, found):
    assert is_float(ast.parse(code, mode="eval").body) == bool(found)


def test_floats_are_written_only_where_somebody_sleeps():
    assert constants(float) == FLOATS


def test_integers_that_are_written_are_small():
    large = {name: {n for n in found if n >= SMALL} for name, found in constants(int).items()}
    found = {name: numbers for name, numbers in large.items() if numbers}
    assert found == LARGE
