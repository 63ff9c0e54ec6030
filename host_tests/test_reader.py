"""The unmodified firmware on the virtual chip: pins in, pins out, and the console's lines."""

import json
import re
import time

import pytest

from hub_command import Hub
from kalitka_hub.site.tokens import TokenSetting
from kalitka_sim import littlefs_image
from kalitka_sim.memory_classes import FROZEN_80K, MPY_ON_S3
from kalitka_sim.reader import VirtualReader, wiegand_bits
from kalitka_sim.virtual_chip import FAKES, ROM_FAKE
from scripted_server import Script, ScriptedServer, reply

MONDAY_0930_MSK = 1795415400  # 2026-11-23 06:30 UTC


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with Hub(tmp_path_factory.mktemp("hub"), zone="MSK-3") as hub:
        hub.command("reader", "add", "GATE-1", "--site-secret")  # migrated from an older hub
        hub.start()
        yield hub


@pytest.fixture
def alone(tmp_path):
    """A reader without a server."""
    with VirtualReader(tmp_path / "reader", {"zone": "MSK-3"}) as reader:
        reader.power_on()
        yield reader


def at_the_hub(hub, tmp_path, **settings):
    values = {"reader": "GATE-1", "server_token": hub.secret, "poll_seconds": 1, **settings}
    return VirtualReader(tmp_path / "reader", values, server=hub.address)


def test_a_card_unknown_to_the_table_is_denied_and_the_lock_stays_shut(alone):
    outcome = alone.present("04A1B2C3")
    assert (outcome.opened, outcome.allowed, outcome.reason) == (False, False, "no table yet")
    assert alone.pins[alone.board["LOCK"]] == 0


@pytest.mark.parametrize(
    "code", ["000000", "FFFFFF", "00000000", "FFFFFFFF", "8000001F", "A5A5A5"]
)
def test_every_bit_of_a_frame_arrives(alone, code):
    assert alone.present(code).code == code


@pytest.mark.parametrize("bit", [0, 1, 12, 13, 25])
def test_a_frame_with_any_bit_wrong_is_no_code(alone, bit):
    bits = wiegand_bits("A0B1C2")
    wrong = bits[:bit] + ("0" if bits[bit] == "1" else "1") + bits[bit + 1 :]
    seen = len(alone.console)
    alone.send_pulses(wrong)
    half = "first" if bit < 13 else "second"
    alone.wait_line(f"scanner: wrong parity in the {half} half", since=seen)
    assert not [line for line in alone.console[seen:] if "card" in line]


@pytest.mark.parametrize("bits", ["01", "0" * 25, "1" * 27, "10" * 40, "1" * 100])
def test_a_frame_of_another_length_is_told_and_the_next_card_read(alone, bits):
    seen = len(alone.console)
    alone.send_pulses(bits)
    alone.wait_line(f"scanner: frame of {len(bits)} bits", since=seen)
    assert alone.present("A0B1C2").code == "A0B1C2"


def test_a_reader_with_the_other_byte_order_is_read_as_set(tmp_path):
    settings = {"scanner_byte_order": "reversed"}
    with VirtualReader(tmp_path / "reader", settings) as reader:
        reader.power_on()
        reader.send_pulses(wiegand_bits("C3B2A104"))
        reader.wait_line("card 04A1B2C3 denied")


@pytest.mark.parametrize(
    ("kind", "output", "locked"),
    [
        ("fail-secure", "active-high", 0),
        ("fail-secure", "active-low", 1),
        ("fail-safe", "active-high", 1),
        ("fail-safe", "active-low", 0),
    ],
)
def test_the_lock_opens_for_its_seconds_and_shuts_again(hub, tmp_path, kind, output, locked):
    hub.set_tokens([TokenSetting("04A1B2C3", ("9_1",))])
    settings = {"lock_kind": kind, "lock_output": output, "lock_seconds": 0.5}
    with at_the_hub(hub, tmp_path, **settings) as reader:
        lock = reader.board["LOCK"]
        reader.power_on()
        # From power on: not even a short pulse at the start.
        assert {level for pin, level, _ in reader.pin_changes if pin == lock} == {locked}
        reader.wait_line("sync: full")
        before = len(reader.pin_changes)
        reader.send_pulses(wiegand_bits("04A1B2C3"))
        reader.wait_line("card 04A1B2C3 allowed")
        reader.request({"do": "pins"})  # after its answer all earlier pin changes have come
        reader.wait_pin(lock, locked)
        changes = [(level, ms) for pin, level, ms in reader.pin_changes[before:] if pin == lock]
        assert [level for level, _ in changes] == [1 - locked, locked]
        # By the chip's own clock: a busy computer may wake it up late, never early.
        assert changes[1][1] - changes[0][1] >= 500


def test_a_second_card_begins_the_locks_time_anew(hub, tmp_path):
    hub.set_tokens([TokenSetting("04A1B2C3", ("9_1",))])
    # Both cards have to come within that time: a busy computer gets several tries with more.
    for seconds in (1, 5, 25, 125):
        with at_the_hub(hub, tmp_path / str(seconds), lock_seconds=seconds) as reader:
            lock = reader.board["LOCK"]
            reader.power_on()
            reader.wait_line("sync: full")
            before = len(reader.pin_changes)
            assert reader.present("04A1B2C3").opened
            if reader.pins[lock] == 0:
                continue
            reader.present("04A1B2C3")
            reader.wait_pin(lock, 0)
            changes = [change for change in reader.pin_changes[before:] if change[0] == lock]
        (_, _, opened), *_, (_, _, shut) = changes
        if [level for _, level, _ in changes] == [1, 0]:
            assert shut - opened > seconds * 1000
            return
        assert changes[2][2] - opened >= seconds * 1000
    raise AssertionError("two cards did not come within two minutes")


def test_what_the_hub_says_is_what_the_gate_does(hub, tmp_path):
    hub.set_tokens(
        [
            TokenSetting("04A1B2C3", ("3_480_1200_1111100",)),
            TokenSetting("DEADBEEF", ("3_1320_360_0000011", "9_0")),
        ]
    )
    with at_the_hub(hub, tmp_path) as reader:
        reader.power_on()
        reader.wait_line("sync: full")
        reader.set_clock(MONDAY_0930_MSK)
        assert reader.present("04A1B2C3").opened
        assert reader.present("DEADBEEF").reason == "outside its hours"
        seen = len(reader.console)
        hub.command("token", "remove", "04A1B2C3")
        reader.wait_line("sync: incremental, .* 1 codes changed", since=seen)
        assert reader.present("04A1B2C3").reason == "unknown code"


def test_a_cut_network_is_seen_and_found_again_while_the_gate_decides(hub, tmp_path):
    hub.set_tokens([TokenSetting("04A1B2C3", ("9_1",))])
    with at_the_hub(hub, tmp_path) as reader:
        reader.power_on()
        reader.wait_line("sync: full")
        reader.set_network(False)
        reader.wait_line("wifi: lost the link")
        assert reader.present("04A1B2C3").opened
        seen = len(reader.console)
        reader.set_network(True)
        reader.wait_line("wifi: connected", since=seen)
        hub.command("token", "remove", "04A1B2C3")
        reader.wait_line("1 codes changed", since=seen)
        assert reader.present("04A1B2C3").reason == "unknown code"


def test_after_a_power_cut_it_decides_from_flash_and_needs_the_clock_for_hours(hub, tmp_path):
    hub.set_tokens(
        [TokenSetting("04A1B2C3", ("9_1",)), TokenSetting("DEADBEEF", ("3_0_1439_1111111",))]
    )
    with at_the_hub(hub, tmp_path) as reader:
        reader.power_on()
        reader.wait_line("sync: full")
        reader.power_cut()
        assert any(name.startswith("table/base-") for name in reader.flash_files())
        assert reader.relay
        reader.relay.cut()
        reader.power_on()
        assert reader.present("04A1B2C3").opened
        assert reader.present("DEADBEEF").reason == "clock not set"
        # The server's last zone was saved.
        reader.set_clock(time.time() - 1800)
        assert reader.present("DEADBEEF").opened
        seen = len(reader.console)
        reader.relay.restore()
        # Over http:// it proves nothing, but this is less than an hour.
        reader.wait_line("clock: set by the server, .* s forward, provisional", since=seen)
        assert reader.present("DEADBEEF").opened


def test_a_reader_the_hub_refuses_keeps_its_table_and_says_why(hub, tmp_path):
    hub.set_tokens([TokenSetting("04A1B2C3", ("9_1",))])
    with at_the_hub(hub, tmp_path) as reader:
        reader.power_on()
        reader.wait_line("sync: full")
        seen = len(reader.console)
        hub.command("secret", KALITKA_HUB_SECRET="another")
        try:
            line = reader.wait_line("sync: failed", since=seen)
            assert "403" in line
            assert hub.secret not in line
            assert reader.present("04A1B2C3").opened
        finally:
            hub.command("secret", KALITKA_HUB_SECRET=hub.secret)
        reader.wait_line("sync: works again", since=seen)


def test_a_revoked_reader_is_refused_until_it_has_a_new_secret(hub, tmp_path):
    hub.add_reader("GATE-2")
    old = hub.secrets["GATE-2"]
    with at_the_hub(hub, tmp_path, reader="GATE-2", server_token=old) as reader:
        reader.power_on()
        reader.wait_line("sync: full")
        seen = len(reader.console)
        hub.command("reader", "revoke", "GATE-2")
        assert "403" in reader.wait_line("sync: failed", since=seen)
    new = hub.command("reader", "secret", "GATE-2").strip()
    with at_the_hub(hub, tmp_path / "new", reader="GATE-2", server_token=new) as reader:
        reader.power_on()
        reader.wait_line("sync: full")


def test_wrong_settings_are_named_and_the_defaults_hold(tmp_path):
    settings = {"lock_seconds": "long", "zone": "Mars", "no_such": 1, "server_token": 5}
    with VirtualReader(tmp_path / "reader", settings) as reader:
        reader.power_on()
        told = "\n".join(reader.console)
        assert "settings: lock_seconds: must be a number" in told
        assert "settings: zone: position 5" in told
        assert "settings: no_such: there is no such setting" in told
        assert "settings: server_token: must be a text" in told
        assert reader.present("04A1B2C3").reason == "no table yet"


def test_settings_whose_names_are_no_texts_do_not_stop_the_reader(tmp_path):
    with VirtualReader(tmp_path / "reader", {}) as reader:
        # MicroPython's JSON accepts such keys.
        littlefs_image.update(
            reader.flash_file, {"settings.json": b'{1: 2, "zone": "MSK-3", null: 3}'}
        )
        reader.power_on()
        assert "settings: 1: there is no such setting" in "\n".join(reader.console)
        reader.set_clock(MONDAY_0930_MSK)
        assert reader.present("04A1B2C3").when == "Mon 09:30 MSK-3"


@pytest.mark.parametrize("seconds", [1, 1793491199, 4102444800, 9999999999])
def test_a_time_before_this_firmware_or_beyond_the_calendar_is_not_taken(tmp_path, seconds):
    time = f"5,MSK-3,{seconds}".encode()
    with ScriptedServer([Script(reply(time)), Script(reply(b"5%%"))]) as server:
        where = ("127.0.0.1", server.port)
        with VirtualReader(tmp_path / "reader", server=where) as reader:
            reader.power_on()
            reader.wait_line("clock: not set by the server: the time given lies be")
            reader.wait_line("sync: full")
            assert reader.present("04A1B2C3").when == "clock not set"


def lock_opened(hub, reader, level):
    """Let a card open the lock in frozen time; return a function that lists its changes since."""
    hub.set_tokens([TokenSetting("04A1B2C3", ("9_1",))])
    lock = reader.board["LOCK"]
    reader.power_on()
    reader.wait_line("sync: full")
    reader.freeze_time()
    before = len(reader.pin_changes)
    reader.send_pulses(wiegand_bits("04A1B2C3"))
    reader.wait_pin(lock, level)
    return lambda: [(level, ms) for pin, level, ms in reader.pin_changes[before:] if pin == lock]


@pytest.mark.parametrize(("kind", "locked"), [("fail-secure", 0), ("fail-safe", 1)])
def test_the_lock_shuts_in_time_while_the_loop_hangs(hub, tmp_path, kind, locked):
    with at_the_hub(hub, tmp_path, lock_kind=kind, lock_seconds=2) as reader:
        changes = lock_opened(hub, reader, 1 - locked)
        reader.stall(30_000)
        (opened, first), (shut, last) = changes()
        assert (opened, shut) == (1 - locked, locked)
        assert 2000 <= last - first <= 2100
        # A real one would have been restarted after 20 of these 30 seconds.
        reader.wait_line("Task watchdog got triggered")
        seen = len(reader.console)
        reader.wait_ready(since=seen)
        assert reader.pins[reader.board["LOCK"]] == locked


def test_the_lock_shuts_in_time_while_nobody_reads_the_pins(hub, tmp_path):
    with at_the_hub(hub, tmp_path, lock_seconds=2) as reader:
        changes = lock_opened(hub, reader, 1)
        channel, lock = reader.channel, reader.board["LOCK"]
        with channel._changed:  # its thread stands still, as if it were stopped by a signal
            channel._socket.sendall(b'{"do": "stall", "ms": 5000}\n')
            time.sleep(1)  # the chip goes on; how far it comes makes no difference
            assert channel.pins[lock] == 1
        reader.wait_pin(lock, 0)
        (opened, first), (shut, last) = changes()
        assert (opened, shut) == (1, 0)
        assert 2000 <= last - first <= 2100


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe", None])
def test_a_lost_settings_file_is_replaced_by_the_copy_in_nvs(tmp_path, damage):
    with VirtualReader(tmp_path / "reader", {"reader": "GATE-1", "zone": "MSK-3"}) as reader:
        reader.power_on()
        reader.power_cut()
        if damage is None:
            littlefs_image.remove(reader.flash_file, "settings.json")
        else:
            littlefs_image.update(reader.flash_file, {"settings.json": damage})
        seen = len(reader.console)
        reader.power_on()
        told = "\n".join(reader.console[seen:])
        assert "settings.json" in told
        assert "settings: taken from the copy in NVS" in told
        reader.set_clock(MONDAY_0930_MSK)
        assert reader.present("04A1B2C3").when == "Mon 09:30 MSK-3"


def test_a_settings_file_with_a_flipped_bit_leaves_the_door_at_its_level(tmp_path):
    settings = {"reader": "GATE-1", "lock_kind": "fail-safe"}
    with VirtualReader(tmp_path / "reader", settings) as reader:
        lock = reader.board["LOCK"]
        reader.power_on()
        good = json.loads((tmp_path / "reader/nvs.json").read_text())
        assert reader.pins[lock] == 1  # current holds the door shut
        data = reader._settings_file()
        for text in (b"fail-safe", b"lock_kind", b"crc32", b"GATE-1"):
            reader.power_cut()
            damaged = data.replace(text, bytes([text[0] ^ 2]) + text[1:])
            littlefs_image.update(reader.flash_file, {"settings.json": damaged})
            seen, changes = len(reader.console), len(reader.pin_changes)
            reader.power_on()
            assert "settings: " in "\n".join(reader.console[seen:])
            levels = [level for pin, level, _ in reader.pin_changes[changes:] if pin == lock]
            assert levels == [1], text
            assert json.loads((tmp_path / "reader/nvs.json").read_text()) == good


def test_a_lock_of_which_nothing_says_how_it_is_wired_is_never_driven(hub, tmp_path):
    hub.set_tokens([TokenSetting("04A1B2C3", ("9_1",))])
    with at_the_hub(hub, tmp_path, lock_kind="fail-sage", exit_button="normally-open") as reader:
        lock = reader.board["LOCK"]
        reader.power_on()
        reader.wait_line("settings: lock_kind: must be one of: fail-secure, fail-safe")
        reader.wait_line("settings: nothing says how the lock is wired: its output stays off")
        reader.wait_line("sync: full")
        outcome = reader.present("04A1B2C3")
        assert (outcome.opened, outcome.reason) == (False, "lock not set up")
        reader.set_switch("EXIT_BUTTON", True)
        reader.wait_line("exit button")
        assert lock not in reader.pins


@pytest.mark.parametrize("repeat", ["once", "interval:30"])
def test_once_in_a_window_holds_over_a_power_cut(hub, tmp_path, repeat):
    hub.set_tokens([TokenSetting("04A1B2C3", ("3_480_720_1111111", "3_840_900_1111111"))])
    with at_the_hub(hub, tmp_path, repeat=repeat, zone="MSK-3") as reader:
        reader.power_on()
        reader.wait_line("sync: full")
        reader.set_clock(MONDAY_0930_MSK)
        assert reader.present("04A1B2C3").opened
        assert reader.present("04A1B2C3").reason == "already used"
        reader.power_cut()
        reader.power_on()
        reader.set_clock(MONDAY_0930_MSK + 60)
        assert reader.present("04A1B2C3").reason == "already used"
        # The next meal.
        reader.set_clock(MONDAY_0930_MSK + 5 * 3600)
        assert reader.present("04A1B2C3").opened


def test_a_damaged_table_denies_with_its_reason_and_is_healed_by_a_full_sync(hub, tmp_path):
    hub.set_tokens([TokenSetting("04A1B2C3", ("9_1",))])
    with at_the_hub(hub, tmp_path) as reader:
        reader.power_on()
        reader.wait_line("sync: full")
        reader.power_cut()
        name, data = next(
            (name, data)
            for name, data in reader.flash_files().items()
            if name.startswith("table/base-")
        )
        littlefs_image.update(
            reader.flash_file, {name: data[:4] + bytes([data[4] ^ 1]) + data[5:]}
        )
        assert reader.relay
        reader.relay.cut()
        seen = len(reader.console)
        reader.power_on()
        assert reader.present("04A1B2C3").reason == "table damaged"
        reader.relay.restore()
        reader.wait_line("sync: full", since=seen)
        assert reader.present("04A1B2C3").opened


def test_a_code_without_a_rule_it_understands_is_denied_with_that_reason(tmp_path):
    body = b"29921460%%\n04A1B2C3_/5_1_2\n04A1B2C3_/3_0_1439_111111\nDEADBEEF_/9_1"
    # The first two requests are for the time, in the newer and in the older form.
    missing = Script(reply(b"no", "404 Not Found"))
    with ScriptedServer([missing, missing, Script(reply(body))]) as server:
        where = ("127.0.0.1", server.port)
        with VirtualReader(tmp_path / "reader", server=where) as reader:
            reader.power_on()
            reader.wait_line("clock: not set by the server: the server answered 404 .no.")
            reader.wait_line("sync: full, 1 rules, 2 codes changed")
            reader.wait_line("sync: dropped 1: unknown kind of rule")
            reader.wait_line("sync: dropped 1: week mask is not seven digits")
            assert reader.present("04A1B2C3").reason == "no rule understood"
            assert reader.present("DEADBEEF").opened


def test_the_application_fits_its_heap(alone):
    memory = alone.memory()
    # The fakes have a share of the heap of their own, no larger than they need.
    assert memory["used"] + memory["free"] <= 160 * 1024 + FAKES + ROM_FAKE
    assert memory["fakes"] > FAKES + ROM_FAKE


def test_a_reader_works_from_files_as_well_and_rom_saves_it_the_heap_of_its_bytecode(
    alone, tmp_path
):
    with VirtualReader(tmp_path / "files", {"zone": "MSK-3"}, in_rom=False) as reader:
        reader.power_on()
        assert reader.present("04A1B2C3").reason == "no table yet"
        files = reader.memory()
    assert files["used"] + files["free"] <= MPY_ON_S3.process + FAKES
    assert files["fakes"] > FAKES
    rom = alone.memory()
    assert rom["used"] <= files["used"] - 24 * 1024
    # The heap that is left to the firmware differs by the two memory classes only.
    heaps = [memory["used"] + memory["free"] - memory["fakes"] for memory in (rom, files)]
    assert abs(heaps[0] - heaps[1] + MPY_ON_S3.process - FROZEN_80K.process) < 512


BUSY = "scanner: a card was held up while the chip was busy"


@pytest.mark.parametrize("code", ["A0B1C2", "04A1B2C3"])
def test_a_card_held_up_while_the_chip_is_busy_is_told_and_no_code(alone, code):
    bits = wiegand_bits(code)
    # Before the frame, in its middle, at its end; and so that the rest has the length of a code.
    for busy in ((0, len(bits)), (2, len(bits) - 2), (len(bits) - 14, len(bits)), (0, 16)):
        seen = len(alone.console)
        alone.send_pulses(bits, busy=busy)
        line = alone.wait_line("scanner: ", since=seen)
        assert f"{BUSY}: hold the card up again" in line
        assert not [line for line in alone.console[seen:] if re.search(r"card \S+ denied", line)]
    assert alone.present(code).code == code


def test_a_moment_in_which_the_chip_is_busy_costs_no_card(alone):
    bits = wiegand_bits("04A1B2C3")
    for first in (1, 12, 28):
        seen = len(alone.console)
        alone.send_pulses(bits, busy=(first, first + 6))
        alone.wait_line("card 04A1B2C3 denied", since=seen)
