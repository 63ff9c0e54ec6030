"""MicroPython for the tests: its command line, and a process that runs check after check.

A check is a function of a module in device/, named as "module.function", that returns nothing and
raises if something is wrong. `InProcess` runs it on CPython and `MicropythonProcess` in a single
MicroPython process for all examples, so that hypothesis drives the same checks in both.
"""

import functools
import json
import os
import subprocess
import tempfile
from importlib import import_module
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings

from kalitka_build.compiler import compile_firmware
from kalitka_build.sources import firmware_sources
from kalitka_sim.timeouts import HANG_TIMEOUT_S
from kalitka_sim.virtual_chip import HOST_ARCH, micropython

TESTS = Path(__file__).parent
_COMPILED = tempfile.TemporaryDirectory(prefix="kalitka-tests-")  # until this process ends
_FOLDER = Path(_COMPILED.name)

# A board gives the firmware about 160 KiB. Here objects are twice as large, and importing the
# tests' sources leaves some 100 KiB of bytecode and compiler garbage in the heap.
HEAP = "384K"
# Some scripts also have a disk in the heap, and the dictionary that is the table's oracle.
HEAPS = {
    "case_request": "1M",  # a list of thousands of pieces
    "case_wifi": "1M",  # a list of all calls of the radio for hours
    "case_log": "8M",  # a disk
    "case_access_log_power": "8M",  # a disk
    "case_anti_passback": "8M",  # the same
    "case_access_log": "8M",  # the same
    "case_uploader": "8M",  # the same
    "case_gate": "8M",  # the same
    "case_guard": "8M",  # the same
    "case_memory": "8M",  # the same
    "case_native": "4M",  # lists of all expected results
    "lines_oracle": "1M",
    "sums_oracle": "1M",
    "order_oracle": "1M",
    "blocks_oracle": "1M",
    "merge_oracle": "1M",
    "case_settings": "8M",  # a disk
    "case_stored_bytes": "8M",  # 512 blocks of 4 KiB
    "case_table": "8M",  # the same
    "case_table_damage": "8M",
    "case_table_failures": "8M",
    "case_table_power": "6M",
    "case_table_syncs": "16M",  # a disk, thousands of codes and their rules
    "timezone_oracle": "1M",  # lists of all minutes and the expected results
    "table_plan": "12M",  # the same, after thousands of examples
    "sync_runner": "4M",  # a table, a client and a poller from sources, and the tables to report
    "upload_runner": "4M",  # the same without a table
    "busy_gate": "8M",  # the same, and a disk
    "week_runner": "8M",  # a flash, and the rest
    "case_table_limits": "1M",  # at most 80 blocks
    "case_short_memory": "2M",  # a disk, and two copies of it
    # The long tests:
    "short_scan": "2M",
    "short_sync": "2M",
    "short_upload": "2M",
    "log_power": "8M",
    "access_log_power": "8M",
    "anti_passback_power": "8M",
    "log_wear": "16M",
    "power": "8M",
    "random_syncs": "16M",
    "damage": "8M",
}


@functools.cache
def environment():
    """Return the environment for scripts of device/.

    They import each other and the firmware, which is compiled as for a board once per process.
    Frozen modules come last. Cases look at private names, which a device's firmware has not: that
    is what the virtual readers run.
    """
    sources = firmware_sources(short_names=False)
    for name, data in compile_firmware("ESP32_GENERIC", HOST_ARCH, sources=sources).items():
        path = _FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return {**os.environ, "MICROPYPATH": f"{_FOLDER / 'lib'}:{_FOLDER}:{TESTS}:.frozen"}


def command(subject, script, *arguments):
    """Return the command line that runs a script of this folder, with the subject's heap."""
    heap = HEAPS.get(subject, HEAP)
    return [micropython(), "-X", f"heapsize={heap}", str(TESTS / script), *arguments]


def run_script(runner, options, clock, **process):
    """Run a script of device/ in MicroPython with these options; return its outcome.

    runner: such as "sync_runner". clock: the ReaderClock by which its time passes (see
    `device/piped_time.py`). process: arguments of Popen.
    """
    output = []
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(
            command(runner, f"device/{runner}.py"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env=environment(),
            **process,
        ) as running,
    ):
        running.stdin.write(json.dumps(options) + "\n")
        running.stdin.flush()
        with clock.attached(running.stdin.fileno()):
            for line in running.stdout:
                if line == "passed\n":
                    clock.confirm()
                else:
                    output.append(line)
        status = running.wait()
        complaints.seek(0)
        assert status == 0, "".join(output) + complaints.read()
    return json.loads("".join(output))


class InProcess:
    """A runtime that runs checks on CPython, in this process."""

    examples = 200

    def __init__(self, subject):
        self._module = import_module("device." + subject)

    def check(self, name, *arguments):
        """Run one check."""
        getattr(self._module, name)(*arguments)

    def close(self):
        """Do nothing: no process was started."""


class MicropythonProcess:
    """A runtime that runs checks in a MicroPython process, which gets one line per check."""

    examples = 50

    def __init__(self, subject):
        self._process = subprocess.Popen(
            command(subject, "device/peer.py", subject),
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def check(self, name, *arguments):
        """Run one check. Raises AssertionError with the traceback from there."""
        # The repr of numbers, bytes, texts, lists and tuples is an expression there, too.
        self._process.stdin.write(f"{name}{arguments!r}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"MicroPython ended with {self._process.wait()}"
        fault = json.loads(line)
        assert not fault, f"in MicroPython:\n{fault}"

    def close(self):
        """End the process."""
        self._process.stdin.close()
        self._process.wait(HANG_TIMEOUT_S)


RUNTIMES = {"cpython": InProcess, "micropython": MicropythonProcess}


def open_runtime(name, subject):
    """Yield the runtime of that name for the checks of one module. The body of a fixture."""
    runtime = RUNTIMES[name](subject)
    yield runtime
    runtime.close()


def examples(runtime, factor=1, shrink=True):
    """Return hypothesis settings with a fixed set of examples, scaled by `factor`.

    Two fifths of them run unless KALITKA_EVERY_EXAMPLE is in the environment (`make test-long`).
    shrink: without it a failing example is not minimised, for checks that take long.
    """
    share = 1 if os.environ.get("KALITKA_EVERY_EXAMPLE") else 0.4
    phases = [Phase.explicit, Phase.generate]
    return settings(
        max_examples=max(1, int(runtime.examples * factor * share)),
        phases=[*phases, Phase.shrink] if shrink else phases,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
