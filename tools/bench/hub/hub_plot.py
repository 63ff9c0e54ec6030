"""The plot of the hub under load: polls by the number of readers, and costs of full syncs."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from bench.hub.hub_load import Load
from bench.plot import SETTINGS

_MIB = 1 << 20
# Okabe and Ito's colours, in the order of the servers; the markers differ as well.
_STYLES = (("#0072B2", "o"), ("#56B4E9", "D"), ("#D55E00", "s"))


def draw(loads: Mapping[str, Load], path: Path) -> None:
    """Write the plot (SVG) to `path`."""
    with pyplot.rc_context(SETTINGS):
        picture, (polls, first, memory) = pyplot.subplots(
            1, 3, figsize=(9.6, 3.4), width_ratios=(1.5, 1, 1)
        )
        _polls(polls, loads)
        at_once = max(max(load.fulls) for load in loads.values())
        wait = [load.fulls[at_once].percentile(0.5, "first") / 1000 for load in loads.values()]
        _bars(first, f"seconds to the first byte,\n{at_once} full syncs at once", wait)
        grown = [load.memory[at_once] / _MIB for load in loads.values()]
        _bars(memory, f"MiB of memory for\n{at_once} full syncs at once", grown)
        handles, labels = polls.get_legend_handles_labels()
        picture.legend(handles, labels, loc="upper center", ncols=len(labels), frameon=False)
        picture.tight_layout(rect=(0, 0, 1, 0.9), w_pad=2)
        picture.savefig(path, format="svg", metadata={"Date": None})
        pyplot.close(picture)


def _polls(axes: Axes, loads: Mapping[str, Load]) -> None:
    axes.set_title("polls without changes per second", loc="left")
    axes.set_xscale("log")
    axes.set_xlabel("readers")
    axes.grid(True, axis="y", color="#dddddd", linewidth=0.8)
    for (name, load), (color, marker) in zip(loads.items(), _STYLES, strict=True):
        rates = [answers.rate for answers in load.polls.values()]
        axes.plot(list(load.polls), rates, marker=marker, lw=2, ms=7, color=color, label=name)
        axes.set_xticks(list(load.polls), [f"{readers:,}" for readers in load.polls])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom=0)


def _bars(axes: Axes, title: str, values: list[float]) -> None:
    axes.set_title(title, loc="left")
    axes.set_xticks([])
    bars = axes.bar(range(len(values)), values, color=[color for color, _ in _STYLES])
    axes.bar_label(bars, fmt=lambda value: f"{value:,.{0 if value >= 10 else 1}f}", padding=2)
    axes.margins(y=0.15)
