"""Cards are decided in the middle of a sync of 50,000 rules, from the old table, within a slice.

A slice is at most 64 lines or a 4 KiB block between two turns of the gate, as in the budgets.
"""

import json
import random
import subprocess

import pytest

import micropython_peer
from scripted_server import Script, ScriptedServer, reply

RULES = 50_000
LINES_MAX = 64
BLOCK = 4096
OWN = 64  # bytes of LittleFS's metadata beside a block


def answer(minute: int, codes: list[str]) -> Script:
    lines = [f"{code}_/3_{n % 200}_{600 + n % 200}_1111100" for n, code in enumerate(codes)]
    return Script(reply("\n".join([f"{minute}%%", *lines]).encode()))


@pytest.mark.parametrize("order", ["code order", "random order"])
def test_cards_are_decided_in_the_middle_of_a_large_sync(order):
    dice = random.Random(4)
    old = ["0LDC0DE5", "B07BB07B", *(f"{n:08X}" for n in range(1000))]
    new = ["B07BB07B", *(f"{dice.getrandbits(32):08X}" for _ in range(RULES))]
    if order == "code order":
        new.sort()
    # Out of order the answer does not fit the sort's memory: it is requested twice.
    large = answer(29921461, new)
    with ScriptedServer([answer(29921460, old), large, large]) as server:
        done = subprocess.run(
            micropython_peer.command(
                "busy_gate", "device/busy_gate.py", str(server.port), "29921461"
            ),
            env=micropython_peer.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    print(
        f"# {found['rules']} rules in {order}: {found['by the old table']} times at a gate's turn "
        f"decided by the old table, at most {found['most lines']} lines and "
        f"{found['most bytes']} programmed bytes between two turns"
    )
    assert found["rules"] == len(new)
    assert found["wrong"] == 0
    assert found["by the old table"] > 2000
    assert 0 < found["most lines"] <= LINES_MAX
    assert 0 < found["most bytes"] <= BLOCK + OWN
