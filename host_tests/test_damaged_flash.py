"""A reader whose file system does not mount any more, on the way from power to the next card."""

import pytest

from kalitka_sim import littlefs_image
from kalitka_sim.reader import VirtualReader

BLOCK = 4096
NAMES = {"reader": "GATE-1", "zone": "MSK-3", "lock_kind": "fail-safe"}


def damage(reader, data):
    """Overwrite both blocks of the superblock: LittleFS needs one of them."""
    with reader.flash_file.open("r+b") as flash:
        flash.write(data * (2 * BLOCK // len(data)))


@pytest.mark.parametrize("data", [b"\0", b"\xff\xff\xff\xfe", b"a stray write..."], ids=repr)
def test_a_frozen_reader_makes_a_new_file_system_and_has_its_settings_from_the_nvs(tmp_path, data):
    with VirtualReader(tmp_path / "reader", NAMES, frozen=True) as reader:
        reader.power_on()
        lock = reader.board["LOCK"]
        assert reader.pins[lock] == 1
        reader.power_cut()
        damage(reader, data)
        seen = len(reader.console)
        reader.power_on()
        told = "\n".join(reader.console[seen:])
        assert "the file system does not mount: a new one is made" in told
        assert "settings: taken from the copy in NVS" in told
        assert reader.pins[lock] == 1
        assert not reader.present("04A1B2C3").opened
        reader.power_cut()
        # The next start is like any other.
        seen = len(reader.console)
        reader.power_on()
        assert "does not mount" not in "\n".join(reader.console[seen:])
        assert "journal/id" in littlefs_or_none(reader)


def littlefs_or_none(reader):
    reader.power_cut()
    return littlefs_image.read(reader.flash_file)


def test_a_file_system_that_is_only_hard_to_read_is_kept(tmp_path):
    # One of both blocks of the superblock is enough.
    with VirtualReader(tmp_path / "reader", NAMES, frozen=True) as reader:
        reader.power_on()
        reader.present("04A1B2C3")
        reader.power_cut()
        before = set(littlefs_image.read(reader.flash_file))
        with reader.flash_file.open("r+b") as flash:
            flash.write(bytes(BLOCK))
        reader.power_on()
        assert not [line for line in reader.console if "does not mount" in line]
        assert before <= set(littlefs_or_none(reader))


def test_the_stock_image_reports_it_for_ever_and_the_door_stays_at_rest(tmp_path):
    # Its `_boot.py` is the port's: this one needs a hand.
    with VirtualReader(tmp_path / "reader", NAMES, in_rom=False) as reader:
        reader.power_on()
        reader.power_cut()
        damage(reader, b"\0")
        changes = len(reader.pin_changes)
        reader.power_on(wait_ready=False)
        reader.wait_line("The filesystem appears to be corrupted")
        assert not [change for change in reader.pin_changes[changes:] if change[1] is not None]
