"""`machine.I2C` of the virtual chip with a DS3231 on the bus, whose time is in a host file.

The file has the seconds by which the DS3231 is ahead of the host's clock, or `stopped`.
"""

import os
import time

import utime

# Opened at import: later the host's files are out of reach.
_file = open(os.getenv("KALITKA_CHIP_DS3231"), "r+")


class I2C:
    """Any I2C bus; the DS3231 is on all of them."""

    def __init__(self, id, scl=None, sda=None, freq=400000):
        self._kept = ""

    def readfrom_mem(self, address, register, n):
        """Return `n` of the DS3231's registers."""
        if address != 0x68:
            raise OSError(19)
        _file.seek(0)
        kept = _file.read().strip()
        stopped = kept == "stopped"
        t = utime.gmtime(int(utime.time() + (0 if stopped else float(kept))))
        image = bytearray(t[i] % 100 for i in (5, 4, 3, 6, 2, 1, 0))
        for i in range(7):
            image[i] += 6 * (image[i] // 10)
        image += bytes(8) + bytes((0x80 if stopped else 0,))
        return image[register : register + n]

    def writeto_mem(self, address, register, data):
        """Set the DS3231's registers: all of its time, or its status."""
        if address != 0x68:
            raise OSError(19)
        if register == 0:
            second, minute, hour, _, day, month, year = [b - 6 * (b >> 4) for b in data]
            seconds = time.mktime((2000 + year, month, day, hour, minute, second)) + 946684800
            self._kept = "%.3f" % (seconds - utime.time())
        elif self._kept and not data[0] & 0x80:
            _file.seek(0)
            _file.write("%-24s" % self._kept)
            _file.flush()
