"""A driver of the DS3231 clock chip, which has a battery; the I2C bus is handed in.

Registers 0 to 6 are second, minute, hour, weekday, day, month and year in BCD; bit 7 of the
status says that the oscillator had stopped (data sheet 19-5170, "Timekeeping Registers" and
"Status Register"). Promises: the time is read and written in one transfer, so it is never torn
between two seconds; an absent chip or an empty battery raises nothing; an oscillator that was told
to stop on the battery (bit 7 of the control register, EOSC) is told to go on.
"""

from micropython import const

_ADDRESS = const(0x68)
_CONTROL = const(0x0E)
_STATUS = const(0x0F)
_STOPPED = const(0x80)
_TO_2000 = const(10957)  # days from 1970
_TO_2100 = const(47482)
_DAY = const(86400)


class Ds3231:
    """The chip on the bus `i2c`. Its time is UTC, in the years 2000 to 2099."""

    def __init__(self, i2c):
        self._i2c = i2c

    def read(self) -> int:
        """Return the seconds since 1970 UTC, -1 if the chip has no time or does not answer."""
        try:
            registers = self._i2c.readfrom_mem(_ADDRESS, 0, _STATUS + 1)
            _start(self._i2c, registers[_CONTROL])
        except OSError:
            return -1
        fields = bytearray(registers[:7])
        fields[5] &= 0x7F  # without the century bit: years 2000 to 2099 only
        afternoon = -1
        if fields[2] & 0x40:  # twelve-hour mode, which another program may have set
            afternoon = fields[2] >> 5 & 1
            fields[2] &= 0x9F
        for i in range(7):
            if fields[i] & 15 > 9:
                return -1
            fields[i] -= 6 * (fields[i] >> 4)
        second, minute, hour, _, day, month, year = fields
        if afternoon >= 0:
            # 12 comes before 1. Hours outside of 1 to 12 are invalid, and become 24.
            hour = hour % 12 + 12 * afternoon if 0 < hour < 13 else 24
        if registers[_STATUS] & _STOPPED or second > 59 or minute > 59 or hour > 23 or year > 99:
            return -1
        if not (0 < month < 13 and 0 < day <= _days(year, month)):
            return -1
        days = _TO_2000 + 365 * year + (year + 3) // 4 + day - 1
        for earlier in range(1, month):
            days += _days(year, earlier)
        return days * _DAY + (hour * 60 + minute) * 60 + second

    def write(self, seconds: int) -> bool:
        """Set the chip to `seconds` since 1970 UTC. Returns whether that succeeded."""
        day = seconds // _DAY
        if not _TO_2000 <= day < _TO_2100:
            return False
        second = seconds % _DAY
        weekday = (day + 3) % 7 + 1  # Monday is 1
        day -= _TO_2000
        year = 0
        while day >= 366 - (year % 4 > 0):
            day -= 366 - (year % 4 > 0)
            year += 1
        month = 1
        while day >= _days(year, month):
            day -= _days(year, month)
            month += 1
        fields = bytearray(
            (second % 60, second // 60 % 60, second // 3600, weekday, day + 1, month, year)
        )
        for i in range(7):
            fields[i] += 6 * (fields[i] // 10)
        i2c = self._i2c
        try:
            control, status = i2c.readfrom_mem(_ADDRESS, _CONTROL, 2)
            _start(i2c, control)
            i2c.writeto_mem(_ADDRESS, 0, fields)
            # Last: a chip that had stopped reports no time until the new time is written.
            i2c.writeto_mem(_ADDRESS, _STATUS, bytes((status & 0x7F,)))
        except OSError:
            return False
        return True


def _start(i2c, status):
    # Lets the oscillator run on the battery, too.
    if status & _STOPPED:
        i2c.writeto_mem(_ADDRESS, _CONTROL, bytes((status & 0x7F,)))


def _days(year, month):
    # Returns the days of a month; every fourth year from 2000 to 2099 is a leap year.
    if month == 2:
        return 29 - (year % 4 > 0)
    return 30 + (month + month // 8) % 2
