"""The heap of the whole application on 32 bits, started against fakes as a chip starts it.

Measured: from .mpy files on 32 bits (wasm_board), and from .mpy files and from ROM on 64 bits. The
32-bit machine has no ROM: the heap that ROM saves is estimated as the difference on 64 bits,
corrected for the larger blocks of that heap. A frozen image also saves tables, constants and
names: that estimate is an upper bound. (Compared with a private 32-bit build that has both, what
is measured is 5 % too high, and the estimates are 8 and 20 %.) The bytecode of `native` and
`sync_native` is not counted: on a chip it is machine code, outside of this heap.

Not counted either: the fakes in device/chip, which are loaded before the firmware; `asyncio`
itself, another ASYNCIO bytes on a chip; and the objects of TLS that are not ours, TLS bytes.
"""

import ast
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import files
from itertools import pairwise
from pathlib import Path
from sysconfig import get_path

from bench import mpy_file
from bench.answers import Answers
from bench.runtime import BOARD, DEVICE, compile_script
from kalitka_build import rom_image
from kalitka_build.paths import BOARDS
from kalitka_build.sources import firmware_sources
from kalitka_sim import wasm_board
from kalitka_sim.virtual_chip import micropython

ASYNCIO = 3936  # bytes of heap of a frozen `asyncio`, measured in that private build
TLS = 2_640  # of an SSLContext and a connection; mbedTLS allocates from the heap of the IDF
_CHIP = DEVICE / "chip"
_APPLICATION = "application.py"
_MODULES = "modules.py"
_ROUNDS = "rounds.py"
_NAMES = "chip_names.py"
_POOL_ENTRY = 7  # bytes of a name in a pool: its address, hash and length
_POOL_HEAD = 32
_HOT = ("kalitka.native", "kalitka.sync_native")  # modules of nothing but viper code
_HEAP = "8M"  # on 32 bits the heap is collected only where a script measures it
_TIMEOUT_S = 300
# The imports at a module's top level, which run when it is loaded.
_IMPORT = re.compile(r"^from (kalitka[\w.]*) import (.*)$", re.MULTILINE)
# Runs a script as on a chip, with the fakes in the path; viper code runs as bytecode.
_STARTER = """
import builtins, os, sys
builtins.ptr8 = builtins.ptr16 = builtins.ptr32 = lambda target: target
if sys.argv[1] == "rom.img":
    import vfs
    _image = bytearray(os.stat(sys.argv.pop(1))[6])
    with open("rom.img", "rb") as _file:
        _file.readinto(_image)
    vfs.mount(vfs.VfsRom(_image), "/rom")
    sys.path.insert(0, "/rom/lib")
with open(sys.argv.pop(1)) as _file:
    _code = compile(_file.read(), "application", "exec")
exec(_code)
"""
_SETTINGS = {
    "reader": "GATE-1",
    "server_token": "bench",
    "plain_http": True,
    "wifi": [["gate", "password"]],
    "ntp_server": "",
    "poll_seconds": 5,
    "log_kib": 32,
}


@dataclass(frozen=True)
class HeapUse:
    """The heap use of the application, in bytes.

    idle: when it idles. sync: a full sync on top of that. pools: the tables of names, without
    their letters. names: how many there are, beside those that a chip has in its flash. modules:
    the modules loaded while it idles.
    """

    idle: int
    sync: int
    pools: int = 0
    names: int = 0
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModuleSize:
    """The bytes of heap that importing a module from its .mpy file takes.

    code: bytecode, tables, constants. names: letters and pools. objects: the functions, classes
    and dicts that its code makes.
    """

    name: str
    code: int
    names: int
    objects: int


class ApplicationMemory:
    """The measurements of the application's heap.

    root: the folder for its files, emptied first. progress: called with each measurement's name.
    """

    def __init__(self, root: Path, progress: Callable[[str], None]):
        self._root = root
        self._progress = progress
        shutil.rmtree(root, ignore_errors=True)
        sources = root / "sources"
        for name, text in firmware_sources().items():
            path = root / "short" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        wasm_board.put_sources(root / "short" / "kalitka", sources / "firmware" / "kalitka")
        wasm_board.put_sources(_CHIP, sources / "chip")
        shutil.copy(BOARDS / BOARD / "board.py", sources / "chip")
        names = "\n ".join(f"chip.{name}" for name in sorted(_chip_names()))
        (sources / "chip" / _NAMES).write_text(f"def _names(chip):\n {names}\n")
        self._compile(sources / "firmware", root / "lib")
        self._compile(sources / "chip", root / "chip")
        # The 32-bit machine imports from a single folder.
        shutil.copytree(root / "chip", root / "lib", dirs_exist_ok=True)
        for script in (_APPLICATION, _MODULES, _ROUNDS):
            shutil.copy(DEVICE / script, root)
        (root / "start.py").write_text(_STARTER)
        packed = sorted((root / "lib" / "kalitka").rglob("*.mpy"))
        contents = {f.relative_to(root).as_posix(): f.read_bytes() for f in packed}
        (root / "rom.img").write_bytes(rom_image.build_image(contents))

    @staticmethod
    def _compile(sources: Path, folder: Path) -> None:
        for source in sources.rglob("*.py"):
            if source.stat().st_size:
                path = source.relative_to(sources)
                # As on a device: its path, which is there as the module's `__file__`.
                name = f"/{folder.name}/{path.with_suffix('.mpy')}"
                compile_script(source, (folder / path).parent, name)

    def use(self, answers: Answers, secure: bool = False) -> dict[tuple[int, str], HeapUse]:
        """Return the heap use by (bits, where the firmware is: "mpy", "rom" or "frozen").

        secure: poll the server over TLS (the fake's, which itself takes no memory).
        """
        small = self._on_32_bits(answers, secure)
        loose = self._on_64_bits("mpy", answers, secure)
        image = self._on_64_bits("rom", answers, secure)
        kept = [mpy_file.read(self._path(name)) for name in small.modules]
        pieces = [piece for one in kept for piece in one.pieces]
        rounding = sum(mpy_file.blocks(piece, 32) - mpy_file.blocks(piece) for piece in pieces)
        hot = sum(
            sum(map(mpy_file.blocks, mpy_file.read(self._path(name)).pieces)) for name in _HOT
        )
        idle = small.idle - (loose.idle - image.idle) + rounding
        loaded = small.sync - (loose.sync - image.sync)
        frozen = idle - small.pools - sum(one.tables + one.constants for one in kept)
        return {
            (32, "mpy"): replace(small, idle=small.idle - hot),
            (32, "rom"): HeapUse(idle, loaded, small.pools, small.names),
            (32, "frozen"): HeapUse(frozen, loaded),
            (64, "mpy"): loose,
            (64, "rom"): image,
        }

    def modules(self) -> list[ModuleSize]:
        """Return the size of each module on 32 bits, each after the modules that it imports."""
        names: list[str] = []
        for path in sorted((self._root / "sources" / "firmware").rglob("*.py")):
            self._list(path, names)
        self._progress("32 bits: modules")
        done = wasm_board.run([_MODULES, *names], self._root, _HEAP)
        if done.exit:
            raise RuntimeError(f"modules on 32 bits: {done.output}")
        found = []
        parsed = _parse_figures(done.output)
        for (_, before, known), (name, after, knows) in pairwise(parsed):
            code = mpy_file.read(self._path(name)).from_file()
            letters = knows - known
            found.append(ModuleSize(name, code, letters, after - before - code - letters))
        return found

    def _list(self, path: Path, names: list[str]) -> None:
        # Append the module to `names`, after the modules that it imports when it is loaded.
        sources = self._root / "sources" / "firmware"
        name = ".".join(path.relative_to(sources).with_suffix("").parts)
        name = name.removesuffix(".__init__")
        if name in names or not path.stat().st_size:
            return
        for imported in _IMPORT.findall(path.read_text()):
            package, parts = imported
            for part in [package, *(f"{package}.{p.strip()}" for p in parts.split(","))]:
                source = sources / (part.replace(".", "/") + ".py")
                if source.exists() and source != path:
                    self._list(source, names)
        if name not in names:
            names.append(name)

    def _path(self, name: str) -> Path:
        path = self._root / "lib" / (name.replace(".", "/") + ".mpy")
        return path if path.exists() else path.with_suffix("") / "__init__.mpy"

    def _fresh(self, answers: Answers, secure: bool) -> None:
        for name in ("table", "journal"):
            shutil.rmtree(self._root / name, ignore_errors=True)
        for name in ("first", "second", "nothing"):
            shutil.copy(getattr(answers, name), self._root / name)
        url = f"{'https' if secure else 'http'}://10.0.0.1:80"
        (self._root / "settings.json").write_text(json.dumps({**_SETTINGS, "server_url": url}))
        (self._root / "ca.pem").write_bytes(bytes(700))

    def largest_pieces(self, answers: Answers, rounds: int, heap: str) -> dict[int, list[int]]:
        """Return {bits of the machine: [before, after]}: the largest free piece of heap in bytes.

        Before and after `rounds` full syncs that replace the table; from .mpy files.
        """
        found = {}
        for bits, run in ((32, self._run_on_32_bits), (64, self._run_on_64_bits)):
            self._fresh(answers, False)
            output = run([_ROUNDS, str(rounds)], "mpy", heap)
            if not output.endswith(f"full syncs {rounds + 2}\n"):
                raise RuntimeError(f"the application on {bits} bits: {output}")
            # MicroPython counts in blocks of four words.
            found[bits] = [int(n) * bits // 2 for n in re.findall(r"max free sz: (\d+)", output)]
        return found

    def _on_32_bits(self, answers: Answers, secure: bool) -> HeapUse:
        self._progress("32 bits: the whole application")
        self._fresh(answers, secure)
        return _use(self._run_on_32_bits([_APPLICATION], "mpy", _HEAP))

    def _on_64_bits(self, where: str, answers: Answers, secure: bool) -> HeapUse:
        self._progress(f"64 bits: the whole application, {where}")
        self._fresh(answers, secure)
        return _use(self._run_on_64_bits([_APPLICATION], where, _HEAP))

    def _run_on_32_bits(self, arguments: list[str], where: str, heap: str) -> str:
        assert where == "mpy"
        done = wasm_board.run(arguments, self._root, heap)
        if done.exit:
            raise RuntimeError(f"the application on 32 bits: {done.output}")
        return done.output

    def _run_on_64_bits(self, arguments: list[str], where: str, heap: str) -> str:
        # The same files as on 32 bits: without native code they fit any machine.
        image = ["rom.img"] if where == "rom" else []
        path = ["lib" if where == "mpy" else "chip", ".frozen"]
        done = subprocess.run(
            [micropython(), "-X", f"heapsize={heap}", "start.py", *image, *arguments],
            cwd=self._root,
            env={**os.environ, "MICROPYPATH": ":".join(path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        if done.returncode:
            raise RuntimeError(f"the application on 64 bits: {done.stdout}")
        return done.stdout


def _chip_names() -> set[str]:
    # The names that an ESP32's MicroPython has in its flash, by the stubs of its modules. A chip
    # needs no heap for them; this computer's MicroPython lacks them.
    folder = Path(get_path("purelib"))
    found = set()
    for file in files("micropython-esp32-stubs") or []:
        if file.suffix == ".pyi" and "stdlib" not in file.parts:
            for node in ast.walk(ast.parse((folder / file).read_text())):
                found |= {getattr(node, field, None) for field in ("name", "arg", "attr", "id")}
    return {name for name in found if isinstance(name, str) and name.isidentifier()}


def _pools(names: int) -> int:
    # The bytes of the pools for so many names on a chip. Source: py/qstr.c, whose first pool in
    # the heap has 20 entries and each further one twice as many.
    size = bytes_ = 0
    pool = 20
    while size < names:
        bytes_ += pool * _POOL_ENTRY + _POOL_HEAD
        size += pool
        pool *= 2
    return bytes_


def _parse_figures(output: str) -> list[tuple[str, int, int]]:
    # Return (name, bytes in use, bytes of names) of each figure. The line of names follows its
    # figure, if there is one.
    found: list[tuple[str, int, int]] = []
    for line in output.splitlines():
        words = line.split()
        if line.startswith("qstr pool:"):
            if found:
                found[-1] = (*found[-1][:2], _parse_names(line)["n_total_bytes"])
        elif len(words) == 2 and words[1].isdigit():
            found.append((words[0], int(words[1]), 0))
    return found


def _parse_names(line: str) -> dict[str, int]:
    # MicroPython's line of names, and the bytes of their pools.
    found = {name: int(n) for name, n in (word.split("=") for word in line[10:].split(", "))}
    return {**found, "pools": found["n_total_bytes"] - found["n_str_data_bytes"]}


def _use(output: str) -> HeapUse:
    figures = {what: used for what, used, _ in _parse_figures(output)}
    lines = output.splitlines()
    before, after = (_parse_names(line) for line in lines if line.startswith("qstr pool:"))
    loaded = [line.split()[1] for line in lines if line.startswith("loaded ")]
    # The pools as a chip has them, which has no names of fakes and its own ones in flash.
    names = after["n_qstr"] - before["n_qstr"]
    idle = figures["idle"] - figures["before"] - (after["pools"] - before["pools"])
    pools = _pools(names)
    most = figures["most"] - figures["idle"]
    return HeapUse(idle + pools, most, pools, names, tuple(loaded))
