"""`esp32` of the virtual chip: the NVS, kept in a host file beside the flash, and the memory.

The NVS has the room of the port's partition and refuses what the IDF refuses (its nvs_flash
documentation: entries of 32 bytes, 126 in a page, one page kept free; a new value is written
beside the old one, and only then the old one is erased).
"""

import json
import os
from binascii import a2b_base64, b2a_base64

import idf

HEAP_DATA = 4  # the capability of data regions; there are no others here
_NOT_FOUND = 0x1102, "ESP_ERR_NVS_NOT_FOUND"
_FULL = 0x1105, "ESP_ERR_NVS_NOT_ENOUGH_SPACE"
_KEY_TOO_LONG = 0x1109, "ESP_ERR_NVS_KEY_TOO_LONG"
_TOO_SHORT = 0x110C, "ESP_ERR_NVS_INVALID_LENGTH"

_NAME_MAX = 15  # letters of a namespace or key
_ENTRY = 32
_PAGE = 126  # entries
_ENTRIES = 5 * _PAGE  # of the port's six pages one is kept free

# Opened at import: later the host's files are out of reach.
_file = open(os.getenv("KALITKA_CHIP_NVS"), "r+")
_text = _file.read()
_size = len(_text)  # of the file, which MicroPython cannot truncate: a shorter text is padded
_values = json.loads(_text or "{}")  # blobs in base64, integers
del _text


def _error(code):
    return OSError(-code[0], code[1])


def _entries(value):
    # Returns how many entries a stored value takes: a blob has an index, and a header a chunk.
    if isinstance(value, int):
        return 1
    data = (len(a2b_base64(value)) + _ENTRY - 1) // _ENTRY
    return data + 1 + max(1, (data + _PAGE - 2) // (_PAGE - 1))


class NVS:
    """One namespace of the NVS."""

    def __init__(self, namespace):
        if len(namespace) > _NAME_MAX:
            raise _error(_KEY_TOO_LONG)
        self._namespace = namespace

    def _name(self, key):
        if len(key) > _NAME_MAX:
            raise _error(_KEY_TOO_LONG)
        return self._namespace + "/" + key

    def _set(self, key, value):
        used = sum([_entries(_values[name]) for name in _values])
        if used + _entries(value) > _ENTRIES:
            raise _error(_FULL)
        _values[self._name(key)] = value

    def _get(self, key, kind):
        value = _values.get(self._name(key))
        if not isinstance(value, kind):
            raise _error(_NOT_FOUND)
        return value

    def set_blob(self, key, value):
        """Set a blob; `commit` saves it. Raises OSError if there is no room."""
        self._set(key, b2a_base64(value).decode().strip())

    def get_blob(self, key, buffer):
        """Read a blob into `buffer`; return its length.

        Raises OSError if it is not there or longer than the buffer.
        """
        value = a2b_base64(self._get(key, str))
        if len(value) > len(buffer):
            raise _error(_TOO_SHORT)
        buffer[: len(value)] = value
        return len(value)

    def set_i32(self, key, value):
        """Set an integer of 32 bits; `commit` saves it. Raises OSError if there is no room."""
        if not -(1 << 31) <= value < 1 << 31:
            raise OverflowError("overflow converting long int to machine word")
        self._set(key, value)

    def get_i32(self, key):
        """Return an integer. Raises OSError if it is not there."""
        return self._get(key, int)

    def erase_key(self, key):
        """Erase a value; `commit` saves that. Raises OSError if it is not there."""
        self._get(key, (int, str))
        del _values[self._name(key)]

    def commit(self):
        """Save all values."""
        global _size
        text = json.dumps(_values)
        padding = " " * max(0, _size - len(text))
        _size = max(_size, len(text))
        _file.seek(0)
        _file.write(text + padding)
        _file.flush()


def idf_heap_info(capabilities):
    """Return the IDF's regions: [(bytes, free, largest free piece, least that was free), ...]."""
    return idf.info()
