"""The memory classes of the virtual chip: their figures add up and behave as on the chip."""

import json
import subprocess
from dataclasses import replace
from errno import ENOMEM

import pytest

from kalitka_cli.memory_needs import INSTALLS, LWIP, TLS, BoardMemory, memory_budget
from kalitka_sim import memory_classes
from kalitka_sim.memory_classes import CLASSES, FROZEN_80K, MPY_ON_S3, PLAIN_STOCK, PSRAM
from kalitka_sim.virtual_chip import CHIP, micropython

MIB = 1 << 20


def before_heap(known):
    return sum(free for size, free in known.regions if size < MIB)


@pytest.mark.parametrize("known", CLASSES.values(), ids=CLASSES)
def test_each_class_says_what_it_stands_for_and_its_parts_are_no_more_than_the_whole(known):
    assert known.description
    assert all(0 <= free <= size for size, free in known.regions)
    assert known.heap <= max(free for _, free in known.regions)
    # The firmware's heap in this process, in bytes of the chip.
    python = known.process * 100 // known.percent
    assert python >= known.heap
    if known is PLAIN_STOCK:
        # At most all of the chip's memory, which would leave nothing for the radio.
        assert python <= before_heap(known)
    elif known is PSRAM:
        assert python <= 2 * MIB
        assert before_heap(known) >= memory_classes.WIFI + LWIP.most
    else:
        assert python + memory_classes.WIFI + LWIP.most + TLS.most <= before_heap(known)


def test_a_plain_esp32_has_what_was_found_for_it():
    """155 to 194 KB before the heap, of which 65 to 120 remain for Python."""
    for known in (FROZEN_80K, PLAIN_STOCK):
        assert 155_000 <= before_heap(known) <= 194_000
    left = before_heap(FROZEN_80K) - memory_classes.WIFI - LWIP.most - TLS.most
    assert 65_000 <= left <= 120_000
    assert left >= FROZEN_80K.heap
    assert 90_000 <= before_heap(MPY_ON_S3) - before_heap(FROZEN_80K) <= 110_000


def test_the_memory_of_the_frozen_reader_is_what_the_tests_always_gave():
    assert FROZEN_80K.process == 160 * 1024


# Run on the chip: fills {living} bytes of Python's heap, then does the steps of the firmware's
# start, and prints the result of each.
PROGRAM = """
import gc, json, socket
import idf
gc.collect()
idf.baseline = gc.mem_alloc()
living = bytearray({living} * idf._percent // 100)
told = []
def step(name, work, *arguments):
    try:
        work(*arguments)
        told.append([name, "done"])
    except (OSError, ValueError) as e:
        told.append([name, list(e.args)])
first, second = socket.socket(), socket.socket()
step("radio", idf.start_hardware, "wifi")
step("certificate", idf.check_certificate)
step("connection", idf.open_connection, first)
before = idf.info()
step("another", idf.open_connection, second)
second.close()
first.close()
step("after both were closed", idf.open_connection, socket.socket())
print(json.dumps([told, before, idf.info(), idf._heap]))
"""


def start(known, living):
    """Start a chip with `living` bytes of heap in use.

    Return ({step: its result}, the regions with one connection, those at the end, the heap's
    size).
    """
    done = subprocess.run(
        [micropython(), "-X", "heapsize=8M", "-c", PROGRAM.replace("{living}", str(living))],
        env={"MICROPYPATH": f"{CHIP}:.frozen", "KALITKA_CHIP_MEMORY": json.dumps(known.as_dict())},
        capture_output=True,
        text=True,
        check=True,
    )
    told, before, after, heap = json.loads(done.stdout)
    return dict(told), before, after, heap


DONE = dict.fromkeys(("radio", "certificate", "connection"), "done")


def test_a_frozen_reader_gets_the_radio_and_one_tls_connection_at_a_time():
    told, before, after, heap = start(FROZEN_80K, INSTALLS["frozen"].idle)
    assert told.items() >= DONE.items()
    assert told["another"] == [ENOMEM]
    assert told["after both were closed"] == "done"
    assert before == after
    assert heap == FROZEN_80K.heap
    free = sum(region[1] for region in before)
    taken = memory_classes.WIFI + LWIP.most + 24_000
    assert free == before_heap(FROZEN_80K) - FROZEN_80K.heap - taken
    # The least that was free includes the memory of the handshake or of the other connection.
    assert sum(region[3] for region in before) <= free - 3500


# Bytes that earlier firmware took (in ROM, as files), for which these outcomes were seen.
IN_ROM, AS_FILES = 60_784, 112_768


def test_a_larger_reader_in_a_rom_on_a_stock_heap_gets_the_radio_and_no_tls():
    told, _, _, heap = start(PLAIN_STOCK, IN_ROM)
    assert told["radio"] == "done"
    assert told["connection"] == [ENOMEM]
    assert heap == 56 * 1024 + 113_840 - 56 * 1024


def test_larger_files_on_a_stock_heap_get_no_radio():
    told, _, _, _ = start(PLAIN_STOCK, AS_FILES)
    assert told["radio"] == ["WiFi Out of Memory"]
    assert told["connection"] == [ENOMEM]


def test_where_nothing_is_left_a_right_certificate_is_called_a_wrong_one():
    told, _, _, _ = start(PLAIN_STOCK, 160_000)
    assert told["certificate"] == ["invalid cert"]


def test_a_handshake_that_finds_no_room_says_so_in_the_words_of_the_chip():
    # Memory for two and a half connections, to the byte.
    told, _, _, _ = start(replace(FROZEN_80K, regions=((200_000, 81_920 + 49_000 + 26_000),)), 100)
    assert told["connection"] == [-0x2880, "MBEDTLS_ERR_X509_ALLOC_FAILED"]


def test_with_psram_everything_fits_and_the_heap_grows_into_it():
    told, before, _, heap = start(PSRAM, 400_000)
    assert told.items() >= DONE.items()
    assert told["another"] == "done"
    assert heap == 7 * 1024 * 64
    assert before[-1][1] < 2040 * 1024 - 400_000
    assert sum(region[1] for region in before[:-1]) > 100_000


def test_an_s3_takes_files_as_long_as_its_heap_doubles_once():
    told, _, _, heap = start(MPY_ON_S3, INSTALLS["files"].idle)
    assert told.items() >= DONE.items()
    assert heap == 128 * 1024


@pytest.mark.parametrize("known", CLASSES.values(), ids=CLASSES)
def test_what_the_arithmetic_refuses_fails_on_the_chip(known):
    """The arithmetic refuses exactly where the virtual chip fails, at the peak of a full sync."""
    for how in INSTALLS.values():
        told = start(known, how.heap)[0]
        regions = tuple((size, free, free) for size, free in known.regions)
        biggest = max(range(len(regions)), key=lambda i: regions[i][1])
        size, free, _ = regions[biggest]
        left = free - known.heap
        asked = (*regions[:biggest], (size, left, left), *regions[biggest + 1 :])
        works = all(told[name] == "done" for name in ("radio", "connection"))
        chip = known.machine.rpartition(" ")[2].replace("-", "")
        assert memory_budget(BoardMemory(chip, known.heap, asked), how).fits == works, (how, told)
