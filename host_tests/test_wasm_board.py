"""The 32-bit MicroPython: its runner, and the firmware's cases that pass there."""

import shutil
from pathlib import Path

import pytest

from kalitka_build.paths import FIRMWARE
from kalitka_sim import wasm_board

TESTS = Path(__file__).parent

# That runtime never collects: cases about memory show nothing, and one of them takes minutes.
CASES = """
import device.{name} as cases
names = sorted(name for name in dir(cases) if name.startswith("test_"))
for i, name in enumerate(names):
    if name.startswith("test_memory") or i % {parts} != {part}:
        delattr(cases, name)
import device.run_cases
"""


def run(folder, script, *arguments, **limits):
    (folder / "script.py").write_text(script)
    return wasm_board.run(["script.py", *arguments], folder, **limits)


def test_a_script_gets_its_arguments_and_what_it_prints_comes_back(tmp_path):
    outcome = run(tmp_path, "import sys\nprint(__name__, sys.argv)", "one", "zwei")
    assert outcome.exit == 0
    assert outcome.output == "__main__ ['script.py', 'one', 'zwei']\n"


def test_its_integers_are_those_of_a_machine_of_32_bits(tmp_path):
    assert run(tmp_path, "import sys\nprint(sys.maxsize)").output == "2147483647\n"


def test_an_exit_status_comes_back(tmp_path):
    outcome = run(tmp_path, "import sys\nprint('on my way')\nsys.exit(7)")
    assert (outcome.exit, outcome.output) == (7, "on my way\n")


def test_an_exception_is_an_exit_status_of_1_and_a_traceback(tmp_path):
    outcome = run(tmp_path, "print('before')\n1 / 0")
    assert outcome.exit == 1
    assert outcome.output.startswith("before\nTraceback")
    assert 'File "script.py", line 2' in outcome.output
    assert outcome.output.endswith("ZeroDivisionError: divide by zero\n")


def test_a_script_that_is_not_there_is_an_exit_status_of_1(tmp_path):
    assert wasm_board.run(["nothing.py"], tmp_path).exit == 1


@pytest.mark.parametrize(
    ("heap", "fits", "too_much"), [("64K", 50_000, 64_000), ("1M", 900_000, 1_040_000)]
)
def test_the_heap_is_as_large_as_asked_for(tmp_path, heap, fits, too_much):
    assert run(tmp_path, f"bytearray({fits})", heap=heap).exit == 0
    assert "MemoryError" in run(tmp_path, f"bytearray({too_much})", heap=heap).output


def test_fuel_is_the_same_every_time_and_more_for_more_work(tmp_path):
    script = "import sys\nfor i in range(int(sys.argv[1])):\n    [i] * 3"
    few = run(tmp_path, script, "1000")
    assert few.fuel == run(tmp_path, script, "1000").fuel
    assert run(tmp_path, script, "2000").fuel > few.fuel + 1000


def test_a_script_without_an_end_stops_when_its_fuel_is_used_up(tmp_path):
    with pytest.raises(wasm_board.BoardError, match="fuel"):
        run(tmp_path, "while True:\n    pass", fuel=10**8)


def test_files_are_those_of_its_folder_and_no_others(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("of the host")
    (root / "given").write_text("to read")
    script = "with open('made', 'w') as file:\n    file.write(open('given').read())"
    assert run(root, script).exit == 0
    assert (root / "made").read_text() == "to read"
    assert "OSError" in run(root, "open('../secret')").output


def test_viper_code_runs_as_bytecode_and_means_the_same(tmp_path):
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "sums.py").write_text(
        "import micropython\n\n\n@micropython.viper\ndef sum_of(data, n: int) -> int:\n"
        "    p = ptr8(data)\n    total = 0\n    for i in range(n):\n        total += p[i]\n"
        "    return total\n"
    )
    root = tmp_path / "root"
    wasm_board.put_sources(sources, root / "lib")
    assert run(root, "import sums\nprint(sums.sum_of(bytes(range(10)), 10))").output == "45\n"


def test_garbage_frees_nothing_that_is_in_use(tmp_path):
    # The frame of a function with so many variables is on the heap, where the runtime's own
    # collector would free it while the function runs.
    names = [f"v{i}" for i in range(30)]
    script = (
        "import gc\ndef work():\n    " + " = ".join(names) + " = 1\n"
        "    for _ in range(50):\n        gc.collect()\n        [str(i) for i in range(50)]\n"
        "    return " + " + ".join(names) + "\nprint(work())"
    )
    assert run(tmp_path, script).output == "30\n"


def test_memory_in_use_is_told_at_the_top_level(tmp_path):
    script = (
        "import gc\nbefore = gc.in_use()\nkept = bytearray(5000)\nbytearray(9000)\n"
        "print(gc.in_use() - before)"
    )
    taken = int(run(tmp_path, script).output)
    assert 5000 <= taken < 6000


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("wasm")
    wasm_board.put_sources(FIRMWARE, root / "lib")
    wasm_board.put_sources(TESTS / "device", root / "device")
    shutil.copytree(TESTS / "data", root / "data")
    return root


# There is no asyncio: cases that need it are not among these.
NO_LOOP = """
import sys
class asyncio:
    Event = TimeoutError = create_task = None
sys.modules["asyncio"] = asyncio
"""


# The parts in which each file's cases run: nothing is ever collected, and they make much garbage.
PARTS = {"case_rules": 1, "case_codes": 1, "case_answer": 4, "case_native": 4, "case_clock": 1}


@pytest.mark.parametrize(
    ("name", "part"), [(name, part) for name, parts in PARTS.items() for part in range(parts)]
)
def test_cases_pass_on_32_bits(root, name, part):
    script = f"{name}-{part}.py"
    cases = CASES.format(name=name, parts=PARTS[name], part=part)
    (root / script).write_text(NO_LOOP + cases)
    outcome = wasm_board.run([script, name], root, heap="900M")
    lines = outcome.output.splitlines()
    assert outcome.exit == 0, outcome.output
    assert lines and all(line.startswith("ok test_") for line in lines), outcome.output
