"""The budgets, each with the measured figure and whether it is met."""

from dataclasses import dataclass

from bench.access_log import KALITKA_LOG, SIZE
from bench.answers import RULE_SETS
from bench.application_memory import ASYNCIO, TLS
from bench.figures import Figures
from bench.instructions import MISSING
from bench.measurements import LARGEST, MIB, PIECE, SIZES, SYNCED, TARGETS, Measurements
from bench.runtime import KALITKA, KIB, PLAIN
from kalitka_sim.virtual_chip import FAKES, FIRMWARE_HEAP, ROM_FAKE

# By sync: the plain client takes at least so many times the instructions, at each size.
_TIMES = {"first": 4, "second": 3, "again": 10}
_WHAT = {
    "first": "into an empty table",
    "second": "replacing another table",
    "again": "over an identical table",
}
_BLOCK = 4096
_MISSING = "-"
_ENTRIES = 20_000


@dataclass(frozen=True)
class Budget:
    """A row of the table. met: None for a figure without a budget, for comparison."""

    what: str
    budget: str
    figure: str
    met: bool | None


def _kib(size: float) -> str:
    return f"{size / KIB:.4g} KiB"


def _order(in_code_order: bool) -> str:
    return "in code order" if in_code_order else "in random order"


def budgets(measured: Measurements) -> list[Budget]:
    """Return all budgets of a run, in the table's order."""
    large = measured.figures[KALITKA, LARGEST, False]
    return [
        *(_held(measured, *target) for target in TARGETS),
        *_idle(measured),
        *_on_32_bits(measured),
        _flash(large),
        _entries(measured),
        _at_most(f"heap of an open table of {LARGEST:,}", 6 * KIB, large.memory),
        *_lookups(large),
        *(_speed(measured, sync) for sync in _TIMES),
        *(_work(measured, sync) for sync in _TIMES),
        *(_sync_heap(measured, order) for order in (False, True)),
        *(_programmed(measured, order, most) for order, most in ((False, 2.5), (True, 1.2))),
        *(_same_again(measured, order) for order in (False, True)),
        *_polls(measured),
        *_slices(measured),
    ]


def _synced(measured: Measurements, in_code_order: bool) -> Figures:
    return measured.figures[KALITKA, SYNCED, in_code_order]


def _at_most(what: str, most: int, figure: int | None) -> Budget:
    if figure is None:
        return Budget(what, f"at most {_kib(most)}", "not measured", False)
    return Budget(what, f"at most {_kib(most)}", _kib(figure), figure <= most)


def _held(measured: Measurements, tokens: int, flash: int) -> Budget:
    reader = measured.readers[tokens, flash]
    return Budget(
        f"tokens held by the whole application in {flash / MIB:g} MiB of flash, replaced in one "
        f"step, in random order, with the firmware in ROM, a heap of {_kib(FIRMWARE_HEAP)}, and "
        f"another {_kib(FAKES + ROM_FAKE)} for the hardware's fakes",
        f"{tokens:,}",
        f"not {tokens:,}: {reader.fault}" if reader.fault else f"{tokens:,}",
        not reader.fault,
    )


def _idle(measured: Measurements) -> list[Budget]:
    what = (
        "heap of the whole application, idle, with everything imported, beyond that of a chip "
        "without firmware"
    )
    used = max(reader.used for reader in measured.readers.values())
    files = measured.from_files
    return [
        _at_most(f"{what}; the firmware in ROM", 96 * KIB, used),
        Budget(
            "the same, the firmware in .mpy files",
            "no budget",
            _kib(files.used) if files else "not measured",
            None,
        ),
    ]


def _on_32_bits(measured: Measurements) -> list[Budget]:
    # With asyncio and the objects of TLS, as in report.py.
    plain, secure = measured.uses[False], measured.uses[True]
    idle = {place: plain[32, place].idle + ASYNCIO for place in ("mpy", "rom")}
    frozen = secure[32, "frozen"].idle + ASYNCIO + TLS
    return [
        _bytes("heap on 32 bits, idle, from .mpy files", 85_000, idle["mpy"]),
        _bytes("heap on 32 bits, idle, from ROM (estimated)", 46_000, idle["rom"]),
        _bytes("heap on 32 bits, idle with TLS, frozen (estimated)", 34_000, frozen),
        _bytes(
            "heap on 32 bits, full sync on top of idle, from ROM (estimated)",
            20_000,
            plain[32, "rom"].sync,
        ),
    ]


def _bytes(what: str, most: int, figure: int) -> Budget:
    return Budget(what, f"at most {most:,} bytes", f"{figure:,} bytes", figure <= most)


def _flash(large: Figures) -> Budget:
    each = large.used / large.tokens if large.used else None
    return Budget(
        f"flash per token ({LARGEST:,} random 8-digit codes, {RULE_SETS} rule sets)",
        "at most 4.5 bytes, aim 4",
        f"{each:.2f} bytes" if each else "not measured",
        each is not None and each <= 4.5,
    )


def _entries(measured: Measurements) -> Budget:
    held = measured.logs[KALITKA_LOG].held
    return Budget(
        f"entries of the access log in {_kib(SIZE)} of flash (8-digit codes), minimum once it is "
        "full",
        f"at least {_ENTRIES:,}",
        f"{held:,}",
        held >= _ENTRIES,
    )


def _lookups(large: Figures) -> list[Budget]:
    found = large.file_reads
    reads = [f"{one['reads']} of {one['bytes']} bytes" for one in found]
    good = len(found) == 2 and all(
        one["reads"] <= segments and one["bytes"] <= KIB for segments, one in enumerate(found, 1)
    )
    heap = large.allocation or {"bytes": None, "locked": False}
    return [
        Budget(
            "most reads per lookup, with one segment and with two",
            "1 of at most 1 KiB per segment",
            "; ".join(reads) or "not measured",
            good,
        ),
        Budget(
            "heap left behind by a lookup; works with the heap locked",
            "0 bytes; yes",
            f"{heap['bytes']:g} bytes; {'yes' if heap['locked'] else 'no'}"
            if large.allocation
            else "not measured",
            heap["locked"] and heap["bytes"] == 0,
        ),
    ]


def _speed(measured: Measurements, sync: str) -> Budget:
    # Without a budget: clock time depends on the computer's other work.
    found = []
    for size in SIZES:
        mine = measured.figures[KALITKA, size, False].lines_per_second(sync)
        plain = measured.figures[PLAIN, size, False].lines_per_second(sync)
        found.append(f"{mine / plain:.1f} ({mine:,.0f})" if mine and plain else _MISSING)
    return Budget(
        f"{_full(sync)}: lines/s over the plain client's (lines/s), at {_sizes()}",
        "none: see the instructions",
        " / ".join(found),
        None,
    )


def _work(measured: Measurements, sync: str) -> Budget:
    found = []
    for size in SIZES:
        mine, plain = (
            measured.counts[program, size, False].lines.get(sync)
            if (program, size, False) in measured.counts
            else None
            for program in (KALITKA, PLAIN)
        )
        found.append(plain / mine if mine and plain else None)
    least = _TIMES[sync]
    known = [times for times in found if times]
    return Budget(
        f"{_full(sync)}: the plain client's instructions per line over Kalitka's, at {_sizes()}",
        f"at least {least} at each",
        " / ".join(f"{times:.1f}" if times else _MISSING for times in found)
        if measured.counts
        else MISSING,
        all(times >= least for times in known) if known else None,
    )


def _full(sync: str) -> str:
    return f"lines in random order, parsed and applied {_WHAT[sync]}"


def _sizes() -> str:
    return " / ".join(f"{size:,}" for size in SIZES)


def _sync_heap(measured: Measurements, in_code_order: bool) -> Budget:
    peaks = _synced(measured, in_code_order).peaks
    return _at_most(
        f"heap of a full sync of {SYNCED:,} lines {_order(in_code_order)}, on top of idle",
        40 * KIB,
        max(peak["over_idle"] for peak in peaks) if peaks else None,
    )


def _programmed(measured: Measurements, in_code_order: bool, most: float) -> Budget:
    figures = _synced(measured, in_code_order)
    ratios = [figures.programmed_ratio(sync) for sync in ("first", "second")]
    known = [ratio for ratio in ratios if ratio]
    return Budget(
        f"flash programmed by a full sync of {SYNCED:,} lines {_order(in_code_order)}",
        f"at most {most} times the table",
        f"{max(known):.2f} times" if known else "not measured",
        len(known) == len(ratios) and max(known) <= most,
    )


def _same_again(measured: Measurements, in_code_order: bool) -> Budget:
    writes = _synced(measured, in_code_order).writes("again")
    return _none(
        f"flash writes of an unchanged full answer, {SYNCED:,} lines {_order(in_code_order)}",
        writes,
    )


def _none(what: str, writes: int | None) -> Budget:
    figure = "not measured" if writes is None else str(writes or "none")
    return Budget(what, "none", figure, writes == 0)


def _polls(measured: Measurements) -> list[Budget]:
    # Of the whole application if it got so far, otherwise of the table alone.
    alone = _synced(measured, False)
    polls = [r.poll_writes for r in measured.readers.values() if r.poll_writes is not None]
    erases = [r.erases for r in measured.readers.values() if r.erases is not None]
    where = "the whole application" if polls else "the table alone"
    if not polls and (writes := alone.writes("nothing")) is not None:
        polls.append(writes)
    if not erases and alone.one:
        erases.append(alone.one["erases"])
    return [
        _none(f"flash writes of polls without changes, {where}", max(polls, default=None)),
        Budget(
            f"erases for one changed code, {where}",
            "at most 4",
            str(max(erases)) if erases else "not measured",
            bool(erases) and max(erases) <= 4,
        ),
    ]


def _slices(measured: Measurements) -> list[Budget]:
    found = measured.figures[KALITKA, LARGEST, False].slices
    written = max((one["written"] for one in found), default=None)
    flash = max((one["programmed"] for one in found), default=0)
    return [
        Budget(
            f"lines parsed between two awaits (a chunk of {PIECE} bytes)",
            "at most 64",
            str(measured.lines),
            measured.lines <= 64,
        ),
        Budget(
            "bytes written to files between two awaits (programmed, metadata included)",
            f"at most {_BLOCK:,}",
            f"{written:,} ({flash:,})" if written is not None else "not measured",
            written is not None and written <= _BLOCK,
        ),
    ]
