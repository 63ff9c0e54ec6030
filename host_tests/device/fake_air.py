"""The module `network` of the ESP32 port, its radio, and the air around it, in virtual time.

Like `ports/esp32/network_wlan.c`: a try takes some seconds; what it failed of stays the status
until there is another; a driver that was not told otherwise retries by itself, and refuses to
begin another try in between. The chip's name is told to the network when a try begins. A fixed
address is forgotten when the radio is switched off, and is kept over a soft reset; one without a
gateway is taken for none.
"""

import sys

from device.fake_time import millis, now

IDLE, CONNECTING, GOT_IP = 1000, 1001, 1010
HANDSHAKE, BEACONS, ABSENT, REFUSED = 15, 200, 201, 202
_CALLS_MAX = 400
_NAMES = {
    "STAT_IDLE": IDLE,
    "STAT_CONNECTING": CONNECTING,
    "STAT_GOT_IP": GOT_IP,
    "STAT_BEACON_TIMEOUT": BEACONS,
    "STAT_NO_AP_FOUND": ABSENT,
    "STAT_WRONG_PASSWORD": REFUSED,
    "STAT_HANDSHAKE_TIMEOUT": 204,
    "STAT_CONNECT_FAIL": 203,
    "STAT_ASSOC_FAIL": 203,
}


class Air:
    """What stands in the place of the module `network`.

    networks: {ssid: password}, in the air now. names: whether there are STAT_ constants;
    ifconfig, reconnects, hostname: whether this version has them. stale: whether a failure stays
    the status while the next try is under way, as from version 1.22 on.
    """

    STA_IF = 0

    def __init__(
        self, networks, names=True, ifconfig=True, reconnects=True, hostname=True, stale=True
    ):
        self.networks = networks
        self.address = "192.168.7.5"
        self.stale = stale
        self.knows_reconnects = reconnects
        self.refusal = REFUSED  # what the driver says of a wrong password
        self.raising = {}  # name of a method: the error it raises
        self.join_s = 3  # until a link is up
        self.fail_s = 2.5  # until a network was not found
        self.deaf = False  # the links that are up carry nothing and do not notice
        self.calls = []  # (seconds, what was asked of the radio, how), the latest
        self.counts = {}  # and how often, from the beginning
        self.options = {}
        self.name = self.told_name = "mpy-esp32"
        self.code = "XX"
        if names:
            for name, value in _NAMES.items():
                setattr(self, name, value)
        if hostname:
            self.hostname = self._hostname
        radio = self._radio = _RadioWithIfconfig(self) if ifconfig else _Radio(self)
        self.WLAN = _Maker(self, radio)

    def call(self, name, *arguments):
        """Note what was asked, and raise what is to be raised."""
        if len(self.calls) == _CALLS_MAX:
            del self.calls[: _CALLS_MAX // 2]
        self.calls.append((now(), name, arguments))
        self.counts[name] = self.counts.get(name, 0) + 1
        if name in self.raising:
            raise self.raising[name]

    def asked(self, name):
        """Return the arguments of every such call among the latest."""
        return [call[2] for call in self.calls if call[1] == name]

    def ipconfig(self, name):
        """As `network.ipconfig`."""
        if name != "dns":
            raise ValueError("unexpected key")
        return "192.168.7.1"

    def country(self, code=None):
        """As `network.country`."""
        if code is None:
            return self.code
        if len(code) != 2:
            raise ValueError
        self.code = code
        return None

    def _hostname(self, name=None):
        if name is None:
            return self.name
        if len(name) > 32:
            raise ValueError
        self.name = name
        return None


class _Maker:
    PM_NONE = 0

    def __init__(self, air, radio):
        self._air = air
        self._radio = radio

    def __call__(self, interface):
        assert interface == Air.STA_IF
        self._air.call("WLAN")
        return self._radio


class _Radio:
    def __init__(self, air):
        self.air = air
        self.on = False
        self._reconnects = -1
        self._state = ""  # or "trying", "up", "failed"
        self._wanted = None  # (ssid, password)
        self._began = 0
        self._reason = IDLE
        self.fixed = None  # (address, mask, gateway)

    def active(self, on):
        self.air.call("active", on)
        self.on = on
        if not on:
            self._state = ""
            self.fixed = None

    def config(self, **options):
        self.air.call("config", options)
        assert self.on, "the port would raise"
        for name, value in options.items():
            if name == "reconnects" and self.air.knows_reconnects:
                self._reconnects = value
            elif name in ("pm", "hostname", "dhcp_hostname"):
                assert name == "pm" or not hasattr(self.air, "hostname"), "is deprecated"
                self.air.options[name] = value
            else:
                raise ValueError("unknown config param")

    def connect(self, ssid, key=None):
        self.air.call("connect", ssid, key)
        self._live()
        if not self.on:
            raise OSError("Wifi Not Started")
        if self._state in ("trying", "up"):
            raise OSError("Wifi Internal State Error")
        self._wanted = (ssid, key)
        self.air.told_name = self.air.name
        self._begin()

    def disconnect(self):
        self.air.call("disconnect")
        self._live()
        if not self.on:
            raise OSError("Wifi Not Started")
        if self._state == "up":
            self.air.deaf = False
        if self._state in ("trying", "up"):
            self._reason = IDLE
        self._state = ""

    def isconnected(self):
        self._live()
        return self._state == "up" and not (self.fixed and self.fixed[2] == "0.0.0.0")

    def status(self):
        self._live()
        if self._state == "up":
            return GOT_IP
        if self._state == "trying" and not (self.air.stale and self._reason in (ABSENT, REFUSED)):
            return CONNECTING
        return self._reason

    def _begin(self):
        self._state = "trying"
        self._began = millis()

    def _live(self):
        # What happened since the last look.
        air = self.air
        if self._state not in ("trying", "up"):
            return
        ssid, key = self._wanted
        there = ssid in air.networks
        passed = (millis() - self._began) / 1000
        if self._state == "up":
            if there or air.deaf:
                return
            self._reason = BEACONS
        elif there and air.networks[ssid] == key:
            if passed >= air.join_s:
                self._state = "up"
                self._reason = IDLE
            return
        elif passed < air.fail_s:
            return
        else:
            self._reason = air.refusal if there else ABSENT
        self._state = "failed"
        if self._reconnects < 0:
            self._begin()

    def ipconfig(self, name=None, **options):
        if name == "addr4":
            return self.address(), "255.255.255.0"
        if name == "dhcp4":
            return not self.fixed
        if name:
            raise ValueError("unexpected key")
        if "addr4" in options:
            self.air.call("ipconfig", options)
        address, mask, gateway = self.fixed or ("0.0.0.0",) * 3
        for key, value in options.items():
            if key == "addr4":
                address, mask = value
            elif key == "gw4":
                gateway = value
            elif key != "dhcp4":
                raise ValueError("unexpected key")
        self.fixed = None if options.get("dhcp4") else (address, mask, gateway)

    def address(self):
        # With a fixed address whether there is a link or not.
        if self.fixed:
            return self.fixed[0]
        return self.air.address if self._state == "up" else "0.0.0.0"


class _RadioWithIfconfig(_Radio):
    def ifconfig(self, values=None):
        if values is not None:
            self.air.call("ifconfig", values)
            address, mask, gateway, _ = values
            self.fixed = address, mask, gateway
            return None
        server = "192.168.7.1" if self._state == "up" and not self.fixed else "0.0.0.0"
        return (self.address(), "255.255.255.0", server, server)


# On CPython there is no `network` to import.
sys.modules.setdefault("network", sys.modules[__name__])
