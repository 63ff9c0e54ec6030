"""mpy-cross compiles the firmware for every architecture that an ESP32 has.

The files run only on their chips. Their headers tell what they are; source: MicroPython's
documentation, ".mpy files", and its py/persistentcode.h.
"""

import pytest

from kalitka_build.boards import BuildError, board_names, load_board
from kalitka_build.compiler import compile_firmware
from kalitka_build.paths import FIRMWARE

VERSION = 6
SMALL_INT_BITS = 31  # of a machine of 32 bits
NUMBERS = {"x64": 2, "xtensawin": 10, "rv32imc": 11}
NATIVE = {"lib/kalitka/native.mpy", "lib/kalitka/sync_native.mpy"}


def _compiled(arch):
    files = compile_firmware("ESP32_GENERIC", arch)
    return {name: data for name, data in files.items() if name.endswith(".mpy")}


def _check_header(name, data, number):
    # The third byte: the architecture of native code and, if there is any, the sub-version.
    assert data[:2] == bytes((ord("M"), VERSION)), name
    assert data[2] >> 2 == number, name
    assert (data[2] & 3 > 0) == (number > 0), name
    assert data[3] <= SMALL_INT_BITS, name


@pytest.mark.parametrize("arch", NUMBERS)
def test_every_file_is_compiled_and_the_loops_to_native_code(arch):
    compiled = _compiled(arch)
    sources = (FIRMWARE / "kalitka").rglob("*.py")
    # Of the empty ones, which only say that a folder is a package, none is needed.
    sources = [p for p in sources if p.stat().st_size]
    names = {p.relative_to(FIRMWARE).with_suffix(".mpy").as_posix() for p in sources}
    assert set(compiled) == {f"lib/{name}" for name in names} | {"guard.mpy"}
    for name, data in compiled.items():
        _check_header(name, data, NUMBERS[arch] if name in NATIVE else 0)


def test_only_the_loops_differ_from_chip_to_chip():
    one, other = _compiled("xtensawin"), _compiled("rv32imc")
    assert {name for name in one if one[name] != other[name]} == NATIVE


def test_every_board_has_an_architecture_that_was_tried_here():
    for name in board_names():
        assert load_board(name)["ARCH"] in NUMBERS


def test_a_chip_that_takes_no_native_code_is_refused_by_the_file_that_has_it():
    with pytest.raises(BuildError, match=r"kalitka/native\.py"):
        compile_firmware("ESP32_GENERIC", None)
