"""A site with TLS: the certificates of `kalitka hub certificate`, a real hub, a virtual reader.

The last tests are of the reader's time, with a time server that lies.
"""

import json
import re
import time

import pytest

from hub_command import Hub
from kalitka.journal import entries
from kalitka.settings import seal
from kalitka_hub.site.tokens import TokenSetting
from kalitka_sim import littlefs_image, network_servers
from kalitka_sim.reader import VirtualReader
from kalitka_sim.timeouts import HANG_TIMEOUT_S
from time_server import ERA_1, Reply, TimeServer

DAY = 86400  # seconds


class Site:
    """A hub with TLS, the folder of its own CA, and a time server (closed with the process)."""

    def __init__(self, folder):
        self.times = network_servers.TimeServer()
        self.folder = folder / "tls"
        self.hub = Hub(folder, tls=(self.folder / "hub.pem", self.folder / "hub.key"))
        self.certify()
        self.hub.add_reader("GATE-1")

    def certify(self, *names):
        """Make the hub's certificate, as the operator does; by default for where it is."""
        names = names or ("127.0.0.1", "hub.local")
        self.hub.command("certificate", *names, "--folder", str(self.folder))

    def reader(self, folder, times=None, **settings):
        """Return a reader of this site. times: another time server."""
        settings = {
            "reader": "GATE-1",
            "server_token": self.hub.secrets["GATE-1"],
            "poll_seconds": 1,
            "ntp_server": f"127.0.0.1:{times.port}" if times else self.times.address,
            **settings,
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


def test_18_a_reader_with_http_at_the_port_for_https_says_so_and_decides(site, tmp_path):
    settings = {"reader": "GATE-1", "server_token": site.hub.secrets["GATE-1"]}
    with VirtualReader(tmp_path / "reader", settings, site.hub.address) as reader:
        reader.power_on()
        reader.wait_line("sync: failed: .*: does this port speak https")
        assert reader.present("04A1B2C3").reason == "no table yet"


def test_18_a_certificate_for_another_name_is_refused_by_its_name_and_nothing_else(site, tmp_path):
    with site.reader(tmp_path / "reader") as reader:
        site.hub.stop()
        site.certify("elsewhere.local")
        site.hub.start()
        reader.power_on()
        told = reader.wait_line("sync: failed: ")
        assert re.search(
            r"sync: failed: certificate not accepted while the handshake with 127\.0\.0\.1:\d+: "
            r"The certificate Common Name \(CN\) does not match with the expected CN$",
            told,
        )
        reader.wait_line(r"clock: not set by the server: certificate not accepted .*\(CN\)")
        # Each reason is told once, and no line blames the clock or the dates.
        assert not re.search("no certificate is valid|validity|proved", "\n".join(reader.console))
        assert reader.present("04A1B2C3").reason == "no table yet"


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


# The time


def restart_without_the_hub(reader):
    """Cut the power of a reader that has synced; switch it on with its hub out of reach."""
    reader.power_on()
    reader.wait_line("sync: works over TLS")
    reader.power_cut()
    assert reader.relay
    reader.relay.cut()
    seen = len(reader.console)
    reader.power_on()
    return seen


def test_1_no_time_before_the_last_one_that_was_proved_is_taken_after_a_power_cut(site, tmp_path):
    now = time.time()
    with (
        TimeServer([Reply(), Reply(), Reply(at=now - 15 * DAY)]) as times,
        site.reader(tmp_path / "reader", times) as reader,
    ):
        seen = restart_without_the_hub(reader)
        reader.wait_line("clock: not set by a time server: its time lies before", since=seen)
        times.follow(Reply())
        reader.wait_line("clock: set by a time server, provisional", since=seen)


def test_1_the_hub_learns_that_a_readers_time_was_provisional(site, tmp_path):
    with site.reader(tmp_path / "reader", log_upload_seconds=0) as reader:
        seen = restart_without_the_hub(reader)
        reader.wait_line("clock: set by a time server, provisional", since=seen)
        reader.wait_line("sync: failed", since=seen)
        reader.relay.restore()
        reader.wait_line("clock: set by the server", since=seen)
        deadline = time.monotonic() + HANG_TIMEOUT_S
        told = []
        while len(told) < 2 and time.monotonic() < deadline:
            rows = json.loads(site.hub.command("log", "list", "--json"))
            told = [row["state"] for row in rows if row["source"] == entries.READER]
        assert told == [1, 0]
        assert "provisional" in site.hub.command("log", "list")


def test_2_a_lie_of_the_time_server_ends_when_the_hub_can_be_reached(site, tmp_path):
    lie = Reply(at=time.time() + 15 * DAY)
    with (
        TimeServer([Reply(), Reply(), lie]) as times,
        site.reader(tmp_path / "reader", times) as reader,
    ):
        seen = restart_without_the_hub(reader)
        reader.wait_line("clock: set by a time server, provisional", since=seen)
        seen = len(reader.console)
        reader.relay.restore()
        # By a second answer, as it goes back.
        line = reader.wait_line("clock: set by the server, [0-9]+ s back$", since=seen)
        assert abs(int(line.split()[6]) - 15 * DAY) < HANG_TIMEOUT_S
        reader.wait_line("sync: works over TLS", since=seen)


def test_4_a_first_answer_of_2036_makes_the_certificate_invalid_and_heals_within_minutes(
    site, tmp_path
):
    lie = Reply(at=ERA_1 + 3600)
    with (
        TimeServer([lie, lie, Reply()]) as times,
        site.reader(tmp_path / "reader", times) as reader,
    ):
        reader.power_on()
        reader.set_certificate_dates(time.time() - DAY, time.time() + 300 * DAY)
        reader.wait_line(
            "sync: failed: nobody has proved the clock's time: certificate not accepted.*"
            "The certificate validity has expired"
        )
        # The third question came at once; the answers that win come minutes apart.
        assert len(times.requests) == 3
        for passed in (301, 602):
            # The chip's clock goes on while it waits, however busy this computer is.
            times.follow(lambda _, passed=passed: Reply(at=time.time() + passed))
            answered = times.answered
            reader.advance_time(301)
            end = time.monotonic() + HANG_TIMEOUT_S
            while times.answered == answered and time.monotonic() < end:
                time.sleep(0.05)
            for _ in range(20):  # turns of the chip's loop: the answer is taken before time moves
                reader.request({"do": "pins"})
        reader.wait_line("clock: set by a time server, [0-9]+ s back, provisional")
        reader.wait_line("clock: set by the server, ")
        reader.wait_line("sync: works over TLS")


def test_5_a_hub_that_goes_back_by_days_is_believed_at_its_second_answer(site, tmp_path):
    with site.reader(tmp_path / "reader") as reader:
        reader.power_on()
        reader.wait_line("sync: works over TLS")
        seen = len(reader.console)
        # Three days later for the reader, not for the hub.
        reader.advance_time(3 * DAY)
        reader.wait_line(
            "clock: not set by the server: its time is .* s back: not taken yet", seen
        )
        reader.wait_line("clock: set by the server, .* s back$", seen)
