"""`kalitka hub` as a person uses it, without the seconds that each start of Python takes.

A command runs in this process; a server in a process of its own, forked from one that has
imported everything.
"""

import multiprocessing
import os
import subprocess
import sys
from unittest.mock import patch

from typer.main import get_command
from typer.testing import CliRunner

from kalitka_hub.cli.main import hub
from kalitka_sim.hub_process import HubError, HubProcess

_COMMAND = get_command(hub)


def invoke(*words, **options):
    """Run `kalitka hub`. Its command tree is built once, not again for each call."""
    with patch("typer.testing._get_command", return_value=_COMMAND):
        return CliRunner().invoke(hub, list(words), **options)


def runner(where, *before, **always):
    """Return a function that runs `kalitka hub ...` on the database `where`.

    before: the first words of every command. always: variables of the environment.
    """
    always = {"KALITKA_HUB_DB": where, "KALITKA_DATABASE_URL": None, "COLUMNS": "180", **always}

    def run(*words, status=0, typed=None, **environment):
        result = invoke(*before, *words, env={**always, **environment}, input=typed)
        assert result.exit_code == status, result.output
        return result

    return run


_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["hub_command", "kalitka_hub.server.app"])


def _run(words, environment, output, log):
    # In the forked process: `kalitka hub`, which exits.
    os.dup2(output.fileno(), sys.stdout.fileno())
    with open(log, "a") as errors:
        os.dup2(errors.fileno(), sys.stderr.fileno())
    os.environ.clear()
    os.environ.update(environment)
    hub(words)


class _Forked:
    """A forked `kalitka hub`, as much like a Popen as `HubProcess` needs."""

    def __init__(self, words, log):
        ours, output = _PROCESSES.Pipe(duplex=False)
        self._process = _PROCESSES.Process(
            target=_run, args=(words, dict(os.environ), output, log.name), daemon=True
        )
        self._process.start()
        output.close()
        self.stdout = os.fdopen(os.dup(ours.fileno()))
        ours.close()

    def send_signal(self, sign):
        """Send a signal, if it still runs."""
        if self._process.exitcode is None:
            os.kill(self._process.pid, sign)

    def kill(self):
        """Kill it."""
        self._process.kill()

    def wait(self, timeout=None):
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("kalitka hub", timeout)


class Hub(HubProcess):
    """A hub in a process of its own, whose commands run in this process."""

    def _launch(self, words, log):
        return _Forked(words, log)

    def command(self, *words, **environment):
        """Run `kalitka hub ...` on the hub's database; return its output. Raises HubError."""
        result = invoke(*words, env={"KALITKA_DATABASE_URL": str(self.database), **environment})
        if result.exit_code:
            raise HubError(f"kalitka hub {' '.join(words)}: {result.output}")
        return result.stdout
