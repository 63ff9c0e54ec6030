"""`gc` of the virtual chip: its figures are those of a chip, in bytes of 32 bits."""

from gc import disable, enable, isenabled, threshold

import idf

collect = idf.grow
mem_alloc = idf.used
mem_free = idf.free
