"""Fixtures of readers with their servers, and the display of figures.

A line `# ...` that a test prints is a figure; figures are shown at the end of the run.
"""

import gc
import logging
import sys

import pytest
from hypothesis import HealthCheck, settings

from world import World

# The same examples in every run, without a deadline.
settings.register_profile(
    "kalitka",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("kalitka")


@pytest.fixture(autouse=True)
def _freeze_garbage():
    """Let the collector visit the test's own objects only, not all that was imported before.

    The firmware collects before each poll, which would take a tenth of a second each time after a
    few hundred tests.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _restore_logging():
    """Undo a command's changes to this process's logging at the end of the test.

    A remaining handler would write to a stream that was closed with the command.
    """
    loggers = [logging.root, *map(logging.getLogger, ("kalitka_hub", "kalitka_cli"))]
    kept = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, handlers, level in kept:
        logger.handlers[:] = handlers
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def _restore_modules():
    """Restore the firmware's modules that the tests have imported.

    The firmware unloads some modules after use and imports them again: a later test would then
    patch a module object that is no longer in use.
    """
    kept = [(name, module) for name, module in sys.modules.items() if name.startswith("kalitka.")]
    yield
    for name, module in kept:
        if sys.modules.get(name) is not module:
            sys.modules[name] = module
            package, _, last = name.rpartition(".")
            setattr(sys.modules[package], last, module)


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
    """The plain and the secure world in turn."""
    return World(tmp_path, request.param == "https")


# Several processes each take a file at a time: the slowest files come first, so that at the end no
# process is still busy with one while the others are idle.
_FIRST = (
    "test_on_micropython.py",
    "test_native_property.py",
    "test_survival.py",
    "test_table_property.py",
    "test_reader.py",
    "test_deploy.py",
    "test_deploy_boards.py",
    "test_wasm_board.py",
    "test_reader_log.py",
    "test_rules_property.py",
    "test_site_tls.py",
    "test_timezone.py",
    "test_sim_by_hand.py",
    "test_sync.py",
    "test_logs_command.py",
    "test_canteen.py",
    "test_demo.py",
    "test_upload.py",
    "test_table_command.py",
)


def pytest_collection_modifyitems(items):
    """Put the slowest files first."""
    order = {name: number for number, name in enumerate(_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(_FIRST)))


def pytest_terminal_summary(terminalreporter):
    """Show the figures of all tests, from all processes."""
    lines = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            # Each report of a test repeats the output of the earlier ones.
            output = getattr(report, "capstdout", "").splitlines()
            lines.extend(line for line in output if line.startswith("# ") and line not in lines)
    for line in lines:
        terminalreporter.write_line(line)
