"""A virtual reader: a chip with the firmware and its settings in flash, ready to be switched on.

The chip is a MicroPython process that runs the firmware from its flash file, with a heap as small
as that of an ESP32 without PSRAM. Everything here acts from outside: pulses on pins, levels read
back, power, network and time. The firmware's state is read from its console only, as a technician
would.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import guard
from kalitka.settings import seal
from kalitka_build import rom_image
from kalitka_build.compiler import compile_firmware, compile_frozen

from . import littlefs_image
from .console import Console
from .control_channel import ReaderError
from .memory_classes import FROZEN_80K, MPY_ON_S3
from .tcp_relay import TcpRelay
from .virtual_chip import HOST_ARCH, SOFT_RESET, ScanResult, VirtualChip, micropython, wiegand_bits

__all__ = ["ReaderError", "ScanResult", "VirtualReader", "micropython", "wiegand_bits"]


class VirtualReader(VirtualChip):
    """A reader whose flash and NVS live in `folder`, so that it can be switched on again later.

    server: (host, port) of its hub, which the reader reaches through `relay`, which can be cut.
    path: of the server's address, `/access` or "".
    settings: the entries of the settings file besides the server's address.
    on_line: called with every line of the console, in a thread of its own.
    in_rom: a new reader has its firmware in ROM, much as a board with frozen firmware, and the
    memory of such a board (`frozen-80K`). Without: it loads .mpy files from the LittleFS in its
    flash, with the memory of a chip that has enough for them (`mpy-on-S3`).
    frozen: a new reader has its firmware frozen into its MicroPython instead.
    flash_size: bytes of a new reader's LittleFS; default: all of the board's that the ROM leaves.
    files: more files for its flash, {path: contents}, such as the site's CA. secure: use TLS;
    the hub's certificate has to be for 127.0.0.1 then. name_server: `ADDRESS:PORT` of the name
    server that the network announces. heap: bytes of heap for the firmware, instead of as many as
    such a board has.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict | None = None,
        server: tuple[str, int] | None = None,
        board_name: str = "ESP32_GENERIC",
        on_line: Callable[[str], None] | None = None,
        in_rom: bool = True,
        frozen: bool = False,
        flash_size: int | None = None,
        files: dict[str, bytes] | None = None,
        secure: bool = False,
        name_server: str = "",
        heap: int | None = None,
        path: str = "",
    ):
        if (folder / "flash.bin").exists():
            in_rom = (folder / "rom.img").exists()
            frozen = (folder / "frozen.img").exists()
        memory = FROZEN_80K if in_rom or frozen else MPY_ON_S3
        super().__init__(folder, board_name, replace(memory, process=heap or memory.process))
        self.relay = TcpRelay(server) if server else None
        self._on_line = on_line
        self._settings = settings or {}
        self._secure = secure
        self._name_server = name_server
        self._path = path
        if not self.flash_file.exists():
            firmware = compile_firmware(board_name, HOST_ARCH)
            size = self.board["VFS_SIZE"]
            if frozen:
                image = rom_image.build_image(compile_frozen(board_name, HOST_ARCH))
                self.frozen_file.write_bytes(image)
                firmware = {}
            elif in_rom:
                package, firmware = rom_image.split_package(firmware)
                self.rom_file.write_bytes(package.ljust(rom_image.PARTITION_SIZE, b"\xff"))
                size -= rom_image.PARTITION_SIZE
            littlefs_image.create(self.flash_file, flash_size or size, _sealed(firmware))
        littlefs_image.update(
            self.flash_file, {"settings.json": self._settings_file(), **(files or {})}
        )

    def _settings_file(self) -> bytes:
        # The hub is the only source of time in this network.
        values = {"wifi": [["site", ""]], "ntp_server": "", **self._settings}
        if "ETHERNET" in self.board and "wifi" not in self._settings:
            values["wifi"] = []
        if self.relay:
            scheme = "https" if self._secure else "http"
            url = f"{scheme}://127.0.0.1:{self.relay.port}{self._path}"
            values = {"server_url": url, "plain_http": not self._secure, **values}
        return seal(json.dumps(values).encode())

    def power_on(self, wait_ready: bool = True) -> None:
        """Switch the power on. wait_ready: return when the application reports it is ready."""
        self._begin_power()
        seen = len(self.console)
        self._start()
        if wait_ready:
            self.wait_ready(since=seen)

    def power_cut(self) -> None:
        """Cut the power, whatever the reader is doing."""
        self._end_power()

    def set_network(self, up: bool) -> None:
        """Switch the Wi-Fi network and the relay behind it on or off."""
        super().set_network(up)
        if self.relay:
            (self.relay.restore if up else self.relay.cut)()

    def close(self) -> None:
        """Cut the power and stop the relay."""
        self.power_cut()
        if self.relay:
            self.relay.close()

    def __enter__(self) -> "VirtualReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        names = {"KALITKA_CHIP_DNS": self._name_server} if self._name_server else {}
        console = self._start_chip(**names)
        threading.Thread(target=self._read_console, args=(console,), daemon=True).start()

    def _read_console(self, console: Console) -> None:
        rest = b""
        while data := console.read():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._show(line.decode(errors="replace").rstrip())
        console.close()
        try:
            cause = self._next_start(console.process)
            if cause == SOFT_RESET:
                self._show("MPY: soft reboot")
            if cause:
                self._start()
        except ReaderError as fault:
            self._show(str(fault))

    def _show(self, line: str) -> None:
        self._add_line(line)
        if self._on_line:
            self._on_line(line)


def _sealed(firmware: dict[str, bytes]) -> dict[str, bytes]:
    # As `deploy` leaves it: with its checksums; the first start makes the copies.
    files = [("/" + path, crc32(data), len(data), 0) for path, data in firmware.items()]
    return {**firmware, guard.FILE.lstrip("/"): guard.checksums(files)}
