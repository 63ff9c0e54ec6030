"""Every block of a stock reader's flash damaged in four ways, and bits of its boot files."""

from collections import Counter

import pytest

from damaged_reader import BLOCK, DAMAGES, DECIDES, RESTARTS, SYNCS, DamagedReader

HEALED = {DECIDES, SYNCS, RESTARTS}


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    reader = DamagedReader(tmp_path_factory.mktemp("stock"))
    yield reader
    reader.close()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_every_block(stock, damage):
    blocks = stock.used_blocks()
    damages = [(f"block-{n}", n, damage(stock.block(n), n)) for n in blocks]
    verdicts = stock.verdicts(damages)
    print(f"# {len(blocks)} blocks, {damage.__name__}: {_counts(verdicts)}")
    assert set(verdicts) <= HEALED, _named(blocks, verdicts)


@pytest.mark.parametrize(
    ("path", "step"), [("boot.py", 1), ("main.py", 8), ("board.py", 8), ("guard.mpy", 32)]
)
def test_one_bit_of_a_boot_file(stock, path, step):
    # A bit of each `step`th byte, wherever the flash has the beginning of the file.
    data = stock.files[path]
    damages = []
    for n in stock.used_blocks():
        at = stock.block(n).find(data[: BLOCK - 1])
        for byte in range(at, at + len(data), step) if at >= 0 else ():
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
