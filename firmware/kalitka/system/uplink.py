"""Which network the settings and the board name, and its hardware switched on; for the start only.

Promises: what they do not name is not imported. `boot.py` switches the hardware on before the
firmware is imported: the memory that the chip's own software wants for it, with some of it in
large pieces, is there then. A Python heap that has grown gives none of it back.
"""

import json

_SETTINGS = "settings.json"  # as in `kalitka.settings`, which is far too large to come first


def driver_of(settings: dict):
    """Return the driver (see `system.link`) for these settings, None for no network.

    The radio if the settings have Wi-Fi networks; else the board's Ethernet, if it has one.
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
    """Return (address, mask, gateway), each a str, of these settings; None for DHCP."""
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
    """Switch the hardware on that the settings file names. Raises what comes: see `boot.py`."""
    with open(_SETTINGS) as file:
        driver = driver_of(json.load(file))
    if driver:
        driver.on()
