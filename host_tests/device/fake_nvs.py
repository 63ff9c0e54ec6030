"""The NVS of the chip in a dict, for the firmware's own modules."""

import os
import sys

from device.scratch import Folder
from kalitka import unload


class Esp32:
    """The module `esp32` with an NVS of `blobs`: {(namespace, key): bytes}.

    bad_writes: the numbers of the writes that raise OSError; whatever `in` takes. done: they are
    done all the same. writes: how many there were; a commit is one, too.
    """

    def __init__(self, blobs):
        self._blobs = blobs
        self._committed = dict(blobs)
        self.bad_writes = ()
        self.done = False
        self.writes = 0

    def cut_power(self):
        """Forget what was not committed."""
        self._blobs.clear()
        self._blobs.update(self._committed)

    def _write(self, into, values):
        self.writes += 1
        fails = self.writes in self.bad_writes
        if self.done or not fails:
            into.update(values)
        if fails:
            raise OSError(-0x1105, "ESP_ERR_NVS_NOT_ENOUGH_SPACE")

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
        self._write(self._blobs, {(self._namespace, key): bytes(value)})

    def commit(self):
        """Let what is set outlast a power cut."""
        self._write(self._committed, self._blobs)


def with_nvs(blobs, use, chip=None):
    """Run `use(nvs)` with the firmware's module `nvs` over `blobs`, in an empty working folder.

    chip: an Esp32 in the place of one of `blobs`.
    """
    home = os.getcwd()
    sys.modules["esp32"] = chip or Esp32(blobs)
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
