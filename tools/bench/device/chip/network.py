"""`network` of a chip that joins any network at once."""

STA_IF = 0
STAT_GOT_IP = 1010
_up = False


def hostname(name):
    """Ignore the chip's name."""


class WLAN:
    """The station interface."""

    def __init__(self, interface):
        pass

    def active(self, on):
        """Do nothing: the radio is always on."""

    def config(self, **options):
        """Ignore the options."""

    def connect(self, ssid, key):
        """Join a network."""
        global _up
        _up = True

    def disconnect(self):
        """Leave the network."""
        global _up
        _up = False

    def isconnected(self):
        """Return whether the link is up."""
        return _up

    def ifconfig(self):
        """Return the address, the mask, the gateway and the name server."""
        return "10.0.0.2", "255.0.0.0", "10.0.0.1", "10.0.0.1"

    def status(self):
        """Return the state of the link."""
        return STAT_GOT_IP
