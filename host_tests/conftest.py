"""Readers with their servers; and figures: what a test prints as a line `# ...`.

Figures are shown at the end of the run.
"""

import gc
import logging
import sys

import pytest
from hypothesis import HealthCheck, settings

from world import World

# The same examples every time, however long they take.
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
    """Have the collector look at what the test makes, not at all that was imported and is kept.

    The firmware collects before each poll: a tenth of a second each time after some hundred tests.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _restore_logging():
    """Have whatever a command did to this process's log end with the test.

    A handler that stayed would write to a stream that was closed with the command.
    """
    loggers = [logging.root, *map(logging.getLogger, ("kalitka_hub", "kalitka_cli"))]
    kept = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, handlers, level in kept:
        logger.handlers[:] = handlers
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def _restore_modules():
    """Have the firmware's modules be those again that the tests know by name.

    It forgets some of them after use and loads them anew: what a later test replaces in the
    module that it imported would be replaced where nobody looks any more.
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
    """Each of them in turn."""
    return World(tmp_path, request.param == "https")


# Of several processes each takes a file at a time: those that take longest are taken first, so
# that none is still at one when the others have nothing to do.
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
    """Put the files first that take longest."""
    order = {name: number for number, name in enumerate(_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(_FIRST)))


def pytest_terminal_summary(terminalreporter):
    """Show the figures of all tests, whichever process they ran in."""
    lines = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            # Each report of a test repeats what the ones before it had.
            output = getattr(report, "capstdout", "").splitlines()
            lines.extend(line for line in output if line.startswith("# ") and line not in lines)
    for line in lines:
        terminalreporter.write_line(line)
