"""Cards at a reader whose chip is busy with a TLS handshake, for as long as on a real chip.

Only the test advances the chip's ticks, so no computer is too slow for these tests.
"""

import re
import time

import certificates
from kalitka_sim.network_servers import TimeServer
from kalitka_sim.reader import VirtualReader, wiegand_bits
from kalitka_sim.timeouts import HANG_TIMEOUT_S
from scripted_server import Script, ScriptedServer, reply

CARD = "04A1B2C3"
HOUR = 3600
KEPT = ("Keep-Alive: timeout=75",)


def time_reply():
    return reply(b"5,MSK-3,%d" % time.time(), headers=KEPT)


def table(minute, *headers):
    rules = f"{minute}%%\n{CARD}_/9_1\nA{minute % 10}_/9_1"
    return reply(rules.encode(), headers=headers)


class Site:
    """A server with TLS, and a reader that polls it once an hour."""

    def __init__(self, folder, scripts):
        self.server = ScriptedServer(scripts, certificates.server_context("good"))
        files = {"ca.pem": certificates.authority().pem}
        self.times = TimeServer()
        settings = {
            "poll_seconds": HOUR,
            "full_sync_hours": 0,
            "log_upload_seconds": HOUR,
            "ntp_server": self.times.address,
        }
        where = ("127.0.0.1", self.server.port)
        self.reader = VirtualReader(folder, settings, where, files=files, secure=True)

    def __enter__(self):
        self.reader.power_on()
        self.reader.freeze_time()
        self.reader.wait_line("sync: full")
        return self

    def __exit__(self, *_):
        self.reader.close()
        self.server.__exit__()
        self.times.close()

    def wait_requests(self, count):
        """Wait until the server has had `count` requests."""
        end = time.monotonic() + HANG_TIMEOUT_S
        while len(self.server.requests) < count:
            assert time.monotonic() < end, (self.server.requests, self.reader.console)
            time.sleep(0.02)


def stamp(line):
    """Return a console line's seconds since the chip's start."""
    return float(line.split()[0])


# Each of these scripts ends its connection, so that every poll has a handshake.
def polls():
    first = Script([time_reply(), table(29921460)])
    return [first, Script(table(29921461)), Script(table(29921462))]


def test_a_card_that_is_held_up_during_a_handshake_is_told_with_the_cause(tmp_path):
    with Site(tmp_path / "reader", polls()) as site:
        reader = site.reader
        assert reader.present(CARD).opened
        seen = len(reader.console)
        reader.delay_handshake(wiegand_bits(CARD))
        reader.advance_time(HOUR)
        line = reader.wait_line("scanner: ", since=seen)
        cause = "a card was held up while the chip was busy with TLS: hold the card up again"
        assert f"scanner: {cause} (1 frames read, 1 bad, 1 of these incomplete)" in line
        reader.wait_line("sync: incremental", since=seen)
        assert not [line for line in reader.console[seen:] if re.search("card .* denied", line)]
        # The handshake is over: a frame lost now is not blamed on it.
        seen = len(reader.console)
        reader.send_pulses(wiegand_bits(CARD), busy=(1, 30))
        line = reader.wait_line("scanner: ", since=seen)
        assert "while the chip was busy: hold" in line
        assert reader.present(CARD).opened


def test_a_card_that_is_held_up_while_flash_is_erased_is_lost_and_told(tmp_path):
    with Site(tmp_path / "reader", polls()) as site:
        reader = site.reader
        for bits in ((0, 26), (3, 30), (20, 34)):
            seen = len(reader.console)
            reader.send_pulses(wiegand_bits(CARD), erase=bits)
            reader.wait_line("scanner: ", since=seen)
            assert not [
                line for line in reader.console[seen:] if re.search(" card [0-9A-F]{6,8} ", line)
            ]
        # A pin remembers one edge: of a single bit nothing is lost.
        seen = len(reader.console)
        reader.send_pulses(wiegand_bits(CARD), erase=(5, 6))
        reader.wait_line(f"card {CARD} allowed", since=seen)


def test_no_handshake_begins_within_two_seconds_of_a_card(tmp_path):
    with Site(tmp_path / "reader", polls()) as site:
        reader = site.reader
        seen = len(reader.console)
        reader.request({"do": "go on"})
        reader.send_pulses(wiegand_bits(CARD))
        reader.advance_time(HOUR)
        card = reader.wait_line(f"card {CARD}", since=seen)
        sync = reader.wait_line("sync: incremental", since=seen)
        # The last pulse came at most 40 ms before the card's line.
        assert stamp(sync) - stamp(card) - HOUR > 1.9


def test_a_connection_is_kept_between_polls_that_are_far_apart(tmp_path):
    script = Script([time_reply(), table(29921460, *KEPT), time_reply()], repeat=True)
    with Site(tmp_path / "reader", [script]) as site:
        # Ten seconds before the server would end the connection.
        site.reader.advance_time(65)
        site.wait_requests(3)
        assert site.server.carried == [3]
        assert site.server.requests[2][0].startswith("GET /api/v2/token-reader/time ")
