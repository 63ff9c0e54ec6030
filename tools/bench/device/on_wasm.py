"""Measures one program on the 32-bit MicroPython: on_wasm.py PROGRAM WHAT PATH.

WHAT: "open" opens the table in /data; "peak" applies the full answer PATH as well, and measures
the heap between any two steps. Prints the bytes of heap: of the imported program, of its open
table on top of that, and of the peak on top of that. As wasm_board says, only flat module code may
measure the heap.
"""

import gc
import sys

name, what, path = sys.argv[1:4]
module = __import__(name)
bare = gc.in_use()
program = module.Program("/data")
opened = most = gc.in_use()
if what == "peak":
    for _ in program.full(path):
        most = max(most, gc.in_use())
    most = max(most, gc.in_use())
print(bare, opened - bare, most - opened)
