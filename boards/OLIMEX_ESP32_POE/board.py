"""Olimex ESP32-POE: its pins by their role.

Copied to the device as board.py; the tools read the same file. Other free pins work too: change
them only here. D0 and D1 of many Wiegand card readers carry 5 V: use a level shifter.
Buttons and contacts use the lines of the SD card slot: leave the slot empty.
"""

NAME = "OLIMEX_ESP32_POE"

# Pins (GPIO numbers).
WIEGAND_D0 = 32
WIEGAND_D1 = 33
LOCK = 4
EXIT_BUTTON = 14  # this and the contacts: switches to ground, see the settings
DOOR_CONTACT = 15
ALARM_CONTACT = 5
I2C_SDA = 13  # of the clock chip, if there is one
I2C_SCL = 16

# The PHY: arguments of `network.LAN`. The chip's own pins for Ethernet are 19, 21, 22, 25, 26, 27.
ETHERNET = {
    "phy_type": "PHY_LAN8720",
    "phy_addr": 0,
    "mdc": 23,
    "mdio": 18,
    "power": 12,
    "ref_clk": 17,
    "ref_clk_mode": "OUT",
}
