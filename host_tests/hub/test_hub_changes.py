"""The change log: no change is ever acknowledged unseen.

The oracle is a plain reader that polls incrementally: whatever the clock did and whichever process
wrote, its table at the end equals the database.
"""

import multiprocessing
import threading

from fastapi.testclient import TestClient
from sqlalchemy import event, update

from hub import busy_writer
from hub.hub_site import SECRET, START, Site, list_tokens
from hub.plain_reader import parse
from kalitka_hub.server.app import create_app
from kalitka_hub.site.readers import add_or_update_reader
from kalitka_hub.site.site_secret import set_secret
from kalitka_hub.site.tokens import TokenSetting, remove_token, set_tokens
from kalitka_hub.store import models
from kalitka_hub.store.changes import acknowledge, write_transaction
from kalitka_hub.store.database import Database, open_database
from kalitka_hub.store.last_seen import LastSeen

# Clean processes, forked from one that has imported what they need.
PROCESSES = multiprocessing.get_context("forkserver")
TRANSACTIONS = 40  # of each process
PROCESSES.set_forkserver_preload(["hub.busy_writer"])


def truth(database: Database) -> dict[str, set[str]]:
    with database.snapshot() as session:
        return {token.code: set(token.rules) for token in list_tokens(session)}


def test_a_change_committed_in_a_later_minute_than_it_began_in_is_seen(site):
    reader = site.reader()
    reader.poll()
    polled = []
    poll = threading.Thread(target=lambda: polled.append(site.ask(str(reader.minute))))
    with write_transaction(site.database) as session:
        set_tokens(session, [TokenSetting("SLOW", ("9_1",))])
        site.clock.minute += 1
        # This poll has to acknowledge the new minute, and so waits for the writer's lock.
        poll.start()
        poll.join(0.2)
        assert polled == []
    poll.join()
    assert polled == [f"{START + 1}%SLOW%\nSLOW_/9_1"]


def test_a_poll_in_an_acknowledged_minute_does_not_wait_and_gets_the_change_next_time(site):
    reader = site.reader()
    reader.poll()
    with write_transaction(site.database) as session:
        set_tokens(session, [TokenSetting("SLOW", ("9_1",))])
        reader.poll()
        assert reader.table == {}
        assert reader.minute == START
    site.clock.minute += 1
    reader.poll()
    assert reader.table == {"SLOW": {"9_1"}}


def test_a_writer_that_waited_while_a_minute_was_acknowledged_stamps_with_that_minute(site):
    reader = site.reader()
    reader.poll()
    writer = threading.Thread(target=site.set, args=("WAITED", "9_1"))
    with write_transaction(site.database) as session:
        writer.start()
        writer.join(0.2)
        # Like a poll at a computer whose clock is ahead.
        session.execute(update(models.Site).values(acknowledged=START + 1))
    writer.join()
    reader.minute = START + 1
    reader.poll()
    assert reader.table == {"WAITED": {"9_1"}}


def test_a_change_by_a_computer_whose_clock_is_behind_is_seen(site, where):
    reader = site.reader()
    reader.poll()
    behind = open_database(where, lambda: (START - 90) * 60)
    with write_transaction(behind) as session:
        set_tokens(session, [TokenSetting("A", ("9_1",))])
    behind.close()
    reader.poll()
    assert reader.table == {"A": {"9_1"}}


def test_the_minute_never_goes_back_when_the_system_clock_does(site):
    site.clock.minute += 100
    reader = site.reader()
    reader.poll()
    site.clock.minute -= 50
    assert site.ask("0") == f"{START + 100}%%\n"
    site.set("A", "9_1")
    reader.poll()
    assert reader.table == {"A": {"9_1"}}
    assert reader.minute >= START + 100
    # Until the clock has caught up, the change is not sent again and again.
    minute = reader.minute
    assert site.ask(str(minute)) == f"{minute}%%\n"
    site.remove("A")
    reader.poll()
    assert reader.table == {}
    site.clock.minute += 60
    reader.poll()
    assert reader.minute == START + 110
    site.set("B", "9_1")
    reader.poll()
    assert reader.table == {"B": {"9_1"}}


def test_a_clock_before_1970_still_gives_a_minute_above_0(site):
    site.clock.minute = -5
    assert site.ask("0") == "1%%\n"


def test_a_minute_costs_one_write_transaction_however_many_readers_poll(site):
    begun = []

    def count(_connection, _cursor, statement, *_rest):
        if statement.startswith("BEGIN IMMEDIATE") or statement.endswith("FOR UPDATE"):
            begun.append(statement)

    engine = site.database._engine
    event.listen(engine, "before_cursor_execute", count)
    for minute in range(3):
        site.clock.minute += 1
        for _ in range(5):
            site.ask("0", "GATE-1")
            site.ask(str(site.clock.minute), "GATE-2")
        assert len(begun) == minute + 1
    event.remove(engine, "before_cursor_execute", count)


def test_two_servers_on_one_database_acknowledge_for_each_other(site, where):
    other = open_database(where, site.clock)
    with TestClient(create_app(other)) as client:
        elsewhere = Site(other, site.clock, client)
        for round_ in range(5):
            first, second = (site, elsewhere) if round_ % 2 else (elsewhere, site)
            minute = parse(first.ask("0"))[0]
            second.set(f"A{round_}", "9_1")
            assert second.ask(str(minute)) == f"{minute}%A{round_}%\nA{round_}_/9_1"
            site.clock.minute += 1
    other.close()


def test_threads_that_write_while_the_minute_passes_lose_nothing(site):
    def write(seed):
        for number in range(25):
            with write_transaction(site.database) as session:
                set_tokens(session, [TokenSetting(f"{seed}-{number}", ("9_1",))])
                if number >= 5:
                    remove_token(session, f"{seed}-{number - 5}")
                site.clock.minute += 1

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
    readers = [site.reader("GATE-1"), site.reader("GATE-2")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        for reader in readers:
            reader.poll()
    for reader in readers:
        reader.poll()
        assert reader.table == truth(site.database)


def test_processes_that_write_while_the_minute_passes_lose_nothing(nowhere):
    minute, turns = PROCESSES.Value("q", START), PROCESSES.Semaphore(0)
    database = open_database(nowhere, busy_writer.SharedClock(minute))
    with write_transaction(database) as session:
        set_secret(session, SECRET)
        add_or_update_reader(session, "GATE-1")
    writers = [
        PROCESSES.Process(
            target=busy_writer.write, args=(nowhere, minute, seed, TRANSACTIONS, turns)
        )
        for seed in range(3)
    ]
    polls = 0
    with TestClient(create_app(database)) as client:
        reader = Site(database, None, client).reader()
        for writer in writers:
            writer.start()
        while any(writer.is_alive() for writer in writers):
            reader.poll()
            polls += 1
            # One transaction per writer and poll: the faster side waits.
            for _ in writers:
                turns.release()
        assert [writer.exitcode for writer in writers] == [0, 0, 0]
        reader.poll()
    held = truth(database)
    assert len(held) == 3 * (TRANSACTIONS - len(range(12, TRANSACTIONS, 3)))
    assert reader.table == held
    assert polls >= TRANSACTIONS
    database.close()


def test_processes_that_open_a_new_database_at_once_all_get_it(nowhere):
    minute = PROCESSES.Value("q", START)
    writers = [
        PROCESSES.Process(target=busy_writer.write, args=(nowhere, minute, seed, 1, None))
        for seed in range(3)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 3
    database = open_database(nowhere)
    acknowledge(database, LastSeen())
    assert len(truth(database)) == 3
    database.close()
