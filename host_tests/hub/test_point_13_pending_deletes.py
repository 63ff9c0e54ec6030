"""Point 13: a full answer names the deletes that are pending for its reader, and until when.

The whole is held against a reader that merges full answers, and one that replaces its table.
"""

import random
import tracemalloc

import pytest
from fastapi.testclient import TestClient

from hub.hub_site import SECRET, START, Site
from hub.plain_reader import PlainReader, parse
from hub.test_hub_database import make_older
from kalitka_hub.reader_api import sync_answer
from kalitka_hub.reader_api.sync_request import SyncRequest
from kalitka_hub.server.app import create_app
from kalitka_hub.site.readers import NAMED, add_or_update_reader, set_groups
from kalitka_hub.site.site_secret import sha256_of
from kalitka_hub.site.tokens import TokenSetting, remove_token, set_tokens
from kalitka_hub.store import backup
from kalitka_hub.store.changes import HISTORY_MINUTES, acknowledge, write_transaction
from kalitka_hub.store.database import open_database
from kalitka_hub.store.last_seen import LastSeen
from kalitka_hub.store.models import ReaderGroup


def add_group(site, name):
    with write_transaction(site.database) as session:
        session.add(ReaderGroup(name=name, kind=NAMED))


def put(site, reader, *groups):
    with write_transaction(site.database) as session:
        set_groups(session, reader, groups)


def pending(site, reader="GATE-1"):
    """Return the codes without rules that a full answer names."""
    _, deletes, lines = parse(site.ask("0", reader))
    return sorted(set(deletes) - {code for code, _ in lines})


def pass_minutes(site, reader, minutes=2):
    """Let a reader poll for some minutes: what it holds is stored a minute late."""
    for _ in range(minutes):
        site.clock.minute += 1
        reader.poll()


def test_13_a_full_answer_names_a_removed_card_in_its_place_in_code_order(site):
    for code in ("0000FF01", "A", "ZZ"):
        site.set(code, "9_1")
    pass_minutes(site, site.merging_reader())
    site.remove("0000FF01")
    site.remove("ZZ")
    now = site.clock.minute
    assert site.ask("0") == f"{now}%0000FF01,A,ZZ%\nA_/9_1"
    assert site.ask("0%") == f"{now}%0000FF01,A,ZZ%\nA_/9_1"
    assert site.ask("0%A") == f"{now}%A%\nA_/9_1"  # of these codes only


def test_13_a_delete_is_pending_until_the_reader_polls_with_a_later_minute(site):
    site.set("A", "9_1")
    reader = site.merging_reader()
    pass_minutes(site, reader)
    site.remove("A")
    # Full answers that may not have arrived: it is named again and again.
    for _ in range(3):
        site.clock.minute += 5
        assert pending(site) == ["A"]
    reader.poll_all()
    assert reader.table == {}
    pass_minutes(site, reader, 3)
    assert pending(site) == []


def test_13_a_reader_that_only_does_full_syncs_is_told_each_time(site):
    site.set("A", "9_1")
    reader = site.merging_reader()
    reader.poll_all()
    site.remove("A")
    for _ in range(3):
        site.clock.minute += 7
        assert pending(site) == ["A"]


def test_13_what_was_removed_before_a_reader_was_added_is_not_named(site):
    site.set("A", "9_1")
    site.remove("A")
    site.clock.minute += 1
    site.ask("0", "GATE-2")
    with write_transaction(site.database) as session:
        add_or_update_reader(session, "GATE-3")
    assert pending(site, "GATE-3") == []


def test_13_polls_for_some_codes_show_nothing_of_the_others(site):
    site.set("A", "9_1")
    site.set("B", "9_1")
    reader = site.merging_reader()
    pass_minutes(site, reader)
    site.remove("A")
    for _ in range(3):
        site.clock.minute += 1
        assert parse(site.ask(f"{site.clock.minute - 1}%B"))[0] == site.clock.minute
    assert pending(site) == ["A"]


@pytest.mark.parametrize("has_polled", [True, False])
def test_13_rules_of_a_group_that_a_reader_left_are_deleted(site, has_polled):
    add_group(site, "Gates")
    put(site, "GATE-1", "Gates")
    site.set("GROUPS", "9_1", readers=("Gates",))
    site.set("OURS", "9_1")
    reader = site.merging_reader()
    reader.poll_all()
    if has_polled:
        pass_minutes(site, reader)
    else:
        site.clock.minute += 2
        reader.poll_all()
    assert set(reader.table) == {"GROUPS", "OURS"}
    put(site, "GATE-1")
    reader.poll_all()
    assert set(reader.table) == {"OURS"}
    pass_minutes(site, reader, 3)
    assert pending(site) == []


def test_13_after_more_than_a_year_every_code_without_rules_is_named(site):
    site.set("A", "9_1")
    site.set("B", "9_1")
    reader = site.merging_reader()
    pass_minutes(site, reader)
    site.remove("A")
    site.clock.minute += HISTORY_MINUTES + 1
    reader.poll()
    assert set(reader.table) == {"B"}


def test_13_after_a_restore_a_merging_reader_drops_what_is_not_in_the_backup(site, tmp_path):
    site.set("BOTH", "9_1")
    site.set("LATER", "9_1")
    site.remove("LATER")
    reader = site.merging_reader()
    pass_minutes(site, reader)
    backup.create(site.database, tmp_path / "site.kalitka")
    site.clock.minute += 1
    site.set("LATER", "9_1")
    pass_minutes(site, reader)
    assert set(reader.table) == {"BOTH", "LATER"}
    backup.restore(site.database, tmp_path / "site.kalitka", replace=True)
    reader.poll_all()
    assert set(reader.table) == {"BOTH"}


def test_13_a_merging_reader_agrees_with_one_that_replaces(site):
    dice = random.Random(13)
    codes = [f"CARD-{number}" for number in range(12)]
    groups = ("North", "South")
    for name in groups:
        add_group(site, name)
    merging = [site.merging_reader(code) for code in ("GATE-1", "GATE-2")]
    full_syncs = 0
    for _ in range(400):
        action = dice.randrange(10)
        reader = dice.choice(merging)
        if action < 3:
            wanted = dice.choice([None, ("GATE-1",), ("GATE-2",), ("North",), ("South", "GATE-1")])
            site.set(dice.choice(codes), dice.choice(["9_1", "9_0"]), readers=wanted)
        elif action < 5:
            with write_transaction(site.database) as session:
                known = dice.choice(codes)
                set_tokens(session, [TokenSetting(known, ("9_1",), None)])
                remove_token(session, known)
        elif action < 6:
            put(site, dice.choice(["GATE-1", "GATE-2"]), *dice.sample(groups, dice.randrange(3)))
        elif action < 8:
            site.clock.minute += dice.choice([1, 1, 1, 2, 60])
        elif action < 9:
            reader.poll()
        else:
            reader.poll_all()
            full_syncs += 1
            code = ("GATE-1", "GATE-2")[merging.index(reader)]
            replacing = PlainReader(lambda body, code=code: site.ask(body, code))
            replacing.poll_all()
            assert reader.table == replacing.table
    assert full_syncs > 20


@pytest.mark.parametrize(
    ("seen", "asked", "names"),
    [("NULL", "NULL", []), ("5", f"{START - 2}", ["LATE"]), ("5", "0", ["EARLY", "LATE"])],
)
def test_13_a_reader_of_an_older_hub_loses_no_delete(nowhere, clock, seen, asked, names):
    """It holds the minute that it polled with last; if that was 0, it may hold any rule."""
    make_older(
        nowhere,
        "0007",
        f"UPDATE site SET acknowledged = {START - 1}, secret_sha256 = "
        f"'{sha256_of(SECRET.encode())}'",
        "INSERT INTO readers (id, code, configured_minute, last_seen, asked_minute) "
        f"VALUES (1, 'GATE-1', {START - 1 if seen == 'NULL' else 5}, {seen}, {asked})",
        *(
            "INSERT INTO tokens (id, key, code, blocked, changed, deleted) "
            f"VALUES ({number}, {key if '://' in nowhere else sqlite_key}, '{code}', false, "
            f"{changed}, true)"
            for number, key, sqlite_key, code, changed in (
                (1, "'\\x01'", "X'01'", "EARLY", START - 9),
                (2, "'\\x02'", "X'02'", "LATE", START - 2),
            )
        ),
    )
    database = open_database(nowhere, clock)
    with TestClient(create_app(database)) as client:
        assert pending(Site(database, clock, client)) == names
    database.close()


def test_13_memory_does_not_grow_with_what_is_pending(database):
    def peak_of(count):
        codes = [f"{number:08X}" for number in range(count)]
        with write_transaction(database) as session:
            set_tokens(session, (TokenSetting(code, ("9_1",), ("GATE-2",)) for code in codes))
        acknowledge(database, LastSeen())
        tracemalloc.start()
        try:
            answer = sync_answer.stream_answer(database, 1, SyncRequest(0, None))
            return sum(map(len, answer)), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_of(1500)  # also warms up the caches
    small_size, small = peak_of(1500)
    large_size, large = peak_of(18_000)
    assert large_size > 10 * small_size > 10 * 1500 * 9
    assert large < small + 200_000
