"""What boot.py runs: mends damaged firmware files, then starts watchdog and network hardware.

The flash holds each firmware file twice: in its place, and in one archive in the folder /copy. A
list of checksums, in both places as well, tells which of two is damaged. Promises: a file is
replaced only by bytes with its checksum, and by a rename, so a power cut leaves the old file or
the new one (none, if it is so damaged that it had to make room: the next start writes it); without
a list, as in the middle of a deploy, nothing is touched.

boot.py takes this module itself from /copy, if it is there, after any restart but the one with
power: so a damaged one, which hangs, crashes or cannot be imported, is mended, too.
"""

import gc
import os
import sys
from binascii import crc32

import micropython
from micropython import const

# A Ctrl-C waits at the console until main.py knows who may stop the reader (`system.console`):
# neither noise nor a technician's tool stops it before, amid a mend.
micropython.kbd_intr(-1)

FILE = "/checksums"
COPY = "/copy"
_ARCHIVE = const("/firmware")  # below COPY: all files, one behind the other, as listed
_PINS = const("/board.py")
_GUARD = const("/guard.mpy")
_PIECE = const(512)  # bytes read at once
_THRESHOLD = const(16384)  # bytes allocated between two collections
# Enough to write an archive, the longest that the start may take until a timer feeds.
_TIMEOUT_MS = const(60000)
# The folders of the reader's own files, made early to be settled.
_DATA = const(("/table/", "/journal/old/", "/passes/old/"))
# A file with a name of 200 letters, made and removed, takes 352 bytes of its folder's block of
# 4,096. Each file that was copied there has taken 96 or more.
_LETTERS = const(200)
_FILLING = const(12)
_FILES = const(4)


def run() -> None:
    """Mend the firmware and prepare the start of the reader, from boot.py.

    Collecting early, not only when the heap is full, keeps its free memory in large pieces: a sync
    needs buffers of some kilobytes. The network hardware is switched on before the firmware is
    imported, so that the chip's own software gets its memory first.
    """
    gc.collect()
    gc.threshold(_THRESHOLD)
    if COPY in sys.path:  # by boot.py, for this module only
        sys.path.remove(COPY)
    try:
        from machine import WDT

        WDT(timeout=_TIMEOUT_MS)
        mend(print)
    except Exception as e:
        print("firmware: the check failed:", e)
    finally:
        try:
            from kalitka.system import watchdog

            # main.py does not run if a technician's tools hold the board: they have ten minutes.
            watchdog.hold()
        except Exception:
            pass  # a port without one
    try:
        from kalitka.system import starts, uplink

        # Counted first: a radio that crashes the chip leads to safe mode, too.
        if not starts.begin():
            uplink.switch_on()
    except Exception:
        pass  # the reader tries again, and reports why it fails
    sys.modules.pop("guard", None)
    gc.collect()


def seal(names: list) -> None:
    """Take the files of these paths as they are: write their list. The next start copies them.

    Raises OSError.
    """
    files = []
    for path in names:
        crc, size = _sum(path)
        files.append((path, crc, size, _time(path)))
    if not _write(FILE, checksums(files)):
        raise OSError("%s cannot be written" % FILE)


def checksums(items: list) -> bytes:
    """Return the contents of a list of checksums.

    items: (path, CRC-32, size, the time of the last write as `os.stat` has it or 0) each.
    """
    lines = ["%08x %d %d %s\n" % (crc, size, time, path) for path, crc, size, time in items]
    text = "".join(lines).encode()
    return text + b"%08x\n" % crc32(text)


def mend(report, folder: str = "") -> None:
    """Replace each damaged firmware file by its copy, and a damaged, missing or old archive.

    A board.py that was written since the deploy, by hand, is taken as it is.

    report: a callable that takes a line of text (str). folder: where the flash is mounted, "" for
    "/".
    """
    copy = folder + COPY
    copied = _read(copy + FILE)
    listed = _read(folder + FILE) or copied
    if not listed:
        report("firmware: without checksums nothing is mended: deploy it again")
        return
    try:
        archive = open(copy + _ARCHIVE, "rb")  # noqa: SIM115 - read along with the list
    except OSError:
        archive = None
    old = False  # the archive
    whole = True
    files = []
    for line in listed.decode().split("\n")[:-2]:
        crc, size, time, path = line.split(" ", 3)
        known = int(crc, 16), int(size)
        place = folder + path
        found = _sum(place)
        data = _find(archive, known)
        if found != known and path == _PINS and _is_by_hand(place, int(time)):
            report("firmware: %s was changed by hand: it is taken as it is" % path)
        elif found != known:
            mended = data is not None and _write(place, data)
            if data is None:
                outcome = "its copy is damaged, too: deploy it again"
            else:
                outcome = "mended" if mended else "it cannot be written"
            report("firmware: %s was damaged: %s" % (path, outcome))
            whole = whole and mended
            found = known
        old = old or data is None or (path == _GUARD and _sum(copy + path) != known)
        files.append((path, found[0], found[1], _time(place)))
    if archive:
        archive.close()
    data = checksums(files)
    same = _read(folder + FILE) == data
    old = old or not same or copied != data
    # With a file that could not be mended the archive may be all that is left of others.
    if not (whole and old):
        return
    report("firmware: the second copy is written")
    # The lists come last: until then the next start does all of this again.
    written = _save(folder, files) and (same or _write(folder + FILE, data))
    if not (written and _write(copy + FILE, data)):
        report("firmware: there is no second copy: the flash is full or worn out")
        return
    paths = [folder + path for path, _, _, _ in files] + [copy + FILE]
    _settle(paths + [folder + path for path in _DATA])


def _read(path):
    # Returns the contents of a list of checksums, b"" of one that is damaged or missing.
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return b""
    return data if data[-9:] == b"%08x\n" % crc32(data[:-9]) else b""


def _is_by_hand(path, time):
    # Damage leaves the time of the last write as it was, and seldom a program.
    try:
        with open(path) as file:
            compile(file.read(), path, "exec")
        return _time(path) != time
    except Exception:
        return False


def _time(path):
    # Only that of a file that people change counts.
    try:
        return os.stat(path)[8] if path.endswith(_PINS) else 0
    except OSError:
        return 0


def _sum(path):
    # Returns (CRC-32, size) of a file, (-1, 0) if it cannot be read.
    crc = size = 0
    piece = bytearray(_PIECE)
    try:
        with open(path, "rb") as file:
            while True:
                n = file.readinto(piece)
                if not n:
                    return crc, size
                crc = crc32(memoryview(piece)[:n], crc)
                size += n
    except OSError:
        return -1, 0


def _find(archive, known):
    # Returns the next bytes of the archive, None if they are not of this CRC and size.
    try:
        data = archive.read(known[1]) if archive else b""
    except OSError:
        return None
    return data if (crc32(data), len(data)) == known else None


def _save(folder, items):
    # Writes the archive of `items`, and the copy of this module; returns whether they are there.
    def fill(archive):
        piece = bytearray(_PIECE)
        for name, _, _, _ in items:
            with open(folder + name, "rb") as file:
                while True:
                    n = file.readinto(piece)
                    if not n:
                        break
                    archive.write(memoryview(piece)[:n])

    if not _put(folder + COPY + _ARCHIVE, fill):
        return False
    for name, _, _, _ in items:
        if name == _GUARD:
            with open(folder + name, "rb") as file:
                return _write(folder + COPY + name, file.read())
    return True


def _write(path, data):
    # Returns whether the file at `path` has these contents now.
    return _put(path, lambda file: file.write(data)) and _sum(path) == (crc32(data), len(data))


def _put(path, fill):
    # Replaces the file at `path` by what `fill(file)` writes; returns whether it did.
    _make(path)
    for again in (True, False):
        try:
            with open(path + ".new", "wb") as file:
                fill(file)
            os.rename(path + ".new", path)
            return True
        except OSError:
            _remove(path + ".new")
            # A damaged file of several blocks keeps LittleFS from finding free ones. It may go:
            # all that is written here has its like in the other place.
            if again:
                _remove(path)
    return False


def _remove(path):
    try:
        os.remove(path)
    except OSError:
        pass


def _make(path):
    at = path.find("/", 1)
    while at > 0:
        try:
            os.mkdir(path[:at])
        except OSError:
            pass  # it exists
        at = path.find("/", at + 1)


def _settle(names):
    # LittleFS keeps a folder in two blocks, of which the second one is written when the first is
    # full. Until then nothing stands in for a damaged one, and the flash does not mount: so both
    # are written now. names: paths in the folders and in those around them.
    folders = set()
    for path in names:
        _make(path)
        at = path.find("/")
        while at >= 0:
            folders.add(path[: at + 1])
            at = path.find("/", at + 1)
    for folder in folders:
        name = folder + "-" * _LETTERS
        for _ in range(_FILLING - len(os.listdir(folder)) // _FILES):
            open(name, "wb").close()
            os.remove(name)
