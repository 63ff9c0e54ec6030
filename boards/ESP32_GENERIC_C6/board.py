"""ESP32-C6: its pins by their role.

Copied to the device as board.py; the tools read the same file. Other free pins work too: change
them only here. D0 and D1 of many Wiegand card readers carry 5 V: use a level shifter.
"""

NAME = "ESP32_GENERIC_C6"

# Pins (GPIO numbers).
WIEGAND_D0 = 18
WIEGAND_D1 = 19
LOCK = 3
EXIT_BUTTON = 0  # this and the contacts: switches to ground, see the settings
DOOR_CONTACT = 1
ALARM_CONTACT = 2
I2C_SDA = 22  # of the clock chip, if there is one
I2C_SCL = 23
