"""A site with TLS: the certificates of `kalitka hub certificate`, a real hub, a virtual reader."""

import json
import time

import pytest

from hub_command import Hub
from kalitka.settings import seal
from kalitka_hub.site.tokens import TokenSetting
from kalitka_sim import littlefs_image
from kalitka_sim.network_servers import TimeServer
from kalitka_sim.reader import VirtualReader

DAY = 86400  # seconds


class Site:
    """A hub with TLS, the folder of its own CA, and a time server (closed with the process)."""

    def __init__(self, folder):
        self.times = TimeServer()
        self.folder = folder / "tls"
        self.hub = Hub(folder, tls=(self.folder / "hub.pem", self.folder / "hub.key"))
        self.certify()
        self.hub.add_reader("GATE-1")

    def certify(self):
        """Make the hub's certificate, as the operator does."""
        self.hub.command("certificate", "127.0.0.1", "hub.local", "--folder", str(self.folder))

    def reader(self, folder):
        """Return a reader of this site."""
        settings = {
            "reader": "GATE-1",
            "server_token": self.hub.secrets["GATE-1"],
            "poll_seconds": 1,
            "ntp_server": self.times.address,
        }
        files = {"ca.pem": (self.folder / "ca.pem").read_bytes()}
        return VirtualReader(folder, settings, self.hub.address, files=files, secure=True)


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path / "site")
    made.hub.set_tokens([TokenSetting("04A1B2C3", ("9_1",))])
    with made.hub:
        made.hub.start()
        yield made


def add(site, reader, code):
    """Let a card in; returns when the reader knows."""
    seen = len(reader.console)
    site.hub.command("token", "add", code, "--rule", "9_1")
    reader.wait_line(r"sync: .* 1 codes changed", since=seen)
    assert reader.present(code).opened


def test_a_reader_syncs_over_one_connection_and_goes_on_when_the_certificate_is_renewed(
    site, tmp_path
):
    with site.reader(tmp_path / "reader") as reader:
        reader.power_on()
        reader.wait_line("clock: set by a time server")
        reader.wait_line("clock: set by the server")
        reader.wait_line("sync: full")
        assert reader.present("04A1B2C3").opened
        # Each change takes a poll of its own.
        for code in ("DEADBEEF", "55667788", "A0B1C2"):
            add(site, reader, code)
        assert reader.relay.connections == 1
        seen = len(reader.console)
        site.hub.stop()
        reader.wait_line("sync: failed", since=seen)
        before = (site.folder / "hub.pem").read_bytes()
        site.certify()
        assert (site.folder / "hub.pem").read_bytes() != before
        site.hub.start()
        reader.wait_line("sync: works again", since=seen)
        add(site, reader, "10203040")


def test_a_hub_of_another_sites_ca_is_refused_and_the_gate_decides_on(site, tmp_path):
    with site.reader(tmp_path / "reader") as reader, Site(tmp_path / "other").hub as other:
        reader.power_on()
        reader.wait_line("sync: full")
        other.start()
        seen = len(reader.console)
        reader.relay.server = other.address
        site.hub.stop()
        reader.wait_line("sync: failed: certificate not accepted", since=seen)
        assert reader.present("04A1B2C3").opened
        assert reader.present("DEADBEEF").reason == "unknown code"


def test_a_reader_without_the_ca_says_so_and_decides(site, tmp_path):
    settings = {"reader": "GATE-1", "server_token": site.hub.secrets["GATE-1"]}
    with VirtualReader(tmp_path / "reader", settings, site.hub.address, secure=True) as reader:
        reader.power_on()
        reader.wait_line("sync: failed: ca.pem with the site's CA cannot be read")
        assert reader.present("04A1B2C3").reason == "no table yet"


def test_a_ca_that_was_lost_with_the_flash_is_taken_from_its_copy_in_the_nvs(site, tmp_path):
    with site.reader(tmp_path) as reader:
        reader.power_on()
        reader.wait_line("sync: works over TLS")
        reader.power_cut()
        littlefs_image.remove(reader.flash_file, "ca.pem")
        seen = len(reader.console)
        reader.power_on()
        reader.wait_line("sync: works over TLS", since=seen)
        reader.power_cut()
        # Not for a file of another name, which is a mistake in the settings.
        values = json.loads(littlefs_image.read(reader.flash_file)["settings.json"])
        changed = seal(json.dumps({**values, "server_ca": "other.pem"}).encode())
        littlefs_image.update(reader.flash_file, {"settings.json": changed})
        seen = len(reader.console)
        reader.power_on()
        reader.wait_line("sync: failed: other.pem with the site's CA cannot be read", since=seen)


def test_a_certificate_is_judged_by_the_chips_clock(site, tmp_path):
    with site.reader(tmp_path / "reader") as reader:
        reader.power_on()
        reader.wait_line("sync: full")
        now = time.time()
        for first, last, words in (
            (now + DAY, now + 9 * DAY, "The certificate validity starts in the future"),
            (now - 9 * DAY, now - DAY, "The certificate validity has expired"),
        ):
            seen = len(reader.console)
            reader.set_certificate_dates(first, last)
            reader.relay.cut()
            reader.relay.restore()
            reader.wait_line(f"sync: failed: certificate not accepted.*{words}", since=seen)
        seen = len(reader.console)
        reader.set_certificate_dates(now - DAY, now + DAY)
        reader.wait_line("sync: works again", since=seen)


def test_a_reader_that_is_told_no_time_cannot_check_a_certificate(site, tmp_path):
    with site.reader(tmp_path / "reader") as reader:
        site.times.close()
        reader.power_on()
        reader.wait_line(
            "sync: failed: the clock is not set, so no certificate is valid: "
            "certificate not accepted.*The certificate validity starts in the future"
        )
        seen = len(reader.console)
        reader.set_clock(time.time())
        reader.wait_line("sync: full", since=seen)
