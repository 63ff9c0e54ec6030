"""`kalitka bench`: the rule table beside a plain client, same runtime, same heap, same flash.

plain: readline, split, a dict, saved as one JSON file. lines/s: rule lines parsed, applied and
kept. sync heap, open heap: KiB over an idle interpreter during the sync and afterwards. B/token:
bytes of flash. erases: of 4 KiB blocks in the first full sync. again: writes (programs and
erases) when the same answer comes once more. µs: of a lookup.

Each figure comes from a MicroPython process of its own on a fresh LittleFS of 2 MiB. Nothing is
estimated: where a program runs out of memory, the table says so.
"""

import json
import os
import random
import subprocess
import tempfile
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from kalitka_cli.build import ROOT, compile_firmware
from kalitka_sim.virtual_chip import CHIP, HOST_ARCH, micropython

_DEVICE = Path(__file__).parent / "device"
_HEAP = "160K"
_SIZES = (300, 1000, 10_000, 50_000)
_FLASH = 2 * 1024 * 1024
_RULE_SETS = 200
_LOOKUPS = 200
_PROGRAMS = {"Kalitka": "kalitka_table.py", "plain": "plain_client.py"}


def answer(tokens: int) -> bytes:
    """Return a full sync of random 8-digit codes, in code order, with 200 different rules."""
    dice = random.Random(tokens)
    codes = sorted({f"{dice.getrandbits(32):08X}" for _ in range(tokens)})
    lines = []
    for code in codes:
        start = dice.randrange(_RULE_SETS)
        lines.append(f"{code}_/3_{start}_{start + 600}_1111100")
    return ("29921460%%\n" + "\n".join(lines)).encode()


def measure(program: str, tokens: int, folder: Path) -> dict | None:
    """Run one program on one table size; return its figures, None if its heap was too small."""
    body = folder / "answer.txt"
    body.write_bytes(answer(tokens))
    sample = folder / "codes.txt"
    lines = body.read_text().split("\n")[1:]
    sample.write_text("\n".join(line[:8] for line in lines[:: max(1, tokens // _LOOKUPS)]))
    figures = _run(program, folder, body, sample)
    if figures is None or "sync_heap" in figures:
        return figures
    heap = _run(program, folder, body)
    return None if heap is None else {**figures, **heap}


def _run(program: str, folder: Path, *arguments: Path) -> dict | None:
    flash = folder / "flash.bin"
    flash.write_bytes(b"\xff" * _FLASH)
    done = subprocess.run(
        [micropython(), "-X", f"heapsize={_HEAP}", _DEVICE / program, flash, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MICROPYPATH": f"{folder}/lib:{CHIP}:.frozen"},
    )
    if done.returncode == 0:
        return json.loads(done.stdout)
    if "MemoryError" in done.stdout + done.stderr:
        return None
    raise RuntimeError(done.stdout + done.stderr)


def run(console: Console | None = None) -> int:
    """Measure, print, and write build/bench.md. Returns the exit status."""
    console = console or Console(highlight=False)
    columns = (
        "tokens",
        "program",
        "lines/s",
        "sync heap",
        "open heap",
        "B/token",
        "erases",
        "again",
        "µs",
    )
    rows = []
    with tempfile.TemporaryDirectory(prefix="kalitka-bench-") as folder:
        for name, data in compile_firmware("ESP32_GENERIC", HOST_ARCH).items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for tokens in _SIZES:
            for name, program in _PROGRAMS.items():
                with console.status(f"{tokens} tokens, {name} ..."):
                    figures = measure(program, tokens, Path(folder))
                rows.append(_row(tokens, name, figures))
    title = f"MicroPython on this computer (64 bits), heap of {_HEAP}iB"
    table = Table(title=title, box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, justify="left" if column == "program" else "right", no_wrap=True)
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        table.add_row(*row)
        lines.append("| " + " | ".join(row) + " |")
    console.print(table)
    out = ROOT / "build" / "bench.md"
    out.parent.mkdir(exist_ok=True)
    out.write_text("\n".join(lines) + "\n")
    console.print(f"written to {out.relative_to(ROOT)}")
    return 0


def _row(tokens: int, name: str, figures: dict | None) -> tuple[str, ...]:
    if figures is None:
        return (str(tokens), name, "no room", *["-"] * 6)
    again = figures["again_programs"]
    return (
        str(tokens),
        name,
        f"{tokens * 1000 // max(1, figures['sync_ms'])}",
        f"{figures['sync_heap'] / 1024:.1f}",
        f"{figures['memory'] / 1024:.1f}",
        f"{figures['flash'] / tokens:.2f}",
        str(figures["erases"]),
        "all" if again is None else str(again),
        f"{figures['lookup_us']:.0f}",
    )
