"""The DS3231 driver: its registers against a calendar that is not ours."""

import sys

from device.fake_i2c import FakeI2c
from kalitka.hardware.ds3231 import Ds3231

# From GNU date: `date -u -d @N '+%S%M%H0%u%d%m%y'`, which are the registers' digits.
MOMENTS = (
    (946684800, "00000006010100"),
    (951782399, "59592301280200"),
    (951782400, "00000002290200"),
    (951868800, "00000003010300"),
    (1078012799, "59592306280204"),
    (1109635200, "00000002010305"),
    (1767225599, "59592303311225"),
    (1767225600, "00000004010126"),
    (1795287578, "38591806211126"),
    (1804467599, "59590001080327"),
    (2147483647, "07140302190138"),
    (2147483648, "08140302190138"),
    (3471292799, "59592307311279"),
    (4102444799, "59592304311299"),
)


def image(digits, status=0):
    """Return all registers of a chip whose first seven are `digits` (hexadecimal)."""
    return (
        bytearray([int(digits[i : i + 2], 16) for i in range(0, 14, 2)] + [0x55] * 8 + [status])
        + b"\x00\x19\x40"
    )


def read(digits, status=0):
    """Return the time that the driver reads from these registers."""
    return Ds3231(FakeI2c(image(digits, status))).read()


def check(seconds, digits):
    """Check reading and writing of this moment; `digits` are the expected registers."""
    assert read(digits) == seconds, (read(digits), seconds, digits)
    bus = FakeI2c(image("00000000000000", 0x88))
    assert Ds3231(bus).write(seconds)
    assert bus.registers == image(digits, 0x08), (bus.registers, digits)


def test_moments_of_another_calendar():
    for seconds, digits in MOMENTS:
        check(seconds, digits)


def test_every_day_of_the_century():
    if sys.implementation.name == "micropython":
        return  # MicroPython has no other calendar to compare with
    from datetime import UTC, datetime, timedelta

    day = datetime(2000, 1, 1, tzinfo=UTC)
    step = timedelta(days=1, seconds=7919)  # a prime, so that every second and minute occurs
    while day.year < 2100:
        check(
            int(day.timestamp()),
            day.strftime("%S%M%H") + "%02d" % day.isoweekday() + day.strftime("%d%m%y"),
        )
        day += step


def test_a_time_is_one_transfer():
    bus = FakeI2c(image("38591806211126"))
    chip = Ds3231(bus)
    chip.read()
    assert bus.transfers == [(0x68, 0, 16, False)]
    del bus.transfers[:]
    chip.write(1767225600)
    assert [part for part in bus.transfers if part[1] < 7] == [(0x68, 0, 7, True)]
    # The status comes last: the chip has a time only once all of it is written.
    assert bus.transfers[-1] == (0x68, 15, 1, True)


def test_a_chip_whose_oscillator_stopped_has_no_time_until_it_is_set():
    bus = FakeI2c(image("38591806211126", 0x88))
    chip = Ds3231(bus)
    assert chip.read() == -1
    assert chip.write(1795287578)
    assert chip.read() == 1795287578
    # The other bits of the status, for the alarms and the 32 kHz output, stay.
    assert bus.registers[15] == 0x08


def test_3_an_oscillator_that_stops_on_the_battery_is_told_to_go_on():
    # EOSC with the other bits of a chip as it comes: on the battery the time would stand still.
    for use in (lambda chip: chip.read(), lambda chip: chip.write(1795287578)):
        registers = image("38591806211126")
        registers[14] = 0x9C
        bus = FakeI2c(registers)
        use(Ds3231(bus))
        assert bus.registers[14] == 0x1C, hex(bus.registers[14])
        # Once is enough.
        del bus.transfers[:]
        use(Ds3231(bus))
        assert not [part for part in bus.transfers if part[1] == 14 and part[3]]


def test_an_absent_chip_has_no_time_and_is_no_error():
    chip = Ds3231(FakeI2c(None))
    assert chip.read() == -1
    assert chip.write(1795287578) is False


def test_years_that_the_chip_does_not_have_are_not_written():
    bus = FakeI2c(image("38591806211126"))
    for seconds in (-1, 0, 946684799, 4102444800, 1 << 40):
        assert Ds3231(bus).write(seconds) is False, seconds
    assert bus.transfers == []


def test_hours_of_twelve_are_understood():
    midnight = 1795219200
    assert read("00000006211126") == midnight
    for hour in range(24):
        twelve = (hour + 11) % 12 + 1
        register = 0x40 | (0x20 if hour >= 12 else 0) | twelve // 10 << 4 | twelve % 10
        assert read("0000%02x06211126" % register) == midnight + hour * 3600, hour
    for twelve in ("40", "53", "59", "5A", "60", "73", "79", "C1"):
        assert read("0000%s06211126" % twelve) == -1, twelve


def test_the_century_bit_changes_nothing():
    assert read("38591806219126") == 1795287578


def test_what_is_no_date_is_no_time():
    good = "38591806211126"
    assert read(good) == 1795287578
    for at, bad in (
        (0, ("60", "5A", "7F", "80", "FF", "A0")),
        (2, ("60", "3A", "80", "FF")),
        (4, ("24", "29", "2A", "80", "A1", "3F")),
        (8, ("00", "31", "32", "1A", "99", "FF")),
        (10, ("00", "13", "0A", "19", "80", "7F", "FF")),
        (12, ("A0", "9A", "FF", "FA")),
    ):
        for value in bad:
            digits = good[:at] + value + good[at + 2 :]
            assert read(digits) == -1, digits
    for digits in ("00" * 7, "FF" * 7, "00000001290226", "00000001300224", "00000004310426"):
        assert read(digits) == -1, digits
    assert read("00000001290224") == 1709164800


def test_no_garbage_is_an_error():
    for value in range(256):
        for at in range(7):
            registers = image("38591806211126")
            registers[at] = value
            assert -1 <= Ds3231(FakeI2c(registers)).read() < 4102444800
