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
    f"Entries of 8-digit codes in a log of {SIZE // KIB} KiB that is full. JSON lines: two files "
    f"of {SIZE // KIB // 2} KiB, the newer one appended to and closed for each entry. Marked: the "
    "server has it at once; Kalitka sets the upload mark, JSON lines are removed. Operations are "
    f"means of {COUNTED:,} entries. Time is that of LittleFS and the program, in memory, which is "
    "programmed and erased in no time: on a flash chip that takes longest. Years: calculated, "
    f"until a block has been erased {ERASES:,} times with {PASSES_A_DAY:,} entries a day, on the "
    f"blocks of {SIZE // KIB} KiB alone, the most worn one having {SPREADS[KALITKA_LOG]:g} times "
    f"the mean, with JSON lines {SPREADS[PLAIN_LOG]:g}: it was so after 160,000 entries, here it "
    f"is after {COUNTED:,}, and it goes on falling. An upload: in batches with all that our hub "
    f"is told, in a heap of {HEAP[:-1]} KiB; of JSON lines as one string, in {PLENTY[:-1]} MiB."
)


def log_sheet(logs: dict[str, LogFigures]) -> Sheet:
    """Return it."""
    found = [(program, logs[program]) for program in LOGS]
    rows = []

    def row(what: str, cell: Callable[[str, LogFigures], str]) -> None:
        rows.append((what, *(cell(program, figures) for program, figures in found)))

    row("entries held, the fewest", lambda _, f: f"{f.held:,}")
    row("an entry: programs / bytes / erases", lambda _, f: _work(f.entry))
    row("the mark alone", lambda _, f: _work(f.mark))
    row("an entry, marked", lambda _, f: _work(f.passed))
    row(
        f"most worn block over the mean, {COUNTED:,} entries",
        lambda _, f: f"{f.entry['spread']:.1f}",
    )
    row("the same, each marked", lambda _, f: f"{f.passed['spread']:.1f}")
    row("years, entries", lambda p, f: f"{years(p, f.entry):.1f}")
    row("years, each marked", lambda p, f: f"{years(p, f.passed):.1f}")
    row("time of an entry, µs", lambda _, f: f"{f.micros():.0f}")
    row("that in times of JSON lines", lambda _, f: f"{_times(f, logs):.2f}")
    for count in (FEW, SENT):
        row(f"heap of an upload of {count:,}, KiB", lambda _, f, n=count: _heap(f, n))
    row(f"entries uploaded in {HEAP[:-1]} KiB of heap", lambda _, f: _most(f))
    row("bytes read an entry uploaded", lambda _, f: _read(f))
    return Sheet("The access log", _NOTE, ("what", "Kalitka", "JSON lines"), rows)


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
