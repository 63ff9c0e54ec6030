"""Every block of a stock reader's flash damaged in four ways; bits of files that start and decide.

In `make test-long` each block in one of these ways, and fewer bits; all in `make test-all`.
"""

import os
from collections import Counter

import pytest

from damaged_reader import BLOCK, DAMAGES, DECIDES, RESTARTS, SYNCS, DamagedReader

HEALED = {DECIDES, SYNCS, RESTARTS}


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    reader = DamagedReader(tmp_path_factory.mktemp("stock"))
    yield reader
    reader.close()


ALL = bool(os.environ.get("KALITKA_EVERYTHING"))


@pytest.mark.timeout(7200)
def test_every_block(stock):
    blocks = stock.used_blocks()
    damages = [
        (f"{kind.__name__}-{n}", n, kind(stock.block(n), n))
        for n in blocks
        for kind in (DAMAGES if ALL else [DAMAGES[n % len(DAMAGES)]])
    ]
    verdicts = stock.verdicts(damages)
    print(f"# {len(damages)} damages of {len(blocks)} blocks: {_counts(verdicts)}")
    assert set(verdicts) <= HEALED, _named([name for name, _, _ in damages], verdicts)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("boot.py", 1),
        ("main.py", 8),
        ("board.py", 8),
        ("guard.mpy", 32),
        # What decides on a card.
        ("lib/kalitka/gate.mpy", 32),
        ("lib/kalitka/access/rules.mpy", 32),
        ("lib/kalitka/table/table.mpy", 32),
        ("lib/kalitka/native.mpy", 32),
    ],
)
def test_one_bit_of_a_file_that_starts_or_decides(stock, path, step):
    # A bit of each `step`th byte, wherever the flash has the beginning of the file.
    data = stock.files[path]
    step = step if ALL else step * 8
    damages = []
    for n in stock.used_blocks():
        at = stock.block(n).find(data[: BLOCK - 1])
        for byte in range(at, min(at + len(data), BLOCK), step) if at >= 0 else ():
            damaged = bytearray(stock.block(n))
            damaged[byte] ^= 1 << byte % 8
            damages.append((f"bit-{n}-{byte}", n, bytes(damaged)))
    assert damages
    verdicts = stock.verdicts(damages)
    print(f"# {len(damages)} single bits of {path} and its copies: {_counts(verdicts)}")
    assert set(verdicts) <= HEALED, _named([name for name, _, _ in damages], verdicts)


def _counts(verdicts):
    return ", ".join(f"{word} {count}" for word, count in Counter(verdicts).most_common())


def _named(places, verdicts):
    return [pair for pair in zip(places, verdicts, strict=True) if pair[1] not in HEALED]
