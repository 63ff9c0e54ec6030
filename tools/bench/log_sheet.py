"""The report's table of the access log."""

from collections.abc import Callable

from bench.access_log import (
    COUNTED,
    ERASES,
    FEW,
    KALITKA_LOG,
    LOGS,
    PASSES_A_DAY,
    PLAIN_LOG,
    SENT,
    SIZE,
    SPREADS,
    LogFigures,
    years,
)
from bench.runtime import HEAP, KIB, PLENTY
from bench.sheet import Sheet

_NOTHING = "-"
_NOTE = (
    f"Entries of 8-digit codes in a full log of {SIZE // KIB} KiB. JSON lines: two files of "
    f"{SIZE // KIB // 2} KiB in turn, the newer one appended to and closed for each entry. "
    "Acknowledged: the server confirms each entry at once; Kalitka saves its acknowledged mark, "
    f"JSON lines are removed. Operations are means of {COUNTED:,} entries. Times are of LittleFS "
    "and the program with a flash in memory, which programs and erases in no time; on a chip the "
    f"erase takes longest. Years: calculated until a block has been erased {ERASES:,} times, with "
    f"{PASSES_A_DAY:,} entries a day on the log's {SIZE // KIB} KiB only and the most worn block "
    f"at {SPREADS[KALITKA_LOG]:g} times the mean (JSON lines: {SPREADS[PLAIN_LOG]:g}), the ratio "
    f"after 160,000 entries; the table has the ratio after {COUNTED:,}, which keeps falling. "
    "Uploads: Kalitka in batches with all the fields that our hub takes, in a heap of "
    f"{HEAP[:-1]} KiB; JSON lines as one string, in {PLENTY[:-1]} MiB."
)


def log_sheet(logs: dict[str, LogFigures]) -> Sheet:
    """Return the table. logs: the figures by program."""
    found = [(program, logs[program]) for program in LOGS]
    rows = []

    def row(what: str, cell: Callable[[str, LogFigures], str]) -> None:
        rows.append((what, *(cell(program, figures) for program, figures in found)))

    row("entries held, minimum", lambda _, f: f"{f.held:,}")
    row("per entry: programs / bytes / erases", lambda _, f: _work(f.entry))
    row("the acknowledgement alone", lambda _, f: _work(f.mark))
    row("an entry, acknowledged", lambda _, f: _work(f.passed))
    row(
        f"most worn block over the mean, {COUNTED:,} entries",
        lambda _, f: f"{f.entry['spread']:.1f}",
    )
    row("the same, each acknowledged", lambda _, f: f"{f.passed['spread']:.1f}")
    row("years, entries", lambda p, f: f"{years(p, f.entry):.1f}")
    row("years, each acknowledged", lambda p, f: f"{years(p, f.passed):.1f}")
    row("time of an entry, µs", lambda _, f: f"{f.micros():.0f}")
    row("relative to JSON lines", lambda _, f: f"{_times(f, logs):.2f}")
    for count in (FEW, SENT):
        row(f"heap of an upload of {count:,}, KiB", lambda _, f, n=count: _heap(f, n))
    row(f"entries uploaded in {HEAP[:-1]} KiB of heap", lambda _, f: _most(f))
    row("bytes read per entry uploaded", lambda _, f: _read(f))
    return Sheet("Access log", _NOTE, ("figure", "Kalitka", "JSON lines"), rows)


def _work(counts: dict[str, float]) -> str:
    return f"{counts['programs']:.2f} / {counts['programmed']:.0f} / {counts['erases']:.4f}"


def _times(figures: LogFigures, logs: dict[str, LogFigures]) -> float:
    return figures.micros() / logs[PLAIN_LOG].micros()


def _heap(figures: LogFigures, count: int) -> str:
    upload = figures.uploads.get(count)
    return f"{upload['over_idle'] / KIB:.1f}" if upload else _NOTHING


def _most(figures: LogFigures) -> str:
    most = figures.most
    if not most:
        return f"{max(figures.uploads):,}"
    return f"{most.tokens:,} ({most.first_failed:,}: {most.why})"


def _read(figures: LogFigures) -> str:
    count = max(figures.uploads)
    return f"{figures.uploads[count]['read'] / count:,.0f}"
