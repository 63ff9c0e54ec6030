"""The frozen modules of all boards; their manifests include this one."""

# ruff: noqa: F821 - these functions are the build's own
import sys

sys.path.insert(0, "../tools")  # from this folder, which is the current one
from kalitka_build.sources import write_sources

# Of the port's own modules those that start a chip, but for `inisetup`, which gives up on a
# damaged file system; and the two libraries that the firmware imports.
freeze("$(PORT_DIR)/modules", ("_boot.py", "flashbdev.py"))
include("$(MPY_DIR)/extmod/asyncio")
require("ssl")
written = write_sources()
package("kalitka", base_path=written, opt=2)
module("guard.py", base_path=written, opt=2)
module("inisetup.py", base_path="../firmware", opt=2)
module("main.py", base_path="../firmware", opt=2)
module("boot.py", base_path="../firmware", opt=2)
