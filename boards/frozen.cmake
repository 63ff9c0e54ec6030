# Turns a board of MicroPython's port, included before this file, into a frozen image: without
# Bluetooth, for which the chip reserves memory from the start, and with Kalitka.
list(REMOVE_ITEM SDKCONFIG_DEFAULTS boards/sdkconfig.ble)
set(MICROPY_FROZEN_MANIFEST ${MICROPY_BOARD_DIR}/manifest.py)
