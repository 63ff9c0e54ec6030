"""The NVS of the chip in a dict, for the firmware's own modules."""

import os
import sys

from device.scratch import Folder
from kalitka import unload


class Esp32:
    """The module `esp32` with an NVS of `blobs`: {(namespace, key): bytes}."""

    def __init__(self, blobs):
        self._blobs = blobs

    def NVS(self, namespace):
        """Return the namespace."""
        self._namespace = namespace
        return self

    def get_blob(self, key, buffer):
        """Read a blob, as `esp32.NVS`."""
        value = self._blobs.get((self._namespace, key))
        if value is None:
            raise OSError(-0x1102, "ESP_ERR_NVS_NOT_FOUND")
        if len(value) > len(buffer):
            raise OSError(-0x110C, "ESP_ERR_NVS_INVALID_LENGTH")
        buffer[: len(value)] = value
        return len(value)

    def set_blob(self, key, value):
        """Set a blob, as `esp32.NVS`."""
        self._blobs[self._namespace, key] = bytes(value)

    def commit(self):
        """Do nothing: what is set is kept."""


def with_nvs(blobs, use):
    """Run `use(nvs)` with the firmware's module `nvs` over `blobs`, in an empty working folder."""
    home = os.getcwd()
    sys.modules["esp32"] = Esp32(blobs)
    try:
        from kalitka.system import nvs

        with Folder() as path:
            os.chdir(path)
            try:
                use(nvs)
            finally:
                os.chdir(home)
    finally:
        del sys.modules["esp32"]
        unload("system.nvs")
