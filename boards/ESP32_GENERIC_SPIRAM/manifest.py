"""The modules frozen into a MicroPython build for this board: all boards' and its pins."""

# ruff: noqa: F821 - these functions are the build's own
include("../manifest.py")
module("board.py", base_path=".", opt=2)
