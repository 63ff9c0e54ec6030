"""The whole application's heap, started against fakes: on 32 bits, as a chip has, and on 64."""

import pytest

from bench import answers
from bench.application_memory import ApplicationMemory

# Needed at the start, or for a poll, an upload, a look-up, the clock, a fault.
NOW_AND_THEN = [
    *("settings", "startup", "access.packing", "access.zonetext", "sync.address", "sync.answer"),
    *("sync.udp", "sync.dns", "sync.timesources", "sync.trust", "sync.tls", "sync.upload"),
    *("system.memory", "system.nvs", "table.full_change", "table.incremental_change"),
    *("table.merge", "table.sorter", "table.transaction"),
]
# What no setting of this reader names.
NOT_NAMED = [
    *("contacts", "journal.anti_passback", "hardware.contact", "hardware.door", "hardware.ds3231")
]


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    return ApplicationMemory(tmp_path_factory.mktemp("application"), lambda doing: None)


@pytest.fixture(scope="module")
def rules(tmp_path_factory):
    return answers.make(tmp_path_factory.mktemp("answers"), 300, in_code_order=False)


@pytest.fixture(scope="module")
def uses(memory, rules):
    return memory.use(rules)


def test_what_is_needed_now_and_then_is_not_there_while_it_idles(uses):
    for bits in (32, 64):
        there = uses[bits, "mpy"].modules
        assert "kalitka.sync.poller" in there
        unwanted = {"kalitka." + name for name in NOW_AND_THEN + NOT_NAMED}
        assert not unwanted.intersection(there)


def test_rom_spares_what_is_read_there_and_a_frozen_image_more(uses):
    assert uses[32, "frozen"].idle < uses[32, "rom"].idle < uses[32, "mpy"].idle
    assert uses[64, "rom"].idle < uses[64, "mpy"].idle
    # Objects of 32 bits are half as large; bytecode is not.
    assert uses[64, "mpy"].idle < 2 * uses[32, "mpy"].idle


def test_every_module_has_its_share(memory, uses):
    modules = memory.modules()
    names = [module.name for module in modules]
    assert len(set(names)) == len(names)
    assert set(uses[32, "mpy"].modules) | {"kalitka." + n for n in NOW_AND_THEN} <= set(names)
    for module in modules:
        assert module.code > 0 and module.names >= 0 and module.objects > 0, module
    idle = [m for m in modules if m.name in uses[32, "mpy"].modules]
    assert sum(m.code + m.names + m.objects for m in idle) < uses[32, "mpy"].idle


def test_full_syncs_leave_the_largest_piece_of_the_heap_as_it_was(memory, rules):
    # `make test-long` does fifty.
    for bits, (before, after) in memory.largest_pieces(rules, 8, "512K").items():
        assert after >= before - 4096, (bits, before, after)
