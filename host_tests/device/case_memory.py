"""Out-of-memory errors: recognized, with their heap, and not confused with other errors."""

import sys

from device.scratch import Folder, write
from kalitka.sync import net, tls
from kalitka.sync.net import NetError
from kalitka.system import memory

HELP = "; a board with PSRAM, or the firmware frozen in, has more"
SHORT = "not enough memory outside of Python's heap"


class Chip:
    """A stand-in for the module `esp32`: the heap beside Python's has these regions."""

    regions = (65536, 3000, 2500, 0), (32768, 9000, 6200, 0)

    @classmethod
    def idf_heap_info(cls, capability):
        assert capability == 4
        return cls.regions


def on_the_chip(check, chip=Chip):
    """Run `check()` on a chip with that heap, or on one without the module `esp32` (None)."""
    kept = sys.modules.pop("esp32", None)
    if chip:
        sys.modules["esp32"] = chip
    try:
        check()
    finally:
        sys.modules.pop("esp32", None)
        if kept:
            sys.modules["esp32"] = kept


def test_want_of_memory_outside_of_pythons_heap_is_told_with_what_is_free():
    def check():
        for error in (
            OSError(12),
            OSError(105),
            OSError(0x101, "ESP_ERR_NO_MEM"),
            OSError(-0x7F00),
            OSError(-0x7F00, "MBEDTLS_ERR_SSL_ALLOC_FAILED"),
            OSError(-0x2880, "MBEDTLS_ERR_X509_ALLOC_FAILED"),
            OSError(-0x3F80, "PK - Memory allocation failed"),
            OSError(-0x2180, "MBEDTLS_ERR_X509_FOO+MBEDTLS_ERR_MPI_ALLOC_FAILED"),
            OSError("Wifi Out of Memory"),
        ):
            assert memory.describe(error) == SHORT + ": 11 KiB are free, 6 in one piece" + HELP, (
                error
            )

    on_the_chip(check)


def test_what_cannot_be_looked_up_is_not_told():
    def check():
        assert memory.describe(OSError(12)) == SHORT + HELP
        assert memory.shortage(1 << 20) == ""

    on_the_chip(check, None)


def test_want_of_memory_in_pythons_heap_is_told_as_such():
    words = memory.describe(MemoryError("memory allocation failed, allocating 16384 bytes"))
    assert words.startswith("not enough memory in Python's heap"), words
    assert words.endswith(", 16384 bytes in one piece were asked for" + HELP), words
    assert "asked" not in memory.describe(MemoryError())


def test_no_other_failure_is_called_want_of_memory():
    for error in (OSError(5), OSError(28), OSError(104), OSError(-0x2700, "X"), ValueError("a")):
        assert memory.describe(error) == ""
    assert memory.describe(OSError()) == ""


def test_the_network_tells_what_it_did_when_memory_was_wanting():
    def check():
        told = str(net.net_error(OSError(12), "connecting to 10.0.0.1:443"))
        assert told.startswith(SHORT + ": 11 KiB") and told.endswith("connecting to 10.0.0.1:443")
        assert net.describe(MemoryError()).startswith("not enough memory in Python's heap")
        assert net.describe(OSError(-0x7100, "MBEDTLS_ERR_SSL_BAD_INPUT_DATA")) == (
            "error MBEDTLS_ERR_SSL_BAD_INPUT_DATA"
        )

    on_the_chip(check)


class Ssl:
    """A stand-in for `ssl` that rejects every certificate without a reason."""

    PROTOCOL_TLS_CLIENT = CERT_REQUIRED = 0

    class SSLContext:
        def __init__(self, protocol):
            self.verify_mode = None

        def load_verify_locations(self, cadata):
            raise ValueError("invalid cert")


def told_of_the_ca():
    kept = tls.ssl
    tls.ssl = Ssl
    try:
        with Folder() as path:
            write(path + "/ca.pem", b"0\x82")
            tls.context(path + "/ca.pem")
    except NetError as e:
        return str(e).split("ca.pem ")[1]
    finally:
        tls.ssl = kept
    raise AssertionError("it was taken")


def test_a_ca_that_finds_no_memory_is_not_called_wrong():
    def check():
        assert told_of_the_ca().startswith("cannot be read: " + SHORT)

    on_the_chip(check)


def test_a_ca_that_is_wrong_is_not_excused_by_memory():
    class Roomy(Chip):
        regions = (65536, 3000, 2500, 0), (65536, 30000, 20000, 0)

    for chip in (Roomy, None):
        on_the_chip(
            lambda: told_of_the_ca().index("does not hold a certificate: give it the site's CA"),
            chip,
        )


def test_a_want_that_lasts_is_told_once_whatever_is_free():
    short = "not enough memory in Python's heap: %d KiB are free; a board with PSRAM has more"
    assert net.same_fault(short % 5841, short % 5847)
    assert not net.same_fault(short % 5841, "")
    assert not net.same_fault(short % 5841, "the server answered 500")
    # In other messages a number identifies the failure.
    assert not net.same_fault("the server answered 500", "the server answered 502")
