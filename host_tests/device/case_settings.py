"""The settings file: its checksum, its copy in NVS, and what holds when one of them is damaged."""

import json
import os

from device.failing_flash import FailingFlash
from device.fake_nvs import Esp32, with_nvs
from device.scratch import MICROPYTHON, read, write
from kalitka import settings

KEY = ("kalitka", "settings")
# The door of this site is held shut by current: by the defaults it would stand open.
SITE = {
    "reader": "7:gate-2",
    "server_url": "https://hub.example.org:8443",
    "server_token": "0123456789abcdef",
    "wifi": [["site", "secret word"], ["yard", "another word"]],
    "lock_kind": "fail-safe",
    "lock_output": "active-low",
    "lock_seconds": 5,
}
LOCK = ("fail-safe", "active-low")
UNKNOWN = (None, None)


def text_of(**changes):
    """Return the bytes of a file of this site, without a checksum."""
    return json.dumps(dict(SITE, **changes)).encode()


def load(data, copy=b""):
    """Load from a file of these bytes (None: no file) and a copy in NVS.

    Returns (settings, lines reported, the file afterwards, the copy afterwards).
    """
    blobs = {KEY: copy} if copy else {}
    result = []

    def use(_):
        if data is not None:
            write(settings.FILE, data)
        said = []
        found = settings.load(said.append)
        after = read(settings.FILE) if data is not None else None
        assert os.listdir() == ([] if data is None else [settings.FILE])
        result.extend((found, said, after, blobs.get(KEY, b"")))

    with_nvs(blobs, use)
    return result


def lock_of(found):
    """Return the settings that say how the lock is wired."""
    return found["lock_kind"], found["lock_output"]


def test_a_checksum_is_added_once_and_renewed_when_the_file_has_changed():
    sealed = settings.seal(text_of())
    assert settings.seal(sealed) == sealed
    assert json.loads(sealed) == dict(SITE, crc32=json.loads(sealed)["crc32"])
    assert settings.parse(sealed) == settings.parse(text_of())
    changed = sealed.replace(b"7:gate-2", b"7:gate-3")
    assert settings.seal(changed) == settings.seal(text_of(reader="7:gate-3"))
    assert settings.seal(b"{}") == settings.seal(b'{"crc32": ""}')
    assert settings.seal(b" {\n}\n") == settings.seal(settings.seal(b" {\n}\n"))


def test_a_file_written_by_hand_is_checked_sealed_and_kept():
    found, said, after, copy = load(text_of())
    assert lock_of(found) == LOCK and found["reader"] == "7:gate-2"
    assert said == ["settings: settings.json has a checksum now"]
    assert after == copy == settings.seal(text_of())
    assert load(after, copy) == [found, [], after, copy]


def test_a_file_with_a_fault_is_neither_sealed_nor_kept():
    good = settings.seal(text_of())
    for changes in ({"poll_seconds": 0}, {"pol_seconds": 5}):
        data = text_of(**changes)
        found, said, after, copy = load(data, good)
        assert len(said) == 1 and lock_of(found) == LOCK, said
        assert (after, copy) == (data, good)


def test_the_wiring_of_the_lock_is_taken_from_the_last_good_file_or_not_at_all():
    good = settings.seal(text_of())
    for changes in ({"lock_kind": "fail-sage"}, {"lock_kind": 5}, {"lock_kind": None}):
        data = text_of(**changes)
        assert lock_of(load(data, good)[0]) == LOCK
        found, said, _, copy = load(data)
        assert lock_of(found) == (None, "active-low")
        assert "nothing says how the lock is wired" in said[-1]
        assert not copy


def test_a_name_with_a_typing_error_may_have_been_the_lock_s():
    data = text_of().replace(b"lock_kind", b"lock_king")
    assert lock_of(load(data)[0]) == (None, "active-low")
    assert lock_of(load(data, settings.seal(text_of()))[0]) == LOCK
    # With a checksum nothing was lost: the tools of another version have written it.
    newer = settings.seal(data.replace(b"lock_king", b"lock_hue"))
    assert lock_of(load(newer)[0]) == ("fail-secure", "active-low")


def test_a_changed_file_is_not_used_at_all_and_the_message_says_what_to_do():
    good = settings.seal(text_of())
    changed = good.replace(b"7:gate-2", b"7:gate-3")
    words = "settings: settings.json is damaged, or was changed by hand: deploy it again, or "
    null = text_of(crc32=None)
    for data in (changed, null, json.dumps(json.loads(good)).encode().replace(b": ", b":  ")):
        found, said, after, copy = load(data, good)
        assert said == [words + "remove its crc32", "settings: taken from the copy in NVS"]
        assert found["reader"] == "7:gate-2" and (after, copy) == (data, good)
        found, said, _, copy = load(data)
        assert found["reader"] == "" and lock_of(found) == UNKNOWN and not copy


def test_without_a_file_or_with_one_that_is_no_object_the_copy_holds():
    good = settings.seal(text_of())
    for data, words in (
        (None, "settings.json cannot be read"),
        (b"", "settings.json is not JSON"),
        (b"[]", "settings.json is not a JSON object"),
        (text_of(codes=["A" * 250] * 25), "settings.json is longer than 6000 bytes"),
    ):
        found, said, after, copy = load(data, good)
        assert said == ["settings: " + words, "settings: taken from the copy in NVS"]
        assert lock_of(found) == LOCK and (after, copy) == (data, good)
        assert lock_of(load(data)[0]) == UNKNOWN


def test_the_copy_has_room_for_the_longest_file():
    data = settings.seal(text_of(codes=["A" * 250] * 22))
    assert 5000 < len(data) <= settings.SIZE_MAX
    assert load(data)[3] == data


def test_a_file_without_room_for_a_checksum_is_refused_and_left_as_it_is():
    most = settings.SIZE_MAX - len(settings.seal(b"{}")) + 4
    for size in range(most - 2, settings.SIZE_MAX + 2):
        data = text_of(codes=["A" * 250] * 22)
        data += b" " * (size - len(data))
        found, said, after, copy = load(data)
        if size <= settings.SIZE_MAX - 21:
            assert lock_of(found) == LOCK and after == copy == settings.seal(data), size
            assert load(after, copy)[1] == []
        else:
            assert said[0] == "settings: settings.json is longer than 6000 bytes", (size, said)
            assert (after, copy) == (data, b"")


def test_a_file_that_is_cut_off_anywhere_is_not_used():
    good = settings.seal(text_of())
    for data in (text_of(), good, text_of(reader='}}\\"}')):
        for n in range(len(data)):
            found, said, after, copy = load(data[:n], good)
            assert said[-1] == "settings: taken from the copy in NVS", (n, said)
            assert lock_of(found) == LOCK and (after, copy) == (data[:n], good)
    # MicroPython up to 1.25 reads such a text as JSON.
    kept = settings.json
    settings.json = Lenient
    try:
        for data in (b"{", b'{"reader": "7:gate-2"', b'{"reader": "x}",', b'{"wifi": [["a", "b"]'):
            found, said, _, copy = load(data, good)
            assert said[0] == "settings: settings.json ends too early", (data, said)
            assert lock_of(found) == LOCK and copy == good
    finally:
        settings.json = kept


class Lenient:
    """A `json` that takes any text for an empty object, but reads the whole copy."""

    def loads(data):
        """Return the object."""
        return json.loads(data) if data.rstrip().endswith(b"}") and len(data) > 100 else {}


def test_what_says_how_the_lock_is_wired_is_not_changed_by_leaving_it_out():
    good = settings.seal(text_of())
    for data in (b"{}", b'{"reader": "7:gate-2", "lock_output": "active-low"}'):
        found, said, after, copy = load(data, good)
        assert found["lock_kind"] == "fail-safe" and (after, copy) == (data, good)
        assert "settings: lock_kind: left out, so it stays fail-safe: write it down" in said
    # The tools have checked the file that they seal.
    sealed = settings.seal(b"{}")
    found, said, _, copy = load(sealed, good)
    assert lock_of(found) == ("fail-secure", "active-high") and copy == sealed and not said


def test_a_copy_that_is_damaged_is_not_used():
    good = settings.seal(text_of())
    found, said, _, _ = load(None, good.replace(b"fail-safe", b"fail-sage"))
    assert lock_of(found) == UNKNOWN
    assert said[0].startswith("settings: the copy in NVS: settings.json is damaged")


def test_without_memory_for_good_settings_the_reader_starts_again():
    good = settings.seal(text_of())
    damaged = good[:20] + b"?" + good[21:]

    def found(data, copy, *short):
        # How the lock is wired if parsing these bytes finds no memory; "" if the start fails.
        kept = settings.parse

        def parse(data, known=None):
            if data in short:
                raise MemoryError("none")
            return kept(data, known)

        settings.parse = parse
        try:
            return lock_of(load(data, copy)[0])
        except MemoryError as e:
            assert str(e) == "too little memory for the settings"
            return ""
        finally:
            settings.parse = kept
            if "settings.json" in os.listdir():
                os.remove("settings.json")

    other = settings.seal(text_of(lock_seconds=6))
    assert found(good, other, other) == LOCK
    assert found(good, other, good) == LOCK
    assert found(good, other, good, other) == ""
    assert found(damaged, good, good) == ""
    assert found(None, good, good) == ""
    assert found(good, b"", good) == ""
    # A restart would find nothing better.
    assert found(damaged, b"") == UNKNOWN


def test_no_bit_that_flips_in_the_file_changes_how_the_lock_is_wired():
    good = settings.seal(text_of())
    wrong = changed = undecided = 0
    for bit in range(len(good) * 8):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        found, _, _, copy = load(bytes(data), good)
        wrong += lock_of(found) != LOCK
        changed += copy != good
        # And without a copy: the right wiring or none.
        found, _, _, copy = load(bytes(data))
        wrong += lock_of(found) not in (LOCK, UNKNOWN)
        undecided += lock_of(found) == UNKNOWN
        changed += bool(copy)
    print(
        "# settings: %d bits flipped, each with and without a copy: %d doors on the wrong level, "
        "%d copies changed, %d files that nothing could replace"
        % (len(good) * 8, wrong, changed, undecided)
    )
    assert not wrong and not changed


class Start:
    """Starts of a reader whose file, changed by hand to `data`, has no checksum yet.

    chip: an Esp32; its NVS has a copy of the file before the change.
    """

    def __init__(self, data, chip):
        self._data = data
        self._chip = chip
        self.wanted = settings.parse(data)[0]
        self.said = []
        write(settings.FILE, data)

    def load(self):
        """Load the settings, which are those of the file whatever happens."""
        self.said.clear()
        found = settings.load(self.said.append)
        assert found == self.wanted, self.said

    def check(self):
        """Check that the next start, where nothing fails, has brought everything in order."""
        self.load()
        sealed = settings.seal(self._data)
        assert os.listdir() == [settings.FILE] and read(settings.FILE) == sealed
        self.load()
        assert not self.said
        self._chip.cut_power()
        self._check_copy([self.wanted])

    def check_lost(self, old):
        """Check that a power cut and the loss of the file leave the settings old or new."""
        self._chip.cut_power()
        self._check_copy([old, self.wanted])

    def _check_copy(self, allowed):
        write(settings.FILE, b"")
        found = settings.load(self.said.append)
        assert found in allowed and self.said[-1] == "settings: taken from the copy in NVS"


def _check_failure(changes, of_nvs, at, done):
    # Starts with this write failed, the file system's or the NVS's; returns how many there were.
    old = settings.seal(text_of())
    for then in ("cut", "lost", "again"):
        blobs = {KEY: old}
        chip = Esp32(blobs)
        count = []

        def use(_, then=then, chip=chip, count=count):
            start = Start(text_of(**changes), chip)
            with FailingFlash() as flash:
                if of_nvs:
                    chip.bad_writes = (at,)
                    chip.done = done
                else:
                    flash.count(writes=(at,), done=done)
                start.load()
                count.append(chip.writes if of_nvs else flash.writes)
                chip.bad_writes = ()
            if then == "lost":
                start.check_lost(settings.parse(old)[0])
                return
            if then == "cut":
                chip.cut_power()
            start.check()

        with_nvs(blobs, use, chip)
    return count[0]


def test_settings_are_the_old_or_the_new_ones_whatever_fails_at_a_start_done_or_not():
    # The door's other level is the new one only if the file says so.
    for changes in ({"reader": "7:gate-3"}, {"lock_kind": "fail-secure"}):
        for of_nvs, least in ((False, 3), (True, 2)):
            for done in (False, True):
                at = 1
                while at <= _check_failure(changes, of_nvs, at, done):
                    at += 1
                assert at > least, (of_nvs, done, at)


if MICROPYTHON:
    import vfs

    from device.power import FAILURES, KINDS, CutDisk, make_file_system, mount

    def test_a_start_that_seals_its_file_is_cut_or_fails_at_any_operation():
        image = bytearray(16 * CutDisk.SIZE)
        tried = 0
        for kind in KINDS + FAILURES:
            at = 0
            cut = True
            while cut:
                at += 1
                cut = _sealed_on(CutDisk(image, at, kind), kind)
                tried += cut
        print("# settings: %d operations of a start cut or failed" % tried)
        assert tried >= 5 * len(KINDS + FAILURES)

    def _sealed_on(disk, kind):
        # Returns whether it came to the cut.
        make_file_system(CutDisk(disk.data))
        blobs = {KEY: settings.seal(text_of())}
        chip = Esp32(blobs)
        reached = []

        def use(_):
            mount(CutDisk(disk.data), "/cut")
            os.chdir("/cut")
            start = Start(text_of(reader="7:gate-3"), chip)
            vfs.umount("/cut")
            mount(disk, "/cut")
            os.chdir("/cut")
            start.load()
            reached.append(disk.cut)
            if kind in KINDS:
                vfs.umount("/cut")
                chip.cut_power()
                mount(CutDisk(disk.data), "/cut")
                os.chdir("/cut")
            if disk.cut:
                start.check()
            vfs.umount("/cut")

        with_nvs(blobs, use, chip)
        return reached[0]


def test_a_console_is_locked_only_with_a_hash_that_can_open_it():
    kept = "sha256:00ff:" + "ab" * 32
    for values, console, faults in (
        ({"console": "password", "console_password": kept}, "password", 0),
        ({"console": "off"}, "off", 0),
        ({"console": "password"}, "open", 1),
        ({"console": "password", "console_password": "plain"}, "open", 2),
        ({"console": "password", "console_password": "sha256:plain"}, "open", 2),
        ({"console": "shut"}, "open", 1),
    ):
        found, told = settings.with_defaults(values)
        assert (found["console"], len(told)) == (console, faults), (values, told)
        assert not [line for line in told if "plain" in line]


def test_8_a_zone_whose_sign_nobody_means_is_refused_with_what_to_write():
    for zone in ("UTC+3", "UTC-3", "GMT+03:00", "gmt3", "MSK+3", "EET2", "<+03>3", "<-03>-3"):
        found, (fault,) = settings.with_defaults({"zone": zone})
        assert found["zone"] == ""
        assert fault.startswith("zone: %s is misread: write <+03>-3 for UTC+3" % zone), fault
    for zone in (
        "UTC0",
        "UTC+0",
        "MSK-3",
        "<+03>-3",
        "<-03>3",
        "EST+5EDT",
        "EET-2EEST",
        "GMT0BST",
    ):
        assert settings.with_defaults({"zone": zone}) == (
            dict(settings.with_defaults({})[0], zone=zone),
            [],
        )


def test_17_a_byte_order_mark_is_skipped():
    marked = b"\xef\xbb\xbf" + text_of()
    found, said, after, copy = load(marked)
    assert (lock_of(found), found["reader"]) == (LOCK, "7:gate-2")
    assert said == ["settings: settings.json has a checksum now"]
    assert after == copy == settings.seal(marked)
    assert load(after, copy) == [found, [], after, copy]
    for data in (b"\xef\xbb\xbf", b"\xef\xbb"):
        assert load(data)[1][0] == "settings: settings.json is not JSON", data


def test_17_networks_that_cannot_be_joined_are_told_and_the_others_stay():
    word = "wifi: the password of gate must have 8 to 63 characters, or 64 hexadecimal digits; "
    for password in ("1", "1234567", "x" * 64, "0" * 65, "\u0439" * 3, "\u0439" * 32):
        wifi = [["gate", password], ["yard", "another word"]]
        found, faults = settings.with_defaults({"wifi": wifi})
        assert faults == [word + '"" for an open network'], (password, faults)
        assert found["wifi"] == wifi
    for password in ("", "12345678", "x" * 63, "0aF9" * 16, "\u0439" * 4):
        assert not settings.with_defaults({"wifi": [["gate", password]]})[1], password
    for name in ("x" * 33, "\u0439" * 17):
        _, faults = settings.with_defaults({"wifi": [[name, ""]]})
        assert faults == ["wifi: %s is longer than a network's name, 32 bytes" % name]
        assert not settings.with_defaults({"wifi": [[name[1:], ""]]})[1], name


def test_17_a_secret_with_a_blank_or_a_line_end_is_told():
    for secret in ("abc\n", "abc\r\n", " abc", "a b", "abc\t", " "):
        faults = settings.with_defaults({"server_token": secret})[1]
        assert faults == ["server_token: it has a blank or a line end: copy the secret alone"]
    for secret in ("", "abc", "a-_B.~"):
        assert not settings.with_defaults({"server_token": secret})[1]
