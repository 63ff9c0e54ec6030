"""The script that the chip runs after boot.py: the reader, and if it ever ends, a restart.

Ctrl-C leads to the console. Noise on its line may send one, so the watchdog restarts the chip
after ten minutes without a soft reset.
"""

import sys
import time

import machine

import micropython

micropython.kbd_intr(-1)  # each script begins with Ctrl-C allowed, this one until here

_PAUSE_S = 5  # time to reach the console with Ctrl-C

try:
    from kalitka.system import console

    console.lock()
    from kalitka import app

    app.main()
except KeyboardInterrupt:
    from kalitka.system import starts, watchdog

    starts.end()  # a technician is here
    watchdog.hold()
    print("the reader is stopped; it starts again in 10 minutes")
except Exception as error:
    sys.print_exception(error)
    print("the reader ended; it restarts in", _PAUSE_S, "seconds")
    if "console" not in globals():
        micropython.kbd_intr(3)  # nobody can tell whether it is locked
    time.sleep(_PAUSE_S)
    machine.reset()
