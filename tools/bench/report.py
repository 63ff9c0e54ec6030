"""The report's tables of a run."""

from collections.abc import Sequence

from bench.application_memory import ASYNCIO, TLS
from bench.budgets import budgets
from bench.capacity import HEAPS, SIZES, Capacity
from bench.figures import Figures
from bench.instructions import LOOKUPS, MISSING, Counts
from bench.log_sheet import log_sheet
from bench.measurements import FLASH, HEAP, KIB, MIB, PLENTY, Measurements
from bench.runtime import FILES, KALITKA, PLAIN
from bench.sheet import Sheet

NAMES = {KALITKA: "Kalitka", PLAIN: "plain client", FILES: "a file per token"}
_NOTHING = "-"
_MET = {True: "met", False: "short", None: ""}


def sheets(measured: Measurements) -> list[Sheet]:
    """Return all tables of a run, the budgets first."""
    found = sorted(
        measured.figures.values(), key=lambda f: (f.tokens, list(NAMES).index(f.program))
    )
    return [
        _budgets(measured),
        _growth(found),
        _instructions(measured),
        _flash_work(found),
        _held(measured),
        log_sheet(measured.logs),
        _small(measured),
        _application(measured),
        _modules(measured),
    ]


def _size(heap: str) -> str:
    return f"{heap[:-1]} {heap[-1]}iB"


def _budgets(measured: Measurements) -> Sheet:
    rows = [(b.what, b.budget, b.figure, _MET[b.met]) for b in budgets(measured)]
    note = (
        f"MicroPython with 64 bits, so objects are twice as large as on the ESP32. The heap is "
        f"{_size(HEAP)}, the plain client's {_size(PLENTY)}; every program is in ROM, where its "
        "bytecode takes no heap. `make test` tries a power cut at every flash operation."
    )
    return Sheet("Budgets", note, ("figure", "budget", "measured", ""), rows, text_columns=4)


def _name(figures: Figures) -> str:
    return NAMES[figures.program] + (", sorted" if figures.in_code_order else "")


def _number(value: float | None, text: str = "{:,.0f}", scale: float = 1) -> str | None:
    return None if value is None else text.format(value / scale)


def _row(figures: Figures, *cells: str | None) -> tuple[str, ...]:
    return (f"{figures.tokens:,}", _name(figures), *_shown(cells, figures.end))


def _shown(cells: Sequence[str | None], reason: str) -> list[str]:
    # The first missing figure shows the reason, if there is one.
    shown = []
    for cell in cells:
        shown.append(cell or reason or _NOTHING)
        if not cell:
            reason = ""
    return shown


def _growth(found: list[Figures]) -> Sheet:
    columns = (
        "tokens",
        "program",
        "lines/s, first",
        "lines/s, second",
        "table, KiB",
        "sync, KiB",
        "flash per token, bytes",
        "lookup, µs",
        "reads",
        "bytes",
        "heap",
    )
    note = (
        f"Lines in random order, or sorted by code. first: a full sync into an empty table; "
        f"second: another one that replaces it; table: heap of the open table; sync: peak heap of "
        f"the second sync, beyond that; lookup: its time, its reads from flash and their bytes, "
        f"and the heap that it leaves behind. The flash is {FLASH / MIB:g} MiB, counted in whole "
        f"blocks; the heap {_size(HEAP)}, for the plain client {_size(PLENTY)}."
    )
    return Sheet(
        "Cost by number of tokens", note, columns, [_growth_row(f) for f in found], text_columns=2
    )


def _growth_row(f: Figures) -> tuple[str, ...]:
    lookup = f.lookup or {}
    left = (f.allocation or {}).get("bytes")
    second = f.peaks[1]["over_idle"] if len(f.peaks) > 1 else None
    return _row(
        f,
        _number(f.lines_per_second("first")),
        _number(f.lines_per_second("second")),
        _number(f.memory, "{:,.1f}", KIB),
        _number(second, "{:,.1f}", KIB),
        _number(f.used, "{:,.2f}", f.tokens),
        _number(f.lookup_micros()),
        _number(lookup.get("reads"), "{:,.1f}"),
        _number(lookup.get("bytes")),
        _number(left),
    )


def _instructions(measured: Measurements) -> Sheet:
    columns = (
        "tokens",
        "program",
        "first",
        "second",
        "unchanged",
        "lookup, present",
        "absent",
        "present, 2 segments",
        "absent, 2",
    )
    note = (
        "Thousands of this computer's processor instructions, per line of each full sync and per "
        "lookup, native code and garbage collection included. The table is in plain files. The "
        "counts are the same in every run."
        if measured.counts
        else MISSING
    )
    order = list(NAMES)
    found = sorted(measured.counts.items(), key=lambda i: (i[0][1], order.index(i[0][0]), i[0][2]))
    return Sheet(
        "Instructions", note, columns, [_counts_row(*one) for one in found], text_columns=2
    )


def _counts_row(case: tuple[str, int, bool], counts: Counts) -> tuple[str, ...]:
    program, size, in_code_order = case
    figures = [counts.lines.get(sync) for sync in ("first", "second", "again")]
    figures += [counts.lookups.get(kind) for kind in LOOKUPS]
    cells = [_number(figure, "{:,.1f}", 1000) for figure in figures]
    name = NAMES[program] + (", sorted" if in_code_order else "")
    return (f"{size:,}", name, *_shown(cells, counts.end))


def _flash_work(found: list[Figures]) -> Sheet:
    columns = ("tokens", "program", "first", "second", "unchanged", "one code", "no change")
    note = (
        "Blocks of 4 KiB erased / KiB programmed, by kind of sync. unchanged: a full sync of the "
        "same answer again; no change: a poll."
    )
    return Sheet("Flash writes", note, columns, [_flash_row(f) for f in found], text_columns=2)


def _flash_row(f: Figures) -> tuple[str, ...]:
    counts = [f.syncs.get(sync) for sync in ("first", "second", "again")]
    return _row(f, *(_work(one) for one in (*counts, f.one, f.syncs.get("nothing"))))


def _work(counts: dict | None) -> str | None:
    if not counts:
        return None
    if not counts["programs"] and not counts["erases"]:
        return "none"
    return f"{counts['erases']} / {counts['programmed'] / KIB:,.1f}"


def _held(measured: Measurements) -> Sheet:
    note = (
        f"Held through a full sync that replaces all of them in one step, and through a restart. "
        f"The flash is {FLASH / MIB:g} MiB, the lines are in random order. In brackets: the "
        "smallest number that failed, and why. Parser and table only, without the rest of the "
        "application. A file per token, which is slow, was tried with the smallest heap only."
    )
    columns = ("program", *(f"heap of {_size(heap)}" for heap in HEAPS))
    rows = [
        (name, *(_held_cell(measured.held.get((program, heap))) for heap in HEAPS))
        for program, name in NAMES.items()
    ]
    return Sheet("Tokens held", note, columns, rows)


def _held_cell(held: Capacity | None) -> str:
    if not held:
        return _NOTHING
    first_failed = f" ({held.first_failed:,}: {held.why})" if held.first_failed else ""
    return f"{held.tokens:,}{first_failed}"


def _small(measured: Measurements) -> Sheet:
    rows = [
        (row.what, f"{row.kalitka:,}", _NOTHING if row.plain is None else f"{row.plain:,}")
        for row in measured.small
    ]
    note = "Bytes of heap, with bytecode in the heap as well: the modules are .mpy files."
    return Sheet("On 32 bits", note, ("figure", NAMES[KALITKA], NAMES[PLAIN]), rows)


_PLACES = {
    "mpy": "from .mpy files",
    "rom": "from ROM",
    "frozen": "frozen",
}


def _application(measured: Measurements) -> Sheet:
    rows = []
    for (bits, place), use in sorted(measured.uses[False].items(), key=lambda item: -item[0][0]):
        secure = measured.uses[True][bits, place]
        how = "estimated" if bits == 32 and place != "mpy" else "measured"
        rows.append(
            (
                f"{bits} bits, {_PLACES[place]}, {how}",
                f"{use.idle + ASYNCIO:,}",
                f"{secure.idle + ASYNCIO + TLS:,}",
                f"{use.sync:,}",
            )
        )
    note = (
        f"Bytes of Python's heap. idle: the application with {SIZES[0]:,} tokens, after one card "
        f"was reported to the server; idle, TLS: the same with a TLS connection; full sync: one "
        f"that replaces the table, with the code loaded for it. {ASYNCIO:,} bytes are asyncio's, "
        f"{TLS:,} the objects of TLS, both measured on another runtime; the hardware's fakes are "
        "not counted. `bench/application_memory.py` explains the estimates for ROM and the frozen "
        "image, and why the hot loops are not counted."
    )
    columns = ("firmware", "idle", "idle, TLS", "full sync on top of idle")
    return Sheet("Heap of the whole application", note, columns, rows)


def _modules(measured: Measurements) -> Sheet:
    rows = [
        (one.name, f"{one.code:,}", f"{one.names:,}", f"{one.objects:,}")
        for one in measured.modules
    ]
    note = (
        "Bytes of heap on 32 bits, imported from .mpy files, each after the modules that it "
        "imports. code: bytecode, tables, constants; little of it from ROM, none if frozen. "
        "names: the new names, and the pool if one of them makes it grow. objects: functions, "
        "classes, dicts."
    )
    return Sheet("Heap by module", note, ("module", "code", "names", "objects"), rows)
