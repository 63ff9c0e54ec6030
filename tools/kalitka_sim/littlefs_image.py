"""A flash image: a file that holds a LittleFS, as the chip's file system partition.

The computer makes, changes and reads it while the chip is off; the chip mounts the same bytes
with MicroPython's own LittleFS.
"""

from pathlib import Path, PurePosixPath

from littlefs import LittleFS, LittleFSError

BLOCK = 4096
_ACCESS = 32  # bytes read or programmed at once, as the ESP32 port mounts it
_FILE, _FOLDER = 1, 2  # LittleFS's types of directory entries


def create(path: Path, size: int, files: dict[str, bytes]) -> None:
    """Create an image of `size` bytes (whole blocks) that holds `files` ({path: contents})."""
    fs = _littlefs(size)
    fs.format()
    fs.mount()
    _write_files(fs, files)
    path.write_bytes(fs.context.buffer)


def update(path: Path, files: dict[str, bytes]) -> None:
    """Write files into an image, replacing those of the same name."""
    fs = _mounted(path.read_bytes())
    _write_files(fs, files)
    path.write_bytes(fs.context.buffer)


def remove(path: Path, name: str) -> None:
    """Remove a file from an image."""
    fs = _mounted(path.read_bytes())
    fs.remove("/" + name)
    path.write_bytes(fs.context.buffer)


def read(path: Path) -> dict[str, bytes]:
    """Return {path: contents} of all files in an image."""
    fs = _mounted(path.read_bytes())
    found = {}
    for folder, _, names in fs.walk("/"):
        for name in names:
            full = str(PurePosixPath(folder) / name)
            with fs.open(full, "rb") as file:
                found[full.lstrip("/")] = file.read()
    return found


def read_folder(data: bytes, folder: str) -> dict[str, bytes | None]:
    """Return {path below `folder`: contents} of its files. data: the bytes of an image.

    The contents of a file or subfolder that LittleFS finds damaged are None. Raises
    FileNotFoundError if there is no such folder, LittleFSError if LittleFS cannot look it up.
    """
    fs = _mounted(data)
    found: dict[str, bytes | None] = {}
    folders = [""]
    while folders:
        below = folders.pop()
        try:
            items = list(fs.scandir(f"/{folder}/{below}"))
        except LittleFSError as fault:
            if below:
                found[below.rstrip("/")] = None
                continue
            if fault.code == LittleFSError.Error.LFS_ERR_NOENT:
                raise FileNotFoundError(folder) from None
            raise
        folders += [f"{below}{item.name}/" for item in items if item.type == _FOLDER]
        for name in (below + item.name for item in items if item.type == _FILE):
            try:
                with fs.open(f"/{folder}/{name}", "rb") as file:
                    found[name] = file.read()
            except (LittleFSError, OSError):
                found[name] = None
    return found


def _mounted(data: bytes) -> LittleFS:
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
        cache_size=4 * _ACCESS,
        mount=False,
    )


def _write_files(fs: LittleFS, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        fs.makedirs(str(PurePosixPath("/") / PurePosixPath(name).parent), exist_ok=True)
        with fs.open("/" + name, "wb") as file:
            file.write(data)
