"""A reader in MicroPython and its servers on loopback, and assertions about its polls."""

import resource

import certificates
import micropython_peer
from reader_clock import ReaderClock
from scripted_server import ScriptedServer, reply
from wrong_answers import CHANGE

OLD = reply(b"29921460%%\nA1_/3_480_1200_1111100\nB2_/9_1")
OLD_TABLE = [29921460, {"A1": ["3_480_1200_1111100"], "B2": ["9_1"]}]
NEW = reply(CHANGE)
NEW_TABLE = [29921461, {"A1": ["3_480_1200_1111100"], "C3": ["1_29921461_29929999", "9_1"]}]

DESCRIPTORS = 16  # the limit of the reader's open files and sockets

cases = {"polls": 0, "kinds": 0, "decisions": 0, "certificates": 0, "answers": 0}


def print_counts():
    """Print the counts of cases since the last call."""
    print(
        f"\n# {cases['kinds']} kinds of misbehaviour, {cases['polls']} polls against them, "
        f"{cases['decisions']} cards decided meanwhile; {cases['certificates']} wrong "
        f"certificates and {cases['answers']} wrong answers of no effect"
    )
    cases.update(dict.fromkeys(cases, 0))


def _few_descriptors():
    # A chip has some ten sockets: a reader that loses one at each failure soon has none left.
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


class World:
    """Servers on loopback, and a reader in MicroPython that polls them.

    clock: the reader's clock, which a deliberately silent server advances.
    """

    def __init__(self, folder, secure):
        self.secure = secure
        self.clock = ReaderClock()
        self._folder = folder
        self._ca = folder / "ca.pem"
        self._ca.write_bytes(certificates.authority().pem)

    def reader(self, **options):
        """Run the reader to its end and return its outcome."""
        options = {
            "folder": str(self._folder / "table"),
            "ca": str(self._ca),
            "certain": "A1",
            "patience": 1,
            **options,
        }
        outcome = micropython_peer.run_script(
            "sync_runner", options, self.clock, preexec_fn=_few_descriptors
        )
        assert outcome["wrongly"] == 0
        cases["decisions"] += outcome["decided"]
        cases["polls"] += len(outcome["polls"])
        return outcome

    def url(self, server, host="127.0.0.1"):
        """Return the server's address as a setting."""
        return f"http{'s' if self.secure else ''}://{host}:{server.port}"

    def server(self, scripts, kind="good", algorithm="ecdsa"):
        """Return a server that follows these scripts."""
        tls = certificates.server_context(kind, algorithm) if self.secure else None
        return ScriptedServer(scripts, tls, self.clock.advance)

    def polls(self, scripts, **options):
        """Poll once for each script; return the outcome and the server."""
        with self.server(scripts) as server:
            outcome = self.reader(**{"url": self.url(server), "polls": len(scripts), **options})
        return outcome, server


def failed(result, words, state=OLD_TABLE):
    """Assert that a poll failed for this reason, reported once, and did not change the table."""
    worked, error, minute, table, lines = result
    assert (worked, [minute, table]) == (False, state)
    assert words in error
    assert [line for line in lines if words in line] == [f"sync: failed: {error}"]
    cases["kinds"] += 1


def worked(result, state):
    """Assert that a poll succeeded and left this state."""
    assert (result[0], result[1], result[2:4]) == (True, "", state), result
