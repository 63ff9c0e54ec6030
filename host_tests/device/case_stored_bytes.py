"""Golden bytes: each file in flash and each blob in NVS, written by hand from its document.

The documents are the two FORMAT.md and, for NVS, boards/SETTINGS.md. The only other code that
reads these bytes is in the modules that write them: a change of both sides at once would go
unnoticed, and every reader in the field would lose its data. Only the checksums are calculated
here, as the documents say.
"""

from binascii import crc32, unhexlify

from device.fake_nvs import with_nvs
from device.scratch import Folder, read, write
from device.table_plan import commit
from kalitka import settings
from kalitka.access.packing import pack
from kalitka.journal import entries
from kalitka.journal.anti_passback import AntiPassback
from kalitka.journal.log import Log
from kalitka.table.table import Table

CARD = b"04A1B2C3"
OTHER = b"DEADBEEF"
SUM_MASK = (1 << 30) - 1


def of_hex(text):
    """Return the bytes of hexadecimal digits with blanks between them."""
    return unhexlify(text.replace(" ", ""))


def with_check(data):
    """Return the data followed by its CRC-32."""
    return data + crc32(data).to_bytes(4, "little")


def sums_of(pairs):
    """Return the sums of (packed code, packed rule) pairs, calculated as FORMAT.md says."""
    first = second = 0
    for code, rule in pairs:
        one, two = 17, 29
        for byte in code + rule:
            one = (one ^ byte) * 16777619 & SUM_MASK
            two = (two ^ byte) * 73244475 & SUM_MASK
        one = (one ^ one >> 15) * 0x2C1B3C6D & SUM_MASK
        one ^= one >> 12
        two = (two ^ two >> 13) * 0x297A2D39 & SUM_MASK
        two ^= two >> 16
        first += one
        second += two
    return "%d %d %d" % (first & SUM_MASK, second & SUM_MASK, len(pairs))


CARD_PACKED = of_hex("01 03 04 A1 B2 C3")
OTHER_PACKED = of_hex("01 03 DE AD BE EF")
ALWAYS = of_hex("09 01")
# From 08:00 (480) to 20:00 (1200), Monday to Friday: bits 0 to 4.
WORKDAYS = of_hex("03 E0 03 B0 09 1F")


def test_rules_are_packed_as_written_down():
    assert pack(b"9_1") == ALWAYS
    assert pack(b"9_0") == of_hex("09 00")
    assert pack(b"3_480_1200_1111100") == WORKDAYS
    # 29921460 = 0x1C890B4: five bits, then four groups of seven; TO - FROM is 60.
    assert pack(b"1_29921460_29921520") == of_hex("01 B4 A1 A2 0E 3C")
    assert pack(b"7_480_1200_1111100_29921460_29921520") == of_hex(
        "07 E0 03 B0 09 1F B4 A1 A2 0E 3C"
    )


def test_a_table_is_a_segment_a_delta_and_a_manifest():
    with Folder() as path:
        folder = path + "/table"
        table = Table(folder)
        commit(table, True, 29921460, [(CARD, ALWAYS), (OTHER, WORKDAYS)])
        # Rule set 0 of the first code; the gap to the second, 0xDA0C0C2C, and rule set 1.
        entry = CARD_PACKED + of_hex("02") + of_hex("AC 98 B0 D0 0D 03")
        blocks = with_check(of_hex("0D 00") + entry)
        sets = with_check(of_hex("02") + ALWAYS + of_hex("06") + WORKDAYS)
        index = with_check(b"")
        footer = with_check(
            b"KSG1" + of_hex("02 00 00 00  00 00 00 00  13 00 00 00  0E 00 00 00  04 00 00 00")
        )
        assert read(folder + "/base-1.seg") == blocks + sets + index + footer

        commit(table, False, 29921461, [(OTHER, None)])
        blocks = with_check(of_hex("07 00") + OTHER_PACKED + of_hex("00"))
        footer = with_check(
            b"KSG1" + of_hex("00 00 00 00  01 00 00 00  0D 00 00 00  04 00 00 00  04 00 00 00")
        )
        assert read(folder + "/delta-2.seg") == blocks + with_check(b"") * 2 + footer

        lines = (
            "kalitka table 1\n"
            "minute 29921461\n"
            "generation 2\n"
            "unit minute\n"
            "origin 0\n"
            "sums %s\n"
            "segment base-1.seg\n"
            "segment delta-2.seg\n" % sums_of([(CARD_PACKED, ALWAYS)])
        )
        assert read(folder + "/manifest").decode() == lines + "check %08x\n" % crc32(
            lines.encode()
        )
        table.close()


def page(number, *records):
    """Return a page of records below 128 bytes; the first has this number."""
    body = number.to_bytes(4, "little")
    for record in records:
        body += bytes((len(record),)) + record
    size = 4 + len(body) + 4
    return size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little") + with_check(body)


def test_a_log_is_tails_segments_and_a_mark():
    with Folder() as path:
        log = Log(path, 32768)
        log.append(b"abc")
        body = with_check(of_hex("01 00 00 00 03") + b"abc")
        assert read(path + "/tail0") == of_hex("10 00 EF FF") + body == page(1, b"abc")
        log.append(b"d")
        assert read(path + "/tail0") == page(1, b"abc", b"d")
        log.ack(1)
        assert read(path + "/mark") == with_check(of_hex("01 00 00 00  00 00 00 00  00 00 00 00"))


def test_a_segment_is_the_pages_of_all_tails():
    with Folder() as path:
        log = Log(path, 32768)
        records = [b"%d" % n * 100 for n in range(10)]
        for record in records:
            log.append(record)
        pages = [page(n + 1, record) for n, record in enumerate(records)]
        assert read(path + "/old/00000001") == b"".join(pages[:9])
        assert read(path + "/tail0") == pages[9]


def test_an_entry_says_who_why_and_when():
    seconds = 1795415400  # 0x6B03DD68
    when = of_hex("68 DD 03 6B")
    allowed = entries.encode(entries.SCANNER, 1, 7, seconds, CARD)
    assert allowed == of_hex("04 07") + when + CARD_PACKED
    unknown = entries.encode(entries.SCANNER, 0, 8, seconds, OTHER)
    assert unknown == of_hex("00 08") + when + OTHER_PACKED
    # Not a valid token code: stored as scanned.
    assert (
        entries.encode(entries.SCANNER, 0, 8, seconds, b"a,b") == of_hex("10 08") + when + b"a,b"
    )
    # Other sources have no code.
    assert entries.encode(entries.EXIT_BUTTON, 1, 0, seconds) == of_hex("15 00") + when
    assert entries.encode(entries.DOOR, 1, 1, seconds) == of_hex("16 01") + when
    assert entries.encode(entries.ALARM, 0, 0, seconds) == of_hex("13 00") + when
    # An entry ten minutes after a start, without a time; and a time record of that moment.
    start = b"\x11\x22\x33\x44"
    untimed = entries.encode(entries.SCANNER, 1, 7, 600, CARD, start)
    assert untimed == of_hex("0C 07  58 02 00 00") + start + CARD_PACKED
    assert entries.time_record(start, 600, seconds) == (
        of_hex("80") + start + of_hex("58 02 00 00") + when
    )


def test_a_pass_is_the_window_and_the_code_and_the_mark_behind_it():
    with Folder() as path:
        passes = AntiPassback(path, 32768)
        passes.record(CARD, 29921460)
        window = of_hex("B4 90 C8 01")
        assert read(path + "/tail0") == page(1, of_hex("01") + window + CARD)
        assert read(path + "/mark") == with_check(of_hex("01 00 00 00  00 00 00 00  00 00 00 00"))
        # A pass that was never sealed is voided at the next start.
        sealed, unsealed = (of_hex("01") + window + code for code in (CARD, OTHER))
        passes.log.append(unsealed)
        assert AntiPassback(path, 32768).allowed(OTHER, 29921460)
        assert read(path + "/tail0") == page(1, sealed, unsealed, of_hex("03  02 00 00 00"))


def test_a_pass_with_an_interval_keeps_its_minute():
    with Folder() as path:
        AntiPassback(path, 32768, interval=30).record(CARD, 29921460)
        assert read(path + "/tail0") == page(1, of_hex("02 B4 90 C8 01") + CARD)


SETTINGS = b'{"crc32": "%s", "reader": "7:gate",\n "server_token": "\xd1\x82"}\r\n'
SETTINGS = SETTINGS.replace(b"%s", b"%08x" % crc32(SETTINGS.replace(b"%s", b"")))
BLOBS = {("kalitka", "settings"): SETTINGS, ("kalitka", "zone"): b"EET-2EEST,M3.5.0/3,M10.5.0/4"}


def test_nvs_has_the_settings_file_as_it_is_and_the_zone():
    blobs = {}

    def save(nvs):
        write("settings.json", SETTINGS)
        settings.load(print)
        nvs.save_zone("EET-2EEST,M3.5.0/3,M10.5.0/4")

    with_nvs(blobs, save)
    assert blobs == BLOBS


def test_nvs_of_a_reader_in_the_field_is_understood():
    def load(nvs):
        told = []
        found = settings.load(told.append)
        assert (found["reader"], found["server_token"]) == ("7:gate", "\u0442")
        assert told[1:] == ["settings: taken from the copy in NVS"]
        assert nvs.load_zone() == "EET-2EEST,M3.5.0/3,M10.5.0/4"

    with_nvs(dict(BLOBS), load)
