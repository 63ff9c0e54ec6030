"""The modules frozen into a MicroPython build for this board: the port's, Kalitka's, the pins."""

# ruff: noqa: F821 - these functions are the build's own
include("$(PORT_DIR)/boards/manifest.py")
include("../manifest.py")
module("board.py", base_path=".", opt=2)
