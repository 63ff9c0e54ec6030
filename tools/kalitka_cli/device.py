"""The device on the cable: its MicroPython, its board and its firmware files."""

from dataclasses import dataclass, field
from textwrap import indent

from kalitka_build.compiler import ARCHES
from kalitka_cli import board_probe
from kalitka_cli.board_probe import BoardInfo
from kalitka_cli.mpremote import DeviceError, Mpremote, exec_command, json_values

_OLDEST = (1, 24)  # MicroPython

# Runs on the device: `digest` returns a file's SHA-256 in hexadecimal, "" for an unreadable file.
DIGEST = """
import hashlib, json
from binascii import hexlify
buffer = memoryview(bytearray(512))
def digest(path):
    sha = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while True:
                n = file.readinto(buffer)
                if not n:
                    return hexlify(sha.digest()).decode()
                sha.update(buffer[:n])
    except OSError:
        return ""
"""

# Runs on the device: `rom` is the first ROM partition as memory, or None; `rom_digest` returns the
# SHA-256 of its image, "" without one. An image begins with three bytes of magic and the length of
# the rest, seven bits a byte, most significant first.
ROM = """
rom = vfs = None
try:
    import vfs
except ImportError:
    pass
if hasattr(vfs, "rom_ioctl") and vfs.rom_ioctl(1) > 0:
    rom = memoryview(vfs.rom_ioctl(2, 0))
def rom_digest():
    if bytes(rom[:3]) != b"\\xd2\\xcd1":
        return ""
    length, at, more = 0, 3, True
    while more and at < 12:
        length = length << 7 | rom[at] & 127
        more = rom[at] & 128
        at += 1
    return hexlify(hashlib.sha256(rom[:at + length]).digest()).decode()
"""

# Runs on the device and prints one JSON value a line: its identity and board facts, [path, size,
# sha256] of each firmware file, [path] of each folder, its ROM if any, whether server_url is
# https:// (nothing else of the settings leaves the device), and the free bytes.
_IDENTIFY = """
import sys, json
it = sys.implementation
version = list(it.version[:3])
print(json.dumps({"name": it.name, "version": version, "mpy": getattr(it, "_mpy", 0)}))
"""
_LIST_FILES = """
import os
def list_below(path):
    try:
        entry = os.stat(path)
    except OSError:
        return
    if entry[0] & 0x4000:
        print(json.dumps([path]))
        for item in list(os.ilistdir(path)):
            list_below(path + "/" + item[0])
        return
    print(json.dumps([path, entry[6], digest(path)]))
for path in PATHS:
    list_below(path)
try:
    os.stat("/lib")
    print(json.dumps(["/lib"]))
except OSError:
    pass
if rom:
    print(json.dumps({"rom": len(rom), "image": rom_digest()}))
try:
    with open("settings.json") as file:
        url = json.load(file)["server_url"]
    if url:
        print(json.dumps({"secure": url.startswith("https://")}))
except (OSError, ValueError, KeyError, TypeError, AttributeError):
    pass
space = os.statvfs("/")
print(json.dumps({"free": space[0] * space[3]}))
"""
_INSPECT_MICROPYTHON = board_probe.PROBE + DIGEST + ROM + _LIST_FILES
_INSPECT = _IDENTIFY + 'if it.name == "micropython":\n' + indent(_INSPECT_MICROPYTHON, "    ")


@dataclass
class Device:
    """The facts that a device reported. files: {path: (size, sha256)} of the firmware.

    rom: bytes of its ROM partition, 0 for none; image: the SHA-256 of the image in it. board:
    chip and memory. secure: whether server_url is https://, None without a server.
    """

    name: str
    version: tuple[int, ...]
    mpy: int
    free: int = 0
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    rom: int = 0
    image: str = ""
    board: BoardInfo = field(default_factory=BoardInfo)
    secure: bool | None = None

    @property
    def arch(self) -> str | None:
        """The native-code architecture, as mpy-cross names it. Raises DeviceError."""
        number = self.mpy >> 10 & 15
        if number >= len(ARCHES):
            raise DeviceError(
                f"the device reports architecture number {number}, which these tools do not know"
            )
        return ARCHES[number]


def inspect_device(mpremote: Mpremote, paths: list[str]) -> Device:
    """Inspect the device and its files at `paths` and below. Raises DeviceError."""
    answers = json_values(mpremote.run(exec_command(_INSPECT, PATHS=paths)))
    identity = next((answer for answer in answers if isinstance(answer, dict)), None)
    if not identity:
        raise DeviceError(
            f"the device at {mpremote.port} did not identify itself; reset it and try again"
        )
    device = Device(identity["name"], tuple(identity["version"]), identity["mpy"])
    for answer in answers:
        if isinstance(answer, dict):
            device.free = answer.get("free", device.free)
            device.rom = answer.get("rom", device.rom)
            device.image = answer.get("image", device.image)
            device.secure = answer.get("secure", device.secure)
            if "facts" in answer:
                device.board = board_probe.parse_board(answer["facts"])
        elif len(answer) == 1:
            device.folders.add(answer[0])
        else:
            device.files[answer[0]] = (answer[1], answer[2])
    return device


def check_runtime(device: Device) -> None:
    """Raise DeviceError unless the firmware supports the device's MicroPython."""
    if device.name != "micropython":
        raise DeviceError(f"the device runs {device.name}, not MicroPython; flash MicroPython")
    if device.version[:2] < _OLDEST:
        old, least = (".".join(map(str, v)) for v in (device.version, _OLDEST))
        raise DeviceError(f"MicroPython {old} is too old; flash {least} or later")


def check_format(files: dict[str, bytes], device: Device) -> None:
    """Raise DeviceError unless the device can load the .mpy files in `files`."""
    for path, data in files.items():
        if not path.endswith(".mpy"):
            continue
        version, native = data[1], data[2] >> 2
        fits = device.mpy & 0xFF == version
        if native:
            fits = fits and device.mpy >> 8 & 3 == data[2] & 3
        if not fits:
            raise DeviceError(
                f"the device loads .mpy files of version {device.mpy & 0xFF}."
                f"{device.mpy >> 8 & 3}, but mpy-cross makes {version}.{data[2] & 3}: "
                "flash a MicroPython that fits"
            )
