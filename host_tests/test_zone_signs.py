"""Issue 18, point 8: zones whose POSIX sign nobody means are refused, everywhere."""

import json
import re

import pytest

from hub_command import invoke
from kalitka import settings
from kalitka.access.timezone import Zone, ZoneError
from kalitka_cli import deploy
from kalitka_cli import explain as explaining
from kalitka_hub.errors import InvalidRequest
from kalitka_hub.site import tz_database
from kalitka_hub.site.zone import UnknownZone, check_zone, posix_or_iana, zone_in_words

NOVEMBER = 29921459  # minutes since 1970 UTC: 2026-11-21

# An offset from Greenwich without a place, in all ways of writing it.
OFFSETS = [
    f"{name}{blank}{sign}{number}"
    for name in ("UTC", "GMT", "UT", "UCT", "utc", "Gmt", "Z", "Zulu", "")
    for blank in ("", " ")
    for sign in ("+", "-", "\u2212", "\uff0b", "")
    for number in ("3", "03", "3:00", "03:00", "0300", "5:30", "0530", "12", "3h")
    if name or not blank
]
# An abbreviation on the other side of Greenwich than the place that it stands for.
WRONG_SIDE = [
    *("MSK+3", "MSK3", "MSK+03", "MSK+3:00", "MSK+03:00", "msk+3", "<MSK>+3", "<MSK>3", "MSK+4"),
    *("EET+2", "EET2", "EET+2EEST", "EET+2EEST,M3.5.0/3,M10.5.0/4", "EET2EEST", "EEST+3", "WET+1"),
    *("CET+1", "CET1CEST", "CET+1CEST,M3.5.0,M10.5.0/3", "CEST+2", "BST+1", "TRT+3", "FET+3"),
    *("SAMT+4", "YEKT+5", "OMST+6", "NOVT+7", "KRAT+7", "IRKT+8", "YAKT+9", "VLAT+10", "MAGT+11"),
    *("PETT+12", "GET+4", "AZT+4", "AMT+4", "GST+4", "IRST+3:30", "AFT+4:30", "PKT+5", "UZT+5"),
    *("IST+5:30", "IST5:30", "NPT+5:45", "BDT+6", "ALMT+5", "MMT+6:30", "ICT+7", "WIB+7", "SGT+8"),
    *("HKT+8", "CST+8", "PHT+8", "AWST+8", "JST+9", "KST+9", "ACST+9:30", "AEST+10", "NZST+12"),
    *("AEST+10AEDT,M10.1.0,M4.1.0/3", "SAST+2", "CAT+2", "EAT+3", "WAT+1", "MUT+4", "EST+10"),
    *("EST-5", "EST-5EDT", "EST-5EDT,M3.2.0,M11.1.0", "CST-6", "MST-7", "AKST-9", "HST-10"),
    *("AST-4", "NST-3:30", "BRT-3", "ART-3", "UYT-3", "CLT-4", "BOT-4", "VET-4", "COT-5", "PET-5"),
    # Arabia, beside the Atlantic's AST4; Malaysia, beside the mountains' MST7.
    *("AST+3", "MST+8"),
    # Names that are no places: west of Greenwich is not meant, or cannot be known.
    *("AAA+12", "AAA12", "LOC+3", "RUS+3", "XYZ3"),
]
# A number as the name, with the other offset behind it; and a summer on the other side.
CONTRADICTIONS = [
    *("<+03>3", "<+03>+3", "<-03>-3", "<-03>3:30", "<UTC+3>3", "<GMT+3>+3", "<GMT-3>-3"),
    *("<+0530>5:30", "<+0530>-5:45", "<03>3"),
    *("CET-1CEST+2", "EET-2EEST+3,M3.5.0/3,M10.5.0/4", "EST5EDT-4", "MSK-3AAA+3", "<+02>-2<+03>3"),
]
# Not zones, but people write them for one.
ABBREVIATIONS = [
    "MSK",
    "msk",
    "MSD",
    "\u041c\u0421\u041a",
    "YEKT",
    "PST",
    "IST",
    "JST",
    "CEST",
    "EDT",
    "BRT",
]
MISWRITTEN = [
    *("Z", "z", "UT", "0", "+0", "+00:00", "-00:00", "+0000", "UTC +0"),
    *(
        "MSK +3",
        "MSK +03:00",
        "MSK -3",
        "\u041c\u0421\u041a+3",
        "\u041c\u0421\u041a-3",
        "MSK+0300",
    ),
    *("MSK\u22123", " MSK-3", "MSK-3 ", "MSK-3\n", "UTC0\n", "\uff2d\uff33\uff2b-3"),
    *("(UTC+03:00)", "(UTC+03:00) Moscow, St. Petersburg", "GMT+3 Moscow", "Moscow (UTC+3)"),
]
REFUSED = [*OFFSETS, *WRONG_SIDE, *CONTRADICTIONS, *ABBREVIATIONS, *MISWRITTEN]

TAKEN = [
    *("MSK-3", "msk-3", "MSK-3:00", "MSK-4", "MSK-3MSD,M3.5.0,M10.5.0/3", "YEKT-5", "SAMT-4"),
    *("EET-2", "EET-2EEST", "EET-2EEST,M3.5.0/3,M10.5.0/4", "CET-1CEST,M3.5.0,M10.5.0/3"),
    *("<-03>3", "<+03>-3", "<+0530>-5:30", "<-0930>9:30", "<-03>+3", "<UTC+3>-3", "<GMT-3>3"),
    *(
        "EST5",
        "EST+5",
        "EST5EDT",
        "EST+5EDT",
        "EST+5EDT,M3.2.0,M11.1.0",
        "EST5EDT4,M3.2.0,M11.1.0",
    ),
    *("CST6CDT", "CST+6CDT", "MST7MDT", "PST8PDT", "PST+8PDT", "AKST9AKDT", "HST10", "AST4ADT"),
    *("NST3:30NDT", "NST3:30NDT,M3.2.0,M11.1.0", "CST-8", "CST5CDT", "IST-5:30", "IST-2IDT"),
    *("BRT3", "BRT+3", "ART3", "CLT4CLST", "VET4:30", "COT5", "SST11", "AEST-10AEDT"),
    *("IST-1GMT0,M10.5.0,M3.5.0/1", "GMT0BST", "GMT0BST,M3.5.0/1,M10.5.0", "WET0WEST", "GMT0"),
    *("UTC0", "UTC+0", "UTC-0", "UTC+00:00", "GMT+0", "GMT-0", "AAA-3", "LOC-5:30", "AAA0BBB"),
    *("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "<-02>2<-01>,M3.5.0/-1,M10.5.0/0"),
]


def is_refused(text):
    try:
        check_zone(text)
    except InvalidRequest as fault:
        return str(fault)
    return None


def test_8_a_sign_that_misleads_is_refused_with_what_to_write():
    for text in REFUSED:
        told = is_refused(text)
        assert told and "write " in told, text
        # The advice is itself accepted.
        advised = re.findall(r"[^\s,;]{3,}", told.partition("write ")[2])
        assert any(is_refused(word) is None for word in advised), told
    print(f"zones refused: {len(REFUSED)}")
    assert len(REFUSED) == len(set(REFUSED)) > 700


def test_8_what_cannot_be_misread_is_taken():
    for text in TAKEN:
        assert check_zone(text) == text
    print(f"POSIX zones taken: {len(TAKEN)}")


def test_8_every_name_of_the_zone_database_is_taken_and_so_is_its_string():
    taken = 0
    for name in sorted(tz_database.names()):
        text = tz_database.string_of(tz_database.read(name))
        assert posix_or_iana(text) == text
        try:
            assert check_zone(name) in (text, name)
        except UnknownZone as fault:
            # Those whose law is not that of a string.
            assert "no POSIX zone holds there before" in str(fault)
            continue
        taken += 1
    print(f"names taken: {taken} of {len(tz_database.names())}")
    assert taken > 580


def test_8_a_name_that_means_west_is_taken_with_that_word():
    for hours in range(1, 13):
        west, east = f"Etc/GMT+{hours}", f"Etc/GMT-{hours}"
        assert check_zone(west) == f"<-{hours:02}>{hours}"
        shown = f"{west} (UTC-{hours:02}:00, west of Greenwich)"
        assert zone_in_words(west, check_zone(west), NOVEMBER) == shown
        shown = f"{east} (UTC+{hours:02}:00, east of Greenwich)"
        assert zone_in_words(east, check_zone(east), NOVEMBER) == shown


def test_8_msk_alone_hints_at_both_ways_of_writing_it():
    for text in ("MSK", "msk", "\u041c\u0421\u041a", "MSD"):
        assert is_refused(text) == f"{text}: write Europe/Moscow, or MSK-3"


def test_8_both_readings_of_an_offset_are_told():
    told = is_refused("UTC+3")
    assert "Europe/Moscow" in told
    assert "<+03>-3 if east is meant, <-03>3 if west" in told
    assert "<-03>3 if west is meant, <+03>-3 if east" in is_refused("GMT-3")
    assert "MSK-3; or <-03>3 if west is meant" in is_refused("MSK+3")


SOME = ["UTC+3", "GMT+3", "UTC+03:00", "MSK+3", "EET+2", "Z", "MSK", "<+03>3", "UTC-3", "+03:00"]


@pytest.mark.parametrize("text", SOME)
def test_8_every_command_refuses_it(text, tmp_path, capsys):
    where = {"KALITKA_HUB_DB": str(tmp_path / "hub.sqlite"), "KALITKA_DATABASE_URL": None}
    result = invoke("site", "set", "--zone", text, env=where)
    assert result.exit_code == 2 and "write " in result.stderr
    assert result.stderr.count("\n") == 1

    assert explaining.run(["9_1"], None, text, "auto") == 2
    assert "write " in capsys.readouterr().err

    given = tmp_path / "settings.json"
    given.write_text(json.dumps({"zone": text}))
    with pytest.raises(deploy.InputError, match=r"zone: .*write "):
        deploy.read_settings(given)


# What a reader refuses by itself, of a settings.json that no tool has seen.
BY_THE_READER = [
    *("UTC+3", "UTC3", "UTC-3", "UTC+03:00", "GMT+3", "GMT-5:45", "gmt+3", "UTC+3DST"),
    *("MSK+3", "MSK3", "msk+3", "EET+2", "EET2EEST", "CET+1", "CET1CEST", "EEST+3"),
    *("<+03>3", "<+03>+3", "<-03>-3", "<+0530>5:30"),
]


def test_8_a_reader_refuses_it_in_settings_changed_by_hand():
    for text in BY_THE_READER:
        Zone(text)  # as POSIX it is valid
        kept, faults = settings.with_defaults({"zone": text})
        assert kept["zone"] == "", text
        (fault,) = faults
        assert fault.startswith("zone: ") and "write " in fault
        assert is_refused(text), "the tools refuse all that a reader refuses"
    for text in TAKEN:
        assert settings.with_defaults({"zone": text}) == (
            settings.with_defaults({})[0] | {"zone": text},
            [],
        )
    for text in ("MSK", "Z", "+03:00"):
        with pytest.raises(ZoneError):
            Zone(text)
        assert settings.with_defaults({"zone": text})[1]


def test_8_a_reader_takes_the_string_of_every_zone():
    for name in tz_database.names():
        text = tz_database.string_of(tz_database.read(name))
        assert settings.with_defaults({"zone": text})[1] == []
