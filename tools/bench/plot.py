"""The plot of a run: flash, heap and time by the number of tokens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from bench.figures import Figures
from bench.measurements import FLASH, HEAP, KIB, SIZES, Measurements
from bench.report import NAMES
from bench.runtime import FILES, KALITKA, PLAIN

# Okabe and Ito's colours, safe for colour blindness; the markers differ as well.
_STYLES = {KALITKA: ("#0072B2", "o"), PLAIN: ("#D55E00", "s"), FILES: ("#009E73", "^")}
_GREY = "#555555"
SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "kalitka",  # the same figures give the same file
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_Figure = Callable[[Figures], float | None]


def draw(measured: Measurements, path: Path) -> None:
    """Write the plot (SVG) to `path`."""
    with pyplot.rc_context(SETTINGS):
        picture, panels = pyplot.subplots(2, 2, figsize=(9.6, 7.8))
        flash, heap, lines, lookup = panels.flat
        _panel(flash, measured, "KiB of flash", _flash)
        _limit(flash, FLASH / KIB, f"flash: {FLASH / KIB:,g}", 4)
        _panel(heap, measured, "KiB of heap at the peak of a full sync", _peak)
        _limit(heap, int(HEAP[:-1]), f"heap of the reader: {HEAP[:-1]}", -13)
        _panel(lines, measured, "lines parsed and applied per second", _lines)
        _panel(lookup, measured, "microseconds per lookup", Figures.lookup_micros)
        handles, labels = flash.get_legend_handles_labels()
        picture.legend(handles, labels, loc="upper center", ncols=len(labels), frameon=False)
        picture.tight_layout(rect=(0, 0, 1, 0.95), h_pad=2, w_pad=2)
        picture.savefig(path, format="svg", metadata={"Date": None})
        pyplot.close(picture)


def _flash(figures: Figures) -> float | None:
    return figures.used / KIB if figures.used else None


def _peak(figures: Figures) -> float | None:
    return figures.peaks[1]["in_all"] / KIB if len(figures.peaks) > 1 else None


def _lines(figures: Figures) -> float | None:
    return figures.lines_per_second("first")


def _panel(axes: Axes, measured: Measurements, title: str, figure: _Figure) -> None:
    axes.set_title(title, loc="left")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(SIZES[0] / 1.5, SIZES[-1] * 3)
    axes.set_xticks(SIZES, [f"{size // 1000}" for size in SIZES])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("thousands of tokens")
    axes.grid(True, which="major", color="#dddddd", linewidth=0.8)
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.{0 if value >= 1 else 1}f}")
    )
    for program, name in NAMES.items():
        found = [measured.figures.get((program, size, False)) for size in SIZES]
        _line(axes, program, name, [f for f in found if f], figure)
    low, high = axes.get_ylim()
    axes.set_ylim(low / 3, high * 6)  # room for the labels


def _line(axes: Axes, program: str, name: str, found: list[Figures], figure: _Figure) -> None:
    points = [(f.tokens, value) for f in found if (value := figure(f)) is not None]
    if not points:
        return
    color, marker = _STYLES[program]
    tokens, values = zip(*points, strict=True)
    axes.plot(tokens, values, marker=marker, lw=2, ms=7, color=color, label=name)
    ended = [f for f in found if f.tokens > points[-1][0]]
    if ended:
        # Above the line of one program and below that of the other: out of the way of both.
        up = program == FILES
        axes.annotate(
            f"{ended[0].tokens:,}:\n{ended[0].end}",
            points[-1],
            xytext=(-5, 9 if up else -9),
            textcoords="offset points",
            color=color,
            va="bottom" if up else "top",
            fontsize=10,
        )


def _limit(axes: Axes, value: float, words: str, above: int) -> None:
    axes.axhline(value, color=_GREY, linewidth=1.2, linestyle="--")
    axes.annotate(
        words,
        (SIZES[-1] * 2.8, value),
        xytext=(0, above),
        textcoords="offset points",
        color=_GREY,
        ha="right",
        fontsize=10,
    )
