"""Numbers that several modules of the firmware have as literals: the copies agree.

mpy-cross folds a `const` only within its module, and a name that modules share takes memory.
"""

import ast
import errno

from kalitka.access import packing
from kalitka.settings import FILE
from kalitka_build.paths import FIRMWARE

HOME = FIRMWARE / "kalitka"


def constants(path):
    """{name: value} of a module's constants that are written as a literal."""
    found = {}
    for node in ast.parse((HOME / path).read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value
            if isinstance(value, ast.Call) and ast.unparse(value.func) == "const":
                value = value.args[0]
            if isinstance(value, ast.Constant | ast.UnaryOp):
                found[node.targets[0].id] = ast.literal_eval(value)
    return found


NATIVE = constants("native.py")
SYNC_NATIVE = constants("sync_native.py")
# Negative results of the native code that mean something other than a fault.
OTHERS = {"_END", "MALFORMED", "_MALFORMED"}


def test_every_fault_of_the_native_code_has_one_number_and_words():
    names = {}
    for numbers in (NATIVE, SYNC_NATIVE):
        for name, number in numbers.items():
            if type(number) is int and number < 0 and name not in OTHERS:
                assert names.setdefault(number, name) == name
    assert sorted(names, reverse=True) == list(range(-1, -14, -1))
    assert len(packing.FAULTS) == 14
    assert len(set(packing.FAULTS)) == 14


def test_the_results_of_both_native_modules_are_the_same():
    assert (SYNC_NATIVE["_END"], SYNC_NATIVE["_MALFORMED"], SYNC_NATIVE["SECONDS"]) == (
        NATIVE["_END"],
        NATIVE["MALFORMED"],
        NATIVE["SECONDS"],
    )


def test_an_item_of_an_answer_is_a_line_a_byte_too_long_and_its_end():
    assert constants("sync/answer.py")["_ITEM_MAX"] == SYNC_NATIVE["_LINE_MAX"] + 2


def test_errors_of_the_system_have_their_numbers():
    found = 0
    for path in HOME.rglob("*.py"):
        for name, number in constants(path).items():
            if hasattr(errno, name.removeprefix("_")):
                assert number == getattr(errno, name.removeprefix("_")), (path, name)
                found += 1
    assert found >= 7


def test_a_module_that_is_loaded_later_agrees_with_the_copy():
    assert constants("table/table.py")["_BUFFER"] == constants("table/sorter.py")["LARGE"]
    assert constants("journal/anti_passback.py")["_BUFFER"] == constants("journal/log.py")["_GRID"]
    assert constants("system/uplink.py")["_SETTINGS"] == FILE
    asking, judging = constants("sync/timesources.py"), constants("sync/trust.py")
    for name in ("_AGREE", "_SOON"):
        assert asking[name] == judging[name]
