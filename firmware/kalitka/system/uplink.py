"""The choice of the network driver by settings and board, and its start. Used at the start only.

Promises: only the driver in use is imported. `boot.py` switches the hardware on before it imports
the firmware, while the IDF's heap still has the memory that the hardware needs, some of it in
large pieces: a Python heap that has grown never gives any back.
"""

import json

from micropython import const

# As in `kalitka.settings`, which is too large to import this early.
_SETTINGS = const("settings.json")


def driver_of(settings: dict):
    """Return the driver (see `system.link`) for these settings, None for no network.

    Wi-Fi if the settings have Wi-Fi networks; else the board's Ethernet, if it has one.
    """
    hostname = settings.get("hostname") or settings.get("reader", "")
    hostname = hostname.replace(":", "-").replace("_", "-")[:32]
    if settings.get("wifi"):
        from kalitka.system.wifi import Wifi

        return Wifi(settings["wifi"], hostname, settings.get("country", ""))
    import board

    phy = getattr(board, "ETHERNET", None)
    if not phy:
        return None
    from kalitka.system.ethernet import Ethernet

    return Ethernet(phy, hostname)


def address_of(settings: dict) -> tuple | None:
    """Return the settings' (address, mask, gateway), each a str; None for DHCP."""
    if not settings["address"]:
        return None
    address, _, bits = settings["address"].partition("/")
    left = int(bits)
    mask = []
    for _ in range(4):
        mask.append(str(256 - (1 << 8 - min(left, 8))))
        left = max(left - 8, 0)
    return address, ".".join(mask), settings["gateway"]


def switch_on() -> None:
    """Switch on the network hardware that the settings file names.

    Raises any exception of the file, its JSON or the port; `boot.py` ignores them.
    """
    with open(_SETTINGS) as file:
        driver = driver_of(json.load(file))
    if driver:
        driver.on()
