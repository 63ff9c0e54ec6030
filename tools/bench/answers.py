"""The sync answers that every program is fed: files, made once for each size and order.

Tokens have random 8-digit hexadecimal codes and one of 200 different rules. `first` fills an
empty table. `second` replaces it: of a hundred codes one is new, one gone, one has another rule.
`nothing` is a poll without changes, `one` a poll with one changed code.
"""

import random
from dataclasses import dataclass
from pathlib import Path

RULE_SETS = 200
_LOOKUPS = 200
_MINUTE = 29921460


@dataclass(frozen=True)
class Answers:
    """The paths of the answers for one size and order.

    codes: codes of both full answers to look up, in random order. absent: as many codes of
    neither.
    """

    tokens: int

    first: Path
    second: Path
    nothing: Path
    one: Path
    codes: Path
    absent: Path


def _line(code: str, number: int) -> str:
    return f"{code}_/3_{number}_{number + 600}_1111100"


def _answer(lines: list[str], deleted: str = "") -> bytes:
    return "\n".join([f"{_MINUTE}%{deleted}%", *lines]).encode()


def _fresh_code(dice: random.Random, taken: dict[str, int]) -> str:
    while True:
        code = f"{dice.getrandbits(32):08X}"
        if code not in taken:
            return code


def _tokens(dice: random.Random, count: int) -> dict[str, int]:
    # {code: number of its rule}
    tokens: dict[str, int] = {}
    while len(tokens) < count:
        tokens[_fresh_code(dice, tokens)] = dice.randrange(RULE_SETS)
    return tokens


def _changed(dice: random.Random, tokens: dict[str, int]) -> dict[str, int]:
    changed = dict(tokens)
    for code in list(tokens)[::100]:
        del changed[code]
        changed[_fresh_code(dice, tokens)] = dice.randrange(RULE_SETS)
    for code in list(tokens)[50::100]:
        changed[code] = (changed[code] + 1) % RULE_SETS
    return changed


def make(folder: Path, count: int, in_code_order: bool) -> Answers:
    """Write the answers for a table of `count` tokens into `folder`, the same ones every time."""
    folder.mkdir(parents=True, exist_ok=True)
    dice = random.Random(count)
    first = _tokens(dice, count)
    second = _changed(dice, first)
    orders = []
    for tokens in (first, second):
        codes = sorted(tokens)
        if not in_code_order:
            dice.shuffle(codes)
        orders.append([_line(code, tokens[code]) for code in codes])
    both = sorted(first.keys() & second.keys())
    known = random.Random(1).sample(both, min(len(both), _LOOKUPS))
    changed = known[0]
    bodies = {
        "first": _answer(orders[0]),
        "second": _answer(orders[1]),
        "nothing": _answer([]) + b"\n",
        "one": _answer([_line(changed, (second[changed] + 1) % RULE_SETS)], changed),
        "codes": "\n".join(known).encode(),
        "absent": "\n".join(_fresh_code(dice, first | second) for _ in known).encode(),
    }
    for name, body in bodies.items():
        (folder / name).write_bytes(body)
    return Answers(count, *(folder / name for name in bodies))
