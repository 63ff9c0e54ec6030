"""`gc` of the virtual chip: its figures are a chip's, in bytes of a 32-bit machine."""

from gc import disable, enable, isenabled, threshold

import idf

collect = idf.grow
mem_alloc = idf.used
mem_free = idf.free
