"""`esp32` of the virtual chip: the NVS, kept in a host file beside the flash, and the memory."""

import json
import os
from binascii import a2b_base64, b2a_base64

import idf

HEAP_DATA = 4  # the capability of data regions; there are no others here
_ENOENT = 0x1102  # ESP_ERR_NVS_NOT_FOUND

# Opened at import: later the host's files are out of reach.
_file = open(os.getenv("KALITKA_CHIP_NVS"), "r+")
_blobs = json.loads(_file.read() or "{}")


class NVS:
    """One namespace of the NVS, blobs only."""

    def __init__(self, namespace):
        self._namespace = namespace

    def set_blob(self, key, value):
        """Set a blob; `commit` saves it."""
        _blobs[self._namespace + "/" + key] = b2a_base64(value).decode().strip()

    def get_blob(self, key, buffer):
        """Read a blob into `buffer` and return its length. Raises OSError if there is none."""
        name = self._namespace + "/" + key
        if name not in _blobs:
            raise OSError(-_ENOENT, "ESP_ERR_NVS_NOT_FOUND")
        value = a2b_base64(_blobs[name])
        buffer[: len(value)] = value
        return len(value)

    def commit(self):
        """Save all blobs."""
        _file.seek(0)
        text = json.dumps(_blobs)
        _file.write(text + " " * 64)
        _file.flush()


def idf_heap_info(capabilities):
    """Return the IDF's regions: [(bytes, free, largest free piece, least that was free), ...]."""
    return idf.info()
