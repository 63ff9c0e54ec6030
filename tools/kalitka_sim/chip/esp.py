"""`esp` of the virtual chip: how large its flash is."""

import idf


def flash_size():
    """Return the bytes of the whole flash chip."""
    return idf.flash_size
