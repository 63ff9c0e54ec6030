"""A reader that has been running for a year and more; its ticks go round every twelve days."""

import time

from kalitka_sim.reader import VirtualReader, wiegand_bits
from kalitka_sim.timeouts import HANG_TIMEOUT_S
from scripted_server import Script, ScriptedServer, reply

CARD = "04A1B2C3"
DAY = 86400
STEP = 5 * DAY  # ticks tell what is longer than six days from nothing
STEPS = 80
TABLE = Script(reply(f"29921460%%\n{CARD}_/9_1".encode()), repeat=True)


def test_a_reader_is_in_its_second_year_as_it_was_in_its_first_minute(tmp_path):
    settings = {"ntp_server": "", "log_upload_seconds": 3600, "lock_seconds": 5}
    with ScriptedServer([TABLE]) as server:
        where = ("127.0.0.1", server.port)
        with VirtualReader(tmp_path / "reader", settings, where) as reader:
            reader.power_on()
            reader.wait_line("sync: full")
            reader.freeze_time()
            lock = reader.board["LOCK"]
            began = None
            passed = 0  # milliseconds since then
            for step in range(1, STEPS + 1):
                polls, seen = len(server.requests), len(reader.console)
                reader.advance_time(STEP)
                passed += STEP * 1000
                end = time.monotonic() + HANG_TIMEOUT_S
                # Every step is a poll, a full one, and the state in words.
                while len(server.requests) == polls:
                    assert time.monotonic() < end, reader.console[-12:]
                    time.sleep(0.01)
                line = reader.wait_line("sync: full, 1 rules", since=seen)
                reader.wait_line("sync: last worked 0 s ago, .*, 0 failed", since=seen)
                began = millis_of(line) - passed if began is None else began
                assert millis_of(line) == began + passed, line
                if step % 20 == 0:
                    # Two milliseconds for each bit, and the five seconds of the lock.
                    assert reader.present(CARD).opened
                    reader.advance_time(4)
                    reader.request({"do": "pins"})
                    assert reader.pins[lock] == 1
                    reader.advance_time(1)
                    reader.wait_pin(lock, 0)
                    passed += 2 * len(wiegand_bits(CARD)) + 5000
            assert not [
                line for line in reader.console if "failed" in line.replace("0 failed", "")
            ]


def millis_of(line):
    """Return the milliseconds that a line of the console begins with."""
    seconds, _, millis = line.split()[0].partition(".")
    assert len(millis) == 3
    return int(seconds) * 1000 + int(millis)
