"""Readers with their servers; and figures: what a test prints as a line `# ...`.

Figures are shown at the end of the run.
"""

import pytest

from world import World


@pytest.fixture
def plain_world(tmp_path):
    """A reader whose server speaks HTTP."""
    return World(tmp_path, False)


@pytest.fixture
def secure_world(tmp_path):
    """A reader whose server speaks HTTP over TLS."""
    return World(tmp_path, True)


@pytest.fixture(params=["http", "https"])
def world(request, tmp_path):
    """Each of them in turn."""
    return World(tmp_path, request.param == "https")


def pytest_terminal_summary(terminalreporter):
    """Show the figures of all tests, whichever process they ran in."""
    lines = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            # Each report of a test repeats what the ones before it had.
            told = getattr(report, "capstdout", "").splitlines()
            lines.extend(line for line in told if line.startswith("# ") and line not in lines)
    for line in lines:
        terminalreporter.write_line(line)
