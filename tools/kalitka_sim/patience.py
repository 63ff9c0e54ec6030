"""How long somebody waits for another process, thread or socket before taking it for dead.

It only ends what hangs, and bounds no speed: it is far longer than a busy computer needs for
anything that is waited for. KALITKA_PATIENCE_S in the environment makes it another one.
"""

import os

PATIENCE_S = float(os.environ.get("KALITKA_PATIENCE_S", "300"))
