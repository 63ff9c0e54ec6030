"""A copy of the settings in the chip's NVS, for the day the file system is lost.

The copy is written only when the settings change, and read only when their file cannot be.
"""

from esp32 import NVS

from micropython import const

_NAMESPACE = "kalitka"
_KEY = "settings"
SIZE_MAX = const(1900)  # bytes; a blob of one NVS page


def load() -> bytes:
    """Return the copy (bytes), b"" if there is none."""
    data = bytearray(SIZE_MAX)
    try:
        n = NVS(_NAMESPACE).get_blob(_KEY, data)
    except OSError:
        return b""
    return bytes(data[:n])


def save(data: bytes) -> bool:
    """Keep `data` (bytes, at most SIZE_MAX) unless it is kept already. Returns success."""
    if len(data) > SIZE_MAX:
        return False
    if load() == data:
        return True
    try:
        nvs = NVS(_NAMESPACE)
        nvs.set_blob(_KEY, data)
        nvs.commit()
    except OSError:
        return False
    return True
