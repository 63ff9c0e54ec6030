"""The script that the chip runs after boot.py: the reader, and if it ever ends, a restart."""

import sys
import time

import machine

_PAUSE_S = 5  # time to reach the console with Ctrl-C

try:
    from kalitka import app

    app.main()
except Exception as error:
    sys.print_exception(error)
    print("the reader ended; it restarts in", _PAUSE_S, "seconds")
    time.sleep(_PAUSE_S)
    machine.reset()
