"""The cases of device/, in real MicroPython: one process a file, one test a case.

pytest runs the same files on CPython by itself.
"""

import ast
import functools
import subprocess
from pathlib import Path

import pytest

import micropython_peer
from kalitka_sim.timeouts import HANG_TIMEOUT_S

DEVICE = Path(__file__).parent / "device"


def _cases():
    for path in sorted(DEVICE.glob("case_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield path.stem, node.name


@functools.cache
def _outcomes(case_file, days=0):
    # Every case's outcome by its name: "" if it passed, else what was printed about it.
    done = subprocess.run(
        micropython_peer.command(case_file, "device/run_cases.py", case_file),
        env={**micropython_peer.environment(), "KALITKA_DAYS": str(days)},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_TIMEOUT_S,
    )
    outcomes = {}
    figures = []
    name = ""
    for line in done.stdout.splitlines():
        word, _, rest = line.partition(" ")
        if word in ("ok", "FAIL") and rest.startswith("test_"):
            name = rest
            outcomes[name] = "" if word == "ok" else "in MicroPython:\n"
        elif line.startswith("# "):
            figures.append(line)
        elif outcomes.get(name):
            outcomes[name] += line + "\n"
    end = f"exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return outcomes, figures, end


@pytest.mark.parametrize(("case_file", "name"), list(_cases()))
def test_in_micropython(case_file, name):
    outcomes, figures, end = _outcomes(case_file)
    while figures:
        print(figures.pop(0))
    assert name in outcomes, f"was not run: {end}"
    if outcomes[name]:
        pytest.fail(outcomes[name], pytrace=False)


# Those in which time passes; see device/chip_time.py.
@pytest.mark.parametrize(
    "case_file",
    [path.stem for path in sorted(DEVICE.glob("case_*.py")) if "chip_time" in path.read_text()],
)
def test_the_same_after_400_days(case_file):
    outcomes, _, end = _outcomes(case_file, 400)
    assert outcomes, end
    faults = {name: fault for name, fault in outcomes.items() if fault}
    assert not faults, "\n".join(faults.values())
