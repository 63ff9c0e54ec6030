"""The sync endpoint: the four forms of a request, the answer's bytes, and who gets which token."""

import pytest

from hub.hub_site import START, SYNC, headers
from hub.plain_reader import parse
from kalitka_hub.site.readers import add_or_update_reader, remove_reader
from kalitka_hub.store.changes import HISTORY_MINUTES, write_transaction

WORKDAYS = "3_480_1200_1111100"
DATES = "1_29921461_29921521"


def test_a_site_without_tokens_answers_minute_and_newline_only(site):
    assert site.ask("0") == f"{START}%%\n"


def test_a_full_answer_is_exact_to_the_byte_and_in_code_order(site):
    site.set("sbj-BOHFU41HB1IA", WORKDAYS)
    site.set("DEADBEEF", WORKDAYS, DATES)
    site.set("04A1B2C3", "9_1")
    assert site.ask("0") == (
        f"{START}%04A1B2C3,DEADBEEF,sbj-BOHFU41HB1IA%\n"
        "04A1B2C3_/9_1\n"
        f"DEADBEEF_/{DATES}\n"
        f"DEADBEEF_/{WORKDAYS}\n"
        f"sbj-BOHFU41HB1IA_/{WORKDAYS}"
    )


def test_an_answer_is_plain_text_in_utf_8_and_never_compressed(site):
    site.set("ÖFFNER", "9_1")
    response = site.client.post(
        SYNC, content="0", headers=headers() | {"Accept-Encoding": "gzip, deflate, br"}
    )
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert "content-encoding" not in response.headers
    assert response.content.decode() == f"{START}%ÖFFNER%\nÖFFNER_/9_1"


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", "x", None])
def test_any_content_type_is_taken(site, content_type):
    sent = headers()
    del sent["Content-Type"]
    if content_type:
        sent["Content-Type"] = content_type
    assert site.client.post(SYNC, content="0", headers=sent).status_code == 200


@pytest.mark.parametrize("percent", ["", "%"])
def test_a_minute_asks_for_what_changed_in_it_or_later(site, percent):
    site.set("OLD", "9_1")
    site.clock.minute += 1
    minute = parse(site.ask("0"))[0]
    assert site.ask(f"{minute}{percent}") == f"{START + 1}%%\n"
    site.set("NEW", "9_1")
    site.clock.minute += 5
    assert site.ask(f"{minute}{percent}") == f"{START + 6}%NEW%\nNEW_/9_1"


def test_changes_are_repeated_within_their_minute_and_not_after_it(site):
    site.set("A", "9_1")
    assert site.ask(str(parse(site.ask("0"))[0])) == f"{START}%A%\nA_/9_1"
    site.clock.minute += 1
    assert site.ask(str(START)) == f"{START + 1}%A%\nA_/9_1"
    assert site.ask(str(START + 1)) == f"{START + 1}%%\n"


def test_codes_alone_ask_for_all_that_these_codes_have_now(site):
    site.set("CODE1", WORKDAYS, "9_0")
    site.set("CODE3", "9_1")
    site.clock.minute += 3
    assert site.ask("%CODE1,CODE2") == (f"{START + 3}%CODE1,CODE2%\nCODE1_/{WORKDAYS}\nCODE1_/9_0")


def test_a_minute_with_codes_asks_for_the_changes_of_these_codes(site):
    site.ask("0")
    site.set("CODE1", "9_1")
    site.set("CODE3", "9_1")
    site.clock.minute += 1
    site.ask(str(START))
    site.set("CODE2", "9_1")
    assert site.ask(f"{START}%CODE1,CODE2") == (
        f"{START + 1}%CODE1,CODE2%\nCODE1_/9_1\nCODE2_/9_1"
    )
    assert site.ask(f"{START + 1}%CODE1,CODE2") == f"{START + 1}%CODE2%\nCODE2_/9_1"
    assert site.ask(f"{START + 1}%CODE1") == f"{START + 1}%%\n"


def test_minute_0_with_codes_gives_all_of_these_codes(site):
    site.set("CODE1", "9_1")
    site.set("CODE3", "9_1")
    assert site.ask("0%CODE2,CODE1") == f"{START}%CODE1,CODE2%\nCODE1_/9_1"


def test_a_code_asked_for_twice_counts_once(site):
    site.set("CODE1", "9_1")
    assert site.ask("%CODE1,CODE1") == f"{START}%CODE1%\nCODE1_/9_1"


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("323213312%", "0%%\n"),  # the seed's minute lies in the year 2584
        ("323213312", "0%%\n"),
        ("%code1,code2", f"{START}%code1,code2%\n"),
        ("323213312%code1,code2", "0%%\n"),
    ],
)
def test_the_examples_of_the_seed_are_answered(site, body, answer):
    assert site.ask(body) == answer


def test_the_examples_of_the_seed_tell_changes_when_their_time_has_come(site):
    site.clock.minute = 323213312
    site.ask("0")
    site.set("code1", "9_1")
    site.set("code9", "9_1")
    assert site.ask("323213312") == "323213312%code1,code9%\ncode1_/9_1\ncode9_/9_1"
    assert site.ask("323213312%") == site.ask("323213312")
    assert site.ask("%code1,code2") == "323213312%code1,code2%\ncode1_/9_1"
    assert site.ask("323213312%code1,code2") == "323213312%code1%\ncode1_/9_1"


def test_a_removed_token_is_only_deleted(site):
    site.set("GONE", "9_1")
    reader = site.reader()
    reader.poll()
    site.clock.minute += 1
    site.remove("GONE")
    assert site.ask(str(reader.minute)) == f"{START + 1}%GONE%\n"
    reader.poll()
    assert reader.table == {}
    assert site.ask("0") == f"{START + 1}%GONE%\n"


def test_a_token_that_comes_back_has_only_its_new_rules(site):
    site.set("BACK", "9_1")
    site.remove("BACK")
    site.set("BACK", WORKDAYS)
    assert site.ask("0") == f"{START}%BACK%\nBACK_/{WORKDAYS}"


def test_a_token_restricted_to_readers_has_rules_for_them_alone(site):
    site.set("MINE", "9_1", readers=("GATE-2",))
    site.set("OURS", "9_1")
    assert site.ask("0", "GATE-1") == f"{START}%MINE,OURS%\nOURS_/9_1"
    assert site.ask("0", "GATE-2") == f"{START}%MINE,OURS%\nMINE_/9_1\nOURS_/9_1"
    assert site.ask("%MINE", "GATE-1") == f"{START}%MINE%\n"
    assert site.ask("%MINE", "GATE-2") == f"{START}%MINE%\nMINE_/9_1"


def test_a_token_that_becomes_restricted_is_deleted_from_the_other_readers(site):
    site.set("MINE", "9_1")
    first, second = site.reader("GATE-1"), site.reader("GATE-2")
    for reader in (first, second):
        reader.poll()
        assert reader.table == {"MINE": {"9_1"}}
    site.set("MINE", "9_1", readers=("GATE-2",))
    first.poll()
    second.poll()
    assert first.table == {}
    assert second.table == {"MINE": {"9_1"}}
    site.set("MINE", "9_1")
    first.poll()
    assert first.table == {"MINE": {"9_1"}}


def test_a_token_whose_only_reader_was_removed_is_for_none(site):
    site.set("MINE", "9_1", readers=("GATE-2",))
    second = site.reader("GATE-2")
    second.poll()
    site.clock.minute += 5
    second.poll()
    assert second.table == {"MINE": {"9_1"}}
    with write_transaction(site.database) as session:
        assert remove_reader(session, "GATE-2") == 1
    assert site.ask("0") == f"{START + 5}%MINE%\n"
    # Added again, it is a new reader with the same code.
    with write_transaction(site.database) as session:
        add_or_update_reader(session, "GATE-2")
    second.poll()
    assert second.table == {}


def test_a_minute_never_reached_asks_for_a_full_sync_and_tells_nothing(site):
    site.set("A", "9_1")
    assert site.ask(str(START + 1)) == "0%%\n"
    assert site.ask("9999999999") == "0%%\n"
    assert site.ask("9999999999%A") == "0%%\n"


def test_a_minute_that_was_never_answered_asks_for_a_full_sync(site):
    # The reader synced with another hub, or with this one before a backup was restored.
    site.set("A", "9_1")
    site.ask("0")
    stranger = site.reader()
    stranger.minute = START + 30
    stranger.table = {"FOREIGN": {"9_1"}}
    site.clock.minute += 60
    site.set("B", "9_1")
    assert site.ask(str(START + 30)) == "0%B%\nB_/9_1"
    stranger.poll()
    assert stranger.table == {"A": {"9_1"}, "B": {"9_1"}}
    assert stranger.minute == START + 60
    # A reader that was only offline has a minute that was answered.
    assert site.ask(str(START)) == f"{START + 60}%A,B%\nA_/9_1\nB_/9_1"


def test_a_reader_that_was_away_for_more_than_a_year_does_a_full_sync(site):
    site.set("A", "9_1")
    reader = site.reader()
    reader.poll()
    site.clock.minute += HISTORY_MINUTES
    assert parse(site.ask(str(START)))[0] == START + HISTORY_MINUTES
    site.clock.minute += 1
    assert parse(site.ask(str(START)))[0] == 0


def test_a_list_of_thousands_of_codes_is_answered_in_code_order(site):
    asked = [f"{number:08X}" for number in range(3000)]
    for code in (asked[7], asked[2500]):
        site.set(code, "9_1")
    minute, deletes, lines = parse(site.ask("%" + ",".join(reversed(asked))))
    assert (minute, deletes) == (START, asked)
    assert lines == [(asked[7], "9_1"), (asked[2500], "9_1")]
    changed = parse(site.ask(f"{START}%" + ",".join(reversed(asked))))
    assert changed == (START, [asked[7], asked[2500]], lines)
