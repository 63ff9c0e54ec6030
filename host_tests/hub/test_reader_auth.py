"""Batched authentication: many requests in one look-up, and an "unchanged" answer is the same as
the full answer would have been.
"""

import asyncio
import random
from functools import partial

import pytest
from sqlalchemy import event

from hub.hub_site import ON_SQLITE, SECRET, START
from kalitka_hub.reader_api import sync_answer
from kalitka_hub.reader_api.batcher import Batcher
from kalitka_hub.reader_api.reader_auth import REQUESTS_MAX, ReaderRequest, authenticate
from kalitka_hub.reader_api.sync_request import SyncRequest
from kalitka_hub.site.reader_groups import (
    ReaderGroupSetting,
    add_reader_group,
    change_reader_group,
)
from kalitka_hub.site.reader_secrets import set_reader_secret
from kalitka_hub.site.readers import add_or_update_reader, remove_reader
from kalitka_hub.site.tokens import TokenSetting, remove_token, set_tokens
from kalitka_hub.store.changes import acknowledge, write_transaction
from kalitka_hub.store.database import open_database
from kalitka_hub.store.last_seen import LastSeen

KEY = SECRET.encode()


def whole_answer(database, reader_id, since):
    return b"".join(sync_answer.stream_answer(database, reader_id, SyncRequest(since, None)))


def an_event(rng, database, clock):
    """Do a random change that may make a difference to a poll."""
    kind = rng.randrange(8)
    if kind < 3:
        clock.minute += rng.choice((1, 1, 2, 5, 90, -3))
        return
    if kind < 5:
        acknowledge(database, LastSeen())
        return
    if kind == 7 and rng.random() < 0.7:
        return
    with write_transaction(database) as session:
        if kind == 5:
            rules = (f"1_{rng.randrange(1000)}_{START}",)
            set_tokens(session, [TokenSetting(f"T{rng.randrange(3)}", rules)])
        elif kind == 6:
            members = rng.choice(([], ["GATE-1"], ["GATE-1", "GATE-2"]))
            change_reader_group(session, "G", ReaderGroupSetting(name="G", readers=members))
        else:
            remove_reader(session, "GATE-2")
            add_or_update_reader(session, "GATE-2")


@pytest.mark.parametrize("seed", range(3))
def test_what_is_answered_at_once_is_what_the_whole_answer_would_be(database, clock, seed):
    rng = random.Random(seed)
    with write_transaction(database) as session:
        add_reader_group(session, ReaderGroupSetting(name="G"))
    at_once = 0
    for _ in range(60):
        an_event(rng, database, clock)
        asked = [
            ReaderRequest(code, KEY, since)
            for code in ("GATE-1", "GATE-2")
            for since in (None, 0, START - 99_999, *range(clock.minute - 3, clock.minute + 3))
        ]
        for one, found in zip(asked, authenticate(database, asked), strict=True):
            assert found and found.code == one.code
            if found.unchanged_minute is None:
                continue
            at_once += 1
            answer = sync_answer.unchanged_answer(found.unchanged_minute)
            assert answer == whole_answer(database, found.id, one.since)
    assert at_once > 10


def test_most_polls_are_answered_at_once(database, clock):
    with write_transaction(database) as session:
        set_tokens(session, [TokenSetting("A", ("9_1",))])
    for _ in range(3):
        clock.minute += 1
        acknowledge(database, LastSeen())
    (found,) = authenticate(database, [ReaderRequest("GATE-1", KEY, clock.minute - 1)])
    assert found
    assert found.unchanged_minute == clock.minute
    with write_transaction(database) as session:
        remove_token(session, "A")
    (found,) = authenticate(database, [ReaderRequest("GATE-1", KEY, clock.minute)])
    assert found
    assert found.unchanged_minute is None


def test_only_a_known_reader_with_its_own_secret_may_ask(database):
    with write_transaction(database) as session:
        set_reader_secret(session, "GATE-2", "its-own")
    asked = [
        ReaderRequest("GATE-1", KEY),
        ReaderRequest("GATE-1", b"its-own"),
        ReaderRequest("GATE-2", KEY),
        ReaderRequest("GATE-2", b"its-own"),
        ReaderRequest("GATE-3", KEY),
        ReaderRequest("' OR 1=1 --", KEY),
        ReaderRequest("GATE-1\0", KEY),
        ReaderRequest("GATE-1", b""),
    ]
    admitted = [asker is not None for asker in authenticate(database, asked)]
    assert admitted == [True, False, False, True, False, False, False, False]


@ON_SQLITE
def test_a_site_without_a_secret_admits_nobody(nowhere, clock):
    made = open_database(nowhere, clock)
    with write_transaction(made) as session:
        add_or_update_reader(session, "GATE-1")
    assert authenticate(
        made, [ReaderRequest("GATE-1", b""), ReaderRequest("GATE-1", b"None")]
    ) == [None, None]
    made.close()


def test_what_comes_together_is_looked_up_together(database):
    snapshots = []
    event.listen(database._engine, "begin", snapshots.append)

    async def ask():
        askers = Batcher(partial(authenticate, database), REQUESTS_MAX)
        asked = [ReaderRequest(f"GATE-{1 + i % 3}", KEY) for i in range(300)]
        return await asyncio.gather(*map(askers.submit, asked))

    found = asyncio.run(ask())
    assert [asker and asker.code for asker in found[:4]] == ["GATE-1", "GATE-2", None, "GATE-1"]
    # The first batch has one or more requests; the rest come in full batches.
    assert 2 <= len(snapshots) <= 3


def test_a_fault_is_everybodys_and_the_next_have_their_turn():
    turns = []

    def work(asked):
        turns.append(list(asked))
        if len(turns) == 1:
            raise OSError("the disk")
        return [ValueError(one) if one == "bad" else one.upper() for one in asked]

    async def ask():
        gathering = Batcher(work, 3)
        gone, *others = [asyncio.create_task(gathering.submit(one)) for one in ("a", "b", "c")]
        await asyncio.sleep(0)
        gone.cancel()
        first = await asyncio.gather(*others, return_exceptions=True)
        asked = [gathering.submit(one) for one in ("d", "bad", "e", "f")]
        return first, await asyncio.gather(*asked, return_exceptions=True)

    first, second = asyncio.run(ask())
    assert [type(fault) for fault in first] == [OSError] * 2
    assert [str(answer) for answer in second] == ["D", "bad", "E", "F"]
    assert isinstance(second[1], ValueError)
    assert turns == [["a", "b", "c"], ["d", "bad", "e"], ["f"]]
