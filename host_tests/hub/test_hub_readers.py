"""Readers and their groups: their rules, forced full syncs, and the state shown of each reader."""

import pytest
from sqlalchemy import select, text

from hub.hub_site import ON_SQLITE, SECRET, START, headers, list_tokens
from hub.plain_reader import parse
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.site.readers import (
    NAMED,
    ReaderSetting,
    add_or_update_reader,
    change_reader,
    create_reader,
    find_reader,
    list_reader_views,
    remove_reader,
    set_groups,
    show_reader,
)
from kalitka_hub.site.site_secret import set_secret
from kalitka_hub.site.tokens import TokenSetting, set_tokens
from kalitka_hub.store.changes import COMMAND_LINE, write_transaction
from kalitka_hub.store.models import (
    Audit,
    Grant,
    PersonGroup,
    Reader,
    ReaderGroup,
    ReaderGroupMember,
    Schedule,
)


def add_group(site, name):
    with write_transaction(site.database) as session:
        session.add(ReaderGroup(name=name, kind=NAMED))


def put(site, reader, *groups):
    with write_transaction(site.database) as session:
        return set_groups(session, reader, groups)


def known(site, code="GATE-1"):
    with site.database.snapshot() as session:
        return find_reader(session, code)


def test_a_reader_is_told_the_rules_of_all_its_groups_and_equal_ones_once(site):
    add_group(site, "Gates")
    put(site, "GATE-1", "Gates")
    site.set("A", "9_1", readers=("Gates", "GATE-1", "GATE-2"))
    site.set("B", "9_1", readers=("Gates",))
    site.set("C", "9_0", readers=("GATE-2",))
    site.set("D", "1_5_6")
    assert site.ask("0", "GATE-1") == f"{START}%A,B,C,D%\nA_/9_1\nB_/9_1\nD_/1_5_6"
    assert site.ask("0", "GATE-2") == f"{START}%A,B,C,D%\nA_/9_1\nC_/9_0\nD_/1_5_6"
    with site.database.snapshot() as session:
        assert [token.readers for token in list_tokens(session)] == [
            ("GATE-1", "GATE-2", "Gates"),
            ("Gates",),
            ("GATE-2",),
            None,
        ]


def test_a_reader_that_comes_into_a_group_or_leaves_it_does_a_full_sync(site):
    add_group(site, "Gates")
    site.set("A", "9_1", readers=("Gates",))
    site.set("B", "9_1")
    readers = first, second = site.reader("GATE-1"), site.reader("GATE-2")
    for groups, table in ((["Gates"], {"A", "B"}), ([], {"B"}), (["Gates"], {"A", "B"})):
        site.clock.minute += 1
        for reader in readers:
            reader.poll()
        assert put(site, "GATE-1", *groups)
        assert parse(site.ask(str(first.minute), "GATE-1"))[0] == 0
        assert parse(site.ask(str(second.minute), "GATE-2"))[0] == site.clock.minute
        first.poll()
        assert set(first.table) == table
        # A minute later polls are incremental again.
        for _ in range(2):
            site.clock.minute += 1
            first.poll()
        assert parse(site.ask(str(first.minute), "GATE-1")) == (site.clock.minute, [], [])
    site.clock.minute += 1
    assert not put(site, "GATE-1", "Gates")
    assert parse(site.ask(str(first.minute), "GATE-1"))[0] == site.clock.minute


def test_a_change_of_groups_while_the_clock_is_behind_is_one_full_sync(site):
    add_group(site, "Gates")
    site.clock.minute += 100
    reader = site.reader()
    reader.poll()
    site.clock.minute -= 50
    put(site, "GATE-1", "Gates")
    assert parse(site.ask(str(reader.minute)))[0] == 0
    reader.poll()
    minute = reader.minute
    assert site.ask(str(minute)) == f"{minute}%%\n"


def test_a_reader_that_is_added_again_does_a_full_sync(site):
    site.set("MINE", "9_1", readers=("GATE-2",))
    site.clock.minute += 5
    reader = site.reader("GATE-2")
    reader.poll()
    with write_transaction(site.database) as session:
        assert remove_reader(session, "GATE-2") == 1
        assert add_or_update_reader(session, "GATE-2")
    assert site.ask(str(reader.minute), "GATE-2") == "0%%\n"
    reader.poll()
    assert reader.table == {}


def test_groups_that_are_not_there_are_named_and_nothing_is_changed(site):
    add_group(site, "Gates")
    with pytest.raises(NotFound, match="'Doors'"):
        put(site, "GATE-1", "Gates", "Doors")
    with pytest.raises(NotFound, match="GATE-9"):
        put(site, "GATE-9", "Gates")
    # The groups that the hub makes itself cannot be named here.
    for name in ("*", "=GATE-1"):
        with pytest.raises(NotFound):
            put(site, "GATE-1", name)


def test_with_a_reader_goes_its_own_group_and_nothing_else(site):
    add_group(site, "Gates")
    put(site, "GATE-1", "Gates")
    site.set("A", "9_1", readers=("GATE-1", "Gates"))
    with write_transaction(site.database) as session:
        remove_reader(session, "GATE-1")
    with site.database.snapshot() as session:
        names = select(ReaderGroup.name).order_by(ReaderGroup.id)
        assert session.scalars(names).all() == ["*", "=GATE-2", "Gates"]
        assert len(session.scalars(select(ReaderGroupMember)).all()) == 1
        assert list(list_tokens(session)) == [TokenSetting("A", ("9_1",), ("Gates",))]


def test_a_reader_that_a_grant_names_is_not_removed(site):
    with write_transaction(site.database) as session:
        own = session.scalars(select(ReaderGroup).where(ReaderGroup.name == "=GATE-1")).one()
        people, times = PersonGroup(name="Staff"), Schedule(name="Always")
        session.add_all([people, times])
        session.flush()
        session.add(Grant(person_group_id=people.id, reader_group_id=own.id, schedule_id=times.id))
    with (
        pytest.raises(InvalidRequest, match="remove these first"),
        write_transaction(site.database) as session,
    ):
        remove_reader(session, "GATE-1")
    site.ask("0", "GATE-1")


def test_no_reader_has_the_name_of_a_group(site):
    add_group(site, "Gates")
    with (
        pytest.raises(InvalidRequest, match="another code"),
        write_transaction(site.database) as session,
    ):
        add_or_update_reader(session, "Gates")


def test_a_reader_is_changed_whole_and_keeps_its_code(site):
    add_group(site, "Gates")
    setting = ReaderSetting(code="GATE-1", name=" North ", note="by the oak", groups=["Gates"])
    with write_transaction(site.database, "olga") as session:
        assert change_reader(session, "GATE-1", setting)
        assert not change_reader(session, "GATE-1", setting)
        seen = show_reader(session, "GATE-1")
        assert seen.model_dump(include=set(ReaderSetting.model_fields)) == setting.model_dump()
        assert seen.name == "North"
        with pytest.raises(InvalidRequest, match="keeps its code"):
            change_reader(session, "GATE-1", setting.model_copy(update={"code": "GATE-9"}))
        with pytest.raises(InvalidRequest, match="already"):
            create_reader(session, setting)
        # Adding the reader again sets the given fields only.
        assert not add_or_update_reader(session, "GATE-1", note="by the elm")
        assert show_reader(session, "GATE-1") == seen.model_copy(update={"note": "by the elm"})
        assert change_reader(session, "GATE-1", ReaderSetting(code="GATE-1"))
        assert show_reader(session, "GATE-1").groups == []
    assert [(action, code) for action, code, _, _ in records(site, "readers")[2:]] == [
        ("change", "GATE-1")
    ] * 3


def test_readers_are_listed_by_group_and_by_part_of_the_name(site):
    add_group(site, "Gates")
    put(site, "GATE-2", "Gates")

    def listed(*window, **filters):
        with site.database.snapshot() as session:
            return [view.code for view in list_reader_views(session, *window, **filters)]

    assert listed() == ["GATE-1", "GATE-2"]
    assert listed("GATE-1") == ["GATE-2"]
    assert listed("", 1) == ["GATE-1"]
    assert listed(group="Gates") == ["GATE-2"]
    assert listed(name="north") == ["GATE-1"]
    assert listed(name="%") == []
    with pytest.raises(NotFound, match="'Doors'"):
        listed(group="Doors")


@ON_SQLITE
@pytest.mark.parametrize("name", ["x" * 201, "a\0b", "\udcff"])
def test_a_name_that_no_database_could_keep_is_refused(site, name):
    with pytest.raises(InvalidRequest, match="name"), write_transaction(site.database) as session:
        add_or_update_reader(session, "GATE-3", name)


@pytest.mark.parametrize("said", ["", "x", "-1", "1.5", "\u00b2", "99999999999"])
def test_how_many_entries_a_reader_lost_is_known_until_it_says_otherwise(site, said):
    def send_log(**more):
        site.clock.minute += 1
        answer = site.client.post(
            "/api/v1/token-reader/access-logs",
            content=f"{site.clock.minute}_A_1",
            headers=headers() | more,
        )
        assert answer.text == "ok,1"
        site.clock.minute += 1
        site.ask("%A")
        return known(site).lost

    assert send_log() is None
    assert send_log(**{"X-Kalitka-Lost": "12"}) == 12
    assert send_log() == 12
    assert send_log(**{"X-Kalitka-Lost": said.encode("latin-1")}) == 12
    assert send_log(**{"X-Kalitka-Lost": "0"}) == 0


def test_what_a_reader_asked_with_and_when_it_sent_its_log_is_written_once_a_minute(site):
    site.ask("0")
    assert (known(site).last_seen, known(site).asked_minute, known(site).logged) == (
        START,
        0,
        None,
    )
    site.client.post("/api/v1/token-reader/access-logs", content="5_A_1", headers=headers())
    site.ask(str(START))
    site.ask("%A")
    assert (known(site).asked_minute, known(site).logged) == (0, None)
    site.clock.minute += 1
    site.ask("%B")
    assert (known(site).asked_minute, known(site).logged) == (START, START * 60 + 38)
    site.clock.minute += 1
    site.ask("%B")
    assert known(site).last_seen == START + 2
    assert known(site).asked_minute == START


def records(site, kind):
    with site.database.snapshot() as session:
        found = session.scalars(select(Audit).where(Audit.kind == kind).order_by(Audit.id))
        return [(row.action, row.object, row.before, row.after) for row in found]


def test_every_change_is_audited_and_nothing_else(site):
    site.set("A", "9_1")
    site.set("A", "9_1")
    site.set("A", "9_0", "1_5_6", readers=("GATE-1",))
    site.remove("A")
    nobodys = {"person": None, "name": None, "blocked": False}
    always = nobodys | {"rules": ["9_1"], "readers": None}
    hours = nobodys | {"rules": ["1_5_6", "9_0"], "readers": ["GATE-1"]}
    assert records(site, "tokens") == [
        ("add", "A", None, always),
        ("change", "A", always, hours),
        ("remove", "A", hours, None),
    ]
    with write_transaction(site.database) as session:
        add_or_update_reader(session, "GATE-1", "North gate")
        add_or_update_reader(session, "GATE-1", note="behind the trees")
        remove_reader(session, "GATE-2")
    north = {"name": "North gate", "note": None, "groups": []}
    assert records(site, "readers")[2:] == [
        ("change", "GATE-1", north, north | {"note": "behind the trees"}),
        ("remove", "GATE-2", {"name": None, "note": None, "groups": []}, None),
    ]


def test_the_audit_says_who_and_when_and_its_nothing_is_null(site):
    site.clock.minute += 7
    with write_transaction(site.database, "anna") as session:
        set_tokens(session, [TokenSetting("A", ("9_1",))])
    site.set("B", "9_1")
    with site.database.snapshot() as session:
        rows = session.scalars(select(Audit).where(Audit.kind == "tokens").order_by(Audit.id))
        assert [(row.who, row.at) for row in rows] == [
            ("anna", (START + 7) * 60 + 38),
            (COMMAND_LINE, (START + 7) * 60 + 38),
        ]
        nothing = "SELECT count(*) FROM audit WHERE kind = 'tokens' AND before IS NULL"
        assert session.execute(text(nothing)).scalar_one() == 2


def test_what_is_rolled_back_is_not_audited(site):
    with pytest.raises(InvalidRequest), write_transaction(site.database) as session:
        set_tokens(session, [TokenSetting("A", ("9_1",))])
        set_tokens(session, [TokenSetting("B", ("8_1",))])
    assert records(site, "tokens") == []


def test_the_secret_is_audited_without_itself(site):
    with write_transaction(site.database) as session:
        set_secret(session, SECRET)
    with site.database.snapshot() as session:
        rows = session.scalars(select(Audit)).all()
        told = [str((row.action, row.object, row.before, row.after)) for row in rows]
        secret = session.execute(text("SELECT secret_sha256 FROM site")).scalar_one()
    assert not any(SECRET in line or secret in line for line in told)
    assert records(site, "site")[-1] == ("change", "secret", None, None)


def test_a_readers_own_minute_is_the_one_that_its_change_was_stamped_with(site):
    site.clock.minute += 30
    site.ask("0")
    site.clock.minute -= 20
    with write_transaction(site.database) as session:
        add_or_update_reader(session, "GATE-3")
    with site.database.snapshot() as session:
        configured = select(Reader.configured_minute).where(Reader.code == "GATE-3")
        assert session.execute(configured).scalar_one() == START + 30
