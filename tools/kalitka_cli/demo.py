"""`kalitka demo`: a site at work, with one hub, three virtual readers and some forty tokens.

The unmodified firmware makes every decision at the pins of a virtual reader. The expected verdicts
below are written by hand from the rules.
"""

import contextlib
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kalitka.journal.entries import SCANNER
from kalitka.journal.words import reason_text
from kalitka_hub.site.tokens import TokenSetting
from kalitka_sim.hub_process import HubError, HubProcess
from kalitka_sim.reader import ReaderError, VirtualReader
from kalitka_sim.tcp_relay import TcpRelay
from kalitka_sim.timeouts import HANG_TIMEOUT_S
from kalitka_sim.virtual_chip import FAKES, FIRMWARE_HEAP

_PICTURE_WIDTH = 96  # characters
_MSK = timezone(timedelta(hours=3))
_ALLOWED = "allowed"
_CODES = {"gate": "GATE-1", "canteen": "CANTEEN", "seed": "SEED-1"}  # of the readers at the hub
_SHOWN = 8  # entries of the log


def _minute(text: str) -> int:
    # Returns minutes since 1970 UTC for a Moscow time.
    return int(datetime.fromisoformat(text).replace(tzinfo=_MSK).timestamp()) // 60


_NOVEMBER = f"{_minute('2026-11-01 00:00')}_{_minute('2026-11-30 23:59')}"
_THIS_WEEK = f"1_{_minute('2026-11-23 00:00')}_{_minute('2026-11-29 23:59')}"

# The tokens of gate and canteen; day times in minutes.
_PEOPLE = {
    "04A1B2C3": ["3_480_1200_1111100"],  # staff: weekdays, 8:00 to 20:00
    "DEADBEEF": ["3_480_1200_1111100", _THIS_WEEK],  # staff, and this week at any hour
    "A0B1C2": ["3_1320_360_0000011"],  # weekend nights, 22:00 to 6:00, over midnight
    "10203040": [f"7_480_720_1010100_{_NOVEMBER}"],  # Mon, Wed, Fri mornings in November
    "55667788": ["9_1"],  # always
    "99AABBCC": ["9_0"],  # never
    "11112222": [f"1_{_minute('2026-12-01 00:00')}_{_minute('2026-12-07 23:59')}"],
    "33334444": [f"1_{_minute('2026-10-01 00:00')}_{_minute('2026-10-07 23:59')}"],
    "0000AA": ["3_0_1439_0000000"],  # a mask without a day
}
_PEOPLE.update({f"{0xC0FFEE00 + 37 * i:08X}": ["3_480_1200_1111100"] for i in range(24)})

# The seed's own examples, verbatim. Their day times can only be seconds, and a reader's table has
# one unit, so they go to a reader of their own.
_SEED = {
    "53454544": ["1_26553028_26553088"],
    "5EED03": ["3_36000_78200_1110101"],
    "5EED07": ["7_36000_78200_1110101_26553028_26553088"],
    "5EED01": ["3_0_1200_1111111"],  # in seconds: the first twenty minutes of the day
}

# (reader, local time, card, expected)
_SCANS = (
    ("gate", "2026-11-23 09:30", "04A1B2C3", _ALLOWED),  # a Monday
    ("gate", "2026-11-23 09:30", "DEADBEEF", _ALLOWED),
    ("gate", "2026-11-23 09:30", "10203040", _ALLOWED),
    ("gate", "2026-11-23 09:30", "A0B1C2", "outside its hours"),
    ("gate", "2026-11-23 09:30", "11112222", "not yet valid"),
    ("gate", "2026-11-23 09:30", "33334444", "no longer valid"),
    ("gate", "2026-11-23 09:30", "55667788", _ALLOWED),
    ("gate", "2026-11-23 09:30", "99AABBCC", "never allowed"),
    ("gate", "2026-11-23 09:30", "0000AA", "outside its hours"),
    ("gate", "2026-11-23 09:30", "12345678", "unknown code"),
    ("canteen", "2026-11-23 07:59", "04A1B2C3", "outside its hours"),
    ("canteen", "2026-11-23 08:00", "04A1B2C3", _ALLOWED),
    ("canteen", "2026-11-23 20:00", "C0FFEE25", _ALLOWED),
    ("canteen", "2026-11-23 20:01", "C0FFEE25", "outside its hours"),
    ("canteen", "2026-11-23 20:01", "DEADBEEF", _ALLOWED),
    ("gate", "2026-11-28 23:30", "A0B1C2", _ALLOWED),  # Saturday night
    ("gate", "2026-11-30 05:59", "A0B1C2", _ALLOWED),  # Monday: Sunday's window goes on
    ("gate", "2026-11-30 06:01", "A0B1C2", "outside its hours"),
    ("gate", "2026-11-30 23:00", "A0B1C2", "outside its hours"),  # Monday begins no window
    ("gate", "2026-12-02 09:30", "10203040", "no longer valid"),
    ("seed", "2026-11-25 10:00", "5EED03", _ALLOWED),  # 36000 s; a Wednesday
    ("seed", "2026-11-25 21:43", "5EED03", _ALLOWED),  # 78200 s are 21:43:20
    ("seed", "2026-11-25 21:44", "5EED03", "outside its hours"),
    ("seed", "2026-11-26 12:00", "5EED03", "outside its hours"),  # the mask leaves Thursday out
    ("seed", "2026-11-25 12:00", "53454544", "no longer valid"),  # 26 June 2020
    ("seed", "2026-11-25 12:00", "5EED07", "no longer valid"),
    ("seed", "2026-11-25 19:00", "5EED01", "outside its hours"),
    ("seed", "2026-11-25 00:20", "5EED01", _ALLOWED),
)


@dataclass
class _Tally:
    decisions: int = 0
    wrong: int = 0
    allowed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    scans: list[tuple[str, str]] = field(default_factory=list)  # card and verdict


class _Demo:
    def __init__(self, folder: Path, console: Console):
        self.console = console
        self.folder = folder
        self.hub = HubProcess(folder / "hub")
        self.readers: dict[str, VirtualReader] = {}
        self.tally: dict[str, _Tally] = {}
        self.rules = {**_PEOPLE, **_SEED}  # as now at the hub, for the output
        self.clock: dict[str, str] = {}
        self.failed: list[str] = []
        self.figures: dict[str, tuple[str, str]] = {}

    def heading(self, text: str) -> None:
        self.console.print(f"\n[bold cyan]{text}[/]")

    def print(self, text: str) -> None:
        self.console.print(f"  {text}")

    @contextlib.contextmanager
    def progress(self, text: str) -> Iterator[None]:
        began = time.monotonic()
        with self.console.status(f"  {text} ..."):
            yield
        self.print(f"[green]✓[/] {text} [dim]{time.monotonic() - began:.1f} s[/]")

    def check(self, what: str, holds: bool) -> None:
        self.print(f"[green]✓[/] {what}" if holds else f"[bold red]✗ failed: {what}[/]")
        if not holds:
            self.failed.append(what)

    def scan(self, name: str, when: str | None, card: str, expected: str) -> None:
        reader = self.readers[name]
        if when and self.clock.get(name) != when:
            reader.set_clock(_minute(when) * 60)
            self.clock[name] = when
        outcome = reader.present(card)
        verdict = _ALLOWED if outcome.allowed else outcome.reason
        # Both the verdict and the lock's output must be as expected.
        right = verdict == expected and outcome.opened == (expected == _ALLOWED)
        tally = self.tally[name]
        tally.decisions += 1
        tally.wrong += not right
        tally.scans.append((card, verdict))
        tally.allowed += outcome.opened
        tally.reasons[verdict] = tally.reasons.get(verdict, 0) + 1
        colour = "green" if outcome.opened else "yellow"
        mark = "[green]✓[/]" if right else f"[bold red]✗ expected: {expected}[/]"
        rules = escape(" or ".join(self.rules.get(card, ["-"])))
        self.console.print(
            f"  {mark} [bold]{name:8}[/] {outcome.when:16} {card:9}"
            f"[{colour}]{verdict:18}[/] [dim]{rules}[/]",
            no_wrap=True,
            overflow="ellipsis",
        )
        if not right:
            self.failed.append(f"{name}, {outcome.when}, {card}: {verdict}")

    # The acts

    def set_up(self) -> None:
        self.heading("1  A hub on SQLite, three virtual readers, and their tokens")
        with self.progress("hub started"):
            self.hub.start()
        with self.progress("readers added at the hub"):
            for code in _CODES.values():
                self.hub.add_reader(code)
        with self.progress(f"{len(_PEOPLE) + len(_SEED)} tokens added at the hub"):
            settings = [
                TokenSetting(c, tuple(r), ("GATE-1", "CANTEEN")) for c, r in _PEOPLE.items()
            ]
            settings += [TokenSetting(c, tuple(r), ("SEED-1",)) for c, r in _SEED.items()]
            self.hub.set_tokens(settings)
        with self.progress("three readers flashed and switched on"):
            for name, code in _CODES.items():
                self.tally[name] = _Tally()
                reader = VirtualReader(
                    self.folder / name,
                    {
                        "reader": code,
                        "server_token": self.hub.secrets[code],
                        "poll_seconds": 1,
                        "lock_seconds": 0.1,
                        "log_upload_seconds": 1,
                    },
                    server=self.hub.address,
                )
                self.readers[name] = reader
                reader.power_on()

    def first_sync(self) -> None:
        self.heading("2  Full sync over HTTP into each reader's flash")
        for name, reader in self.readers.items():
            line = reader.wait_line(r"sync: full")
            self.print(f"[green]✓[/] [bold]{name:8}[/] {escape(line.strip())}")

    def decide(self) -> None:
        self.heading(
            "3  Cards at the pins: Wiegand pulses in, the lock's output and the reason out"
        )
        for scan in _SCANS:
            self.scan(*scan)

    def change(self) -> None:
        gate = self.readers["gate"]
        monday = "2026-11-23 21:00"
        self.heading("4  A change and a deletion at the hub arrive by incremental syncs")
        self.scan("gate", monday, "04A1B2C3", "outside its hours")
        seen = len(gate.console)
        self.rules["04A1B2C3"] = ["3_480_1320_1111100"]
        self.command("token", "add", "04A1B2C3", "--rule", "3_480_1320_1111100")
        line = gate.wait_line("sync: incremental, .* 1 codes changed", since=seen)
        self.print(f"[green]✓[/] {escape(line.strip())}")
        self.scan("gate", monday, "04A1B2C3", _ALLOWED)
        seen = len(gate.console)
        del self.rules["DEADBEEF"]
        self.command("token", "remove", "DEADBEEF")
        line = gate.wait_line("sync: incremental, .* 1 codes changed", since=seen)
        self.print(f"[green]✓[/] {escape(line.strip())}")
        self.scan("gate", monday, "DEADBEEF", "unknown code")
        self.poll_without_changes()

    def poll_without_changes(self) -> None:
        # Polls without changes, counted at the flash.
        gate = self.readers["gate"]
        assert gate.relay
        self._wait_for_log()
        with self.progress("some polls without changes"):
            # A reader that sends its next request has processed the answer before.
            _wait_for_requests(gate.relay, gate.relay.requests + 2)
            before = gate.flash_operations()
            polls = gate.relay.requests
            _wait_for_requests(gate.relay, polls + 3)
            after = gate.flash_operations()
        writes = after["programs"] + after["erases"] - before["programs"] - before["erases"]
        polled = gate.relay.requests - polls
        self.check(f"{polled} polls wrote {writes} times to flash", polled >= 3 and writes == 0)
        what = "flash writes of a poll without changes"
        self.figures[what] = (str(writes), f"in {polled} polls")

    def outage(self) -> None:
        self.heading("5  The hub is switched off; the readers go on deciding")
        seen = {name: len(reader.console) for name, reader in self.readers.items()}
        self.hub.stop()
        for name, reader in self.readers.items():
            line = reader.wait_line("sync: failed", since=seen[name])
            self.print(f"[green]✓[/] [bold]{name:8}[/] {escape(line.strip())}")
        self.scan("gate", "2026-11-23 09:30", "04A1B2C3", _ALLOWED)
        self.scan("canteen", "2026-11-23 09:30", "C0FFEE00", _ALLOWED)
        self.scan("canteen", "2026-11-23 09:30", "DEADBEEF", "unknown code")
        self.scan("seed", "2026-11-25 12:00", "5EED03", _ALLOWED)

    def power_cut(self) -> None:
        self.heading("6  A power cut at the gate, still without the hub: it decides from flash")
        gate = self.readers["gate"]
        gate.power_cut()
        seen = len(gate.console)
        with self.progress("gate restarted"):
            gate.power_on()
        line = gate.wait_line("table: ", since=seen)
        self.print(f"[green]✓[/] {escape(line.strip())}")
        self.clock["gate"] = ""
        # Rules without times work at once; rules with times fail closed and say why.
        self.scan("gate", None, "55667788", _ALLOWED)
        self.scan("gate", None, "04A1B2C3", "clock not set")
        self.scan("gate", None, "12345678", "unknown code")
        seen = len(gate.console)
        with self.progress("hub switched on again"):
            self.hub.start()
            # A reader without the time asks for it once a minute.
            gate.wait_line("clock: set", since=seen)
        self.scan("gate", "2026-11-23 21:59", "04A1B2C3", _ALLOWED)
        self.scan("gate", "2026-11-23 22:01", "04A1B2C3", "outside its hours")
        self.scan("gate", "2026-11-23 22:01", "DEADBEEF", "unknown code")

    def log(self) -> None:
        self.heading("7  The access log: every one of these decisions is at the hub")
        with self.progress("the readers send what is left"):
            entries = self._wait_for_log()
        for entry in entries[-_SHOWN:]:
            at = datetime.fromtimestamp(entry["at"], _MSK) if entry["timed"] else None
            when = f"{at:%a %Y-%m-%d %H:%M}" if at else "clock not set"
            reason = reason_text(entry["source"], entry["reason"])
            self.print(f"{entry['reader']:8} {when:20} {entry['code']:9}{reason}")
        listed = [(e["reader"], e["code"], reason_text(e["source"], e["reason"])) for e in entries]
        self.check(
            f"{len(listed)} entries at the hub, each decision once, in the order of each reader",
            all(
                [entry for entry in listed if entry[0] == _CODES[name]]
                == [(_CODES[name], card, verdict) for card, verdict in tally.scans]
                for name, tally in self.tally.items()
            ),
        )

    def _wait_for_log(self) -> list[dict]:
        # Returns the hub's entries once all decisions so far are there, or after a time limit.
        decisions = sum(tally.decisions for tally in self.tally.values())
        deadline = time.monotonic() + HANG_TIMEOUT_S
        while len(entries := self._entries()) < decisions and time.monotonic() < deadline:
            time.sleep(0.2)
        return entries

    def _entries(self) -> list[dict]:
        # Of cards: readers over http also say, once a start, that nobody proves their time.
        listed = json.loads(self.hub.command("log", "list", "--json", "--limit", "1000"))
        cards = [entry for entry in listed if entry["source"] == SCANNER]
        return sorted(cards, key=lambda entry: (entry["reader"], entry["number"]))

    def summary(self, seconds: float) -> int:
        self.heading("Summary")
        table = Table(show_header=True, header_style="bold")
        for column in (
            "reader",
            "decisions",
            "door opened",
            "denied",
            "unexpected",
            "heap in use",
        ):
            table.add_column(column, justify="left" if column == "reader" else "right")
        for name, tally in self.tally.items():
            heap = self.readers[name].memory()
            table.add_row(
                name,
                str(tally.decisions),
                str(tally.allowed),
                str(tally.decisions - tally.allowed),
                f"[red]{tally.wrong}[/]" if tally.wrong else "0",
                f"{(heap['used'] - FAKES) // 1024} of {FIRMWARE_HEAP // 1024} KiB",
            )
        self.console.print(table)
        reasons: dict[str, int] = {}
        for tally in self.tally.values():
            for reason, count in tally.reasons.items():
                reasons[reason] = reasons.get(reason, 0) + count
        listed = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
        self.print(f"verdicts: {listed}")
        for what, (figure, note) in self.figures.items():
            self.print(f"{what}: {figure} {note}")
        decisions = sum(tally.decisions for tally in self.tally.values())
        if self.failed:
            self.print(f"[bold red]{len(self.failed)} of {decisions} were not as expected:[/]")
            for what in self.failed:
                self.print(f"[red]{escape(what)}[/]")
            return 1
        self.print(f"[bold green]all {decisions} decisions as expected[/], in {seconds:.0f} s")
        return 0

    def command(self, *words: str) -> None:
        self.print(f"[dim]$[/] kalitka hub {' '.join(words)}")
        self.hub.command(*words)

    def close(self) -> None:
        for reader in self.readers.values():
            reader.close()
        self.hub.stop()


def run(console: Console | None = None, svg: Path | None = None) -> int:
    """Run the whole demo. Return 0 only if every decision was as expected.

    svg: the file for a picture of the output, if any.
    """
    width = _PICTURE_WIDTH if svg else None
    console = console or Console(highlight=False, record=svg is not None, width=width)
    status = _run_acts(console)
    if svg:
        picture = console.export_svg(title="make demo")
        # Drop the web fonts: the picture must not load anything, and the viewer's font will do.
        svg.write_text(re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL))
    return status


def _wait_for_requests(relay: TcpRelay, count: int) -> None:
    # Waits until readers have sent so many requests, or for a time limit.
    deadline = time.monotonic() + HANG_TIMEOUT_S
    while relay.requests < count and time.monotonic() < deadline:
        time.sleep(0.1)


def _run_acts(console: Console) -> int:
    began = time.monotonic()
    console.print(
        "[bold]Kalitka[/]: the firmware is the one that lands on an ESP32, in real MicroPython\n"
        "with a heap of 160 KiB; only pins, radio and flash chip are played."
    )
    with tempfile.TemporaryDirectory(prefix="kalitka-demo-") as folder:
        demo = _Demo(Path(folder), console)
        acts: tuple[Callable[[], None], ...] = (
            demo.set_up,
            demo.first_sync,
            demo.decide,
            demo.change,
            demo.outage,
            demo.power_cut,
            demo.log,
        )
        try:
            for act in acts:
                act()
            return demo.summary(time.monotonic() - began)
        except (ReaderError, HubError) as fault:
            console.print(f"[bold red]the demo ended early:[/] {escape(str(fault))}")
            return 1
        finally:
            demo.close()
