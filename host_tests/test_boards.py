"""The folders of boards/, checked against the chips' data sheets.

The tables come from the makers: Espressif's data sheets of the chips (strapping pins, pins of
flash and PSRAM, "Power-Up Glitches on Pins") and of their modules WROOM-32, WROVER, S3-WROOM-1,
C6-WROOM-1 and C6-MINI-1; for the Olimex, its schematic and MicroPython's own board of that name.
"""

import contextlib
import json
import re
import sys
from dataclasses import dataclass, field
from unittest import mock

import pytest

from kalitka_build.boards import BuildError, board_description, board_names, load_board
from kalitka_build.compiler import ARCHES
from kalitka_build.paths import BOARDS, FIRMWARE
from kalitka_build.sources import firmware_sources
from kalitka_cli.memory_needs import INSTALLS

ROLES = (
    "WIEGAND_D0",
    "WIEGAND_D1",
    "LOCK",
    "EXIT_BUTTON",
    "DOOR_CONTACT",
    "ALARM_CONTACT",
    "I2C_SDA",
    "I2C_SCL",
)
OUTPUTS = {"LOCK", "I2C_SDA", "I2C_SCL"}
# A switch to ground may be closed during the chip's start.
SWITCHES = {"EXIT_BUTTON", "DOOR_CONTACT", "ALARM_CONTACT"}


def span(*bounds):
    """Return the numbers in inclusive ranges, given as pairs of bounds."""
    return {n for a, b in zip(bounds[::2], bounds[1::2], strict=True) for n in range(a, b + 1)}


@dataclass
class Chip:
    """A chip's GPIOs: all of them, and those with special functions.

    harmless: strapping pins whose level does not matter when the chip boots from flash. glitches:
    pins with a pulse at power-up.
    """

    pins: set
    flash: set
    strapping: set
    console: set
    arch: str
    offset: str  # of the flash image
    input_only: set = field(default_factory=set)
    usb: set = field(default_factory=set)
    harmless: set = field(default_factory=set)
    glitches: set = field(default_factory=set)


CHIPS = {
    "ESP32": Chip(
        pins=span(0, 19, 21, 23, 25, 27, 32, 39),
        flash=span(6, 11),
        strapping={0, 2, 5, 12, 15},
        console={1, 3},
        input_only=span(34, 39),
        harmless={5, 15},  # timing of SDIO slaves, the ROM's messages
        arch="xtensawin",
        offset="0x1000",
    ),
    "ESP32S3": Chip(
        pins=span(0, 21, 26, 48),
        flash=span(26, 32),
        strapping={0, 3, 45, 46},
        console={43, 44},
        usb={19, 20},
        glitches={18, 19, 20},
        arch="xtensawin",
        offset="0",
    ),
    "ESP32C6": Chip(
        pins=span(0, 30),
        flash=span(24, 30),
        strapping={4, 5, 8, 9, 15},
        console={16, 17},
        usb={12, 13},
        arch="rv32imc",
        offset="0",
    ),
}
# Pins that the module or board uses itself or does not lead out.
TAKEN = {
    "ESP32_GENERIC": set(),
    "ESP32_GENERIC_SPIRAM": {16, 17},
    "ESP32_GENERIC_S3": set(),
    "ESP32_GENERIC_S3_SPIRAM_OCT": span(33, 37),
    "ESP32_GENERIC_C6": {10, 11, 14},
    # RMII: data, management, clock; the PHY's power; supply's voltages; the button.
    "OLIMEX_ESP32_POE": {19, 21, 22, 25, 26, 27, 18, 23, 17, 12, 34, 35, 39},
}
ETHERNETS = {
    "OLIMEX_ESP32_POE": {
        "phy_type": "PHY_LAN8720",
        "phy_addr": 0,
        "mdc": 23,
        "mdio": 18,
        "power": 12,
        "ref_clk": 17,
        "ref_clk_mode": "OUT",
    }
}
# Images on micropython.org, by their name before the version: port's board, variant.
STOCK = {
    "ESP32_GENERIC-SPIRAM": ("ESP32_GENERIC", True),
    "ESP32_GENERIC_S3": ("ESP32_GENERIC_S3", False),
    "ESP32_GENERIC_S3-SPIRAM_OCT": ("ESP32_GENERIC_S3", True),
}

every_board = pytest.mark.parametrize("name", board_names())


def test_each_folder_is_a_board_that_is_known_here():
    assert board_names() == sorted(TAKEN)
    assert {path.name for path in BOARDS.iterdir() if path.is_dir()} == set(TAKEN)
    with pytest.raises(BuildError, match=r"there is no board 'ESP8266'; choose one of .*OLIMEX"):
        load_board("ESP8266")


@every_board
def test_its_pins_are_there_and_free_and_can_do_what_they_are_for(name):
    chip, pins = CHIPS[board_description(name)["chip"]], load_board(name)
    taken = TAKEN[name] | chip.flash | chip.console | chip.usb
    for role in ROLES:
        pin = pins[role]
        assert pin in chip.pins, f"{role}: there is no GPIO {pin}"
        assert pin not in taken, f"{role}: GPIO {pin} has another use"
        # Such a pin has no output driver and no pull-up.
        assert pin not in chip.input_only, f"{role}: GPIO {pin} is an input without pull-up"
        straps = chip.strapping - chip.harmless if role in SWITCHES else chip.strapping
        assert pin not in straps, f"{role}: GPIO {pin} decides how the chip starts"
        if role in OUTPUTS:
            assert pin not in chip.glitches, f"{role}: GPIO {pin} jumps when power comes"
    numbers = [pins[role] for role in ROLES]
    assert len(set(numbers)) == len(numbers), "a pin is used twice"


def test_the_pins_for_an_s3_without_psram_do_for_one_with_quad_or_octal():
    one, other = load_board("ESP32_GENERIC_S3"), load_board("ESP32_GENERIC_S3_SPIRAM_OCT")
    assert {role: one[role] for role in ROLES} == {role: other[role] for role in ROLES}


@every_board
def test_its_ethernet_is_wired_as_the_board_has_it(name):
    assert load_board(name).get("ETHERNET") == ETHERNETS.get(name)
    assert board_description(name)["ethernet"] == (name in ETHERNETS)


@every_board
def test_what_the_tools_know_of_it_is_right(name):
    found = board_description(name)
    chip = CHIPS[found["chip"]]
    assert found["name"] == name == load_board(name)["NAME"]
    assert found["arch"] == chip.arch and chip.arch in ARCHES
    assert found["flash_offset"] == chip.offset
    # The port's partitions, on every version: 2 MiB for MicroPython, the rest for files.
    assert found["vfs_offset"] == 2 << 20
    assert found["vfs_offset"] + found["vfs_size"] == found["flash_size"]
    assert found["flash_size"] in (4 << 20, 8 << 20)
    assert found["install"] in ("files", "frozen")
    if found["install"] == "files":
        assert STOCK[found["image"]] == (found["port_board"], found["psram"])
    else:
        assert found["image"] is None and not found["psram"]
    assert re.fullmatch(r"1\.\d\d", found["micropython"])


@every_board
def test_what_it_needs_fits_in_the_worst_case(name):
    found = board_description(name)
    memory = found["memory"]
    needed = INSTALLS[found["install"]].heap / 1000
    if found["psram"]:
        assert memory["python_kb"] is None
    else:
        assert needed <= memory["python_kb"][0] < memory["python_kb"][1]


@every_board
def test_its_page_says_what_it_needs_as_deploy_counts_it(name):
    install = INSTALLS[board_description(name)["install"]]
    page = (BOARDS / name / "README.md").read_text()
    figures = [("full sync of 10,000, and one that replaces it", install.heap)]
    if not board_description(name)["psram"]:
        figures.append(("idle, TLS connection up", install.idle))
    for label, size in figures:
        assert re.search(rf"^\|.*{label} \| {size / 1000:.1f} \|$", page, re.MULTILINE), label


def _frozen(name):
    # The files that a build would freeze, {path in MicroPython: source}, and the manifests that
    # it requires.
    files, included = {}, []

    def run(manifest):
        folder = manifest.parent

        def include(path):
            included.append(path)
            if not path.startswith("$"):
                run(folder / path)

        def package(package_name, base_path, opt):
            root = folder / base_path
            for source in (root / package_name).rglob("*.py"):
                files[source.relative_to(root).as_posix()] = source

        def module(file, base_path, opt):
            files[file] = folder / base_path / file

        def freeze(place, names):
            files.update(dict.fromkeys(names, place))

        names = {"include": include, "package": package, "module": module, "freeze": freeze}
        names["require"] = included.append
        with contextlib.chdir(folder), mock.patch.object(sys, "path", [*sys.path]):
            exec(compile(manifest.read_text(), str(manifest), "exec"), names)

    run(BOARDS / name / "manifest.py")
    return files, included


@every_board
def test_its_manifest_freezes_the_whole_firmware_and_its_own_pins(name):
    files, included = _frozen(name)
    assert included == ["../manifest.py", "$(MPY_DIR)/extmod/asyncio", "ssl"]
    # The port's own `inisetup` would be a second one of that name.
    for own in ("_boot.py", "flashbdev.py"):
        assert files.pop(own) == "$(PORT_DIR)/modules"
    sources = firmware_sources()
    as_written = {"boot.py", "main.py", "inisetup.py"}
    assert set(files) == {*sources, *as_written, "board.py"}
    assert {path.name for path in FIRMWARE.glob("*.py")} == as_written | {"guard.py"}
    assert all(files[path].read_text() == text for path, text in sources.items())
    assert files["board.py"] == BOARDS / name / "./board.py"
    assert all(path.is_file() for path in files.values())


@every_board
def test_a_board_that_needs_an_image_of_its_own_has_what_its_build_takes(name):
    folder, found = BOARDS / name, board_description(name)
    has = {file for file in ("mpconfigboard.h", "mpconfigboard.cmake") if (folder / file).exists()}
    if found["install"] == "files":
        assert not has
        return
    port = found["port_board"]
    header = (folder / "mpconfigboard.h").read_text()
    assert re.findall(r'^#include "(.+)"$', header, re.MULTILINE) == [
        f"boards/{port}/mpconfigboard.h",
        "../frozen.h",
    ]
    cmake = (folder / "mpconfigboard.cmake").read_text()
    assert re.findall(r"^include\((.+)\)$", cmake, re.MULTILINE) == [
        f"boards/{port}/mpconfigboard.cmake",
        "${MICROPY_BOARD_DIR}/../frozen.cmake",
    ]


@every_board
def test_its_page_has_its_pins_its_image_and_no_other_boards(name):
    text = (BOARDS / name / "README.md").read_text()
    found, pins = board_description(name), load_board(name)
    rows = dict(re.findall(r"^\| `([A-Z0-9_]+)` \| (\d+) \|", text, re.MULTILINE))
    assert {role: int(number) for role, number in rows.items()} == {r: pins[r] for r in ROLES}
    assert text.startswith(f"# {name}: ")
    first = text.split("\n", 1)[0]
    if found["install"] == "files":
        assert "by `make deploy`" in first
        assert f"BOARD={name}" in text and f"**{found['image']}**" in text
        assert f"write-flash {found['flash_offset']} {found['image']}-" in text
    else:
        assert "frozen image" in first
        assert f"boards/{name}" in text and f"flash it at {found['flash_offset']}" in text.replace(
            "\n", " "
        )
        assert "make deploy" not in text
    assert "../WIRING.md" in text and "../SETTINGS.md" in text


def test_the_page_of_the_boards_names_each_with_what_it_takes():
    text = (BOARDS / "README.md").read_text()
    rows = dict(re.findall(r"^\| \[(\w+)\]\(\1/README\.md\) \|(.+)$", text, re.MULTILINE))
    assert set(rows) == set(board_names())
    for name, row in rows.items():
        assert ("make deploy" in row) == (board_description(name)["install"] == "files"), name
        assert ("Ethernet" in row) == board_description(name)["ethernet"], name


def test_board_json_says_the_same_things_of_every_board():
    keys = [list(json.loads((BOARDS / name / "board.json").read_text())) for name in board_names()]
    assert all(one == keys[0] for one in keys)
