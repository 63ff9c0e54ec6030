"""The first script that the chip runs: the watchdog, then `guard`.

Has no more than 128 bytes without its comments, as it is installed: LittleFS then keeps it in its
folder's own blocks, which have checksums, so a damaged one is not taken. Nothing else guards it.
"""

import sys

import machine as m

m.WDT(timeout=20000)
# A crash or the watchdog, not the start with power: `guard` may be the cause, its copy is not.
if m.reset_cause() > 1:
    sys.path[:0] = ["/copy"]
__import__("guard").run()
