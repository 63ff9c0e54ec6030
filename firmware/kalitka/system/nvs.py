"""Values in the chip's NVS, which outlast a lost or full file system.

A value is written only if it has changed.
"""

from esp32 import NVS

from micropython import const

# Do not rename: readers in the field have their values under these names (boards/SETTINGS.md).
_NAMESPACE = const("kalitka")
_ZONE = const("zone")
_ZONE_MAX = const(256)  # bytes


def load(key: str, most: int) -> bytes:
    """Return the value of `key` (bytes), b"" if there is none of at most `most` bytes."""
    data = bytearray(most)
    try:
        n = NVS(_NAMESPACE).get_blob(key, data)
    except OSError:
        return b""
    return bytes(data[:n])


def save(key: str, data: bytes, most: int) -> bool:
    """Set the value of `key` to `data`, at most `most` bytes. Returns whether it is kept."""
    if len(data) > most:
        return False
    try:
        nvs = NVS(_NAMESPACE)
        if load(key, most) != data:
            nvs.set_blob(key, data)
        # Also if it is set: the commit may have failed. One without a change writes nothing.
        nvs.commit()
    except OSError:
        return False
    return True


def load_zone() -> str:
    """Return the zone saved last (a POSIX TZ string), "" if there is none."""
    return load(_ZONE, _ZONE_MAX).decode()


def save_zone(zone: str) -> None:
    """Save the server's zone (a POSIX TZ string) for the next start."""
    save(_ZONE, zone.encode(), _ZONE_MAX)
