"""The guard of the firmware's files: what is damaged is mended, what is meant is left alone."""

import os

import guard
from device.scratch import MICROPYTHON, Folder, read, write

_FILES = {
    "/boot.py": b"import guard\n",
    "/board.py": b"LOCK = 23\n",
    "/guard.mpy": b"M\x06guard" * 40,
    "/lib/kalitka/gate.mpy": b"M\x06gate" * 300,
    "/lib/kalitka/sync/http.mpy": b"M\x06http" * 500,
}
_PINS = "/board.py"
_GATE = "/lib/kalitka/gate.mpy"
_COPIED = "firmware: the second copy is written"

# The time of the last write of a board.py. Damage leaves it; on the host and in a small disk
# without a clock it would not.
_times = [1000]
guard._time = lambda path: _times[0] if path.endswith(_PINS) else 0


def _damage(path, at=3):
    data = bytearray(read(path))
    data[at] ^= 4
    write(path, data)


class Flash:
    """A reader's flash at `root`. lines: what was reported."""

    def __init__(self, root):
        self.root = root
        self.lines = []

    def deploy(self):
        """Write the files as a deploy does."""
        root = self.root
        files = []
        for path, data in _FILES.items():
            guard._make(root + path)
            write(root + path, data)
            crc, size = guard._sum(root + path)
            files.append((path, crc, size, guard._time(root + path)))
        write(root + guard.FILE, guard.checksums(files))

    def mend(self):
        """Start once; return what was reported."""
        self.lines = []
        guard.mend(self.lines.append, self.root)
        return self.lines

    def check(self, files=_FILES):
        """Every file and the second copy are whole."""
        for path, data in files.items():
            assert read(self.root + path) == data, path
        copy = self.root + guard.COPY
        lines = read(copy + guard.FILE).decode().split("\n")[:-2]
        order = [line.split(" ")[3] for line in lines]
        assert read(copy + "/firmware") == b"".join([files[path] for path in order])
        assert read(copy + "/guard.mpy") == files["/guard.mpy"]
        listed = read(self.root + guard.FILE)
        assert listed == read(self.root + guard.COPY + guard.FILE)


def _started(test):
    # A test of a flash after its first start.
    def run():
        with Folder() as root:
            flash = Flash(root)
            flash.deploy()
            assert flash.mend() == [_COPIED]
            test(flash)

    return run


@_started
def test_the_first_start_makes_the_copies_and_the_next_ones_write_nothing(flash):
    flash.check()
    for _ in range(20):
        assert flash.mend() == []
    flash.check()


@_started
def test_each_damaged_file_is_mended_from_its_copy(flash):
    for path in _FILES:
        _damage(flash.root + path)
        assert flash.mend() == ["firmware: %s was damaged: mended" % path]
        flash.check()


@_started
def test_a_missing_file_and_a_missing_folder_are_mended(flash):
    os.remove(flash.root + _GATE)
    os.remove(flash.root + "/lib/kalitka/sync/http.mpy")
    os.rmdir(flash.root + "/lib/kalitka/sync")
    assert len(flash.mend()) == 2
    flash.check()


@_started
def test_a_damaged_copy_is_written_again(flash):
    copy = flash.root + guard.COPY
    places = [("/firmware", at) for at in range(5, len(read(copy + "/firmware")), 300)]
    for name, at in places + [("/guard.mpy", 7)]:
        _damage(copy + name, at)
        assert flash.mend() == [_COPIED]
        flash.check()


@_started
def test_a_file_that_is_damaged_twice_is_told_at_each_start_and_never_replaced(flash):
    _damage(flash.root + _GATE)
    archive = flash.root + guard.COPY + "/firmware"
    _damage(archive, read(archive).index(_FILES[_GATE]) + 5)
    left = read(flash.root + _GATE)
    # The undamaged files of the copy are still used, and it is not overwritten.
    _damage(flash.root + "/boot.py")
    told = "firmware: %s was damaged: its copy is damaged, too: deploy it again" % _GATE
    assert flash.mend() == ["firmware: /boot.py was damaged: mended", told]
    for _ in range(3):
        assert flash.mend() == [told]
    assert read(flash.root + _GATE) == left


@_started
def test_every_bit_of_a_list_may_be_wrong(flash):
    size = len(read(flash.root + guard.FILE))
    for place in ("", guard.COPY):
        for at in range(size):
            _damage(flash.root + place + guard.FILE, at)
            assert flash.mend() == [_COPIED]
            flash.check()


@_started
def test_without_a_list_nothing_is_touched(flash):
    # In the middle of a deploy.
    for place in ("", guard.COPY):
        os.remove(flash.root + place + guard.FILE)
    _damage(flash.root + _GATE)
    left = read(flash.root + _GATE)
    assert flash.mend() == ["firmware: without checksums nothing is mended: deploy it again"]
    assert read(flash.root + _GATE) == left


@_started
def test_pins_that_were_changed_by_hand_are_taken_if_they_are_a_program(flash):
    path = flash.root + _PINS
    for data in (b"LOCK = 22\n", b"LOCK = 21\nEXIT_BUTTON = 4\n"):
        write(path, data)
        _times[0] += 10
        assert flash.mend() == [
            "firmware: %s was changed by hand: it is taken as it is" % _PINS,
            _COPIED,
        ]
        files = dict(_FILES)
        files[_PINS] = data
        flash.check(files)
        assert flash.mend() == []
    write(path, b"LOCK = = 21")
    _times[0] += 10
    assert flash.mend() == ["firmware: %s was damaged: mended" % _PINS, _COPIED]
    flash.check(files)
    # Mending was a write, too: what comes later is damage.
    _damage(path, 0)
    assert flash.mend() == ["firmware: %s was damaged: mended" % _PINS]
    flash.check(files)


@_started
def test_a_seal_takes_the_files_as_they_are(flash):
    _damage(flash.root + _GATE)
    kept = guard.FILE
    guard.FILE = flash.root + kept
    try:
        guard.seal([flash.root + path for path in _FILES])
    finally:
        guard.FILE = kept
    crc, size = guard._sum(flash.root + _GATE)
    entry = "%08x %d 0 %s\n" % (crc, size, flash.root + _GATE)
    assert entry.encode() in guard._read(flash.root + guard.FILE)


if MICROPYTHON:
    import vfs

    from device.power import KINDS, CutDisk, make_file_system, mount

    _PLACE = "/cut"

    def _powered(disk, work):
        # Returns what `work` returned; None if the power cut ended it.
        mount(disk, _PLACE)
        try:
            return work()
        except OSError:
            return None
        finally:
            vfs.umount(_PLACE)

    def test_a_power_cut_while_something_is_mended_leaves_the_old_file_or_the_new():
        data = bytearray(64 * 4096)
        make_file_system(CutDisk(data))
        _powered(CutDisk(data), _a_flash_to_mend)
        image = bytes(data)
        cuts = 0
        for kind in KINDS:
            at = 1
            cut = True
            while cut:
                data[:] = image
                disk = CutDisk(data, at, kind)
                flash = Flash(_PLACE)
                _powered(disk, flash.mend)
                cut = disk.cut
                cuts += cut
                _powered(CutDisk(data), flash.mend)
                assert _powered(CutDisk(data), flash.mend) == []
                mount(CutDisk(data), _PLACE)
                try:
                    flash.check()
                finally:
                    vfs.umount(_PLACE)
                at += 1 + at // 8
        print("# guard: %d power cuts while a file was mended and the copy written" % cuts)

    def _a_flash_to_mend():
        # A damaged file.
        flash = Flash(_PLACE)
        flash.deploy()
        flash.mend()
        flash.check()
        _damage(_PLACE + _GATE)
        # And a copy that is written again.
        os.remove(_PLACE + guard.COPY + guard.FILE)
