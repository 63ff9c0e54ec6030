"""The backup file: lines of JSON, compressed with gzip, with a checksum at the end.

The last line holds the number of lines before it and the SHA-256 of their bytes, so a truncated
file and a wrong byte anywhere are detected. A file gets its name only when it is complete on disk
and was read back. Only its owner may read it: it holds people's names and hashes of secrets.
Reading and writing hold one line in memory.
"""

import gzip
import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from kalitka_hub.errors import InvalidRequest

_LINE_MAX = 1 << 22  # bytes; far more than any row, and the bound on memory
_END = "end"
_LEVEL = 6  # gzip compression


def write(path: Path, lines: Iterable[Any]) -> None:
    """Write JSON values to a file; only at the very end it replaces an older file of that name.

    Raises InvalidRequest if the file cannot be written; an older file is then unchanged.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as fault:
        raise _write_error(path, fault) from fault
    new = Path(name)
    try:
        with open(descriptor, "wb") as file:
            _write_lines(file, lines)
            file.flush()
            os.fsync(file.fileno())
        for _ in read(new):
            pass
        # Bytes synced and read back, then the rename, then the folder synced: in this order a
        # power cut leaves the old file or the new one, each complete.
        os.replace(new, path)
        _flush_folder(path.parent)
    except OSError as fault:
        raise _write_error(path, fault) from fault
    finally:
        new.unlink(missing_ok=True)


def read(path: Path) -> Iterator[Any]:
    """Yield the values of a file, in order.

    Raises InvalidRequest if the file is damaged or truncated. That is known only after the last
    value: trust no value before.
    """
    digest = hashlib.sha256()
    count = 0
    try:
        with gzip.open(path) as file:
            while line := file.readline(_LINE_MAX):
                value = json.loads(line)
                if isinstance(value, dict) and _END in value:
                    if value != _trailer(count, digest.hexdigest()) or file.read(1):
                        raise _damaged_error(path)
                    return
                digest.update(line)
                count += 1
                yield value
    except (gzip.BadGzipFile, zlib.error, EOFError, ValueError) as fault:
        raise _damaged_error(path) from fault
    except OSError as fault:
        raise InvalidRequest(f"cannot read {path}: {fault.strerror}") from fault
    raise _damaged_error(path)


def _write_lines(file: BinaryIO, lines: Iterable[Any]) -> None:
    digest = hashlib.sha256()
    count = 0
    # No name and no time in the gzip header: equal databases make equal files.
    with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
        for value in lines:
            line = _encode_line(value)
            digest.update(line)
            packed.write(line)
            count += 1
        packed.write(_encode_line(_trailer(count, digest.hexdigest())))


def _encode_line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _trailer(count: int, sha256: str) -> dict[str, Any]:
    return {_END: count, "sha256": sha256}


def _flush_folder(folder: Path) -> None:
    # Without this a power cut could lose the new name.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged_error(path: Path) -> InvalidRequest:
    return InvalidRequest(
        f"{path} is not a backup of this hub, or is damaged or truncated: take another backup; "
        "nothing was changed"
    )


def _write_error(path: Path, fault: OSError) -> InvalidRequest:
    return InvalidRequest(f"cannot write {path}: {fault.strerror}; nothing was changed")
