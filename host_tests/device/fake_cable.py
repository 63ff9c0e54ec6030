"""The ESP32's Ethernet: what stands in the place of the modules `network` and `machine`.

Like `ports/esp32/network_lan.c` and the IDF below it: the interface is made once, and a soft reset
leaves it as it was; a try that fails keeps its memory and spoils what comes after it, until the
chip is reset; switching it on waits for the PHY to agree with the other end, up to four seconds;
a fixed address without a gateway is taken for none, and is forgotten when it is switched off.
"""

import sys

from device.fake_time import now

INITIALIZED, STARTED, STOPPED, CONNECTED, DISCONNECTED, GOT_IP = range(6)
# Pins that the chip itself gives to Ethernet: no others can carry the data.
DATA_PINS = (19, 21, 22, 25, 26, 27)
_REF_CLK = (0, 16, 17)
_DHCP_S = 2


class Cable:
    """The chip's Ethernet, and what its cable ends in. It stands for `network` and `machine`.

    plugged: whether there is a cable; dhcp: whether somebody gives addresses; deaf: a link that is
    up carries nothing. fault: what the first try to make the interface raises.
    """

    PHY_LAN8720 = 0x2000
    ETH_INITIALIZED, ETH_STARTED, ETH_STOPPED = INITIALIZED, STARTED, STOPPED
    ETH_CONNECTED, ETH_DISCONNECTED, ETH_GOT_IP = CONNECTED, DISCONNECTED, GOT_IP

    def __init__(self):
        self.plugged = self.dhcp = True
        self.deaf = False
        self.fault = None
        self.address = "192.168.7.5"
        self.name = self.told_name = "mpy-esp32"
        self.blocked = 0  # seconds for which the loop stood still
        self.switched = []  # whether on or off, each time
        self.tries = 0
        self.Pin = _Pin
        self._lan = None

    def hostname(self, name):
        """As `network.hostname`."""
        if len(name) > 32:
            raise ValueError
        self.name = name

    def ipconfig(self, name):
        """As `network.ipconfig`."""
        if name != "dns":
            raise ValueError("unexpected key")
        return "192.168.7.1"

    def LAN(
        self,
        id=None,
        *,
        phy_addr,
        phy_type,
        mdc=None,
        mdio=None,
        reset=None,
        power=None,
        ref_clk_mode=-1,
        ref_clk=None,
    ):
        """As `network.LAN`."""
        if self._lan:
            return self._lan
        if id not in (None, 0):
            raise ValueError("invalid LAN interface identifier")
        if not 0 <= phy_addr <= 31:
            raise ValueError("invalid phy address")
        if phy_type != Cable.PHY_LAN8720:
            raise ValueError("invalid phy type")
        if mdc is None or mdio is None:
            raise ValueError("mdc and mdio must be specified")
        for pin in (mdc, mdio, power, reset, ref_clk):
            assert pin is None or isinstance(pin, _Pin), "not a pin"
            assert pin is None or pin.number not in DATA_PINS, "has its own use"
        assert ref_clk is None or ref_clk.number in _REF_CLK, "the chip would abort"
        assert ref_clk_mode in (-1, _Pin.IN, _Pin.OUT)
        self.tries += 1
        if self.tries == 1 and self.fault:
            raise self.fault
        lan = _Lan(self)
        if self.tries > 1:
            # The first one's network interface is still there, and this one gets none.
            lan.broken = True
            self._lan = lan
            raise OSError("esp_netif_attach failed")
        self._lan = lan
        return lan


class _Pin:
    IN = 1
    OUT = 3

    def __init__(self, number):
        self.number = number


class _Lan:
    def __init__(self, cable):
        self.cable = cable
        self.broken = False
        self.on = False
        self.fixed = None
        self._lease = None  # since when an address is asked for, None while nobody asks
        self._linked = False

    def active(self, on=None):
        if on is None:
            return self.on
        cable = self.cable
        if on and not self.on:
            cable.told_name = cable.name
            cable.blocked += 2 if cable.plugged else 4
            self.fixed = None
        if on != self.on:
            cable.switched.append(on)
            self._linked = False
            cable.deaf = cable.deaf and on
        self.on = on
        return on

    def isconnected(self):
        return self.status() == GOT_IP

    def status(self):
        cable = self.cable
        if not self.on:
            return STOPPED
        if self.broken or not cable.plugged:
            self._linked = False
            return DISCONNECTED
        if not self._linked:
            self._linked = True
            self._lease = now()
        if self.fixed:
            return CONNECTED if self.fixed[2] == "0.0.0.0" else GOT_IP
        # It calls a link connected whose address was taken away again.
        return GOT_IP if cable.dhcp and now() - self._lease >= _DHCP_S else CONNECTED

    def ifconfig(self, values=None):
        if values is not None:
            self.fixed = values[:3]
            return None
        if self.fixed:
            return self.fixed + ("0.0.0.0",)
        address = self.cable.address if self.status() == GOT_IP else "0.0.0.0"
        return address, "255.255.255.0", "192.168.7.1", "192.168.7.1"

    def ipconfig(self, name=None, **options):
        if name == "dhcp4":
            return not self.fixed
        if name or not options or set(options) - {"dhcp4"}:
            raise ValueError("unexpected key")
        if not options["dhcp4"]:
            self.fixed = ("0.0.0.0",) * 3
        elif self.fixed:
            self.fixed = None
            self._lease = now()


# On CPython there is no `network` and no `machine` to import.
for _name in ("network", "machine"):
    sys.modules.setdefault(_name, sys.modules[__name__])
