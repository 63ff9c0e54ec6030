"""`esp32` of a chip whose NVS saves nothing."""


class NVS:
    """A namespace."""

    def __init__(self, name):
        pass

    def get_blob(self, key, buf):
        """Raise OSError: there are no blobs."""
        raise OSError(0x1102)

    def set_blob(self, key, value):
        """Ignore the blob."""

    def commit(self):
        """Do nothing."""
