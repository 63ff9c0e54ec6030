"""`esp` of the virtual chip: the size of its flash."""

import idf


def flash_size():
    """Return the size of the whole flash chip in bytes."""
    return idf.flash_size
