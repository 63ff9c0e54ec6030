"""An I2C bus with a DS3231 on it that stands still, for the tests of its driver."""

_ENODEV = 19


class FakeI2c:
    """registers: a bytearray of the chip's nineteen; None if nobody answers.

    transfers: (address, register, length, written) of each.
    """

    def __init__(self, registers):
        self.registers = registers
        self.transfers = []

    def readfrom_mem(self, address, register, n):
        """As `machine.I2C`."""
        self._transfer(address, register, n, False)
        return bytes(self.registers[register : register + n])

    def writeto_mem(self, address, register, data):
        """As `machine.I2C`."""
        self._transfer(address, register, len(data), True)
        self.registers[register : register + len(data)] = data

    def _transfer(self, address, register, n, written):
        if address != 0x68 or self.registers is None:
            raise OSError(_ENODEV)
        assert register + n <= 19
        self.transfers.append((address, register, n, written))
