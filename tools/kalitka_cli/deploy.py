"""`kalitka deploy`: turn a board into a reader, with `mpremote`, and wait until the reader works.

The board is inspected first (see `suitability`): nothing is copied to a board that cannot work.
The package goes to the ROM partition where there is one (and is removed from /lib), to /lib where
there is none, and nowhere if it is frozen into the MicroPython. Only changed files are copied.
`boot.py`, `main.py` and the list of checksums are removed before anything else changes, with the
second copy of the firmware, and written after all other files are verified, so an interrupted
deploy leaves a board that starts nothing and accepts the next deploy. The first start makes the
second copy anew (see the firmware's `guard`).
`settings.json` and `ca.pem` stay unless new ones are given; `table/` and `journal/` stay, and so
does a board.py edited on the device. Then the reader's startup report is awaited
(`reader_report`).
"""

import contextlib
import hashlib
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

import guard
from kalitka import VERSION, settings
from kalitka_build import rom_image
from kalitka_build.boards import BuildError, load_board
from kalitka_build.compiler import compile_firmware
from kalitka_build.paths import BOARDS
from kalitka_cli import reader_restart, settings_file
from kalitka_cli.device import DIGEST, ROM, Device, check_format, check_runtime, inspect_device
from kalitka_cli.mpremote import DeviceError, Mpremote, exec_command, find_port, json_values
from kalitka_cli.suitability import (
    InsufficientMemory,
    UnsuitableBoard,
    board_target,
    check_board,
    check_memory,
)
from kalitka_hub.site.token_codes import normalize
from kalitka_hub.site.zone import posix_or_iana

_PACKAGE = "/lib/kalitka"
_ROM = "/rom"
_IMAGE = "kalitka.romfs"
_MAIN = "/main.py"
_SCRIPTS = ("/boot.py", _MAIN)  # MicroPython starts them
_GUARD = "/guard.mpy"
_PINS = "/board.py"
_SETTINGS = "/" + settings.FILE
_CA = "/" + settings.FIELDS["server_ca"][0]
_SITE_FILES = (_SETTINGS, _CA)  # not firmware: main.py stays in place while they change
_BLOCK = 4096  # bytes: the smallest allocation of flash for a file

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

# A failed assert ends mpremote, so no later command of the session runs.
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

# A MicroPython with an older firmware frozen in has no `guard`.
_SEAL = """
try:
    import guard
    guard.seal(PATHS)
except ImportError:
    pass
"""

_IMPORT = """
import json, os, sys
# boot.py may have imported the package from before this deploy.
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


# Exit statuses other than 0; from 4 on see `reader_report.STEPS`. Do not renumber.
_FAILED, _WRONG_INPUT, _REFUSED, _INTERRUPTED = 1, 2, 3, 130


class InputError(Exception):
    """An option or a file is invalid; nothing was changed. The message says what is valid."""


class BoardRefused(Exception):
    """The board cannot become this reader; nothing was changed. The message says why."""


@dataclass
class DeployPlan:
    """The changes of a deploy: paths and folders to remove, folders to create, files to copy.

    image: the ROM image, b"" for none; image_changes: whether the image has to be written.
    pins_kept: the device's edited board.py stays. unchanged: the number of files left alone.
    second_copy: the bytes of the copy that the first start makes.
    """

    remove: list[str] = field(default_factory=list)
    folders_remove: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    copy: dict[str, bytes] = field(default_factory=dict)
    image: bytes = b""
    image_changes: bool = False
    pins_kept: bool = False
    unchanged: int = 0
    second_copy: int = 0

    def flash_needed(self, device: Device) -> int:
        """Return the bytes of flash that the plan needs beyond those that it frees.

        The second copy that the first start makes is part of it.
        """
        freed = [device.files[path][0] for path in self.remove if path in device.files]
        added = [len(data) for data in self.copy.values()]
        return _flash_bytes([*added, self.second_copy]) - _flash_bytes(freed)


def read_settings(path: Path) -> bytes:
    """Return valid settings for a reader from the file of a person. Raises InputError.

    The JSON is written anew from the file's values, with its checksum. A zone's name
    (Europe/Moscow) becomes the POSIX string that a reader understands, each of `codes` what a
    scanner sends, and the console's password its hash.
    """
    try:
        values = settings_file.read_values(path.read_bytes())
        values.pop("crc32", None)
        wrong = settings_file.text_faults(values)
        if values.get("server_url") and not values.get("reader"):
            wrong["reader"] = "reader: a server_url needs the reader's code at that server"
        rest = {name: value for name, value in values.items() if name not in wrong}
        data = settings.seal(settings_file.written(_as_reader_reads(rest)))
        faults = settings.parse(data)[1]
    except OSError as fault:
        raise InputError(f"{path}: {fault.strerror}") from None
    except ValueError as fault:
        raise InputError(f"{path}: {fault}") from None
    if faults := settings_file.one_each(wrong, faults):
        raise InputError("\n".join(f"{path}: {fault}" for fault in faults))
    return data


def _as_reader_reads(values: dict[str, object]) -> dict[str, object]:
    # The settings with a POSIX zone, codes as scanners send them, a hash for a password. Raises
    # ValueError for an unknown zone or a damaged code; the rest is left to `settings.parse`.
    changed = dict(values)
    zone = values.get("zone")
    if isinstance(zone, str) and zone:
        try:
            changed["zone"] = posix_or_iana(zone)
        except ValueError as fault:
            raise ValueError(f"zone: {fault}") from None
    codes = values.get("codes")
    if isinstance(codes, list) and all(isinstance(code, str) for code in codes):
        try:
            changed["codes"] = [normalize(code) for code in codes]
        except ValueError as fault:
            raise ValueError(f"codes: {fault}") from None
    password = values.get("console_password")
    if isinstance(password, str) and password and not password.startswith("sha256:"):
        changed["console_password"] = _hashed(password)
    return changed


def _hashed(password: str) -> str:
    # As the reader's `console_password` has it.
    salt = secrets.token_hex(8)
    return f"sha256:{salt}:{hashlib.sha256((salt + password).encode()).hexdigest()}"


def read_ca(path: Path) -> bytes:
    """Return the unaltered contents of a file with a CA's certificate. Raises InputError."""
    # Slow to import, and few deploys bring a CA.
    from kalitka_hub.errors import InvalidRequest  # noqa: PLC0415
    from kalitka_hub.server.certificates import check_ca  # noqa: PLC0415

    try:
        return check_ca(path)
    except InvalidRequest as fault:
        raise InputError(str(fault)) from None


def check_trust(new_settings: bytes, ca: bytes | None, device: Device) -> str:
    """Return a warning if the given CA is not the one that the settings name, else "".

    new_settings: the contents of a valid settings file; ca: the certificate given with the file.
    Raises InputError if a reader with these settings could trust no server.
    """
    found, _ = settings.parse(new_settings)
    if not found["server_url"].startswith("https://"):
        return ""
    file = found["server_ca"]
    if "/" + file != _CA:
        return f"--ca is copied as {_CA}, but server_ca is {file}" if ca is not None else ""
    if ca is None and _CA not in device.files:
        raise InputError(
            f"server_url is https://, but the device has no {_CA}: give the site's CA with --ca"
        )
    return ""


def make_plan(
    files: dict[str, bytes], device: Device, replace_pins: bool, image: bytes = b""
) -> DeployPlan:
    """Plan the changes that make the device's firmware equal `files` ({absolute path: contents}).

    image: the new ROM image, if the package goes there. Without a main.py in `files`, main.py and
    the package are frozen into the device's MicroPython.
    """
    plan = DeployPlan(image=image, image_changes=bool(image) and device.image != _sha256(image))
    changed = {path: data for path, data in files.items() if not _is_unchanged(device, path, data)}
    if _PINS in changed and _PINS in device.files and not replace_pins:
        del changed[_PINS]
        plan.pins_kept = True
    wanted_folders = {
        str(parent) for path in files for parent in PurePosixPath(path).parents if parent.name
    }
    copies = [path for path in device.files if path == guard.FILE or _is_copy(path)]
    stale = [
        path for path in device.files if path.startswith((_PACKAGE, _GUARD)) and path not in files
    ]
    plan.folders = sorted(wanted_folders - device.folders)
    folders = device.folders - wanted_folders
    plan.folders_remove = sorted((f for f in folders if not _is_copy(f)), reverse=True)
    replaced = [path for path in changed if path in device.files and path not in _SITE_FILES]
    firmware_changes = (
        plan.image_changes
        or stale
        or plan.folders_remove
        or any(path not in _SITE_FILES for path in changed)
    )
    if firmware_changes:
        # Power cut: without checksums `guard` leaves the new files alone, and the old scripts must
        # not start a half-new package. So all of these are removed first and written last.
        plan.remove += copies
        plan.folders_remove = sorted(folders, reverse=True)
        plan.second_copy = sum(len(data) for path, data in files.items() if _is_sealed(path))
        if _MAIN in files:
            changed.update({path: files[path] for path in _SCRIPTS if path in files})
            plan.remove += _SCRIPTS
    plan.remove += sorted({*stale, *replaced} - set(plan.remove))
    plan.copy = dict(sorted(changed.items(), key=lambda item: (item[0] in _SCRIPTS, item[0])))
    plan.unchanged = len(files) - len(changed) - plan.pins_kept
    return plan


def _is_copy(path: str) -> bool:
    return path == guard.COPY or path.startswith(guard.COPY + "/")


def _is_sealed(path: str) -> bool:
    # Settings and CA have copies of their own, in the NVS.
    return path not in _SITE_FILES


def run(
    port: str | None,
    board_name: str,
    settings_file: Path | None = None,
    replace_pins: bool = False,
    ca_file: Path | None = None,
    console: Console | None = None,
    timeout: float = reader_restart.TIMEOUT_S,
    require_memory: bool = True,
) -> int:
    """Deploy, restart the reader and wait until it works, at most `timeout` seconds (0: no wait).

    require_memory: whether to refuse a board with too little memory for the reader.

    Returns the exit status: 2 for invalid input, 1 for a failed device, 3 for a board that cannot
    work, or the status of the first step that the reader did not take (`reader_report.STEPS`).
    """
    console = console or Console(highlight=False, soft_wrap=True)
    try:
        mpremote, secure, memory_note = _deploy(
            port, board_name, settings_file, replace_pins, ca_file, require_memory, console
        )
    except InputError as fault:
        return _fail(str(fault), _WRONG_INPUT)
    except BoardRefused as fault:
        return _fail(str(fault), _REFUSED)
    except (DeviceError, BuildError) as fault:
        return _fail(str(fault), _FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted; deploy again before the reader is used", _INTERRUPTED)
    try:
        report = reader_restart.restart_and_wait(mpremote, secure, timeout, console)
    except DeviceError as fault:
        return _fail(str(fault), _FAILED)
    except KeyboardInterrupt:
        return _fail("stopped waiting; the reader keeps running", _INTERRUPTED)
    status = 0
    if report:
        fault, status = reader_restart.print_report(report, console)
        if status:
            _fail(f"{fault}{memory_note}", status)
    console.print(f"watch it: mpremote connect {escape(mpremote.port)} repl")
    return status


def _deploy(
    port: str | None,
    board_name: str,
    settings_file: Path | None,
    replace_pins: bool,
    ca_file: Path | None,
    require_memory: bool,
    console: Console,
) -> tuple[Mpremote, bool | None, str]:
    # Returns the device's mpremote, whether its server is https:// (None if unknown), and a note
    # for the message if the reader does not work.
    # Invalid input is refused before the device is touched, a board before it is changed.
    try:
        expected_arch = load_board(board_name)["ARCH"]
    except BuildError as fault:
        raise InputError(str(fault)) from None
    new_settings = read_settings(settings_file) if settings_file else None
    for code in settings.parse(new_settings)[0]["codes"] if new_settings else ():
        console.print(f"limited to the code {escape(code)}")
    ca = read_ca(ca_file) if ca_file else None
    mpremote = Mpremote(port or find_port())
    with console.status(f"asking the device at {mpremote.port} ..."):
        paths = [*_SCRIPTS, _GUARD, _PINS, *_SITE_FILES, _PACKAGE, guard.FILE, guard.COPY]
        device = inspect_device(mpremote, paths)
    with _restart_if_refused(mpremote):
        if new_settings and (warning := check_trust(new_settings, ca, device)):
            console.print(f"[yellow]{escape(warning)}[/]")
        check_runtime(device)
        version = ".".join(map(str, device.version))
        console.print(f"MicroPython {version} for {device.arch} at {escape(mpremote.port)}")
        if device.arch != expected_arch:
            console.print(
                f"[yellow]{board_name} is for {expected_arch}; compiling for {device.arch}, "
                "as the device reports[/]"
            )
        target = board_target(board_name)
        check_board(device.board, target)
        memory_note = _check_memory(device, target.ethernet, require_memory, console)
        files = _files_for(board_name, device, console)
        check_format(files, device)
        image = b""
        if device.rom and not device.board.frozen:
            image, files = rom_image.split_package(files)
            if len(image) > device.rom:
                raise DeviceError(
                    f"the firmware needs {_kib(len(image))} of ROM, the device's romfs partition "
                    f"has {_kib(device.rom)}"
                )
        if new_settings is not None:
            files[_SETTINGS] = new_settings
        if ca is not None:
            files[_CA] = ca
        plan = make_plan(files, device, replace_pins, image)
        if plan.flash_needed(device) > device.free:
            raise DeviceError(
                f"the firmware needs {_kib(plan.flash_needed(device))} more flash, "
                f"the device has {_kib(device.free)} free"
            )
    _execute(plan, files, bool(device.board.frozen), mpremote, console)
    return (
        mpremote,
        device.secure if new_settings is None else _is_secure(new_settings),
        memory_note,
    )


def _is_secure(new_settings: bytes) -> bool | None:
    # None without a server.
    url = settings.parse(new_settings)[0]["server_url"]
    return url.startswith("https://") if url else None


def _check_memory(device: Device, ethernet: bool, required: bool, console: Console) -> str:
    # Returns the note for the message if the reader does not work.
    install = "frozen" if device.board.frozen else "rom" if device.rom else "files"
    try:
        if words := check_memory(device.board, install, ethernet):
            console.print(f"  {escape(words)}")
    except InsufficientMemory as fault:
        if required:
            raise
        console.print(f"[yellow]deploying all the same, as requested: {escape(str(fault))}[/]")
        return "; this board's memory is too small for it, as said above"
    return ""


def _files_for(board_name: str, device: Device, console: Console) -> dict[str, bytes]:
    frozen = device.board.frozen
    if not frozen:
        return _compile(board_name, device.arch, _ROM if device.rom else "", console)
    console.print(f"  kalitka {frozen} is frozen into its MicroPython and stays unchanged")
    if frozen != VERSION:
        console.print(
            f"[yellow]these tools are of version {VERSION}: settings are checked by the rules of "
            f"{VERSION}[/]"
        )
    return {_PINS: (BOARDS / board_name / "board.py").read_bytes()}


def _execute(
    plan: DeployPlan, files: dict[str, bytes], frozen: bool, mpremote: Mpremote, console: Console
) -> None:
    if plan.pins_kept:
        console.print(
            "[yellow]kept the device's own board.py, which differs; "
            "--replace-pins overwrites it[/]"
        )
    for path in plan.remove:
        if path not in plan.copy and path != guard.FILE and not _is_copy(path):
            console.print(f"  removed {path}")
    kept = {_PINS} if plan.pins_kept else set()
    digests = {path: _sha256(data) for path, data in files.items() if path not in kept}
    commands = []
    if plan.remove or plan.folders_remove or plan.folders:
        commands.append(
            exec_command(
                _PREPARE,
                REMOVE=plan.remove,
                FOLDERS_REMOVE=plan.folders_remove,
                FOLDERS=plan.folders,
            )
        )
    if plan.image_changes:
        # MicroPython mounts ROM at its start; a soft reset by mpremote does not run main.py.
        commands += [["romfs", "deploy", _IMAGE], ["soft-reset"]]
    in_rom = _sha256(plan.image) if plan.image else ""
    for path in plan.copy:
        if path == _SCRIPTS[0]:
            # The scripts are copied only after all other files are verified on the device.
            rest = {p: d for p, d in digests.items() if p not in (*_SCRIPTS, *_SITE_FILES)}
            commands.append(exec_command(_VERIFY, EXPECTED=rest, IMAGE=in_rom))
        to = path + ".new" if path in _SITE_FILES else path
        commands.append(["fs", "cp", "-f", path.lstrip("/"), ":" + to])
        if to != path:
            # Power cut: LittleFS renames atomically, so the old settings exist or the new.
            commands.append(exec_command(_RENAME, OLD=to, NEW=path))
    commands += [
        exec_command(_VERIFY, EXPECTED=digests, IMAGE=in_rom),
        exec_command(_SEAL, PATHS=[path for path in files if _is_sealed(path)]),
        exec_command(_IMPORT),
    ]
    with tempfile.TemporaryDirectory(prefix="kalitka-deploy-") as folder:
        stage = Path(folder)
        for path, data in plan.copy.items():
            local = stage / path.lstrip("/")
            local.parent.mkdir(parents=True, exist_ok=True)
            local.write_bytes(data)
        (stage / _IMAGE).write_bytes(plan.image)
        with _copy_progress(plan, console) as on_line:
            output = json_values(_run_all(mpremote, commands, stage, on_line))
    try:
        _check_import(output, "" if frozen else _ROM + _PACKAGE if plan.image else _PACKAGE)
    except DeviceError:
        mpremote.run(["reset"])
        raise
    same = plan.unchanged + bool(plan.image) - plan.image_changes
    console.print(
        f"  {len(plan.copy) + plan.image_changes} copied, {same} already the same; verified"
    )


def _run_all(
    mpremote: Mpremote, commands: list[list[str]], stage: Path, on_line: Callable[[str], None]
) -> list[str]:
    output: list[str] = []

    def collect(line: str) -> None:
        output.append(line)
        on_line(line)

    try:
        return mpremote.run(*commands, cwd=stage, on_line=collect)
    except DeviceError:
        wrong = [p for a in json_values(output) if isinstance(a, dict) for p in a.get("wrong", ())]
        if wrong:
            raise DeviceError(f"did not arrive intact: {', '.join(wrong)}; deploy again") from None
        raise


def _check_import(output: list, package: str) -> None:
    # package: the path that it must be imported from, "" for frozen.
    found = next(answer for answer in output if isinstance(answer, dict) and "file" in answer)
    if found["frozen"] and not package:
        return
    if found["file"] == f"{package}/__init__.mpy" and found["version"] == VERSION:
        return
    where = "frozen into its MicroPython" if found["frozen"] else f"at {found['file']}"
    cure = "flash a stock MicroPython" if found["frozen"] else "remove that one"
    raise DeviceError(
        f"the files are on the device, but a kalitka {found['version']} {where} comes before "
        f"them and is what runs; {cure}"
    )


def _compile(board_name: str, arch: str | None, mount: str, console: Console) -> dict[str, bytes]:
    with _progress_bar(console) as progress:
        task = progress.add_task("compiling", total=None)

        def on_file(name: str) -> None:
            progress.update(task, advance=1, description=f"compiling {name}")

        built = compile_firmware(board_name, arch, on_file, mount=mount)
        progress.update(task, description="compiled")
    console.print(f"  compiled {len(built)} files")
    return {"/" + path: data for path, data in built.items()}


@contextlib.contextmanager
def _copy_progress(plan: DeployPlan, console: Console) -> Iterator[Callable[[str], None]]:
    # Yields the callback for mpremote's lines, which name each file as its copy begins.
    with _progress_bar(console) as progress:
        task = progress.add_task("preparing", total=len(plan.copy) + plan.image_changes)
        copying = ""

        def done() -> None:
            nonlocal copying
            if copying:
                progress.console.print(f"  copied {copying}")
                progress.update(task, advance=1, description="verifying")
            copying = ""

        def on_line(line: str) -> None:
            nonlocal copying
            if line.startswith("cp "):
                done()
                copying = "/" + line.split()[1]
                progress.update(task, description=f"copying {copying}")
            elif line.startswith("ROMFS0 partition"):
                copying = f"{_ROM}, {_kib(len(plan.image))}"
                progress.update(task, description=f"copying {copying}")
            elif line.startswith(("{", "ROMFS image deployed")):
                done()

        yield on_line


@contextlib.contextmanager
def _restart_if_refused(mpremote: Mpremote) -> Iterator[None]:
    # The inspection stopped the device but changed nothing: restart it as it was.
    try:
        yield
    except (DeviceError, BuildError, InputError, UnsuitableBoard) as fault:
        with contextlib.suppress(DeviceError):
            mpremote.run(["reset"])
        if isinstance(fault, (BuildError, InputError)):
            raise
        raise BoardRefused(str(fault)) from None


def _progress_bar(console: Console) -> Progress:
    columns = TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _is_unchanged(device: Device, path: str, data: bytes) -> bool:
    return path in device.files and device.files[path][1] == _sha256(data)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _kib(size: int) -> str:
    return f"{size // 1024} KiB"


def _flash_bytes(sizes: Iterable[int]) -> int:
    return sum(-(-size // _BLOCK) * _BLOCK for size in sizes)


def _fail(message: str, status: int) -> int:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]{escape(message)}[/]")
    return status
