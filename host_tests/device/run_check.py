"""Runs one check in MicroPython: `micropython run_check.py power 'check_cuts("full")'`.

The second argument is an expression over the names of the module. Ends with exit status 1 and
the traceback if it raises.
"""

import sys

_module = getattr(__import__("device." + sys.argv[1]), sys.argv[1])
eval(sys.argv[2], {name: getattr(_module, name) for name in dir(_module)})
