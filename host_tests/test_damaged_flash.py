"""A reader whose flash was damaged while it was off, on the way from power to the next card."""

import pytest

from damaged_reader import DAMAGES, DECIDES, RESTARTS, SYNCS, DamagedReader, noise
from kalitka_build.compiler import INLINE_MAX
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


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    reader = DamagedReader(tmp_path_factory.mktemp("stock"))
    yield reader
    reader.close()


def test_a_damaged_block_of_a_stock_reader_keeps_nobody_out(stock):
    # A share of all blocks, and those of the root folder; all of them in test-long.
    blocks = {0, 1, *stock.used_blocks()[::6]}
    kinds = {n: DAMAGES[i % len(DAMAGES)] for i, n in enumerate(sorted(blocks))}
    damages = [(f"block-{n}", n, kind(stock.block(n), n)) for n, kind in kinds.items()]
    verdicts = stock.verdicts(damages)
    assert set(verdicts) <= {DECIDES, SYNCS}, list(zip(kinds, verdicts, strict=True))
    assert verdicts.count(DECIDES) > len(verdicts) * 0.9


def test_a_damaged_guard_is_mended_after_the_watchdogs_restart(stock):
    # The other block is its copy.
    blocks = stock.first_blocks("guard.mpy")
    damages = [(f"guard-{n}", n, noise(stock.block(n), n)) for n in blocks]
    assert sorted(stock.verdicts(damages)) == [DECIDES, RESTARTS]


def test_a_boot_script_is_kept_in_its_folders_blocks(stock):
    # LittleFS checks those when it mounts; the data of larger files it never does.
    script = stock.files["boot.py"]
    assert len(script) <= INLINE_MAX
    alone = script + b"\xff"  # as the data of a file; in the archive others follow
    assert not [n for n in stock.used_blocks() if stock.block(n).startswith(alone)]


def test_firmware_that_is_damaged_twice_is_named_and_never_run(tmp_path):
    with VirtualReader(tmp_path / "reader", NAMES, in_rom=False) as reader:
        reader.power_on()
        reader.power_cut()
        gate = "lib/kalitka/gate.mpy"
        damaged = {gate: b"M\x06damaged", "copy/firmware": b"damaged, too"}
        littlefs_image.update(reader.flash_file, damaged)
        changes = len(reader.pin_changes)
        reader.power_on(wait_ready=False)
        reader.wait_line(
            "/lib/kalitka/gate.mpy was damaged: its copy is damaged, too: deploy it again"
        )
        reader.wait_line("the reader ended; it restarts")
        lock = reader.board["LOCK"]
        assert {level for pin, level, _ in reader.pin_changes[changes:] if pin == lock} <= {
            None,
            1,
        }
