"""Long checks run in MicroPython processes of their own, one for each processor at a time.

A test with the parameter `check`, (module of device/, expression), is such a check: all that were
selected are started together, and each test waits for its own and prints what it printed.
"""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

import micropython_peer


class _Checks:
    def __init__(self, checks):
        self._processes = []
        self._stopped = False
        self._pool = ThreadPoolExecutor(os.cpu_count())
        self._outcomes = {check: self._pool.submit(self._run, *check) for check in checks}

    def _run(self, module, expression):
        if self._stopped:
            return 1, "not started"
        process = subprocess.Popen(
            micropython_peer.command(module, "device/run_check.py", module, expression),
            env=micropython_peer.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._processes.append(process)
        output = process.communicate()[0]
        return process.returncode, output

    def wait_for(self, check):
        """Wait for one of the checks; print and return what it printed. Fails if it failed."""
        status, output = self._outcomes[check].result()
        if status:
            pytest.fail(f"{check[0]}: {check[1]}\n{output}", pytrace=False)
        print(output, end="")
        return output

    def stop(self):
        """End what still runs: somebody had enough."""
        self._stopped = True
        for process in self._processes:
            process.kill()
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def checks(request):
    calls = [getattr(item, "callspec", None) for item in request.session.items]
    running = _Checks([call.params["check"] for call in calls if call and "check" in call.params])
    yield running
    running.stop()
