# What makes a frozen image of a board of MicroPython's port, which was included before: without
# Bluetooth, for which the chip keeps memory back from the start, and with Kalitka.
list(REMOVE_ITEM SDKCONFIG_DEFAULTS boards/sdkconfig.ble)
set(MICROPY_FROZEN_MANIFEST ${MICROPY_BOARD_DIR}/manifest.py)
