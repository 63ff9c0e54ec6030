"""`kalitka bench table`: Kalitka's table and access log beside plain programs for the same task.

The plain client: readline, split, a dict, saved as JSON. A file per token: JSON files in a folder.
JSON lines: a file to which entries are appended. All run in the same runtime. Writes the tables to
build/bench.md and the plot for the README. No figure is extrapolated: where a program failed, the
table says why.
"""

import tempfile
import time
from pathlib import Path

from rich.console import Console

from bench import report
from bench.measurements import BenchRun
from bench.plot import draw
from bench.runtime import Runtime
from bench.sheet import markdown, show
from kalitka_build.paths import ROOT

PICTURE = Path(__file__).parent / "costs.svg"


def run(console: Console | None = None) -> int:
    """Measure, print the tables and write the files. Return the exit status."""
    console = console or Console(highlight=False)
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="kalitka-bench-") as folder,
        console.status("compiling") as status,
    ):
        measured = BenchRun(Runtime(Path(folder)), status.update).measure()
    sheets = report.sheets(measured)
    show(sheets, console)
    tables = ROOT / "build" / "bench.md"
    tables.parent.mkdir(exist_ok=True)
    tables.write_text(markdown("Costs of the rule table and the access log", sheets))
    draw(measured, PICTURE)
    written = " and ".join(str(path.relative_to(ROOT)) for path in (tables, PICTURE))
    console.print(f"written to {written}, after {time.monotonic() - began:.0f} s")
    return 0
