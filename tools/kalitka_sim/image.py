"""A flash image: a file with a LittleFS, as the chip's file system partition.

Made and looked into from the computer while the chip is off; the chip itself mounts the same
bytes with MicroPython's own LittleFS.
"""

from pathlib import Path, PurePosixPath

from littlefs import LittleFS

BLOCK = 4096
_ACCESS = 32  # bytes read or programmed at once, as the ESP32 port mounts it


def create(path: Path, size: int, files: dict[str, bytes]) -> None:
    """Make an image of `size` bytes (whole blocks) that holds `files` ({path: contents})."""
    fs = _littlefs(size)
    fs.format()
    fs.mount()
    _put(fs, files)
    path.write_bytes(fs.context.buffer)


def update(path: Path, files: dict[str, bytes]) -> None:
    """Write files into an image, replacing those of the same name."""
    fs = _mounted(path)
    _put(fs, files)
    path.write_bytes(fs.context.buffer)


def remove(path: Path, name: str) -> None:
    """Remove a file from an image."""
    fs = _mounted(path)
    fs.remove("/" + name)
    path.write_bytes(fs.context.buffer)


def read(path: Path) -> dict[str, bytes]:
    """Return {path: contents} of all files in an image."""
    fs = _mounted(path)
    found = {}
    for folder, _, names in fs.walk("/"):
        for name in names:
            full = str(PurePosixPath(folder) / name)
            with fs.open(full, "rb") as file:
                found[full.lstrip("/")] = file.read()
    return found


def _mounted(path: Path) -> LittleFS:
    data = path.read_bytes()
    fs = _littlefs(len(data))
    fs.context.buffer = bytearray(data)
    fs.mount()
    return fs


def _littlefs(size: int) -> LittleFS:
    return LittleFS(
        block_size=BLOCK,
        block_count=size // BLOCK,
        read_size=_ACCESS,
        prog_size=_ACCESS,
        lookahead_size=_ACCESS,
        mount=False,
    )


def _put(fs: LittleFS, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        fs.makedirs(str(PurePosixPath("/") / PurePosixPath(name).parent), exist_ok=True)
        with fs.open("/" + name, "wb") as file:
            file.write(data)
