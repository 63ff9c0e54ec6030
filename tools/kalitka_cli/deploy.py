"""`kalitka deploy`: make a reader of a board, with `mpremote`, and wait until it works.

The board is asked first what it is (see `suitability`): nothing is copied to one that cannot
work. On a board with a ROM partition the package goes there, and out of /lib; on one into whose
MicroPython it is frozen nowhere; on any other, to /lib. Only what differs is copied. `main.py`
goes before anything else changes and comes back when all the rest is verified, so that an
interrupted deploy leaves a board that starts nothing and takes the next deploy. `settings.json`,
`ca.pem`, `table/` and `journal/` stay, unless new ones of the first two are given; a board.py that
was edited on the device stays, too. Then the reader's own word is waited for (`reader_report`).
"""

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from kalitka import VERSION, settings
from kalitka_cli import rom, waiting
from kalitka_cli.build import BOARDS, BuildError, board, compile_firmware
from kalitka_cli.device import DIGEST, ROM, Device, check_format, check_runtime, look
from kalitka_cli.mpremote import DeployError, Mpremote, find_port, objects, snippet
from kalitka_cli.suitability import (
    TooLittleMemory,
    Unsuitable,
    check_board,
    check_memory,
    wanted,
)
from kalitka_hub.site.zone import posix_or_iana

_PACKAGE = "/lib/kalitka"
_ROM = "/rom"
_IMAGE = "kalitka.romfs"
_MAIN = "/main.py"
_PINS = "/board.py"
_SETTINGS = "/" + settings.FILE
_CA = "/" + settings.FIELDS["server_ca"][0]
_OF_THE_SITE = (_SETTINGS, _CA)  # not the firmware's: it is not stopped for them
_BLOCK = 4096  # bytes of flash that a file takes at least

_PREPARE = """
import os
for path in REMOVE:
    try:
        os.remove(path)
    except OSError:
        pass
for path in FOLDERS_REMOVE:
    os.rmdir(path)
for path in FOLDERS:
    os.mkdir(path)
"""

_RENAME = """
import os
os.rename(OLD, NEW)
"""

# Its failure ends mpremote, and what would come after it does not happen.
_VERIFY = (
    DIGEST
    + ROM
    + """
wrong = [path for path in EXPECTED if digest(path) != EXPECTED[path]]
if IMAGE and rom_digest() != IMAGE:
    wrong.append("/rom")
print(json.dumps({"wrong": wrong}))
assert not wrong
"""
)

_IMPORT = """
import json, os, sys
# What boot.py has imported may be the one from before.
sys.modules.pop("kalitka", None)
import kalitka
try:
    os.stat(kalitka.__file__)
    frozen = False
except OSError:
    frozen = True
found = {"file": kalitka.__file__, "version": kalitka.VERSION, "frozen": frozen}
print(json.dumps(found))
"""


# Exit statuses besides 0; those from 4 on are `reader_report.STEPS`.
_FAILED, _WRONG_INPUT, _REFUSED, _INTERRUPTED = 1, 2, 3, 130


class InputError(Exception):
    """What was given is wrong; nothing was touched. The message says what would be right."""


class Refusal(Exception):
    """This board cannot become such a reader; nothing was changed. The message says why."""


@dataclass
class Plan:
    """What has to happen: paths to remove, folders to remove and to make, files to copy.

    image: what has to be in ROM, b"" if nothing has; image_changes: whether it has to be written.
    """

    remove: list[str] = field(default_factory=list)
    folders_remove: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    copy: dict[str, bytes] = field(default_factory=dict)
    image: bytes = b""
    image_changes: bool = False
    pins_kept: bool = False
    same: int = 0

    def space(self, device: Device) -> int:
        """Return how many bytes of flash it needs beyond those that it frees."""
        freed = [device.files[path][0] for path in self.remove if path in device.files]
        return _blocks(len(data) for data in self.copy.values()) - _blocks(freed)


def read_settings(path: Path) -> bytes:
    """Return the contents of a settings file in which everything is right. Raises InputError.

    A zone by its name (Europe/Moscow) becomes the POSIX string that a reader understands.
    """
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise InputError(f"{path}: {fault.strerror}") from None
    try:
        data = _with_posix_zone(data)
    except ValueError as fault:
        raise InputError(f"{path}: zone: {fault}") from None
    try:
        _, faults = settings.parse(data)
    except settings.SettingError as fault:
        faults = [str(fault)]
    if faults:
        raise InputError("\n".join(f"{path}: {fault}" for fault in faults))
    return data


def _with_posix_zone(data: bytes) -> bytes:
    # Raises ValueError for a name that is none; what else is wrong is for the settings to say.
    try:
        values = json.loads(data)
        zone = values["zone"]
    except (ValueError, KeyError, TypeError):
        return data
    if not isinstance(zone, str) or not zone:
        return data
    posix = posix_or_iana(zone)
    return data if posix == zone else json.dumps({**values, "zone": posix}, indent=2).encode()


def read_ca(path: Path) -> bytes:
    """Return the contents of a file with a CA's certificate, as it is. Raises InputError."""
    # It takes a while to import, and few deploys bring a CA.
    from kalitka_hub.errors import InvalidRequest  # noqa: PLC0415
    from kalitka_hub.server.certificates import check_ca  # noqa: PLC0415

    try:
        return check_ca(path)
    except InvalidRequest as fault:
        raise InputError(str(fault)) from None


def doubt_about_ca(given: bytes, ca: bytes | None, device: Device) -> str:
    """Return in words why a reader with these settings could trust no server, "" if it can.

    given: a settings file in which everything is right; ca: what goes to the device with it.
    """
    found, _ = settings.parse(given)
    if not found["server_url"].startswith("https://"):
        return ""
    file = found["server_ca"]
    if "/" + file != _CA:
        return f"--ca is copied as {_CA}, but server_ca is {file}" if ca is not None else ""
    if ca is not None or _CA in device.files:
        return ""
    return f"server_url is https://, but the device has no {_CA}: give the site's CA with --ca"


def make_plan(
    files: dict[str, bytes], device: Device, replace_pins: bool, image: bytes = b""
) -> Plan:
    """Return what makes the device's firmware the one in `files` ({absolute path: contents}).

    image: of the device's ROM, if the package goes there. Without a main.py in `files` it is
    frozen into the device's MicroPython, and so is the package.
    """
    plan = Plan(image=image, image_changes=bool(image) and device.image != _sha256(image))
    changed = {path: data for path, data in files.items() if not _same(device, path, data)}
    if _PINS in changed and _PINS in device.files and not replace_pins:
        del changed[_PINS]
        plan.pins_kept = True
    wanted_folders = {
        str(parent) for path in files for parent in PurePosixPath(path).parents if parent.name
    }
    strangers = [path for path in device.files if path.startswith(_PACKAGE) and path not in files]
    plan.folders = sorted(wanted_folders - device.folders)
    plan.folders_remove = sorted(device.folders - wanted_folders, reverse=True)
    replaced = [path for path in changed if path in device.files and path not in _OF_THE_SITE]
    firmware_changes = (
        plan.image_changes
        or strangers
        or plan.folders_remove
        or any(path not in _OF_THE_SITE for path in changed)
    )
    if firmware_changes and _MAIN in files:
        # The old main.py must not start a half-new package.
        changed[_MAIN] = files[_MAIN]
        plan.remove.append(_MAIN)
    plan.remove += sorted({*strangers, *replaced} - {_MAIN})
    plan.copy = dict(sorted(changed.items(), key=lambda item: (item[0] == _MAIN, item[0])))
    plan.same = len(files) - len(changed) - plan.pins_kept
    return plan


def run(
    port: str | None,
    board_name: str,
    settings_file: Path | None = None,
    replace_pins: bool = False,
    ca_file: Path | None = None,
    console: Console | None = None,
    patience: float = waiting.PATIENCE_S,
    memory_matters: bool = True,
) -> int:
    """Deploy, restart the reader and wait for its word, `patience` seconds at most (0: do not).

    memory_matters: whether a board is refused whose memory the reader does not fit into.

    Returns the exit status: 2 for wrong input, 1 for the device's trouble, 3 for a board that
    cannot work, and that of the first step which the reader did not take (`reader_report.STEPS`).
    """
    console = console or Console(highlight=False, soft_wrap=True)
    try:
        mpremote, secure, why_not = _deploy(
            port, board_name, settings_file, replace_pins, ca_file, memory_matters, console
        )
    except InputError as fault:
        return _fail(str(fault), _WRONG_INPUT)
    except Refusal as fault:
        return _fail(str(fault), _REFUSED)
    except (DeployError, BuildError) as fault:
        return _fail(str(fault), _FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted; deploy again before the reader is used", _INTERRUPTED)
    try:
        report = waiting.restart(mpremote, secure, patience, console)
    except DeployError as fault:
        return _fail(str(fault), _FAILED)
    except KeyboardInterrupt:
        return _fail("not waited for any longer; the reader goes on", _INTERRUPTED)
    status = 0
    if report:
        fault, status = waiting.tell(report, console)
        if status:
            _fail(f"{fault}{why_not}", status)
    console.print(f"watch it: mpremote connect {escape(mpremote.port)} repl")
    return status


def _deploy(
    port: str | None,
    board_name: str,
    settings_file: Path | None,
    replace_pins: bool,
    ca_file: Path | None,
    memory_matters: bool,
    console: Console,
) -> tuple[Mpremote, bool | None, str]:
    # Returns the device's mpremote; whether its server is an https:// one, if that is known; and
    # what is to be added if the reader does not work.
    # Everything that can be refused is refused before the device is touched.
    try:
        expected_arch = board(board_name)["ARCH"]
    except BuildError as fault:
        raise InputError(str(fault)) from None
    given = read_settings(settings_file) if settings_file else None
    ca = read_ca(ca_file) if ca_file else None
    mpremote = Mpremote(port or find_port())
    with console.status(f"asking the device at {mpremote.port} ..."):
        device = look(mpremote, ["/boot.py", _MAIN, _PINS, *_OF_THE_SITE, _PACKAGE])
    with _restarted_if_refused(mpremote):
        check_runtime(device)
        version = ".".join(map(str, device.version))
        console.print(f"MicroPython {version} for {device.arch} at {escape(mpremote.port)}")
        if device.arch != expected_arch:
            console.print(
                f"[yellow]{board_name} says {expected_arch}; compiling for {device.arch}, "
                "as the device says[/]"
            )
        want = wanted(board_name)
        check_board(device.board, want)
        why_not = _check_memory(device, want.ethernet, memory_matters, console)
        files = _files(board_name, device, console)
        check_format(files, device)
        image = b""
        if device.rom and not device.board.frozen:
            image, files = rom.separate(files)
            if len(image) > device.rom:
                raise DeployError(
                    f"the firmware needs {_kib(len(image))} of ROM, the device's romfs partition "
                    f"has {_kib(device.rom)}"
                )
        if given is not None:
            files[_SETTINGS] = given
            if doubt := doubt_about_ca(given, ca, device):
                console.print(f"[yellow]{escape(doubt)}[/]")
        if ca is not None:
            files[_CA] = ca
        plan = make_plan(files, device, replace_pins, image)
        if plan.space(device) > device.free:
            raise DeployError(
                f"the firmware needs {_kib(plan.space(device))} more flash, "
                f"the device has {_kib(device.free)} free"
            )
    _carry_out(plan, files, bool(device.board.frozen), mpremote, console)
    return mpremote, device.secure if given is None else _is_secure(given), why_not


def _is_secure(given: bytes) -> bool | None:
    # None without a server.
    url = settings.parse(given)[0]["server_url"]
    return url.startswith("https://") if url else None


def _check_memory(device: Device, ethernet: bool, matters: bool, console: Console) -> str:
    # Return what is to be added if the reader does not work.
    install = "frozen" if device.board.frozen else "rom" if device.rom else "files"
    try:
        if words := check_memory(device.board, install, ethernet):
            console.print(f"  {escape(words)}")
    except TooLittleMemory as fault:
        if matters:
            raise
        console.print(f"[yellow]deployed all the same, as you asked: {escape(str(fault))}[/]")
        return "; this board's memory is too small for it, as said above"
    return ""


def _files(board_name: str, device: Device, console: Console) -> dict[str, bytes]:
    frozen = device.board.frozen
    if not frozen:
        return _compile(board_name, device.arch, console)
    console.print(f"  kalitka {frozen} is frozen into its MicroPython and stays as it is")
    if frozen != VERSION:
        console.print(
            f"[yellow]these tools are those of {VERSION}: its settings are checked as that one "
            "takes them[/]"
        )
    return {_PINS: (BOARDS / board_name / "board.py").read_bytes()}


def _carry_out(
    plan: Plan, files: dict[str, bytes], frozen: bool, mpremote: Mpremote, console: Console
) -> None:
    if plan.pins_kept:
        console.print(
            "[yellow]kept the device's own board.py, which differs; "
            "--replace-pins overwrites it[/]"
        )
    for path in plan.remove:
        if path not in plan.copy:
            console.print(f"  removed {path}")
    kept = {_PINS} if plan.pins_kept else set()
    digests = {path: _sha256(data) for path, data in files.items() if path not in kept}
    commands = []
    if plan.remove or plan.folders_remove or plan.folders:
        commands.append(
            snippet(
                _PREPARE,
                REMOVE=plan.remove,
                FOLDERS_REMOVE=plan.folders_remove,
                FOLDERS=plan.folders,
            )
        )
    if plan.image_changes:
        # MicroPython mounts it when it starts, and with a soft reset mpremote starts no main.py.
        commands += [["romfs", "deploy", _IMAGE], ["soft-reset"]]
    in_rom = _sha256(plan.image) if plan.image else ""
    for path in plan.copy:
        if path == _MAIN:
            # Only behind files that have arrived as they are.
            rest = {p: d for p, d in digests.items() if p not in (_MAIN, *_OF_THE_SITE)}
            commands.append(snippet(_VERIFY, EXPECTED=rest, IMAGE=in_rom))
        to = path + ".new" if path in _OF_THE_SITE else path
        commands.append(["fs", "cp", "-f", path.lstrip("/"), ":" + to])
        if to != path:
            # At any moment there are the old settings or the new ones.
            commands.append(snippet(_RENAME, OLD=to, NEW=path))
    commands += [snippet(_VERIFY, EXPECTED=digests, IMAGE=in_rom), snippet(_IMPORT)]
    with tempfile.TemporaryDirectory(prefix="kalitka-deploy-") as folder:
        stage = Path(folder)
        for path, data in plan.copy.items():
            local = stage / path.lstrip("/")
            local.parent.mkdir(parents=True, exist_ok=True)
            local.write_bytes(data)
        (stage / _IMAGE).write_bytes(plan.image)
        with _copying(plan, console) as on_line:
            said = objects(_run_all(mpremote, commands, stage, on_line))
    try:
        _judge(said, "" if frozen else _ROM + _PACKAGE if plan.image else _PACKAGE)
    except DeployError:
        mpremote.run(["reset"])
        raise
    same = plan.same + bool(plan.image) - plan.image_changes
    console.print(
        f"  {len(plan.copy) + plan.image_changes} copied, {same} already the same; verified"
    )


def _run_all(
    mpremote: Mpremote, commands: list[list[str]], stage: Path, on_line: Callable[[str], None]
) -> list[str]:
    said: list[str] = []

    def listen(line: str) -> None:
        said.append(line)
        on_line(line)

    try:
        return mpremote.run(*commands, cwd=stage, on_line=listen)
    except DeployError:
        wrong = [p for a in objects(said) if isinstance(a, dict) for p in a.get("wrong", ())]
        if wrong:
            raise DeployError(
                f"these did not arrive as they were sent: {', '.join(wrong)}; deploy again"
            ) from None
        raise


def _judge(said: list, package: str) -> None:
    # package: where it has to come from, "" for frozen.
    found = next(answer for answer in said if isinstance(answer, dict) and "file" in answer)
    if found["frozen"] and not package:
        return
    if found["file"] == f"{package}/__init__.mpy" and found["version"] == VERSION:
        return
    where = "frozen into its MicroPython" if found["frozen"] else f"at {found['file']}"
    cure = "flash a stock MicroPython" if found["frozen"] else "remove that one"
    raise DeployError(
        f"the files are on the device, but a kalitka {found['version']} {where} comes before "
        f"them and is what runs; {cure}"
    )


def _compile(board_name: str, arch: str | None, console: Console) -> dict[str, bytes]:
    with _bar(console) as progress:
        task = progress.add_task("compiling", total=None)

        def tell(name: str) -> None:
            progress.update(task, advance=1, description=f"compiling {name}")

        built = compile_firmware(board_name, arch, tell)
        progress.update(task, description="compiled")
    console.print(f"  compiled {len(built)} files")
    return {"/" + path: data for path, data in built.items()}


@contextlib.contextmanager
def _copying(plan: Plan, console: Console) -> Iterator[Callable[[str], None]]:
    # Yields what mpremote's lines are told to; it names a file when it begins with it.
    with _bar(console) as progress:
        task = progress.add_task("preparing", total=len(plan.copy) + plan.image_changes)
        under_way = ""

        def done() -> None:
            nonlocal under_way
            if under_way:
                progress.console.print(f"  copied {under_way}")
                progress.update(task, advance=1, description="verifying")
            under_way = ""

        def on_line(line: str) -> None:
            nonlocal under_way
            if line.startswith("cp "):
                done()
                under_way = "/" + line.split()[1]
                progress.update(task, description=f"copying {under_way}")
            elif line.startswith("ROMFS0 partition"):
                under_way = f"{_ROM}, {_kib(len(plan.image))}"
                progress.update(task, description=f"copying {under_way}")
            elif line.startswith(("{", "ROMFS image deployed")):
                done()

        yield on_line


@contextlib.contextmanager
def _restarted_if_refused(mpremote: Mpremote) -> Iterator[None]:
    # The device was stopped to be asked; as nothing was changed, it goes on as it was.
    try:
        yield
    except (DeployError, BuildError, Unsuitable) as fault:
        with contextlib.suppress(DeployError):
            mpremote.run(["reset"])
        if isinstance(fault, BuildError):
            raise
        raise Refusal(str(fault)) from None


def _bar(console: Console) -> Progress:
    columns = TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _same(device: Device, path: str, data: bytes) -> bool:
    return path in device.files and device.files[path][1] == _sha256(data)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _kib(size: int) -> str:
    return f"{size // 1024} KiB"


def _blocks(sizes: Iterable[int]) -> int:
    return sum(-(-size // _BLOCK) * _BLOCK for size in sizes)


def _fail(message: str, status: int) -> int:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]{escape(message)}[/]")
    return status
