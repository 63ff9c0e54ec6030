"""Kalitka's parser and table, driven as the poller drives them."""

from kalitka.sync.answer import AnswerParser
from kalitka.table.table import FOUND, Table

_PIECE = 1024  # bytes that the firmware's client reads at once


class Program:
    """The table in `folder`."""

    def __init__(self, folder):
        self._table = Table(folder + "/table")
        self.asked = 0  # the number of answers read

    def full(self, path):
        """Replace the table by a full answer; yields where the poller lets other tasks run."""
        yield from self._sync(path, True)

    def change(self, path):
        """Apply an answer to the table; yields where the poller lets other tasks run."""
        yield from self._sync(path, False)

    def find(self, code):
        """Return whether the code (bytes) has rules."""
        return self._table.find(code, len(code)) == FOUND

    def close(self):
        """Close the table's files."""
        self._table.close()

    def _sync(self, path, full):
        again = 0
        while True:
            again = yield from self._apply(path, full, again)
            if not again:
                return

    def _apply(self, path, full, again):
        self.asked += 1
        transaction = self._table.begin(full, again)
        sink = _Sink(transaction)
        parser = AnswerParser(sink)
        piece = bytearray(_PIECE)
        with open(path, "rb") as body:
            while True:
                n = body.readinto(piece)
                if not n:
                    break
                parser.feed(piece, n)
                yield
                yield from transaction.drain()
        parser.finish(True)
        yield from transaction.commit(sink.received)
        return transaction.retry


class _Sink:
    # Passes the parsed records into the transaction.

    def __init__(self, transaction):
        self.delete = transaction.delete
        self.rules = transaction.add_lines
        self.received = 0

    def minute(self, minute):
        self.received = minute

    def dropped(self, line, reason):
        raise ValueError(reason)
