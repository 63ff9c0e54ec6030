"""What is kept in the chip's NVS, beside the file system: for the day that is lost, or is full.

A thing is written only when it is another than before.
"""

from esp32 import NVS

from micropython import const

_NAMESPACE = "kalitka"
_ZONE = "zone"
SIZE_MAX = const(1900)  # bytes; a blob of one NVS page


def load(key: str) -> bytes:
    """Return what is kept under `key` (bytes), b"" if there is nothing."""
    data = bytearray(SIZE_MAX)
    try:
        n = NVS(_NAMESPACE).get_blob(key, data)
    except OSError:
        return b""
    return bytes(data[:n])


def save(key: str, data: bytes) -> bool:
    """Keep `data` (bytes, at most SIZE_MAX) unless it is kept already. Returns success."""
    if len(data) > SIZE_MAX:
        return False
    if load(key) == data:
        return True
    try:
        nvs = NVS(_NAMESPACE)
        nvs.set_blob(key, data)
        nvs.commit()
    except OSError:
        return False
    return True


def load_zone() -> str:
    """Return the zone that the server told last, a POSIX TZ string, "" if it did not."""
    return load(_ZONE).decode()


def save_zone(zone: str) -> None:
    """Keep the zone that the server told."""
    save(_ZONE, zone.encode())
