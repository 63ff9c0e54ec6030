"""The startup report of a reader, parsed from its console: steps done and steps missing.

Without these steps no card opens the door. Each ends in one of four states: done, problem (with
the reader's own words), not needed by the settings, or not reached. This module alone of the tools
knows the form of the firmware's console lines.
"""

import re
from dataclasses import dataclass, field

# In the reader's order; the exit status of `deploy` if the step is missing. Do not renumber:
# scripts check these statuses.
STEPS = {"ready": 4, "memory": 5, "network": 6, "TLS": 7, "sync": 8}

_DONE, _PROBLEM, _NOT_NEEDED = "done", "trouble", "not needed"
_STAMP = re.compile(r"^ *\d[\d.:]* (?=\S)")  # the time since the start, in front of every line
_STARTED = re.compile(r"^kalitka \S+ on ")
_MEMORY = re.compile(r"^memory: (.*)")
_LINK = re.compile(r"^\w+: (connected\b.*)")
_NETWORK_PARTS = ("wifi", "ethernet", "network")
_TABLE = re.compile(r"^table: (?:minute (\d+)|.*)")
_FULL = re.compile(r"^sync: full, (\d+) rules")
_WORKS = re.compile(r"^sync: works( over TLS)?(?:, table of minute (\d+))?")
_FAILED = re.compile(r"^(?:sync: failed|clock: not set by the server): (.*)")
_PART_FAILED = re.compile(r"^(.+): failed, starts again: (.*)")
_NO_NETWORK = re.compile(r"^(?:wifi: no network|network: there is none) in the settings")
_LINK_FAILED = re.compile(r"^(?:wifi|ethernet): (.+)")
# Parts of a failed exchange's message: a TLS failure, or a failure before TLS. An answer with a
# status means that TLS worked.
_TLS_SIGNS = ("certificate", "the handshake with", "the site's CA", "MBEDTLS", "TLS")
_NO_CONNECTION = ("refused while ", "no way there while ")  # the operation follows
_MEMORY_SIGNS = ("not enough memory", "MemoryError", "memory allocation failed")
_ANSWERED = "the server answered "
_AUTHENTICATED = "the server has proven who it is"


@dataclass
class Step:
    """The state of a startup step. detail: the reader's own words."""

    state: str = ""
    detail: str = ""


@dataclass
class StartupReport:
    """The progress of a reader's start, followed line by line on its console.

    secure: whether the settings name an https:// server, None if unknown. minute: of the table, 0
    without one; rules: the number from the last full sync, None before the first.
    """

    secure: bool | None = None
    steps: dict[str, Step] = field(default_factory=lambda: {name: Step() for name in STEPS})
    minute: int = 0
    rules: int | None = None
    _last: str = ""  # the last line without a time stamp: the end of a traceback

    def add_line(self, line: str) -> None:
        """Update the report from a line of the console."""
        text = _STAMP.sub("", line, count=1)
        if text == line:
            if line.startswith("the reader ended;"):
                self._fail("ready", self._last)
            elif line.strip():
                self._last = line.strip()
            return
        if _STARTED.match(text):
            # The reader may start more than once: begin anew.
            self.steps.update({name: Step() for name in STEPS})
        elif text == "ready":
            self._done("ready", "")
        elif found := _MEMORY.match(text):
            self._done("memory", found[1])
        elif found := _TABLE.match(text):
            self.minute = int(found[1] or 0)
        elif found := _PART_FAILED.match(text):
            self._part_failed(found[1], found[2])
        elif text.startswith("sync: no server in the settings"):
            self._not_needed("TLS", "no server in the settings")
            self._not_needed("sync", "no server in the settings")
        else:
            self._network(text)

    @property
    def has_problem(self) -> bool:
        """Whether any step has a problem. The reader may still recover."""
        return any(step.state == _PROBLEM for step in self.steps.values())

    @property
    def missing(self) -> str:
        """The name of the most telling missing step, "" if none is missing."""
        waiting = [n for n, step in self.steps.items() if step.state not in (_DONE, _NOT_NEEDED)]
        # A failed step comes before a step that was merely not reached.
        troubled = [name for name in waiting if self.steps[name].state == _PROBLEM]
        return (troubled or waiting or [""])[0]

    @property
    def why_closed(self) -> str:
        """The reason why no card opens the door although no step is missing, "" if cards can."""
        if self.rules == 0:
            return "the server has no tokens for this reader: add some at the hub"
        if self.rules or self.minute:
            return ""
        if self.steps["sync"].detail:
            return f"{self.steps['sync'].detail}, and no table yet: give settings with --settings"
        return "there is no table yet"

    def status_of(self, name: str) -> tuple[str, str]:
        """Return how to show a step: (mark, text after its name)."""
        step = self.steps[name]
        mark = {_DONE: "✓", _PROBLEM: "✗", _NOT_NEEDED: "-", "": "·"}[step.state]
        if step.state == _NOT_NEEDED:
            return mark, f"not needed: {step.detail}"
        return mark, step.detail or ("" if step.state else "not reached")

    def _network(self, text: str) -> None:
        sync = self.steps["sync"]
        if found := _FULL.match(text):
            self.rules = int(found[1])
            self._done("sync", f"full, {self.rules} rules")
        elif found := _WORKS.match(text):
            if found[2]:
                self.minute = int(found[2])
                self._tls_done(_AUTHENTICATED if found[1] else "")
            self._done("sync", sync.detail if sync.state == _DONE else text.partition(": ")[2])
        elif text.startswith("clock: set by the server"):
            pass  # says nothing about TLS; "sync: works" will
        elif found := _FAILED.match(text):
            self._exchange_failed(found[1])
        elif _NO_NETWORK.match(text):
            for name in ("network", "TLS", "sync"):
                self._not_needed(name, "no network in the settings")
        elif found := _LINK.match(text):
            self._done("network", found[1])
        elif found := _LINK_FAILED.match(text):
            self._fail("network", found[1])

    def _exchange_failed(self, words: str) -> None:
        if any(sign in words for sign in _MEMORY_SIGNS):
            self._fail("memory", words)
        if words.startswith(_ANSWERED):
            if self.secure is not None:
                self._tls_done(_AUTHENTICATED if self.secure else "")
            self._fail("sync", words)
        elif not words.startswith(_NO_CONNECTION) and any(sign in words for sign in _TLS_SIGNS):
            self._fail("TLS", words)
        else:
            self._fail("sync", words)

    def _part_failed(self, part: str, words: str) -> None:
        if any(sign in words for sign in _MEMORY_SIGNS):
            self._fail("memory", f"{part}: {words}")
        elif part in _NETWORK_PARTS:
            self._fail("network", words)
        elif part == "sync":
            self._fail("sync", words)

    def _tls_done(self, words: str) -> None:
        if words:
            self._done("TLS", words)
        else:
            self._not_needed("TLS", "server_url is http://")

    def _done(self, name: str, words: str) -> None:
        self.steps[name] = Step(_DONE, words)

    def _fail(self, name: str, words: str) -> None:
        self.steps[name] = Step(_PROBLEM, words)

    def _not_needed(self, name: str, words: str) -> None:
        if not self.steps[name].state:
            self.steps[name] = Step(_NOT_NEEDED, words)
