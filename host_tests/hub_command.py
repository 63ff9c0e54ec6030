"""`kalitka hub` as a person uses it, in this process."""

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


class Hub(HubProcess):
    """A hub in a process of its own, whose commands run in this process.

    Starting Python takes longer than running them.
    """

    def command(self, *words, **environment):
        """Run `kalitka hub ...` on the hub's database; return its output. Raises HubError."""
        result = invoke(*words, env={"KALITKA_DATABASE_URL": str(self.database), **environment})
        if result.exit_code:
            raise HubError(f"kalitka hub {' '.join(words)}: {result.output}")
        return result.stdout
