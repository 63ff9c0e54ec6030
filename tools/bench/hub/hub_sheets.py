"""The report's tables of the hub."""

from collections.abc import Mapping
from statistics import median

from bench.hub.hub_load import A_MINUTE, BATCH, CONNECTIONS, RUNS, Load, ResponseStats
from bench.sheet import Sheet

_MIB = 1 << 20


def hub_sheets(loads: Mapping[str, Load], tokens: int) -> list[Sheet]:
    """Return the tables. loads: by the server's name. tokens: the number in the site."""
    return [_polls(loads, tokens), _others(loads, tokens), _fulls(loads, tokens)]


def _polls(loads: Mapping[str, Load], tokens: int) -> Sheet:
    rows = []
    for name, load in loads.items():
        for readers, answers in load.polls.items():
            rows.append((name, f"{readers:,}", *_rate(answers), *_times(answers)))
        rows.append((name, f"{A_MINUTE:,} per minute", *_rate(load.steady), *_times(load.steady)))
    note = (
        f"A site of {tokens:,} tokens; the readers take turns on {CONNECTIONS} connections, each "
        f"of which polls again as soon as it is answered; medians of {RUNS} runs. The last row of "
        "each server is polls at an even rate, as from so many readers that poll once a minute. "
        "processor: the server's time per poll. p50, p99: milliseconds from the request to the "
        "end of its answer. Server, database and load share one computer."
    )
    columns = ("server", "readers", "polls/s", "processor, µs", "p50", "p99")
    return Sheet("Polls without changes", note, columns, rows)


def _others(loads: Mapping[str, Load], tokens: int) -> Sheet:
    rows = []
    for name, load in loads.items():
        one = "polls that return a change"
        rows.append((name, one, *_rate(load.changed), *_times(load.changed)))
        logs = f"uploads of {BATCH} entries"
        rows.append((name, logs, *_rate(load.logs), *_times(load.logs)))
    note = (
        f"One of {tokens:,} tokens has changed; {CONNECTIONS} connections. Uploads: 8 "
        "connections; the entries are on disk before the answer, and Kalitka does not store "
        "repeated entries again."
    )
    columns = ("server", "requests", "per second", "processor, µs", "p50", "p99")
    return Sheet("Changes and logs", note, columns, rows, text_columns=2)


def _fulls(loads: Mapping[str, Load], tokens: int) -> Sheet:
    rows = []
    for name, load in loads.items():
        for at_once, answers in load.fulls.items():
            first = (f"{answers.percentile(share, 'first'):,.0f}" for share in (0.5, 0.99))
            last = (f"{answers.percentile(share):,.0f}" for share in (0.5, 0.99))
            memory = f"{load.memory[at_once] / _MIB:,.1f}"
            rows.append((name, str(at_once), *first, *last, memory))
    note = (
        f"{tokens:,} codes with a rule each. Milliseconds to the first and the last byte, and the "
        "growth of the server's memory at its peak."
    )
    columns = ("server", "at once", "first, p50", "p99", "last, p50", "p99", "memory, MiB")
    return Sheet("Full syncs", note, columns, rows)


def _rate(answers: ResponseStats) -> tuple[str, str]:
    return f"{answers.rate:,.0f}", f"{median(answers.cpu):,.0f}"


def _times(answers: ResponseStats) -> tuple[str, str]:
    return f"{answers.percentile(0.5):,.1f}", f"{answers.percentile(0.99):,.1f}"
