"""The access log in a flash that is full of it: a sync that finds no room."""

from pathlib import Path

from kalitka.journal.entries import SCANNER, encode
from kalitka.journal.log import Log
from kalitka_sim.reader import VirtualReader
from scripted_server import Script, ScriptedServer, reply

MONDAY_0930_MSK = 1795415400  # 2026-11-23 06:30 UTC


def test_a_sync_without_room_takes_the_place_of_entries_that_were_sent(tmp_path, monkeypatch):
    # A log of 256 KiB, full and sent, in a flash of 448 KiB.
    monkeypatch.chdir(tmp_path)
    log = Log("journal", 256 * 1024)
    for number in range(1000):
        log.append(encode(SCANNER, 1, 7, MONDAY_0930_MSK + number, b"x%0250d" % number))
    log.ack(log.last)
    paths = [path for path in Path("journal").rglob("*") if path.is_file()]
    files = {path.as_posix(): path.read_bytes() for path in paths}
    table = b"29921460%%\n" + b"\n".join(b"%08X_/9_1" % (n * 90_001) for n in range(45_000))
    answers = [reply(b"29921460,MSK-3,%d" % MONDAY_0930_MSK), reply(table)]
    with ScriptedServer([Script(answers), Script(answers[1], repeat=True)]) as server:
        where = ("127.0.0.1", server.port)
        options = {"log_kib": 256, "day_time_unit": "minute"}
        with VirtualReader(
            tmp_path / "reader", options, where, flash_size=448 * 1024, files=files
        ) as reader:
            reader.power_on()
            reader.wait_line("failed: the flash is full: entries of the log .* give way")
            reader.wait_line("sync: full, 45000 rules")
            assert reader.present(f"{90_001:08X}").opened
