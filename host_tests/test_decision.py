"""Verdicts against a walk through weeks in which clocks change; the unit of day times; the words.

What is expected comes from `datetime` and zoneinfo on CPython, out of the rules' texts and the
protocol's words about them; only what is found out is sent to the other runtime.
"""

import random
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from io import BytesIO
from itertools import groupby
from shutil import copytree
from zoneinfo import ZoneInfo

import pytest

import micropython_peer
from device.rules_oracle import rule_set_of
from kalitka.access import decision
from kalitka.sync.answer import AnswerParser
from kalitka.table.table import FOUND, Table
from kalitka_build.paths import FIRMWARE
from kalitka_sim import wasm_board
from kalitka_sim.reader import VirtualReader
from micropython_peer import TESTS
from scripted_server import Script, ScriptedServer, reply
from small_integers import Small

DAY = 1440
WEEK = 7 * DAY
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MONDAY = 29_923_200  # 2026-11-23 00:00 UTC, in minutes since 1970

# Changes of an hour and of half an hour, to either side of the equator, in the night, at midnight
# and behind the last hour of a day; offsets that are no hours; a winter time that is the
# exception; no changes at all.
ZONES = (
    "Europe/Berlin",
    "Europe/Dublin",
    "America/New_York",
    "America/Santiago",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Africa/Cairo",
    "Asia/Kathmandu",
)


@pytest.fixture(scope="module", params=micropython_peer.RUNTIMES)
def runtime(request):
    yield from micropython_peer.open_runtime(request.param, "rules_oracle")


def local_of(minute, zone):
    """Return the local (weekday, second of the day) of a minute since 1970 UTC."""
    local = (EPOCH + timedelta(minutes=minute)).astimezone(zone)
    return local.weekday(), local.hour * 3600 + local.minute * 60


def changes(zone, year):
    """Return the first minutes of other offsets in a year, found by asking for each hour."""
    first = int((datetime(year, 1, 1, tzinfo=UTC) - EPOCH).total_seconds()) // 60

    def offset(minute):
        return (EPOCH + timedelta(minutes=minute)).astimezone(zone).utcoffset()

    hours = range(first, first + 366 * DAY, 60)
    return [minute for minute in hours if offset(minute - 1) != offset(minute)]


def weeks(name):
    """Return (string, [(first minute, local times of the minutes)]) of weeks about changes."""
    data = files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
    zone = ZoneInfo.from_file(BytesIO(data))
    starts = [change - 3 * DAY for change in changes(zone, 2027)] or [MONDAY]
    walks = [(at, [local_of(at + i, zone) for i in range(WEEK)]) for at in starts]
    return data.split(b"\n")[-2].decode(), walks


class Rule:
    """A rule taken apart. unit: seconds of a day time's unit."""

    def __init__(self, text, unit):
        fields = text.split("_")
        self.text = text
        self.kind = fields[0]
        self.first, self.last = 0, 10**10
        if self.kind in "17":
            self.first, self.last = int(fields[-2]), int(fields[-1])
        if self.kind in "37":
            self.opens, self.shuts = int(fields[1]) * unit, int(fields[2]) * unit
            self.mask = fields[3]

    def is_open(self, local):
        """Tell whether its window is open in the local minute (weekday, second of the day).

        A window is a span of seconds from the midnight before its START. Both bounds are inside,
        and so is the whole minute that has either of them.
        """
        weekday, second = local
        if self.opens <= self.shuts:
            return self.mask[weekday] == "1" and self.opens - 60 < second <= self.shuts
        begun_today = self.mask[weekday] == "1" and self.opens - 60 < second
        begun_yesterday = self.mask[weekday - 1] == "1" and self.opens - 60 < second + 86400
        return begun_today or (begun_yesterday and second <= self.shuts)


def verdict_of(some, minute, local):
    """Return (reason in words, when, the rules that may be named) for a set of rules."""
    said = {}
    for rule in some:
        when = 0
        if rule.kind == "9":
            words = "never allowed"
        elif minute < rule.first:
            words, when = "not yet valid", rule.first
        elif minute > rule.last:
            words, when = "no longer valid", rule.last
        elif rule.kind == "1" or rule.is_open(local):
            words = "allowed"
        else:
            words = "outside its hours"
        said.setdefault(words, []).append((abs(when - minute), when, rule.text))
    words = min(said, key=REASONS.index)
    when = min(said[words])[1]
    return words, when, tuple(text for _, at, text in said[words] if at == when)


# What is told of several.
REASONS = ("allowed", "outside its hours", "not yet valid", "no longer valid", "never allowed")


def some_rules(chance, unit, start, local_times):
    """Return one to four rules with bounds about the change in the week, and anywhere."""
    hour = local_times[3 * DAY][1] // 60  # when the clock has just been changed

    def day_time():
        near = (hour + chance.randrange(-90, 90)) % DAY
        bound = chance.choice((near, near, near, 0, 1439, 1440, chance.randrange(DAY)))
        return bound if unit == 60 else min(bound * 60 + chance.randrange(60), 86400)

    def mask():
        return chance.choice(("1111111", f"{chance.randrange(128):07b}"))

    def dates():
        # Some begin or end with a local day, as people write them.
        days = [start + i for i, at in enumerate(local_times) if at[1] == 0]
        bounds = [
            chance.choice((chance.randrange(start - DAY, start + WEEK + DAY), *days)) for _ in "12"
        ]
        return f"{min(bounds)}_{max(bounds)}"

    def rule():
        kind = chance.choice("1333377779")
        hours = f"{day_time()}_{day_time()}_{mask()}"
        texts = {"1": dates(), "3": hours, "7": f"{hours}_{dates()}", "9": "0"}
        return f"{kind}_{texts[kind]}"

    return [rule() for _ in range(chance.randrange(1, 5))]


@cache
def expected():
    """Return [(texts, whether in seconds, string of the zone, first minute, runs)]."""
    found = []
    for name in ZONES:
        string, walks = weeks(name)
        for start, local_times in walks:
            chance = random.Random(f"{name} {start}")
            for seconds in (False, True):
                unit = 1 if seconds else 60  # seconds
                texts = some_rules(chance, unit, start, local_times)
                some = [Rule(text, unit) for text in texts]
                said = (verdict_of(some, start + i, local) for i, local in enumerate(local_times))
                runs = [(len(list(same)), *key) for key, same in groupby(said)]
                found.append((texts, seconds, string, start, runs))
    return found


def test_every_minute_of_weeks_in_which_clocks_change_is_judged_as_a_walk_says(runtime):
    minutes = allowed = 0
    reasons = set()
    for texts, seconds, string, start, runs in expected():
        runtime.check("check_verdicts", texts, seconds, string, start, runs)
        minutes += sum(run[0] for run in runs)
        allowed += sum(run[0] for run in runs if run[1] == "allowed")
        reasons.update(run[1] for run in runs)
    print(f"# {minutes} minutes of weeks with a change of clocks judged, {allowed} allowed")
    assert minutes > 300_000 and minutes / 5 < allowed < minutes * 4 / 5
    assert reasons >= set(REASONS[:4])


class SmallBytes(bytes):
    """Bytes that are such integers."""

    def __getitem__(self, at):
        return Small(super().__getitem__(at))


def test_no_number_outgrows_31_bits_on_the_way():
    with pytest.raises(AssertionError):
        SmallBytes(b"\xff")[0] << 25
    bounds = [0, 1, 127, 128, 2**28 - 1, 2**28, 2**30 - 1, 2**30, 2**32, 9_999_999_999]
    texts = [f"1_{first}_{last}" for first in bounds for last in bounds if first <= last]
    texts += [f"7_86400_0_1111111_{first}_9999999999" for first in bounds]
    verdict = decision.Verdict()
    for text in texts:
        rule_set = SmallBytes(rule_set_of([text, "1_9999999999_9999999999", "1_0_0"]))
        for minute in (-1, 0, 1, MONDAY, 2**30 - 1):
            verdict.decide(rule_set, 0, len(rule_set), True, Small(minute), Small(720), Small(6))
            assert abs(verdict.when) < 2**30


def test_cases_pass_on_32_bits_where_judging_allocates_nothing_either(tmp_path):
    wasm_board.put_sources(FIRMWARE, tmp_path / "lib")
    copytree(TESTS / "device", tmp_path / "device")
    (tmp_path / "run.py").write_text("import device.run_cases")
    outcome = wasm_board.run(["run.py", "case_decision"], tmp_path, heap="900M")
    lines = outcome.output.splitlines()
    assert "ok test_judging_allocates_nothing_whatever_the_rules" in lines, outcome.output
    assert all(line.startswith("ok test_") for line in lines), outcome.output


# --- The unit of day times: what VERDICTS.md promises, and what it warns of ---


class Sink:
    """Applies an answer to a table."""

    def __init__(self, table, full):
        self.change = table.begin(full)
        self.delete = self.change.delete
        self.rules = self.change.add_lines
        self.minute = self.minutes = None
        self.faults = []
        self.minute = lambda minute: None

    def dropped(self, line, reason):
        self.faults.append(reason)


def apply(table, lines, full=False):
    """Apply the answer with these rule lines; return what was dropped."""
    sink = Sink(table, full)
    parser = AnswerParser(sink)
    parser.feed("\n".join(["29921460%%", *lines]).encode())
    parser.finish(True)
    for _ in sink.change.commit(29921460):
        pass
    return sink.faults


def opens(table, code, time, unit_seconds=None):
    """Tell whether the code may pass on a Monday at the time of day (HH:MM)."""
    assert table.find(code.encode(), len(code)) == FOUND
    hour, minute = map(int, time.split(":"))
    seconds = table.seconds if unit_seconds is None else unit_seconds
    moment = (MONDAY, hour * 60 + minute, 0)
    said = decision.Verdict().decide(table.rules, table.at, table.end, seconds, *moment)
    return said == decision.ALLOWED


@pytest.fixture
def table(tmp_path):
    return Table(str(tmp_path / "table"))


TWENTY = "A_/3_0_1200_1111111"  # minutes: till eight in the evening; seconds: for twenty minutes
OFFICE = "B_/3_36000_78200_1110101"  # the seed's: only seconds
NIGHT = "C_/3_1320_360_1111111"  # minutes: 22:00 to 6:00; seconds: 0:22 to 0:06 of the next day


def test_a_rule_in_seconds_puts_all_of_the_table_right_in_the_same_step(table, tmp_path):
    apply(table, [TWENTY], full=True)
    # The warning: nothing showed that these are seconds.
    assert opens(table, "A", "00:10") and opens(table, "A", "19:00")
    apply(table, [OFFICE])
    for one in (table, Table(str(tmp_path / "table"))):
        assert opens(one, "A", "00:10") and opens(one, "A", "00:20")
        assert not opens(one, "A", "00:21") and not opens(one, "A", "19:00")
        assert opens(one, "B", "10:00") and opens(one, "B", "21:43")
        assert not opens(one, "B", "21:44")


def test_the_unit_stays_when_the_rule_that_showed_it_is_gone(table):
    apply(table, [TWENTY, OFFICE], full=True)
    apply(table, [TWENTY, "D_/9_1"], full=True)
    assert not opens(table, "A", "19:00")


def test_a_line_that_is_dropped_or_a_sync_that_fails_shows_no_unit(table):
    lines = ["D_/3_36000_78200_111", "D_/3_36000_86401_1111111", "D_/7_36000_1_1111111_2_1"]
    assert len(apply(table, [TWENTY, *lines], full=True)) == 3
    assert opens(table, "A", "19:00")
    cut = Sink(table, False)
    AnswerParser(cut).feed(b"29921461%%\n" + OFFICE.encode() + b"\n")
    cut.change.abort()
    assert opens(table, "A", "19:00")


def test_one_typing_error_of_a_server_of_minutes_opens_the_nights_to_everybody_at_all_hours(table):
    # The other warning, and why a server that is known to speak minutes deserves the setting.
    apply(table, [NIGHT, "D_/3_480_12000_1111111"], full=True)
    day = [f"{minute // 60:02}:{minute % 60:02}" for minute in range(DAY)]
    assert [time for time in day if not opens(table, "C", time)] == day[7:22]
    as_set = [time for time in day if not opens(table, "C", time, unit_seconds=False)]
    assert as_set == day[361:1320]
    assert not any(opens(table, "D", time, unit_seconds=False) for time in day)


SCAN_TWENTY = TWENTY.replace("A", "0A0A0A")
SCAN_OFFICE = OFFICE.replace("B", "0B0B0B")
EVENING = (MONDAY + 1140) * 60  # 19:00 UTC
NOON = (MONDAY + 720) * 60
TIME = Script(reply(b"5,UTC0,%d" % NOON))


def test_the_gate_goes_over_to_seconds_with_the_sync_that_shows_them(tmp_path):
    answers = [f"29921460%%\n{SCAN_TWENTY}", f"29921461%%\n{SCAN_OFFICE}"]
    scripts = [TIME, *(Script(reply(answer.encode())) for answer in answers)]
    with ScriptedServer(scripts) as server:
        settings = {"zone": "UTC0", "poll_seconds": 2}
        where = ("127.0.0.1", server.port)
        with VirtualReader(tmp_path / "reader", settings, server=where) as reader:
            reader.power_on()
            reader.wait_line("sync: full")
            reader.relay.cut()
            reader.set_clock(EVENING)
            assert said(reader.present("0A0A0A")) == "allowed"
            seen = len(reader.console)
            reader.relay.restore()
            reader.wait_line("sync: a day time above 1440", since=seen)
            reader.set_clock(EVENING)
            assert said(reader.present("0A0A0A")) == "outside its hours"
            assert said(reader.present("0B0B0B")) == "allowed"


def test_the_gate_keeps_to_the_unit_that_is_set(tmp_path):
    answer = f"29921460%%\n{SCAN_TWENTY}"
    with ScriptedServer([TIME, Script(reply(answer.encode()))]) as server:
        settings = {"zone": "UTC0", "day_time_unit": "second"}
        where = ("127.0.0.1", server.port)
        with VirtualReader(tmp_path / "reader", settings, server=where) as reader:
            reader.power_on()
            reader.wait_line("sync: full")
            reader.set_clock(EVENING)
            assert said(reader.present("0A0A0A")) == "outside its hours"


def said(outcome):
    return "allowed" if outcome.allowed else outcome.reason


# --- What the console says ---


def test_the_console_names_the_rule_that_permits_and_the_date_that_refuses(tmp_path):
    summer = 30_301_920  # 2027-08-13 00:00 UTC
    lines = (
        "29921460%%",
        "0A0A0A_/9_0",
        "0A0A0A_/3_480_1200_1111100",
        f"0B0B0B_/1_{summer}_{summer}",
        f"0C0C0C_/1_{summer + 9}_{summer + 9}",
        f"0C0C0C_/1_0_{MONDAY}",
        f"0D0D0D_/1_0_{MONDAY}",
        "0E0E0E_/3_36000_78200_1110101",
    )
    scripts = [Script(reply(b"no", "404 Not Found"))] * 2 + [
        Script(reply("\n".join(lines).encode()))
    ]
    with ScriptedServer(scripts) as server:
        where = ("127.0.0.1", server.port)
        zone = "EET-2EEST,M3.5.0/3,M10.5.0/4"
        settings = {"zone": zone, "day_time_unit": "minute"}
        with VirtualReader(tmp_path / "set", settings, server=where) as reader:
            reader.power_on()
            reader.wait_line("sync: full")
            reader.set_clock((MONDAY + 570) * 60)
            for code, words in (
                ("0A0A0A", f"allowed (Mon 11:30 {zone}), by 3_480_1200_1111100"),
                ("0B0B0B", f"denied: not yet valid (Mon 11:30 {zone}), from 2027-08-13 03:00"),
                ("0C0C0C", f"denied: not yet valid (Mon 11:30 {zone}), from 2027-08-13 03:09"),
                ("0D0D0D", f"denied: no longer valid (Mon 11:30 {zone}), until 2026-11-23 02:00"),
                ("0E0E0E", f"denied: no rule understood (Mon 11:30 {zone})"),
                ("0F0F0F", f"denied: unknown code (Mon 11:30 {zone})"),
            ):
                reader.present(code)
                assert reader.console[-1].endswith(f"card {code} {words}"), reader.console[-1]
            # The date was asked for in another offset; the time of day is still right.
            assert reader.present("0B0B0B").when == f"Mon 11:30 {zone}"
        with VirtualReader(tmp_path / "unset", server=where) as reader:
            reader.power_on()
            reader.wait_line("sync: full")
            reader.set_clock((MONDAY + 570) * 60)
            for code, words in (
                ("0A0A0A", "denied: zone not set (zone not set)"),
                ("0B0B0B", "denied: not yet valid (zone not set), from 2027-08-13 00:00 UTC"),
            ):
                reader.present(code)
                assert reader.console[-1].endswith(f"card {code} {words}"), reader.console[-1]
