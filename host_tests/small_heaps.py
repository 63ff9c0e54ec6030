"""A virtual reader with less memory than it needs: what comes of its start, and of a card there.

It decides rightly, or its door is at rest, its console says that memory is missing, and it starts
again, or the task does. The fakes of the chip are in the same heap: where even they find nothing,
the door is at rest.
"""

from kalitka_sim.reader import ReaderError, VirtualReader, wiegand_bits
from scripted_server import Script, ScriptedServer, reply

SETTINGS = {"lock_seconds": 1, "server_token": "secret"}
GUEST = f"{90_001:08X}"
LEAST = 56  # KiB with which the fakes of the chip start
_TABLE = b"29921460%%\n" + b"\n".join(b"%08X_/9_1" % (n * 90_001) for n in range(1, 200))
_TIME = b"29921460,MSK-3,1795415400"


class SmallHeaps:
    """A reader that has synced with enough memory, to be started again with less."""

    def __init__(self, folder):
        self._folder = folder
        script = Script([reply(_TIME), reply(_TABLE)], repeat=True)
        with (
            ScriptedServer([script]) as server,
            VirtualReader(folder, SETTINGS, ("127.0.0.1", server.port)) as reader,
        ):
            reader.power_on()
            self._lock = reader.board["LOCK"]
            self._rest = reader.pins[self._lock]
            reader.wait_line("sync: full")

    def start(self, kib):
        """Start it with a heap of so many KiB; check and return what comes of it, in words."""
        with VirtualReader(self._folder, SETTINGS, heap=kib * 1024) as reader:
            reader.power_on(wait_ready=False)
            line = reader.wait_line(" ready$|the reader ended")
            if not line.endswith("ready"):
                return self._restarted(reader)
            reader.wait_ready()
            assert reader.pins[self._lock] == self._rest
            seen = len(reader.console)
            try:
                reader.send_pulses(wiegand_bits(GUEST), timeout=60)
            except ReaderError:
                # The fakes share the heap, and found nothing in it.
                assert reader.pins[self._lock] == self._rest, reader.console
                return "cannot be asked"
            line = reader.wait_line(f"card {GUEST} |the reader ended|failed, starts", since=seen)
            if f"card {GUEST} " not in line:
                reader.wait_pin(self._lock, self._rest)
                return self._restarted(reader) if "ended" in line else self._told(reader, line)
            assert " allowed " in line, reader.console
            reader.request({"do": "pins"})
            assert reader.pins[self._lock] != self._rest, reader.console
            reader.wait_pin(self._lock, self._rest)
            return "decides"

    def _restarted(self, reader):
        assert reader.pins.get(self._lock) in (None, self._rest), reader.console
        assert any("MemoryError" in line for line in reader.console), reader.console
        reader.wait_line("kalitka .* on ", since=len(reader.console))
        return "starts again"

    def _told(self, reader, line):
        assert "MemoryError" in line, line
        return "has a task that starts again"
