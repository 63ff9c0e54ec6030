"""What a MicroPython build for this board freezes: the firmware, beside the port's own modules.

    make -C micropython/ports/esp32 BOARD=ESP32_GENERIC \\
        FROZEN_MANIFEST=/path/to/kalitka/boards/ESP32_GENERIC/manifest.py
"""

# ruff: noqa: F821 - these functions are the build's own
include("$(PORT_DIR)/boards/manifest.py")
package("kalitka", base_path="../../firmware", opt=2)
module("main.py", base_path="../../firmware", opt=2)
module("boot.py", base_path="../../firmware", opt=2)
module("board.py", base_path=".", opt=2)
