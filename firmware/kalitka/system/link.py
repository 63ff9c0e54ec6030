"""The link: one task that keeps the reader on its network, by radio or by cable, for ever.

Promises: nothing else waits for the link, so door and scanner run without a network; no exception
of a driver ends the task; a failure is reported once and not every round, a password never. Users
of the link call `reset` when it is up but passes no traffic.

A driver (`wifi`, `ethernet`) knows the hardware and decides nothing:

    name            the prefix of its lines on the console (str)
    names           the networks that it may join (str), the preferred one first
    nic             the port's interface, None until `on`
    pause_max       most seconds between two rounds through the networks
    restart_after   rounds without a network after which it is switched off and on; 0: never
    on()            switches the hardware on if it is off; may block for seconds
    off()           switches the hardware off
    join(i)         coroutine: begins to join the network `i`
    leave()         leaves the network, or aborts the try
    failed()        whether that try has failed for certain; called once a second
    fault()         why the try failed, in words

Any of them may raise any exception of the port.
"""

import asyncio

import network

from kalitka import unload
from micropython import const

_CONNECT_S = const(20)  # seconds given to one attempt
_STABLE_S = const(86400)  # after so long a link's earlier resets no longer count
_REPORTED_MAX = const(8)  # different failures remembered as reported
_NO_ADDRESS = const("0.0.0.0")


class Link:
    """The link to one of the driver's networks; the network that worked last is tried first.

    driver: as above; None for no network. address: (address, mask, gateway), each a str, None to
    ask the network (DHCP). name_servers: a list of addresses (str); [] for the network's own.
    report: a callable that takes a line of text (str) for the log. scanner: suspended while the
    driver blocks the chip, so that pulses would be lost (see `Wiegand.suspend`), or None.

    connects: how many times the link came up.
    """

    def __init__(self, driver, address, name_servers, report, scanner=None):
        self._driver = driver
        self._scanner = scanner
        self._address = address
        self._name_servers = name_servers
        self._report = report
        self._on = False
        self._up = False
        self._reported = []
        self.connects = 0

    def connected(self) -> bool:
        """Return whether the link is up and was not reset; checked every second."""
        return self._up

    def reset(self) -> None:
        """Reconnect a link that is up but passes no traffic; returns at once.

        If the next link is reset too, the hardware is switched off and on.
        """
        self._up = False

    def dns(self) -> str:
        """Return the address of a name server, "" if none is known.

        If there are several, each call returns the next one, so that a retry asks another server.
        """
        if not self._up:
            return ""
        servers = self._name_servers
        if servers:
            servers.append(servers.pop(0))
            return servers[-1]
        address = _address(self._driver.nic, 3)
        return "" if address == _NO_ADDRESS else address

    async def run(self) -> None:
        """Connect, and reconnect whenever the link is lost, for ever."""
        driver = self._driver
        if not driver:
            self._report("network: there is none in the settings")
            return
        networks = len(driver.names)
        last = rounds = resets = 0
        while True:
            # -1 stands for the network that worked last.
            for i in range(-1, networks):
                if i != last and await self._join(last if i < 0 else i):
                    last = last if i < 0 else i
                    rounds = 0
                    resets = await self._watch(resets)
                    break
            else:
                rounds += 1
            quietly(driver.leave)
            every = driver.restart_after
            if resets == 2 or (every and rounds % every == every - 1):
                resets = 0
                self._on = False
                quietly(driver.off)
            await asyncio.sleep(min(1 << min(rounds, 5), driver.pause_max))

    async def _watch(self, resets):
        # Watches the link until it is gone; returns how many links in a row were reset.
        name = self._driver.name
        age = 0
        while True:
            await asyncio.sleep(1)
            if not self._up:
                resets += 1
                what = "switches it off and on" if resets == 2 else "joins anew"
                self._report("%s: the link is up but nothing gets through, %s" % (name, what))
                return resets
            if not _alive(self._driver.nic):
                self._up = False
                self._report("%s: lost the link" % name)
                return 0
            age += 1
            if age == _STABLE_S:
                resets = 0

    async def _join(self, i):
        # Tries one network; returns whether that succeeded. A failure is reported once until a
        # network is found.
        driver = self._driver
        error = None
        try:
            if not self._on:
                await self._switch_on()
            self._set_address(driver.nic)
            await driver.join(i)
            for _ in range(_CONNECT_S):
                await asyncio.sleep(1)
                if _alive(driver.nic):
                    self._reported.clear()
                    self.connects += 1
                    self._up = True
                    to = " to " + driver.names[i] if driver.names[i] else ""
                    address = _address(driver.nic, 0)
                    self._report("%s: connected%s, address %s" % (driver.name, to, address))
                    return True
                if driver.failed():
                    break
            fault = driver.fault()
        except Exception as e:  # no exception of a driver may end the link's task
            error = e
            fault = repr(e)
        reported = self._reported
        if (i, fault) in reported:
            return False
        if len(reported) == _REPORTED_MAX:
            reported.clear()
        reported.append((i, fault))
        if error:
            fault = describe(error)
        parts = driver.name, driver.names[i], fault
        self._report(": ".join([part for part in parts if part]))
        return False

    async def _switch_on(self):
        # Switching on blocks for tenths of a second, and for four seconds without a cable; the
        # scanner is suspended, so that no card is lost meanwhile.
        scanner = self._scanner
        if scanner:
            await scanner.suspend(self._driver.name)
        try:
            self._driver.on()
            self._on = True
        finally:
            if scanner:
                scanner.resume()

    def _set_address(self, nic):
        # Set for every try: the port forgets the address when the hardware is switched off, and
        # keeps an earlier one over a soft reset.
        if not self._address:
            # DHCP is on by default in most versions, and some have no `ipconfig`.
            quietly(getattr(nic, "ipconfig", None), dhcp4=True)
            return
        address, mask, gateway = self._address
        # A chip may take an address without a gateway for none at all. As a gateway the reader's
        # own address leads nowhere.
        gateway = gateway or address
        if hasattr(nic, "ifconfig"):
            server = self._name_servers[0] if self._name_servers else _NO_ADDRESS
            nic.ifconfig((address, mask, gateway, server))
        else:
            nic.ipconfig(addr4=(address, mask), gw4=gateway)


def quietly(function, *arguments, **options) -> None:
    """Call `function` and ignore every exception.

    For calls that a version of the port may not know, or that fail if there is nothing to do; the
    exceptions differ.
    """
    try:
        function(*arguments, **options)
    except Exception:
        pass


def _alive(nic):
    # `isconnected` alone is not enough: it stays True when the link loses its address.
    try:
        return nic.isconnected() and _address(nic, 0) not in ("", _NO_ADDRESS)
    except Exception:
        return False


def _address(nic, i):
    # Returns the address of the reader (0) or of the name server (3), "" if there is none.
    try:
        if hasattr(nic, "ifconfig"):
            return nic.ifconfig()[i]
        return network.ipconfig("dns") if i else nic.ipconfig("addr4")[0]
    except Exception:
        return ""


def describe(error):
    """Return an exception of the port in words."""
    try:
        from kalitka.system import memory

        words = memory.describe(error)
        del memory
        unload("system.memory")
    except MemoryError:  # not even enough for these words
        return "not enough memory in Python's heap"
    return words or "error %s" % error
