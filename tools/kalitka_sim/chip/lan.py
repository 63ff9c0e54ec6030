"""The Ethernet of the virtual chip, for boards that have one: `network` imports these names.

The world plugs and pulls the cable with its "network" request, in `state.air` (see network.py).
"up": there is a cable with a network behind it; "dhcp": that network gives addresses, default
true; "deaf": a link that is up stays up until the firmware leaves it.

As on the chip, the interface is made once, with suitable pins; switching it on waits for the PHY
(here for a tenth of the time); a fixed address is forgotten when it is switched off, and one
without a gateway counts as none.
"""

import state
import utime as ticks
from machine import Pin
from network import lease

PHY_LAN8720 = 0x2000
ETH_INITIALIZED, ETH_STARTED, ETH_STOPPED, ETH_CONNECTED, ETH_DISCONNECTED, ETH_GOT_IP = range(6)
# The chip's fixed pins for the data, and those that can carry the PHY's clock.
_DATA = (19, 21, 22, 25, 26, 27)
_CLOCKS = (0, 16, 17)
_DHCP_MS = 300
_NOTHING = ("0.0.0.0",) * 4
_lan = None


def LAN(
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
    """Return the interface, always the same one. Raises ValueError or OSError as the port."""
    global _lan
    if _lan:
        return _lan
    if mdc is None or mdio is None:
        raise ValueError("mdc and mdio must be specified")
    if phy_type != PHY_LAN8720 or not 0 <= phy_addr <= 31:
        raise ValueError("invalid phy type")
    for pin in (mdc, mdio, reset, power):
        if pin and pin._line.number in _DATA:
            raise OSError("esp_eth_driver_install failed")
    if ref_clk and (ref_clk._line.number not in _CLOCKS or ref_clk_mode != Pin.OUT):
        raise OSError("esp_eth_driver_install failed with invalid argument")
    if power:
        power._line.drive(1)
    _lan = _Lan()
    return _lan


class _Lan:
    def __init__(self):
        self._active = False
        self._fixed = None  # address, mask, gateway, name server
        self._up = False
        self._asked = None  # when DHCP began (ticks), None without a cable

    def active(self, on=None):
        """Return whether the interface is on, or switch it."""
        if on is not None and bool(on) != self._active:
            self._active = bool(on)
            self._up = False
            self._fixed = self._asked = None
            if on:
                ticks.sleep_ms(200 if state.air["up"] else 400)
        return self._active

    def isconnected(self):
        """Return whether there is an address."""
        return self.status() == ETH_GOT_IP

    def status(self):
        """Return the state of the link."""
        air = state.air
        if not self._active:
            return ETH_STOPPED
        if self._up and air.get("deaf"):
            return ETH_GOT_IP
        self._up = False
        if not air["up"]:
            self._asked = None
            return ETH_DISCONNECTED
        if self._asked is None:
            self._asked = ticks.ticks_ms()
        if self._fixed:
            self._up = self._fixed[2] != "0.0.0.0"
        else:
            waited = ticks.ticks_diff(ticks.ticks_ms(), self._asked)
            self._up = air.get("dhcp", True) and waited >= _DHCP_MS
        return ETH_GOT_IP if self._up else ETH_CONNECTED

    def ifconfig(self, values=None):
        """Read or set the address, the mask, the gateway and the name server."""
        if values is not None:
            self._fixed = values
            return None
        if self._fixed:
            return self._fixed
        return lease if self.isconnected() else _NOTHING

    def ipconfig(self, name=None, **options):
        """Return whether DHCP is on, or switch it."""
        if name == "dhcp4":
            return not self._fixed
        if name or list(options) != ["dhcp4"]:
            raise ValueError("unexpected key")
        if not options["dhcp4"]:
            self._fixed = _NOTHING
        elif self._fixed:
            self._fixed = self._asked = None
