"""Gates that poll at random: plain readers in one process, a thread each, over real sockets.

Each polls one hub or the other, in all four forms. After every answer it checks that it holds
everything that was written before its request; see `busy_office`. It also sends its access log
again and again until it gets an answer, as the firmware does.
"""

import http.client
import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from hub.busy_office import NOISE, Said, version_in
from hub.hub_site import SYNC, headers
from hub.plain_reader import PlainReader
from kalitka_sim.timeouts import HANG_TIMEOUT_S

LOGS = "/api/v1/token-reader/access-logs"
LOG = "0badcafe"  # the id of the log of a reader that numbers its entries
FORMS = ("minute",) * 8 + ("minute%", "codes", "codes", "codes", "everything")


class Unreached(Exception):
    """There was no complete answer, or the hub answered 503."""


class Removed(Exception):
    """The hub does not know this reader at the time."""


@dataclass
class Report:
    """The table of one reader, and its counts and faults.

    limited: the only codes that it polls for; such a reader sends its log in the plain form.
    uploaded: the numbers of the acknowledged entries.
    """

    code: str
    limited: frozenset[str] | None
    minute: int = 0
    table: dict[str, set[str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    uploaded: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Task:
    """The task of one process of gates.

    codes: the codes of its readers. ports: of the hubs. versioned: the tokens with a version, by
    place. limited: the only codes that every third reader polls for. gentle: hubs are killed now
    and then, so a poll without an answer is not a fault.
    """

    codes: Sequence[str]
    ports: Sequence[int]
    versioned: Sequence[str]
    limited: Sequence[str]
    gentle: bool = False


def poll(task: Task, seed: int, said: Said, orders: Connection) -> None:
    """Poll from each `True` received from `orders` to the next `False`; return at `None`.

    After each False, poll once more, and send the Reports.
    """
    gates = [
        _Gate(task, code, number, random.Random(seed * 100 + number), said)
        for number, code in enumerate(task.codes)
    ]
    orders.send("ready")
    while orders.recv():
        stopped = threading.Event()
        threads = [threading.Thread(target=gate.run, args=(stopped,)) for gate in gates]
        for thread in threads:
            thread.start()
        orders.recv()
        stopped.set()
        for thread in threads:
            thread.join()
        orders.send([gate.report() for gate in gates])


class _Gate:
    def __init__(
        self, task: Task, code: str, number: int, chance: random.Random, said: Said
    ) -> None:
        limited = frozenset(task.limited) if number % 3 == 2 else None
        self._task = task
        self._report = Report(code, limited)
        self._reader = PlainReader(self._ask, limited)
        self._chance = chance
        self._said = said
        self._places = [
            (place, name)
            for place, name in enumerate(task.versioned)
            if limited is None or name in limited
        ]
        self._next_entry = 0
        self._waiting = range(0)  # numbers of entries sent without an answer yet
        self._connections = [
            http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_TIMEOUT_S)
            for port in task.ports
        ]

    def run(self, stopped: threading.Event) -> None:
        """Poll until `stopped`, and then once more: that last poll has to succeed."""
        while not stopped.is_set():
            self._once(self._chance.choice(FORMS), must=not self._task.gentle)
            if self._chance.random() < 0.3:
                self._send_log()
            stopped.wait(self._chance.choice((0, 0.01, 0.03, 0.2)))
        # There may still be connections to a hub that was killed.
        tries = 2 * len(self._connections) if self._task.gentle else 1
        while tries and not self._once("minute", must=tries == 1):
            tries -= 1

    def report(self) -> Report:
        self._report.minute, self._report.table = self._reader.minute, self._reader.table
        return self._report

    def _once(self, form: str, must: bool) -> bool:
        """Poll in a form, and check the reader's table then; return whether a hub was reached.

        must: an unreachable hub is a fault.
        """
        before = list(self._said.written)
        try:
            spoken_of = self._poll(form)
        except Unreached as fault:
            self._report.counts["unreached"] += 1
            if must:
                self._fault(form, str(fault))
            return False
        except Removed:
            self._report.counts["removed"] += 1
            return True
        except AssertionError as fault:
            self._fault(form, str(fault))
            return True
        self._report.counts[form] += 1
        for place, code in self._places:
            if spoken_of is None or code in spoken_of:
                held = version_in(self._reader.table.get(code, ()))
                expected = self._said.expected(place, code, before[place])
                if held not in expected:
                    self._fault(form, f"holds {held} of {code}, not one of {expected}")
        return True

    def _poll(self, form: str) -> set[str] | None:
        """Poll in a form; return the codes that the answer is about, None for all."""
        reader = self._reader
        if form == "codes":
            known = sorted(self._report.limited or {*self._task.versioned, *NOISE})
            asked = self._chance.sample(known, 3)
            reader.ask_about(asked)
            return set(asked)
        if form == "everything":
            reader.poll_all()
        else:
            reader.poll("%" if form == "minute%" else "")
        assert reader.minute, "a full sync was asked for, and answered with minute 0"
        return None

    def _send_log(self) -> None:
        """Resend the waiting entries, or send new ones if there are none."""
        again = bool(self._waiting)
        if not again:
            first = self._next_entry
            self._next_entry += self._chance.randrange(1, 40)
            self._waiting = range(first + 1, self._next_entry + 1)
        numbered = self._report.limited is None
        form = "{0}_C{0}_1_0_1_{0}" if numbered else "{0}_C{0}_1"
        body = ",".join(form.format(number) for number in self._waiting)
        more = {"X-Kalitka-Log": LOG} if numbered else {}
        try:
            status, answer = self._post(LOGS, body, **more)
        except Unreached:
            self._report.counts["logs unreached"] += 1
            return
        if status == 403:
            return
        stored = {f"ok,{len(self._waiting)}", "ok,0"} if again else {f"ok,{len(self._waiting)}"}
        if status != 200 or answer not in stored:
            self._fault("log", f"{status} {answer}, not one of {stored}")
        self._report.uploaded += self._waiting
        self._report.counts["logs"] += 1
        self._waiting = range(0)

    def _fault(self, form: str, what: str) -> None:
        self._report.faults.append(f"{self._report.code}, {form}: {what}")

    def _ask(self, body: str) -> str:
        status, answer = self._post(SYNC, body)
        if status == 403:
            raise Removed
        assert status == 200, f"{status} {answer}"
        return answer

    def _post(self, path: str, body: str, **more: str) -> tuple[int, str]:
        """Post to one of the hubs; return status and body. Raises Unreached."""
        connection = self._chance.choice(self._connections)
        try:
            connection.request("POST", path, body, headers(self._report.code) | more)
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as fault:
            connection.close()
            raise Unreached(repr(fault)) from fault
        if response.status == 503:
            raise Unreached(text)
        return response.status, text
