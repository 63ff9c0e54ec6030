"""The file system in a flash image that was read out of a reader.

An image is the whole flash (`esptool read_flash 0 ALL FILE`) or the file system alone. The offset
of the file system comes from the ESP32's partition table, or else from the boards' `board.json`.
Nothing is written.
"""

from struct import Struct

from littlefs import LittleFSError

from kalitka_build.boards import board_names, load_board
from kalitka_cli.log_entries import LogCorruptionError, NotALog
from kalitka_sim import littlefs_image

_TABLE = 0x8000  # offset of the partition table; its largest size follows
_TABLE_SIZE = 0xC00
# ESP-IDF, "Partition Tables": magic, type, subtype, offset, size, label, flags.
_PARTITION = Struct("<2sBBII16sI")
_MAGIC = b"\xaa\x50"
_DATA = 1
_FILE_SYSTEMS = (0x81, 0x83)  # fat, as MicroPython calls its partition, and littlefs
_LABEL = b"vfs"
# In the superblock, found in one of the first two blocks or in both.
_LITTLEFS = b"littlefs"
_LITTLEFS_AT = 8


def read_folder(data: bytes, folder: str) -> dict[str, bytes | None]:
    """Return {path below the folder: contents} of a folder's files, None for an unreadable file.

    data: the image. Raises NotALog if `data` is not a flash image or has no such folder;
    LogCorruptionError if the file system is damaged or cut.
    """
    fs = _file_system(data)
    try:
        return littlefs_image.read_folder(fs, folder)
    except FileNotFoundError:
        raise NotALog(
            f"its file system has no {folder}/: the reader has kept no access log yet"
        ) from None
    except LittleFSError as fault:
        raise LogCorruptionError(
            f"its file system is damaged: {fault}; read the flash out once more"
        ) from None


def _file_system(data: bytes) -> bytes:
    if _begins_littlefs(data):
        return data
    for label, at, size in _partitions(data):
        if label != _LABEL:
            continue
        found = data[at : at + size]
        if len(found) < size:
            raise LogCorruptionError(
                f"the image is cut: its file system ends at {at + size:#x}, the file at "
                f"{len(data):#x}; read the whole flash out once more"
            )
        if not found.strip(b"\xff"):
            raise NotALog(f"its file system, at {at:#x}, is blank")
        return found
    for described in map(load_board, board_names()):
        at, size = described["VFS_OFFSET"], described["VFS_SIZE"]
        if _begins_littlefs(data[at : at + size]):
            return data[at : at + size]
    raise NotALog(
        "no flash image of a reader: neither an ESP32's whole flash with a partition vfs nor a "
        "LittleFS; read one out with: esptool read_flash 0 ALL FILE"
    )


def _begins_littlefs(data: bytes) -> bool:
    return any(
        data.startswith(_LITTLEFS, block + _LITTLEFS_AT) for block in (0, littlefs_image.BLOCK)
    )


def _partitions(data: bytes) -> list[tuple[bytes, int, int]]:
    # (label, offset, bytes) of the file-system partitions.
    table = data[_TABLE : _TABLE + _TABLE_SIZE]
    table = table[: len(table) // _PARTITION.size * _PARTITION.size]
    return [
        (label.rstrip(b"\0"), at, size)
        for magic, kind, subtype, at, size, label, _ in _PARTITION.iter_unpack(table)
        if magic == _MAGIC and kind == _DATA and subtype in _FILE_SYSTEMS
    ]
