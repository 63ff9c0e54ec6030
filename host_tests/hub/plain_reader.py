"""A token reader as plain as can be: a dictionary, and the sync protocol's rules for applying.

The oracle of the hub's tests. It knows the protocol only: deletes first, then rule lines, then
the minute.
"""

from collections.abc import Callable

Poll = Callable[[str], str]  # body of a request -> body of the answer


def parse(answer: str) -> tuple[int, list[str], list[tuple[str, str]]]:
    """Return minute, deletes and rule lines of an answer, in their order."""
    head, newline, rest = answer.partition("\n")
    minute, deletes, nothing = head.split("%")
    assert newline == "\n"
    assert nothing == ""
    lines = rest.split("\n") if rest else []
    pairs = [(code, rule) for code, _, rule in (line.partition("_/") for line in lines)]
    return int(minute), deletes.split(",") if deletes else [], pairs


class PlainReader:
    """Holds the rules by code, and the minute of the last answer."""

    def __init__(self, poll: Poll) -> None:
        self.minute = 0
        self.table: dict[str, set[str]] = {}
        self._poll = poll

    def poll(self) -> None:
        """Ask once, and at once again where the answer asks for a full sync."""
        self._ask()
        if self.minute == 0:
            self._ask()

    def _ask(self) -> None:
        minute, deletes, lines = parse(self._poll(str(self.minute)))
        if self.minute == 0:
            self.table = {}
        for code in deletes:
            self.table.pop(code, None)
        for code, rule in lines:
            self.table.setdefault(code, set()).add(rule)
        self.minute = minute
