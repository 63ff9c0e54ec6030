"""The virtual chip is as unkind as the ESP32 port: its start, console, watchdog, timers and NVS.

What the port does was read in its sources: main.c, _boot.py, inisetup.py, machine_timer.c,
machine_wdt.c, py/scheduler.c.
"""

import os
import signal

import pytest

from kalitka_sim import littlefs_image
from kalitka_sim.reader import VirtualReader

LOCK = 23


@pytest.fixture
def chip(tmp_path):
    """Return a function that starts a chip with these scripts in its flash."""
    made = []

    def start(main, boot="", **options):
        files = {"main.py": main.encode(), "boot.py": boot.encode()}
        made.append(VirtualReader(tmp_path / "chip", in_rom=False, files=files, **options))
        made[-1].power_on(wait_ready=False)
        return made[-1]

    yield start
    for one in made:
        one.close()


def forever(work):
    """Return a script that does `work` and then runs an empty loop of asyncio."""
    return f"import asyncio, machine, time\n{work}\nasyncio.run(asyncio.Event().wait())"


def test_a_file_system_that_does_not_mount_is_reported_for_ever_and_left_alone(tmp_path):
    with VirtualReader(tmp_path, in_rom=False) as reader:
        data = bytearray(reader.flash_file.read_bytes())
        data[: 2 * littlefs_image.BLOCK] = bytes(2 * littlefs_image.BLOCK)
        reader.flash_file.write_bytes(data)
        reader.power_on(wait_ready=False)
        corrupted = "The filesystem appears to be corrupted"
        reader.wait_line(corrupted)
        reader.wait_line(corrupted, since=len(reader.console))
        assert not [line for line in reader.console if "kalitka" in line]
        reader.power_cut()
        assert reader.flash_file.read_bytes() == data


def test_a_blank_flash_gets_a_file_system_and_the_ports_boot_script(tmp_path):
    with VirtualReader(tmp_path, in_rom=False) as reader:
        reader.flash_file.write_bytes(b"\xff" * reader.flash_file.stat().st_size)
        reader.power_on(wait_ready=False)
        reader.wait_line("Performing initial setup")
        reader.wait_line("MicroPython .* version")
        reader.power_cut()
        assert list(reader.flash_files()) == ["boot.py"]


def test_main_does_not_run_after_a_boot_script_that_fails(chip):
    reader = chip("print('main ran')", boot="print('boot ran')\n1 / 0")
    reader.wait_line("boot ran")
    reader.wait_line("ZeroDivisionError")
    reader.wait_line("MicroPython .* version")
    assert "main ran" not in reader.console


def test_ctrl_c_leads_to_the_repl_and_ctrl_d_from_there_to_a_soft_reset(chip):
    reader = chip(forever("print('cause', machine.reset_cause())"))
    reader.wait_line("cause 1")
    reader.type(b"\x03")
    reader.wait_line("KeyboardInterrupt")
    seen = len(reader.console)
    reader.type(b"print('repl', 6 * 7)\r\n")
    reader.wait_line("repl 42", since=seen)
    reader.type(b"\x04")
    reader.wait_line("MPY: soft reboot", since=seen)
    reader.wait_line("cause 5", since=seen)


def test_a_reset_lets_go_of_the_outputs_and_a_soft_reset_does_not(chip):
    work = f"machine.Pin({LOCK}, machine.Pin.OUT, value=1)\n"
    reader = chip(forever(work + "print('cause', machine.reset_cause())"))
    reader.wait_line("cause 1")
    reader.wait_pin(LOCK, 1)
    seen = len(reader.pin_changes)
    for command, cause in ((b"soft_reset", 5), (b"reset", 2)):
        reader.type(b"\x03")
        at = len(reader.console)
        reader.wait_line("MicroPython .* version", since=0)
        reader.type(b"import machine; machine." + command + b"()\r\n")
        reader.wait_line(f"cause {cause}", since=at)
        reader.wait_pin(LOCK, 1)
    assert [level for pin, level, _ in reader.pin_changes[seen:] if pin == LOCK] == [1, None, 1]
    reader.power_cut()
    assert reader.pins[LOCK] is None


HANGS = {"a loop": "while True: pass", "a sleep": "time.sleep(1000)", "the REPL": "1 / 0"}


@pytest.mark.parametrize("work", HANGS.values(), ids=HANGS)
def test_a_watchdog_that_is_not_fed_resets_the_chip(chip, work):
    first = f"machine.WDT(timeout=500)\nprint('hangs')\n{work}"
    reader = chip(
        "import machine, time\nprint('cause', machine.reset_cause())\n"
        "if machine.reset_cause() != 3:\n    " + first.replace("\n", "\n    ")
    )
    reader.wait_line("hangs")
    reader.wait_line("task_wdt: Task watchdog got triggered")
    reader.wait_line("cause 3")


def test_a_process_that_is_stopped_is_bitten_and_one_that_is_fed_is_not(chip):
    feed = (
        "dog = machine.WDT(timeout=1000)\nprint('cause', machine.reset_cause())\n"
        "async def feed():\n    for i in range(100):\n        dog.feed()\n"
        "        await asyncio.sleep_ms(50)\n        if i == 60: print('fed')\n"
        "asyncio.create_task(feed())"
    )
    reader = chip(forever(feed))
    reader.wait_line("fed")
    assert not [line for line in reader.console if "task_wdt" in line]
    os.kill(reader._process.pid, signal.SIGSTOP)
    reader.wait_line("cause 3")


def test_a_timer_counts_while_python_hangs_in_a_loop(chip):
    reader = chip(
        "import machine, time\n"
        "def shut(timer): print('shut')\n"
        "machine.Timer(0).init(mode=machine.Timer.ONE_SHOT, period=100, callback=shut)\n"
        "while True: pass"
    )
    reader.wait_line("shut")


def test_a_timer_may_be_periodic_and_ends_when_it_is_told_to(chip):
    reader = chip(
        forever(
            "n = 0\n"
            "def count(timer):\n"
            "    global n\n    n += 1\n    print('count', n)\n"
            "    if n == 3: timer.deinit()\n"
            "machine.Timer(0).init(period=20, callback=count)\n"
            "async def end():\n"
            "    global n\n"
            "    while n < 3: await asyncio.sleep_ms(5)\n"
            "    await asyncio.sleep_ms(50)\n    n = 100\n"  # some were in the queue already
            "    await asyncio.sleep_ms(300)\n    print('end', n)\n"
            "asyncio.create_task(end())"
        )
    )
    reader.wait_line("count 3")
    reader.wait_line("end 100")


def test_a_full_queue_loses_a_timers_callback_as_it_loses_pins(chip):
    # Eight pin changes wait while the chip is busy in C; the ninth, a timer's, is lost.
    reader = chip(
        "import machine, state\n"
        "def pin(n): print('pin', n)\n"
        "state._enter_c()\n"
        "print([state.interrupt(pin, n) for n in range(8)])\n"
        "print('ninth', state.interrupt(pin, 8))\n"
        "state._return_from_c()\n"
    )
    reader.wait_line(r"\[True, True, True, True, True, True, True, True\]")
    reader.wait_line("ninth False")
    reader.wait_line("pin 7")
    assert "pin 8" not in reader.console


def test_the_nvs_keeps_what_was_committed_over_a_power_cut_also_a_shorter_value(chip):
    work = (
        "from esp32 import NVS\nnvs = NVS('kalitka')\nbuffer = bytearray(2000)\n"
        "try:\n    print('had', nvs.get_blob('key', buffer), buffer[0])\n"
        "except OSError as e: print('had', e.args[1])\n"
    )
    reader = chip(work + "nvs.set_blob('key', b'a' * 1900)\nnvs.commit()\nprint('long')")
    reader.wait_line("had ESP_ERR_NVS_NOT_FOUND")
    reader.wait_line("long")
    reader.power_cut()
    reader = chip(work + "nvs.set_blob('key', b'b')\nnvs.commit()\nprint('short')")
    reader.wait_line("had 1900 97")
    reader.wait_line("short")
    reader.power_cut()
    reader = chip(work)
    reader.wait_line("had 1 98")


def test_the_nvs_refuses_what_the_idf_refuses(chip):
    reader = chip(
        "from esp32 import NVS\n"
        "def fault(work, *arguments):\n"
        "    try:\n        work(*arguments)\n"
        "    except OSError as e: return e.args[1]\n"
        "nvs = NVS('kalitka')\n"
        "print('name', fault(NVS, 'n' * 16), fault(nvs.set_blob, 'k' * 16, b''))\n"
        "print('big', fault(nvs.set_blob, 'a', bytes(20000)))\n"
        "nvs.set_blob('a', bytes(9600))\n"
        "print('again', fault(nvs.set_blob, 'a', bytes(10400)))\n"
        "print('short', fault(nvs.get_blob, 'a', bytearray(9599)))\n"
        "nvs.erase_key('a')\n"
        "print('gone', fault(nvs.erase_key, 'a'), fault(nvs.get_i32, 'a'))\n"
        "nvs.set_i32('a', -5)\n"
        "print('number', nvs.get_i32('a'), fault(nvs.get_blob, 'a', bytearray(1)))\n"
    )
    reader.wait_line("name ESP_ERR_NVS_KEY_TOO_LONG ESP_ERR_NVS_KEY_TOO_LONG")
    reader.wait_line("big ESP_ERR_NVS_NOT_ENOUGH_SPACE")
    reader.wait_line("again ESP_ERR_NVS_NOT_ENOUGH_SPACE")
    reader.wait_line("short ESP_ERR_NVS_INVALID_LENGTH")
    reader.wait_line("gone ESP_ERR_NVS_NOT_FOUND ESP_ERR_NVS_NOT_FOUND")
    reader.wait_line("number -5 ESP_ERR_NVS_NOT_FOUND")
