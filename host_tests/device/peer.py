"""Answers checks line by line: the MicroPython side of micropython_peer.py.

A line is an expression over the names of one module, the answer a JSON string: "" or a traceback.
"""

import gc
import io
import json
import sys

_module = getattr(__import__("device." + sys.argv[1]), sys.argv[1])
_names = {name: getattr(_module, name) for name in dir(_module)}

while True:
    line = sys.stdin.readline()
    if not line:
        break
    gc.collect()
    fault = ""
    try:
        eval(line, _names)
    except BaseException as e:
        trace = io.StringIO()
        sys.print_exception(e, trace)
        fault = trace.getvalue()
    print(json.dumps(fault))
