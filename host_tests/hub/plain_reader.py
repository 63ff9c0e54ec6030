"""A minimal token reader: a dictionary, and the sync protocol's rules for applying an answer.

The oracle of the hub's tests. It knows the protocol only: deletes first, then rule lines, then the
minute.
"""

from collections.abc import Callable, Collection

Poll = Callable[[str], str]  # body of a request -> body of the answer


def parse(answer: str) -> tuple[int, list[str], list[tuple[str, str]]]:
    """Return the minute, the deletes and the rule lines of an answer, in their order."""
    head, newline, rest = answer.partition("\n")
    minute, deletes, nothing = head.split("%")
    assert newline == "\n"
    assert nothing == ""
    lines = rest.split("\n") if rest else []
    pairs = [(code, rule) for code, _, rule in (line.partition("_/") for line in lines)]
    return int(minute), deletes.split(",") if deletes else [], pairs


class PlainReader:
    """A reader with its rules by code, and the minute of the last answer.

    codes: the only codes of a small gate's reader; None for all.
    """

    def __init__(self, poll: Poll, codes: Collection[str] | None = None) -> None:
        self.minute = 0
        self.table: dict[str, set[str]] = {}
        self._poll = poll
        self._codes = None if codes is None else frozenset(codes)

    def poll(self, percent: str = "") -> None:
        """Poll once, and do a full sync at once if the answer requests one.

        percent: a "%" behind the minute, which is allowed and means nothing.
        """
        self._ask(percent)
        if self.minute == 0:
            self._ask(percent)

    def poll_all(self) -> None:
        """Do a full sync, as after a start."""
        self.minute = 0
        self._ask()

    def ask_about(self, codes: Collection[str]) -> None:
        """Request the rules that these codes have now. The minute stays."""
        _, deletes, lines = parse(self._poll("%" + ",".join(codes)))
        assert set(deletes) == set(codes)
        self._apply(deletes, lines, set(codes))

    def _ask(self, percent: str = "") -> None:
        codes = percent if self._codes is None else "%" + ",".join(self._codes)
        minute, deletes, lines = parse(self._poll(f"{self.minute}{codes}"))
        assert minute == 0 or minute >= self.minute, "the minute went back"
        if self.minute == 0:
            self._begin_full()
        self._apply(deletes, lines, self._codes)
        self.minute = minute

    def _begin_full(self) -> None:
        self.table = {}

    def _apply(
        self, deletes: list[str], lines: list[tuple[str, str]], asked: Collection[str] | None
    ) -> None:
        named = {*deletes, *(code for code, _ in lines)}
        assert asked is None or named <= set(asked), "an answer speaks of codes not asked for"
        for code in deletes:
            self.table.pop(code, None)
        for code, rule in lines:
            self.table.setdefault(code, set()).add(rule)


class MergingReader(PlainReader):
    """A reader that merges a full answer into its table as it does any other."""

    def _begin_full(self) -> None:
        pass
