"""The memory budget of a board: the arithmetic and its messages."""

import pytest

from kalitka_cli import suitability
from kalitka_cli.board_probe import BoardInfo, parse_board
from kalitka_cli.memory_needs import (
    ETHERNET,
    INSTALLS,
    LWIP,
    TLS,
    TLS_PIECE,
    WIFI,
    BoardMemory,
    InstallMethod,
    heap_after_growth,
    memory_budget,
)
from kalitka_cli.suitability import (
    BoardTarget,
    InsufficientMemory,
    UnsuitableBoard,
    check_board,
    check_memory,
)

KIB = 1024
NETWORK = LWIP.least + TLS.least
# From MicroPython's documentation, but with the largest region in one piece.
INSIDE = ((240, 0, 0), (79912, 35512, 35512), (15072, 15036, 15036), (113840, 113840, 113840))


def chip(free, heap=0, largest=None, psram=0, name="ESP32"):
    regions = [(300_000, free, free if largest is None else largest)]
    if psram:
        regions.append((psram, psram - 1000, psram - 1000))
    return BoardMemory(name, heap, tuple(regions))


def board(memory, machine="Generic ESP32 module with ESP32", build="ESP32_GENERIC", **more):
    return BoardInfo(machine, build, memory=memory, **more)


@pytest.mark.parametrize(
    ("heap", "need", "largest"),
    [(56, 56, 56), (56, 57, 112), (56, 112, 112), (56, 137, 224), (80, 60, 80), (64, 137, 256)],
)
def test_a_heap_doubles_until_it_holds_what_lives_in_it(heap, need, largest):
    assert heap_after_growth(heap * KIB, need * KIB) == largest * KIB


def test_a_heap_of_which_nothing_is_known_is_taken_to_be_as_large_as_needed():
    assert heap_after_growth(0, 1000) == 1000


@pytest.mark.parametrize(
    ("spare", "fits", "tight"), [(-1, False, False), (0, True, True), (1, True, True)]
)
def test_it_fits_from_the_byte_on_at_which_each_share_has_its_least(spare, fits, tight):
    how = InstallMethod("so", 60 * KIB, 0)
    need = 80 * KIB + NETWORK + WIFI.least
    memory = chip(need + spare - 80 * KIB, heap=80 * KIB, name="another")
    verdict = memory_budget(memory, how)
    assert (verdict.fits, verdict.tight) == (fits, tight)


def test_it_is_not_tight_from_the_byte_on_at_which_each_share_has_its_most():
    how = InstallMethod("so", 60 * KIB, 0)
    need = 80 * KIB + NETWORK + WIFI.most
    for spare, tight in ((-1, True), (0, False)):
        verdict = memory_budget(chip(need + spare - 80 * KIB, heap=80 * KIB), how)
        assert verdict.fits
        assert verdict.tight == tight


def test_a_heap_that_grows_counts_as_large_as_it_gets():
    how = InstallMethod("so", 57 * KIB, 0)
    room = 57 * KIB + NETWORK + WIFI.most
    assert not memory_budget(chip(room - 56 * KIB, heap=56 * KIB), how).fits
    assert memory_budget(chip(room - 57 * KIB, heap=57 * KIB), how).fits


def test_a_network_that_is_on_has_its_share_already():
    # 164,400 bytes before the heap, without and with the 49,000 of radio and lwIP.
    off = chip(164_400 - 56 * KIB, heap=56 * KIB)
    on = chip(164_400 - 49_000 - 56 * KIB, heap=56 * KIB)
    assert not off.network_on
    assert on.network_on
    for how in INSTALLS.values():
        sums = [memory_budget(memory, how) for memory in (off, on)]
        assert {"Wi-Fi", "lwIP"} <= set(sums[0].need)
        assert not {"Wi-Fi", "lwIP"} & set(sums[1].need)
        # The same verdict before and after.
        assert sums[0].fits == sums[1].fits


def test_a_cable_takes_less_than_the_radio():
    memory = chip(164_400 - 80 * KIB, heap=80 * KIB)
    radio, cable = (
        memory_budget(memory, INSTALLS["frozen"], ethernet) for ethernet in (False, True)
    )
    assert set(radio.need) - set(cable.need) == {"Wi-Fi"}
    assert cable.need["Ethernet"] == (ETHERNET.least, ETHERNET.most)
    assert radio.tight
    assert cable.fits
    assert not cable.tight


def test_with_psram_only_what_cannot_lie_there_counts():
    memory = chip(WIFI.least + LWIP.least, psram=2048 * KIB)
    verdict = memory_budget(memory, INSTALLS["files"])
    assert verdict.fits
    assert set(verdict.need) == {"Wi-Fi", "lwIP"}
    assert not memory_budget(
        chip(WIFI.least + LWIP.least - 1, psram=2048 * KIB), INSTALLS["files"]
    ).fits


@pytest.mark.parametrize("how", INSTALLS)
@pytest.mark.parametrize("before", [155_000, 164_400, 194_000])
def test_a_stock_image_without_psram_has_no_room_for_files(how, before):
    """No variant of a plain ESP32 has room for files; each has room for frozen, with 80 KiB."""
    heap = 80 * KIB if how == "frozen" else 56 * KIB
    verdict = memory_budget(chip(before - heap, heap=heap), INSTALLS[how])
    if how == "files":
        assert not verdict.fits
    elif how == "frozen":
        assert verdict.fits
    assert verdict.have == before


def test_the_refusal_says_what_was_found_and_needed_and_two_ways_out():
    memory = BoardMemory("ESP32", 56 * KIB, (*INSIDE[:-1], (113840, 56496, 56496)))
    with pytest.raises(InsufficientMemory) as refusal:
        check_memory(board(memory), "files")
    said = str(refusal.value)
    assert "as .mpy files does not fit into this board (ESP32, no PSRAM)" in said
    assert "doubled from 57,344 to hold 152,576: 229,376" in said
    assert f"has {memory.shared:,}" in said
    assert "Two ways out: (1) build and flash the image into which the reader is frozen" in said
    assert "boards/ESP32_GENERIC/README.md; (2) a board with PSRAM, see boards/README.md" in said


def test_a_frozen_reader_that_does_not_fit_needs_another_heap():
    memory = BoardMemory("ESP32", 56 * KIB, (*INSIDE[:-1], (113840, 56496, 56496)))
    with pytest.raises(InsufficientMemory, match="build the image with the heap that the"):
        check_memory(board(memory), "frozen")


def test_tls_wants_one_piece():
    memory = chip(200_000, heap=80 * KIB, largest=TLS_PIECE - 1)
    with pytest.raises(
        InsufficientMemory, match=r"16,700 bytes in one piece; the largest .* 16,699"
    ):
        check_memory(board(memory), "frozen")
    assert check_memory(board(chip(200_000, heap=80 * KIB, largest=TLS_PIECE)), "frozen")


def test_what_fits_is_told_with_its_sum():
    said = check_memory(board(chip(130_000, heap=80 * KIB)), "frozen")
    assert said.startswith("memory of ESP32, no PSRAM: the reader frozen into MicroPython needs ")
    assert "tight" not in said
    assert "it is tight" in check_memory(board(chip(75_000, heap=80 * KIB)), "frozen")


def test_a_board_that_does_not_know_its_memory_is_not_judged():
    assert check_memory(board(None), "files") == ""


FOLDER = BoardTarget("WROVER", "ESP32", True, "ESP32_GENERIC-SPIRAM")


@pytest.mark.parametrize(
    ("machine", "build", "want", "complaint"),
    [
        (
            "Generic ESP32S3 module with ESP32-S3",
            "ESP32_GENERIC_S3",
            FOLDER,
            "WROVER is for the chip ESP32, but the device has ESP32S3",
        ),
        (
            "Generic ESP32 module with ESP32",
            "ESP32_GENERIC",
            FOLDER,
            r"\(ESP32_GENERIC\) does not use it; flash ESP32_GENERIC-SPIRAM, see boards/WROVER",
        ),
        (
            "Generic ESP32 module with SPIRAM with ESP32",
            "",
            FOLDER,
            "finds none on this one; use another module",
        ),
    ],
)
def test_another_board_than_the_folder_is_for_is_refused(machine, build, want, complaint):
    with pytest.raises(UnsuitableBoard, match=complaint):
        check_board(board(chip(100_000), machine, build), want)


@pytest.mark.parametrize(
    "want",
    [FOLDER, BoardTarget("WROOM", "ESP32", False), BoardTarget("a folder that does not say")],
)
def test_a_board_that_the_folder_is_for_is_taken(want):
    check_board(board(chip(100_000, psram=2048 * KIB)), want)


@pytest.mark.parametrize(
    ("machine", "known"),
    [
        ("Generic ESP32 module with ESP32", "ESP32"),
        ("ESP32 Unicore with ESP32-UNICORE", "ESP32"),
        ("Generic ESP32S3 module with Octal-SPIRAM with ESP32S3", "ESP32S3"),
        ("ESP32C6 module with ESP32-C6", "ESP32C6"),
        ("Raspberry Pi Pico with RP2040", ""),
        ("", ""),
    ],
)
def test_the_chip_is_named_as_in_board_json_whatever_the_version_writes(machine, known):
    assert BoardInfo(machine).chip == known


def test_the_heap_is_what_micropython_has_without_what_it_could_grow_by():
    found = parse_board(
        {"machine": "x with ESP32", "heap": 113840, "regions": [[113840, 56496, 56496]]}
    )
    assert found.memory == BoardMemory("ESP32", 57344, ((113840, 56496, 56496),))
    assert parse_board({"heap": 5000}).memory is None


def test_every_folder_of_boards_can_be_asked_what_it_is_for():
    for want in suitability._board_targets():
        assert want.name
        assert want.page.endswith("README.md")
