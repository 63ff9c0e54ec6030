"""Readers and tokens in the database: stored values, real changes, refused input."""

import pytest
from sqlalchemy import func, select

from hub.hub_site import ON_SQLITE, SECRET, START, list_tokens
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.site.readers import add_or_update_reader, list_reader_views, remove_reader
from kalitka_hub.site.site_secret import set_secret
from kalitka_hub.site.tokens import TokenSetting, remove_token, set_tokens
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.database import open_database
from kalitka_hub.store.models import Token


def tokens_in(database):
    with database.snapshot() as session:
        return list(list_tokens(session))


def stamp(database, code):
    with database.snapshot() as session:
        return session.execute(select(Token.changed).where(Token.code == code)).scalar_one()


def test_tokens_are_listed_in_code_order_with_what_they_were_set_to(site):
    site.set("sbj-A", "9_1")
    site.set("FF", "9_1", "1_5_6", readers=("GATE-2", "GATE-1", "GATE-2"))
    site.set("0A", "3_0_1439_1111111", "3_00_1439_1111111")
    assert tokens_in(site.database) == [
        TokenSetting("0A", ("3_0_1439_1111111",)),
        TokenSetting("FF", ("1_5_6", "9_1"), ("GATE-1", "GATE-2")),
        TokenSetting("sbj-A", ("9_1",)),
    ]


def test_setting_what_is_set_already_changes_nothing(site):
    site.set("A", "9_1", "1_5_6", readers=("GATE-1",))
    site.clock.minute += 1
    site.set("A", "1_5_6", "9_1", "1_05_6", readers=("GATE-1", "GATE-1"))
    assert stamp(site.database, "A") == START


@pytest.mark.parametrize(
    ("rules", "readers"),
    [(("9_0",), ("GATE-1",)), (("9_1", "9_0"), ("GATE-1",)), (("9_1",), None)],
)
def test_other_rules_or_other_readers_are_a_change(site, rules, readers):
    site.set("A", "9_1", readers=("GATE-1",))
    site.clock.minute += 1
    site.set("A", *rules, readers=readers)
    assert stamp(site.database, "A") == START + 1
    assert tokens_in(site.database) == [TokenSetting("A", tuple(sorted(rules)), readers)]


def test_a_removed_token_keeps_a_row_and_is_revived_in_it(site):
    site.set("A", "9_1", readers=("GATE-1",))
    with write_transaction(site.database) as session:
        remove_token(session, "A")
        set_tokens(session, [TokenSetting("A", ("9_0",))])
        remove_token(session, "A")
    with pytest.raises(NotFound, match="no token A"):
        site.remove("A")
    assert tokens_in(site.database) == []
    site.set("A", "9_1")
    assert tokens_in(site.database) == [TokenSetting("A", ("9_1",))]
    with site.database.snapshot() as session:
        assert session.execute(select(func.count()).select_from(Token)).scalar_one() == 1


def test_many_tokens_are_set_in_one_transaction_and_the_last_setting_of_a_code_counts(site):
    def settings():
        for number in range(1200):
            yield TokenSetting(f"{number:04X}", (f"1_{number}_5000",))
        yield TokenSetting("0001", ("9_1",))
        yield TokenSetting("04AF", ("9_0",))
        yield TokenSetting("04AF", ("9_1",))

    with write_transaction(site.database) as session:
        set_tokens(session, settings())
    rules = {token.code: token.rules for token in tokens_in(site.database)}
    assert len(rules) == 1200
    assert rules["0001"] == rules["04AF"] == ("9_1",)
    assert rules["04AE"] == ("1_1198_5000",)
    with write_transaction(site.database) as session:
        again = set_tokens(session, tokens_in(site.database))
    assert again == 0


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        (TokenSetting("", ("9_1",)), "empty code"),
        (TokenSetting("A,B", ("9_1",)), "'A,B'"),
        (TokenSetting("A" * 256, ("9_1",)), "longer than 255"),
        (TokenSetting("\udcff", ("9_1",)), "not UTF-8"),
        (TokenSetting("A", ()), "no rule"),
        (TokenSetting("A", ("1_9_8",)), "from is after to"),
        (TokenSetting("A", ("2_1_2",)), "unknown kind"),
        (TokenSetting("A", ("3_1_2_111",)), "week mask"),
        (TokenSetting("A", ("9_1",), ("GATE-9",)), "no reader GATE-9"),
        (TokenSetting("A", ("9_1",), ()), "empty list of readers"),
    ],
)
def test_a_wrong_setting_is_refused_and_nothing_of_its_transaction_is_kept(site, setting, named):
    good = [TokenSetting(f"{number:04X}", ("9_1",)) for number in range(600)]
    with pytest.raises(InvalidRequest, match=named), write_transaction(site.database) as session:
        set_tokens(session, [*good, setting])
    assert tokens_in(site.database) == []


def test_data_is_changed_only_under_the_sites_lock(site):
    with (
        pytest.raises(RuntimeError, match="write_transaction"),
        site.database.snapshot() as session,
    ):
        set_tokens(session, [TokenSetting("A", ("9_1",))])


def test_a_reader_is_added_once_and_keeps_its_name(site):
    with write_transaction(site.database) as session:
        assert not add_or_update_reader(session, "GATE-1")
        assert not add_or_update_reader(session, "GATE-2", "South gate")
        assert add_or_update_reader(session, "a:b_c-9")
        assert [(reader.code, reader.name) for reader in list_reader_views(session)] == [
            ("GATE-1", "North gate"),
            ("GATE-2", "South gate"),
            ("a:b_c-9", None),
        ]
        with pytest.raises(NotFound, match="GATE-9"):
            remove_reader(session, "GATE-9")


@ON_SQLITE
@pytest.mark.parametrize("code", ["", " ", "A B", "A,B", "Ö", "A\n", "A" * 65])
def test_a_wrong_reader_code_is_refused(site, code):
    with (
        pytest.raises(InvalidRequest, match="not a valid reader code"),
        write_transaction(site.database) as session,
    ):
        add_or_update_reader(session, code)


@ON_SQLITE
@pytest.mark.parametrize("secret", ["", "a b", "a\n", "schlüssel", "x" * 257])
def test_a_secret_that_fits_in_no_header_is_refused(site, secret):
    with (
        pytest.raises(InvalidRequest, match="secret"),
        write_transaction(site.database) as session,
    ):
        set_secret(session, secret)


@ON_SQLITE
def test_the_secret_itself_is_not_in_the_database_file(site, tmp_path):
    site.database.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert stored
    assert SECRET.encode() not in stored


def test_a_database_is_there_again_when_it_is_opened_again(site, where):
    site.set("A", "9_1")
    url = where if "://" in where else f"sqlite:///{where}"
    again = open_database(url, site.clock)
    assert tokens_in(again) == [TokenSetting("A", ("9_1",))]
    again.close()


@pytest.mark.parametrize(
    "where", ["sqlite://", ":memory:", "", "nothing://x", "://", "postgresql://h:port/d"]
)
def test_what_is_no_shared_database_is_refused(where):
    with pytest.raises(InvalidRequest, match="--db"):
        open_database(where)


def test_last_seen_is_written_at_most_once_a_minute(site):
    def last_seen():
        with site.database.snapshot() as session:
            return [reader.last_seen for reader in list_reader_views(session)]

    site.ask("0", "GATE-1")
    assert last_seen() == [START, None]
    site.ask("0", "GATE-2")
    assert last_seen() == [START, None]
    site.clock.minute += 1
    site.ask("0", "GATE-1")
    assert last_seen() == [START + 1, START]
    site.ask("0", "GATE-2")
    # The pending values are written when the server stops.
    site.client.__exit__(None, None, None)
    assert last_seen() == [START + 1, START + 1]
    site.client.__enter__()
