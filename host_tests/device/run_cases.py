"""Runs every `test_*` of one case file in MicroPython: `micropython run_cases.py case_rules`.

Prints `ok NAME` or `FAIL NAME`, with the traceback behind it.
"""

import gc
import sys


def _run(module):
    for name in sorted(dir(module)):
        if not name.startswith("test_"):
            continue
        gc.collect()
        try:
            getattr(module, name)()
            print("ok", name)
        except BaseException as e:
            print("FAIL", name)
            sys.print_exception(e, sys.stdout)


_run(getattr(__import__("device." + sys.argv[1]), sys.argv[1]))
