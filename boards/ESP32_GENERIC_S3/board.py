"""ESP32-S3 without PSRAM or with quad PSRAM: its pins by their role.

Copied to the device as board.py; the tools read the same file. Other free pins work too: change
them only here. D0 and D1 of many Wiegand card readers carry 5 V: use a level shifter.
"""

NAME = "ESP32_GENERIC_S3"

# Pins (GPIO numbers).
WIEGAND_D0 = 4
WIEGAND_D1 = 5
LOCK = 6
EXIT_BUTTON = 7  # this and the contacts: switches to ground, see the settings
DOOR_CONTACT = 15
ALARM_CONTACT = 16
I2C_SDA = 8  # of the clock chip, if there is one
I2C_SCL = 9
